//! `threadline exports enqueue`: an export for a worker to make.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use threadline::Actor;
use threadline::exports::{self, ExportRequest};

use super::jobs::told;
use crate::Outcome;
use crate::commands::actor;
use crate::commands::export::{ContentArgs, Format};
use crate::configuration::ConfigArgs;
use crate::database::TrailArgs;
use crate::filter::FilterArgs;
use crate::output::{OutputArgs, warn};
use crate::time;

/// Queue an export, now or at a time or again and again
///
/// However many changes are asked for, the worker's `[exports] max_rows` is the most. With `--tenant`, the job sees what that tenant owns, also when it is made later on; without, all of the trail.
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

    #[command(flatten)]
    content: ContentArgs,

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
    let options = args.content.options(args.format.into());
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
