//! Finding the changes that answer a question, in the order of the trail, a batch at a time, each batch at a cost that
//! depends on its own size and not on the trail's.
//!
//! Changes are found by the row, else by their transactions, else by the table or the tenant, else by time. Each batch goes
//! on from the last change of the one before it: there is no OFFSET, and nothing is kept open in the database.

mod by_change;
mod by_transaction;
mod count;
mod place;
mod question;
mod stored;

use chrono::{DateTime, Utc};
use diesel::prelude::*;

pub(crate) use self::count::count;
pub(crate) use self::place::Place;
pub(crate) use self::question::{
    Question, began_at, check_filter, first_id_at, of_actors, row_key, table_id,
};
pub(crate) use self::stored::{COLUMNS, ChangeRow, order_by};
use super::log::StoredChange;
use super::page::{Order, Position};
use super::statement::Statement;
use super::tables::{TableChange, Tables};
use crate::error::Error;

/// A walk through the changes that answer a question.
pub(crate) struct Scan<'a> {
    question: &'a Question,
    order: Order,
    /// Everything up to here has been found.
    after: Option<Position>,
    tables: Tables,
    found_all: bool,
    /// Transactions to look at in the next statement; `None` at first, when nothing is known of them.
    look_at: Option<usize>,
}

/// What one statement found.
struct Batch {
    /// In order; no change is missing between them, nor before the first.
    changes: Vec<StoredChange>,
    /// Up to where nothing is missing; `None` when there is nothing more.
    goes_on_after: Option<Position>,
}

impl Batch {
    /// What a statement found that looks for so many and finds all there are.
    fn of(mut changes: Vec<StoredChange>, wanted: usize) -> Self {
        changes.truncate(wanted);
        let goes_on_after = changes.last().filter(|_| changes.len() == wanted).map(StoredChange::position);
        Self { changes, goes_on_after }
    }
}

impl<'a> Scan<'a> {
    pub(crate) fn new(question: &'a Question, order: Order, after: Option<Position>) -> Self {
        Self { question, order, after, tables: Tables::default(), found_all: false, look_at: None }
    }

    /// The next changes as they are shown, `wanted` of them or, at the end, fewer.
    pub(crate) fn next(&mut self, conn: &mut PgConnection, wanted: usize) -> Result<Vec<TableChange>, Error> {
        let mut found: Vec<TableChange> = Vec::new();
        while found.len() < wanted && !self.found_all {
            found.extend(self.advance(conn, wanted - found.len())?);
        }
        Ok(found)
    }

    /// The next changes as they are shown, `wanted` of them at most: as many as are found at once, which may be none. There
    /// are more until [`is_over`](Self::is_over).
    pub(crate) fn advance(
        &mut self,
        conn: &mut PgConnection,
        wanted: usize,
    ) -> Result<Vec<TableChange>, Error> {
        let batch = self.batch(conn, wanted)?;
        self.tables.learn(conn, &batch.changes)?;
        self.found_all = batch.goes_on_after.is_none();
        self.after = batch.goes_on_after.or(self.after);
        let mut found = Vec::with_capacity(batch.changes.len());
        for stored in batch.changes {
            let change = self.tables.shown(stored)?;
            if self.question.column_changed(&change.change) {
                found.push(change);
            }
        }
        Ok(found)
    }

    /// Whether there is nothing more to be found.
    pub(crate) fn is_over(&self) -> bool {
        self.found_all
    }

    /// The first and the last instant at which changes still to be found can have been captured.
    fn span(&self) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let (from, to) = (self.question.filter.from, self.question.filter.to);
        let after = self.after.map(|after| after.captured_at);
        match self.order {
            Order::NewestFirst => (from, to.into_iter().chain(after).min()),
            Order::OldestFirst => (from.into_iter().chain(after).max(), to),
        }
    }

    fn batch(&mut self, conn: &mut PgConnection, wanted: usize) -> Result<Batch, Error> {
        match (self.question.transaction, self.question.found_by_transactions()) {
            (Some(id), _) => self.batch_of_one_transaction(conn, id, wanted),
            (None, Some(finder)) => self.batch_by_transaction(conn, &finder, wanted),
            (None, None) => self.batch_by_change(conn, wanted),
        }
    }

    fn load(&self, conn: &mut PgConnection, statement: Statement) -> Result<Vec<StoredChange>, Error> {
        let rows: Vec<ChangeRow> = statement.load_from(conn)?;
        rows.into_iter().map(ChangeRow::read).collect()
    }
}
