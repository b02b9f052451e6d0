//! Changes found by their transactions: of an actor, a request, a correlation id, an action.
//!
//! An index has the transactions in the order in which they began; wanted are their changes in the order in which they were
//! captured. The two differ by how long transactions took, and nearly all took less than [`SHORT`]: those that took longer are
//! in `audit_long_transactions`, from where the few that matter are fetched. So after the transactions that began at or
//! after an instant, nothing captured later than that instant plus [`SHORT`] can be missing, and so much of the answer is
//! final.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::Uuid as SqlUuid;
use uuid::Uuid;

use super::{Batch, COLUMNS, Question, Scan, began_at, first_id_at, of_actor, order_by};
use crate::error::Error;
use crate::investigation::change::ChangeId;
use crate::investigation::page::{Order, Position};
use crate::investigation::statement::Statement;

/// How long a transaction can have captured changes without being in `audit_long_transactions`, and the millisecond that
/// ids are rounded down by.
const SHORT: TimeDelta = TimeDelta::milliseconds(2001);

/// What ids are rounded down to.
const MILLISECOND: TimeDelta = TimeDelta::milliseconds(1);

/// Doublings of two seconds that a transaction can have lasted: 2^25 times make two years.
const MOST_DOUBLINGS: i32 = 25;

/// Transactions looked at in one statement: so many at first, and at most.
pub(super) const FEW_TRANSACTIONS: usize = 64;
const MANY_TRANSACTIONS: usize = 4096;

/// How the transactions are found: conditions with an index that ends in the id, one for each place of it.
pub(super) struct Finder {
    /// Conditions on `t`, a transaction, or on `a`, an action.
    places: Vec<Statement>,
    by_action: bool,
}

impl Question {
    /// How its transactions are found, if that is the way to its changes.
    pub(super) fn found_by_transactions(&self) -> Option<Finder> {
        if self.row_key.is_some() {
            return None;
        }
        let filter = &self.filter;
        let by_text = |column: &str, text: &str| {
            let mut place = Statement::new(column);
            place.sql(" = ").bind(text);
            vec![place]
        };
        let named = |by_action, places| Some(Finder { places, by_action });
        if let Some(id) = &filter.request_id {
            return named(false, by_text("t.request_id", id));
        }
        if let Some(id) = &filter.correlation_id {
            return named(true, by_text("a.correlation_id", id));
        }
        if let Some(id) = &filter.transaction_correlation_id {
            return named(false, by_text("t.correlation_id", id));
        }
        if let Some(id) = &filter.job_id {
            return named(false, by_text("t.job_id", id));
        }
        let nobody = |actor: &_| matches!(actor, crate::investigation::filter::ActorFilter::Nobody);
        if !filter.actors.is_empty() && !filter.actors.iter().any(nobody) {
            let places = filter.actors.iter().map(|actor| {
                let mut place = Statement::new("");
                of_actor(&mut place, "t", actor);
                place
            });
            return named(false, places.collect());
        }
        if !filter.actions.is_empty() {
            return named(true, filter.actions.iter().flat_map(|name| by_text("a.name", name)).collect());
        }
        if filter.status == Some(crate::ActionStatus::Error) {
            return named(true, vec![Statement::new("a.status = 'error'")]);
        }
        None
    }
}

impl Scan<'_> {
    pub(super) fn batch_by_transaction(
        &mut self,
        conn: &mut PgConnection,
        finder: &Finder,
        wanted: usize,
    ) -> Result<Batch, Error> {
        loop {
            let look_at = self.look_at.max(wanted);
            let (mut transactions, last) = self.transactions(conn, finder, look_at)?;
            let is_final_to = last.map(|last| match self.order {
                Order::NewestFirst => began_at(last) + SHORT,
                Order::OldestFirst => began_at(last),
            });
            transactions.extend(self.long_transactions(conn, last)?);
            transactions.sort_unstable();
            transactions.dedup();
            let mut changes = self.load(conn, self.changes_of(&transactions, wanted))?;
            let Some(is_final_to) = is_final_to else {
                // All transactions have been looked at.
                return Ok(Batch::of(changes, wanted));
            };
            let is_final = |at: DateTime<Utc>| match self.order {
                Order::NewestFirst => at > is_final_to,
                Order::OldestFirst => at < is_final_to,
            };
            let filled = changes.len() == wanted;
            changes.retain(|change| is_final(change.captured_at));
            if filled && changes.len() == wanted {
                let goes_on_after = changes.last().map(|last| last.position());
                return Ok(Batch { changes, goes_on_after });
            }
            // Too few of them are asked for, or they lie too close together: the next look goes farther.
            let is_some_way = self.after.is_none_or(|after| is_final(after.captured_at));
            self.look_at = if is_some_way { (look_at * 2).min(MANY_TRANSACTIONS) } else { look_at * 4 };
            if is_some_way {
                return Ok(Batch { changes, goes_on_after: Some(self.just_before(is_final_to)) });
            }
        }
    }

    pub(super) fn batch_of_one_transaction(
        &self,
        conn: &mut PgConnection,
        id: Uuid,
        wanted: usize,
    ) -> Result<Batch, Error> {
        let changes = self.load(conn, self.changes_of(&[id], wanted))?;
        Ok(Batch::of(changes, wanted))
    }

    /// The place between what is final and what is not, captured at exactly that instant.
    fn just_before(&self, captured_at: DateTime<Utc>) -> Position {
        let id = match self.order {
            Order::NewestFirst => ChangeId { transaction_id: Uuid::max(), ordinal: i32::MAX },
            Order::OldestFirst => ChangeId { transaction_id: Uuid::nil(), ordinal: 0 },
        };
        Position { captured_at, id }
    }

    /// The first instant, in the order of reading, whose changes are not found yet.
    fn starts_at(&self) -> Option<DateTime<Utc>> {
        let bound = match self.order {
            Order::NewestFirst => self.question.filter.to,
            Order::OldestFirst => self.question.filter.from,
        };
        let after = self.after.map(|after| after.captured_at);
        match self.order {
            Order::NewestFirst => bound.into_iter().chain(after).min(),
            Order::OldestFirst => bound.into_iter().chain(after).max(),
        }
    }

    /// The next so many transactions, in the order in which they began, that can have changes still to be found, and the
    /// last of them when there may be more.
    fn transactions(
        &self,
        conn: &mut PgConnection,
        finder: &Finder,
        look_at: usize,
    ) -> Result<(Vec<Uuid>, Option<Uuid>), Error> {
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = SqlUuid)]
            place: Uuid,
            #[diesel(sql_type = SqlUuid)]
            transaction_id: Uuid,
        }
        let direction = self.order.sql();
        let id = if finder.by_action { "a.id" } else { "t.id" };
        let mut statement = Statement::new("SELECT found.place, found.transaction_id FROM (");
        for (number, place) in finder.places.iter().enumerate() {
            statement.sql(if number == 0 { "(" } else { " UNION ALL (" });
            if finder.by_action {
                statement.sql("SELECT a.id AS place, a.transaction_id FROM threadline.audit_actions a WHERE a.transaction_id IS NOT NULL AND ");
                statement.append(place);
                self.question.filter.of_action(&mut statement);
                let mut conditions = Statement::new("");
                if self.question.of_transaction(&mut conditions) {
                    statement.sql(" AND (SELECT true FROM threadline.audit_transactions t WHERE t.id = a.transaction_id");
                    statement.append(&conditions).sql(")");
                }
            } else {
                statement.sql("SELECT t.id AS place, t.id AS transaction_id FROM threadline.audit_transactions t WHERE ");
                statement.append(place);
                self.question.of_transaction(&mut statement);
                if self.question.asks_why() {
                    statement.sql(" AND ");
                    self.question.of_some_action(&mut statement, "t.id");
                }
            }
            match (self.order, self.starts_at()) {
                (_, None) => {}
                (Order::NewestFirst, Some(at)) => {
                    statement.sql(" AND ").sql(id).sql(" < ").bind(first_id_at(at, MILLISECOND));
                }
                (Order::OldestFirst, Some(at)) => {
                    statement.sql(" AND ").sql(id).sql(" >= ").bind(first_id_at(at, -SHORT));
                }
            }
            match (self.order, self.question.filter.from, self.question.filter.to) {
                (Order::NewestFirst, Some(from), _) => {
                    statement.sql(" AND ").sql(id).sql(" >= ").bind(first_id_at(from, -SHORT));
                }
                (Order::OldestFirst, _, Some(to)) => {
                    statement.sql(" AND ").sql(id).sql(" < ").bind(first_id_at(to, MILLISECOND));
                }
                _ => {}
            }
            statement.sql(&format!(" ORDER BY {id} {direction} LIMIT {look_at})"));
        }
        statement.sql(&format!(") found ORDER BY found.place {direction} LIMIT {look_at}"));
        let found: Vec<Found> = statement.load_from(conn)?;
        let last = found.last().filter(|_| found.len() == look_at).map(|last| last.place);
        Ok((found.into_iter().map(|found| found.transaction_id).collect(), last))
    }

    /// Transactions that are asked for, began too early to be among those found by their beginning, and went on so long
    /// that they can have changes among those being looked for.
    fn long_transactions(&self, conn: &mut PgConnection, last: Option<Uuid>) -> Result<Vec<Uuid>, Error> {
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = SqlUuid)]
            transaction_id: Uuid,
        }
        // They began before `before` and captured changes after `since`.
        let (before, since) = match (self.order, last, self.starts_at()) {
            (Order::NewestFirst, Some(last), _) => {
                (first_id_at(began_at(last), MILLISECOND), Some(began_at(last) + SHORT))
            }
            // All that began after the filter's `from` were found.
            (Order::NewestFirst, None, _) => match self.question.filter.from {
                Some(from) => (first_id_at(from, -SHORT), Some(from)),
                None => return Ok(Vec::new()),
            },
            (Order::OldestFirst, _, Some(start)) => (first_id_at(start, -SHORT), Some(start)),
            (Order::OldestFirst, _, None) => return Ok(Vec::new()),
        };
        let since = since.unwrap_or(DateTime::UNIX_EPOCH);
        let doublings: Vec<i32> = (1..=MOST_DOUBLINGS).collect();
        let earliest: Vec<Uuid> =
            doublings.iter().map(|doublings| first_id_at(since, -(SHORT * (1 << doublings)))).collect();
        let mut statement = Statement::new("SELECT l.transaction_id FROM unnest(");
        statement.bind(doublings).sql(", ").bind(earliest).sql(
            ") AS lasting (doublings, earliest) CROSS JOIN LATERAL (SELECT l.transaction_id FROM threadline.audit_long_transactions l \
             WHERE l.doublings = lasting.doublings AND l.transaction_id >= lasting.earliest AND l.transaction_id < ",
        );
        statement.bind(before).sql(") l WHERE true");
        self.question.of_transaction_of(&mut statement, "l.transaction_id");
        Ok(statement.load_from::<Found>(conn)?.into_iter().map(|found| found.transaction_id).collect())
    }

    /// The first changes of these transactions.
    fn changes_of(&self, transactions: &[Uuid], wanted: usize) -> Statement {
        let direction = self.order.sql();
        let mut statement = Statement::new(&format!("SELECT {COLUMNS} FROM (SELECT c.* FROM unnest("));
        // Within a transaction changes are captured in the order of their ordinals.
        statement.bind(transactions).sql(
            ") AS member (id) CROSS JOIN LATERAL (SELECT c.* FROM threadline.audit_changes c WHERE c.transaction_id = member.id",
        );
        self.question.of_change(&mut statement, self.order, self.after);
        self.question.of_tables(&mut statement);
        statement.sql(&format!(" ORDER BY c.ordinal {direction} LIMIT {wanted}) c"));
        statement.sql(&order_by(direction)).sql(&format!(" LIMIT {wanted}) AS c")).sql(&order_by(direction));
        statement
    }
}
