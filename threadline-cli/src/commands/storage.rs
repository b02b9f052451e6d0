//! `threadline storage`: whether the place of exports and archives can be used, and making it one.

use anyhow::{Context, Result};
use serde::Serialize;
use threadline_worker::Storage;

use crate::Outcome;
use crate::configuration::ConfigArgs;
use crate::output::{BAD, GOOD, Line, OutputArgs};

/// Check the storage of exports and archives, or make its directory
///
/// A directory is a storage once `create` has said so, with a file `.threadline-storage` in it. Everything else leaves a directory
/// without that file alone: it may be the place of a volume that is not mounted. Neither needs a database.
#[derive(clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  threadline storage create
  threadline storage check"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make the configured directory a storage; once, when what belongs there is mounted. A bucket is made with its own tools
    Create(StorageArgs),
    /// Write a file, read it back, remove it; exit with 1 when that fails
    Check(StorageArgs),
}

#[derive(clap::Args)]
struct StorageArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    url: &'a str,
    usable: bool,
    /// What is wrong with it.
    problem: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let (args, creates) = match &args.command {
        Command::Create(args) => (args, true),
        Command::Check(args) => (args, false),
    };
    let config = args.config.load()?.config;
    let url = config.storage.url.as_deref();
    let url = url.context("no storage is configured; set `url` in `[storage]` of `threadline.toml`")?;
    if creates {
        Storage::create(url).context(WHERE)?;
    }
    let checked = Storage::from_url(url).and_then(|storage| storage.check());
    let problem = checked.err().map(|error| format!("{:#}", anyhow::Error::new(error)));
    let mut output = args.output.open();
    let usable = problem.is_none();
    if output.is_json() {
        output.document(&Document { url, usable, problem })?;
    } else if let Some(problem) = problem {
        output.prose(BAD, "", &format!("{WHERE}: {problem}"))?;
    } else {
        output.line(&Line::new().styled(GOOD, "usable").plain(format!("  {url}")))?;
    }
    output.flush()?;
    Ok(if usable { Outcome::Done } else { Outcome::FoundSomething })
}

/// The key the trouble comes from.
pub(super) const WHERE: &str = "`url` of `[storage]`";
