//! `threadline continuity`: since when the trail knows a table, and whether it can be relied on from now on.

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use threadline::continuity::{self, BaselinePlan, Continuity, Missing};
use threadline::{Actor, ChangeId, Error, TableName};

use crate::Outcome;
use crate::commands::{actor, undo};
use crate::database::DatabaseArgs;
use crate::output::{BAD, GOOD, HEADING, Line, Output, OutputArgs, escaped, note};

/// Show since when a table is on record, and what is not known of it
///
/// Says first whether every write is captured from now on, and what is not, with what mends it; then from when on every write is known, what the trail can answer about the time before, when nothing was captured, and which
/// writes are known to have escaped. With `--assert-ready`, to be run before a cut-over relies on it, the exit code is 1 unless every
/// write is captured from now on. With `--acknowledge` it notes what is known of a write that escaped, so that `doctor` no longer
/// tells of it. With `--baseline` it records a snapshot of the table, from which rows are known again after such a write: it is
/// labelled as a snapshot everywhere, and no change. Both take the owner of the audit schema.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline continuity posts
  threadline continuity posts --assert-ready
  threadline continuity posts --json | jq .known_since
  threadline continuity posts --baseline --actor admin:7 --reason 'restored from backup' --execute")]
pub(crate) struct Args {
    /// The table, as `posts` or `blog.posts`
    table: TableName,

    /// Exit with 1 unless every write to the table, and to each of its partitions, is captured from now on
    #[arg(long)]
    assert_ready: bool,

    /// The change after which a write escaped, by its transaction and number; `doctor` names both
    #[arg(long, value_name = "TRANSACTION_ID#N", value_parser = undo::change_id, requires_all = ["actor", "reason"], group = "noted", help_heading = "Acknowledging")]
    acknowledge: Option<ChangeId>,

    /// Record a snapshot of all rows of the table, redacted as capture redacts them; without `--execute` only say how many
    #[arg(long, requires_all = ["actor", "reason"], group = "noted", conflicts_with = "acknowledge", help_heading = "Recording a baseline")]
    baseline: bool,

    /// Record it
    #[arg(long, requires = "baseline", help_heading = "Recording a baseline")]
    execute: bool,

    /// Who looked into it, or has the baseline recorded, as `admin:7`
    #[arg(long, value_name = "TYPE:ID", value_parser = actor::parse, requires = "noted", help_heading = "Acknowledging")]
    actor: Option<Actor>,

    /// What is known of the write that escaped, or why the baseline; recorded, so leave values of rows out
    #[arg(long, value_name = "TEXT", requires = "noted", help_heading = "Acknowledging")]
    reason: Option<String>,

    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Serialize)]
struct Document {
    /// `None` unless it was asked.
    ready: Option<bool>,
    /// Why it is not.
    not_ready: Vec<Missing>,
    known_since: Option<DateTime<Utc>>,
    interruptions: Vec<Interruption>,
    /// `None` for a table that was never audited.
    continuity: Option<Continuity>,
    /// With `--baseline` alone: what it would copy.
    baseline_plan: Option<BaselinePlan>,
}

#[derive(Serialize)]
struct Interruption {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let mut conn = args.database.connect()?;
    if let (Some(change), Some(actor), Some(reason)) = (args.acknowledge, &args.actor, &args.reason) {
        acknowledge(&mut conn, &args.table, change, actor, reason)?;
    }
    let mut baseline_plan = None;
    if let (true, Some(actor), Some(reason)) = (args.baseline, &args.actor, &args.reason) {
        let missing = continuity::missing(&mut conn, &args.table)?;
        if !missing.is_empty() {
            return Err(not_ready_for_a_baseline(&args.table, &missing));
        }
        if args.execute {
            continuity::record_baseline(&mut conn, &args.table, actor, reason)?;
        } else {
            baseline_plan = Some(continuity::plan_baseline(&mut conn, &args.table)?);
        }
    }
    let not_ready = args.assert_ready.then(|| continuity::missing(&mut conn, &args.table)).transpose()?;
    let continuity = match continuity::report(&mut conn, &args.table) {
        Ok(continuity) => Some(continuity),
        // What is asked for is whether it is, and it is not.
        Err(Error::NotAudited { .. }) if not_ready.is_some() => None,
        Err(error) => return Err(error.into()),
    };
    let ready = not_ready.as_ref().map(Vec::is_empty);
    let not_ready = not_ready.unwrap_or_default();
    let mut output = args.output.open();
    if output.is_json() {
        let interruptions = continuity.as_ref().map(Continuity::interruptions).unwrap_or_default();
        output.document(&Document {
            ready,
            not_ready,
            known_since: continuity.as_ref().and_then(Continuity::known_since),
            interruptions: interruptions.into_iter().map(|(from, to)| Interruption { from, to }).collect(),
            continuity,
            baseline_plan,
        })?;
    } else {
        let missing = match &continuity {
            Some(continuity) if ready.is_none() => continuity.problems.clone(),
            _ => not_ready,
        };
        print(&mut output, &args.table, continuity, &missing)?;
    }
    output.flush()?;
    if let Some(plan) = baseline_plan {
        note(&format!(
            "a baseline of {}, {}, would be recorded; `--execute` records it",
            match plan.rows_estimate {
                Some(1) => "about 1 row".to_owned(),
                Some(rows) => format!("about {} rows", HumanCount(rows)),
                None => "rows whose number is not known yet".to_owned(),
            },
            HumanBytes(plan.bytes)
        ));
    }
    Ok(if ready == Some(false) { Outcome::FoundSomething } else { Outcome::Done })
}

/// Why no baseline is recorded, with the statements that mend it.
fn not_ready_for_a_baseline(table: &TableName, missing: &[Missing]) -> anyhow::Error {
    let mut said =
        format!("no baseline of `{}`, for not every write to it is captured from now on", table.to_plain());
    for Missing { what, fix, .. } in missing {
        said.push_str(&format!("\n  {what}"));
        fix.lines().for_each(|line| said.push_str(&format!("\n    {line}")));
    }
    anyhow!(said)
}

/// Notes it, unless the change is one of another table.
fn acknowledge(
    conn: &mut PgConnection,
    table: &TableName,
    change: ChangeId,
    actor: &Actor,
    reason: &str,
) -> Result<()> {
    conn.transaction(|conn| {
        continuity::acknowledge_gap(conn, change, actor, reason)
            .with_context(|| format!("the gap after change `{change}` cannot be acknowledged"))?;
        let gaps = continuity::report(conn, table)?.gaps;
        let is_there = |gap: &continuity::KnownGap| {
            (gap.transaction_id, gap.ordinal) == (change.transaction_id, change.ordinal)
        };
        if !gaps.iter().any(is_there) {
            bail!("change `{change}` is not one of table `{}`; nothing was noted", table.to_plain());
        }
        Ok(())
    })
    .map_err(|error: anyhow::Error| anyhow!(error))
}

fn print(
    output: &mut Output,
    table: &TableName,
    continuity: Option<Continuity>,
    missing: &[Missing],
) -> std::io::Result<()> {
    let name = continuity.as_ref().map_or(table, |continuity| &continuity.table).to_plain();
    output.line(&Line::new().styled(HEADING, name))?;
    if missing.is_empty() {
        output.line(&Line::new().styled(GOOD, "  ready").plain(": every write is captured from now on"))?;
    } else {
        output.line(&Line::new().styled(BAD, "  not ready").plain(": not every write is captured"))?;
    }
    for Missing { what, fix, .. } in missing {
        output.prose(BAD, "  ", &format!("NOT CAPTURED: {what}"))?;
        if !fix.is_empty() {
            output.verbatim("    ", fix)?;
        }
    }
    let Some(mut continuity) = continuity else {
        return output.prose(anstyle::Style::new(), "  ", "The trail has nothing of it.");
    };
    // Reasons may hold line breaks, and would begin sentences of their own.
    continuity.gaps.iter_mut().for_each(|gap| gap.reason = escaped(&gap.reason));
    continuity.baselines.iter_mut().for_each(|baseline| {
        baseline.recorded.reason = escaped(&baseline.recorded.reason);
    });
    let sentences = continuity.sentences();
    sentences.iter().try_for_each(|sentence| output.prose(anstyle::Style::new(), "  ", sentence))
}
