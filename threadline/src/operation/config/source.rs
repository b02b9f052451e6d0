//! The text of a configuration while it is read: where things stand in it, and what was found wrong.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Problem;

/// A file's text, the lines of its keys, and the problems found so far.
pub(super) struct Source<'t> {
    text: &'t str,
    lines: BTreeMap<String, usize>,
    problems: Vec<Problem>,
}

/// The path of a key below another one's, quoted where TOML would.
pub(super) fn key_path(path: &str, key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let key = if is_bare { key.to_owned() } else { quoted(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A text as TOML takes it, for values and keys alike: JSON escapes the same way, but for one character.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

impl<'t> Source<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, lines: BTreeMap::new(), problems: Vec::new() }
    }

    fn line(&self, place: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..place.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Says where the value of a key stands, for what is found wrong with it later.
    pub(super) fn stands(&mut self, path: &str, place: &Range<usize>) {
        self.lines.insert(path.to_owned(), self.line(place));
    }

    pub(super) fn report(
        &mut self,
        place: Option<Range<usize>>,
        path: &str,
        wrong: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let line = place.map(|place| self.line(&place));
        self.problems.push(Problem {
            line,
            key: path.to_owned(),
            wrong: wrong.into(),
            allowed: allowed.into(),
        });
    }

    /// What kind of value there is instead of the one that is asked for.
    pub(super) fn wrong_kind(&mut self, path: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let kind = match value.get_ref() {
            DeValue::String(_) => "is a text",
            DeValue::Integer(_) => "is a whole number",
            DeValue::Float(_) => "is a fraction",
            DeValue::Boolean(_) => "is true or false",
            DeValue::Datetime(_) => "is a date or a time",
            DeValue::Array(_) => "is a list",
            DeValue::Table(_) => "is a table of keys",
        };
        self.report(Some(value.span()), path, kind, format!("write {wanted}"));
    }

    /// Whether nothing was found wrong with a key, nor with what it is in or what is in it.
    pub(super) fn is_sound(&self, path: &str) -> bool {
        !self.problems.iter().any(|problem| {
            let below = |one: &str, other: &str| {
                one.strip_prefix(other).is_some_and(|rest| rest.starts_with(['.', '[']))
            };
            problem.key == path || below(&problem.key, path) || below(path, &problem.key)
        })
    }

    /// Adds problems of values, with the lines those stand in.
    pub(super) fn adopt(&mut self, problems: Vec<Problem>) {
        let lines = &self.lines;
        self.problems.extend(problems.into_iter().map(|mut problem| {
            problem.line = lines.get(&problem.key).copied();
            problem
        }));
    }

    /// All that was found, in the order of the lines.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by(|one, other| (one.line, &one.key).cmp(&(other.line, &other.key)));
        self.problems.dedup();
        self.problems
    }
}
