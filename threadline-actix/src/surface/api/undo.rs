//! What undoing something would take. Nothing is undone here.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use serde::Serialize;
use threadline::undo::UndoStep;
use threadline::{ChangeId, Error, Resolution, RowKey, TableName, UndoPlan, UndoTarget};
use uuid::Uuid;

use super::asked::Asked;
use super::document::document;
use super::endpoint::Endpoint;
use super::parameter::{Kind, Parameter};
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

pub(super) const UNDO: Endpoint = Endpoint {
    name: "undo",
    path: "/undo",
    screen: Screen::Undo,
    summary: "What undoing something would take",
    description: "A plan, made of the trail and of the rows as they are now: exactly one of `transaction`, `action`, `correlation`, \
        `change`, or `table`, `key` and `to`, names what is to be undone. Nothing is undone.",
    parameters: &[&[
        Parameter::once("transaction", Kind::Id, "All changes of this transaction"),
        Parameter::once("action", Kind::Id, "All changes of the transaction that recorded this action"),
        Parameter::text("correlation", "All changes of the transactions with this correlation id"),
        Parameter::once("change", Kind::Form("#[0-9]+$"), "One change, as `TRANSACTION#ORDINAL`"),
        Parameter::text("table", "The table of a row"),
        Parameter::repeated(
            "key",
            Kind::Text,
            "The row's key: its value, or `column=value` for each column of the key",
        ),
        Parameter::once("to", Kind::Instant, "The instant the row is to be set back to"),
    ]],
    schema: "undo",
    handler: |visit, asked| Box::pin(undo(visit, asked)),
};

/// What is to be undone.
enum Target {
    Known(UndoTarget),
    Row { table: TableName, keys: Vec<String>, to: DateTime<Utc> },
}

#[derive(Serialize)]
struct Planned {
    clean: bool,
    plan: UndoPlan,
    settled: Option<Vec<UndoStep>>,
    undone_by: Option<Uuid>,
}

async fn undo(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let target = target(&mut asked);
    asked.end()?;
    let target = target.ok_or(Failure::NotFound)?;
    let planned = visit
        .read(move |conn, trail| {
            let target = match target {
                Target::Known(target) => target,
                Target::Row { table, keys, to } => {
                    let key = RowKey::written(conn, &table, &keys)?;
                    UndoTarget::row(table, key, to)
                }
            };
            let plan = match trail.undo_plan(conn, &target) {
                Err(Error::NothingToUndo { .. }) => return Ok(None),
                plan => plan?,
            };
            let settled = plan.settled(Resolution::Refuse).ok();
            Ok(Some(Planned { clean: plan.is_clean(), settled, plan, undone_by: None }))
        })
        .await?;
    document(&planned.ok_or(Failure::NotFound)?)
}

fn target(asked: &mut Asked) -> Option<Target> {
    const WAYS: [&str; 5] = ["transaction", "action", "correlation", "change", "table"];
    let given: Vec<&str> = WAYS.into_iter().filter(|name| asked.has(name)).collect();
    let of_a_row = asked.has("key") || asked.has("to");
    let (transaction, action) = (asked.text("transaction"), asked.text("action"));
    let (correlation, change) = (asked.text("correlation"), asked.text("change"));
    let is_row = given == ["table"] || given.is_empty() && of_a_row;
    if is_row {
        let row = asked.row();
        let to = asked.needed_instant("to", "is missing; name the instant to go back to");
        return row.zip(to).map(|((table, keys), to)| Target::Row { table, keys, to });
    }
    // Taken in any case: what is beside the point is not unknown.
    let _row = (asked.texts("table"), asked.texts("key"), asked.texts("to"));
    match given[..] {
        [] => {
            asked.wrong(
                "transaction",
                "is missing; or give `action`, `correlation`, `change`, or `table`, `key` and `to`",
            );
            return None;
        }
        [one] if !of_a_row => one,
        [one, ..] => {
            asked.wrong(one, "is not all that is given; name one thing to undo");
            return None;
        }
    };
    let id = |text: &str| Uuid::try_parse(text).map_err(|_| "is not the id of a transaction or an action");
    let transaction = asked.read("transaction", transaction, id).map(UndoTarget::transaction);
    let action = asked.read("action", action, id).map(UndoTarget::action);
    let change = asked.read("change", change, change_id).map(UndoTarget::change);
    let correlation = correlation.map(UndoTarget::correlation);
    transaction.or(action).or(change).or(correlation).map(Target::Known)
}

fn change_id(text: &str) -> Result<ChangeId, &'static str> {
    let parsed = text.split_once('#').and_then(|(transaction, ordinal)| {
        Some(ChangeId { transaction_id: Uuid::try_parse(transaction).ok()?, ordinal: ordinal.parse().ok()? })
    });
    parsed.ok_or("is not a change such as TRANSACTION#1")
}
