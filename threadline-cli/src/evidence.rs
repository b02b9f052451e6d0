//! What the verbs that look after the trail leave behind as evidence, where the role may.

use std::collections::BTreeSet;

use diesel::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};
use threadline::evidence::{self, Record, Recorded, Reference, Status, Subject};
use threadline::health::{CoverageStatus, TableCoverage};
use threadline::policy::{Declared, PolicyState, TablePolicy};

use crate::models::counted;
use crate::output::{DIM, Line, Output, warn};

/// Of one table's reasons so many are kept: a table can have thousands of partitions, each with its own.
const MOST_REASONS: usize = 20;

/// Whether to leave evidence.
#[derive(clap::Args)]
pub(crate) struct EvidenceArgs {
    /// Do not record what was found as evidence; otherwise it is, where the role may, once a day or when it changes
    #[arg(long, help_heading = "Evidence")]
    no_evidence: bool,
}

/// What became of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(crate) enum Kept {
    /// `written` records are new; the others say what was recorded within the last day.
    Recorded { written: usize, unchanged: usize },
    /// The role may not, and nothing was tried.
    NotPermitted,
    /// It could not be, and that is no reason to fail.
    Failed,
    /// `--no-evidence`.
    Off,
}

impl EvidenceArgs {
    /// Records what was found, all of one subject, if that may be and can be done.
    pub(crate) fn keep(&self, conn: &mut PgConnection, subject: Subject, records: &[Record]) -> Kept {
        if self.no_evidence {
            return Kept::Off;
        }
        match evidence::may_record(conn, subject) {
            Ok(true) => {}
            Ok(false) => return Kept::NotPermitted,
            Err(error) => return failed(&error),
        }
        match evidence::record_all(conn, records) {
            Ok(recorded) => {
                let written = recorded.iter().filter(|Recorded { written, .. }| *written).count();
                Kept::Recorded { written, unchanged: recorded.len() - written }
            }
            Err(error) => failed(&error),
        }
    }
}

impl Kept {
    /// Says that there is something new on record.
    pub(crate) fn print(self, output: &mut Output) -> std::io::Result<()> {
        match self {
            Self::Recorded { written, .. } if written > 0 => output.line(
                &Line::new().styled(DIM, format!("recorded as evidence: {}", counted(written, "new record"))),
            ),
            _ => Ok(()),
        }
    }
}

fn failed(error: &threadline::Error) -> Kept {
    warn(&format!(
        "what was found could not be recorded as evidence ({}); `--no-evidence` does without",
        error.kind()
    ));
    Kept::Failed
}

/// Whether each table is captured. Tables that are ignored have nothing to prove.
pub(crate) fn of_coverage(coverage: &[TableCoverage], entry_point: &str) -> Vec<Record> {
    let tables = coverage.iter().filter(|table| table.status != CoverageStatus::Ignored);
    let record = |table: &TableCoverage| {
        let status = if table.status == CoverageStatus::Covered { Status::Ok } else { Status::Finding };
        let reasons: Vec<&String> = table.reasons.iter().take(MOST_REASONS).collect();
        Record::new(
            Subject::TriggerCoverage,
            Reference::table(&table.table),
            "threadline::health",
            entry_point,
        )
        .status(status)
        .detail("coverage", table.status.to_string())
        .detail("partitions", table.partitions.len())
        .detail("reasons", json!(reasons))
        .detail("reason_count", table.reasons.len())
    };
    tables.map(record).collect()
}

/// Which columns of each declared table are to be left out or masked, and whether they are.
pub(crate) fn of_policies(
    policies: &[TablePolicy],
    declared: &[Declared<'_>],
    entry_point: &str,
) -> Vec<Record> {
    let declared_by = |policy: &TablePolicy| {
        declared.iter().find(|declared| Some(&declared.by) == policy.declared_by.as_ref())
    };
    let record = |policy: &TablePolicy| {
        // What nobody declares is no promise to be kept.
        let declared = declared_by(policy)?;
        let status = if policy.state == PolicyState::Matches { Status::Ok } else { Status::Finding };
        let sorted = |columns: &[&str]| json!(columns.iter().collect::<BTreeSet<_>>());
        let differences: Vec<Value> = policy.differences.iter().map(|difference| json!(difference)).collect();
        let record = Record::new(
            Subject::RedactionPolicy,
            Reference::table(&policy.table),
            "threadline::policy",
            entry_point,
        )
        .status(status)
        .detail("state", json!(policy.state))
        .detail("exclude", sorted(declared.spec.exclude))
        .detail("mask", sorted(declared.spec.mask))
        .detail("differences", differences);
        Some(record)
    };
    policies.iter().filter_map(record).collect()
}
