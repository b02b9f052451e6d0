//! Whether everything that is to be captured is, and what is wrong with it.

use actix_web::HttpResponse;
use serde::Serialize;
use threadline::health::{self, CoverageOptions, CoverageStatus, Finding, Severity, TableCoverage};

use super::asked::Asked;
use super::document::document;
use super::endpoint::Endpoint;
use crate::surface::failure::Failure;
use crate::surface::pulse;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

pub(super) const COVERAGE: Endpoint = Endpoint {
    name: "coverage",
    path: "/coverage",
    screen: Screen::Coverage,
    summary: "Which tables are captured",
    description: "Each table of the database, with the reasons where it is not. No evidence of it is recorded.",
    parameters: &[],
    schema: "coverage",
    handler: |visit, asked| Box::pin(coverage(visit, asked)),
};

pub(super) const FINDINGS: Endpoint = Endpoint {
    name: "findings",
    path: "/findings",
    screen: Screen::Coverage,
    summary: "What is wrong with the audit",
    description: "The worst first, each with the SQL that mends it.",
    parameters: &[],
    schema: "findings",
    handler: |visit, asked| Box::pin(findings(visit, asked)),
};

#[derive(Serialize)]
struct Coverage {
    summary: Summary,
    tables: Vec<TableCoverage>,
    evidence: Kept,
}

#[derive(Serialize)]
struct Summary {
    covered: usize,
    uncovered: usize,
    ignored: usize,
    gone: usize,
}

/// What became of the evidence, which the command line can record: a page records none.
#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(super) enum Kept {
    Off,
}

async fn coverage(visit: &Visit, asked: Asked) -> Result<HttpResponse, Failure> {
    asked.end()?;
    let ignored = &visit.config.operation.tables.ignored;
    let options = ignored.iter().fold(CoverageOptions::new(), |options, ignored| {
        options.ignore(ignored.table.clone(), &ignored.reason)
    });
    let tables = visit.read(move |conn, _| health::coverage(conn, &options)).await?;
    let count = |status| tables.iter().filter(|table| table.status == status).count();
    let summary = Summary {
        covered: count(CoverageStatus::Covered),
        uncovered: count(CoverageStatus::Uncovered),
        ignored: count(CoverageStatus::Ignored),
        gone: count(CoverageStatus::Gone),
    };
    document(&Coverage { summary, tables, evidence: Kept::Off })
}

#[derive(Serialize)]
struct Findings {
    summary: Severities,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Severities {
    errors: usize,
    warnings: usize,
    infos: usize,
}

async fn findings(visit: &Visit, asked: Asked) -> Result<HttpResponse, Failure> {
    asked.end()?;
    let config = visit.config.clone();
    let read = visit.read(move |conn, _| {
        health::findings(conn, &pulse::options(&config.operation.tables, config.limit)?)
    });
    let findings = read.await?;
    visit.config.pulse.note(&findings);
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let summary = Severities {
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        infos: count(Severity::Info),
    };
    document(&Findings { summary, findings })
}
