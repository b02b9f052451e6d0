//! A run of retention: from what has gone to what is left.

use std::ops::ControlFlow;
use std::thread::sleep;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use tracing::field::Empty;
use uuid::Uuid;

use super::archive::{Archive, Counts};
use super::month::{self, Left};
use super::policy::{Cutoffs, RetentionPolicy, before};
use super::record::{RetentionRun, RunState, record_begin, record_end};
use crate::error::Error;
use crate::intent::{Actor, depth, gave_way};
use crate::operation::holds::as_json;
use crate::operation::partitions;
use crate::telemetry;

/// What a run is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A batch has gone.
    Batch {
        /// The month, as the names of its partitions end: `2025_01`.
        month: String,
        /// Changes, actions and transactions.
        rows: u64,
    },
    /// A month is being archived.
    Archiving {
        /// As in `Batch`.
        month: String,
    },
    /// A month has gone as a whole.
    Dropped {
        /// As in `Batch`.
        month: String,
        /// What the disk got back.
        bytes: u64,
    },
    /// A month leaves in a later run: transactions are open that may still read it, or one before it.
    Postponed {
        /// As in `Batch`.
        month: String,
    },
}

/// What a run works with.
pub(super) struct Work<'a> {
    /// The run's number; `None` for what is done outside of one.
    pub(super) run: Option<i64>,
    pub(super) policy: &'a RetentionPolicy,
    pub(super) cutoffs: Cutoffs,
}

/// Removes all that is due and may go, as `policy` says at the moment it begins.
///
/// `archive` gets every month before it leaves. With one, the end of a window is not followed day by day: a table's changes wait
/// until the window has passed their whole month, so that the month can leave, and be archived, as a whole. What leaves a month
/// that cannot go as a whole, because other tables are kept for longer or something is held, goes without an archive.
///
/// `progress` is told of each step, and stops the run by breaking. Not inside an open transaction. Through PgBouncer in
/// transaction mode as well; DETACH PARTITION … CONCURRENTLY then has no time limit but that of the role.
///
/// One runs at a time. A run that died is noticed by the next: its server process is gone, or it has been silent for more than
/// twice the timeouts. Whatever it left half-way, as a partition whose detach was begun, is completed; every batch is whole by
/// itself.
///
/// Writers are never waited for, nor made to wait longer than the lock timeout. A month waits for transactions that were open
/// when its leaving was decided, up to the statement timeout, and otherwise leaves in a later run.
///
/// Where the role may record it, the end of the run and its [evidence](crate::evidence) are there together or not at all; the
/// policy it ran with is recorded when it begins, and so is the end of a run that had died before it.
///
/// # Errors
///
/// [`Error::Refused`] when the policy is not sound (all its problems at once) or the connection is in a transaction;
/// [`Error::RetentionRunning`] when a run is alive; [`Error::RetentionStopped`]; [`Error::Archive`] and [`Error::ArchiveUnsound`], which leave the month where it is;
/// others of the database. What had gone before stays gone, and the run's row says so.
pub fn run(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    by: &Actor,
    archive: Option<&mut dyn Archive>,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<RetentionRun, Error> {
    let span = tracing::info_span!("threadline.retention", outcome = Empty);
    let mut ended = None;
    let (result, took) = telemetry::timed(|| {
        span.in_scope(|| run_unobserved(conn, policy, by, archive, progress, &mut ended))
    });
    let outcome = match (&result, &ended) {
        (Ok(_), _) => "completed",
        (Err(_), None) => "not_begun",
        (Err(error), Some(_)) => kind_of(error),
    };
    span.record("outcome", outcome);
    telemetry::RETENTION_RUNS.add(1, [outcome]);
    telemetry::RETENTION_RUN_DURATION.note(took, [outcome]);
    for (kind, number) in ended.flatten().iter().flat_map(RetentionRun::removed) {
        telemetry::RETENTION_REMOVED.add(number, [kind]);
    }
    result
}

/// `ended` is told that the run has begun, and then, where it can be read, what became of it.
fn run_unobserved(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    by: &Actor,
    mut archive: Option<&mut dyn Archive>,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ended: &mut Option<Option<RetentionRun>>,
) -> Result<RetentionRun, Error> {
    #[derive(QueryableByName)]
    struct Begun {
        #[diesel(sql_type = BigInt)]
        run: i64,
    }
    refuse_in_transaction(conn)?;
    let cutoffs = policy.resolve(conn)?;
    let silence =
        2 * (policy.statement_timeout + policy.lock_timeout + policy.pause) + Duration::from_secs(10);
    let work = Work { run: None, policy, cutoffs };
    let begun: Begun = work.in_time(conn, |conn| {
        diesel::sql_query(
            "SELECT run FROM threadline.begin_retention($1::jsonb, $2::jsonb, make_interval(secs => $3))",
        )
        .bind::<Text, _>(as_json(by))
        .bind::<Text, _>(work.cutoffs.policy.to_string())
        .bind::<diesel::sql_types::Double, _>(silence.as_secs_f64())
        .get_result(conn)
    })?;
    *ended = Some(None);
    let work = Work { run: Some(begun.run), ..work };
    let result =
        record_begin(conn, begun.run, policy, by).and_then(|()| work.all(conn, &mut archive, progress));
    let (state, kind) = match &result {
        Ok(()) => (RunState::Completed, None),
        Err(error) => (RunState::Failed, Some(kind_of(error))),
    };
    let end = record_end(conn, begun.run, state, kind);
    if let Ok(run) = &end {
        *ended = Some(Some(run.clone()));
    }
    // What had failed is what is told, if this fails too.
    result?;
    end
}

/// A month of the trail as a run sees it.
#[derive(QueryableByName)]
pub(super) struct Month {
    #[diesel(sql_type = Text)]
    pub(super) label: String,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub(super) first_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub(super) end_id: Option<Uuid>,
    #[diesel(sql_type = Bool)]
    pub(super) filler: bool,
}

impl Month {
    /// As it is told to people.
    pub(super) fn name(&self) -> String {
        name_of(&self.label)
    }
}

pub(super) fn name_of(label: &str) -> String {
    label.trim_start_matches('_').to_owned()
}

/// The months that are attached, may have something due, and are not there from an archive; oldest first.
pub(super) fn months_before(conn: &mut PgConnection, newest: DateTime<Utc>) -> Result<Vec<Month>, Error> {
    diesel::sql_query(
        "SELECT p.label, p.first_id, p.end_id, p.filler FROM threadline.partitions() p \
         WHERE NOT p.pending AND (p.first_id IS NULL OR p.first_id < threadline.first_id_at($1)) \
         AND NOT EXISTS (SELECT FROM threadline.retention_months m WHERE m.label = p.label) ORDER BY p.first_id NULLS FIRST",
    )
    .bind::<Timestamptz, _>(newest)
    .load(conn)
    .map_err(|error| Error::from_query(conn, "", error))
}

impl Work<'_> {
    fn all(
        &self,
        conn: &mut PgConnection,
        archive: &mut Option<&mut dyn Archive>,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        #[derive(QueryableByName)]
        struct Leaving {
            #[diesel(sql_type = Text)]
            label: String,
            #[diesel(sql_type = Bool)]
            leaving: bool,
        }
        let mut changed = false;
        // What an earlier run left half-way comes first: a table can have one detach under way.
        let leaving: Vec<Leaving> = diesel::sql_query(
            "SELECT label, state = 'leaving' AS leaving FROM threadline.retention_months WHERE state IN ('leaving', 'released') ORDER BY first_id",
        )
        .load(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
        for Leaving { label, leaving } in leaving {
            changed = true;
            // What was attached from an archive is in it; of the others nobody knows whether they came to be archived.
            let archived = if leaving { self.archive(conn, &label, archive, progress)? } else { None };
            self.finish(conn, &label, archived.as_ref(), progress)?;
        }
        if let Some(newest) = self.cutoffs.newest {
            for month in months_before(conn, newest)? {
                let leaves = !month.filler && self.verdict(conn, &month)? == "due";
                if leaves && self.is_detaching(conn)? {
                    tell(progress, &Progress::Postponed { month: month.name() })?;
                    continue;
                }
                if leaves {
                    // Before it is decided: what cannot be archived stays part of the trail.
                    let archived = self.archive(conn, &month.label, archive, progress)?;
                    if self.decide(conn, &month)? {
                        changed = true;
                        self.finish(conn, &month.label, archived.as_ref(), progress)?;
                        continue;
                    }
                }
                self.thin(conn, &month, archive.is_some(), progress)?;
            }
        }
        self.expire(conn)?;
        if changed {
            // The gap is for writes of a clock that was set back; maintenance fills it too.
            let _ = partitions::maintain(conn, &partitions::MaintainOptions::default());
        }
        Ok(())
    }

    /// Whether a detach that was begun could not be finished: there can be no other meanwhile.
    fn is_detaching(&self, conn: &mut PgConnection) -> Result<bool, Error> {
        #[derive(QueryableByName)]
        struct Detaching {
            #[diesel(sql_type = Bool)]
            detaching: bool,
        }
        diesel::sql_query(
            "SELECT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent \
             WHERE i.inhdetachpending AND c.relnamespace = 'threadline'::regnamespace) AS detaching",
        )
        .get_result(conn)
        .map(|Detaching { detaching }| detaching)
        .map_err(|error| Error::from_query(conn, "", error))
    }

    fn archive(
        &self,
        conn: &mut PgConnection,
        label: &str,
        archive: &mut Option<&mut dyn Archive>,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Option<Counts>, Error> {
        let Some(archive) = archive.as_deref_mut() else { return Ok(None) };
        tell(progress, &Progress::Archiving { month: name_of(label) })?;
        month::archive(self, conn, label, archive).map(Some)
    }

    fn finish(
        &self,
        conn: &mut PgConnection,
        label: &str,
        archived: Option<&Counts>,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        match month::remove(self, conn, label, archived)? {
            Left::Dropped { bytes } => tell(progress, &Progress::Dropped { month: name_of(label), bytes }),
            Left::Postponed => tell(progress, &Progress::Postponed { month: name_of(label) }),
            Left::Stays => Ok(()),
        }
    }

    pub(super) fn verdict(&self, conn: &mut PgConnection, month: &Month) -> Result<String, Error> {
        #[derive(QueryableByName)]
        struct Verdict {
            #[diesel(sql_type = Text)]
            verdict: String,
        }
        diesel::sql_query(
            "SELECT verdict FROM threadline.retention_verdict($1, coalesce($2, '00000000-0000-0000-0000-000000000000'), $3, $4::jsonb)",
        )
        .bind::<Text, _>(&month.label)
        .bind::<Nullable<SqlUuid>, _>(month.first_id)
        .bind::<Nullable<SqlUuid>, _>(month.end_id)
        .bind::<Text, _>(self.cutoffs.policy.to_string())
        .get_result(conn)
        .map(|Verdict { verdict }| verdict)
        .map_err(|error| Error::from_query(conn, "", error))
    }

    fn decide(&self, conn: &mut PgConnection, month: &Month) -> Result<bool, Error> {
        #[derive(QueryableByName)]
        struct Decided {
            #[diesel(sql_type = Text)]
            verdict: String,
        }
        let decided: Decided = self.in_time(conn, |conn| {
            diesel::sql_query("SELECT threadline.retention_leave($1, $2, $3::jsonb) AS verdict")
                .bind::<Nullable<BigInt>, _>(self.run)
                .bind::<Text, _>(&month.label)
                .bind::<Text, _>(self.cutoffs.policy.to_string())
                .get_result(conn)
        })?;
        Ok(decided.verdict == "due")
    }

    /// Removes what is due from a month that stays, batch by batch.
    fn thin(
        &self,
        conn: &mut PgConnection,
        month: &Month,
        whole_months: bool,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        #[derive(QueryableByName)]
        struct Batch {
            #[diesel(sql_type = BigInt)]
            row_count: i64,
            #[diesel(sql_type = Nullable<Timestamptz>)]
            last_at: Option<DateTime<Utc>>,
            #[diesel(sql_type = Nullable<SqlUuid>)]
            last_id: Option<Uuid>,
            #[diesel(sql_type = Bool)]
            more: bool,
        }
        let policy =
            if whole_months { self.cutoffs.passed(month) } else { self.cutoffs.policy.clone() }.to_string();
        let rows = i32::try_from(self.policy.batch_rows).unwrap_or(i32::MAX);
        let mut steps: Vec<Option<i32>> =
            tables_due(conn, &month.label, &policy)?.into_iter().map(Some).collect();
        // The actions last: they wait for the changes of their transactions.
        steps.push(None);
        for step in steps {
            let (mut after_at, mut after_id) = (None, None);
            loop {
                let (batch, took) = telemetry::timed(|| {
                    self.in_time(conn, |conn| match step {
                    Some(table_id) => diesel::sql_query(
                        "SELECT row_count, last_at, last_id, more FROM threadline.retention_batch($1, $2, $3, $4::jsonb, $5, $6, $7)",
                    )
                    .bind::<Nullable<BigInt>, _>(self.run)
                    .bind::<Text, _>(&month.label)
                    .bind::<Integer, _>(table_id)
                    .bind::<Text, _>(&policy)
                    .bind::<Nullable<Timestamptz>, _>(after_at)
                    .bind::<Nullable<SqlUuid>, _>(after_id)
                    .bind::<Integer, _>(rows)
                    .get_result(conn),
                    None => diesel::sql_query(
                        "SELECT actions + transactions AS row_count, NULL::timestamptz AS last_at, last_id, more \
                         FROM threadline.retention_actions($1, $2, $3::jsonb, $4, $5)",
                    )
                    .bind::<Nullable<BigInt>, _>(self.run)
                    .bind::<Text, _>(&month.label)
                    .bind::<Text, _>(&policy)
                    .bind::<Nullable<SqlUuid>, _>(after_id)
                    .bind::<Integer, _>(rows)
                    .get_result(conn),
                })
                });
                telemetry::RETENTION_BATCH_DURATION.note(took, []);
                let batch: Batch = batch?;
                if batch.row_count > 0 {
                    let rows = batch.row_count.unsigned_abs();
                    tell(progress, &Progress::Batch { month: month.name(), rows })?;
                }
                if !batch.more {
                    break;
                }
                (after_at, after_id) = (batch.last_at, batch.last_id);
                sleep(self.policy.pause);
            }
        }
        Ok(())
    }

    /// What others keep, by windows of its own: export jobs, evidence, the access log; and what is known of earlier runs.
    fn expire(&self, conn: &mut PgConnection) -> Result<(), Error> {
        #[derive(QueryableByName)]
        struct Expired {
            #[diesel(sql_type = BigInt)]
            expired: i64,
        }
        let kinds = [
            ("exports", self.policy.exports),
            ("evidence", self.policy.evidence),
            ("access_log", self.policy.access_log),
        ];
        for (kind, window) in kinds {
            let Some(older_than) = window.and_then(|window| before(self.cutoffs.now, window)) else {
                continue;
            };
            let function = format!("threadline.expire_{kind}(timestamptz, integer)");
            if !is_there(conn, &function)? {
                continue;
            }
            loop {
                let Expired { expired } = self.in_time(conn, |conn| {
                    diesel::sql_query("SELECT threadline.retention_beat($1)")
                        .bind::<Nullable<BigInt>, _>(self.run)
                        .execute(conn)?;
                    diesel::sql_query(format!(
                        "WITH e AS MATERIALIZED (SELECT threadline.expire_{kind}($2, $3) AS expired), \
                         counted AS (UPDATE threadline.retention_runs SET {kind} = {kind} + e.expired FROM e WHERE id = $1) \
                         SELECT expired FROM e"
                    ))
                    .bind::<Nullable<BigInt>, _>(self.run)
                    .bind::<Timestamptz, _>(older_than)
                    .bind::<Integer, _>(i32::try_from(self.policy.batch_rows).unwrap_or(i32::MAX))
                    .get_result(conn)
                })?;
                if expired < i64::from(self.policy.batch_rows) {
                    break;
                }
                sleep(self.policy.pause);
            }
        }
        self.expire_baselines(conn)?;
        if let Some(older_than) = self.policy.runs.and_then(|window| before(self.cutoffs.now, window)) {
            self.in_time(conn, |conn| {
                diesel::sql_query(
                    "WITH gone AS (DELETE FROM threadline.retention_runs WHERE state <> 'running' AND started_at < $2 RETURNING 1) \
                     UPDATE threadline.retention_runs SET runs = runs + (SELECT count(*) FROM gone) WHERE id = $1",
                )
                .bind::<Nullable<BigInt>, _>(self.run)
                .bind::<Timestamptz, _>(older_than)
                .execute(conn)
            })?;
        }
        Ok(())
    }

    /// Recorded baselines go by the windows of their tables: once a table's past is no longer whole from one of them on, there is
    /// nothing that it could tell.
    fn expire_baselines(&self, conn: &mut PgConnection) -> Result<(), Error> {
        #[derive(QueryableByName)]
        struct Expired {
            #[diesel(sql_type = BigInt)]
            expired: i64,
        }
        if !is_there(conn, "threadline.expire_baselines(jsonb, integer)")? {
            return Ok(());
        }
        loop {
            let Expired { expired } = self.in_time(conn, |conn| {
                diesel::sql_query("SELECT threadline.retention_beat($1)")
                    .bind::<Nullable<BigInt>, _>(self.run)
                    .execute(conn)?;
                diesel::sql_query(
                    "WITH e AS MATERIALIZED (SELECT threadline.expire_baselines($2::jsonb, $3) AS expired), \
                     counted AS (UPDATE threadline.retention_runs SET baseline_rows = baseline_rows + e.expired FROM e WHERE id = $1) \
                     SELECT expired FROM e",
                )
                .bind::<Nullable<BigInt>, _>(self.run)
                .bind::<Text, _>(self.cutoffs.policy.to_string())
                .bind::<Integer, _>(i32::try_from(self.policy.batch_rows).unwrap_or(i32::MAX))
                .get_result(conn)
            })?;
            if expired < i64::from(self.policy.batch_rows) {
                return Ok(());
            }
            sleep(self.policy.pause);
        }
    }

    /// One transaction under the timeouts, in which each statement sees what was committed before it: a hold that was placed while
    /// it waited for a lock counts. Once more when it gave way to another or a lock was not free in time.
    pub(super) fn in_time<T>(
        &self,
        conn: &mut PgConnection,
        mut body: impl FnMut(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, Error> {
        let timeouts = format!(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}",
            self.policy.lock_timeout.as_millis(),
            self.policy.statement_timeout.as_millis()
        );
        let mut attempt = 0_u32;
        loop {
            let result = conn.transaction(|conn| {
                conn.batch_execute(&timeouts)?;
                body(conn)
            });
            match result {
                Err(error) if attempt < 5 && (gave_way(&error) || is_lock_timeout(&error)) => {
                    sleep(Duration::from_millis(50) * 2_u32.pow(attempt));
                    attempt += 1;
                }
                result => return result.map_err(|error| Error::from_query(conn, "", error)),
            }
        }
    }
}

/// The tables of which a month has changes that are older than their window.
fn tables_due(conn: &mut PgConnection, label: &str, policy: &str) -> Result<Vec<i32>, Error> {
    #[derive(QueryableByName)]
    struct Due {
        #[diesel(sql_type = Array<Integer>)]
        tables: Vec<i32>,
    }
    diesel::sql_query("SELECT threadline.tables_due($1, $2::jsonb) AS tables")
        .bind::<Text, _>(label)
        .bind::<Text, _>(policy)
        .get_result(conn)
        .map(|Due { tables }| tables)
        .map_err(|error| Error::from_query(conn, "", error))
}

pub(super) fn is_there(conn: &mut PgConnection, function: &str) -> Result<bool, Error> {
    #[derive(QueryableByName)]
    struct There {
        #[diesel(sql_type = Bool)]
        there: bool,
    }
    diesel::sql_query("SELECT to_regprocedure($1) IS NOT NULL AS there")
        .bind::<Text, _>(function)
        .get_result(conn)
        .map(|There { there }| there)
        .map_err(|error| Error::from_query(conn, "", error))
}

pub(super) fn refuse_in_transaction(conn: &mut PgConnection) -> Result<(), Error> {
    if depth(conn)? > 0 {
        return Err(Error::Refused {
            message: "retention does not run inside an open transaction".to_owned(),
            hint: Some("call it on a connection of its own".to_owned()),
        });
    }
    Ok(())
}

fn tell(progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>, step: &Progress) -> Result<(), Error> {
    match progress(step) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::RetentionStopped),
    }
}

pub(super) fn is_timeout(error: &diesel::result::Error) -> bool {
    is_lock_timeout(error) || is_statement_timeout(error)
}

fn is_statement_timeout(error: &diesel::result::Error) -> bool {
    matches!(error, diesel::result::Error::DatabaseError(_, information) if information.message().contains("statement timeout"))
}

/// PostgreSQL's message is all there is to tell it by.
pub(crate) fn is_lock_timeout(error: &diesel::result::Error) -> bool {
    matches!(error, diesel::result::Error::DatabaseError(_, information) if information.message().contains("lock timeout"))
}

fn kind_of(error: &Error) -> &'static str {
    match error {
        Error::RetentionStopped => "stopped",
        Error::Archive { .. } | Error::ArchiveUnsound { .. } => "archive",
        Error::ConnectionLost(_) => "connection_lost",
        Error::Query(query) if is_lock_timeout(query) => "lock_timeout",
        Error::Query(query) if is_statement_timeout(query) => "statement_timeout",
        Error::Refused { message, .. } if message.contains("taken for dead") => "superseded",
        _ => "other",
    }
}
