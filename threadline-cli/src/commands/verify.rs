//! `threadline verify`: the gate for CI. Every table is decided, audited as declared, and nothing is wrong.

use anyhow::Result;
use serde::Serialize;
use threadline::TableName;
use threadline::evidence::Subject;
use threadline::verify::{self, Expected, Rule, VerifyReport, Violation};

use crate::Outcome;
use crate::checking::CheckArgs;
use crate::commands::coverage::Summary;
use crate::commands::doctor::{Printed, print_in_short};
use crate::configuration::{ConfigArgs, Configuration};
use crate::evidence::Kept;
use crate::models::{Expectation, ExpectationArgs, counted};
use crate::output::{BAD, DIM, GOOD, HEADING, Line, Output};

/// Check that the database audits what the models and threadline.toml say
///
/// For CI, after the migrations have run, and for a deployment. Reads every struct that derives `Audited` from the sources, as
/// `generate` does, and `[tables]` of threadline.toml: `expected`, `ignored` and `scope_column`. Then every table of the database
/// has to be audited or ignored, each model's as it declares, and nothing may be wrong with the capture. What could not be checked
/// is not taken for right. Without a Cargo.toml here or above no model is expected; what was is printed. Exit code 1 when something
/// does not hold.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline verify
  threadline verify --schema public --json
  threadline verify --no-models --config deploy/threadline.toml")]
pub(crate) struct Args {
    /// Look at this schema alone; may be given several times
    #[arg(long, value_name = "SCHEMA")]
    schema: Vec<String>,

    #[command(flatten)]
    expectation: ExpectationArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    check: CheckArgs,
}

#[derive(Serialize)]
struct Document {
    passed: bool,
    expectation: Expectation,
    summary: Summary,
    #[serde(flatten)]
    report: VerifyReport,
    evidence: Kept,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let configuration = args.config.load()?;
    let models = args.expectation.models()?;
    let mut conn = args.check.database.connect()?;
    let report = models
        .declared(|declared| verify::verify(&mut conn, &args.expected(&configuration).declared(declared)))?;
    let kept = args.check.evidence.keep(&mut conn, Subject::TriggerCoverage, |conn| {
        verify::record_evidence(conn, &report, "threadline verify", None)
    });
    let passed = report.passed();
    let mut output = args.check.output.open();
    let expectation = models.expectation(&configuration);
    if output.is_json() {
        let summary = Summary::of(&report.coverage);
        output.document(&Document { passed, expectation, summary, report, evidence: kept })?;
    } else {
        print(&mut output, &report, &expectation)?;
        kept.print(&mut output)?;
    }
    output.flush()?;
    Ok(if passed { Outcome::Done } else { Outcome::FoundSomething })
}

impl Args {
    fn expected(&self, configuration: &Configuration) -> Expected<'_> {
        let tables = &configuration.config.tables;
        let mut expected = tables.expected.iter().cloned().fold(Expected::new(), Expected::expect);
        for ignored in &tables.ignored {
            expected = expected.ignore(ignored.table.clone(), &ignored.reason);
        }
        if let Some(column) = &tables.scope_column {
            expected = expected.scope_column(column);
        }
        for (table, place) in configuration.named() {
            expected = expected.named(table, place);
        }
        self.schema.iter().fold(expected, Expected::schema)
    }
}

fn print(output: &mut Output, report: &VerifyReport, expectation: &Expectation) -> std::io::Result<()> {
    let verdict = match report.violations.len() {
        0 => Line::new().styled(GOOD, "verified"),
        number => {
            Line::new().styled(BAD, "not verified").plain(format!(": {}", counted(number, "violation")))
        }
    };
    output.line(&verdict)?;
    output.line(&Summary::of(&report.coverage).line())?;
    expectation.print(output)?;
    let (mut last, mut printed) = (None, Printed::default());
    for violation in &report.violations {
        let of = table_of(violation);
        output.blank()?;
        if last.as_ref() != Some(&of) {
            let name = of.as_ref().map_or_else(|| "the audit as a whole".to_owned(), TableName::to_plain);
            output.line(&Line::new().styled(HEADING, name))?;
            last = Some(of.clone());
        }
        let code = violation.code.map(|code| format!("  {code}")).unwrap_or_default();
        output.line(&Line::new().styled(BAD, format!("  {}", broken(violation.rule))).styled(DIM, code))?;
        let what = violation.code.map_or_else(|| broken(violation.rule), |code| code.to_string());
        printed.problem(output, of, what, &violation.message, &violation.fix)?;
    }
    if !report.findings.is_empty() {
        output.blank()?;
        output.line(&Line::new().styled(HEADING, "also found, and no violation"))?;
        report.findings.iter().try_for_each(|finding| print_in_short(output, finding))?;
    }
    Ok(())
}

/// What it is called when it does not hold.
fn broken(rule: Rule) -> String {
    match rule {
        Rule::Names => "wrong name".to_owned(),
        Rule::Decided => "undecided".to_owned(),
        Rule::Covered => "not audited".to_owned(),
        Rule::Policy => "not as declared".to_owned(),
        Rule::Scope => "no scope".to_owned(),
        Rule::Healthy => "unhealthy".to_owned(),
        Rule::Checked => "not checked".to_owned(),
        other => other.to_string(),
    }
}

fn table_of(violation: &Violation) -> Option<TableName> {
    violation.table.as_deref().map(|table| TableName::new(violation.schema.as_deref(), table))
}
