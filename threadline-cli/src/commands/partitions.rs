//! `threadline partitions`: what the trail is stored in, and making more of it ahead of time.

use std::time::Duration;

use anyhow::Result;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use threadline::partitions::{self, MaintainOptions, PartitionState, Partitions};

use crate::Outcome;
use crate::database::DatabaseArgs;
use crate::output::{BAD, DIM, GOOD, Line, NOTE, OutputArgs, Table, when};

/// Show the partitions of the trail, or add some ahead of time
///
/// One partition is a month of all six tables of the trail. Without a subcommand they are listed. Exit code 1 when writes have
/// reached the last one, which is for what nobody made a month for.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  threadline partitions
  threadline partitions list --json
  threadline partitions maintain"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    list: ListArgs,
}

#[derive(clap::Subcommand)]
enum Command {
    List(ListArgs),
    Maintain(MaintainArgs),
}

/// List them, oldest first; reads catalogs alone
#[derive(clap::Args)]
struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Keep three months of partitions ahead of time; to be called at least monthly
///
/// Writers wait for half a second at most. While others use the trail, it is tried again, several times.
#[derive(clap::Args)]
struct MaintainArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Serialize)]
struct Maintained {
    months_added: u32,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    match &args.command {
        None => list(&args.list),
        Some(Command::List(args)) => list(args),
        Some(Command::Maintain(args)) => maintain(args),
    }
}

fn list(args: &ListArgs) -> Result<Outcome> {
    let mut conn = args.database.connect()?;
    let found = partitions::list(&mut conn)?;
    let Partitions { partitions, runway, .. } = &found;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&found)?;
    } else {
        let mut table = Table::new(&["MONTH", "FROM", "TO", "CHANGES", "DISK", "STATE"], 1);
        for partition in partitions {
            let state = match partition.state {
                PartitionState::Attached => Line::new().styled(DIM, "attached"),
                PartitionState::Leaving => Line::new().styled(NOTE, "leaving"),
                PartitionState::Restored => Line::new().styled(GOOD, "restored"),
                _ => Line::new(),
            };
            table.row([
                Line::from(&partition.name),
                Line::from(partition.from.map_or_else(|| "-".to_owned(), when)),
                Line::from(partition.to.map_or_else(|| "-".to_owned(), when)),
                Line::from(format!("~{}", HumanCount(partition.changes_estimate))),
                Line::from(HumanBytes(partition.bytes).to_string()),
                state,
            ]);
        }
        table.print(&mut output)?;
        if runway.is_zero() {
            let text = "writes go to the last partition; `threadline partitions maintain` makes more";
            output.prose(BAD, "", text)?;
        } else {
            let days = Duration::from_secs(runway.as_secs() / 86_400 * 86_400);
            let text = format!("made for {} ahead", humantime::format_duration(days));
            output.line(&Line::new().styled(DIM, text))?;
        }
    }
    output.flush()?;
    Ok(if runway.is_zero() { Outcome::FoundSomething } else { Outcome::Done })
}

fn maintain(args: &MaintainArgs) -> Result<Outcome> {
    let mut conn = args.database.connect()?;
    let months_added = partitions::maintain(&mut conn, &MaintainOptions::default())?;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Maintained { months_added })?;
    } else {
        let text = match months_added {
            0 => "nothing to do: there are partitions ahead".to_owned(),
            1 => "added 1 month".to_owned(),
            months => format!("added {months} months"),
        };
        output.line(&text.into())?;
    }
    output.flush()?;
    Ok(Outcome::Done)
}
