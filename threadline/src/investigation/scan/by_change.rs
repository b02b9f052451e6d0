//! Changes found by an index on them: of a row, a table, a tenant, or by time.

use diesel::prelude::*;

use super::{Batch, COLUMNS, Scan, order_by};
use crate::error::Error;
use crate::investigation::statement::{Bind, Statement};

const CHANGES: &str = "threadline.audit_changes c WHERE ";

/// Where changes may lie: what stands after FROM up to the first condition, and the place of an index they have in common.
///
/// The order begins with the column they have in common: the index that goes on with `captured_at` is then the only one in that
/// order, where the planner, which does not know how rare a value is, might else walk through time and leave out what has
/// another. A plain equality would take the column out of the order again.
struct Origin {
    from: Statement,
    /// The column.
    common: Option<&'static str>,
    /// Its value, where an index has other columns before it: asked for together with `captured_at`.
    value: Option<Bind>,
}

impl Origin {
    fn anywhere(from: &str) -> Self {
        Self { from: Statement::new(from), common: None, value: None }
    }

    /// Where the first column of an index has this value. As a list of one, which an index is read by from bound to bound: by a
    /// comparison of rows it would be read past the first bound, to the end of every partition.
    fn led_by(column: &'static str, value: impl Into<Bind>) -> Self {
        let mut from = Statement::new(&format!("{CHANGES}{column} = ANY (ARRAY["));
        from.bind(value).sql("])");
        Self { from, common: Some(column), value: None }
    }

    /// Where a row's key is this one.
    fn of_row(table: i32, key: &str) -> Self {
        let mut from = Statement::new(&format!("{CHANGES}c.table_id = "));
        from.bind(table);
        Self { from, common: Some("c.row_key"), value: Some(key.into()) }
    }
}

/// Where changes of a row lie: those by which it came to this key or stayed at it, those by which it left the key, and the
/// TRUNCATEs of its table.
fn origins_of_row(table: i32, key: &str) -> Vec<Origin> {
    let here = Origin::of_row(table, key);
    // Each by its own key: joined, the planner may read all changes first.
    let mut left = Origin::anywhere(
        "threadline.audit_key_changes m CROSS JOIN LATERAL (SELECT c.* FROM threadline.audit_changes c \
         WHERE c.transaction_id = m.transaction_id AND c.ordinal = m.ordinal LIMIT 1) c WHERE m.table_id = ",
    );
    left.from.bind(table).sql(" AND m.previous_row_key = ").bind(key);
    let mut truncated = Origin::of_row(table, "");
    truncated.from.sql(" AND c.op = 'T' AND ").bind(key).sql(" <> ''");
    vec![here, left, truncated]
}

impl Scan<'_> {
    /// One statement. Where several places of an index are asked for, each is read in order on its own, and what they have
    /// is merged: asked for at once, they would all be read to the end and sorted.
    pub(super) fn batch_by_change(&self, conn: &mut PgConnection, wanted: usize) -> Result<Batch, Error> {
        let mut statement = self.question.statement(&format!("SELECT {COLUMNS} FROM ("));
        let order = order_by(self.order.sql());
        let limit = self.append_each_origin(&mut statement, "c.*", &order, wanted);
        statement.sql(") AS c").sql(&order).sql(&limit);
        Ok(Batch::of(self.load(conn, statement)?, wanted))
    }

    /// Adds what is asked for of each origin, in an order that begins with `captured_at`, and no more than wanted; returns how
    /// that is limited.
    pub(super) fn append_each_origin(
        &self,
        statement: &mut Statement,
        what: &str,
        order: &str,
        wanted: usize,
    ) -> String {
        // Limits are written out: as parameters they would hide from the planner how little is wanted.
        let limit = format!(" LIMIT {}", self.question.limit(wanted));
        for (place, origin) in self.origins().into_iter().enumerate() {
            let union = if place == 0 { "" } else { " UNION ALL " };
            statement.sql(&format!("{union}(SELECT {what} FROM "));
            statement.append(&origin.from);
            let mut order = order.to_owned();
            if let Some((column, value)) = origin.common.zip(origin.value) {
                let (first, last) = self.span();
                for (comparison, instant, none) in [(">=", first, "-infinity"), ("<=", last, "infinity")] {
                    statement
                        .sql(&format!(" AND ({column}, c.captured_at) {comparison} ("))
                        .bind(value.clone());
                    match instant {
                        Some(instant) => statement.sql(", ").bind(instant).sql(")"),
                        None => statement.sql(&format!(", '{none}'::timestamptz)")),
                    };
                }
            }
            if let Some(column) = origin.common {
                let column_first = format!("ORDER BY {column} {}, ", self.order.sql());
                order = order.replacen("ORDER BY ", &column_first, 1);
            }
            self.question.of_change(statement, self.order, self.after);
            self.question.of_transaction_of(statement, "c.transaction_id");
            statement.sql(&order).sql(&limit).sql(")");
        }
        limit
    }

    fn origins(&self) -> Vec<Origin> {
        let question = self.question;
        match (question.tables.as_deref(), &question.row_key, &question.scope) {
            (Some([only]), Some(key), _) => origins_of_row(*only, key),
            (Some([]), ..) => vec![Origin::anywhere(&format!("{CHANGES}false"))],
            (Some(tables), ..) => tables.iter().map(|id| Origin::led_by("c.table_id", *id)).collect(),
            (None, _, Some(scope)) => match scope.tenants() {
                Some(tenants) if (1..=100).contains(&tenants.len()) => tenants
                    .iter()
                    .map(|tenant| {
                        let mut origin = Origin::led_by("c.scope", tenant);
                        // As the index has it.
                        origin.from.sql(" AND c.scope IS NOT NULL");
                        origin
                    })
                    .collect(),
                _ => vec![Origin::anywhere(&format!("{CHANGES}true"))],
            },
            (None, _, None) => vec![Origin::anywhere(&format!("{CHANGES}true"))],
        }
    }
}
