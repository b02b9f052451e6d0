//! `threadline actions`: what the application said it did.

use anyhow::Result;
use threadline::{ActionStatus, AuditAction};

use crate::Outcome;
use crate::output::{BAD, DIM, GOOD, HEADING, Line, Output, packed, when};
use crate::paging::Removed;
use crate::reading::ReadArgs;

/// List what the application said it did
///
/// Lists recorded actions, also those that failed and those that changed nothing. Of the filter, what asks about changes is
/// refused: table, schema, key, op, column, transaction-correlation-id. Looks at the trail itself, of the category
/// `threadline.access`, are listed where the filter names a category or an action.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline actions --status error --from 1day
  threadline actions --action post.published --actor user:42")]
pub(crate) struct Args {
    #[command(flatten)]
    read: ReadArgs,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let (mut conn, trail) = args.read.trail.open()?;
    let mut output = args.read.output.open();
    let removed = Removed::Entries(trail.removed_actions(&mut conn, &args.read.filter.filter)?);
    args.read.page.walk_beyond(
        Some(removed),
        &mut output,
        "actions",
        |request| trail.actions(&mut conn, &args.read.filter.filter, request),
        |output, entries| entries.iter().try_for_each(|action| print(output, action)),
    )?;
    Ok(Outcome::Done)
}

/// Two or three lines: what and how it ended, why, and where to look on.
pub(super) fn print(output: &mut Output, action: &AuditAction) -> std::io::Result<()> {
    let status = match action.status {
        ActionStatus::Ok => Line::new().styled(GOOD, "ok   "),
        ActionStatus::Error => Line::new().styled(BAD, "error"),
    };
    let who = match (&action.actor_type, &action.actor_id) {
        (Some(actor_type), Some(id)) => format!("{actor_type}:{id}"),
        (Some(actor_type), None) => actor_type.clone(),
        (None, _) => "nobody".to_owned(),
    };
    let line = Line::from(when(action.occurred_at)).plain("  ").and(status).plain("  ");
    output.line(&line.styled(HEADING, &action.name).styled(DIM, " by ").plain(who))?;
    for (called, text) in [("because", &action.reason), ("remark", &action.comment)] {
        if let Some(text) = text {
            output.line(&Line::new().styled(DIM, format!("  {called} ")).plain(text))?;
        }
    }
    let mut pieces = vec![Line::new().styled(DIM, "action ").plain(action.id.to_string())];
    pieces.push(match action.transaction_id {
        Some(id) => Line::new().styled(DIM, "transaction ").plain(id.to_string()),
        None => Line::new().styled(DIM, "recorded on its own"),
    });
    packed(pieces, 2, output.width()).iter().try_for_each(|line| output.line(line))
}
