//! What one actor did: changes, and transactions.

use actix_web::HttpResponse;
use threadline::Order;

use super::asked::Asked;
use super::document::{Listed, document};
use super::endpoint::Endpoint;
use super::parameter::{Kind, PAGE, Parameter, TIME};
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

/// Who is asked about.
const WHO: Parameter = Parameter::needed(
    "actor",
    Kind::Form("^((user|admin|service_account|job|system):.+|anonymous)$"),
    "Who, as `user:42` or `anonymous`",
);

pub(super) const CHANGES: Endpoint = Endpoint {
    name: "actor_changes",
    path: "/actors/changes",
    screen: Screen::Actor,
    summary: "What an actor changed",
    description: "As the timeline, of one actor.",
    parameters: &[&[WHO], &TIME, &PAGE],
    schema: "timeline",
    handler: |visit, asked| Box::pin(changes(visit, asked)),
};

pub(super) const TRANSACTIONS: Endpoint = Endpoint {
    name: "actor_transactions",
    path: "/actors/transactions",
    screen: Screen::Actor,
    summary: "The transactions of an actor",
    description: "In the order in which they began, also those that only recorded an action.",
    parameters: &[&[WHO], &TIME, &PAGE],
    schema: "transactions",
    handler: |visit, asked| Box::pin(transactions(visit, asked)),
};

async fn changes(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let (actor, filter) = (asked.actor(), asked.filter());
    let request = asked.page(Order::NewestFirst);
    asked.end()?;
    let actor = actor.ok_or(Failure::NotFound)?;
    let listed = visit
        .read(move |conn, trail| {
            let page = trail.actor_window(conn, &actor, &filter, &request)?;
            Ok(Listed { page, removed: trail.removed(conn, &filter)? })
        })
        .await?;
    document(&listed)
}

async fn transactions(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let (actor, filter) = (asked.actor(), asked.filter());
    let request = asked.page(Order::NewestFirst);
    asked.end()?;
    let actor = actor.ok_or(Failure::NotFound)?;
    let listed = visit
        .read(move |conn, trail| {
            let page = trail.actor_history(conn, &actor, &filter, &request)?;
            Ok(Listed { page, removed: trail.removed_transactions(conn, &filter)? })
        })
        .await?;
    document(&listed)
}
