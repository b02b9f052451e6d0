//! What is kept for how long, what is held, which months there are, and what earlier runs removed.
//!
//! What a run would remove now has no endpoint: it takes the owner of the trail, and reads all that is due.

use std::time::Duration;

use actix_web::HttpResponse;
use serde::Serialize;
use threadline::TableName;
use threadline::holds::{self, LegalHold};
use threadline::partitions;
use threadline::retention::{self, RetentionRun};

use super::asked::Asked;
use super::document::document;
use super::endpoint::Endpoint;
use super::parameter::{Kind, Parameter};
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

pub(super) const WINDOWS: Endpoint = Endpoint {
    name: "retention_windows",
    path: "/retention/windows",
    screen: Screen::Retention,
    summary: "How long what is kept",
    description: "As the application is configured.",
    parameters: &[],
    schema: "windows",
    handler: |visit, asked| Box::pin(windows(visit, asked)),
};

pub(super) const HOLDS: Endpoint = Endpoint {
    name: "retention_holds",
    path: "/retention/holds",
    screen: Screen::Retention,
    summary: "What is held, whatever the windows say",
    description: "In the order in which the holds were placed.",
    parameters: &[&[Parameter::once(
        "released",
        Kind::OneOf { names: &FLAG, usual: Some("false") },
        "Whether to list those that were released too",
    )]],
    schema: "holds",
    handler: |visit, asked| Box::pin(held(visit, asked)),
};

pub(super) const MONTHS: Endpoint = Endpoint {
    name: "retention_months",
    path: "/retention/months",
    screen: Screen::Retention,
    summary: "The months of the trail",
    description: "Each with its size and how many changes PostgreSQL last counted in it, oldest first.",
    parameters: &[],
    schema: "months",
    handler: |visit, asked| Box::pin(months(visit, asked)),
};

pub(super) const RUNS: Endpoint = Endpoint {
    name: "retention_runs",
    path: "/retention/runs",
    screen: Screen::Retention,
    summary: "What retention removed",
    description: "Its runs, newest first; those that found nothing due one after the other are one.",
    parameters: &[&[Parameter::once(
        "limit",
        Kind::Number { most: 1_000, usual: 40 },
        "At most so many runs",
    )]],
    schema: "runs",
    handler: |visit, asked| Box::pin(runs(visit, asked)),
};

const FLAG: [&str; 2] = ["false", "true"];

#[derive(Serialize)]
struct Windows<'a> {
    keep: Option<Duration>,
    minimum: Duration,
    tables: Vec<OfTable<'a>>,
    actions: Vec<OfAction<'a>>,
    exports: Duration,
    evidence: Option<Duration>,
    access_log: Option<Duration>,
    runs: Option<Duration>,
}

#[derive(Serialize)]
struct OfTable<'a> {
    table: &'a TableName,
    keep: Duration,
}

#[derive(Serialize)]
struct OfAction<'a> {
    action: &'a str,
    keep: Duration,
}

async fn windows(visit: &Visit, asked: Asked) -> Result<HttpResponse, Failure> {
    asked.end()?;
    let policy = &visit.config.operation.retention;
    document(&Windows {
        keep: policy.keep,
        minimum: policy.minimum,
        tables: policy.tables.iter().map(|(table, &keep)| OfTable { table, keep }).collect(),
        actions: policy.actions.iter().map(|(action, &keep)| OfAction { action, keep }).collect(),
        exports: policy.exports,
        evidence: policy.evidence,
        access_log: policy.access_log,
        runs: policy.runs,
    })
}

async fn held(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    #[derive(Serialize)]
    struct Holds {
        holds: Vec<LegalHold>,
    }
    let released = asked.one_of("released", &FLAG, &[false, true]).unwrap_or(false);
    asked.end()?;
    let holds = visit.read(move |conn, _| holds::list(conn, released)).await?;
    document(&Holds { holds })
}

async fn months(visit: &Visit, asked: Asked) -> Result<HttpResponse, Failure> {
    asked.end()?;
    document(&visit.read(|conn, _| partitions::list(conn)).await?)
}

async fn runs(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    #[derive(Serialize)]
    struct Runs {
        runs: Vec<RetentionRun>,
    }
    let limit = asked.number("limit", 1_000).unwrap_or(40);
    asked.end()?;
    let runs = visit.read(move |conn, _| retention::runs(conn, limit)).await?;
    document(&Runs { runs })
}
