//! `threadline doctor`: everything that is wrong with the audit, and what mends it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use threadline::TableName;
use threadline::health::{self, Finding, HealthOptions, Severity};

use crate::Outcome;
use crate::configuration::{ConfigArgs, Configuration};
use crate::database::DatabaseArgs;
use crate::models::counted;
use crate::output::{BAD, DIM, GOOD, HEADING, Line, NOTE, Output, OutputArgs, escaped};

/// Find what is wrong with the audit, and say what mends it
///
/// Asks the catalogs whether every write is captured, whether it can be forged, and whether it will go on; and reads some of the
/// recent changes, to find those that escaped. It writes nothing. A check that takes longer than
/// `--statement-timeout`, 5 seconds unless given, is reported as not made. Below each finding is the SQL that mends it, to be run by the
/// owner of the audit schema; where that takes a decision, the finding says so. Tables that `[tables] expected` of threadline.toml
/// names have to be audited; `threadline verify` asks the models too. Exit code 1 when there is an error; warnings are none,
/// unless `--strict`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline doctor
  threadline doctor --catalog-only --strict
  threadline doctor --gap-rows 5000 --gap-time 1m --statement-timeout 1m
  threadline doctor --json | jq -r '.findings[].fix'")]
pub(crate) struct Args {
    /// Read the catalogs only, and no changes
    #[arg(long)]
    catalog_only: bool,

    /// Exit with 1 at warnings too
    #[arg(long)]
    strict: bool,

    /// Look at this schema alone; may be given several times
    #[arg(long, value_name = "SCHEMA")]
    schema: Vec<String>,

    /// How far back changes are recent
    #[arg(long, value_name = "DURATION", value_parser = whole_seconds, default_value = "1day", conflicts_with = "catalog_only", help_heading = "How much is read")]
    recent: Duration,

    /// Read at most so many recent transactions and changes, the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 10_000, conflicts_with = "catalog_only", help_heading = "How much is read")]
    recent_rows: u32,

    /// Look for writes that escaped capture in at most so many rows, those changed last
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 100, conflicts_with = "catalog_only", help_heading = "How much is read")]
    gap_rows: u32,

    /// Stop looking for them after this long
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "2s", conflicts_with = "catalog_only", help_heading = "How much is read")]
    gap_time: Duration,

    /// How long a transaction may hold the feed back
    #[arg(long, value_name = "DURATION", value_parser = whole_seconds, default_value = "1h", help_heading = "How much is read")]
    feed_hold: Duration,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

fn whole_seconds(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() || duration.subsec_nanos() != 0 {
        return Err("write whole seconds, such as `90s` or `1day`".to_owned());
    }
    Ok(duration)
}

#[derive(Serialize)]
struct Document {
    summary: Summary,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Summary {
    errors: usize,
    warnings: usize,
    infos: usize,
}

impl Args {
    fn options(&self, configuration: &Configuration) -> HealthOptions {
        let mut options = if self.catalog_only {
            HealthOptions::catalog_only()
        } else {
            HealthOptions::new()
                .recent(self.recent)
                .recent_rows(self.recent_rows)
                .gap_rows(self.gap_rows)
                .gap_time(self.gap_time)
        };
        options = options.feed_hold(self.feed_hold).coverage(configuration.coverage(&self.schema));
        // A check that takes longer is reported as not made, where the session's timeout would end the command.
        if let Some(timeout) = self.database.statement_timeout() {
            options = options.statement_timeout(timeout);
        }
        let options =
            configuration.named().fold(options, |options, (table, place)| options.named(table, place));
        let options = configuration
            .named_actions()
            .fold(options, |options, (name, place)| options.named_action(name, place));
        configuration.config.tables.expected.iter().cloned().fold(options, HealthOptions::expect)
    }
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let options = args.options(&args.config.load()?);
    let mut conn = args.database.connect()?;
    let findings = health::findings(&mut conn, &options)?;
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let summary = Summary {
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        infos: count(Severity::Info),
    };
    let fails = summary.errors > 0 || (args.strict && summary.warnings > 0);
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Document { summary, findings })?;
    } else {
        print(&mut output, &findings, &summary, args.catalog_only)?;
    }
    output.flush()?;
    Ok(if fails { Outcome::FoundSomething } else { Outcome::Done })
}

fn print(
    output: &mut Output,
    findings: &[Finding],
    summary: &Summary,
    catalog_only: bool,
) -> std::io::Result<()> {
    let read = if catalog_only { " by the catalogs; changes were not read" } else { "" };
    let line = if findings.is_empty() {
        Line::new().styled(GOOD, "nothing is wrong").plain(read)
    } else {
        let kinds = [
            (summary.errors, "error", BAD),
            (summary.warnings, "warning", NOTE),
            (summary.infos, "remark", DIM),
        ];
        let kinds = kinds.into_iter().filter(|(number, ..)| *number > 0);
        let line = kinds.enumerate().fold(Line::new(), |line, (place, (number, what, style))| {
            line.plain(if place == 0 { "" } else { ", " }).styled(style, counted(number, what))
        });
        line.plain(read)
    };
    output.line(&line)?;
    let mut printed = Printed::default();
    for finding in findings {
        output.blank()?;
        let table = finding.table_name();
        let head = Line::new().styled(style(finding.severity), finding.severity.to_string());
        let head =
            head.plain("  ").styled(HEADING, table.as_ref().map(TableName::to_plain).unwrap_or_default());
        let gap = if finding.table.is_some() { "  " } else { "" };
        output.line(&head.plain(gap).styled(DIM, finding.code.as_str()))?;
        printed.problem(output, table, finding.code, &finding.message, &finding.fix)?;
    }
    if findings.iter().any(|finding| !finding.fix.is_empty()) {
        output.blank()?;
        output.prose(
            DIM,
            "",
            "SQL is for the owner of the audit schema, or the role that runs your migrations",
        )?;
    }
    Ok(())
}

/// How much a finding matters, as a colour.
fn style(severity: Severity) -> anstyle::Style {
    match severity {
        Severity::Error => BAD,
        Severity::Warning => NOTE,
        Severity::Info => DIM,
    }
}

/// Statements that were printed, by the table and what they were printed for: one that mends several findings is printed once.
#[derive(Default)]
pub(super) struct Printed(HashMap<(Option<TableName>, String), String>);

impl Printed {
    /// As [`print_problem`], with a reference to the statement if it is there already, as what mends `what` of the table.
    pub(super) fn problem(
        &mut self,
        output: &mut Output,
        table: Option<TableName>,
        what: impl ToString,
        message: &str,
        fix: &str,
    ) -> std::io::Result<()> {
        match self.0.entry((table, fix.to_owned())) {
            Entry::Occupied(first) if !fix.is_empty() => {
                print_problem(output, message, "")?;
                output.prose(DIM, "  ", &format!("mended by the same statement as {} above", first.get()))
            }
            entry => {
                entry.or_insert(what.to_string());
                print_problem(output, message, fix)
            }
        }
    }
}

/// What is wrong, and what mends it: to be copied, and therefore whole.
pub(super) fn print_problem(output: &mut Output, message: &str, fix: &str) -> std::io::Result<()> {
    output.prose(anstyle::Style::new(), "  ", message)?;
    if fix.is_empty() {
        return Ok(());
    }
    output.blank()?;
    output.verbatim("    ", fix)?;
    let sql = fix.replace('\n', "");
    if escaped(&sql) != sql {
        output.prose(
            NOTE,
            "  ",
            "! a name in it has characters that are not shown as they are; take it from --json",
        )?;
    }
    Ok(())
}

/// A finding that fails nothing, in short.
pub(super) fn print_in_short(output: &mut Output, finding: &Finding) -> std::io::Result<()> {
    let Finding { severity, code, message, .. } = finding;
    let table = finding.table_name().map(|table| format!("{}: ", table.to_plain())).unwrap_or_default();
    output.prose(style(*severity), "  ", &format!("{severity} {code}: {table}{message}"))
}
