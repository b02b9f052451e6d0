//! What changed, and how much.

use actix_web::HttpResponse;
use serde::Serialize;
use threadline::{Count, Order, TableHorizon};

use super::asked::Asked;
use super::document::{Listed, document};
use super::endpoint::Endpoint;
use super::parameter::{FILTER, Kind, PAGE, Parameter, TIME};
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

pub(super) const TIMELINE: Endpoint = Endpoint {
    name: "timeline",
    path: "/timeline",
    screen: Screen::Timeline,
    summary: "What changed",
    description: "The captured changes that answer to the filter, each with who made it and why. What is given has to hold \
        together; of what is given several times, one suffices.",
    parameters: &[&FILTER, &TIME, &PAGE],
    schema: "timeline",
    handler: |visit, asked| Box::pin(timeline(visit, asked)),
};

/// The most changes that are counted.
const MOST: u32 = 1_000_000;
/// As many as the page counts.
const USUAL: u32 = 10_000;

pub(super) const COUNT: Endpoint = Endpoint {
    name: "count",
    path: "/timeline/count",
    screen: Screen::Timeline,
    summary: "How many changes there are",
    description: "Counts what the timeline would list, up to `most`.",
    parameters: &[
        &FILTER,
        &TIME,
        &[Parameter::once("most", Kind::Number { most: MOST, usual: USUAL }, "Where to stop counting")],
    ],
    schema: "count",
    handler: |visit, asked| Box::pin(count(visit, asked)),
};

async fn timeline(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let (filter, request) = (asked.filter(), asked.page(Order::NewestFirst));
    asked.end()?;
    let listed = visit
        .read(move |conn, trail| {
            let page = trail.timeline_page(conn, &filter, &request)?;
            Ok(Listed { page, removed: trail.removed(conn, &filter)? })
        })
        .await?;
    document(&listed)
}

#[derive(Serialize)]
struct Counted {
    counted: u64,
    capped: bool,
    removed: Vec<TableHorizon>,
}

async fn count(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let (filter, most) = (asked.filter(), asked.number("most", MOST).unwrap_or(USUAL));
    asked.end()?;
    let counted = visit
        .read(move |conn, trail| {
            let Count { counted, capped } = trail.count(conn, &filter, most)?;
            Ok(Counted { counted, capped, removed: trail.removed(conn, &filter)? })
        })
        .await?;
    document(&counted)
}
