//! What verifying found.

use std::fmt;

use serde::Serialize;

use crate::capture::TableName;
use crate::health::{CoverageStatus, Finding, FindingCode, Severity, TableCoverage};
use crate::policy::TablePolicy;

/// What has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// A table that is expected, or ignored, is a table of the host's, and not both.
    Names,
    /// Every table is audited, or ignored with a reason.
    Decided,
    /// Every expected table is audited.
    Covered,
    /// What is deployed is what is declared.
    Policy,
    /// Tables that have the scope column declare it.
    Scope,
    /// There is no finding of severity error.
    Healthy,
    /// Everything could be checked.
    Checked,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Names => "names",
            Self::Decided => "decided",
            Self::Covered => "covered",
            Self::Policy => "policy",
            Self::Scope => "scope",
            Self::Healthy => "healthy",
            Self::Checked => "checked",
        })
    }
}

/// Something that has to hold and does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Violation {
    /// What has to hold.
    pub rule: Rule,
    /// The finding it comes from, if it comes from one.
    pub code: Option<FindingCode>,
    /// The schema of the table, if it is about one and it is known.
    pub schema: Option<String>,
    /// The table, if it is about one.
    pub table: Option<String>,
    /// What is wrong.
    pub message: String,
    /// The SQL or the command that mends it; empty when it is the configuration that has to change. What sets the policy of a
    /// table is one statement for all that is wrong with it: the same in each of its violations.
    pub fix: String,
}

impl Violation {
    fn new(rule: Rule, table: &TableName, message: String, fix: String) -> Self {
        let schema = table.schema().map(str::to_owned);
        Self { rule, code: None, schema, table: Some(table.name().to_owned()), message, fix }
    }

    pub(super) fn of_name(table: &TableName, message: String) -> Self {
        Self::new(Rule::Names, table, message, String::new())
    }

    pub(super) fn of_scope(table: &TableName, column: &str, declared: Option<&str>) -> Self {
        let declared = declared.map_or("none".to_owned(), |declared| format!("`{declared}`"));
        let message = format!(
            "it has the column `{column}`, and its scope is {declared}; declare it on the model too, if there is one"
        );
        Self::new(Rule::Scope, table, message, String::new())
    }

    pub(super) fn of_scope_column(column: &str, nearest: Option<&String>) -> Self {
        let question = nearest.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let message =
            format!("no table has the column `{column}`, though it is the scope column of all{question}");
        Self { rule: Rule::Scope, code: None, schema: None, table: None, message, fix: String::new() }
    }
}

impl From<Finding> for Violation {
    fn from(finding: Finding) -> Self {
        let rule = match (finding.code, finding.severity) {
            (FindingCode::UncoveredTable, Severity::Error) => Rule::Covered,
            (FindingCode::UncoveredTable, _) => Rule::Decided,
            (FindingCode::CouldNotCheck, _) => Rule::Checked,
            _ => Rule::Healthy,
        };
        let Finding { code, schema, table, message, fix, .. } = finding;
        Self { rule, code: Some(code), schema, table, message, fix }
    }
}

impl From<&TablePolicy> for Violation {
    fn from(policy: &TablePolicy) -> Self {
        let differences: Vec<String> = policy.differences.iter().map(ToString::to_string).collect();
        Self::new(Rule::Policy, &policy.table, differences.join("; "), policy.fix.clone())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule)?;
        if let Some(code) = self.code {
            write!(f, " {code}")?;
        }
        if let Some(table) = &self.table {
            write!(f, " {}", TableName::new(self.schema.as_deref(), table).to_plain())?;
        }
        write!(f, ": {}", self.message)?;
        if !self.fix.is_empty() {
            write!(f, "\n  fix: {}", self.fix.replace('\n', "\n       "))?;
        }
        Ok(())
    }
}

/// Everything that was looked at. Written out it is the violations first, then what is worth knowing besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// What does not hold, by table; empty when all does.
    pub violations: Vec<Violation>,
    /// Findings that fail nothing.
    pub findings: Vec<Finding>,
    /// Every table of the host's.
    pub coverage: Vec<TableCoverage>,
    /// Declared against deployed; empty when the policies could not be read.
    pub policies: Vec<TablePolicy>,
}

impl VerifyReport {
    /// Whether everything holds.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |status: CoverageStatus| self.coverage.iter().filter(|table| table.status == status).count();
        writeln!(
            f,
            "{}: {} tables covered, {} uncovered, {} ignored; {} violations",
            if self.passed() { "verified" } else { "not verified" },
            count(CoverageStatus::Covered),
            count(CoverageStatus::Uncovered),
            count(CoverageStatus::Ignored),
            self.violations.len()
        )?;
        for (place, violation) in self.violations.iter().enumerate() {
            let is_same = |other: &Violation| {
                (&other.schema, &other.table, &other.fix)
                    == (&violation.schema, &violation.table, &violation.fix)
            };
            if !violation.fix.is_empty() && self.violations[..place].iter().any(is_same) {
                writeln!(
                    f,
                    "{}\n  fix: the statement above",
                    Violation { fix: String::new(), ..violation.clone() }
                )?;
            } else {
                writeln!(f, "{violation}")?;
            }
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}
