//! `threadline retention run`: removing what is due.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;

use anyhow::Result;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use threadline::retention::{self, Archive, RetentionPlan, RetentionRun};
use threadline::{Actor, ActorId, Error};

use super::{plan, runs, storage_archive};
use crate::commands::actor;
use crate::configuration::ConfigArgs;
use crate::database::DatabaseArgs;
use crate::output::{DIM, Line, OutputArgs, note};
use crate::progress::Progress;
use crate::{Outcome, interrupt};

const SELF: ActorId = ActorId::from_static("threadline");

/// Remove what is due; without `--execute`, only say what that is
///
/// Prints the plan first. Ctrl-C stops between two batches: what had gone is gone, and the next run goes on from there. One run at
/// a time.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Remove it
    #[arg(long, help_heading = "Execution")]
    execute: bool,

    /// Who asks for it, as `admin:7`; `service_account:threadline` if left out
    #[arg(long, value_name = "ACTOR", value_parser = actor::parse, requires = "execute", help_heading = "Execution")]
    by: Option<Actor>,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    archive: bool,
    plan: &'a RetentionPlan,
    /// What was removed; `null` without `--execute`.
    run: Option<RetentionRun>,
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    let config = args.config.load()?.config;
    let policy = &config.retention;
    let archives = config.archive;
    let mut archive = (args.execute && archives).then(|| storage_archive(&config)).transpose()?;
    let mut conn = args.database.connect()?;
    let plan = retention::plan(&mut conn, policy, archives)?;
    let mut output = args.output.open();
    if !output.is_json() {
        plan::print(&mut output, &plan, policy, archives)?;
        output.flush()?;
    }
    if !args.execute {
        if output.is_json() {
            output.document(&Document { archive: archives, plan: &plan, run: None })?;
        } else {
            output.line(&Line::new().styled(DIM, "nothing was removed; `--execute` does it"))?;
        }
        output.flush()?;
        return Ok(Outcome::Done);
    }
    let by = args.by.clone().unwrap_or_else(|| Actor::service_account(SELF));
    let stop = interrupt::stop("stopping after this batch; press again to end at once")?;
    let progress = Progress::to_terminal("removing what is due");
    let is_watched = io::stderr().is_terminal();
    let mut rows = 0;
    let mut follow = |step: &retention::Progress| {
        use retention::Progress as Step;
        match step {
            Step::Batch { month, rows: more } => {
                rows += more;
                progress.say(|| format!("{} rows, in {month}", HumanCount(rows)));
            }
            Step::Archiving { month } => progress.say(|| format!("archiving {month}")),
            Step::Dropped { month, bytes } => {
                progress.say(|| format!("{month} is gone, {}", HumanBytes(*bytes)));
            }
            Step::Postponed { month } if !is_watched => note(&postponed(month)),
            Step::Postponed { month } => progress.say(|| postponed(month)),
            Step::Busy { month } if !is_watched => note(&busy(month)),
            Step::Busy { month } => progress.say(|| busy(month)),
            _ => {}
        }
        if stop.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let archive = archive.as_mut().map(|archive| archive as &mut dyn Archive);
    let done = retention::run(&mut conn, policy, &by, archive, &mut follow);
    progress.end();
    let done = match done {
        Ok(done) => done,
        Err(Error::RetentionStopped) => {
            note("stopped; what had gone is gone, and the next run goes on from there");
            return Ok(Outcome::Interrupted);
        }
        Err(error) => return Err(error.into()),
    };
    if output.is_json() {
        output.document(&Document { archive: archives, plan: &plan, run: Some(done) })?;
    } else {
        output.blank()?;
        runs::print(&mut output, &[done])?;
    }
    output.flush()?;
    Ok(Outcome::Done)
}

fn busy(month: &str) -> String {
    format!("{month} is left for a later run: another session restores it or lets it go")
}

fn postponed(month: &str) -> String {
    format!("{month} leaves in a later run: transactions are open that may still read it")
}
