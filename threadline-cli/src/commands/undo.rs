//! `threadline undo`: the plan to take something back, and taking it back.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, Utc};
use clap::ValueEnum;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use threadline::undo::{TypedValue, UndoOp, UndoStep};
use threadline::{
    Action, Actor, AuditContext, ChangeId, Error, Resolution, RowKey, TableName, UndoPlan, UndoTarget,
};
use uuid::Uuid;

use crate::Outcome;
use crate::commands::actor;
use crate::database::TrailArgs;
use crate::output::{BAD, DIM, GOOD, HEADING, Line, NOTE, Output, OutputArgs, escaped};
use crate::row::StoredKeys;
use crate::time;

/// Take something back: print the plan, or execute it
///
/// Prints what would be written, row by row and column by column, what later work stands in the way, and what cannot be undone.
/// Nothing is written without `--execute`. A plan writes exactly the columns its target changed. Executing is one audited
/// transaction under the name of `--actor`, which can be undone itself; if anything the plan rests on has changed since it was
/// made, nothing is written. Exit code 1 when something stands in the way.
#[derive(clap::Args)]
#[command(
    override_usage = "\
threadline undo --transaction <ID> [OPTIONS]
       threadline undo --action <ID> [OPTIONS]
       threadline undo --correlation <ID> [OPTIONS]
       threadline undo --change <TRANSACTION_ID#N> [OPTIONS]
       threadline undo --row <TABLE> <KEY>... --to <TIME> [OPTIONS]
       threadline undo --plan <FILE> [OPTIONS]",
    after_help = "\
Examples:
  threadline undo --transaction 019ab3c4-5d6e-7000-8000-0123456789ab
  threadline undo --row posts 1 --to 2h
  threadline undo --correlation import-7 --json > plan.json
  threadline undo --plan plan.json --execute --actor admin:7 --reason 'wrong file imported'"
)]
#[group(id = "target", required = true, multiple = false, args = ["transaction", "action", "correlation", "change", "row", "plan"])]
pub(crate) struct Args {
    /// Everything one transaction changed
    #[arg(long, value_name = "ID", help_heading = "What")]
    transaction: Option<Uuid>,

    /// Everything done under a recorded action
    #[arg(long, value_name = "ID", help_heading = "What")]
    action: Option<Uuid>,

    /// Everything done by transactions with a correlation id
    #[arg(long, value_name = "ID", help_heading = "What")]
    correlation: Option<String>,

    /// One change of one row, as `threadline incident` shows it with its `#`
    #[arg(long, value_name = "TRANSACTION_ID#N", value_parser = change_id, help_heading = "What")]
    change: Option<ChangeId>,

    /// Every change of a row after the time in `--to`; the key is the one it had then
    #[arg(long, num_args = 2.., value_names = ["TABLE", "KEY"], requires = "to", help_heading = "What")]
    row: Option<Vec<String>>,

    /// With `--row`, the time to go back to
    #[arg(long, value_name = "TIME", value_parser = time::parse, conflicts_with_all = ["transaction", "action", "correlation", "change", "plan"], help_heading = "What")]
    to: Option<DateTime<Utc>>,

    /// What the plan in this file undoes, and only if it comes out as it was reviewed; `--json` writes such a file
    #[arg(long, value_name = "FILE", help_heading = "What")]
    plan: Option<PathBuf>,

    /// What to do where later work is in the way, or something cannot be undone
    #[arg(long, value_name = "HOW", default_value = "refuse", help_heading = "How")]
    conflicts: Conflicts,

    /// Print the statements instead of the plan, for psql or a reviewer
    #[arg(long, conflicts_with_all = ["execute", "json"], help_heading = "How")]
    sql: bool,

    /// Execute the plan
    #[arg(long, requires_all = ["actor", "reason"], help_heading = "Execution")]
    execute: bool,

    /// Under whose name, as `admin:7`
    #[arg(long, value_name = "TYPE:ID", value_parser = actor::parse, requires = "execute", help_heading = "Execution")]
    actor: Option<Actor>,

    /// Why; recorded, so leave values of rows out
    #[arg(long, value_name = "TEXT", requires = "execute", help_heading = "Execution")]
    reason: Option<String>,

    /// The name of the recorded action
    #[arg(long, value_name = "NAME", default_value = "threadline.undo", help_heading = "Execution")]
    record_as: String,

    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    trail: TrailArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Conflicts {
    /// All or nothing: with anything in the way, nothing is done
    Refuse,
    /// Later work stays, and what cannot be undone stays done
    Skip,
    /// Later work is overwritten, and what cannot be undone stays done
    Overwrite,
}

impl Conflicts {
    fn resolution(self) -> Resolution {
        match self {
            Self::Refuse => Resolution::Refuse,
            Self::Skip => Resolution::Skip,
            Self::Overwrite => Resolution::Overwrite,
        }
    }
}

/// What `--json` prints; of it, `--plan` reads the target and the digest.
#[derive(Serialize)]
struct Document<'a> {
    clean: bool,
    plan: &'a UndoPlan,
    /// The steps that are executed under `--conflicts`; `null` where that settles not everything.
    settled: Option<&'a [UndoStep]>,
    /// The transaction that executed it.
    undone_by: Option<Uuid>,
}

pub(super) fn change_id(text: &str) -> Result<ChangeId> {
    let read = || {
        let (transaction, ordinal) = text.split_once('#')?;
        Some(ChangeId { transaction_id: transaction.parse().ok()?, ordinal: ordinal.parse().ok()? })
    };
    read().ok_or_else(|| anyhow!("not a change, which is written TRANSACTION_ID#N"))
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let reviewed = args.plan.as_ref().map(Reviewed::read).transpose()?;
    let (mut conn, trail) = args.trail.open()?;
    let target = match &reviewed {
        Some(reviewed) => reviewed.target()?,
        None => args.target(&mut conn)?,
    };
    let plan = trail.undo_plan(&mut conn, &target)?;
    if let Some(reviewed) = reviewed.filter(|reviewed| reviewed.plan.digest != plan.digest) {
        let shown = escaped(&reviewed.plan.digest);
        return Err(Error::UndoStale { plan: Box::new(plan) })
            .with_context(|| format!("the reviewed plan has the digest `{shown}`"));
    }
    let resolution = args.conflicts.resolution();
    let mut output = args.output.open();
    if args.sql && plan.is_done() {
        output.line(&Line::from("-- nothing is left to undo: the rows are as they were"))?;
        output.flush()?;
        return Ok(Outcome::Done);
    }
    if args.sql {
        for line in plan.to_sql(resolution)?.lines() {
            match output.is_terminal() {
                true => output.line(&Line::from(line))?,
                false => std::io::Write::write_all(output.raw(), format!("{line}\n").as_bytes())?,
            }
        }
        output.flush()?;
        return Ok(Outcome::Done);
    }
    let settled = plan.settled(resolution);
    if !output.is_json() {
        let keys = StoredKeys::of(&mut conn, plan.steps.iter().map(|step| &step.table));
        print(&mut output, &plan, &Settled { resolution, steps: settled.as_deref().ok(), keys })?;
        output.flush()?;
    }
    let undone_by = match (&args.actor, &args.reason) {
        (Some(actor), Some(reason)) if args.execute && !plan.is_done() => {
            let action = Action::new(&args.record_as).reason(reason);
            let transaction = AuditContext::new(actor.clone()).transaction().action(action);
            Some(plan.apply_with(&mut conn, transaction, resolution)?)
        }
        _ => None,
    };
    if output.is_json() {
        let settled = settled.as_deref().ok();
        output.document(&Document { clean: plan.is_clean(), plan: &plan, settled, undone_by })?;
    } else if let Some(id) = undone_by {
        output.line(&Line::new().styled(GOOD, "undone").plain(format!(" by transaction {id}")))?;
    } else if plan.is_done() {
        output.line(&Line::new().styled(DIM, "nothing was written"))?;
    } else if settled.is_ok() {
        output.line(
            &Line::new()
                .styled(DIM, "nothing was written; `--execute --actor TYPE:ID --reason TEXT` does it"),
        )?;
    } else {
        let text = "nothing was written; `--conflicts skip` leaves out what is in the way, `--conflicts overwrite` writes over later \
                    work where the row is still there";
        output.prose(DIM, "", text)?;
    }
    output.flush()?;
    Ok(if settled.is_ok() { Outcome::Done } else { Outcome::FoundSomething })
}

impl Args {
    fn target(&self, conn: &mut PgConnection) -> Result<UndoTarget> {
        if let Some(id) = self.transaction {
            return Ok(UndoTarget::transaction(id));
        }
        if let Some(id) = self.action {
            return Ok(UndoTarget::action(id));
        }
        if let Some(id) = &self.correlation {
            return Ok(UndoTarget::correlation(id));
        }
        if let Some(id) = self.change {
            return Ok(UndoTarget::change(id));
        }
        let (Some([table, key @ ..]), Some(to)) = (self.row.as_deref(), self.to) else {
            bail!("name what is to be undone");
        };
        let table: TableName = table.parse()?;
        let key = RowKey::written(conn, &table, key)?;
        Ok(UndoTarget::row(table, key, to))
    }
}

/// What a resolution makes of a plan.
struct Settled<'a> {
    resolution: Resolution,
    /// The steps that are executed; `None` where it does not settle everything.
    steps: Option<&'a [UndoStep]>,
    keys: StoredKeys,
}

/// A plan as `--json` wrote it. Only what it was about, and its digest, are believed.
#[derive(Deserialize)]
struct Reviewed {
    format_version: u32,
    plan: ReviewedPlan,
}

#[derive(Deserialize)]
struct ReviewedPlan {
    target: Target,
    digest: String,
}

/// An [`UndoTarget`] read back.
#[derive(Deserialize)]
#[serde(tag = "undo", rename_all = "snake_case")]
enum Target {
    Transaction { id: Uuid },
    Action { id: Uuid },
    Correlation { id: String },
    Change { id: Change },
    Row { table: TableName, key: std::collections::BTreeMap<String, String>, to: DateTime<Utc> },
}

#[derive(Deserialize)]
struct Change {
    transaction_id: Uuid,
    ordinal: i32,
}

impl Reviewed {
    fn read(path: &PathBuf) -> Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read `{shown}`"))?;
        let reviewed: Self = serde_json::from_str(&text)
            .with_context(|| format!("`{shown}` is not a plan as `threadline undo --json` writes it"))?;
        if reviewed.format_version != crate::output::FORMAT_VERSION {
            bail!("`{shown}` was written by another version; make the plan again");
        }
        Ok(reviewed)
    }

    fn target(&self) -> Result<UndoTarget> {
        Ok(match &self.plan.target {
            Target::Transaction { id } => UndoTarget::transaction(*id),
            Target::Action { id } => UndoTarget::action(*id),
            Target::Correlation { id } => UndoTarget::correlation(id),
            Target::Change { id: Change { transaction_id, ordinal } } => {
                UndoTarget::change(ChangeId { transaction_id: *transaction_id, ordinal: *ordinal })
            }
            Target::Row { table, key, to } => UndoTarget::row(table.clone(), RowKey::new(key.clone())?, *to),
        })
    }
}

fn print(output: &mut Output, plan: &UndoPlan, settled: &Settled<'_>) -> Result<()> {
    let what = match &plan.target {
        UndoTarget::Transaction { id } => format!("transaction {id}"),
        UndoTarget::Action { id } => format!("action {id}"),
        UndoTarget::Correlation { id } => format!("correlation {id}"),
        UndoTarget::Change { id } => format!("change {id}"),
        UndoTarget::Row { table, key, to } => {
            let key = crate::output::key_text(Some(key), "");
            format!("all changes of {} {key} after {}", table.to_plain(), crate::output::when(*to))
        }
        _ => "what was asked for".to_owned(),
    };
    let counted = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    output.prose(HEADING, "", &format!("Plan to undo {what}"))?;
    let done = settled.steps.unwrap_or(&plan.steps);
    let rows =
        format!("{} of {}", counted(done.len(), "row"), counted(plan.transactions.len(), "transaction"));
    let out = match plan.steps.len() - done.len() {
        0 => String::new(),
        rows => format!("; {} left out", counted(rows, "row")),
    };
    output.line(&Line::new().styled(DIM, rows + &out))?;
    for step in &plan.steps {
        output.blank()?;
        print_step(output, step, settled)?;
    }
    if !plan.limits.is_empty() {
        output.blank()?;
        output.line(&Line::new().styled(HEADING, "Limits"))?;
    }
    for limit in &plan.limits {
        let (style, sign) = if limit.is_loss() { (BAD, "a loss") } else { (DIM, "no loss") };
        output.prose(style, "  ", &format!("{limit} ({sign})"))?;
    }
    output.blank()?;
    let conflicts = plan.conflicts().count();
    let losses = plan.limits.iter().filter(|limit| limit.is_loss()).count();
    if plan.is_done() {
        output.line(&Line::new().styled(GOOD, "nothing is left to undo: the rows are as they were"))?;
    } else if plan.is_clean() {
        output
            .line(&Line::new().styled(GOOD, "everything can be undone, and no later work is in the way"))?;
    } else {
        let found = [
            (conflicts, "conflict with later work", "conflicts with later work"),
            (losses, "loss", "losses"),
        ];
        let found = found.iter().filter(|(count, ..)| *count > 0);
        let found: Vec<String> = found
            .map(|(count, one, more)| format!("{count} {}", if *count == 1 { one } else { more }))
            .collect();
        let then = match settled.resolution {
            Resolution::Refuse => "all or nothing was asked for",
            Resolution::Skip => "what is in the way is left out",
            Resolution::Overwrite => "later work is written over",
        };
        output.prose(NOTE, "", &format!("{}; {then}", found.join(", ")))?;
    }
    output.line(&Line::new().styled(DIM, format!("digest {}", plan.digest)))?;
    Ok(())
}

/// A step as it is executed: without the columns that are left out, or not at all.
fn print_step(output: &mut Output, planned: &UndoStep, settled: &Settled<'_>) -> Result<()> {
    let executed = match settled.steps {
        Some(steps) => {
            steps.iter().find(|step| (&step.table, &step.row_key) == (&planned.table, &planned.row_key))
        }
        None => Some(planned),
    };
    let (style, word) = match planned.op {
        _ if executed.is_none() => (DIM, "left out"),
        UndoOp::Insert => (GOOD, "insert again"),
        UndoOp::Delete => (BAD, "delete"),
        _ => (anstyle::Style::new(), "set back"),
    };
    let (row, key) =
        (format!(" {}", planned.table.to_plain()), settled.keys.text(&planned.table, &planned.row_key));
    output.line(&Line::new().styled(style, word).styled(HEADING, row).plain(format!(" {key}")))?;
    let columns = executed.map_or(&[][..], |step| &step.columns);
    let longest = columns.iter().map(|column| column.column.chars().count()).max().unwrap_or(0).min(30);
    for column in columns {
        let mut line = Line::from(format!("  {:<longest$}  ", column.column));
        if let Some(from) = &column.from {
            line = line.and(value(from, output.width())).styled(DIM, " → ");
        }
        line = line.and(value(&column.to, output.width()));
        output.line(&if column.ignored { line.styled(DIM, "  (ignored by capture)") } else { line })?;
    }
    let then = match (settled.steps, settled.resolution) {
        (None, _) | (_, Resolution::Refuse) => "",
        (_, Resolution::Skip) => ": left as it is",
        (_, Resolution::Overwrite) => ": written over",
    };
    for conflict in &planned.conflicts {
        output.prose(if then.is_empty() { BAD } else { NOTE }, "  ", &format!("! {conflict}{then}"))?;
    }
    Ok(())
}

/// A value as its type writes it, texts in quotes; no wider than a third of the line.
fn value(value: &TypedValue, columns: Option<usize>) -> Line {
    let Some(text) = &value.text else { return Line::new().styled(DIM, "NULL") };
    let is_text =
        ["text", "character", "varchar", "citext", "bpchar"].iter().any(|name| value.sql_type.contains(name));
    let line = Line::from(if is_text { format!("{text:?}") } else { text.clone() });
    columns.map_or(line.clone(), |columns| line.cut(columns / 3))
}
