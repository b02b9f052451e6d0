//! `threadline completions`: what a shell needs to complete the command line.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::output::Output;
use crate::{Cli, Outcome};

/// Print completions for a shell
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline completions bash > ~/.local/share/bash-completion/completions/threadline
  threadline completions zsh > ~/.zfunc/_threadline
  threadline completions fish > ~/.config/fish/completions/threadline.fish")]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "threadline", &mut script);
    let mut output = Output::plain();
    output.raw().write_all(&script)?;
    output.flush()?;
    Ok(Outcome::Done)
}
