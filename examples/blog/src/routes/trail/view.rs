//! History and as-of as this interface shows them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use threadline::{Actor, AsOf, AuditTransaction, ChangeId, FieldChange, History, Version};

use crate::models::Post;

/// What a post was at an instant.
#[derive(Serialize)]
pub(super) struct AsOfView {
    pub(super) at: DateTime<Utc>,
    /// Its `answer` says whether the post was present, deleted, not created yet, before the horizon and so on.
    pub(super) post: AsOf<Post>,
}

/// The versions of a row, newest first; less of each than the library knows.
#[derive(Serialize)]
pub(super) struct HistoryView<M> {
    versions: Vec<VersionView<M>>,
    has_more: bool,
}

#[derive(Serialize)]
struct VersionView<M> {
    #[serde(flatten)]
    change: ChangeId,
    captured_at: DateTime<Utc>,
    /// `insert`, `update`, `delete` or `truncate`.
    op: String,
    /// Who answers for it; `null` when nobody said.
    actor: Option<Actor>,
    /// What connected to the database: `psql`, for one.
    application_name: Option<String>,
    /// For an update, each changed column with its value before and after.
    changed: BTreeMap<String, FieldChange>,
    /// Whether a write that escaped the trail followed this one.
    gap: bool,
    /// The row after the change; `null` when it was gone, or is no longer known.
    row: Option<M>,
}

impl<M> From<History<M>> for HistoryView<M> {
    fn from(history: History<M>) -> Self {
        Self {
            versions: history.versions.into_iter().map(VersionView::from).collect(),
            has_more: history.has_more,
        }
    }
}

impl<M> From<Version<M>> for VersionView<M> {
    fn from(version: Version<M>) -> Self {
        let Version { mut change, transaction, gap, row, .. } = version;
        for ignored in &change.ignored {
            change.fields.remove(ignored);
        }
        Self {
            change: change.id,
            captured_at: change.captured_at,
            op: change.op.to_string(),
            actor: transaction.as_ref().and_then(AuditTransaction::actor),
            application_name: transaction.and_then(|transaction| transaction.application_name),
            changed: change.fields,
            gap,
            row: row.and_then(Result::ok),
        }
    }
}
