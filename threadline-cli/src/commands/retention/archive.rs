//! `threadline retention restore` and `release`: archived months, there again for reading and let go.

use anyhow::Result;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use threadline::retention::{self, Release, RestoredMonth};

use super::storage_archive;
use crate::Outcome;
use crate::configuration::ConfigArgs;
use crate::database::DatabaseArgs;
use crate::output::{GOOD, Line, OutputArgs, note, when};

/// Bring an archived month back, for reading
///
/// Its files come from the configured storage, and have to be what the database remembers; all of it comes back or nothing. A month
/// that never left as a whole gets back what had left it. Retention leaves it alone until it is released.
#[derive(clap::Args)]
pub(crate) struct RestoreArgs {
    /// The month, as `2025-01`
    month: String,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Let a restored month go again; the archive keeps it
///
/// The archive is read first: the month stays if it is not there any more, or if something in it is held. A month that never left as
/// a whole, and got back what had left it, is left to the next run of retention. Exit code 1 when transactions are open that may still read it: the next run of retention lets it go, or the same command again.
#[derive(clap::Args)]
pub(crate) struct ReleaseArgs {
    /// The month, as `2025-01`
    month: String,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Serialize)]
struct Restored {
    restored: RestoredMonth,
}

#[derive(Serialize)]
struct Released {
    /// As in all other documents: `2025_01`.
    month: String,
    /// `gone`, `waiting` or `left_to_retention`.
    state: &'static str,
    /// What the disk got back; `null` when the month is still there.
    bytes: Option<u64>,
}

pub(super) fn restore(args: &RestoreArgs) -> Result<Outcome> {
    let mut archive = storage_archive(&args.config.load()?.config)?;
    let mut conn = args.database.connect()?;
    let restored = retention::restore_archive(&mut conn, &mut archive, &args.month)?;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Restored { restored })?;
    } else {
        let changes = HumanCount(restored.changes);
        let line = format!(" {}: {changes} changes up to {}", restored.month, when(restored.to));
        output.line(&Line::new().styled(GOOD, "restored").plain(line))?;
    }
    output.flush()?;
    Ok(Outcome::Done)
}

pub(super) fn release(args: &ReleaseArgs) -> Result<Outcome> {
    let mut archive = storage_archive(&args.config.load()?.config)?;
    let mut conn = args.database.connect()?;
    let (state, bytes) = match retention::release_archive(&mut conn, &mut archive, &args.month)? {
        Release::Gone { bytes } => ("gone", Some(bytes)),
        Release::LeftToRetention => ("left_to_retention", None),
        _ => ("waiting", None),
    };
    let month = args.month.replace('-', "_");
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Released { month, state, bytes })?;
    } else if let Some(bytes) = bytes {
        let line = format!(" {month}, {}", HumanBytes(bytes));
        output.line(&Line::new().styled(GOOD, "released").plain(line))?;
    } else if state == "left_to_retention" {
        let line = format!(
            "released {month} to retention; nothing has gone yet: what is due of it goes by the next run, and to the archive anew if \
             `archive` is set"
        );
        output.prose(GOOD, "", &line)?;
    }
    output.flush()?;
    if state != "waiting" {
        return Ok(Outcome::Done);
    }
    note(
        "transactions are open that may still read the month; the next run of retention lets it go, or this command again",
    );
    Ok(Outcome::FoundSomething)
}
