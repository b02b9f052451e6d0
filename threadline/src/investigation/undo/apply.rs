//! Executing a plan: as an audited transaction of its own, on rows it has locked and found as planned, and verified.

use std::collections::{BTreeMap, BTreeSet};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use serde_json::json;
use uuid::Uuid;

use super::plan::{Resolution, UndoOp, UndoPlan, UndoStep};
use super::render::{self, SETTINGS, Statement};
use super::table::{self, Texts, TypedValue, Value};
use super::target::UndoTarget;
use crate::error::Error;
use crate::intent::{Action, TransactionBuilder};

/// What an undo is called when the transaction has no action of its own.
const ACTION: &str = "threadline.undo";

/// How many of the transactions undone are named in the metadata: it has a bound of 32,768 bytes.
const NAMED_TRANSACTIONS: usize = 200;

impl UndoPlan {
    /// Undoes, if nothing at all stands in the way. See [`apply_with`](Self::apply_with).
    ///
    /// ```no_run
    /// use diesel::prelude::*;
    /// use threadline::{Actor, AuditContext, UndoTarget, undo};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut conn = PgConnection::establish("postgres://localhost/blog")?;
    /// # let wrong = uuid::Uuid::nil();
    /// let plan = undo::plan(&mut conn, &UndoTarget::transaction(wrong))?;
    /// println!("{}", plan.to_sql(undo::Resolution::Skip)?);
    /// let undone = plan.apply(&mut conn, AuditContext::new(Actor::admin(1)).transaction())?;
    /// // Undoing the undoing does it again.
    /// undo::plan(&mut conn, &UndoTarget::transaction(undone))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`apply_with`](Self::apply_with).
    pub fn apply(&self, conn: &mut PgConnection, transaction: TransactionBuilder) -> Result<Uuid, Error> {
        self.apply_with(conn, transaction, Resolution::Refuse)
    }

    /// Undoes as an audited transaction, and returns its id.
    ///
    /// The transaction has its actor and context from `transaction`, and its action, or else `threadline.undo`. Its metadata
    /// links it with what it undoes: `{"undoes": {"target": {…}, "transactions": ["…"], "count": 1}}`, with the newest 200
    /// transactions and the number of all. The rows are locked, the plan is made again, and nothing is done unless it comes
    /// out the same. In the end every column written is read back. Where it does not hold what the plan says, because a trigger
    /// of the host has changed it on the way, it is set once more, and unless that helps, everything is rolled back. Columns
    /// that capture ignores are not verified.
    ///
    /// Triggers of the host fire as for any write. What they write to other rows than the plan's is their business, and stays.
    ///
    /// The role needs UPDATE on the tables, also where rows are only deleted, because the rows are locked.
    ///
    /// # Errors
    ///
    /// With nothing written:
    /// - [`Error::UndoRefused`] when `resolution` does not settle what stands in the way, or there is nothing to do
    /// - [`Error::UndoStale`] when the plan does not hold any more; it has the one that does
    /// - [`Error::UndoAltered`] when a row came out otherwise than planned
    /// - [`Error::UndoFailed`] when the database refused a statement, as for a foreign key
    /// - what [`TransactionBuilder::run`] returns; inside another transaction it is refused
    pub fn apply_with(
        &self,
        conn: &mut PgConnection,
        transaction: TransactionBuilder,
        resolution: Resolution,
    ) -> Result<Uuid, Error> {
        self.settle(resolution)?;
        let first = self.transactions.len().saturating_sub(NAMED_TRANSACTIONS);
        let undoes = json!({
            "target": self.target,
            "transactions": self.transactions[first..],
            "count": self.transactions.len(),
        });
        transaction.action_or(Action::new(ACTION)).meta("undoes", undoes).run(conn, |conn, open| {
            for setting in SETTINGS {
                conn.batch_execute(&format!("SET LOCAL {setting}"))?;
            }
            self.lock(conn)?;
            let plan = self.trail.undo_plan(conn, &self.target)?;
            if plan.digest != self.digest {
                return Err(Error::UndoStale { plan: Box::new(plan) });
            }
            let steps = plan.settle(resolution)?;
            let statements = plan.statements(resolution)?;
            if steps.is_empty() {
                return Err(Error::UndoRefused {
                    conflicts: plan.conflicts().cloned().collect(),
                    limits: plan.limits,
                });
            }
            for statement in &statements {
                execute(conn, statement)?;
            }
            if statements.iter().any(|statement| statement.rows.is_none()) {
                conn.batch_execute("SET CONSTRAINTS ALL IMMEDIATE")?;
            }
            // Triggers may have written to a row after its own step, as one that counts. That is set back once; what is then
            // still otherwise, a trigger insists on.
            for (step, columns) in altered(conn, &plan, &steps)? {
                execute(conn, &set_again(&plan, step, &columns))?;
            }
            match altered(conn, &plan, &steps)?.first() {
                Some((step, columns)) => Err(plan.altered(step, columns.first().map(String::as_str))),
                None => Ok(open.id()),
            }
        })
    }

    /// Locks the rows of the plan, so that what is planned again under the lock holds.
    fn lock(&self, conn: &mut PgConnection) -> Result<(), Error> {
        for step in self.steps.iter().filter(|step| step.now().is_some()) {
            let shape = &self.shapes[&step.row.table_id];
            let mut parameters = Vec::new();
            let condition = render::condition(shape, step, None, &mut parameters);
            let sql = format!("SELECT FROM {} WHERE {condition} FOR UPDATE", shape.to_sql());
            let about = Some((shape.to_sql(), step.row_key.clone()));
            run(conn, &Statement { sql, parameters, rows: None, about })?;
        }
        Ok(())
    }
}

/// Plans again and applies, if the plan comes out as the one with this digest, which someone has reviewed.
///
/// # Errors
///
/// As [`undo::plan`](super::plan()) and [`UndoPlan::apply_with`].
pub fn apply_reviewed(
    conn: &mut PgConnection,
    target: &UndoTarget,
    digest: &str,
    transaction: TransactionBuilder,
    resolution: Resolution,
) -> Result<Uuid, Error> {
    let plan = super::plan(conn, target)?;
    if plan.digest != digest {
        return Err(Error::UndoStale { plan: Box::new(plan) });
    }
    plan.apply_with(conn, transaction, resolution)
}

fn execute(conn: &mut PgConnection, statement: &Statement) -> Result<(), Error> {
    let written = run(conn, statement)?;
    match (&statement.about, statement.rows) {
        // A trigger that returns NULL has the statement pass the row over; a rule may do something else altogether.
        (Some((table, row_key)), Some(rows)) if rows != written => {
            Err(Error::UndoAltered { table: table.clone(), row_key: row_key.clone(), column: None })
        }
        _ => Ok(()),
    }
}

fn run(conn: &mut PgConnection, statement: &Statement) -> Result<usize, Error> {
    let mut query = diesel::sql_query(&statement.sql).into_boxed();
    for TypedValue { text, .. } in &statement.parameters {
        query = query.bind::<Nullable<Text>, _>(text.as_deref());
    }
    query.execute(conn).map_err(|error| match (Error::from(error), &statement.about) {
        (Error::Query(error), Some((table, row_key))) => {
            Error::UndoFailed { table: table.clone(), row_key: row_key.clone(), error }
        }
        (error, _) => error,
    })
}

/// Sets columns of a step's row to what the plan says once more, when the step itself is done.
fn set_again(plan: &UndoPlan, step: &UndoStep, columns: &[String]) -> Statement {
    let shape = &plan.shapes[&step.row.table_id];
    let key = shape.key.iter().flatten().cloned().zip(step.final_key(shape)).collect();
    let values: Vec<(&str, &TypedValue)> = step
        .columns
        .iter()
        .filter(|column| columns.contains(&column.column))
        .map(|column| (column.column.as_str(), &column.to))
        .collect();
    render::update(shape, step, &values, Some(&key))
}

impl UndoPlan {
    fn altered(&self, step: &UndoStep, column: Option<&str>) -> Error {
        Error::UndoAltered {
            table: self.shapes[&step.row.table_id].to_sql(),
            row_key: step.row_key.clone(),
            column: column.map(str::to_owned),
        }
    }
}

/// The steps whose rows do not hold what was written, with the columns; an error when a row is not there, or still is.
fn altered<'s>(
    conn: &mut PgConnection,
    plan: &UndoPlan,
    steps: &'s [UndoStep],
) -> Result<Vec<(&'s UndoStep, Vec<String>)>, Error> {
    let ids: BTreeSet<i32> = steps.iter().map(|step| step.row.table_id).collect();
    let tables = table::read(conn, &ids)?;
    let mut altered = Vec::new();
    for (id, table) in &tables {
        let shape = &plan.shapes[id];
        let own: Vec<(&UndoStep, Vec<String>)> = steps
            .iter()
            .filter(|step| step.row.table_id == *id)
            .map(|step| (step, step.final_key(shape)))
            .collect();
        let name = |key: &[String]| serde_json::to_string(key).expect("texts always serialize");
        let keys: BTreeMap<String, Vec<String>> =
            own.iter().map(|(_, key)| (name(key), key.clone())).collect();
        let images = table::present_images(conn, table, &keys)?;
        let mut texts = Texts::default();
        images.values().for_each(|image| texts.want(image));
        texts.fetch(conn, table)?;
        // A deleted row's key may have gone to another row of the plan.
        let reached: BTreeSet<String> =
            own.iter().filter(|(step, _)| step.op != UndoOp::Delete).map(|(_, key)| name(key)).collect();
        for (step, key) in own {
            let key = name(&key);
            let image = images.get(&key);
            if step.op == UndoOp::Delete {
                if image.is_some() && !reached.contains(&key) {
                    return Err(plan.altered(step, None));
                }
                continue;
            }
            let image = image.ok_or_else(|| plan.altered(step, None))?;
            let values = texts.values(table, image, &BTreeSet::new());
            let columns: Vec<String> = step
                .columns
                .iter()
                .filter(|column| !column.ignored)
                .filter(|column| values.get(&column.column) != Some(&Value::Text(column.to.text.clone())))
                .map(|column| column.column.clone())
                .collect();
            if !columns.is_empty() {
                altered.push((step, columns));
            }
        }
    }
    Ok(altered)
}
