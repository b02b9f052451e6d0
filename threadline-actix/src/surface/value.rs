//! Stored values as they are shown: what they are is told apart from what they say.

use chrono_tz::Tz;
use threadline::{FieldValue, Json, is_unseen};

use super::moment;

/// A value on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) kind: Kind,
    /// What it says, with nothing in it that a browser would obey.
    pub(super) text: String,
    /// Whether `text` is the beginning of more.
    pub(super) cut: bool,
    /// Of an instant, which `text` has on the reader's clock: how it is stored.
    pub(super) stored: Option<String>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bool,
    Time,
    Json,
    Empty,
    Null,
    Masked,
    Absent,
    Unknown,
}

impl Kind {
    /// The class of the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Time => "time",
            Self::Json => "json",
            Self::Empty => "empty",
            Self::Null => "null",
            Self::Masked => "masked",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
        }
    }

    /// What it means, for who points at it or has it read aloud; nothing where the value speaks for itself.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Empty => "A text without characters",
            Self::Null => "No value (SQL NULL)",
            Self::Masked => "Masked: the trail never had the value",
            Self::Absent => "There was no row",
            Self::Unknown => "The trail does not have this value",
            _ => "",
        }
    }
}

impl Value {
    /// The whole value, up to `most` characters; instants on the clock of `zone`.
    pub(super) fn new(value: &FieldValue, most: usize, zone: Tz) -> Self {
        match value {
            FieldValue::Known(json) => Self::known(json, most, zone),
            FieldValue::Masked(_) => Self::word(Kind::Masked, "masked"),
            FieldValue::Absent => Self::word(Kind::Absent, "no row"),
            FieldValue::Unknown => Self::word(Kind::Unknown, "not captured"),
        }
    }

    pub(super) fn known(json: &Json, most: usize, zone: Tz) -> Self {
        let text = json.as_str();
        match text.as_bytes().first() {
            _ if json.is_null() => Self::word(Kind::Null, "null"),
            Some(b'"') => match serde_json::from_str::<String>(text) {
                Ok(text) if text.is_empty() => Self::word(Kind::Empty, "empty"),
                Ok(text) => match moment::stored(&text, zone) {
                    Some(clock) => Self { stored: Some(text), ..Self::word(Kind::Time, &clock) },
                    None => Self::cut(Kind::Text, &text, most),
                },
                Err(_) => Self::cut(Kind::Json, text, most),
            },
            Some(b'{' | b'[') => Self::cut(Kind::Json, text, most),
            Some(b't' | b'f') => Self::cut(Kind::Bool, text, most),
            _ => Self::cut(Kind::Number, text, most),
        }
    }

    /// An instant to the second, for a line that has little room.
    pub(super) fn short(mut self) -> Self {
        if self.kind == Kind::Time {
            self.text = moment::to_the_second(&self.text);
        }
        self
    }

    /// What more there is to say, for who points at it or has it read aloud.
    pub(super) fn title(&self) -> &str {
        self.stored.as_deref().unwrap_or(self.kind.title())
    }

    fn word(kind: Kind, text: &str) -> Self {
        Self { kind, text: text.to_owned(), cut: false, stored: None }
    }

    fn cut(kind: Kind, text: &str, most: usize) -> Self {
        let end = text.char_indices().nth(most).map(|(at, _)| at);
        Self { kind, text: shown(end.map_or(text, |end| &text[..end])), cut: end.is_some(), stored: None }
    }
}

/// The text with characters that nobody sees made visible, control characters and those that turn the direction of writing
/// among them: nothing stored can make a page read otherwise than it is.
pub(super) fn shown(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    let mut last = None;
    for c in text.chars() {
        // As a picture or as text: it belongs to what stands before it, which is no letter.
        let is_of_emoji = matches!(c, '\u{fe0e}' | '\u{fe0f}')
            && last.is_some_and(|last: char| !last.is_alphanumeric() && !last.is_ascii() && !is_unseen(last));
        match c {
            '\n' | '\t' => visible.push(c),
            c if is_unseen(c) && !is_of_emoji => {
                visible.push_str(&format!("\u{2039}U+{:04X}\u{203a}", u32::from(c)));
            }
            c => visible.push(c),
        }
        last = Some(c);
    }
    visible
}
