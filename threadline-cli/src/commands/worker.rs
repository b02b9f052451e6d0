//! `threadline worker`: the background work, in the foreground.

use anyhow::{Result, anyhow, bail};
use threadline_worker::{Connections, Worker};

use crate::configuration::ConfigArgs;
use crate::database::DatabaseArgs;
use crate::output::note;
use crate::{Outcome, interrupt};

/// Do what has to be done beside the application, until told to stop
///
/// As `threadline.toml` asks: makes queued exports and removes them when their time is over (with a storage), keeps partitions
/// ahead of time, removes what is no longer kept, looks after health. Any number of workers may run on one database. What it has to
/// say goes to standard error. Ctrl-C and SIGTERM stop it: an export is made to its end or, after 10 seconds, handed back to the
/// queue.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline worker --once")]
pub(crate) struct Args {
    /// Do everything once, queued exports to the last one, and end: for cron. Exit code 2 when something failed
    #[arg(long)]
    once: bool,

    /// What it is called in the queue of exports, for people
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let configuration = args.config.load()?;
    // What is wrong with the URL is told now; what is wrong with the database later on is waited for.
    drop(args.database.connect()?);
    let database = args.database.clone();
    let worker = Worker::from_config(&configuration.config, Connections::new(move || database.connect()))?;
    let worker = match &args.instance {
        Some(name) => worker.instance(name),
        None => worker,
    };
    let worker = worker.build()?;
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    log.try_init().map_err(|error| anyhow!("cannot log: {error}"))?;
    let stop = interrupt::stop("stopping; press again to end at once")?;
    if args.once {
        let done = worker.run_once(&stop);
        let failures = done.err().unwrap_or_default();
        for failure in &failures {
            note(&format!("error: task `{}` failed: {}", failure.task, told(&*failure.error)));
        }
        if !failures.is_empty() {
            bail!("{} of the tasks failed", failures.len());
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

/// The error with its causes.
fn told(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
