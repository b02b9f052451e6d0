//! Changes found by their transactions: of an actor, a request, a correlation id, an action.
//!
//! An index has the transactions in the order in which they began; wanted are their changes in the order in which they were
//! captured. The two differ by how long transactions took, and nearly all took less than [`SHORT`]: those that took longer are
//! in `audit_long_transactions`, from where the few that matter are fetched. So after the transactions that began at or
//! after an instant, nothing captured later than that instant plus [`SHORT`] can be missing, and so much of the answer is
//! final.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::Uuid as SqlUuid;
use uuid::Uuid;

use super::{Batch, COLUMNS, Place, Question, Scan, began_at, first_id_at, order_by};
use crate::error::Error;
use crate::intent::ActionStatus;
use crate::investigation::change::ChangeId;
use crate::investigation::filter::ActorFilter;
use crate::investigation::log::StoredChange;
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
pub(super) const MANY_TRANSACTIONS: usize = 4096;

/// How the transactions are found: by indexes of `t`, a transaction, or of `a`, an action, that end in the id.
pub(super) struct Finder {
    places: Vec<Place>,
    by_action: bool,
}

impl Question {
    /// How its transactions are found, if that is the way to its changes.
    pub(super) fn found_by_transactions(&self) -> Option<Finder> {
        if self.row_key.is_some() {
            return None;
        }
        let filter = &self.filter;
        let found = |by_action, places| Some(Finder { places, by_action });
        if let Some(id) = &filter.request_id {
            return found(false, vec![Place::at("t.request_id", id)]);
        }
        if let Some(id) = &filter.correlation_id {
            return found(true, vec![Place::at("a.correlation_id", id)]);
        }
        if let Some(id) = &filter.transaction_correlation_id {
            return found(false, vec![Place::at("t.correlation_id", id)]);
        }
        if let Some(id) = &filter.job_id {
            return found(false, vec![Place::at("t.job_id", id)]);
        }
        // What nobody was named for is in no index.
        let actors: Option<Vec<Place>> = filter
            .actors
            .iter()
            .map(|actor| match actor {
                ActorFilter::Named(actor) => Some(Place::of_actor("t", actor)),
                ActorFilter::Nobody => None,
            })
            .collect();
        if let Some(places) = actors.filter(|places| !places.is_empty()) {
            return found(false, places);
        }
        if !filter.actions.is_empty() {
            return found(true, filter.actions.iter().map(|name| Place::at("a.name", name)).collect());
        }
        if filter.status == Some(ActionStatus::Error) {
            return found(true, vec![Place::wherever("a.status = 'error'")]);
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
            let look_at = self.look_at.unwrap_or(wanted).max(FEW_TRANSACTIONS).next_power_of_two();
            let (mut transactions, last) = self.transactions(conn, finder, self.ids(), look_at)?;
            let is_final_to = last.map(|last| match self.order {
                Order::NewestFirst => began_at(last) + SHORT,
                Order::OldestFirst => began_at(last),
            });
            transactions.extend(self.long_transactions(conn, last)?);
            transactions.sort_unstable();
            transactions.dedup();
            let mut changes = self.load(conn, self.changes_of(&transactions, wanted))?;
            changes.truncate(wanted);
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
                // The next ones are likely to lie in as many transactions: looked at in vain, one costs as much as any other.
                let members: BTreeSet<Uuid> = changes.iter().map(|change| change.transaction_id).collect();
                self.look_at = Some((members.len() * 5 / 4).min(MANY_TRANSACTIONS));
                let goes_on_after = changes.last().map(StoredChange::position);
                return Ok(Batch { changes, goes_on_after });
            }
            // Too few of them are asked for, or they lie too close together: the next look goes farther.
            let is_some_way = self.after.is_none_or(|after| is_final(after.captured_at));
            self.look_at = Some(if is_some_way { (look_at * 2).min(MANY_TRANSACTIONS) } else { look_at * 4 });
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

    /// The ids of transactions that can have changes still to be found, but for the long ones.
    pub(super) fn ids(&self) -> Range<Uuid> {
        let (first, last) = self.span();
        let first = first.map_or(Uuid::nil(), |first| first_id_at(first, -SHORT));
        first..last.map_or(Uuid::max(), |last| first_id_at(last, MILLISECOND))
    }

    /// The first so many transactions of a finder at these ids, in the order in which they began, and the place of the last of
    /// them when there may be more.
    pub(super) fn transactions(
        &self,
        conn: &mut PgConnection,
        finder: &Finder,
        ids: Range<Uuid>,
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
        let (id, table, transaction_id) = if finder.by_action {
            ("a.id", "threadline.audit_actions a", "a.transaction_id")
        } else {
            ("t.id", "threadline.audit_transactions t", "t.id")
        };
        let mut statement = self.question.statement("SELECT found.place, found.transaction_id FROM (");
        for (number, place) in finder.places.iter().enumerate() {
            statement.sql(if number == 0 { "(" } else { " UNION ALL (" });
            statement.sql(&format!(
                "SELECT {id} AS place, {transaction_id} AS transaction_id FROM {table} WHERE {transaction_id} IS NOT NULL AND "
            ));
            place.write(&mut statement, id, &ids, self.order);
            if finder.by_action {
                self.question.filter.of_action(&mut statement);
                let mut conditions = Statement::new("");
                if self.question.of_transaction(&mut conditions) {
                    statement.sql(" AND (SELECT true FROM threadline.audit_transactions t WHERE t.id = a.transaction_id");
                    statement.append(&conditions).sql(")");
                }
            } else {
                self.question.of_transaction(&mut statement);
                if self.question.asks_why() {
                    statement.sql(" AND ");
                    self.question.of_some_action(&mut statement, "t.id");
                }
            }
            statement.sql(&format!("{} LIMIT {look_at})", place.order(id, direction)));
        }
        statement.sql(&format!(") found ORDER BY found.place {direction} LIMIT {look_at}"));
        let found: Vec<Found> = statement.load_from(conn)?;
        let last = found.last().filter(|_| found.len() == look_at).map(|last| last.place);
        Ok((found.into_iter().map(|found| found.transaction_id).collect(), last))
    }

    /// Transactions that are asked for, began too early to be among those found by their beginning, and went on so long
    /// that they can have changes among those being looked for.
    pub(super) fn long_transactions(
        &self,
        conn: &mut PgConnection,
        last: Option<Uuid>,
    ) -> Result<Vec<Uuid>, Error> {
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = SqlUuid)]
            transaction_id: Uuid,
        }
        // They began before `before` and captured changes after `since`.
        let (before, since) = match (self.order, last, self.span().0) {
            (Order::NewestFirst, Some(last), _) => {
                (first_id_at(began_at(last), MILLISECOND), began_at(last) + SHORT)
            }
            // All that began after the filter's `from` were found.
            (Order::NewestFirst, None, _) => match self.question.filter.from {
                Some(from) => (first_id_at(from, -SHORT), from),
                None => return Ok(Vec::new()),
            },
            (Order::OldestFirst, _, Some(start)) => (first_id_at(start, -SHORT), start),
            (Order::OldestFirst, _, None) => return Ok(Vec::new()),
        };
        let doublings: Vec<i32> = (1..=MOST_DOUBLINGS).collect();
        let earliest: Vec<Uuid> =
            doublings.iter().map(|doublings| first_id_at(since, -(SHORT * (1 << doublings)))).collect();
        let mut statement = Statement::kept("SELECT l.transaction_id FROM unnest(");
        statement.bind(doublings).sql(", ").bind(earliest).sql(
            ") AS lasting (doublings, earliest) CROSS JOIN LATERAL (SELECT l.transaction_id FROM threadline.audit_long_transactions l \
             WHERE l.doublings = lasting.doublings AND l.transaction_id >= lasting.earliest AND l.transaction_id < ",
        );
        statement.bind(before).sql(") l");
        let lasting: Vec<Uuid> =
            statement.load_from::<Found>(conn)?.into_iter().map(|found| found.transaction_id).collect();
        if lasting.is_empty() {
            return Ok(lasting);
        }
        let mut statement = Statement::new("SELECT l.transaction_id FROM unnest(");
        statement.bind(lasting).sql(") AS l (transaction_id) WHERE true");
        self.question.of_transaction_of(&mut statement, "l.transaction_id");
        Ok(statement.load_from::<Found>(conn)?.into_iter().map(|found| found.transaction_id).collect())
    }

    /// The first changes of these transactions.
    fn changes_of(&self, transactions: &[Uuid], wanted: usize) -> Statement {
        let direction = self.order.sql();
        let wanted = self.question.limit(wanted);
        let mut statement =
            self.question.statement(&format!("SELECT {COLUMNS} FROM (SELECT c.* FROM unnest("));
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
