//! `threadline exports enqueue`: an export for a worker to make.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use threadline::exports::{self, ExportRequest};
use threadline::{Actor, ExportOptions, Order};

use super::jobs::told;
use crate::Outcome;
use crate::commands::actor;
use crate::commands::export::Format;
use crate::configuration::ConfigArgs;
use crate::database::TrailArgs;
use crate::filter::FilterArgs;
use crate::output::{OutputArgs, warn};
use crate::time;

/// Queue an export, now or at a time or again and again
///
/// With `--tenant`, the job sees what that tenant owns, also when it is made later on; without, all of the trail.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Whom it belongs to, as `admin:7`
    #[arg(long, value_name = "ACTOR", value_parser = actor::parse, help_heading = "Export")]
    by: Actor,

    #[command(flatten)]
    filter: FilterArgs,

    /// In which form
    #[arg(long, value_name = "FORMAT", default_value = "csv", help_heading = "Export")]
    format: Format,

    /// At most so many changes; the worker has a limit of its own
    #[arg(long, value_name = "N", default_value_t = ExportOptions::DEFAULT_MAX_ROWS, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all", help_heading = "Export")]
    max_rows: u64,

    /// As many as the worker makes
    #[arg(long, help_heading = "Export")]
    all: bool,

    /// From the beginning of the trail on, instead of back from now
    #[arg(long, help_heading = "Export")]
    oldest_first: bool,

    /// Leave CSV cells as they are that a spreadsheet would take for a formula
    #[arg(long, help_heading = "Export")]
    no_formula_guard: bool,

    /// Not before this time: `2026-11-22T02:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "When")]
    at: Option<DateTime<Utc>>,

    /// Again and again, from the first time on, at least a minute apart
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "When")]
    every: Option<Duration>,

    /// Only what was captured in this time before the job's own
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "When")]
    window: Option<Duration>,

    /// How long the file is kept; as long as the worker is configured to if left out
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "When")]
    keep: Option<Duration>,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    trail: TrailArgs,
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    let options = ExportOptions::new(args.format.into()).formula_guard(!args.no_formula_guard);
    let options = if args.all { options.unlimited() } else { options.max_rows(args.max_rows) };
    let options = if args.oldest_first { options.order(Order::OldestFirst) } else { options };
    let request = match args.trail.scope() {
        Some(scope) => ExportRequest::scoped(scope, options),
        None => ExportRequest::unscoped(options),
    };
    let request = request.filter(args.filter.filter.clone());
    let request = args.at.into_iter().fold(request, ExportRequest::at);
    let request = args.every.into_iter().fold(request, ExportRequest::every);
    let request = args.window.into_iter().fold(request, ExportRequest::window);
    let request = args.keep.into_iter().fold(request, ExportRequest::keep);
    let config = args.config.load()?.config;
    let mut conn = args.trail.database.connect()?;
    let job = exports::enqueue(&mut conn, &request, &args.by)?;
    if config.storage.url.is_none() {
        warn(
            "no storage is configured here; the job waits until a worker has one: set `url` in `[storage]` of its `threadline.toml`",
        );
    }
    told(&args.output, &job)
}
