//! `threadline worker`: the background work, in the foreground.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use serde::Serialize;
use threadline::{Error, exports};
use threadline_worker::{Connections, TaskReport, Worker};

use crate::configuration::ConfigArgs;
use crate::database::DatabaseArgs;
use crate::output::{BAD, DIM, GOOD, Line, Output, OutputArgs, note};
use crate::{Outcome, interrupt};

/// Do what has to be done beside the application, until told to stop
///
/// As `threadline.toml` asks: makes queued exports and removes them when their time is over (with a storage), keeps partitions
/// ahead of time, removes what is no longer kept, looks after health. Any number of workers may run on one database. What it has to
/// say goes to standard error. What cannot be done now, as while the storage is not mounted, is tried again, and keeps nothing else
/// from being done. Ctrl-C and SIGTERM stop it: an export is made to its end or, after 10 seconds, handed back to the queue.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline worker --once
  threadline worker --once --json | jq '.tasks[] | select(.outcome == \"failed\")'")]
pub(crate) struct Args {
    /// Do everything once, queued exports to the last one, say what was done, and end: for cron. Exit code 2 when something failed
    #[arg(long)]
    once: bool,

    /// What it is called in the queue of exports, for people
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// What `--once --json` prints.
#[derive(Serialize)]
struct Document {
    tasks: Vec<Told>,
}

/// How one task has ended.
#[derive(Serialize)]
struct Told {
    task: String,
    /// `done` or `failed`.
    outcome: &'static str,
    /// What was done, or why it failed.
    text: String,
    counts: BTreeMap<&'static str, u64>,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    if args.output.is_json() && !args.once {
        bail!("`--json` is for `--once`; a worker that goes on has no end to its document");
    }
    let configuration = args.config.load()?;
    // What is wrong with the URL is told now; what is wrong with the database later on is waited for.
    let mut conn = args.database.connect()?;
    if args.once {
        // Else every task would say that there is no schema.
        if let Err(error @ (Error::SchemaMissing | Error::SchemaVersion { .. })) = exports::due(&mut conn) {
            return Err(error.into());
        }
    }
    drop(conn);
    let database = args.database.clone();
    let worker = Worker::from_config(&configuration.config, Connections::new(move || database.connect()));
    let worker = match &args.instance {
        Some(name) => worker.instance(name),
        None => worker,
    };
    let worker = worker.build()?;
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    log.try_init().map_err(|error| anyhow!("cannot log: {error}"))?;
    let stop = interrupt::stop("stopping; press again to end at once")?;
    if args.once {
        let (mut output, mut tasks, mut broken) = (args.output.open(), Vec::new(), Ok(()));
        worker.run_once_telling(&stop, |report| {
            let told = told(report);
            if !output.is_json() && broken.is_ok() {
                broken = print(&mut output, &told);
            }
            tasks.push(told);
        });
        broken?;
        let failed = tasks.iter().filter(|told| told.outcome == "failed");
        let failed: Vec<String> = failed.map(|told| told.task.clone()).collect();
        let number = tasks.len();
        if output.is_json() {
            output.document(&Document { tasks })?;
            output.flush()?;
        }
        if !failed.is_empty() {
            bail!("{} of {number} tasks failed: {}", failed.len(), failed.join(", "));
        }
        return Ok(if stop.is_requested() { Outcome::Interrupted } else { Outcome::Done });
    }
    match &configuration.file {
        Some(file) => note(&format!("working by `{}`; Ctrl-C stops it", crate::shown(file))),
        None => note("working by the defaults, for there is no `threadline.toml`; Ctrl-C stops it"),
    }
    worker.run_until(&stop)?;
    Ok(Outcome::Done)
}

fn told(report: TaskReport) -> Told {
    let task = report.task;
    match report.outcome {
        Ok(done) => {
            let counts = done.counts().iter().copied().collect();
            let outcome = if done.has_failures() { "failed" } else { "done" };
            Told { task, outcome, text: done.text().to_owned(), counts }
        }
        Err(error) => Told { task, outcome: "failed", text: with_causes(&*error), counts: BTreeMap::new() },
    }
}

/// As soon as the task has ended: the next one may take long.
fn print(output: &mut Output, told: &Told) -> std::io::Result<()> {
    let style = if told.outcome == "done" { GOOD } else { BAD };
    let head = Line::new().plain(format!("{:<10}  ", told.task)).styled(style, told.outcome);
    let whole = head.clone().styled(DIM, format!("  {}", told.text));
    if output.width().is_none_or(|columns| whole.width() <= columns) {
        output.line(&whole)?;
    } else {
        output.line(&head)?;
        output.prose(DIM, "    ", &told.text)?;
    }
    output.flush()
}

/// The error with its causes.
fn with_causes(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
