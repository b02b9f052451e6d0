//! What happened, in the order of the trail: in one go for small windows, in pages, or only counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use diesel::pg::Pg;
use diesel::prelude::*;
use serde::Serialize;
use uuid::Uuid;

use super::change::{AuditAction, AuditChange, AuditTransaction};
use super::filter::{ActorFilter, Filter, InvalidFilter};
use super::image::RowImage;
use super::key::RowKey;
use super::page::{Cursor, Order, Page, PageRequest, Place, Position};
use super::scan::{Question, Scan, count};
use super::scope::Surface;
use super::statement::Statement;
use super::tables::TableChange;
use super::trail::Trail;
use crate::capture::TableName;
use crate::error::Error;
use crate::intent::Actor;

/// A change with who made it and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LinkedChange {
    /// The table, under the name it had when its capture was last compiled.
    pub table: TableName,
    /// The row's key after the change, to ask [`row_history`](Trail::row_history) and others with; `None` where the trail keeps
    /// no more than a digest of it, where the table has no key or was given another one since, and for a TRUNCATE.
    pub key: Option<RowKey>,
    /// The change; its columns have today's names.
    pub change: AuditChange,
    /// The whole row: the new one of an insert, the old one of a delete or of an update that changed the key.
    pub row: Option<RowImage>,
    /// The transaction it was part of; `None` when a session that forged Threadline's settings wrote it.
    pub transaction: Option<AuditTransaction>,
    /// The action the transaction was begun with.
    pub action: Option<AuditAction>,
}

impl LinkedChange {
    /// Where a page begins that goes on after this change, in this order: with the other order than the one it was read in, the
    /// page before the one it is on.
    pub fn cursor(&self, order: Order) -> Cursor {
        Cursor::new(order, self.place())
    }

    fn place(&self) -> Place {
        Place::Change(Position { captured_at: self.change.captured_at, id: self.change.id })
    }
}

/// How many changes there are, counted up to a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// So many, or the cap.
    pub counted: u64,
    /// Whether there are more.
    pub capped: bool,
}

/// As `312`, or `10,000+`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.counted.to_string();
        let mut text = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text.push_str(if self.capped { "+" } else { "" });
        f.pad(&text)
    }
}

impl Trail {
    /// The newest changes that answer to the filter, 1,000 at most: for small windows. When there are more, `has_more` says
    /// so, and the cursor goes on with [`timeline_page`](Self::timeline_page).
    ///
    /// Changes come in the order they were captured in; ties are broken by transaction and by place within it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidFilter`], [`Error::NotAudited`] for a table the trail does not know, [`Error::Refused`] for a key that
    /// is not the table's, [`Error::ScopeFailed`], and those of the database.
    pub fn timeline(&self, conn: &mut PgConnection, filter: &Filter) -> Result<Page<LinkedChange>, Error> {
        self.timeline_page(conn, filter, &PageRequest::new().size(PageRequest::MAX_SIZE)?)
    }

    /// One page of the changes that answer to the filter.
    ///
    /// Pages put together are the whole: no change comes twice, and none that was committed before the first page is left
    /// out. One that commits later shows up where the order has it, which may be on a page already read.
    ///
    /// A page costs as much as it holds where an index leads to its changes: by row, request, correlation id, job, actor,
    /// action, table, tenant and time, and by failed actions. A filter that few of those pass, such as a column hardly ever
    /// changed, is answered by reading on until a page is full: set a `statement_timeout`, or narrow it with `from`.
    ///
    /// # Errors
    ///
    /// As [`timeline`](Self::timeline), and [`Error::InvalidPage`] for a cursor of another list or order.
    pub fn timeline_page(
        &self,
        conn: &mut PgConnection,
        filter: &Filter,
        request: &PageRequest,
    ) -> Result<Page<LinkedChange>, Error> {
        filter.check()?;
        let after = request.after_change()?;
        self.read(conn, Surface::Timeline, |conn, scope| {
            let question = Question::new(conn, filter, scope)?;
            let changes =
                Scan::new(&question, request.direction(), after).next(conn, request.wanted() + 1)?;
            Ok(Page::cut(linked(conn, changes)?, request, LinkedChange::place))
        })
    }

    /// How many changes answer to the filter, counting up to `cap`.
    ///
    /// # Errors
    ///
    /// As [`timeline`](Self::timeline).
    pub fn count(&self, conn: &mut PgConnection, filter: &Filter, cap: u32) -> Result<Count, Error> {
        filter.check()?;
        let counted = self.read(conn, Surface::Count, |conn, scope| {
            let question = Question::new(conn, filter, scope)?;
            count(&question, conn, cap as usize + 1)
        })?;
        let capped = counted > cap as usize;
        Ok(Count { counted: if capped { u64::from(cap) } else { counted as u64 }, capped })
    }

    /// What this actor changed, with a filter that names no other.
    ///
    /// # Errors
    ///
    /// As [`timeline_page`](Self::timeline_page), and [`Error::InvalidFilter`] when the filter names an actor of its own.
    pub fn actor_window(
        &self,
        conn: &mut PgConnection,
        actor: &Actor,
        filter: &Filter,
        request: &PageRequest,
    ) -> Result<Page<LinkedChange>, Error> {
        if !filter.actors.is_empty() {
            return Err(InvalidFilter::one("actor: is given beside the actor asked about").into());
        }
        let mut filter = filter.clone();
        filter.actors.push(ActorFilter::Named(actor.clone()));
        self.timeline_page(conn, &filter, request)
    }

    /// What belongs to this correlation id, strictly: changes of transactions in which an action with this id was recorded.
    ///
    /// # Errors
    ///
    /// As [`timeline_page`](Self::timeline_page), and [`Error::InvalidFilter`] when the filter has a correlation id of its own.
    pub fn correlation_bundle(
        &self,
        conn: &mut PgConnection,
        correlation_id: &str,
        filter: &Filter,
        request: &PageRequest,
    ) -> Result<Page<LinkedChange>, Error> {
        if filter.correlation_id.is_some() {
            return Err(InvalidFilter::one("correlation_id: is given beside the one asked about").into());
        }
        self.timeline_page(conn, &filter.clone().correlation_id(correlation_id), request)
    }
}

/// The changes with their transactions and actions.
pub(crate) fn linked(conn: &mut PgConnection, changes: Vec<TableChange>) -> Result<Vec<LinkedChange>, Error> {
    let ids = changes.iter().map(|change| change.change.id.transaction_id).collect();
    let who = Who::of(conn, ids)?;
    let link = |TableChange { table, key, change, row }| {
        let (transaction, action) = who.why(change.id.transaction_id);
        LinkedChange { table, key, change, row, transaction, action }
    };
    Ok(changes.into_iter().map(link).collect())
}

/// Transactions and the actions they were begun with, by id. They are read on their own: joined to the changes, planning
/// alone would take longer than all the reads.
pub(crate) struct Who {
    transactions: BTreeMap<Uuid, AuditTransaction>,
    actions: BTreeMap<Uuid, AuditAction>,
}

impl Who {
    pub(crate) fn of(conn: &mut PgConnection, ids: BTreeSet<Uuid>) -> Result<Self, Error> {
        let transactions: BTreeMap<_, _> = by_id::<AuditTransaction>(
            conn,
            AuditTransaction::COLUMNS,
            "threadline.audit_transactions t",
            "t.id",
            ids,
        )?
        .into_iter()
        .map(|transaction| (transaction.id, transaction))
        .collect();
        let actions = Self::actions(conn, transactions.values())?;
        Ok(Self { transactions, actions })
    }

    /// The actions these transactions were begun with.
    pub(crate) fn actions<'a>(
        conn: &mut PgConnection,
        transactions: impl IntoIterator<Item = &'a AuditTransaction>,
    ) -> Result<BTreeMap<Uuid, AuditAction>, Error> {
        Self::actions_by_id(
            conn,
            transactions.into_iter().filter_map(|transaction| transaction.action_id).collect(),
        )
    }

    /// The actions with these ids.
    pub(crate) fn actions_by_id(
        conn: &mut PgConnection,
        ids: BTreeSet<Uuid>,
    ) -> Result<BTreeMap<Uuid, AuditAction>, Error> {
        let actions =
            by_id::<AuditAction>(conn, AuditAction::COLUMNS, "threadline.audit_actions a", "a.id", ids)?;
        Ok(actions.into_iter().map(|action| (action.id, action)).collect())
    }

    pub(crate) fn why(&self, transaction_id: Uuid) -> (Option<AuditTransaction>, Option<AuditAction>) {
        let (transaction, action) = self.of_transaction(transaction_id);
        (transaction.cloned(), action.cloned())
    }

    /// The transaction with this id and the action it was begun with.
    pub(crate) fn of_transaction(
        &self,
        transaction_id: Uuid,
    ) -> (Option<&AuditTransaction>, Option<&AuditAction>) {
        let transaction = self.transactions.get(&transaction_id);
        // A context can name any action; one that was recorded in another transaction is not this one's.
        let action = transaction
            .and_then(|transaction| self.actions.get(&transaction.action_id?))
            .filter(|action| action.transaction_id.is_none_or(|id| id == transaction_id));
        (transaction, action)
    }
}

/// The rows of a partitioned table with these ids, each looked for in the one partition that can have it: asked for as
/// `id = ANY`, each would be looked for in all.
fn by_id<T: QueryableByName<Pg> + 'static>(
    conn: &mut PgConnection,
    columns: &str,
    table: &str,
    id: &str,
    ids: BTreeSet<Uuid>,
) -> Result<Vec<T>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = Statement::kept("SELECT found.* FROM unnest(");
    statement.bind(ids.into_iter().collect::<Vec<_>>());
    statement.sql(&format!(
        ") AS wanted (id) CROSS JOIN LATERAL (SELECT {columns} FROM {table} WHERE {id} = wanted.id LIMIT 1) found"
    ));
    statement.load_from(conn)
}
