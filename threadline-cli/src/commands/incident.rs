//! `threadline incident`: one transaction, column by column.

use anyhow::{Result, bail};
use threadline::{IncidentBundle, PageRequest};
use uuid::Uuid;

use crate::Outcome;
use crate::commands::actions;
use crate::database::TrailArgs;
use crate::output::{DIM, Line, NOTE, Output, OutputArgs};
use crate::row::StoredKeys;

/// Show everything one transaction did
///
/// Who, from where and what for, the actions it recorded, and each of its changes column by column, 1,000 at most. Other commands
/// print the ids of transactions.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline incident 019ab3c4-5d6e-7000-8000-0123456789ab
  threadline incident 019ab3c4-5d6e-7000-8000-0123456789ab --json | jq .changes")]
pub(crate) struct Args {
    /// The transaction's id
    #[arg(value_name = "TRANSACTION_ID")]
    id: Uuid,

    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    trail: TrailArgs,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let (mut conn, trail) = args.trail.open()?;
    let Some(incident) = trail.incident_bundle(&mut conn, args.id)? else {
        bail!(
            "the trail has no transaction `{}`; check the id, whether retention has removed it, and `--tenant`",
            args.id
        );
    };
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&incident)?;
    } else {
        let keys = StoredKeys::of(&mut conn, incident.changes.iter().map(|change| &change.table));
        print(&mut output, &incident, &keys)?;
    }
    output.flush()?;
    Ok(Outcome::Done)
}

fn print(output: &mut Output, incident: &IncidentBundle, keys: &StoredKeys) -> std::io::Result<()> {
    let IncidentBundle { id, transaction, actions, changes, has_more, removed, .. } = incident;
    let at = transaction.as_ref().map(|transaction| transaction.occurred_at);
    if let Some(at) = at.or_else(|| Some(changes.first()?.captured_at)) {
        output.heading(at, *id, transaction.as_ref(), None)?;
    }
    if let Some(transaction) = transaction {
        let details = [
            ("client", transaction.remote_addr.as_deref()),
            ("database role", Some(transaction.db_role.as_str())),
            ("database client", transaction.client_addr.as_deref()),
            ("application", transaction.application_name.as_deref().filter(|name| !name.is_empty())),
            ("metadata", transaction.meta.as_ref().map(threadline::Json::as_str)),
        ];
        for (called, value) in details {
            if let Some(value) = value {
                output.line(&Line::new().styled(DIM, format!("  {called} ")).plain(value))?;
            }
        }
    }
    if !actions.is_empty() {
        output.blank()?;
    }
    for action in actions {
        actions::print(output, action)?;
    }
    for change in changes {
        output.blank()?;
        let key = keys.key(&change.table, &change.row_key);
        output.change(change, key.as_ref())?;
    }
    if *removed {
        output.blank()?;
        let text = "! retention has removed other changes of this transaction: these are not all it did";
        output.prose(NOTE, "", text)?;
    }
    if *has_more {
        output.blank()?;
        let text = format!(
            "! these are the first {} changes of more; `threadline export` has them all",
            PageRequest::MAX_SIZE
        );
        output.prose(NOTE, "", &text)?;
    }
    Ok(())
}
