//! `threadline actor`: what somebody did.

use anyhow::{Result, anyhow};
use threadline::{Actor, ActorId, LinkedTransaction};

use crate::Outcome;
use crate::output::ChangeGroups;
use crate::paging::Removed;
use crate::reading::ReadArgs;

/// Show what somebody did
///
/// Lists the changes an actor made, or with `--transactions` the transactions, also those that only recorded an action.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline actor user:42 --from 1day
  threadline actor job:search-index --table posts
  threadline actor anonymous --transactions")]
pub(crate) struct Args {
    /// Who, as `user:42`; types are user, admin, service_account, job, system, and anonymous without an id
    #[arg(value_name = "TYPE[:ID]", value_parser = parse)]
    who: Actor,

    /// List transactions instead of changes; of the filter, takes `--from` and `--to`
    #[arg(long)]
    transactions: bool,

    #[command(flatten)]
    read: ReadArgs,
}

/// `user:42`, `anonymous`.
pub(super) fn parse(text: &str) -> Result<Actor> {
    let (actor_type, id) = match text.split_once(':') {
        Some((actor_type, id)) => (actor_type, Some(id)),
        None => (text, None),
    };
    let read = || Actor::new(actor_type.parse()?, id.map(ActorId::try_from).transpose()?);
    read().map_err(|error: threadline::InvalidContext| anyhow!("{}", error.problems().join("; ")))
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let (mut conn, trail) = args.read.trail.open()?;
    let mut output = args.read.output.open();
    let filter = &args.read.filter.filter;
    if !args.transactions {
        let mut groups = ChangeGroups::default();
        let removed = Some(Removed::Changes(trail.removed(&mut conn, filter)?));
        args.read.page.walk_beyond(
            removed,
            &mut output,
            "changes",
            |request| trail.actor_window(&mut conn, &args.who, filter, request),
            |output, entries| entries.iter().try_for_each(|entry| groups.print(output, entry)),
        )?;
        return Ok(Outcome::Done);
    }
    let removed = Removed::Entries(trail.removed_transactions(&mut conn, filter)?);
    args.read.page.walk_beyond(
        Some(removed),
        &mut output,
        "transactions",
        |request| trail.actor_history(&mut conn, &args.who, filter, request),
        |output, entries| {
            entries.iter().try_for_each(|LinkedTransaction { transaction, action, .. }| {
                output.heading(transaction.occurred_at, transaction.id, Some(transaction), action.as_ref())
            })
        },
    )?;
    Ok(Outcome::Done)
}
