//! `threadline retention runs`: what earlier runs have removed.

use std::io;

use anyhow::Result;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use threadline::retention::{self, RetentionRun, RunState};

use crate::Outcome;
use crate::configuration::ConfigArgs;
use crate::database::DatabaseArgs;
use crate::output::{BAD, GOOD, Line, NOTE, Output, OutputArgs, Table, note, when};

/// List the runs there have been, the newest first, with what they removed
///
/// Those that found nothing due one after the other are one line.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// At most so many, up to 1000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Serialize)]
struct Document {
    runs: Vec<RetentionRun>,
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    args.config.check()?;
    let mut conn = args.database.connect()?;
    let runs = retention::runs(&mut conn, args.limit)?;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Document { runs })?;
    } else if runs.is_empty() {
        note("no runs found");
    } else {
        print(&mut output, &runs)?;
    }
    output.flush()?;
    Ok(Outcome::Done)
}

/// For people.
pub(super) fn print(output: &mut Output, runs: &[RetentionRun]) -> io::Result<()> {
    let header = ["RUN", "STARTED", "STATE", "CHANGES", "TRANSACTIONS", "ACTIONS", "MONTHS", "DISK", "BY"];
    let mut table = Table::new(&header);
    for run in runs {
        let count = |count: u64| Line::from(HumanCount(count).to_string());
        let state = match (run.state, run.error.as_deref()) {
            (RunState::Running, _) => Line::new().styled(NOTE, "running"),
            (RunState::Completed, _) if run.looks > 1 => {
                let until = run.ended_at.map(when).unwrap_or_default();
                Line::new().styled(GOOD, "nothing due").plain(format!(" {} times until {until}", run.looks))
            }
            (RunState::Completed, _) if !run.left_for_later.is_empty() => Line::new()
                .styled(NOTE, "completed in part")
                .plain(format!(", {} left for a later run", run.left_for_later.join(", "))),
            (RunState::Completed, _) => Line::new().styled(GOOD, "completed"),
            (RunState::Failed, error) => {
                Line::new().styled(BAD, format!("failed: {}", error.unwrap_or("other")))
            }
            _ => Line::new().styled(BAD, "abandoned"),
        };
        table.row([
            Line::from(run.id.to_string()),
            Line::from(when(run.started_at)),
            state,
            count(run.changes),
            count(run.transactions),
            count(run.actions),
            count(run.months),
            Line::from(HumanBytes(run.bytes).to_string()),
            Line::from(run.asked_by.to_string()),
        ]);
    }
    table.print(output)
}
