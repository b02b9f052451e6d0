//! `threadline as-of`: what a row, or a table, was at an instant.

use anyhow::Result;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde::Serialize;
use threadline::{AsOf, PastRow, RowImage, RowKey, TableName, Trail};

use crate::Outcome;
use crate::database::TrailArgs;
use crate::output::{
    BAD, HEADING, Line, Listing, NOTE, Output, OutputArgs, Rows, escaped, image_lines, key_text, note, when,
};
use crate::progress::Progress;
use crate::row::{StoredKeys, TableOrRowArgs};
use crate::time;

/// Show what a row, or a table, was at a time
///
/// A transaction counts as made once all of its changes had been captured by then. Masked and excluded columns stay so. Exit
/// code 1 when it is not known what was then; the answer says why.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline as-of posts 1 --at 2h
  threadline as-of posts --at 2026-11-21T09:30:00Z --limit 10
  threadline as-of posts --at 1day --all --json")]
pub(crate) struct Args {
    #[command(flatten)]
    row: TableOrRowArgs,

    /// The time: `2026-11-21T09:30:00Z`, `2026-11-21`, or `2h` for two hours ago
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    at: DateTime<Utc>,

    #[command(flatten)]
    rows: RowLimit,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    trail: TrailArgs,
}

/// How many rows of a table to show.
#[derive(clap::Args)]
pub(super) struct RowLimit {
    /// Of a table, at most so many rows
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Paging", conflicts_with = "all")]
    limit: u64,

    /// Of a table, all rows
    #[arg(long, help_heading = "Paging")]
    all: bool,
}

impl RowLimit {
    /// Whether one more may be shown.
    pub(super) fn allows(&self, shown: u64) -> bool {
        self.all || shown < self.limit
    }
}

#[derive(Serialize)]
struct Row<'a> {
    table: &'a TableName,
    key: &'a RowKey,
    at: DateTime<Utc>,
    #[serde(flatten)]
    answer: &'a AsOf<RowImage>,
}

#[derive(Serialize)]
struct Head<'a> {
    table: &'a TableName,
    at: DateTime<Utc>,
}

#[derive(Serialize)]
pub(super) struct End {
    pub(super) has_more: bool,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let (mut conn, trail) = args.trail.open()?;
    match args.row.key(&mut conn)? {
        Some(key) => row(args, &mut conn, &trail, &key),
        None => rows(args, &mut conn, &trail),
    }
}

fn row(args: &Args, conn: &mut PgConnection, trail: &Trail, key: &RowKey) -> Result<Outcome> {
    let (table, at) = (&args.row.table, args.at);
    let answer = trail.row_as_of(conn, table, key, at)?;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Row { table, key, at, answer: &answer })?;
    } else {
        let name = format!("{} {}", table.to_plain(), key_text(Some(key), ""));
        output.line(&Line::new().styled(HEADING, name).plain(format!(" as of {}", when(at))))?;
        print(&mut output, &answer)?;
    }
    output.flush()?;
    Ok(if is_known(&answer) { Outcome::Done } else { Outcome::FoundSomething })
}

pub(super) fn is_known(answer: &AsOf<RowImage>) -> bool {
    matches!(answer, AsOf::Present(_) | AsOf::Deleted { .. } | AsOf::NotCreated)
}

/// The answer, in words unless it is the row.
pub(super) fn print(output: &mut Output, answer: &AsOf<RowImage>) -> std::io::Result<()> {
    let (style, text) = match answer {
        AsOf::Present(image) => {
            let lines = image_lines(image, 2, output.width());
            return lines.iter().try_for_each(|line| output.line(line));
        }
        AsOf::Deleted { by, at } => (BAD, format!("It had been deleted at {}, by change {by}.", when(*at))),
        AsOf::NotCreated => (NOTE, "It did not exist: it was created later, or never.".to_owned()),
        AsOf::BeforeHorizon { horizon } => {
            let text = format!(
                "Not known: the trail of this table reaches back to {}. Before that it was not audited, or retention has removed what \
                 was recorded.",
                when(*horizon)
            );
            (NOTE, text)
        }
        AsOf::CaptureEnded { ended_at } => {
            (NOTE, format!("Not known: the table has not been audited since {}.", when(*ended_at)))
        }
        AsOf::CrossedTruncate { by, at } => {
            let text = format!(
                "Not known: the table was truncated at {} by change {by}, and its rows were not kept. From now on they would be, with \
                 `on_truncate = \"keep\"`.",
                when(*at)
            );
            (NOTE, text)
        }
        AsOf::Gap { older, newer, best_guess } => {
            let newer = newer.map_or("the row as it is now".to_owned(), |newer| format!("change {newer}"));
            let older = older.map_or("a recorded baseline".to_owned(), |older| format!("change {older}"));
            let text = format!(
                "Not certain: between {older} and {newer} the row was written without being captured, as with a disabled trigger, \
                 in a restore or by a replica."
            );
            output.prose(NOTE, "  ", &text)?;
            return match best_guess.image() {
                Some(image) => {
                    output.line(&Line::from("  The captured changes say:"))?;
                    let lines = image_lines(image, 4, output.width());
                    lines.iter().try_for_each(|line| output.line(line))
                }
                None => {
                    output.line(&Line::from("  By the captured changes it did not exist, or cannot be told."))
                }
            };
        }
        _ => {
            let text = "Not known: there is no present row to go back from; the table is gone, or this role may not read it.";
            (NOTE, text.to_owned())
        }
    };
    output.prose(style, "  ", &text)
}

fn rows(args: &Args, conn: &mut PgConnection, trail: &Trail) -> Result<Outcome> {
    let (table, at) = (&args.row.table, args.at);
    let mut output = args.output.open();
    let progress = Progress::begin(&output, "reading");
    let mut listing = None;
    let (mut shown, mut rows): (u64, Vec<PastRow>) = (0, Vec::new());
    let has_more = until_enough(|enough| {
        trail.table_as_of(conn, table, at, |row| {
            if !args.rows.allows(shown) {
                return Err(enough());
            }
            shown += 1;
            progress.at(shown);
            if !output.is_json() {
                rows.push(row);
                return Ok(());
            }
            // Not before there is a row: what cannot be asked leaves standard output empty.
            let listing = match &mut listing {
                Some(listing) => listing,
                None => listing.insert(
                    Listing::begin(&mut output, &Head { table, at }, "rows")
                        .map_err(threadline::Error::Export)?,
                ),
            };
            listing.entry(&mut output, &row).map_err(threadline::Error::Export)
        })
    })?;
    progress.end();
    if output.is_json() {
        let listing = match listing {
            Some(listing) => listing,
            None => Listing::begin(&mut output, &Head { table, at }, "rows")?,
        };
        listing.end(&mut output, &End { has_more })?;
    } else if !rows.is_empty() {
        let keys = &StoredKeys::of(conn, [table]);
        Rows { rows: &rows, table, keys }.print(&mut output)?;
    }
    output.flush()?;
    if shown == 0 && !output.is_json() {
        note(&format!("{} had no rows at {}", escaped(&table.to_plain()), when(at)));
    }
    if has_more && !output.is_json() {
        note("there are more rows; `--limit N` shows more of them, `--all` all");
    }
    Ok(Outcome::Done)
}

/// Runs a read that hands over row after row and takes an error to be told that they are enough; returns whether it was told so.
pub(super) fn until_enough(
    read: impl FnOnce(&dyn Fn() -> threadline::Error) -> Result<(), threadline::Error>,
) -> Result<bool> {
    #[derive(Debug, thiserror::Error)]
    #[error("enough rows")]
    struct Enough;
    let enough = || threadline::Error::Export(std::io::Error::other(Enough));
    match read(&enough) {
        Ok(()) => Ok(false),
        Err(threadline::Error::Export(error))
            if error.get_ref().and_then(|cause| cause.downcast_ref::<Enough>()).is_some() =>
        {
            Ok(true)
        }
        // Standard output failed.
        Err(threadline::Error::Export(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    }
}
