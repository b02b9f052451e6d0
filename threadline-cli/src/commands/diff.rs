//! `threadline diff`: what became of a row, or a table, between two instants.

use anyhow::Result;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde::Serialize;
use threadline::{RowChange, RowDiff, RowKey, TableName, Trail};

use crate::Outcome;
use crate::commands::as_of::{self, End, RowLimit, until_enough};
use crate::database::TrailArgs;
use crate::output::{
    BAD, GOOD, HEADING, Line, Listing, Output, OutputArgs, key_text, note, row_changes, when,
};
use crate::progress::Progress;
use crate::row::{StoredKeys, TableOrRowArgs};
use crate::time;

/// Show what changed in a row, or a table, between two times
///
/// Compares what was there at both: what was changed and changed back does not show, and `threadline history` has every step. Of a
/// table, a row whose key changed is removed under the one and added under the other. Exit code 1 when it is not known what was
/// then; the answer says why.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline diff posts 1 --from 1day
  threadline diff posts --from 2026-11-20 --to 2026-11-21 --all")]
pub(crate) struct Args {
    #[command(flatten)]
    row: TableOrRowArgs,

    /// The earlier time: `2026-11-21T09:30:00Z`, `2026-11-21`, or `2h` for two hours ago
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    from: DateTime<Utc>,

    /// The later time
    #[arg(long, value_name = "TIME", value_parser = time::parse, default_value = "now")]
    to: DateTime<Utc>,

    #[command(flatten)]
    rows: RowLimit,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    trail: TrailArgs,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    key: &'a RowKey,
    #[serde(flatten)]
    diff: &'a RowDiff,
}

#[derive(Clone, Copy, Serialize)]
struct Head<'a> {
    table: &'a TableName,
    from_at: DateTime<Utc>,
    to_at: DateTime<Utc>,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let (mut conn, trail) = args.trail.open()?;
    let head = Head { table: &args.row.table, from_at: args.from, to_at: args.to };
    match args.row.key(&mut conn)? {
        Some(key) => row(args, head, &mut conn, &trail, &key),
        None => table(args, head, &mut conn, &trail),
    }
}

fn row(args: &Args, head: Head<'_>, conn: &mut PgConnection, trail: &Trail, key: &RowKey) -> Result<Outcome> {
    let diff = trail.row_diff(conn, head.table, key, head.from_at, head.to_at)?;
    let is_known = as_of::is_known(&diff.from) && as_of::is_known(&diff.to);
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Row { head, key, diff: &diff })?;
        output.flush()?;
        return Ok(if is_known { Outcome::Done } else { Outcome::FoundSomething });
    }
    let name = format!("{} {}", head.table.to_plain(), key_text(Some(key), ""));
    output.line(&Line::new().styled(HEADING, name))?;
    match &diff.change {
        Some(change) => print(&mut output, "  ", "between the two times", change)?,
        None if is_known => output.line(&Line::from("  no difference"))?,
        None => {
            for (at, answer) in [(head.from_at, &diff.from), (head.to_at, &diff.to)] {
                output.line(&Line::from(format!("as of {}", when(at))))?;
                as_of::print(&mut output, answer)?;
            }
        }
    }
    output.flush()?;
    Ok(if is_known { Outcome::Done } else { Outcome::FoundSomething })
}

fn print(output: &mut Output, indent: &str, name: &str, change: &RowChange) -> std::io::Result<()> {
    let (style, word) = match change {
        RowChange::Added(_) => (GOOD, "added  "),
        RowChange::Removed(_) => (BAD, "removed"),
        RowChange::Changed(_) => (anstyle::Style::new(), "changed"),
    };
    output.line(&Line::from(indent).styled(style, word).styled(HEADING, format!(" {name}")))?;
    row_changes(output, change, indent.len() + 2).iter().try_for_each(|line| output.line(line))
}

fn table(args: &Args, head: Head<'_>, conn: &mut PgConnection, trail: &Trail) -> Result<Outcome> {
    let mut output = args.output.open();
    let progress = Progress::begin(&output, "comparing");
    let (mut listing, mut shown) = (None, 0);
    let keys = StoredKeys::of(conn, [head.table]);
    let has_more = until_enough(|enough| {
        trail.table_diff(conn, head.table, head.from_at, head.to_at, |diff| {
            if !args.rows.allows(shown) {
                return Err(enough());
            }
            shown += 1;
            progress.at(shown);
            let shown = if output.is_json() {
                let listing = match &mut listing {
                    Some(listing) => listing,
                    None => listing.insert(
                        Listing::begin(&mut output, &head, "rows").map_err(threadline::Error::Export)?,
                    ),
                };
                listing.entry(&mut output, &diff)
            } else {
                print(&mut output, "", &keys.text(head.table, &diff.row_key), &diff.change)
            };
            shown.map_err(threadline::Error::Export)
        })
    })?;
    progress.end();
    if output.is_json() {
        let listing = match listing {
            Some(listing) => listing,
            None => Listing::begin(&mut output, &head, "rows")?,
        };
        listing.end(&mut output, &End { has_more })?;
    }
    output.flush()?;
    if shown == 0 && !output.is_json() {
        note("no difference");
    }
    if has_more && !output.is_json() {
        note("more rows differ; `--limit N` shows more of them, `--all` all");
    }
    Ok(Outcome::Done)
}
