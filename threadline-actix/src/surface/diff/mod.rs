//! What a change did to each column, for people: texts by words, JSON by path, lists by element.

mod reading;
mod structure;
mod words;

use chrono_tz::Tz;
use threadline::{ChangeDiff, FieldChange, FieldDiff, FieldValue, Json, Op};

pub(super) use self::reading::Reading;
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
    /// Both sides whole, where what they have in common is not all shown.
    pub(super) whole: Option<(Cell, Cell)>,
}

/// One side.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) kind: Kind,
    pub(super) pieces: Vec<Piece>,
    /// What is folded away of a long value.
    pub(super) rest: Option<Rest>,
    /// As in [`Value`].
    pub(super) stored: Option<String>,
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
pub(super) fn fields(diff: &ChangeDiff, reading: Reading<'_>) -> Vec<FieldView> {
    let view = |field: &FieldDiff| FieldView::new(&field.name, &field.before, &field.after, reading);
    diff.fields.iter().map(view).collect()
}

/// What the change did.
pub(super) fn badge(op: Op) -> Badge {
    Badge::of(op)
}

impl FieldView {
    /// A column on both sides.
    pub(super) fn new(name: &str, before: &FieldValue, after: &FieldValue, reading: Reading<'_>) -> Self {
        if let (FieldValue::Known(before), FieldValue::Known(after)) = (before, after) {
            return Self::both(shown(name), before, after, reading);
        }
        let side = |value: &FieldValue| {
            (!matches!(value, FieldValue::Absent)).then(|| Cell::whole(value, reading.zone))
        };
        Self { before: side(before), after: side(after), ..Self::named(shown(name)) }
    }

    fn named(name: String) -> Self {
        Self { name, before: None, after: None, paths: Vec::new(), whole: None }
    }

    /// A column between two instants.
    pub(super) fn of_change(name: &str, change: &FieldChange, reading: Reading<'_>) -> Self {
        let side = |json: &Json| {
            if change.masked { FieldValue::Masked(json.clone()) } else { FieldValue::Known(json.clone()) }
        };
        Self::new(name, &side(&change.before), &side(&change.after), reading)
    }

    fn both(name: String, before: &Json, after: &Json, reading: Reading<'_>) -> Self {
        let known = |json: &Json| Cell::whole(&FieldValue::Known(json.clone()), reading.zone);
        let (old, new) = (known(before), known(after));
        // An instant is compared as it is shown, on the reader's clock.
        let text = |json: &Json, cell: &Cell| match cell.kind {
            Kind::Time => cell.pieces.first().map(|piece| piece.text.clone()),
            _ => serde_json::from_str::<String>(json.as_str()).ok(),
        };
        if old.kind == new.kind
            && let (Some(before), Some(after)) = (text(before, &old), text(after, &new))
            && let Some(words::Compared { before, after, whole }) =
                reading.compare(|until| words::compared(&before, &after, until))
        {
            let marked = |cell: Cell, pieces| Cell { pieces, rest: None, ..cell };
            let whole =
                whole.map(|(before, after)| (marked(old.clone(), before), marked(new.clone(), after)));
            let (before, after) = (Some(marked(old, before)), Some(marked(new, after)));
            return Self { before, after, whole, ..Self::named(name) };
        }
        let paths = reading.compare(|until| structure::compared(before, after, until)).unwrap_or_default();
        Self { before: Some(old), after: Some(new), paths, ..Self::named(name) }
    }
}

impl Cell {
    /// A value by itself.
    pub(super) fn whole(value: &FieldValue, zone: Tz) -> Self {
        let Value { kind, text, cut, stored } = Value::new(value, AT_ONCE, zone);
        let rest = match value {
            FieldValue::Known(json) if cut => Some(Rest::of(kind, json)),
            _ => None,
        };
        Self { kind, pieces: vec![Piece { mark: Mark::Same, text }], rest, stored }
    }

    /// As in [`Value`].
    pub(super) fn title(&self) -> &str {
        self.stored.as_deref().unwrap_or(self.kind.title())
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
