//! What a run would remove, without removing it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Double, Nullable, Text};
use serde::Serialize;
use serde_json::Value;

use super::policy::{RetentionPolicy, instant_of};
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
    /// How long that takes by the rate of the last 20 runs, pauses included; `None` when they have not done the like.
    pub estimate: Option<Duration>,
}

/// What [`run`](super::run) would remove from the trail now, exactly, and how long it would take. Changes nothing; reads all
/// that is due. `archiving` says whether the run would have an archive.
///
/// # Errors
///
/// [`Error::Refused`] when the policy is not sound; others of the database.
pub fn plan(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    archiving: bool,
) -> Result<RetentionPlan, Error> {
    let cutoffs = policy.resolve(conn)?;
    let work = Work::outside(policy, cutoffs);
    let mut plan =
        RetentionPlan { at: work.cutoffs.now, months: Vec::new(), thinned: Vec::new(), estimate: None };
    let months = match work.cutoffs.newest {
        Some(newest) => months_before(conn, newest)?,
        None => Vec::new(),
    };
    for month in months {
        if !month.filler && work.verdict(conn, &month)? == "due" {
            plan.months.push(whole(conn, &month)?);
        } else if let Some(thinned) = thinning(conn, &work, &month, archiving)? {
            plan.thinned.push(thinned);
        }
    }
    plan.estimate = estimate(conn, policy, &plan)?;
    Ok(plan)
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
