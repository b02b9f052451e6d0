//! `threadline correlation`: what belongs together.

use anyhow::Result;

use crate::Outcome;
use crate::database::TrailArgs;
use crate::filter::FilterArgs;
use crate::output::{ChangeGroups, OutputArgs, note};
use crate::paging::PageArgs;

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
    filter: FilterArgs,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    trail: TrailArgs,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let (mut conn, trail) = args.trail.open()?;
    let mut output = args.output.open();
    let (mut groups, mut is_empty) = (ChangeGroups::default(), true);
    let removed = Some(trail.removed(&mut conn, &args.filter.filter)?);
    args.page.walk_beyond(
        removed,
        &mut output,
        "changes",
        |request| {
            let page =
                trail.correlation_bundle(&mut conn, &args.correlation, &args.filter.filter, request)?;
            is_empty &= page.entries.is_empty();
            Ok(page)
        },
        |output, entries| entries.iter().try_for_each(|entry| groups.print(output, entry)),
    )?;
    if is_empty && !args.output.is_json() {
        note(
            "transactions without an action are found by `threadline timeline --transaction-correlation-id`",
        );
    }
    Ok(Outcome::Done)
}
