//! `threadline exports`: exports in the background, which a worker makes.

mod download;
mod enqueue;
mod jobs;

use anyhow::Result;

use crate::Outcome;

/// Queue exports for a worker to make, follow them, fetch their files
///
/// A job belongs to whoever it was asked for by. These commands are for those who run the application: they see everybody's. To
/// write changes to a file here and now, use `threadline export`.
#[derive(clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  threadline exports enqueue --table posts --format csv --by admin:7
  threadline exports enqueue --format ndjson --every 1day --window 1day --by service_account:siem
  threadline exports list --by admin:7"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(jobs::ListArgs),
    Show(jobs::ShowArgs),
    // The filter makes it larger than the others.
    Enqueue(Box<enqueue::Args>),
    Cancel(jobs::CancelArgs),
    Download(download::Args),
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    match &args.command {
        Command::List(args) => jobs::list(args),
        Command::Show(args) => jobs::show(args),
        Command::Enqueue(args) => enqueue::run(args),
        Command::Cancel(args) => jobs::cancel(args),
        Command::Download(args) => download::run(args),
    }
}
