//! Everything that belongs together by a correlation id.

use actix_web::HttpResponse;
use threadline::{Filter, Order};

use super::asked::Asked;
use super::document::{Listed, document};
use super::endpoint::Endpoint;
use super::parameter::{AFTER, Kind, LIMIT, ORDERS, Parameter};
use crate::surface::failure::Failure;
use crate::surface::query::Problem;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

pub(super) const CORRELATION: Endpoint = Endpoint {
    name: "correlation",
    path: "/correlations",
    screen: Screen::Correlation,
    summary: "What belongs together by a correlation id",
    description: "The changes of the transactions with this correlation id, with or without an action. Oldest first, as a story \
        is told.",
    parameters: &[&[
        Parameter::needed("id", Kind::Text, "The correlation id, as the application gave it"),
        AFTER,
        LIMIT,
        Parameter::once(
            "order",
            Kind::OneOf { names: &ORDERS, usual: Some("oldest_first") },
            "In which order; that of `after`, if it is given",
        ),
    ]],
    schema: "timeline",
    handler: |visit, asked| Box::pin(correlation(visit, asked)),
};

async fn correlation(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let id = asked.needed("id", "is missing; name the correlation id");
    let request = asked.page(Order::OldestFirst);
    asked.end()?;
    let filter = Filter::new().transaction_correlation_id(id.ok_or(Failure::NotFound)?);
    let read = visit.read(move |conn, trail| {
        let page = trail.timeline_page(conn, &filter, &request)?;
        Ok(Listed { page, removed: trail.removed(conn, &filter)? })
    });
    let listed = read.await.map_err(|failure| match failure {
        Failure::Invalid(problems) => Failure::Invalid(problems.into_iter().map(named).collect()),
        failure => failure,
    })?;
    document(&listed)
}

/// By the name it has here.
fn named(problem: Problem) -> Problem {
    match problem.field.as_str() {
        "transaction_correlation_id" => Problem::new("id", problem.text),
        _ => problem,
    }
}
