//! Changes, grouped by the transaction that made them: when, who, why, and then what.

use std::io;

use anstyle::Style;
use chrono::{DateTime, SecondsFormat, Utc};
use threadline::{ActionStatus, AuditAction, AuditTransaction, ChangeDiff, LinkedChange, Op, RowKey};
use uuid::Uuid;

use super::Output;
use super::style::{BAD, DIM, GOOD, HEADING, NOTE};
use super::text::Line;
use super::values::{Field, field_lines, pieces};

/// To the microsecond, in UTC, in a form the command line takes back.
pub(crate) fn when(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true).replace('T', " ")
}

/// Who did it; where nobody is named, what the database knows.
pub(crate) fn actor(transaction: Option<&AuditTransaction>) -> Line {
    let Some(transaction) = transaction else {
        return Line::new().styled(BAD, "unknown (the transaction is not in the trail)");
    };
    match (&transaction.actor_type, &transaction.actor_id) {
        (Some(actor_type), Some(id)) => Line::new().styled(HEADING, format!("{actor_type}:{id}")),
        (Some(actor_type), None) => Line::new().styled(HEADING, actor_type),
        (None, _) => {
            let program = transaction.application_name.as_deref().filter(|name| !name.is_empty());
            let program = program.map(|name| format!(" with {name}")).unwrap_or_default();
            Line::new()
                .styled(NOTE, "nobody")
                .styled(DIM, format!(" (role {}{program})", transaction.db_role))
        }
    }
}

/// What it was called, and whether it failed.
pub(crate) fn action_name(action: &AuditAction) -> Line {
    match action.status {
        ActionStatus::Ok => Line::new().plain(&action.name),
        ActionStatus::Error => Line::new().plain(&action.name).styled(BAD, " failed"),
    }
}

/// A row's key, as `threadline history` takes it: the value, or `column=value` for each of several columns.
pub(crate) fn key_text(key: Option<&RowKey>, stored: &str) -> String {
    let Some(key) = key else { return stored.to_owned() };
    let parts = key.parts();
    if let [(column, value)] = &parts.iter().collect::<Vec<_>>()[..] {
        // Else it would be read as the value without its beginning.
        let is_like_named = value.strip_prefix(column.as_str()).is_some_and(|rest| rest.starts_with('='));
        return word(&if is_like_named { format!("{column}={value}") } else { (*value).clone() });
    }
    parts.iter().map(|(column, value)| word(&format!("{column}={value}"))).collect::<Vec<_>>().join(" ")
}

/// `text` as one word of a shell's.
fn word(text: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || "-_.:@%+,/=".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Lines of pieces, as many in a line as fit, indented.
pub(crate) fn packed(pieces: Vec<Line>, indent: usize, columns: Option<usize>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = Line::new().plain(" ".repeat(indent));
    for piece in pieces {
        let is_first = line.width() == indent;
        if !is_first && columns.is_some_and(|columns| line.width() + 2 + piece.width() > columns) {
            lines.push(line);
            line = Line::new().plain(" ".repeat(indent)).and(piece);
        } else {
            line = line.plain(if is_first { "" } else { "  " }).and(piece);
        }
    }
    lines.push(line);
    lines
}

impl Output {
    /// When, who and what for; then what the transaction can be found by.
    pub(crate) fn heading(
        &mut self,
        at: DateTime<Utc>,
        id: Uuid,
        transaction: Option<&AuditTransaction>,
        action: Option<&AuditAction>,
    ) -> io::Result<()> {
        let mut pieces = vec![Line::new().styled(HEADING, when(at)), actor(transaction)];
        pieces.extend(action.map(action_name));
        for line in packed(pieces, 0, self.width()) {
            self.line(&line)?;
        }
        if let Some(reason) = action.and_then(|action| action.reason.as_deref()) {
            self.line(&Line::new().styled(DIM, "  because ").plain(reason))?;
        }
        let found_by = |name: &str, value: Option<&String>| {
            value.map(|value| Line::new().styled(DIM, format!("{name} ")).plain(value))
        };
        let mut pieces = vec![Line::new().styled(DIM, "transaction ").plain(id.to_string())];
        if let Some(transaction) = transaction {
            pieces.extend(found_by("request", transaction.request_id.as_ref()));
            pieces.extend(found_by("correlation", transaction.correlation_id.as_ref()));
            pieces.extend(found_by("job", transaction.job_id.as_ref()));
        }
        for line in packed(pieces, 2, self.width()) {
            self.line(&line)?;
        }
        if let Some(problem) = transaction.and_then(|transaction| transaction.context_error.as_deref()) {
            self.line(&Line::new().styled(NOTE, format!("  ! its context was not valid: {problem}")))?;
        }
        Ok(())
    }

    /// What a change did: which row, and each column.
    pub(crate) fn change(&mut self, diff: &ChangeDiff, key: Option<&RowKey>) -> io::Result<()> {
        let line = Line::new().plain("  ").and(operation(diff.op)).plain(" ").and(row(diff, key));
        self.line(&line.styled(DIM, format!("  #{}", diff.id.ordinal)))?;
        for line in field_lines(&Field::of_change(diff), 4, self.width()) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// What a change did, in one line, or a few where it is too narrow; `began` is the time of the heading above it.
    pub(crate) fn change_in_short(
        &mut self,
        diff: &ChangeDiff,
        key: Option<&RowKey>,
        began: DateTime<Utc>,
    ) -> io::Result<()> {
        let mut head = Line::new().plain("  ");
        if diff.captured_at.timestamp() != began.timestamp() {
            head = head.styled(DIM, format!("{} ", diff.captured_at.format("%H:%M:%S")));
        }
        let head = head.and(operation(diff.op)).plain(" ").and(row(diff, key));
        let mut fields = Field::of_change(diff);
        // The key of a row that came or went stands before it already.
        if diff.op != Op::Update {
            let parts = key.map(RowKey::parts).unwrap_or_default();
            fields.retain(|field| !parts.contains_key(field.name()));
        }
        let room = self.width().map(|columns| columns.saturating_sub(IN_SHORT));
        let pieces = pieces(&fields, room);
        let needed: usize = pieces.iter().map(|piece| piece.width() + 2).sum();
        if self.width().is_none_or(|columns| head.width() + needed <= columns) {
            return self.line(&pieces.into_iter().fold(head, |line, piece| line.plain("  ").and(piece)));
        }
        self.line(&head)?;
        let lines = packed(pieces, IN_SHORT, self.width());
        for line in lines.iter().take(MOST_LINES) {
            self.line(line)?;
        }
        if lines.len() > MOST_LINES {
            self.line(
                &Line::new()
                    .styled(DIM, format!("{:IN_SHORT$}… {} lines more", "", lines.len() - MOST_LINES)),
            )?;
        }
        Ok(())
    }
}

/// How far columns stand in below their change, and over how many lines, where a change is shown in short.
const IN_SHORT: usize = 9;
const MOST_LINES: usize = 4;

/// `insert`, `update`, `delete` or `truncate`, all of one width but the last.
fn operation(op: Op) -> Line {
    let style = match op {
        Op::Insert => GOOD,
        Op::Delete | Op::Truncate => BAD,
        _ => Style::new(),
    };
    Line::new().styled(style, format!("{op:<6}"))
}

/// The table and the row's key; the former one too, when it changed.
fn row(diff: &ChangeDiff, key: Option<&RowKey>) -> Line {
    let line = Line::new().styled(HEADING, diff.table.to_plain());
    if diff.op == Op::Truncate {
        return line.styled(DIM, " (all rows)");
    }
    let line = line.plain(format!(" {}", key_text(key, &diff.row_key)));
    match &diff.previous_row_key {
        Some(previous) => line.styled(NOTE, format!(" (was {})", former(key, &diff.row_key, previous))),
        None => line,
    }
}

/// A row's former key, in the spelling of the present one. Which of its values belongs to which column is told by the present
/// key's; where two of those are the same it stays as it is stored, which is taken as an argument, too.
fn former(key: Option<&RowKey>, stored: &str, previous: &str) -> String {
    let read = || {
        let parts = key?.parts();
        let values: Vec<String> = match parts.len() {
            1 => vec![stored.to_owned()],
            _ => serde_json::from_str(stored).ok()?,
        };
        let column_of = |value: &String| {
            let mut columns =
                parts.iter().filter(|(_, part)| *part == value).map(|(column, _)| column.clone());
            columns.next().filter(|_| columns.next().is_none())
        };
        RowKey::stored(&values.iter().map(column_of).collect::<Option<Vec<_>>>()?, previous)
    };
    key_text(read().as_ref(), previous)
}

/// The columns of a row that came to be, is gone, or has changed.
pub(crate) fn row_changes(output: &Output, change: &threadline::RowChange, indent: usize) -> Vec<Line> {
    use threadline::RowChange::{Added, Changed, Removed};
    let fields = match change {
        Added(image) => Field::of_row(image, false),
        Removed(image) => Field::of_row(image, true),
        Changed(columns) => Field::of_columns(columns),
    };
    field_lines(&fields, indent, output.width())
}

/// Prints changes as they come, with a heading whenever another transaction begins.
#[derive(Default)]
pub(crate) struct ChangeGroups {
    last: Option<Uuid>,
    /// The time in the last heading.
    began: DateTime<Utc>,
}

impl ChangeGroups {
    pub(crate) fn print(&mut self, output: &mut Output, entry: &LinkedChange) -> io::Result<()> {
        let id = entry.change.id.transaction_id;
        if self.last != Some(id) {
            if self.last.is_some() {
                output.blank()?;
            }
            output.heading(
                entry.change.captured_at,
                id,
                entry.transaction.as_ref(),
                entry.action.as_ref(),
            )?;
            (self.last, self.began) = (Some(id), entry.change.captured_at);
        }
        output.change_in_short(&entry.diff(), entry.key.as_ref(), self.began)
    }
}
