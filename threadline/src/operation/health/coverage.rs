//! Which of the host's tables are audited.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use diesel::prelude::*;
use serde::Serialize;
use tracing::field::Empty;

use super::capture::detached_at;
use super::finding::Severity;
use super::options::HealthOptions;
use crate::capture::TableName;
use crate::error::Error;
use crate::intent::Actor;
use crate::investigation::in_one_snapshot;
use crate::operation::deployed::{Deployed, HostTable, Unanswered, attempt, resolve};
use crate::operation::evidence::{
    Closing, NO_TABLE, Record, Recorded, Reference, Status, Subject, Verdict, closings, record_if_allowed,
};
use crate::telemetry;

/// A table that is not to be audited, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// The table; without a schema, the one the search path finds.
    pub table: TableName,
    /// Why nothing of it is recorded.
    pub reason: String,
}

/// What [`coverage`] is asked for. The default looks at every schema of the host and ignores Diesel's own table of migrations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoverageOptions {
    pub(crate) ignored: Vec<Ignored>,
    pub(crate) schemas: Vec<String>,
}

impl CoverageOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a table as decided: it is not to be audited.
    #[must_use]
    pub fn ignore(mut self, table: TableName, reason: impl Into<String>) -> Self {
        self.ignored.push(Ignored { table, reason: reason.into() });
        self
    }

    /// Looks at this schema alone, or at this one too when called again.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schemas.push(schema.into());
        self
    }

    /// Whether a schema is looked at.
    pub(crate) fn sees(&self, table: &TableName) -> bool {
        self.schemas.is_empty() || self.schemas.iter().any(|schema| Some(schema.as_str()) == table.schema())
    }
}

/// Whether a table is audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CoverageStatus {
    /// Every write to it, and to each of its partitions, is captured.
    Covered,
    /// Some or all writes are not.
    Uncovered,
    /// None is, by decision.
    Ignored,
    /// It is attached, and there is no such table any more.
    Gone,
}

impl CoverageStatus {
    const ALL: [Self; 4] = [Self::Covered, Self::Uncovered, Self::Ignored, Self::Gone];

    /// As it is serialized.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Uncovered => "uncovered",
            Self::Ignored => "ignored",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for CoverageStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One table of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TableCoverage {
    /// The table.
    pub table: TableName,
    /// Whether it is audited.
    pub status: CoverageStatus,
    /// Why it is not, or why it is ignored; empty for a covered one.
    pub reasons: Vec<String>,
    /// Its partitions on all levels, in the order of their names.
    pub partitions: Vec<PartitionCoverage>,
}

/// One partition of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartitionCoverage {
    /// The partition.
    pub table: TableName,
    /// Whether every write to it is captured, straight ones and those through the table.
    pub covered: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// How far the host's tables are audited, in the order of their names.
///
/// Of the host are all schemas but `threadline` and those of PostgreSQL; temporary tables, views and foreign tables are left
/// out. A table is covered when triggers that fire call its own capture function, whatever they are named; a disabled trigger,
/// one for replicas and one that was given a condition are none. Partitions stand under their table. A table that inherits
/// from another stands for itself.
///
/// It asks the catalogs only, so any role may; tables that are gone are found by a role that may read `audited_tables`.
///
/// # Errors
///
/// [`Error::SchemaMissing`], and others of the database.
pub fn coverage(conn: &mut PgConnection, options: &CoverageOptions) -> Result<Vec<TableCoverage>, Error> {
    let span = tracing::info_span!("threadline.coverage", outcome = Empty);
    let coverage = span.in_scope(|| {
        in_one_snapshot(conn, |conn| {
            let ignored = Decisions::resolve(conn, options)?;
            let deployed = Deployed::load(conn)?;
            Ok(of_deployed(&deployed, options, &ignored))
        })
    });
    span.record("outcome", telemetry::outcome(&coverage));
    let coverage = coverage?;
    for status in CoverageStatus::ALL {
        let number = coverage.iter().filter(|table| table.status == status).count();
        telemetry::TABLES.set(number, [status.as_str()]);
    }
    Ok(coverage)
}

/// How far tables are audited, as [evidence](crate::evidence) to be recorded, a record for each. `entry_point` is what asked,
/// such as a command or the worker, 1 to 256 bytes; `by` who did.
///
/// A covered table is `ok`; any other a finding, with what is missing. Those that are ignored have nothing to prove.
pub fn evidence(coverage: &[TableCoverage], entry_point: &str, by: Option<&Actor>) -> Vec<Record> {
    let nothing = Ok(Vec::new());
    evidence_beside(coverage, &nothing, entry_point, by)
}

/// Triggers that fire prove nothing where what they write is lost: beside errors of what all capture passes through, by their
/// codes, every table is a finding; and where that could not be looked at, being covered is no more than inferred.
fn evidence_beside(
    coverage: &[TableCoverage],
    trail: &Result<Vec<&'static str>, Unanswered>,
    entry_point: &str,
    by: Option<&Actor>,
) -> Vec<Record> {
    let tables = coverage.iter().filter(|table| table.status != CoverageStatus::Ignored);
    let record = |table: &TableCoverage| {
        let codes = trail.as_deref().unwrap_or_default();
        let is_covered = table.status == CoverageStatus::Covered && codes.is_empty();
        let reference = Reference::table(&table.table);
        let record = Record::new(Subject::TriggerCoverage, reference, "threadline::health", entry_point);
        let record = if trail.is_ok() { record } else { record.at_most(Verdict::Inferred) };
        let record = if codes.is_empty() { record } else { record.names("trail", codes.iter().copied()) };
        record
            .status(if is_covered { Status::Ok } else { Status::Finding })
            .by(by)
            .detail("coverage", table.status.as_str())
            .detail("partitions", table.partitions.len())
            .names("reasons", &table.reasons)
    };
    tables.map(record).collect()
}

/// Records [`evidence`], with the errors there are in what all capture passes through, the trail's own tables, functions and
/// settings, which are looked at for it: beside one, no table is recorded as covered. Asking for coverage writes nothing by itself. What has not changed for a day is not written again. A
/// table that was on record and is no more, or is ignored by now, gets a last record, `ok`, so that no finding about it stays open:
/// for that the role has to be able to read the evidence. Returns what became of each record; of none when the role may not
/// record them.
///
/// # Errors
///
/// As [`evidence::record_all`](crate::evidence::record_all).
pub fn record_evidence(
    conn: &mut PgConnection,
    coverage: &[TableCoverage],
    entry_point: &str,
    by: Option<&Actor>,
) -> Result<Vec<Recorded>, Error> {
    let trail = attempt(conn, Some(HealthOptions::default().statement_timeout), |conn| {
        let deployed = Deployed::load(conn)?;
        let errors = super::trail_findings(conn, &deployed)?.into_iter();
        let codes =
            errors.filter(|finding| finding.severity == Severity::Error).map(|finding| finding.code.as_str());
        Ok(codes.collect::<BTreeSet<_>>().into_iter().collect())
    })?;
    let mut records = evidence_beside(coverage, &trail, entry_point, by);
    let (ignored, current) =
        coverage.iter().partition::<Vec<_>, _>(|table| table.status == CoverageStatus::Ignored);
    let [current, ignored] =
        [current, ignored].map(|tables| tables.iter().map(|table| Reference::table(&table.table)).collect());
    for (reference, closing) in closings(conn, Subject::TriggerCoverage, "coverage", &current, &ignored)? {
        let (said, reason) = match closing {
            Closing::NoTable => ("closed", NO_TABLE),
            Closing::Ignored => ("ignored", "it is not to be audited, by decision"),
        };
        let record =
            Record::new(Subject::TriggerCoverage, reference, "threadline::health", entry_point).by(by);
        records.push(record.detail("coverage", said).detail("partitions", 0).names("reasons", [reason]));
    }
    record_if_allowed(conn, Subject::TriggerCoverage, &records)
}

/// What is ignored, by relation.
#[derive(Debug)]
pub(crate) struct Decisions<'a> {
    ignored: Vec<(i64, &'a str)>,
    /// Ignored by a name that means no table.
    pub(crate) nameless: Vec<&'a Ignored>,
}

impl<'a> Decisions<'a> {
    pub(crate) fn resolve(conn: &mut PgConnection, options: &'a CoverageOptions) -> Result<Self, Error> {
        let names: Vec<TableName> = options.ignored.iter().map(|ignored| ignored.table.clone()).collect();
        let relations = resolve(conn, &names)?;
        let (known, nameless) =
            options.ignored.iter().partition::<Vec<_>, _>(|ignored| relations.contains_key(&ignored.table));
        let ignored =
            known.into_iter().map(|ignored| (relations[&ignored.table], ignored.reason.as_str())).collect();
        Ok(Self { ignored, nameless })
    }

    /// Why a table is not audited, when that is decided.
    pub(crate) fn reason(&self, table: &HostTable) -> Option<String> {
        if let Some((_, reason)) = self.ignored.iter().find(|(oid, _)| *oid == table.oid) {
            return Some((*reason).to_owned());
        }
        if table.name.name() == "__diesel_schema_migrations" {
            return Some("Diesel's list of migrations".to_owned());
        }
        table.extension.as_ref().map(|extension| format!("it belongs to extension `{extension}`"))
    }

    /// The relations that are ignored by name.
    pub(crate) fn relations(&self) -> impl Iterator<Item = i64> {
        self.ignored.iter().map(|(oid, _)| *oid)
    }
}

pub(crate) fn of_deployed(
    deployed: &Deployed,
    options: &CoverageOptions,
    decisions: &Decisions<'_>,
) -> Vec<TableCoverage> {
    let mut coverage: Vec<TableCoverage> = deployed
        .roots()
        .filter(|table| options.sees(&table.name))
        .map(|table| of_table(deployed, decisions, table))
        .collect();
    let known: HashSet<TableName> = coverage.iter().map(|table| table.table.clone()).collect();
    let gone = deployed.attached().filter(|(audited, relation)| {
        relation.is_none() && options.sees(&audited.name()) && !known.contains(&audited.name())
    });
    coverage.extend(gone.map(|(audited, _)| TableCoverage {
        table: audited.name(),
        status: CoverageStatus::Gone,
        reasons: vec!["it is attached, and there is no such table".to_owned()],
        partitions: Vec::new(),
    }));
    coverage.sort_by(|a, b| a.table.cmp(&b.table));
    coverage
}

fn of_table(deployed: &Deployed, decisions: &Decisions<'_>, table: &HostTable) -> TableCoverage {
    let Some(id) = deployed.id(table) else {
        let reason = decisions.reason(table);
        let partitions = deployed.partitions(table).map(|partition| PartitionCoverage {
            table: partition.name.clone(),
            covered: false,
            reasons: Vec::new(),
        });
        return TableCoverage {
            table: table.name.clone(),
            status: if reason.is_some() { CoverageStatus::Ignored } else { CoverageStatus::Uncovered },
            reasons: vec![reason.unwrap_or_else(|| match deployed.former(table) {
                Some(former) => format!("it is not attached: it was detached at {}", detached_at(former)),
                None => "it is not attached".to_owned(),
            })],
            partitions: partitions.collect(),
        };
    };
    let reasons_of = |table: &HostTable| table.holes(id).iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut reasons = reasons_of(table);
    let partitions: Vec<PartitionCoverage> = deployed
        .partitions(table)
        .map(|partition| {
            let reasons = reasons_of(partition);
            PartitionCoverage { table: partition.name.clone(), covered: reasons.is_empty(), reasons }
        })
        .collect();
    for partition in &partitions {
        let name = partition.table.to_plain();
        reasons.extend(partition.reasons.iter().map(|reason| format!("partition `{name}`: {reason}")));
    }
    TableCoverage {
        table: table.name.clone(),
        status: if reasons.is_empty() { CoverageStatus::Covered } else { CoverageStatus::Uncovered },
        reasons,
        partitions,
    }
}
