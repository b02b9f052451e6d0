//! One transaction: who, why, and what it changed.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Serialize;
use uuid::Uuid;

use super::change::{AuditAction, AuditTransaction};
use super::diff::ChangeDiff;
use super::page::{Order, Page, PageRequest, Place, Position};
use super::scan::{Question, Scan};
use super::scope::{ResolvedScope, Surface};
use super::statement::Statement;
use super::tables::TableChange;
use super::timeline::Who;
use super::trail::Trail;
use crate::error::Error;

/// A transaction and the action it was begun with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LinkedTransaction {
    /// The transaction.
    pub transaction: AuditTransaction,
    /// The action it was begun with.
    pub action: Option<AuditAction>,
}

/// What one transaction left in the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TransactionBundle {
    /// The transaction's id.
    pub id: Uuid,
    /// The transaction; `None` when a session that forged Threadline's settings wrote changes without one.
    pub transaction: Option<AuditTransaction>,
    /// The actions recorded in it, in order; the one it was begun with comes first.
    pub actions: Vec<AuditAction>,
    /// Its changes, in the order they were captured, 1,000 at most.
    pub changes: Vec<TableChange>,
    /// Whether there are more changes; [`Trail::audit_changes_for_transaction`] has them all, in pages.
    pub has_more: bool,
    /// Whether retention has removed some of its changes, so that these are not all it did.
    pub removed: bool,
}

/// What one transaction left in the trail, with the difference each change made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IncidentBundle {
    /// The transaction's id.
    pub id: Uuid,
    /// As in [`TransactionBundle`].
    pub transaction: Option<AuditTransaction>,
    /// As in [`TransactionBundle`].
    pub actions: Vec<AuditAction>,
    /// What each of its changes did, in the order they were captured, 1,000 at most.
    pub changes: Vec<ChangeDiff>,
    /// As in [`TransactionBundle`].
    pub has_more: bool,
    /// As in [`TransactionBundle`].
    pub removed: bool,
}

impl Trail {
    /// The transaction with this id; `None` when there is none, or none that may be seen.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeFailed`] and those of the database.
    pub fn audit_transaction(
        &self,
        conn: &mut PgConnection,
        id: Uuid,
    ) -> Result<Option<LinkedTransaction>, Error> {
        self.read(conn, Surface::Transaction, |conn, scope| {
            if !is_visible(conn, id, scope.as_ref())? {
                return Ok(None);
            }
            let (transaction, action) = Who::of(conn, BTreeSet::from([id]))?.why(id);
            Ok(transaction.map(|transaction| LinkedTransaction { transaction, action }))
        })
    }

    /// Everything the transaction with this id left in the trail; `None` when there is nothing, or nothing that may be seen.
    ///
    /// Redacted as the tables are today: what is excluded or masked now does not show, also where it was captured before.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeFailed`] and those of the database; [`Error::Payload`] when the trail holds what this library did not
    /// write.
    pub fn transaction_context(
        &self,
        conn: &mut PgConnection,
        id: Uuid,
    ) -> Result<Option<TransactionBundle>, Error> {
        self.bundle(conn, id, Surface::Transaction)
    }

    /// As [`transaction_context`](Self::transaction_context), with what each change did to each column.
    ///
    /// # Errors
    ///
    /// As [`transaction_context`](Self::transaction_context).
    pub fn incident_bundle(
        &self,
        conn: &mut PgConnection,
        id: Uuid,
    ) -> Result<Option<IncidentBundle>, Error> {
        let bundle = self.bundle(conn, id, Surface::Incident)?;
        Ok(bundle.map(|TransactionBundle { id, transaction, actions, changes, has_more, removed }| {
            IncidentBundle {
                id,
                transaction,
                actions,
                changes: changes.iter().map(TableChange::diff).collect(),
                has_more,
                removed,
            }
        }))
    }

    /// A page of the changes of the transaction with this id; empty when there are none that may be seen.
    ///
    /// # Errors
    ///
    /// As [`transaction_context`](Self::transaction_context), and [`Error::InvalidPage`] for a cursor of another list or order.
    pub fn audit_changes_for_transaction(
        &self,
        conn: &mut PgConnection,
        id: Uuid,
        request: &PageRequest,
    ) -> Result<Page<TableChange>, Error> {
        let after = request.after_change()?;
        self.read(conn, Surface::Transaction, |conn, scope| {
            let question = Question::of_one_transaction(id, scope);
            let changes =
                Scan::new(&question, request.direction(), after).next(conn, request.wanted() + 1)?;
            Ok(Page::cut(changes, request, |change| {
                Place::Change(Position { captured_at: change.change.captured_at, id: change.change.id })
            }))
        })
    }

    fn bundle(
        &self,
        conn: &mut PgConnection,
        id: Uuid,
        surface: Surface,
    ) -> Result<Option<TransactionBundle>, Error> {
        self.read(conn, surface, |conn, scope| {
            if !is_visible(conn, id, scope.as_ref())? {
                return Ok(None);
            }
            let (transaction, _) = Who::of(conn, BTreeSet::from([id]))?.why(id);
            let actions = actions_of(conn, &[id])?.remove(&id).unwrap_or_default();
            let question = Question::of_one_transaction(id, scope);
            let wanted = PageRequest::MAX_SIZE as usize;
            let mut changes = Scan::new(&question, Order::OldestFirst, None).next(conn, wanted + 1)?;
            let has_more = changes.len() > wanted;
            changes.truncate(wanted);
            let found = transaction.is_some() || !actions.is_empty() || !changes.is_empty();
            let removed = transaction.is_some() && is_partly_removed(conn, id)?;
            Ok(found.then_some(TransactionBundle { id, transaction, actions, changes, has_more, removed }))
        })
    }
}

/// Whether a scope lets the transaction through; without one all are visible, found or not.
fn is_visible(conn: &mut PgConnection, id: Uuid, scope: Option<&ResolvedScope>) -> Result<bool, Error> {
    let Some(scope) = scope else {
        return Ok(true);
    };
    let mut statement = Statement::new(&format!(
        "SELECT {} FROM threadline.audit_transactions t WHERE t.id = ",
        AuditTransaction::COLUMNS
    ));
    statement.bind(id).sql(" AND ");
    scope.of_transaction(&mut statement);
    Ok(!statement.load_from::<AuditTransaction>(conn)?.is_empty())
}

/// Whether retention has removed changes of a transaction that is still there.
fn is_partly_removed(conn: &mut PgConnection, id: Uuid) -> Result<bool, Error> {
    #[derive(QueryableByName)]
    struct Part {
        #[diesel(sql_type = Bool)]
        removed: bool,
    }
    let mut statement = Statement::kept(
        "SELECT t.purged_until IS NOT NULL AS removed FROM threadline.audit_transactions t WHERE t.id = ",
    );
    statement.bind(id);
    Ok(statement.load_from::<Part>(conn)?.iter().any(|part| part.removed))
}

/// The actions recorded in these transactions, in order. They have the milliseconds of the transaction's id in theirs, so
/// they lie between two ids.
pub(crate) fn actions_of(
    conn: &mut PgConnection,
    ids: &[Uuid],
) -> Result<BTreeMap<Uuid, Vec<AuditAction>>, Error> {
    const BELOW_THE_MILLISECONDS: u128 = (1 << 80) - 1;
    let first: Vec<Uuid> =
        ids.iter().map(|id| Uuid::from_u128(id.as_u128() & !BELOW_THE_MILLISECONDS)).collect();
    let last: Vec<Uuid> =
        ids.iter().map(|id| Uuid::from_u128(id.as_u128() | BELOW_THE_MILLISECONDS)).collect();
    let mut statement = Statement::kept(&format!("SELECT {} FROM unnest(", AuditAction::COLUMNS));
    statement.bind(ids).sql(", ").bind(first).sql(", ").bind(last).sql(
        ") AS asked (id, first_id, last_id) CROSS JOIN LATERAL (SELECT a.* FROM threadline.audit_actions a \
         WHERE a.transaction_id = asked.id AND a.id >= asked.first_id AND a.id <= asked.last_id OFFSET 0) a ORDER BY a.occurred_at, a.id",
    );
    let mut actions = BTreeMap::<Uuid, Vec<AuditAction>>::new();
    for action in statement.load_from::<AuditAction>(conn)? {
        actions.entry(action.transaction_id.unwrap_or_default()).or_default().push(action);
    }
    Ok(actions)
}
