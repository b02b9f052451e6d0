//! `threadline correlation`: what belongs together.

use anyhow::Result;

use crate::Outcome;
use crate::output::{ChangeGroups, note};
use crate::paging::Removed;
use crate::reading::ReadArgs;

/// Show what belongs to a correlation id
///
/// Lists the changes of transactions in which an action with this correlation id was recorded. Changes of transactions that had the
/// id and recorded no action are found by `threadline timeline --transaction-correlation-id`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline correlation import-7
  threadline correlation import-7 --table posts --oldest-first")]
pub(crate) struct Args {
    /// The correlation id, as the application gave it
    #[arg(value_name = "ID")]
    correlation: String,

    #[command(flatten)]
    read: ReadArgs,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let (mut conn, trail) = args.read.trail.open()?;
    let mut output = args.read.output.open();
    let (mut groups, mut is_empty) = (ChangeGroups::default(), true);
    let removed = Some(Removed::Changes(trail.removed(&mut conn, &args.read.filter.filter)?));
    args.read.page.walk_beyond(
        removed,
        &mut output,
        "changes",
        |request| {
            let page =
                trail.correlation_bundle(&mut conn, &args.correlation, &args.read.filter.filter, request)?;
            is_empty &= page.entries.is_empty();
            Ok(page)
        },
        |output, entries| entries.iter().try_for_each(|entry| groups.print(output, entry)),
    )?;
    if is_empty && !args.read.output.is_json() {
        note(
            "transactions without an action are found by `threadline timeline --transaction-correlation-id`",
        );
    }
    Ok(Outcome::Done)
}
