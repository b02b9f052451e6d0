//! A place of an index that ends in an id: where transactions or actions with something in common lie in the order in which
//! they began.

use std::ops::Range;

use uuid::Uuid;

use crate::intent::Actor;
use crate::investigation::page::Order;
use crate::investigation::statement::Statement;

/// A place of an index.
///
/// The order that is asked for begins with the column before the id, and its value is asked for together with the id: the
/// index with both is then the only one in that order. By a condition on the column alone, the planner, which does not know
/// how rare a value is, might walk through all ids and leave out what has another value.
pub(crate) struct Place {
    /// What the rows there have in common, but for `common`.
    conditions: Statement,
    /// The column before the id, and its value unless `conditions` say it.
    common: Option<(String, Option<String>)>,
}

impl Place {
    /// Where a column has this value.
    pub(crate) fn at(column: &str, value: impl Into<String>) -> Self {
        // As partial indexes have it.
        let conditions = Statement::new(&format!("{column} IS NOT NULL"));
        Self { conditions, common: Some((column.to_owned(), Some(value.into()))) }
    }

    /// Where an actor is, in a table with this alias.
    pub(crate) fn of_actor(alias: &str, actor: &Actor) -> Self {
        let mut conditions = Statement::new(&format!("{alias}.actor_type = "));
        conditions.bind(actor.actor_type().as_str());
        if actor.id().is_none() {
            conditions.sql(&format!(" AND {alias}.actor_id IS NULL"));
        }
        Self { conditions, common: Some((format!("{alias}.actor_id"), actor.id().map(String::from))) }
    }

    /// What an index is about as a whole.
    pub(crate) fn wherever(conditions: &str) -> Self {
        Self { conditions: Statement::new(conditions), common: None }
    }

    /// Adds the conditions, for ids in this span.
    ///
    /// Of the two bounds, the one that is reached last stands by itself too: a comparison of rows has a scan begin in the right
    /// place and does not have it end, so that partitions beyond would be read to their ends. With both, the planner would take
    /// the span to be short, whatever it is, and walk through it.
    pub(crate) fn write(&self, statement: &mut Statement, id: &str, ids: &Range<Uuid>, order: Order) {
        let Range { start: first, end: past } = *ids;
        match order {
            Order::NewestFirst => statement.sql(&format!("{id} >= ")).bind(first),
            Order::OldestFirst => statement.sql(&format!("{id} < ")).bind(past),
        };
        statement.sql(" AND ").append(&self.conditions);
        match &self.common {
            Some((column, Some(value))) => {
                // Not `<`, by which the planner takes rows with this very value to be left out.
                let last = Uuid::from_u128(past.as_u128().saturating_sub(1));
                for (comparison, bound) in [(">=", first), ("<=", last)] {
                    statement.sql(&format!(" AND ({column}, {id}) {comparison} (")).bind(value);
                    statement.sql(", ").bind(bound).sql(")");
                }
            }
            _ => {
                match order {
                    Order::NewestFirst => statement.sql(&format!(" AND {id} < ")).bind(past),
                    Order::OldestFirst => statement.sql(&format!(" AND {id} >= ")).bind(first),
                };
            }
        }
    }

    /// The order of the index.
    pub(crate) fn order(&self, id: &str, direction: &str) -> String {
        match &self.common {
            Some((column, _)) => format!(" ORDER BY {column} {direction}, {id} {direction}"),
            None => format!(" ORDER BY {id} {direction}"),
        }
    }
}
