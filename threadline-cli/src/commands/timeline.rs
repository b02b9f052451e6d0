//! `threadline timeline`: what happened, newest first.

use anyhow::Result;
use serde::Serialize;
use threadline::{Count, TableHorizon};

use crate::Outcome;
use crate::output::{ChangeGroups, Line, note_removed};
use crate::paging::Removed;
use crate::reading::ReadArgs;

/// The changes counted by `--count` unless it is told otherwise.
const MOST_COUNTED: u32 = 1_000_000;

/// Show what happened, newest first
///
/// Lists the captured changes that answer to the filter, under the transactions that made them: when, who, and what for. What is
/// given as a filter has to hold together; of what is given several times, one suffices. Times are UTC.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline timeline --table posts --from 2h
  threadline timeline --actor user:42 --op delete --op truncate
  threadline timeline --table posts --key id=1 --column title
  threadline timeline --from 2026-01-01 --to 2026-12-31 --count
  threadline timeline --all --json")]
pub(crate) struct Args {
    /// Only say how many changes there are
    #[arg(long, conflicts_with_all = ["all", "limit", "cursor", "oldest_first"])]
    count: bool,

    #[command(flatten)]
    read: ReadArgs,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let (mut conn, trail) = args.read.trail.open()?;
    let mut output = args.read.output.open();
    let filter = &args.read.filter.filter;
    if args.count {
        #[derive(Serialize)]
        struct Counted {
            counted: u64,
            capped: bool,
            removed: Vec<TableHorizon>,
        }
        let count = trail.count(&mut conn, filter, MOST_COUNTED)?;
        let Count { counted, capped } = count;
        let removed = trail.removed(&mut conn, filter)?;
        if output.is_json() {
            output.document(&Counted { counted, capped, removed })?;
            output.flush()?;
        } else {
            output.line(&Line::from(count.to_string()))?;
            output.flush()?;
            note_removed(&removed);
        }
        return Ok(Outcome::Done);
    }
    let mut groups = ChangeGroups::default();
    let removed = Some(Removed::Changes(trail.removed(&mut conn, filter)?));
    args.read.page.walk_beyond(
        removed,
        &mut output,
        "changes",
        |request| trail.timeline_page(&mut conn, filter, request),
        |output, entries| entries.iter().try_for_each(|entry| groups.print(output, entry)),
    )?;
    Ok(Outcome::Done)
}
