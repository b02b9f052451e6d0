//! The `threadline` command: parses arguments, reports, and answers with an exit code.

mod capture;
mod commands;
mod migrations;
mod sources;

use std::env;
use std::path::{Display, Path};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::commands::{generate, install};

/// Audit for Diesel and PostgreSQL: writes the migrations that put it into your database.
///
/// Exit code 0: done; 1: the check found something; 2: could not run.
#[derive(Parser)]
#[command(name = "threadline", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Install(install::Args),
    Generate(generate::Args),
}

/// How a command that could run has ended.
enum Outcome {
    Done,
    FoundSomething,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::FoundSomething) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> Result<Outcome> {
    match cli.command {
        Command::Install(args) => install::run(&args),
        Command::Generate(args) => generate::run(&args),
    }
}

/// `path` as seen from the working directory, when it is below.
fn shown(path: &Path) -> Display<'_> {
    let below = env::current_dir().ok().and_then(|current| path.strip_prefix(current).ok());
    below.unwrap_or(path).display()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
