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
/// a whole, and got back what had left it, is left to the next run of retention; how much of it a hold keeps is said. Exit code 1 when transactions are open that may still read it: the next run of retention lets it go, or the same command again.
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
    /// How many changes a month that is left to retention has; `null` of any other.
    changes: Option<u64>,
    /// How many of these stay for a hold.
    held_changes: Option<u64>,
    /// The holds it is under.
    holds: Vec<i64>,
}

impl Released {
    fn of(month: String, release: Release) -> Self {
        let gone =
            Self { month, state: "gone", bytes: None, changes: None, held_changes: None, holds: Vec::new() };
        match release {
            Release::Gone { bytes } => Self { bytes: Some(bytes), ..gone },
            Release::LeftToRetention { changes, held_changes, holds } => Self {
                state: "left_to_retention",
                changes: Some(changes),
                held_changes: Some(held_changes),
                holds,
                ..gone
            },
            _ => Self { state: "waiting", ..gone },
        }
    }

    /// What was let go of a month that is left to retention, and what stays.
    fn told(&self) -> String {
        let month = &self.month;
        let (changes, held) = (self.changes.unwrap_or_default(), self.held_changes.unwrap_or_default());
        let mut told = format!(
            "released {month} to retention; nothing has gone yet: of its {} changes {} go by the next run that finds them due, and to \
             the archive anew if `archive` is set",
            HumanCount(changes),
            HumanCount(changes.saturating_sub(held))
        );
        if !self.holds.is_empty() {
            let holds: Vec<String> = self.holds.iter().map(i64::to_string).collect();
            let holding = if holds.len() == 1 { "hold" } else { "holds" };
            let stays = format!("; {} stay under {holding} {}", HumanCount(held), holds.join(", "));
            told.push_str(&stays);
        }
        told
    }
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
    let release = retention::release_archive(&mut conn, &mut archive, &args.month)?;
    let released = Released::of(args.month.replace('-', "_"), release);
    let is_waiting = released.state == "waiting";
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&released)?;
    } else if let Some(bytes) = released.bytes {
        let line = format!(" {}, {}", released.month, HumanBytes(bytes));
        output.line(&Line::new().styled(GOOD, "released").plain(line))?;
    } else if !is_waiting {
        output.prose(GOOD, "", &released.told())?;
    }
    output.flush()?;
    if !is_waiting {
        return Ok(Outcome::Done);
    }
    note(
        "transactions are open that may still read the month; the next run of retention lets it go, or this command again",
    );
    Ok(Outcome::FoundSomething)
}
