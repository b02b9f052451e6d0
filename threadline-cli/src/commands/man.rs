//! `threadline man`: manual pages.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::output::Output;
use crate::{Cli, Outcome, shown};

/// Print the manual page, or write the pages of all commands
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline man | man -l -
  threadline man --directory ~/.local/share/man/man1")]
pub(crate) struct Args {
    /// Write the pages of all commands into this directory, which is there
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let mut output = Output::plain();
    match &args.directory {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            output.raw().write_all(&page)?;
        }
        Some(directory) => {
            clap_mangen::generate_to(Cli::command(), directory)
                .with_context(|| format!("cannot write into `{}`", directory.display()))?;
            output.line(&format!("wrote the pages into {}", shown(directory)).into())?;
        }
    }
    output.flush()?;
    Ok(Outcome::Done)
}
