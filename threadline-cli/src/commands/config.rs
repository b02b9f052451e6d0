//! `threadline config`: whether `threadline.toml` can be in force, and what is.

use anyhow::{Context, Result};
use serde::Serialize;
use threadline::config::{Config, ConfigError, Problem};

use crate::Outcome;
use crate::commands::storage;
use crate::configuration::{ConfigArgs, Configuration, name};
use crate::output::{BAD, DIM, GOOD, Line, NOTE, OutputArgs, escaped_toml};

/// Check threadline.toml, or show what is in force
///
/// Neither needs a database. The file holds nothing secret, so neither does what is printed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline config check
  threadline config show
  threadline config show --json | jq .config.retention")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Say everything that is wrong with the file, with the lines; exit with 1 when something is
    Check(FileArgs),
    /// Print what is in force, defaults included, as a file that says the same
    Show(FileArgs),
}

#[derive(clap::Args)]
struct FileArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Checked {
    file: Option<String>,
    valid: bool,
    problems: Vec<Wrong>,
    /// Why the storage cannot be used on this machine, where the file may be right all the same.
    storage_problem: Option<String>,
}

/// One thing that is wrong with the file.
#[derive(Serialize)]
struct Wrong {
    line: Option<usize>,
    key: String,
    wrong: String,
    allowed: String,
}

#[derive(Serialize)]
struct Shown {
    file: Option<String>,
    config: serde_json::Value,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    match &args.what {
        What::Check(args) => check(args),
        What::Show(args) => show(args),
    }
}

fn check(args: &FileArgs) -> Result<Outcome> {
    let file = args.config.file()?;
    let loaded = file.as_ref().map(Config::load);
    let storage_problem = match &loaded {
        Some(Ok(config)) => storage_problem(config),
        _ => None,
    };
    let problems = match loaded {
        None | Some(Ok(_)) => Vec::new(),
        Some(Err(ConfigError::Invalid { error, .. })) => error.problems().to_vec(),
        Some(Err(error)) => return Err(error.into()),
    };
    let file = file.as_deref().map(name);
    let mut output = args.output.open();
    if output.is_json() {
        let wrong = problems.iter().map(wrong).collect();
        output.document(&Checked { file, valid: problems.is_empty(), problems: wrong, storage_problem })?;
    } else if let Some(file) = &file {
        for problem in &problems {
            // As compilers do, so that editors find the place.
            let place = problem.line().map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
            let key = if problem.key().is_empty() { String::new() } else { format!(" {}", problem.key()) };
            output.line(&Line::new().styled(DIM, format!("{place}:")).plain(key))?;
            output.prose(BAD, "    ", problem.wrong())?;
            output.prose(anstyle::Style::new(), "    ", problem.allowed())?;
        }
        let verdict = match problems.len() {
            0 => Line::new().styled(GOOD, "valid").plain(format!("  {file}")),
            1 => Line::new().styled(BAD, "1 problem").plain(format!(" in {file}")),
            number => Line::new().styled(BAD, format!("{number} problems")).plain(format!(" in {file}")),
        };
        output.line(&verdict)?;
        if let Some(problem) = storage_problem {
            output.prose(NOTE, "", &format!("here, {}: {problem}", storage::WHERE))?;
        }
    } else {
        output.line(&"there is no threadline.toml here or above; the defaults are in force".into())?;
    }
    output.flush()?;
    Ok(if problems.is_empty() { Outcome::Done } else { Outcome::FoundSomething })
}

/// A directory alone is looked at: a bucket would have to be asked for.
fn storage_problem(config: &Config) -> Option<String> {
    let opened = config.storage.url.as_deref().map(threadline_worker::Storage::from_url)?;
    opened.err().map(|error| format!("{:#}", anyhow::Error::new(error)))
}

fn wrong(problem: &Problem) -> Wrong {
    Wrong {
        line: problem.line(),
        key: problem.key().to_owned(),
        wrong: problem.wrong().to_owned(),
        allowed: problem.allowed().to_owned(),
    }
}

fn show(args: &FileArgs) -> Result<Outcome> {
    let configuration = args.config.load()?;
    let Configuration { config, .. } = &configuration;
    let text = config.to_toml();
    let mut output = args.output.open();
    if output.is_json() {
        let config = toml::from_str(&text).context("cannot read what is in force")?;
        output.document(&Shown { file: configuration.name(), config })?;
    } else {
        let from = configuration.name().map_or_else(
            || "# There is no threadline.toml here or above: these are the defaults.".to_owned(),
            |file| format!("# From {file}, and the defaults of what it does not say."),
        );
        output.line(&Line::new().styled(DIM, from))?;
        // Not cut, whatever the width: it is there to become a file.
        output.verbatim("", &escaped_toml(&text))?;
    }
    output.flush()?;
    Ok(Outcome::Done)
}
