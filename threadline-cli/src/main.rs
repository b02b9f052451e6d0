//! The `threadline` command: parses arguments, reports, and answers with an exit code.

mod capture;
mod checking;
mod commands;
mod configuration;
mod database;
mod evidence;
mod filter;
mod interrupt;
mod migrations;
mod models;
mod output;
mod paging;
mod partial;
mod progress;
mod reading;
mod row;
mod sources;
mod time;
mod usage;

use std::env;
use std::io::{self, ErrorKind};
use std::path::{Display, Path};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use threadline::Error;

use crate::commands::Command;
use crate::output::note;

/// Audit for Diesel and PostgreSQL: puts it into your database, and reads back what it recorded.
///
/// Exit code 0: done; 1: the check found something; 2: could not run.
#[derive(Parser)]
#[command(name = "threadline", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// How a command that could run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    FoundSomething,
    /// By the user, between two steps.
    Interrupted,
}

fn main() -> ExitCode {
    database::load_env_file();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            // It quotes arguments, which a script may have from anywhere.
            match usage::told(&error, &Cli::command()) {
                Some(wrong) => note(&format!("error: {wrong}")),
                None => note(error.render().to_string().trim_end()),
            }
            return ExitCode::from(2);
        }
    };
    match cli.command.run() {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::FoundSomething) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(interrupt::EXIT_CODE),
        // Whoever read the output has had enough of it, as `head` has.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let told = format!("{error:#}");
            note(&format!("error: {told}"));
            // The server's words, in whatever they are wrapped: diesel keeps no SQLSTATE.
            if told.contains("permission denied for ") {
                note(GRANTS);
            }
            ExitCode::from(if is_finding(&error) { 1 } else { 2 })
        }
    }
}

const GRANTS: &str = "the role of this connection lacks a grant: `guides/production.md`, \"Roles and grants\", has what each role \
     needs, and `threadline doctor` what this one may";

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| kind == ErrorKind::BrokenPipe)
}

/// Whether the command has found out what stands in the way of an answer, rather than failed.
fn is_finding(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<Error>(),
        Some(Error::UnknownPast { .. } | Error::UndoRefused { .. } | Error::UndoStale { .. })
    )
}

/// `path` as seen from the working directory, when it is below.
fn shown(path: &Path) -> Display<'_> {
    let below = env::current_dir().ok().and_then(|current| path.strip_prefix(current).ok());
    below.unwrap_or(path).display()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
