//! What a run would remove, without removing it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Nullable, Text, Timestamptz};
use serde::Serialize;
use serde_json::Value;

use super::policy::{RetentionPolicy, before, instant_of};
use super::work::{Month, Work, months_before};
use crate::capture::TableName;
use crate::error::Error;

/// A month that goes as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedMonth {
    /// As the names of its partitions end: `2025_01`.
    pub month: String,
    /// Where it begins; `None` for the beginning of time.
    pub from: Option<DateTime<Utc>>,
    /// Where it ends, exclusive.
    pub to: Option<DateTime<Utc>>,
    /// Its changes.
    pub changes: u64,
    /// Its transactions.
    pub transactions: u64,
    /// Its actions.
    pub actions: u64,
    /// What the disk gets back.
    pub bytes: u64,
}

/// What goes from a month that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedThinning {
    /// As in [`PlannedMonth`].
    pub month: String,
    /// Changes by table, in the order of the tables' numbers.
    pub changes: Vec<(TableName, u64)>,
    /// Transactions of which nothing is left.
    pub transactions: u64,
    /// Actions.
    pub actions: u64,
    /// How many batches that takes at least.
    pub batches: u64,
}

/// What is past its window, and waits for its month to end, so that it is archived as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedWait {
    /// As in [`PlannedMonth`].
    pub month: String,
    /// Changes that would go now without an archive.
    pub changes: u64,
    /// Actions that would.
    pub actions: u64,
    /// When the first of it goes: a window after the end of the month.
    pub until: DateTime<Utc>,
}

/// What goes beside the trail, by windows of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedBeside {
    /// Export jobs of which the storage has nothing.
    pub exports: u64,
    /// Records of evidence; none about a hold that is in force.
    pub evidence: u64,
    /// What is known of earlier runs.
    pub runs: u64,
    /// Rows of recorded baselines, which go by the windows of their tables.
    pub baseline_rows: u64,
}

impl PlannedBeside {
    /// Each kind by its name, as in [`RetentionRun`](super::RetentionRun), and its number.
    pub fn kinds(&self) -> [(&'static str, u64); 4] {
        [
            ("exports", self.exports),
            ("evidence", self.evidence),
            ("runs", self.runs),
            ("baseline_rows", self.baseline_rows),
        ]
    }
}

/// What a run would remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RetentionPlan {
    /// The moment it is about; later on more is due.
    pub at: DateTime<Utc>,
    /// Months that go as a whole, oldest first. One leaves later when transactions are open that may still read it.
    pub months: Vec<PlannedMonth>,
    /// Months that something goes from, oldest first.
    pub thinned: Vec<PlannedThinning>,
    /// With an archive, what stays until its month has passed its window, oldest first.
    pub waiting: Vec<PlannedWait>,
    /// What goes beside the trail. A log of accesses, where a host keeps one, is not counted.
    pub beside: PlannedBeside,
    /// How long that takes by the rate of the last 20 runs, pauses included; `None` when they have not done the like.
    pub estimate: Option<Duration>,
}

/// What [`run`](super::run) would remove now, exactly, and how long it would take. Changes nothing; reads all
/// that is due. `archiving` says whether the run would have an archive.
///
/// # Errors
///
/// [`Error::Refused`] when the policy is not sound, or the role is not the owner of schema `threadline`, nor was granted what it
/// takes; others of the database.
pub fn plan(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    archiving: bool,
) -> Result<RetentionPlan, Error> {
    refuse_other_role(conn)?;
    let cutoffs = policy.resolve(conn)?;
    let work = Work::outside(policy, cutoffs);
    let mut plan = RetentionPlan {
        at: work.cutoffs.now,
        months: Vec::new(),
        thinned: Vec::new(),
        waiting: Vec::new(),
        beside: beside(conn, &work)?,
        estimate: None,
    };
    let months = match work.cutoffs.newest {
        Some(newest) => months_before(conn, newest)?,
        None => Vec::new(),
    };
    for month in months {
        if !month.filler && work.verdict(conn, &month)? == "due" {
            plan.months.push(whole(conn, &month)?);
            continue;
        }
        let thinned = thinning(conn, &work, &month, archiving)?;
        if archiving && let Some(until) = work.cutoffs.wait(&month) {
            let past = thinning(conn, &work, &month, false)?;
            let count = |part: &Option<PlannedThinning>| {
                part.as_ref().map_or((0, 0), |part| {
                    (part.changes.iter().map(|(_, changes)| changes).sum::<u64>(), part.actions)
                })
            };
            let ((all, all_actions), (now, now_actions)) = (count(&past), count(&thinned));
            let (changes, actions) = (all.saturating_sub(now), all_actions.saturating_sub(now_actions));
            if changes + actions > 0 {
                plan.waiting.push(PlannedWait { month: month.name(), changes, actions, until });
            }
        }
        plan.thinned.extend(thinned);
    }
    plan.estimate = estimate(conn, policy, &plan)?;
    Ok(plan)
}

/// Says which role it takes, before the database refuses one of the statements.
fn refuse_other_role(conn: &mut PgConnection) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Role {
        #[diesel(sql_type = Text)]
        role: String,
        #[diesel(sql_type = Text)]
        owner: String,
    }
    let other: Option<Role> = diesel::sql_query(
        "SELECT current_user::text AS role, pg_get_userbyid(n.nspowner)::text AS owner FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE n.nspname = 'threadline' AND p.proname = 'retention_verdict' \
         AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE'))",
    )
    .get_result(conn)
    .optional()
    .map_err(|error| Error::from_query(conn, "", error))?;
    other.map_or(Ok(()), |Role { role, owner }| {
        Err(Error::Refused {
            message: format!(
                "role `{role}` may not plan or run retention, which takes the owner of schema `threadline`"
            ),
            hint: Some(format!("connect as `{owner}`, or as a member of it")),
        })
    })
}

/// As `expire` would remove it.
fn beside(conn: &mut PgConnection, work: &Work<'_>) -> Result<PlannedBeside, Error> {
    #[derive(QueryableByName)]
    struct Counted {
        #[diesel(sql_type = BigInt)]
        exports: i64,
        #[diesel(sql_type = BigInt)]
        evidence: i64,
        #[diesel(sql_type = BigInt)]
        runs: i64,
        #[diesel(sql_type = BigInt)]
        baseline_rows: i64,
    }
    let cutoff = |window: Option<Duration>| window.and_then(|window| before(work.cutoffs.now, window));
    let counted: Counted = diesel::sql_query(
        "SELECT (SELECT count(*) FROM threadline.export_jobs j WHERE j.cleaned_at IS NOT NULL AND j.finished_at < $1) AS exports, \
         (SELECT count(*) FROM threadline.evidence_records r WHERE r.recorded_at < $2 AND NOT (r.subject = 'legal_hold' AND EXISTS \
             (SELECT FROM threadline.legal_holds h WHERE h.released_at IS NULL AND h.id::text = r.reference ->> 'hold'))) AS evidence, \
         (SELECT count(*) FROM threadline.retention_runs r WHERE r.state <> 'running' AND coalesce(r.ended_at, r.started_at) < $3) AS runs, \
         (SELECT count(*) FROM threadline.audit_baseline_rows r JOIN threadline.audit_baselines b ON b.id = r.baseline_id \
             WHERE b.recorded_at < threadline.retention_cutoff($4::jsonb, 'tables', b.table_id::text) AND NOT EXISTS (SELECT FROM threadline.legal_holds h \
             WHERE h.released_at IS NULL AND coalesce(h.table_id = b.table_id, true) AND coalesce(h.held_to >= b.recorded_at, true))) AS baseline_rows",
    )
    .bind::<Nullable<Timestamptz>, _>(cutoff(Some(work.policy.exports)))
    .bind::<Nullable<Timestamptz>, _>(cutoff(work.policy.evidence))
    .bind::<Nullable<Timestamptz>, _>(cutoff(work.policy.runs))
    .bind::<Text, _>(work.cutoffs.policy.to_string())
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    Ok(PlannedBeside {
        exports: counted.exports.unsigned_abs(),
        evidence: counted.evidence.unsigned_abs(),
        runs: counted.runs.unsigned_abs(),
        baseline_rows: counted.baseline_rows.unsigned_abs(),
    })
}

#[derive(QueryableByName)]
struct Entry {
    #[diesel(sql_type = Text)]
    entry: String,
}

fn whole(conn: &mut PgConnection, month: &Month) -> Result<PlannedMonth, Error> {
    let entry: Entry = diesel::sql_query(
        "SELECT (threadline.month_counts($1) || jsonb_build_object('bytes', (SELECT p.size_bytes FROM threadline.partitions() p WHERE p.label = $1)))::text AS entry",
    )
    .bind::<Text, _>(&month.label)
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    let counts: Value = serde_json::from_str(&entry.entry).map_err(Error::Payload)?;
    Ok(PlannedMonth {
        month: month.name(),
        from: month.first_id.map(instant_of),
        to: month.end_id.map(instant_of),
        changes: number(&counts["audit_changes"]),
        transactions: number(&counts["audit_transactions"]),
        actions: number(&counts["audit_actions"]),
        bytes: number(&counts["bytes"]),
    })
}

fn thinning(
    conn: &mut PgConnection,
    work: &Work<'_>,
    month: &Month,
    archiving: bool,
) -> Result<Option<PlannedThinning>, Error> {
    let policy = if archiving { work.cutoffs.passed(month) } else { work.cutoffs.policy.clone() };
    let entry: Entry = diesel::sql_query(
        "SELECT (f || jsonb_build_object('tables', (SELECT coalesce(jsonb_agg(jsonb_build_array(jsonb_build_object('schema', a.schema_name, 'name', a.table_name), t.value) \
         ORDER BY a.id), '[]') FROM jsonb_each(f -> 'tables') t JOIN threadline.audited_tables a ON a.id = t.key::integer)))::text AS entry \
         FROM threadline.retention_forecast($1, $2::jsonb) f",
    )
    .bind::<Text, _>(&month.label)
    .bind::<Text, _>(policy.to_string())
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    let found: Value = serde_json::from_str(&entry.entry).map_err(Error::Payload)?;
    let changes: Vec<(TableName, u64)> =
        serde_json::from_value(found["tables"].clone()).map_err(Error::Payload)?;
    let (actions, transactions) = (number(&found["actions"]), number(&found["transactions"]));
    if changes.is_empty() && actions == 0 {
        return Ok(None);
    }
    let rows = u64::from(work.policy.batch_rows);
    let batches = changes.iter().map(|(_, count)| count.div_ceil(rows)).sum::<u64>() + actions.div_ceil(rows);
    Ok(Some(PlannedThinning { month: month.name(), changes, transactions, actions, batches }))
}

/// By what earlier runs took for a row in a batch and for a month.
fn estimate(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    plan: &RetentionPlan,
) -> Result<Option<Duration>, Error> {
    #[derive(QueryableByName)]
    struct Rate {
        #[diesel(sql_type = Nullable<Double>)]
        by_row: Option<f64>,
        #[diesel(sql_type = Nullable<Double>)]
        by_month: Option<f64>,
    }
    let rate: Rate = diesel::sql_query(
        "SELECT extract(epoch FROM sum(r.batch_time))::double precision / nullif(sum(r.batch_rows), 0)::double precision AS by_row, \
         extract(epoch FROM sum(r.month_time))::double precision / nullif(sum(r.months), 0)::double precision AS by_month \
         FROM (SELECT * FROM threadline.retention_runs ORDER BY id DESC LIMIT 20) r",
    )
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    let rows: u64 = plan
        .thinned
        .iter()
        .map(|month| {
            month.changes.iter().map(|(_, count)| count).sum::<u64>() + month.actions + month.transactions
        })
        .sum();
    let batches: u64 = plan.thinned.iter().map(|month| month.batches).sum();
    let part = |count: u64, rate: Option<f64>| match (count, rate) {
        (0, _) => Some(0.0),
        (count, Some(rate)) => Some(count as f64 * rate),
        (_, None) => None,
    };
    let seconds = part(rows, rate.by_row).zip(part(plan.months.len() as u64, rate.by_month));
    Ok(seconds.and_then(|(batched, whole)| {
        Duration::try_from_secs_f64(batched + whole + batches as f64 * policy.pause.as_secs_f64()).ok()
    }))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
