//! What a change did to each column, for people: texts by words, JSON by path, lists by element.

mod structure;
mod words;

use threadline::{ChangeDiff, FieldChange, FieldDiff, FieldValue, Json, Op};

pub(super) use self::structure::PathChange;
use super::entry::Badge;
use super::value::{Kind, Value, shown};

/// A column on both sides of a change.
#[derive(Clone, Debug)]
pub(super) struct FieldView {
    pub(super) name: String,
    /// `None` where there was no row.
    pub(super) before: Option<Cell>,
    /// `None` where there is none any more.
    pub(super) after: Option<Cell>,
    /// For JSON on both sides, what differs within it; the sides themselves are folded away then.
    pub(super) paths: Vec<PathChange>,
}

/// One side.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) kind: Kind,
    pub(super) pieces: Vec<Piece>,
    /// What is folded away of a long value.
    pub(super) rest: Option<Rest>,
}

/// A stretch of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) mark: Mark,
    pub(super) text: String,
}

/// Whether a stretch is on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Same,
    /// On this side alone.
    Only,
    /// A long stretch on both sides; the text says how long.
    Folded,
}

/// The rest of a long value.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    pub(super) text: String,
    /// Characters of the whole value.
    pub(super) characters: usize,
    /// Characters that are not in the page at all.
    pub(super) left_out: usize,
}

/// Characters of a value that are shown at once.
const AT_ONCE: usize = 400;

/// Characters of a value that are in the page at all, folded away.
const AT_MOST: usize = 20_000;

/// The columns of a change.
pub(super) fn fields(diff: &ChangeDiff) -> Vec<FieldView> {
    diff.fields.iter().map(FieldView::new).collect()
}

/// What the change did.
pub(super) fn badge(op: Op) -> Badge {
    Badge::of(op)
}

impl FieldView {
    fn new(field: &FieldDiff) -> Self {
        let name = shown(&field.name);
        if let (FieldValue::Known(before), FieldValue::Known(after)) = (&field.before, &field.after) {
            return Self::both(name, before, after);
        }
        let side = |value: &FieldValue| (!matches!(value, FieldValue::Absent)).then(|| Cell::whole(value));
        Self { name, before: side(&field.before), after: side(&field.after), paths: Vec::new() }
    }

    /// A column between two instants.
    pub(super) fn of_change(name: &str, change: &FieldChange) -> Self {
        let side = |json: &Json| {
            if change.masked { FieldValue::Masked(json.clone()) } else { FieldValue::Known(json.clone()) }
        };
        let (before, after) = (side(&change.before), side(&change.after));
        match (&before, &after) {
            (FieldValue::Known(before), FieldValue::Known(after)) => Self::both(shown(name), before, after),
            _ => Self {
                name: shown(name),
                before: Some(Cell::whole(&before)),
                after: Some(Cell::whole(&after)),
                paths: Vec::new(),
            },
        }
    }

    fn both(name: String, before: &Json, after: &Json) -> Self {
        let texts = |json: &Json| serde_json::from_str::<String>(json.as_str()).ok();
        if let (Some(old), Some(new)) = (texts(before), texts(after))
            && let Some((before, after)) = words::compared(&old, &new)
        {
            return Self { name, before: Some(before), after: Some(after), paths: Vec::new() };
        }
        let paths = structure::compared(before, after).unwrap_or_default();
        let known = |json: &Json| Some(Cell::whole(&FieldValue::Known(json.clone())));
        Self { name, before: known(before), after: known(after), paths }
    }
}

impl Cell {
    /// A value by itself.
    pub(super) fn whole(value: &FieldValue) -> Self {
        let Value { kind, text, cut } = Value::new(value, AT_ONCE);
        let rest = match value {
            FieldValue::Known(json) if cut => Some(Rest::of(kind, json)),
            _ => None,
        };
        Self { kind, pieces: vec![Piece { mark: Mark::Same, text }], rest }
    }
}

impl Rest {
    fn of(kind: Kind, json: &Json) -> Self {
        let decoded;
        let text = match kind {
            Kind::Json | Kind::Number | Kind::Bool => json.as_str(),
            _ => {
                decoded = serde_json::from_str::<String>(json.as_str()).unwrap_or_default();
                &decoded
            }
        };
        let characters = text.chars().count();
        let tail: String = text.chars().skip(AT_ONCE).take(AT_MOST - AT_ONCE).collect();
        Self { text: shown(&tail), characters, left_out: characters.saturating_sub(AT_MOST) }
    }
}

impl Mark {
    /// The class of the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Only => "only",
            Self::Folded => "folded",
        }
    }
}
