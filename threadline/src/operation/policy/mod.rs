//! Policy: what was declared to be recorded, against what the database records.
//!
//! ```no_run
//! use diesel::prelude::*;
//! use threadline::policy;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let conn = &mut PgConnection::establish("postgres://localhost/blog")?;
//! let declared = policy::declared_models()?;
//! for table in policy::report(conn, &declared)? {
//!     println!("{table}");
//! }
//! # Ok(())
//! # }
//! ```

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use diesel::prelude::*;
use serde::Serialize;

use crate::capture::{AuditSpec, TableName};
use crate::error::Error;
use crate::health;
use crate::intent::Actor;
use crate::investigation::in_one_snapshot;
use crate::operation::deployed::{AuditedTable, Deployed, resolve};
use crate::operation::evidence::{
    NO_TABLE, Record, Recorded, Reference, Status, Subject, Verdict, closings, record_if_allowed,
};
use crate::registry::audited_models;

/// What stands for a masked value when nothing else is declared: the default of `threadline.attach`.
const DEFAULT_PLACEHOLDER: &str = "[REDACTED]";

/// What is said of a table that is audited and that no declaration was given of.
const NOT_DECLARED: &str =
    "no declaration of it was given to compare with; it is recorded by the policy the database has";

/// What a model, or its source, asks the database to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared<'a> {
    /// The table; without a schema, the one the search path finds.
    pub table: TableName,
    /// How it is to be audited.
    pub spec: AuditSpec<'a>,
    /// Who says so, such as the path of a model.
    pub by: String,
}

/// What the models this program was linked with declare, in the order of their tables; models of one table that agree are
/// one entry. See [`audited_models`].
///
/// # Errors
///
/// [`Error::PolicyContradiction`] for two models of one table that do not, [`Error::SchemaContradiction`].
pub fn declared_models() -> Result<Vec<Declared<'static>>, Error> {
    let mut by_table = BTreeMap::<TableName, Declared<'static>>::new();
    for model in audited_models() {
        let table = model.table()?;
        let declared = Declared { table: table.clone(), spec: *model.spec(), by: model.path() };
        if let Some(first) = by_table.get(&table) {
            if first.spec != declared.spec {
                return Err(Error::PolicyContradiction { first: first.by.clone(), second: declared.by });
            }
        } else {
            by_table.insert(table, declared);
        }
    }
    Ok(by_table.into_values().collect())
}

/// How a table's deployed policy relates to its declared one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PolicyState {
    /// The database records what was declared.
    Matches,
    /// It records something else.
    Drift,
    /// The capture function is not what was compiled from the policy, so what it records is unknown.
    Altered,
    /// It is declared, and nothing of it is recorded.
    NotAttached,
    /// It is recorded, and nobody declares it.
    Unknown,
}

impl fmt::Display for PolicyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Matches => "matches",
            Self::Drift => "drift",
            Self::Altered => "altered by hand",
            Self::NotAttached => "not attached",
            Self::Unknown => "not declared",
        })
    }
}

/// One option in which the two differ, as its values on both sides: names of columns, or the one value it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The option of `threadline.attach`.
    pub option: &'static str,
    /// What was declared.
    pub declared: Vec<String>,
    /// What is deployed.
    pub deployed: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |values: &[String]| {
            if values.is_empty() { "nothing".to_owned() } else { format!("`{}`", values.join("`, `")) }
        };
        write!(f, "{}: declared {}, deployed {}", self.option, side(&self.declared), side(&self.deployed))
    }
}

/// What of a table's values the trail never has, as deployed: names of columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Redaction {
    /// Columns that are left out.
    pub excluded: Vec<String>,
    /// Columns of which a placeholder is recorded.
    pub masked: Vec<String>,
}

impl Redaction {
    fn of(policy: &AuditedTable) -> Self {
        Self { excluded: policy.exclude.clone(), masked: policy.mask.clone() }
    }
}

/// The policy of one table. It holds names of columns and options, never a value of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TablePolicy {
    /// The table.
    pub table: TableName,
    /// Who declares it.
    pub declared_by: Option<String>,
    /// How the two relate.
    pub state: PolicyState,
    /// In what they differ, also where the function was altered.
    pub differences: Vec<Difference>,
    /// What the deployed policy keeps out of the trail; `None` when the table is not attached.
    pub redaction: Option<Redaction>,
    /// What is to be known besides: of a table that is audited and was not declared, that nobody said it should not be.
    pub remark: Option<&'static str>,
    /// The SQL that deploys what was declared. Empty when they match, and for a table that was not declared, unless it is gone or
    /// its function was altered: whether it is to be audited is not for this to say.
    pub fix: String,
}

impl fmt::Display for TablePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.table.to_plain(), self.state)?;
        if let Some(by) = &self.declared_by {
            write!(f, " (`{by}`)")?;
        }
        for difference in &self.differences {
            write!(f, "\n  {difference}")?;
        }
        if let Some(remark) = self.remark {
            write!(f, "\n  {remark}")?;
        }
        if !self.fix.is_empty() {
            write!(f, "\n  fix: {}", self.fix.replace('\n', "\n       "))?;
        }
        Ok(())
    }
}

/// Every declared and every attached table, in the order of their names, with how its two policies relate.
///
/// Columns of a list are compared as a set, those of the key in their order. A table is found by the name that was declared,
/// under the connection's search path; `deployed` is what its capture function was compiled from.
///
/// # Errors
///
/// [`Error::SchemaMissing`]; [`Error::Query`] for a role that may not read `threadline.audited_tables` and
/// `threadline.table_layouts`.
pub fn report(conn: &mut PgConnection, declared: &[Declared<'_>]) -> Result<Vec<TablePolicy>, Error> {
    in_one_snapshot(conn, |conn| {
        let names: Vec<TableName> = declared.iter().map(|declared| declared.table.clone()).collect();
        let relations = resolve(conn, &names)?;
        let deployed = Deployed::load(conn)?;
        let relation = |declared: &Declared<'_>| relations.get(&declared.table).copied();
        of_deployed(deployed, declared, relation).map(|(report, _)| report)
    })
}

/// What the report says of redaction, as [evidence](crate::evidence) to be recorded, a record for each declared table: what
/// nobody declares is no promise to be kept. `entry_point` is what asked for the report, such as a command or the worker, 1 to
/// 256 bytes; `by` who did.
///
/// A policy that matches is `ok` and supports `inferred`, as a posture does; one that drifted is a finding. Of a function that was
/// altered, and of a table that is not attached, nothing can be said: `unsupported`.
pub fn evidence(report: &[TablePolicy], entry_point: &str, by: Option<&Actor>) -> Vec<Record> {
    let declared = report.iter().filter(|policy| policy.declared_by.is_some());
    let record = |policy: &TablePolicy| {
        let redaction = policy.redaction.clone().unwrap_or_default();
        let (state, status, verdict) = match policy.state {
            PolicyState::Matches => ("matches", Status::Ok, Verdict::Inferred),
            PolicyState::Unknown => ("unknown", Status::Finding, Verdict::Inferred),
            PolicyState::Drift => ("drift", Status::Finding, Verdict::Inferred),
            PolicyState::Altered => ("altered", Status::Finding, Verdict::Unsupported),
            PolicyState::NotAttached => ("not_attached", Status::Finding, Verdict::Unsupported),
        };
        let table = Reference::table(&policy.table);
        Record::new(Subject::RedactionPolicy, table, "threadline::policy", entry_point)
            .status(status)
            .at_most(verdict)
            .by(by)
            .detail("state", state)
            .names("excluded", redaction.excluded)
            .names("masked", redaction.masked)
            .names("differences", policy.differences.iter().map(ToString::to_string))
    };
    declared.map(record).collect()
}

/// Records [`evidence`]: reading the report writes nothing by itself. What has not changed for a day is not written again. A
/// table that was on record and is no more gets a last record, `ok`, where the role may read the evidence. Returns what became of each record; of none when the role may not record them.
///
/// # Errors
///
/// As [`evidence::record_all`](crate::evidence::record_all).
pub fn record_evidence(
    conn: &mut PgConnection,
    report: &[TablePolicy],
    entry_point: &str,
    by: Option<&Actor>,
) -> Result<Vec<Recorded>, Error> {
    let mut records = evidence(report, entry_point, by);
    let current = report.iter().map(|policy| Reference::table(&policy.table)).collect();
    for (reference, _) in closings(conn, Subject::RedactionPolicy, "state", &current, &HashSet::new())? {
        let record =
            Record::new(Subject::RedactionPolicy, reference, "threadline::policy", entry_point).by(by);
        records.push(record.detail("state", "closed").names("differences", [NO_TABLE]));
    }
    record_if_allowed(conn, Subject::RedactionPolicy, &records)
}

/// The report, with what it was made of; `relation` says which one a declaration means.
pub(crate) fn of_deployed(
    deployed: Deployed,
    declared: &[Declared<'_>],
    relation: impl Fn(&Declared<'_>) -> Option<i64>,
) -> Result<(Vec<TablePolicy>, Deployed), Error> {
    let deployed = match deployed.audited {
        Err(unanswered) => return Err(unanswered.error),
        Ok(_) => deployed,
    };
    let mut report: Vec<TablePolicy> = Vec::new();
    let mut known = HashSet::new();
    for declared in declared {
        let table = relation(declared).and_then(|oid| deployed.table(oid));
        let policy = table.and_then(|table| deployed.policy(table));
        known.extend(policy.map(|policy| policy.id));
        let name = table.map_or_else(|| declared.table.clone(), |table| table.name.clone());
        report.push(of_table(declared, name, policy));
    }
    for (audited, table) in deployed.attached().filter(|(audited, _)| !known.contains(&audited.id)) {
        let name = table.map_or_else(|| audited.name(), |table| table.name.clone());
        let fix = match table {
            Some(_) if audited.is_altered() => health::refresh(&name),
            Some(_) => String::new(),
            None => format!("SELECT threadline.detach_gone({});", audited.id),
        };
        report.push(TablePolicy {
            table: name,
            declared_by: None,
            state: if audited.is_altered() { PolicyState::Altered } else { PolicyState::Unknown },
            differences: Vec::new(),
            redaction: Some(Redaction::of(audited)),
            remark: table.map(|_| NOT_DECLARED),
            fix,
        });
    }
    report.sort_by(|a, b| (&a.table, &a.declared_by).cmp(&(&b.table, &b.declared_by)));
    Ok((report, deployed))
}

fn of_table(declared: &Declared<'_>, name: TableName, policy: Option<&AuditedTable>) -> TablePolicy {
    let Declared { spec, by, .. } = declared;
    let attach = spec.attach_sql(&name);
    let (state, differences, fix) = match policy {
        None => (PolicyState::NotAttached, Vec::new(), attach),
        Some(policy) => {
            let differences = differences(spec, policy);
            if policy.is_altered() {
                // What `attach` finds altered it writes anew.
                (PolicyState::Altered, differences, attach)
            } else if differences.is_empty() {
                (PolicyState::Matches, differences, String::new())
            } else {
                (PolicyState::Drift, differences, attach)
            }
        }
    };
    let redaction = policy.map(Redaction::of);
    TablePolicy {
        table: name,
        declared_by: Some(by.clone()),
        state,
        differences,
        redaction,
        remark: None,
        fix,
    }
}

/// Whether a deployed policy is not the declared one.
pub(crate) fn drifts(spec: &AuditSpec<'_>, policy: &AuditedTable) -> bool {
    !differences(spec, policy).is_empty()
}

fn differences(spec: &AuditSpec<'_>, policy: &AuditedTable) -> Vec<Difference> {
    let owned = |columns: &[&str]| columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>();
    let sorted = |columns: Vec<String>| columns.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let one = |value: &str| vec![value.to_owned()];
    let placeholder = spec.mask_placeholder.unwrap_or(DEFAULT_PLACEHOLDER);
    let pairs: [(&'static str, Vec<String>, Vec<String>); 8] = [
        ("exclude", sorted(owned(spec.exclude)), sorted(policy.exclude.clone())),
        ("mask", sorted(owned(spec.mask)), sorted(policy.mask.clone())),
        ("mask_placeholder", one(placeholder), one(&policy.mask_placeholder)),
        ("ignore", sorted(owned(spec.ignore)), sorted(policy.ignore.clone())),
        ("key", owned(spec.key), policy.declared_key.clone()),
        (
            "scope",
            spec.scope.into_iter().map(str::to_owned).collect(),
            policy.scope_column.iter().cloned().collect(),
        ),
        ("on_truncate", one(spec.on_truncate.as_str()), one(&policy.on_truncate)),
        ("actor_policy", one(spec.actor_policy.as_str()), one(&policy.actor_policy)),
    ];
    pairs
        .into_iter()
        .filter(|(_, declared, deployed)| declared != deployed)
        .map(|(option, declared, deployed)| Difference { option, declared, deployed })
        .collect()
}
