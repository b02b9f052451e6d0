//! `threadline retention`: what goes, what is held, and what comes back.

mod archive;
mod archives;
mod holds;
mod plan;
mod run;
mod runs;

use anyhow::{Context, Result};
use threadline::config::Config;
use threadline_worker::{Storage, StorageArchive};

use crate::Outcome;

/// Remove what is no longer kept, hold what must stay, bring back what was archived
///
/// How long things are kept stands in `[retention]` of `threadline.toml`; without a window everything is kept for ever. Whole
/// months leave as partitions, the rest goes in batches; both to the archive first where there is one. What is under a legal hold
/// stays. Planning, removing and restoring take the owner of schema `threadline`.
#[derive(clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  threadline retention plan
  threadline retention run --execute
  threadline retention holds place --table posts --by admin:7 --reason 'case 14'
  threadline retention holds list
  threadline retention runs
  threadline retention archives"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Plan(plan::Args),
    Run(run::Args),
    Runs(runs::Args),
    Holds(holds::Args),
    Archives(archives::Args),
    Restore(archive::RestoreArgs),
    Release(archive::ReleaseArgs),
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    match &args.command {
        Command::Plan(args) => plan::run(args),
        Command::Run(args) => run::run(args),
        Command::Runs(args) => runs::run(args),
        Command::Holds(args) => holds::run(args),
        Command::Archives(args) => archives::run(args),
        Command::Restore(args) => archive::restore(args),
        Command::Release(args) => archive::release(args),
    }
}

/// The archive in the configured storage.
fn storage_archive(config: &Config) -> Result<StorageArchive> {
    let url = config.storage.url.as_deref();
    let url = url.context("no storage is configured; set `url` in `[storage]` of `threadline.toml`")?;
    Ok(StorageArchive::new(Storage::from_url(url).context(crate::commands::storage::WHERE)?)?)
}
