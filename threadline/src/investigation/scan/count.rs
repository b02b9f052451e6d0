//! How many changes answer to a question, without reading what is in them.

use std::collections::HashSet;

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use uuid::Uuid;

use super::by_transaction::{FEW_TRANSACTIONS, Finder, MANY_TRANSACTIONS};
use super::{Question, Scan};
use crate::error::Error;
use crate::investigation::page::Order;
use crate::investigation::statement::Statement;

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    counted: i64,
}

/// How many changes answer to it, counting no further than to `cap`.
pub(crate) fn count(question: &Question, conn: &mut PgConnection, cap: usize) -> Result<usize, Error> {
    let mut scan = Scan::new(question, Order::NewestFirst, None);
    if question.filter.column.is_some() {
        return scan.count_shown(conn, cap);
    }
    match question.found_by_transactions() {
        Some(finder) => scan.count_by_transaction(conn, &finder, cap),
        None => scan.count_by_change(conn, cap),
    }
}

impl Scan<'_> {
    /// Whether a column changed is told by the change as it is shown.
    fn count_shown(&mut self, conn: &mut PgConnection, cap: usize) -> Result<usize, Error> {
        let mut counted = 0;
        while counted < cap && !self.is_over() {
            counted += self.next(conn, (cap - counted).min(2000))?.len();
        }
        Ok(counted)
    }

    /// In the order of an index, which for a table or a span of time has all there is to ask for.
    fn count_by_change(&self, conn: &mut PgConnection, cap: usize) -> Result<usize, Error> {
        let mut statement = self.question.statement("SELECT count(*) AS counted FROM (");
        let order = format!(" ORDER BY c.captured_at {}", self.order.sql());
        self.append_each_origin(&mut statement, "1", &order, cap);
        statement.sql(") AS c");
        counted(conn, &statement, cap)
    }

    fn count_by_transaction(
        &self,
        conn: &mut PgConnection,
        finder: &Finder,
        cap: usize,
    ) -> Result<usize, Error> {
        let mut ids = self.ids();
        // A long transaction is noted more than once, and more than one action of a transaction may be asked for.
        let mut seen: HashSet<Uuid> = self.long_transactions(conn, None)?.into_iter().collect();
        let long: Vec<Uuid> = seen.iter().copied().collect();
        let mut found = self.count_of(conn, &long, cap)?;
        let mut look_at = cap.clamp(FEW_TRANSACTIONS, MANY_TRANSACTIONS).next_power_of_two();
        while found < cap {
            let (mut transactions, last) = self.transactions(conn, finder, ids.clone(), look_at)?;
            transactions.retain(|id| seen.insert(*id));
            found += self.count_of(conn, &transactions, cap - found)?;
            match last {
                Some(last) => ids.end = last,
                None => break,
            }
            look_at = MANY_TRANSACTIONS;
        }
        Ok(found)
    }

    /// How many changes of these transactions are asked for.
    fn count_of(&self, conn: &mut PgConnection, transactions: &[Uuid], cap: usize) -> Result<usize, Error> {
        if transactions.is_empty() {
            return Ok(0);
        }
        let mut statement = self.question.statement("SELECT count(*) AS counted FROM (SELECT 1 FROM unnest(");
        statement.bind(transactions).sql(
            ") AS member (id) CROSS JOIN LATERAL (SELECT 1 FROM threadline.audit_changes c WHERE c.transaction_id = member.id",
        );
        self.question.of_change(&mut statement, self.order, None);
        self.question.of_tables(&mut statement);
        let limit = self.question.limit(cap);
        statement.sql(&format!(" LIMIT {limit}) c LIMIT {limit}) c"));
        counted(conn, &statement, cap)
    }
}

fn counted(conn: &mut PgConnection, statement: &Statement, cap: usize) -> Result<usize, Error> {
    let rows: Vec<Counted> = statement.load_from(conn)?;
    let counted = rows.first().map_or(0, |row| usize::try_from(row.counted).unwrap_or(usize::MAX));
    Ok(counted.min(cap))
}
