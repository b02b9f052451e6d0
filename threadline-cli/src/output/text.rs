//! Text for a terminal: nothing in it can steer the terminal, and it is cut where the line ends.

use std::fmt::Write as _;

use anstyle::Style;
use threadline::is_unseen;
use unicode_width::UnicodeWidthChar;

/// `text` with every character that a terminal obeys, or that hides or turns around its neighbours, written as `\u{…}`.
///
/// A trail holds what strangers typed. Without this, a title could clear the screen or show another one in its place.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            character if is_unseen(character) => {
                write!(safe, "\\u{{{:x}}}", u32::from(character))
                    .expect("a String takes whatever is written");
            }
            character => safe.push(character),
        }
    }
    safe
}

/// JSON text with such characters as `\uXXXX`, which says the same: they can stand in strings only.
pub(crate) fn escaped_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        // Between its strings a document may have line breaks.
        if is_unseen(character) && character != '\n' {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(safe, "\\u{unit:04x}").expect("a String takes whatever is written");
            }
        } else {
            safe.push(character);
        }
    }
    safe
}

/// TOML with such characters as `\\uXXXX` or `\\UXXXXXXXX`, which says the same: they can stand in texts only.
pub(crate) fn escaped_toml(toml: &str) -> String {
    let mut safe = String::with_capacity(toml.len());
    for character in toml.chars() {
        match u32::from(character) {
            _ if !is_unseen(character) || character == '\n' => safe.push(character),
            code @ ..=0xffff => safe.push_str(&format!("\\u{code:04x}")),
            code => safe.push_str(&format!("\\U{code:08x}")),
        }
    }
    safe
}

/// Columns of a terminal that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

/// As much of `text` as `columns` have room for, the last of them an ellipsis when something is missing.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let mut kept = String::new();
    for character in text.chars() {
        let needed = character.width().unwrap_or(0);
        if needed > left {
            break;
        }
        left -= needed;
        kept.push(character);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

impl<T: AsRef<str>> From<T> for Line {
    fn from(text: T) -> Self {
        Self::new().plain(text)
    }
}

/// A line of pieces, each in its style. What is pushed is escaped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Vec<(Style, String)>);

impl Line {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn plain(self, text: impl AsRef<str>) -> Self {
        self.styled(Style::new(), text)
    }

    pub(crate) fn styled(mut self, style: Style, text: impl AsRef<str>) -> Self {
        self.0.push((style, escaped(text.as_ref())));
        self
    }

    /// The pieces of another line after these.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Its pieces, escaped, without their styles.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| width(text)).sum()
    }

    /// As much of it as `columns` have room for, the last of them an ellipsis when something is missing.
    pub(crate) fn cut(&self, columns: usize) -> Self {
        if self.width() <= columns {
            return self.clone();
        }
        let mut kept = Self::new();
        let mut left = columns;
        for (style, text) in &self.0 {
            let needed = width(text);
            if needed >= left {
                // Something is missing, if only a later piece.
                kept.0.push((*style, cut(&format!("{text}……"), left)));
                break;
            }
            left -= needed;
            kept.0.push((*style, text.clone()));
        }
        kept
    }

    /// The same with spaces behind it, `columns` wide.
    pub(crate) fn padded(self, columns: usize) -> Self {
        let missing = columns.saturating_sub(self.width());
        self.plain(" ".repeat(missing))
    }

    /// As a terminal shows it, cut to `columns` if there are so many only.
    pub(crate) fn rendered(&self, columns: Option<usize>, color: bool) -> String {
        let line = columns.map_or_else(|| self.clone(), |columns| self.cut(columns));
        let mut rendered = String::new();
        for (style, text) in &line.0 {
            if color && *style != Style::new() && !text.is_empty() {
                rendered.push_str(&format!("{style}{text}{style:#}"));
            } else {
                rendered.push_str(text);
            }
        }
        rendered.trim_end().to_owned()
    }
}

/// Lines of whole words, each behind `indent`; a word that is wider than `columns` has a line of its own.
pub(super) fn wrapped(indent: &str, text: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut line, mut is_first) = (Vec::new(), indent.to_owned(), true);
    for word in text.split(' ') {
        if !is_first && width(&line) + 1 + width(word) > columns {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
        } else if !is_first {
            line.push(' ');
        }
        line.push_str(word);
        is_first = false;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert_eq!(
            escaped("a\u{1b}[2J\u{9b}31m\u{202e}b\u{7f}\nc"),
            r"a\u{1b}[2J\u{9b}31m\u{202e}b\u{7f}\nc"
        );
        assert_eq!(escaped("Grüße, 世界 👍"), "Grüße, 世界 👍");
    }

    #[test]
    fn json_means_the_same_once_escaped() {
        for text in ["a\u{9b}b\u{7f}", "\u{202e}x", "\u{e0041}", "plain"] {
            let json = serde_json::to_string(&[text]).expect("a text serializes");
            let safe = escaped_json(&json);
            assert!(!safe.chars().any(is_unseen), "{safe:?}");
            assert_eq!(serde_json::from_str::<Vec<String>>(&safe).expect("still JSON"), [text]);
            let safe = escaped_toml(&format!("text = {json}\n"));
            let read: toml::Table = toml::from_str(&safe).expect("still TOML");
            assert_eq!(read["text"].as_array().expect("a list")[0].as_str(), Some(text));
        }
    }

    #[test]
    fn a_cut_counts_columns_and_not_bytes() {
        assert_eq!(cut("世界和平", 8), "世界和平");
        assert_eq!(cut("世界和平", 7), "世界和…");
        assert_eq!(cut("世界和平", 6), "世界…");
        assert_eq!(cut("abc", 0), "");
        let line = Line::new().plain("abc").plain("def");
        for columns in 0..8 {
            let shown = line.rendered(Some(columns), false);
            assert!(width(&shown) <= columns, "{shown} in {columns}");
            assert_eq!(shown.ends_with('…'), (1..6).contains(&columns), "{shown} in {columns}");
        }
    }
}
