//! `threadline feed`: what was committed, once and in order, for shipping it elsewhere.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde::Serialize;
use threadline::{
    FeedBatch, FeedCursor, FeedEntry, FeedHold, change_diff, feed_hold, listen_for_feed, wait_for_feed,
};

use crate::Outcome;
use crate::commands::actions;
use crate::database::TrailArgs;
use crate::output::{DIM, Line, Output, OutputArgs, note, warn, when};
use crate::partial::PartialFile;
use crate::time;

/// Read what was committed, in order, to ship it elsewhere
///
/// Prints transactions and actions after a cursor, and the cursor to go on from: one batch, or with `--all` until nothing is left, or
/// with `--follow` for ever. With `--cursor-file` the place is kept in a file, which is written when what was printed has gone out:
/// what was interrupted comes again, and nothing is left out. Exit code 1 when the trail was purged past the cursor.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline feed --limit 10
  threadline feed --follow --ndjson --cursor-file siem.cursor | ship-to-siem
  threadline feed --hold")]
pub(crate) struct Args {
    /// Read on from this cursor
    #[arg(long, value_name = "CURSOR", help_heading = "Place")]
    cursor: Option<FeedCursor>,

    /// Read on from the cursor in this file, and keep it there
    #[arg(long, value_name = "FILE", help_heading = "Place")]
    cursor_file: Option<PathBuf>,

    /// Without a cursor, begin with what began at this time
    #[arg(long, value_name = "TIME", value_parser = time::parse, conflicts_with_all = ["cursor", "from_now"], help_heading = "Place")]
    since: Option<DateTime<Utc>>,

    /// Without a cursor, begin with what is committed from now on
    #[arg(long, conflicts_with = "cursor", help_heading = "Place")]
    from_now: bool,

    /// At most so many changes in a batch, up to 10000
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Paging")]
    limit: u32,

    /// Until nothing is left to read
    #[arg(long, conflicts_with = "json", help_heading = "Paging")]
    all: bool,

    /// For ever: wait for more when nothing is left
    #[arg(long, conflicts_with_all = ["all", "json"], help_heading = "Paging")]
    follow: bool,

    /// With `--follow`, look for more at least this often
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "2s", help_heading = "Paging")]
    poll: Duration,

    /// Print one JSON object a line for each entry
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    ndjson: bool,

    /// Only say which running transaction holds the feed back
    #[arg(long, conflicts_with_all = ["cursor", "cursor_file", "since", "from_now", "all", "follow", "ndjson", "limit"])]
    hold: bool,

    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    trail: TrailArgs,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let (mut conn, trail) = args.trail.open()?;
    let mut output = args.output.open();
    if args.hold {
        return hold(&mut conn, &mut output);
    }
    let mut cursor = args.begin(&mut conn)?;
    let mut outcome = Outcome::Done;
    if args.follow && listen_for_feed(&mut conn).is_err() {
        warn("this server sends no notifications, a standby perhaps; looking for more now and then");
    }
    loop {
        let batch = trail.read_feed(&mut conn, &cursor, args.limit)?;
        if batch.purged {
            outcome = Outcome::FoundSomething;
            warn("the trail was purged past the cursor: transactions may be missing before these");
        }
        print(args, &mut output, &batch)?;
        output.flush()?;
        cursor = batch.cursor;
        if let Some(path) = &args.cursor_file {
            keep(path, &cursor)?;
        }
        let is_last = if args.follow { false } else { !args.all || batch.caught_up };
        if is_last {
            if !output.is_json() && args.cursor_file.is_none() {
                let more = if batch.caught_up { "nothing is left for now" } else { "there is more" };
                note(&format!("{more}; read on with --cursor {cursor}"));
            }
            return Ok(outcome);
        }
        if batch.caught_up {
            wait_for_feed(&mut conn, args.poll)?;
        }
    }
}

impl Args {
    /// Where to begin: a file that is there goes before all else.
    fn begin(&self, conn: &mut PgConnection) -> Result<FeedCursor> {
        if let Some(path) = &self.cursor_file {
            let shown = path.display();
            match fs::read_to_string(path) {
                Ok(text) => {
                    return text.trim().parse().with_context(|| format!("cannot read on from `{shown}`"));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read `{shown}`")),
            }
        }
        Ok(match (&self.cursor, self.since) {
            (Some(cursor), _) => cursor.clone(),
            (None, Some(since)) => FeedCursor::since(since),
            (None, None) if self.from_now => FeedCursor::now(conn)?,
            (None, None) => FeedCursor::beginning(),
        })
    }
}

fn keep(path: &Path, cursor: &FeedCursor) -> Result<()> {
    let file = PartialFile::create(path, true)?;
    writeln!(file.as_file(), "{cursor}").with_context(|| format!("cannot write `{}`", path.display()))?;
    file.finish()
}

fn print(args: &Args, output: &mut Output, batch: &FeedBatch) -> io::Result<()> {
    if output.is_json() {
        return output.document(batch);
    }
    for entry in &batch.entries {
        if args.ndjson {
            output.json_line(entry)?;
            continue;
        }
        match entry {
            FeedEntry::Transaction(entry) => {
                let transaction = &entry.transaction;
                output.heading(
                    transaction.occurred_at,
                    transaction.id,
                    Some(transaction),
                    entry.actions.first(),
                )?;
                for change in &entry.changes {
                    let diff = change_diff(&change.table, &change.change, change.row.as_ref());
                    output.change_in_short(&diff, change.key.as_ref(), transaction.occurred_at)?;
                }
                if !entry.complete {
                    output.line(&Line::new().styled(DIM, "  … its other changes follow"))?;
                }
            }
            FeedEntry::Action(entry) => actions::print(output, &entry.action)?,
            _ => output.json_line(entry)?,
        }
        output.blank()?;
    }
    Ok(())
}

fn hold(conn: &mut PgConnection, output: &mut Output) -> Result<Outcome> {
    #[derive(Serialize)]
    struct Held {
        hold: Option<FeedHold>,
    }
    let hold = feed_hold(conn)?;
    if output.is_json() {
        output.document(&Held { hold })?;
        output.flush()?;
        return Ok(Outcome::Done);
    }
    let text = match &hold {
        None => "nothing holds the feed back".to_owned(),
        Some(hold) => {
            let since = hold.since.map(|since| format!(" since {}", when(since))).unwrap_or_default();
            let what = match (&hold.prepared, hold.pid) {
                (Some(name), _) => format!(", prepared as `{name}`: commit it or roll it back"),
                (None, Some(pid)) => {
                    format!(" in process {pid}; `SELECT pg_cancel_backend({pid})` cancels its statement")
                }
                (None, None) => {
                    "; which session it is, only a role with pg_read_all_stats may see".to_owned()
                }
            };
            format!("transaction {} has been running{since}{what}", hold.number)
        }
    };
    output.prose(anstyle::Style::new(), "", &text)?;
    output.flush()?;
    Ok(Outcome::Done)
}
