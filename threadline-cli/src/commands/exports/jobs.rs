//! `threadline exports list`, `show` and `cancel`: the jobs there are.

use anyhow::{Context, Result, anyhow};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use threadline::Actor;
use threadline::exports::{self, ExportFailure, ExportJob, ExportState};
use uuid::Uuid;

use crate::Outcome;
use crate::commands::actor;
use crate::database::DatabaseArgs;
use crate::output::{BAD, DIM, GOOD, HEADING, Line, NOTE, OutputArgs, Table, note, when};

/// List jobs, the newest first
#[derive(clap::Args)]
pub(super) struct ListArgs {
    /// Only those of this actor, as `user:42`
    #[arg(long, value_name = "ACTOR", value_parser = actor::parse)]
    by: Option<Actor>,

    /// At most so many, up to 1000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Paging")]
    limit: u32,

    /// Those that are older than this one
    #[arg(long, value_name = "ID", help_heading = "Paging")]
    before: Option<Uuid>,

    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Show a job, and how it stands
#[derive(clap::Args)]
pub(super) struct ShowArgs {
    /// Its id
    #[arg(value_parser = job_id)]
    id: Uuid,

    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Cancel a job that is queued or running, and what of its series is still to come
///
/// Exit code 1 when there is nothing left to cancel.
#[derive(clap::Args)]
pub(super) struct CancelArgs {
    /// Its id
    #[arg(value_parser = job_id)]
    id: Uuid,

    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Serialize)]
struct Jobs {
    jobs: Vec<ExportJob>,
}

#[derive(Serialize)]
struct One<'a> {
    job: &'a ExportJob,
}

#[derive(Serialize)]
struct Cancelled {
    cancelled: usize,
}

pub(super) fn list(args: &ListArgs) -> Result<Outcome> {
    let mut conn = args.database.connect()?;
    let jobs = match &args.by {
        Some(owner) => exports::list(&mut conn, owner, args.before, args.limit)?,
        None => exports::list_all(&mut conn, args.before, args.limit)?,
    };
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Jobs { jobs })?;
    } else if jobs.is_empty() {
        note("no jobs found");
    } else {
        let mut table = Table::new(&["JOB", "STATE", "FOR", "FORMAT", "TIME", "CHANGES"]);
        for job in &jobs {
            table.row([
                Line::from(job.id.to_string()),
                state(job),
                Line::from(job.requester.to_string()),
                Line::from(job.format.extension()),
                Line::from(when(job.scheduled_at)),
                Line::from(
                    job.summary
                        .as_ref()
                        .map_or_else(|| "-".to_owned(), |summary| HumanCount(summary.rows).to_string()),
                ),
            ]);
        }
        table.print(&mut output)?;
    }
    output.flush()?;
    Ok(Outcome::Done)
}

pub(super) fn show(args: &ShowArgs) -> Result<Outcome> {
    let mut conn = args.database.connect()?;
    let job = exports::find(&mut conn, args.id)?.with_context(|| missing(args.id))?;
    told(&args.output, &job)
}

pub(super) fn cancel(args: &CancelArgs) -> Result<Outcome> {
    let mut conn = args.database.connect()?;
    let job = exports::find(&mut conn, args.id)?.with_context(|| missing(args.id))?;
    let cancelled = exports::cancel(&mut conn, job.id, &job.requester)?;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Cancelled { cancelled })?;
    } else {
        let text = match cancelled {
            0 => format!("nothing to cancel: the job is {}", job.state),
            1 => "cancelled 1 job".to_owned(),
            jobs => format!("cancelled {jobs} jobs"),
        };
        output.line(&text.into())?;
    }
    output.flush()?;
    Ok(if cancelled == 0 { Outcome::FoundSomething } else { Outcome::Done })
}

/// Reads the id of a job.
pub(super) fn job_id(text: &str) -> Result<Uuid> {
    text.parse().map_err(|_| anyhow!("it is not the id of an export; `threadline exports list` has them"))
}

/// What became of a job that could not be made, in a sentence.
fn because(failure: ExportFailure) -> &'static str {
    match failure {
        ExportFailure::RequestUnreadable => {
            "its filter cannot be answered: a column that no table has, or a filter of another version"
        }
        ExportFailure::ScopeUnreadable => "its scope is not one this version reads, so it may see nothing",
        ExportFailure::Refused => {
            "the trail has no answer: a table that was never audited, or a key that is not the table's"
        }
        ExportFailure::Database => {
            "the database did not answer, or refused a statement; the worker's log says which"
        }
        ExportFailure::Storage => "the storage did not take the file; the worker's log says why",
        ExportFailure::Verification => "what the storage has is not what was written",
        ExportFailure::Abandoned => "a worker took it and was not heard of again",
        other => other.as_str(),
    }
}

pub(super) fn missing(id: Uuid) -> String {
    format!("there is no export job {id}; `threadline exports list` says which there are")
}

/// Prints a job.
pub(super) fn told(output: &OutputArgs, job: &ExportJob) -> Result<Outcome> {
    let mut output = output.open();
    if output.is_json() {
        output.document(&One { job })?;
        output.flush()?;
        return Ok(Outcome::Done);
    }
    output.line(&Line::new().styled(HEADING, format!("job {}", job.id)).plain("  ").and(state(job)))?;
    let seconds = |seconds: u64| humantime::format_duration(std::time::Duration::from_secs(seconds));
    let mut facts = vec![
        ("for", job.requester.to_string()),
        ("time", when(job.scheduled_at)),
        ("format", job.format.extension().to_owned()),
    ];
    facts.extend(job.every_seconds.map(|every| ("every", seconds(every).to_string())));
    facts.extend(job.window_seconds.map(|window| ("window", seconds(window).to_string())));
    facts.extend(job.finished_at.map(|at| ("finished", when(at))));
    facts.extend(job.expires_at.map(|at| ("expires", when(at))));
    if let Some(summary) = &job.summary {
        let more = if summary.truncated { ", and there were more" } else { "" };
        let (rows, bytes) = (HumanCount(summary.rows), HumanBytes(summary.bytes));
        facts.push(("changes", format!("{rows}, {bytes}{more}")));
        facts.push(("sha256", summary.sha256.clone()));
    }
    facts.extend(job.error.map(|failure| ("because", because(failure).to_owned())));
    let filter = job.filter()?;
    facts.extend(filter.pairs().into_iter().map(|(name, value)| ("filter", format!("{name}={value}"))));
    for (name, value) in facts {
        output.line(&Line::new().styled(DIM, format!("  {name:<9} ")).plain(value))?;
    }
    output.flush()?;
    Ok(Outcome::Done)
}

fn state(job: &ExportJob) -> Line {
    let style = match job.state {
        ExportState::Completed => GOOD,
        ExportState::Failed => BAD,
        ExportState::Running => NOTE,
        _ => DIM,
    };
    let line = Line::new().styled(style, job.state.to_string());
    match job.error {
        Some(failure) => line.styled(DIM, format!(" ({failure})")),
        None => line,
    }
}
