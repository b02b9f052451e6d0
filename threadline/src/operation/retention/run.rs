//! A run of retention: from what has gone to what is left.

use std::ops::ControlFlow;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Uuid as SqlUuid};
use tracing::field::Empty;

use super::archive::{self, Archive, Archived};
use super::month::{self, Left};
use super::policy::RetentionPolicy;
use super::record::{RetentionRun, RunState, record_begin, record_end};
use super::work::{
    Month, Work, is_lock_timeout, is_statement_timeout, months_before, name_of, refuse_in_transaction,
};
use crate::error::Error;
use crate::intent::Actor;
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
    /// A month is left for a later run: another session restores it or lets it go.
    Busy {
        /// As in `Batch`.
        month: String,
    },
    /// A month leaves in a later run: transactions are open that may still read it, or one before it.
    Postponed {
        /// As in `Batch`.
        month: String,
    },
}

/// Removes all that is due and may go, as `policy` says at the moment it begins.
///
/// `archive` gets every month before it leaves. With one, the end of a window is not followed day by day: a table's changes wait
/// until the window has passed their whole month, so that the month can leave as a whole. What leaves a month that cannot go as
/// a whole, because other tables are kept for longer or something is held, is archived batch by batch: nothing is deleted before
/// it was written, read back, and found to be the same.
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
/// [`Error::RetentionRunning`] when a run is alive; [`Error::RetentionStopped`]; [`Error::RetentionSuperseded`]; [`Error::Archive`] and [`Error::ArchiveUnsound`], which leave the month where it is;
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
    let work = Work::outside(policy, cutoffs);
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
    let end = record_end(conn, begun.run, state, kind, &work.left_for_later.borrow());
    if let Ok(run) = &end {
        *ended = Some(Some(run.clone()));
    }
    // What had failed is what is told, if this fails too.
    result?;
    end
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
            // What was attached from an archive is to be in it still; of the others nobody knows whether they came to be archived.
            let left = if leaving {
                let archived = self.archive(conn, &label, archive, progress)?;
                month::remove(self, conn, &label, archived.as_ref())?
            } else {
                self.verify(conn, &label, archive)?;
                month::remove_released(self, conn, &label)?
            };
            self.finish(&label, &left, progress)?;
        }
        if let Some(newest) = self.cutoffs.newest {
            for month in months_before(conn, newest)? {
                match self.month(conn, &month, archive, progress) {
                    // Fillers give way to a month that is restored, and to other fillers.
                    Err(Error::Query(_)) if !is_there(conn, &month.label)? => {}
                    left => changed |= left?,
                }
            }
        }
        self.expire(conn)?;
        if changed {
            // The gap is for writes of a clock that was set back; maintenance fills it too.
            let _ = partitions::maintain(conn, &partitions::MaintainOptions::default());
        }
        Ok(())
    }

    /// Removes what is due of a month. Returns whether it was decided that the whole of it leaves.
    fn month(
        &self,
        conn: &mut PgConnection,
        month: &Month,
        archive: &mut Option<&mut dyn Archive>,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<bool, Error> {
        if !month.filler && self.verdict(conn, month)? == "due" {
            if self.is_detaching(conn)? {
                self.tell_postponed(&month.name(), progress)?;
                return Ok(false);
            }
            // Before it is decided: what cannot be archived stays part of the trail.
            let archived = self.archive(conn, &month.label, archive, progress)?;
            if self.decide(conn, month)? {
                let left = month::remove(self, conn, &month.label, archived.as_ref())?;
                self.finish(&month.label, &left, progress)?;
                return Ok(true);
            }
        }
        self.thin(conn, month, archive, progress)?;
        Ok(false)
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
    ) -> Result<Option<Archived>, Error> {
        let Some(archive) = archive.as_deref_mut() else { return Ok(None) };
        tell(progress, &Progress::Archiving { month: name_of(label) })?;
        month::archive(self, conn, label, archive).map(Some)
    }

    /// That the archive still has a month that is to go again; where it has not, the month stays.
    fn verify(
        &self,
        conn: &mut PgConnection,
        label: &str,
        archive: &mut Option<&mut dyn Archive>,
    ) -> Result<(), Error> {
        let Some(archive) = archive.as_deref_mut() else { return Ok(()) };
        let verified = archive::verify(conn, archive, label);
        if verified.is_err() {
            month::stay(self, conn, label)?;
        }
        verified
    }

    fn finish(
        &self,
        label: &str,
        left: &Left,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let month = name_of(label);
        match left {
            Left::Dropped { bytes } => tell(progress, &Progress::Dropped { month, bytes: *bytes }),
            Left::Postponed => self.tell_postponed(&month, progress),
            Left::Taken => self.tell_busy(&month, progress),
            Left::Stays | Left::Gone => Ok(()),
        }
    }

    fn tell_postponed(
        &self,
        month: &str,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.leave_for_later(month);
        tell(progress, &Progress::Postponed { month: month.to_owned() })
    }

    pub(super) fn tell_busy(
        &self,
        month: &str,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.leave_for_later(month);
        tell(progress, &Progress::Busy { month: month.to_owned() })
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
}

/// Whether the trail has partitions for a month still.
fn is_there(conn: &mut PgConnection, label: &str) -> Result<bool, Error> {
    #[derive(QueryableByName)]
    struct There {
        #[diesel(sql_type = Bool)]
        there: bool,
    }
    diesel::sql_query("SELECT EXISTS (SELECT FROM threadline.partitions() p WHERE p.label = $1) AS there")
        .bind::<Text, _>(label)
        .get_result(conn)
        .map(|There { there }| there)
        .map_err(|error| Error::from_query(conn, "", error))
}

pub(super) fn tell(
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    step: &Progress,
) -> Result<(), Error> {
    match progress(step) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::RetentionStopped),
    }
}

fn kind_of(error: &Error) -> &'static str {
    match error {
        Error::RetentionStopped => "stopped",
        Error::Archive { .. } | Error::ArchiveUnsound { .. } => "archive",
        Error::ConnectionLost(_) => "connection_lost",
        Error::Query(query) if is_lock_timeout(query) => "lock_timeout",
        Error::Query(query) if is_statement_timeout(query) => "statement_timeout",
        Error::RetentionSuperseded => "superseded",
        _ => "other",
    }
}
