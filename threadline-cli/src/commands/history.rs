//! `threadline history`: what happened to a row.

use anyhow::Result;
use diesel::prelude::*;
use serde::Serialize;
use threadline::retention::{self, ArchivedKind, ArchivedMonth, ArchivedObject, Removed};
use threadline::{
    BaselineVersion, History, HistoryLimit, Op, RecordedBaseline, RowKey, TableName, Version, change_diff,
};

use crate::Outcome;
use crate::database::TrailArgs;
use crate::output::{
    DIM, HEADING, Line, NOTE, Output, OutputArgs, escaped, image_lines, key_text, note, note_within, when,
};
use crate::row::{RowArgs, StoredKeys};

/// Show what happened to a row, newest first
///
/// Each captured change of the row with who made it and why: the columns an update changed, or all columns of an inserted or
/// deleted row. A row that was given another key is followed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline history posts 1
  threadline history members organization_id=7 user_id=42 --limit 5
  threadline history posts 1 --json | jq '.versions[0].before'")]
pub(crate) struct Args {
    #[command(flatten)]
    row: RowArgs,

    /// The newest so many versions
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Paging", conflicts_with = "all")]
    limit: u32,

    /// All versions; a row may have very many
    #[arg(long, help_heading = "Paging")]
    all: bool,

    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    trail: TrailArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    table: &'a TableName,
    key: &'a RowKey,
    #[serde(flatten)]
    history: &'a History<()>,
    /// What retention has removed of the table; `null` for nothing.
    removed: Option<Removed>,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let (mut conn, trail) = args.trail.open()?;
    let table = &args.row.table;
    let key = args.row.key(&mut conn)?;
    let limit = if args.all { HistoryLimit::All } else { HistoryLimit::Newest(args.limit) };
    let history = trail.row_history(&mut conn, table, &key, limit)?;
    let removed = retention::removed(&mut conn, table)?;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Document { table, key: &key, history: &history, removed })?;
        output.flush()?;
        return Ok(Outcome::Done);
    }
    let keys = StoredKeys::of(&mut conn, [table]);
    let mut baselines = history.baselines.iter().peekable();
    for (place, version) in history.versions.iter().enumerate() {
        while let Some(baseline) = baselines.next_if(|baseline| baseline.place <= place) {
            print_baseline(&mut output, baseline)?;
        }
        print(&mut output, table, &key, &keys, version)?;
        if place + 1 < history.versions.len() {
            output.blank()?;
        }
    }
    baselines.try_for_each(|baseline| print_baseline(&mut output, baseline))?;
    output.flush()?;
    if history.versions.is_empty() {
        note("no changes of this row found");
    }
    if history.has_more {
        note("there are older versions; `--limit N` shows more of them, `--all` all");
    }
    if let Some(removed) = removed.filter(|_| !history.has_more) {
        note_within(output.width(), &horizon(table, removed, &archived(&mut conn)));
    }
    Ok(Outcome::Done)
}

/// Where the history of a table begins for lack of what was before.
fn horizon(table: &TableName, removed: Removed, archived: &[String]) -> String {
    let run = match (removed.last_run, removed.last_run_at) {
        (Some(run), Some(at)) => format!(" (the last run that removed any, {run}, ended {})", when(at)),
        (Some(run), None) => format!(" (run {run} is removing more)"),
        _ => String::new(),
    };
    let way_back = match archived {
        [] => String::new(),
        months => {
            let month = if months.len() <= 3 { months.join(" or ") } else { "YYYY_MM".to_owned() };
            format!(
                "; what was archived comes back with `threadline retention restore` {month}, and `threadline retention archives` lists it"
            )
        }
    };
    format!(
        "changes of {} before {} were removed by retention{run}{way_back}",
        table.to_plain(),
        when(removed.before)
    )
}

/// The months an archive has something of that is not in the database; none, too, for a reader who may not know.
fn archived(conn: &mut PgConnection) -> Vec<String> {
    let months = retention::archives(conn).unwrap_or_default();
    let is_away = |month: &ArchivedMonth| {
        let is_open =
            |object: &ArchivedObject| object.kind == ArchivedKind::Part && object.returned_at.is_none();
        !month.in_database || month.objects.iter().any(is_open)
    };
    months.into_iter().filter(is_away).map(|month| month.month).collect()
}

/// What a baseline has of the row, by itself among the changes: it is none.
fn print_baseline(output: &mut Output, version: &BaselineVersion) -> Result<()> {
    if version.gap {
        let text = "! a write after this snapshot escaped capture: the row was not as recorded here";
        output.prose(NOTE, "", text)?;
    }
    let RecordedBaseline { recorded_at, recorded_by, reason, .. } = &version.baseline;
    let label = format!(
        "{}  snapshot recorded by {}, not a change: {}",
        when(*recorded_at),
        escaped(recorded_by),
        escaped(reason)
    );
    output.prose(DIM, "", &label)?;
    match version.state.image() {
        Some(image) => {
            let lines = image_lines(image, 2, output.width());
            lines.iter().try_for_each(|line| output.line(line))?;
        }
        None => output.line(&Line::from("  there was no such row"))?,
    }
    output.blank()?;
    Ok(())
}

fn print(
    output: &mut Output,
    table: &TableName,
    key: &RowKey,
    keys: &StoredKeys,
    version: &Version<()>,
) -> Result<()> {
    if version.gap {
        let text = "! a write after this change escaped capture: the row was not as the change left it";
        output.prose(NOTE, "", text)?;
    }
    let Version { change, transaction, action, before, after, .. } = version;
    output.heading(change.captured_at, change.id.transaction_id, transaction.as_ref(), action.as_ref())?;
    if change.op == Op::Truncate {
        let line = Line::new().plain("  truncate ").styled(HEADING, table.to_plain());
        output.line(&line.plain(format!(" removed {} with all other rows", key_text(Some(key), ""))))?;
        return Ok(());
    }
    let row = if change.op == Op::Delete { before.image() } else { after.image() };
    output.change(&change_diff(table, change, row), keys.key(table, &change.row_key).as_ref())?;
    Ok(())
}
