//! `threadline retention holds`: what must stay, who says so, and why.

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use indicatif::HumanCount;
use serde::Serialize;
use threadline::holds::{self, Hold, LegalHold};
use threadline::{Actor, RowKey, TableName};

use crate::Outcome;
use crate::commands::actor;
use crate::configuration::ConfigArgs;
use crate::database::DatabaseArgs;
use crate::output::{DIM, GOOD, HEADING, Line, Output, OutputArgs, key_text, note, when};
use crate::time;

/// Place, list and release legal holds: what is held stays, whatever the windows say
#[derive(clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(ListArgs),
    Place(PlaceArgs),
    Release(ReleaseArgs),
}

/// List the holds that hold, in the order they were placed
#[derive(clap::Args)]
struct ListArgs {
    /// Those that were released, too
    #[arg(long)]
    released: bool,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Hold a part of the trail; what is given has to match together
///
/// A hold on a row is about one key of one table: not about what refers to the row, and not about what it was called before its key
/// changed. Hold the tenant, the actor or the table for more. Says how much matches now.
#[derive(clap::Args)]
#[command(override_usage = "threadline retention holds place <WHAT> --by <ACTOR> --reason <TEXT> [OPTIONS]")]
#[group(id = "what", required = true, multiple = true, args = ["table", "tenant", "actor", "from", "to", "everything"])]
struct PlaceArgs {
    /// Changes of this table, as `posts` or `blog.posts`
    #[arg(long, value_name = "TABLE", help_heading = "What")]
    table: Option<TableName>,

    /// Changes of the row with this key: its value, or COLUMN=VALUE, once for each key column
    #[arg(long, value_name = "KEY", requires = "table", help_heading = "What")]
    key: Vec<String>,

    /// Changes of what this tenant owns, by the tables' scope columns
    #[arg(long, value_name = "VALUE", help_heading = "What")]
    tenant: Option<String>,

    /// What this actor did, as `user:42`
    #[arg(long, value_name = "ACTOR", value_parser = actor::parse, help_heading = "What")]
    actor: Option<Actor>,

    /// What was captured then or later
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "What")]
    from: Option<DateTime<Utc>>,

    /// What was captured then or earlier
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "What")]
    to: Option<DateTime<Utc>>,

    /// The whole trail
    #[arg(long, conflicts_with_all = ["table", "key", "tenant", "actor", "from", "to"], help_heading = "What")]
    everything: bool,

    #[command(flatten)]
    why: WhyArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Release a hold: what it held goes by its window again
#[derive(clap::Args)]
struct ReleaseArgs {
    /// The hold's number
    id: i64,

    #[command(flatten)]
    why: WhyArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Who decides, and why; both are kept.
#[derive(clap::Args)]
#[command(next_help_heading = "Record")]
struct WhyArgs {
    /// Who decides it, as `admin:7`
    #[arg(long, value_name = "ACTOR", value_parser = actor::parse)]
    by: Actor,

    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Serialize)]
struct Holds {
    holds: Vec<LegalHold>,
}

#[derive(Serialize)]
struct One {
    hold: LegalHold,
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Place(args) => place(args),
        Command::Release(args) => release(args),
    }
}

fn list(args: &ListArgs) -> Result<Outcome> {
    args.config.check()?;
    let mut conn = args.database.connect()?;
    let holds = holds::list(&mut conn, args.released)?;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Holds { holds })?;
    } else if holds.is_empty() {
        note("no holds found");
    } else {
        for (place, hold) in holds.iter().enumerate() {
            if place > 0 {
                output.blank()?;
            }
            print(&mut output, hold)?;
        }
    }
    output.flush()?;
    Ok(Outcome::Done)
}

fn place(args: &PlaceArgs) -> Result<Outcome> {
    args.config.check()?;
    let mut conn = args.database.connect()?;
    let hold = Hold::new(&args.why.reason);
    let hold = match (&args.table, args.key.is_empty()) {
        (Some(table), true) => hold.table(table.clone()),
        (Some(table), false) => hold.row(table.clone(), RowKey::written(&mut conn, table, &args.key)?),
        (None, true) => hold,
        (None, false) => bail!("`--key` is of a table; name it with `--table`"),
    };
    let hold = args.tenant.iter().fold(hold, Hold::scope);
    let hold = args.actor.iter().cloned().fold(hold, Hold::actor);
    let hold = args.from.into_iter().fold(hold, Hold::from);
    let hold = args.to.into_iter().fold(hold, Hold::to);
    let placed = holds::place(&mut conn, &hold, &args.why.by)?;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&placed)?;
    } else {
        output.line(&Line::new().styled(GOOD, "placed"))?;
        print(&mut output, &placed.hold)?;
        if let (Some(changes), Some(actions)) = (placed.changes, placed.actions) {
            let actions =
                if actions == 0 { String::new() } else { format!(", {} actions", HumanCount(actions)) };
            output.line(&Line::from(format!("  holds {} changes now{actions}", HumanCount(changes))))?;
        }
    }
    output.flush()?;
    for warning in &placed.warnings {
        note(&warning.to_string());
    }
    Ok(Outcome::Done)
}

fn release(args: &ReleaseArgs) -> Result<Outcome> {
    args.config.check()?;
    let mut conn = args.database.connect()?;
    let released = holds::release(&mut conn, args.id, &args.why.by, &args.why.reason)?;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&One { hold: released })?;
    } else {
        output.line(&Line::new().styled(GOOD, "released"))?;
        print(&mut output, &released)?;
    }
    output.flush()?;
    Ok(Outcome::Done)
}

fn print(output: &mut Output, hold: &LegalHold) -> Result<()> {
    let mut held = Vec::new();
    held.extend(hold.table.as_ref().map(|table| format!("table {}", table.to_plain())));
    held.extend(hold.row_key.as_ref().map(|stored| format!("row {}", key_text(hold.key.as_ref(), stored))));
    held.extend(hold.scope.as_ref().map(|scope| format!("tenant {scope}")));
    held.extend(hold.actor.as_ref().map(|actor| format!("actor {actor}")));
    held.extend(hold.from.map(|from| format!("from {}", when(from))));
    held.extend(hold.to.map(|to| format!("to {}", when(to))));
    let held = if held.is_empty() { "everything".to_owned() } else { held.join(", ") };
    output.line(&Line::new().styled(HEADING, format!("hold {}", hold.id)).plain(format!("  {held}")))?;
    let record = |at: DateTime<Utc>, by: &Actor| Line::new().styled(DIM, format!("{} by {by}", when(at)));
    output.line(&Line::from("  placed ").and(record(hold.placed_at, &hold.placed_by)))?;
    output.prose(anstyle::Style::new(), "  ", &hold.reason)?;
    if let (Some(at), Some(by)) = (hold.released_at, &hold.released_by) {
        output.line(&Line::from("  released ").and(record(at, by)))?;
        output.prose(anstyle::Style::new(), "  ", hold.release_reason.as_deref().unwrap_or_default())?;
    }
    Ok(())
}
