//! Undoing: what a transaction did is undone on the columns it touched, in an order the constraints allow, unless later work
//! overlaps or the trail does not know enough; and undoing that does it again.

mod apply;
mod conflicts;
mod limits;
mod order;
mod property;
mod targets;

use diesel::PgConnection;
use threadline::undo::{self, Resolution};
use threadline::{Actor, AuditContext, Error, TransactionBuilder, UndoPlan, UndoTarget, quote_literal};
use threadline_tests::{run, text, texts};
use uuid::Uuid;

/// Runs statements in one transaction and returns its id in the trail.
fn doing(conn: &mut PgConnection, sql: &str) -> Uuid {
    run(conn, &format!("BEGIN; {sql}; COMMIT"));
    newest(conn)
}

/// The newest transaction of the trail.
fn newest(conn: &mut PgConnection) -> Uuid {
    let id = text(conn, "SELECT id FROM threadline.audit_transactions ORDER BY xid DESC LIMIT 1");
    id.parse().expect("an id is a UUID")
}

fn plan(conn: &mut PgConnection, transaction: Uuid) -> UndoPlan {
    planned(conn, &UndoTarget::transaction(transaction))
}

fn planned(conn: &mut PgConnection, target: &UndoTarget) -> UndoPlan {
    undo::plan(conn, target).unwrap_or_else(|error| panic!("{error:?}: plan of {target:?}"))
}

/// An operator's transaction.
fn operator() -> TransactionBuilder {
    AuditContext::new(Actor::admin(1)).transaction()
}

/// Undoes a transaction that nothing stands in the way of.
fn undo_clean(conn: &mut PgConnection, transaction: Uuid) -> Uuid {
    let plan = plan(conn, transaction);
    assert!(plan.is_clean(), "{plan:#?}");
    plan.apply(conn, operator()).unwrap_or_else(|error| panic!("{error:?}: {plan:#?}"))
}

/// Undoes what can be undone under a resolution.
fn undo_with(conn: &mut PgConnection, transaction: Uuid, resolution: Resolution) -> Result<Uuid, Error> {
    plan(conn, transaction).apply_with(conn, operator(), resolution)
}

/// Every row of these tables as the bytes its types send.
fn bytes(conn: &mut PgConnection, tables: &[&str]) -> Vec<String> {
    let rows = tables.iter().map(|table| {
        format!("SELECT {} || encode(record_send(t), 'hex') AS row FROM {table} t", quote_literal(table))
    });
    texts(conn, &format!("{} ORDER BY 1", rows.collect::<Vec<_>>().join(" UNION ALL ")))
}

/// The rows of a table, in the order of their text.
fn rows(conn: &mut PgConnection, table: &str) -> Vec<String> {
    texts(conn, &format!("SELECT t::text FROM {table} t ORDER BY 1"))
}

/// A plan in one line a step: `update public.posts 7 title=a<-b`, with what stands in the way.
fn outline(plan: &UndoPlan) -> Vec<String> {
    let step = |step: &undo::UndoStep| {
        let op = format!("{:?}", step.op).to_lowercase();
        let show = |value: Option<&str>| value.unwrap_or("NULL").to_owned();
        let columns = step.columns.iter().map(|column| {
            let from = column.from.as_ref().map(|from| format!("<-{}", show(from.text.as_deref())));
            format!(" {}={}{}", column.column, show(column.to.text.as_deref()), from.unwrap_or_default())
        });
        format!("{op} {} {}{}", step.table.name(), step.row_key, columns.collect::<String>())
    };
    let steps = plan.steps.iter().map(step);
    let conflicts = plan.conflicts().map(|conflict| format!("conflict: {conflict}"));
    steps.chain(conflicts).chain(plan.limits.iter().map(|limit| format!("limit: {limit}"))).collect()
}

fn change(transaction_id: Uuid, ordinal: i32) -> threadline::ChangeId {
    threadline::ChangeId { transaction_id, ordinal }
}
