//! `threadline coverage`: which tables are audited.

use anyhow::Result;
use serde::Serialize;
use threadline::evidence::Subject;
use threadline::health::{self, CoverageStatus, TableCoverage};

use crate::Outcome;
use crate::checking::CheckArgs;
use crate::configuration::ConfigArgs;
use crate::evidence::Kept;
use crate::models::counted;
use crate::output::{BAD, DIM, GOOD, Line, NOTE, Output};

/// Of one table's reasons so many are shown to people.
const MOST_REASONS: usize = 5;
/// They stand below the name of the table.
const INDENT: &str = "           ";

/// Show which tables are audited, and why the others are not
///
/// Lists every table of the application, those that are not audited first. Only catalogs are read, so any role may ask. Tables that
/// `[tables] ignored` of threadline.toml names are decided. This is a report: exit code 0 whatever it shows, unless `--strict`. The
/// gate for CI is `threadline verify`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline coverage
  threadline coverage --schema public --strict
  threadline coverage --json | jq '.tables[] | select(.status == \"uncovered\") | .table.name'")]
pub(crate) struct Args {
    /// Look at this schema alone; may be given several times
    #[arg(long, value_name = "SCHEMA")]
    schema: Vec<String>,

    /// Exit with 1 when a table is neither audited nor ignored, or is gone
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    check: CheckArgs,
}

#[derive(Serialize)]
struct Document {
    summary: Summary,
    tables: Vec<TableCoverage>,
    evidence: Kept,
}

/// How many tables there are of each kind.
#[derive(Serialize)]
pub(super) struct Summary {
    covered: usize,
    uncovered: usize,
    ignored: usize,
    gone: usize,
}

impl Summary {
    pub(super) fn of(tables: &[TableCoverage]) -> Self {
        let count = |status| tables.iter().filter(|table| table.status == status).count();
        Self {
            covered: count(CoverageStatus::Covered),
            uncovered: count(CoverageStatus::Uncovered),
            ignored: count(CoverageStatus::Ignored),
            gone: count(CoverageStatus::Gone),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.uncovered + self.gone == 0
    }

    /// `3 tables covered, 1 uncovered, 1 ignored`.
    pub(super) fn line(&self) -> Line {
        let covered = Line::new().styled(GOOD, format!("{} covered", counted(self.covered, "table")));
        let others =
            [(self.uncovered, "uncovered", BAD), (self.ignored, "ignored", DIM), (self.gone, "gone", BAD)];
        let others = others.into_iter().filter(|(number, ..)| *number > 0);
        others.fold(covered, |line, (number, what, style)| {
            line.plain(", ").styled(style, format!("{number} {what}"))
        })
    }
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let options = args.config.load()?.coverage(&args.schema);
    let mut conn = args.check.database.connect()?;
    let tables = health::coverage(&mut conn, &options)?;
    let kept = args.check.evidence.keep(&mut conn, Subject::TriggerCoverage, |conn| {
        health::record_evidence(conn, &tables, "threadline coverage", None)
    });
    let summary = Summary::of(&tables);
    let is_whole = summary.is_whole();
    let mut output = args.check.output.open();
    if output.is_json() {
        output.document(&Document { summary, tables, evidence: kept })?;
    } else {
        print(&mut output, &tables, &summary)?;
        kept.print(&mut output)?;
    }
    output.flush()?;
    Ok(if args.strict && !is_whole { Outcome::FoundSomething } else { Outcome::Done })
}

fn print(output: &mut Output, tables: &[TableCoverage], summary: &Summary) -> std::io::Result<()> {
    if tables.is_empty() {
        return output.line(&"there are no tables to look at".into());
    }
    let mut sorted: Vec<&TableCoverage> = tables.iter().collect();
    // Among those of one kind they stay in the order of their names.
    sorted.sort_by_key(|table| match table.status {
        CoverageStatus::Gone => 0,
        CoverageStatus::Uncovered => 1,
        CoverageStatus::Covered => 2,
        _ => 3,
    });
    for table in sorted {
        print_table(output, table)?;
    }
    output.blank()?;
    output.line(&summary.line())?;
    if !summary.is_whole() {
        output.prose(NOTE, "", "`threadline doctor` has what mends it")?;
    }
    Ok(())
}

/// A line, and below it what is missing.
fn print_table(output: &mut Output, table: &TableCoverage) -> std::io::Result<()> {
    let TableCoverage { table: name, status, reasons, partitions, .. } = table;
    let is_hole = matches!(status, CoverageStatus::Uncovered | CoverageStatus::Gone);
    let style = match status {
        CoverageStatus::Covered => GOOD,
        _ if is_hole => BAD,
        _ => DIM,
    };
    let mut line = Line::new().styled(style, format!("{status:<9}")).plain("  ").plain(name.to_plain());
    if !partitions.is_empty() {
        let covered = partitions.iter().filter(|partition| partition.covered).count();
        let of = if covered == partitions.len() { String::new() } else { format!("{covered} of ") };
        line = line.styled(DIM, format!("  {of}{}", counted(partitions.len(), "partition")));
    }
    if !is_hole {
        let Some(reason) = reasons.first() else { return output.line(&line) };
        let whole = line.clone().styled(DIM, format!("  {reason}"));
        if output.width().is_none_or(|columns| whole.width() <= columns) {
            return output.line(&whole);
        }
        output.line(&line)?;
        return output.prose(DIM, INDENT, reason);
    }
    output.line(&line)?;
    for reason in reasons.iter().take(MOST_REASONS) {
        output.prose(anstyle::Style::new(), INDENT, reason)?;
    }
    match reasons.len().saturating_sub(MOST_REASONS) {
        0 => Ok(()),
        more => output.prose(DIM, INDENT, &format!("… and {more} more, with --json")),
    }
}
