//! Values of columns, and what became of them.

use std::collections::BTreeMap;

use threadline::{ChangeDiff, FieldChange, FieldValue, Json, RowImage};

use super::style::{BAD, DIM, GOOD, NOTE};
use super::text::{Line, cut, escaped, width};

/// What stands for a masked value: the placeholder is the host's choice and looks like any other text.
const MASKED: &str = "<masked>";
const UNKNOWN: &str = "<unknown>";

/// A column on both sides of something.
pub(crate) struct Field {
    name: String,
    before: FieldValue,
    after: FieldValue,
}

impl Field {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What a change did.
    pub(crate) fn of_change(diff: &ChangeDiff) -> Vec<Self> {
        let fields = diff.fields.iter();
        fields
            .map(|field| Self {
                name: field.name.clone(),
                before: field.before.clone(),
                after: field.after.clone(),
            })
            .collect()
    }

    /// A row that came to be, or one that is gone.
    pub(crate) fn of_row(image: &RowImage, is_gone: bool) -> Vec<Self> {
        let of = |name: &String| {
            let (before, after) = (FieldValue::Absent, known(image, name));
            let (before, after) = if is_gone { (after, before) } else { (before, after) };
            Self { name: name.clone(), before, after }
        };
        image.columns.keys().map(of).collect()
    }

    /// What differs.
    pub(crate) fn of_columns(columns: &BTreeMap<String, FieldChange>) -> Vec<Self> {
        let of = |(name, field): (&String, &FieldChange)| {
            let side = |json: &Json| match field.masked {
                true => FieldValue::Masked(json.clone()),
                false => FieldValue::Known(json.clone()),
            };
            Self { name: name.clone(), before: side(&field.before), after: side(&field.after) }
        };
        columns.iter().map(of).collect()
    }
}

/// A value as JSON writes it, and NULL as SQL does.
fn value(json: &Json) -> String {
    if json.is_null() { "NULL".to_owned() } else { json.as_str().to_owned() }
}

fn piece(side: &FieldValue) -> (anstyle::Style, String) {
    match side {
        FieldValue::Known(json) if json.is_null() => (DIM, value(json)),
        FieldValue::Known(json) => (anstyle::Style::new(), value(json)),
        FieldValue::Masked(_) => (NOTE, MASKED.to_owned()),
        FieldValue::Absent => (DIM, String::new()),
        FieldValue::Unknown => (NOTE, UNKNOWN.to_owned()),
    }
}

/// `before → after`, each shortened so that both can be told when there are only so many columns; an absent side is left out.
fn both(before: &FieldValue, after: &FieldValue, columns: Option<usize>) -> Line {
    let ((before_style, before), (after_style, after)) = (piece(before), piece(after));
    let (before, after) = (escaped(&before), escaped(&after));
    if before.is_empty() || after.is_empty() {
        let (style, text) = if before.is_empty() { (after_style, after) } else { (before_style, before) };
        return Line::new().styled(style, text);
    }
    let (mut before, mut after) = (before, after);
    if let Some(columns) = columns {
        let room = columns.saturating_sub(3);
        let half = room / 2;
        let (needs, other) = (width(&before), width(&after));
        if needs + other > room {
            let before_room = if other <= half { room - other } else { needs.min(half) };
            before = cut(&before, before_room);
            after = cut(&after, room - width(&before));
        }
    }
    // Escaped once is enough: what is left has nothing more to be escaped.
    Line::new().styled(before_style, before).styled(DIM, " → ").styled(after_style, after)
}

/// One line a column: its name, and what it was and became. `indent` columns stay free in front.
pub(crate) fn field_lines(fields: &[Field], indent: usize, columns: Option<usize>) -> Vec<Line> {
    let names: Vec<String> = fields.iter().map(|field| escaped(&field.name)).collect();
    let longest = names.iter().map(|name| width(name)).max().unwrap_or(0).min(30);
    let lines = fields.iter().zip(names).map(|(field, name)| {
        let (sign, style) = match (&field.before, &field.after) {
            (FieldValue::Absent, _) => ("+ ", GOOD),
            (_, FieldValue::Absent) => ("- ", BAD),
            _ => ("", DIM),
        };
        let padding = " ".repeat(longest.saturating_sub(width(&name)) + 2);
        let head = Line::new().plain(" ".repeat(indent)).styled(style, sign).plain(name).plain(padding);
        let left = columns.map(|columns| columns.saturating_sub(head.width()));
        head.and(both(&field.before, &field.after, left))
    });
    lines.collect()
}

/// Each column as `title "Draft" → "Final"`, no wider than a line.
pub(crate) fn pieces(fields: &[Field], columns: Option<usize>) -> Vec<Line> {
    let pieces = fields.iter().map(|field| {
        let name = Line::new().styled(DIM, format!("{} ", field.name));
        let left = columns.map(|columns| columns.saturating_sub(name.width()));
        let values = both(&field.before, &field.after, left);
        let piece = name.and(values);
        columns.map_or(piece.clone(), |columns| piece.cut(columns))
    });
    pieces.collect()
}

/// A row's columns, one a line, as they were at an instant.
pub(crate) fn image_lines(image: &RowImage, indent: usize, columns: Option<usize>) -> Vec<Line> {
    let longest = image.columns.keys().map(|name| width(&escaped(name))).max().unwrap_or(0).min(30);
    let lines = image.columns.keys().map(|name| {
        let padding = " ".repeat(longest.saturating_sub(width(&escaped(name))) + 2);
        let (style, text) = piece(&known(image, name));
        let head = Line::new().plain(" ".repeat(indent)).styled(DIM, name).plain(padding);
        let left = columns.map_or(usize::MAX, |columns| columns.saturating_sub(head.width()));
        head.styled(style, cut(&escaped(&text), left))
    });
    lines.collect()
}

/// A column of a row.
pub(crate) fn known(image: &RowImage, column: &str) -> FieldValue {
    match image.columns.get(column) {
        None => FieldValue::Absent,
        Some(json) if image.masked.contains(column) => FieldValue::Masked(json.clone()),
        Some(json) => FieldValue::Known(json.clone()),
    }
}

/// A column of a row, as one cell.
pub(crate) fn cell(image: &RowImage, column: &str) -> Line {
    let (style, text) = piece(&known(image, column));
    Line::new().styled(style, text)
}
