//! `threadline partitions`: what the trail is stored in, and making more of it ahead of time.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, NaiveTime, Utc};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use threadline::partitions::{self, MaintainOptions, PartitionState, Partitions};

use crate::Outcome;
use crate::database::DatabaseArgs;
use crate::output::{BAD, DIM, GOOD, Line, NOTE, OutputArgs, Table, when};

/// Show the partitions of the trail, or add some ahead of time
///
/// One partition is a month of all six tables of the trail. Without a subcommand they are listed. Exit code 1 when writes have
/// reached the last one, which is for what nobody made a month for. How many changes one has is what PostgreSQL last counted,
/// unknown before it has, and exact where there are none.
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
        let mut table = Table::new(&["MONTH", "FROM", "TO", "CHANGES", "DISK", "STATE"]);
        for partition in partitions {
            let state = match partition.state {
                PartitionState::Attached => Line::new().styled(DIM, "attached"),
                PartitionState::Leaving => Line::new().styled(NOTE, "leaving"),
                PartitionState::Restored => Line::new().styled(GOOD, "restored"),
                _ => Line::new(),
            };
            let state = match is_filler(&partition.name) {
                true => state.styled(DIM, ", for clocks set back"),
                false => state,
            };
            table.row([
                Line::from(if is_filler(&partition.name) { "filler" } else { &partition.name }),
                Line::from(partition.from.map_or_else(|| "-".to_owned(), bound)),
                Line::from(partition.to.map_or_else(|| "-".to_owned(), bound)),
                match partition.changes_estimate {
                    None => Line::new().styled(DIM, "unknown"),
                    Some(0) => Line::from("0"),
                    Some(changes) => Line::from(format!("~{}", HumanCount(changes))),
                },
                Line::from(HumanBytes(partition.bytes).to_string()),
                state,
            ]);
        }
        table.print(&mut output)?;
        if runway.is_zero() {
            let text = "writes go to the last partition; `threadline partitions maintain` makes more";
            output.prose(BAD, "", text)?;
        } else {
            output.line(&Line::new().styled(DIM, format!("made for {} ahead", in_words(*runway))))?;
        }
    }
    output.flush()?;
    Ok(if runway.is_zero() { Outcome::FoundSomething } else { Outcome::Done })
}

/// Whether it is there for no month, but for what a clock that was set back would write before the oldest or between two.
fn is_filler(name: &str) -> bool {
    name.starts_with("filler_")
}

/// Months begin with a day, and a date is taken where a time is.
fn bound(at: DateTime<Utc>) -> String {
    if at.time() == NaiveTime::MIN { at.date_naive().to_string() } else { when(at) }
}

/// So long, in one unit, rounded down.
fn in_words(duration: Duration) -> String {
    let hours = duration.as_secs() / 3_600;
    let (number, unit) = match hours / 24 {
        0 => (hours, "hour"),
        days @ 1..=60 => (days, "day"),
        days => (days * 100 / 3_044, "month"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runway_is_said_in_one_unit() {
        for (hours, words) in [
            (1, "1 hour"),
            (23, "23 hours"),
            (24, "1 day"),
            (60 * 24 + 23, "60 days"),
            (61 * 24, "2 months"),
            (396 * 24, "13 months"),
        ] {
            assert_eq!(in_words(Duration::from_secs(hours * 3_600 + 59)), words);
        }
    }
}
