//! What happened to a row: its versions, newest first.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, Text, Uuid as SqlUuid};
use serde::Serialize;
use uuid::Uuid;

use super::change::{AuditChange, AuditTransaction};
use super::decode::DecodeError;
use super::fold::{self, Step};
use super::image::RowState;
use super::key::{RowKey, WalkKey};
use super::log::{self, Reach};
use crate::capture::TableName;
use crate::error::Error;

/// How many versions to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryLimit {
    /// The newest ones, at most so many.
    Newest(u32),
    /// All of them; a row may have very many.
    All,
}

impl Default for HistoryLimit {
    /// The newest 200.
    fn default() -> Self {
        Self::Newest(200)
    }
}

/// The versions of one row, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History<M> {
    /// One for each captured change, newest first.
    pub versions: Vec<Version<M>>,
    /// Whether there are older versions than these. Exact.
    pub has_more: bool,
}

/// One captured change of a row, with the row on both sides of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Version<M> {
    /// The change.
    pub change: AuditChange,
    /// The transaction it was part of; `None` when that row has gone.
    pub transaction: Option<AuditTransaction>,
    /// The row right before the change.
    pub before: RowState,
    /// The row right after it.
    pub after: RowState,
    /// Whether a write between this change and the next newer one (or the row as it is now) escaped capture: the row was
    /// not as this change left it. `before` and `after` then follow what this change says.
    pub gap: bool,
    /// `after` as the model, when the row existed and all of it is known.
    pub row: Option<Result<M, DecodeError>>,
}

/// The versions of a row without a model, newest first.
///
/// The table may be gone: then its history is found under its last name, and keys are compared as text.
///
/// # Errors
///
/// [`Error::NotAudited`] for a table the trail does not know, [`Error::Refused`] when `key` does not name the table's key
/// columns; a value that is not of a column's type is PostgreSQL's error, in [`Error::Query`].
pub fn row_history(
    conn: &mut PgConnection,
    table: &TableName,
    key: &RowKey,
    limit: HistoryLimit,
) -> Result<History<()>, Error> {
    read(conn, &table.to_sql(), key, limit)
}

pub(crate) fn read<M>(
    conn: &mut PgConnection,
    table: &str,
    key: &impl WalkKey,
    limit: HistoryLimit,
) -> Result<History<M>, Error> {
    // One more than wanted says whether there are more.
    let (wanted, reach) = match limit {
        HistoryLimit::Newest(limit) => (limit as usize, Reach::Newest(Some(limit.saturating_add(1)))),
        HistoryLimit::All => (usize::MAX, Reach::Newest(None)),
    };
    let log = log::read(conn, table, key, reach)?;
    let has_more = log.changes.len() > wanted;
    let mut steps = fold::fold(log).steps;
    steps.truncate(wanted);
    let transactions = transactions_of(conn, table, &steps)?;
    let versions = steps.into_iter().map(|step| Version {
        transaction: transactions.get(&step.change.id.transaction_id).cloned(),
        change: step.change,
        before: step.before,
        after: step.after,
        gap: step.gap,
        row: None,
    });
    Ok(History { versions: versions.collect(), has_more })
}

/// Their transactions, read by id on their own: joined to the changes, planning alone would take longer than both reads.
fn transactions_of(
    conn: &mut PgConnection,
    table: &str,
    steps: &[Step],
) -> Result<BTreeMap<Uuid, AuditTransaction>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        transaction: String,
    }
    let mut ids: Vec<Uuid> = steps.iter().map(|step| step.change.id.transaction_id).collect();
    ids.dedup();
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT to_jsonb(t)::text AS transaction FROM threadline.audit_transactions t WHERE t.id = ANY ($1)",
    )
    .bind::<Array<SqlUuid>, _>(ids)
    .load(conn)
    .map_err(|error| Error::from_query(conn, table, error))?;
    rows.iter()
        .map(|row| {
            serde_json::from_str::<AuditTransaction>(&row.transaction)
                .map(|transaction| (transaction.id, transaction))
        })
        .collect::<Result<_, _>>()
        .map_err(Error::Payload)
}
