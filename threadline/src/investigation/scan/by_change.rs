//! Changes found by an index on them: of a row, a table, a tenant, or by time.

use diesel::prelude::*;

use super::{Batch, COLUMNS, Scan, order_by};
use crate::error::Error;
use crate::investigation::statement::Statement;

impl Scan<'_> {
    /// One statement. Where several places of an index are asked for, each is read in order on its own, and what they have
    /// is merged: asked for at once, they would all be read to the end and sorted.
    pub(super) fn batch_by_change(&self, conn: &mut PgConnection, wanted: usize) -> Result<Batch, Error> {
        let direction = self.order.sql();
        // Limits are written out: as parameters they would hide from the planner how little is wanted.
        let limited = format!("{} LIMIT {wanted}", order_by(direction));
        let mut statement = Statement::new(&format!("SELECT {COLUMNS} FROM ("));
        for (place, mut origin) in self.origins().into_iter().enumerate() {
            statement.sql(if place == 0 { "(SELECT c.* FROM " } else { " UNION ALL (SELECT c.* FROM " });
            self.question.of_change(&mut origin, self.order, self.after);
            self.question.of_transaction_of(&mut origin, "c.transaction_id");
            statement.append(&origin).sql(&limited).sql(")");
        }
        statement.sql(") AS c").sql(&limited);
        Ok(Batch::of(self.load(conn, statement)?, wanted))
    }

    /// Where the changes may lie, as what stands after FROM up to the first condition.
    fn origins(&self) -> Vec<Statement> {
        const CHANGES: &str = "threadline.audit_changes c WHERE ";
        let question = self.question;
        let table = |table: i32| {
            let mut origin = Statement::new(CHANGES);
            origin.sql("c.table_id = ").bind(table);
            origin
        };
        match (question.tables.as_deref(), &question.row_key, &question.scope) {
            (Some([only]), Some(key), _) => {
                let mut here = table(*only);
                here.sql(" AND c.row_key = ").bind(key);
                let mut left = Statement::new(
                    "threadline.audit_key_changes m JOIN threadline.audit_changes c USING (transaction_id, ordinal) WHERE m.table_id = ",
                );
                left.bind(*only).sql(" AND m.previous_row_key = ").bind(key);
                let mut truncated = table(*only);
                truncated.sql(" AND c.row_key = '' AND c.op = 'T' AND ").bind(key).sql(" <> ''");
                vec![here, left, truncated]
            }
            (Some(tables), ..) if tables.is_empty() => vec![Statement::new(CHANGES).sql("false").clone()],
            (Some(tables), ..) => tables.iter().map(|id| table(*id)).collect(),
            (None, _, Some(scope)) => match scope.tenants() {
                Some(tenants) if (1..=100).contains(&tenants.len()) => tenants
                    .iter()
                    .map(|tenant| Statement::new(CHANGES).sql("c.scope = ").bind(tenant).clone())
                    .collect(),
                _ => vec![Statement::new(CHANGES).sql("true").clone()],
            },
            (None, _, None) => vec![Statement::new(CHANGES).sql("true").clone()],
        }
    }
}
