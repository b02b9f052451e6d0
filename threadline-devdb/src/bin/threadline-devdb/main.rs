//! A private PostgreSQL around one command.

mod exec;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code when the command could not be run at all; clap's for a wrong flag is the same.
const COULD_NOT_RUN: u8 = 2;

/// A private PostgreSQL for development: started for one command, gone with it.
#[derive(Debug, Parser)]
#[command(name = "threadline-devdb", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Exec(exec::Args),
}

fn main() -> ExitCode {
    let Verb::Exec(args) = Cli::parse().verb;
    match exec::run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("threadline-devdb: {error:#}");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
