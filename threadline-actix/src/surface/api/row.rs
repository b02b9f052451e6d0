//! One row: its versions, what it was at an instant, and how two instants differ.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use serde::Serialize;
use threadline::retention::{self, Removed};
use threadline::{AsOf, History, HistoryLimit, RowDiff, RowImage, RowKey, TableName};

use super::asked::Asked;
use super::document::document;
use super::endpoint::Endpoint;
use super::parameter::{Kind, LIMIT, Parameter, ROW};
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

/// The most versions in one answer.
const MOST: u32 = 1_000;

pub(super) const HISTORY: Endpoint = Endpoint {
    name: "row_history",
    path: "/rows/history",
    screen: Screen::Row,
    summary: "What happened to a row",
    description: "Its versions, newest first: each captured change with who made it and why, and what the row was before and \
        after it. A row that was given another key is followed.",
    parameters: &[&ROW, &[LIMIT]],
    schema: "row_history",
    handler: |visit, asked| Box::pin(history(visit, asked)),
};

pub(super) const AS_OF: Endpoint = Endpoint {
    name: "row_as_of",
    path: "/rows/as-of",
    screen: Screen::Row,
    summary: "What a row was at an instant",
    description: "Only `present`, `deleted` and `not_created` say for certain what it was.",
    parameters: &[&ROW, &[Parameter::needed("at", Kind::Instant, "The instant")]],
    schema: "row_as_of",
    handler: |visit, asked| Box::pin(as_of(visit, asked)),
};

pub(super) const DIFF: Endpoint = Endpoint {
    name: "row_diff",
    path: "/rows/diff",
    screen: Screen::Row,
    summary: "How a row differs between two instants",
    description: "What it was at both, and the difference where both are known.",
    parameters: &[
        &ROW,
        &[
            Parameter::needed("from", Kind::Instant, "The earlier instant"),
            Parameter::once("to", Kind::Instant, "The later one; now, if left out"),
        ],
    ],
    schema: "row_diff",
    handler: |visit, asked| Box::pin(diff(visit, asked)),
};

#[derive(Serialize)]
struct Versions {
    table: TableName,
    key: RowKey,
    #[serde(flatten)]
    history: History<()>,
    removed: Option<Removed>,
}

async fn history(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let (row, limit) = (asked.row(), asked.number("limit", MOST).unwrap_or(50));
    asked.end()?;
    let (table, keys) = row.ok_or(Failure::NotFound)?;
    let versions = visit
        .read(move |conn, trail| {
            let key = RowKey::written(conn, &table, &keys)?;
            let table = RowKey::table(conn, &table)?;
            let history = trail.row_history(conn, &table, &key, HistoryLimit::Newest(limit))?;
            let removed = retention::removed(conn, &table)?;
            Ok(Versions { table, key, history, removed })
        })
        .await?;
    document(&versions)
}

#[derive(Serialize)]
struct At {
    table: TableName,
    key: RowKey,
    at: DateTime<Utc>,
    #[serde(flatten)]
    answer: AsOf<RowImage>,
}

async fn as_of(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let (row, at) = (asked.row(), asked.needed_instant("at", "is missing; name the instant"));
    asked.end()?;
    let ((table, keys), at) = row.zip(at).ok_or(Failure::NotFound)?;
    let at = visit
        .read(move |conn, trail| {
            let key = RowKey::written(conn, &table, &keys)?;
            let table = RowKey::table(conn, &table)?;
            let answer = trail.row_as_of(conn, &table, &key, at)?;
            Ok(At { table, key, at, answer })
        })
        .await?;
    document(&at)
}

#[derive(Serialize)]
struct Between {
    table: TableName,
    from_at: DateTime<Utc>,
    to_at: DateTime<Utc>,
    key: RowKey,
    #[serde(flatten)]
    diff: RowDiff,
}

async fn diff(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let row = asked.row();
    let from_at = asked.needed_instant("from", "is missing; a difference has a beginning");
    let to_at = asked.instant("to").unwrap_or(visit.now);
    if from_at.is_some_and(|from| from > to_at) {
        asked.wrong("from", "is later than `to`");
    }
    asked.end()?;
    let ((table, keys), from_at) = row.zip(from_at).ok_or(Failure::NotFound)?;
    let between = visit
        .read(move |conn, trail| {
            let key = RowKey::written(conn, &table, &keys)?;
            let table = RowKey::table(conn, &table)?;
            let diff = trail.row_diff(conn, &table, &key, from_at, to_at)?;
            Ok(Between { table, from_at, to_at, key, diff })
        })
        .await?;
    document(&between)
}
