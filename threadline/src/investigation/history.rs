//! What happened to a row: its versions, newest first.

use diesel::prelude::*;
use serde::Serialize;

use super::baseline::BaselineVersion;
use super::change::{AuditAction, AuditChange, AuditTransaction};
use super::decode::DecodeError;
use super::fold::{self, Folded};
use super::image::RowState;
use super::key::{RowKey, WalkKey};
use super::log::{self, Reach};
use super::scope::{ResolvedScope, Surface};
use super::timeline::Who;
use super::trail::Trail;
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
    /// The row as recorded baselines have it, newest first, as far back as the versions go. Snapshots, not changes: nobody wrote
    /// the row then.
    pub baselines: Vec<BaselineVersion>,
}

/// One captured change of a row, with the row on both sides of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Version<M> {
    /// The change.
    pub change: AuditChange,
    /// The transaction it was part of; `None` when that row has gone.
    pub transaction: Option<AuditTransaction>,
    /// The action the transaction was begun with.
    pub action: Option<AuditAction>,
    /// The row right before the change.
    pub before: RowState,
    /// The row right after it.
    pub after: RowState,
    /// Whether a write between this change and the next newer one (or the row as it is now) escaped capture: the row was
    /// not as this change left it. `before` and `after` then follow what this change says. Not told of what was captured
    /// before the table's horizon: there retention has removed changes.
    pub gap: bool,
    /// `after` as the model, when the row existed and all of it is known.
    pub row: Option<Result<M, DecodeError>>,
}

impl Trail {
    /// The versions of a row without a model, newest first.
    ///
    /// The table may be gone: then its history is found under its last name, and keys are compared as text. A version that
    /// may not be seen is left out, and `has_more` is about those that may.
    ///
    /// # Errors
    ///
    /// [`Error::NotAudited`] for a table the trail does not know, [`Error::Refused`] when `key` does not name the table's key
    /// columns; a value that is not of a column's type is PostgreSQL's error, in [`Error::Query`]; [`Error::ScopeFailed`].
    pub fn row_history(
        &self,
        conn: &mut PgConnection,
        table: &TableName,
        key: &RowKey,
        limit: HistoryLimit,
    ) -> Result<History<()>, Error> {
        self.read(conn, Surface::RowHistory, |conn, scope| {
            read(conn, &table.to_sql(), key, limit, scope.as_ref())
        })
    }
}

pub(crate) fn read<M>(
    conn: &mut PgConnection,
    table: &str,
    key: &impl WalkKey,
    limit: HistoryLimit,
    scope: Option<&ResolvedScope>,
) -> Result<History<M>, Error> {
    let wanted = match limit {
        HistoryLimit::Newest(limit) => limit as usize,
        HistoryLimit::All => usize::MAX,
    };
    // One more than wanted says whether there are more.
    let mut newest = match limit {
        HistoryLimit::Newest(limit) => Some(limit.saturating_add(1)),
        HistoryLimit::All => None,
    };
    loop {
        let log = log::read(conn, table, key, Reach::Newest(newest))?;
        let is_whole = newest.is_none_or(|newest| log.changes.len() < newest as usize);
        let (mut versions, mut baselines) = versions(conn, log, scope)?;
        if scope.is_none() || is_whole || versions.len() > wanted {
            let has_more = versions.len() > wanted || (!is_whole && scope.is_none());
            versions.truncate(wanted);
            // Right before the oldest version there may be one still; it belongs to the next.
            baselines.retain(|baseline| baseline.place < wanted || !has_more);
            return Ok(History { versions, has_more, baselines });
        }
        // Among those read there were some that may not be seen.
        newest = newest.map(|newest| newest.saturating_mul(4));
    }
}

fn versions<M>(
    conn: &mut PgConnection,
    log: log::RowLog,
    scope: Option<&ResolvedScope>,
) -> Result<(Vec<Version<M>>, Vec<BaselineVersion>), Error> {
    let (table_id, purged_until) = (log.anchor.table_id, log.anchor.purged_until);
    let Folded { steps, baselines, .. } = fold::fold(log.seen_through(scope));
    let is_kept = |at| purged_until.is_none_or(|until| at > until);
    let who = Who::of(conn, steps.iter().map(|step| step.change.id.transaction_id).collect())?;
    let versions = steps.into_iter().map(|step| {
        let (transaction, action) = who.why(step.change.id.transaction_id);
        let step_at = step.change.captured_at;
        Version {
            change: step.change,
            transaction,
            action,
            before: step.before,
            after: step.after,
            gap: step.gap && is_kept(step_at),
            row: None,
        }
    });
    let is_visible = |version: &Version<M>| {
        let AuditChange { scope: tenant, previous_scope, .. } = &version.change;
        scope.is_none_or(|scope| {
            scope.sees_change(
                table_id,
                tenant.as_deref(),
                previous_scope.as_deref(),
                version.transaction.as_ref(),
            )
        })
    };
    let versions: Vec<_> = versions.map(|version| (is_visible(&version), version)).collect();
    let baselines = baselines.into_iter().filter_map(|mark| {
        // Whose a row was that was not there, a baseline cannot say.
        let is_visible = scope.is_none() || matches!(mark.state, RowState::Present(_));
        is_visible.then(|| BaselineVersion {
            place: versions[..mark.place].iter().filter(|(is_visible, _)| *is_visible).count(),
            gap: mark.gap && is_kept(mark.baseline.recorded_at),
            baseline: mark.baseline,
            state: mark.state,
        })
    });
    let baselines = baselines.collect();
    let visible = versions.into_iter().filter_map(|(is_visible, version)| is_visible.then_some(version));
    Ok((visible.collect(), baselines))
}
