//! The query of a URL, of which every part has to be understood.

use threadline::{Cursor, Error};
use url::form_urlencoded;

/// The parts of a query that nobody has asked for yet. Blank ones are as good as absent: a form sends all its fields.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

/// What is wrong with one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The part's name.
    pub(super) field: String,
    /// What is wrong, and what would be right.
    pub(super) text: String,
}

impl Problem {
    pub(super) fn new(field: impl Into<String>, text: impl Into<String>) -> Self {
        Self { field: field.into(), text: text.into() }
    }
}

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes())
            .filter(|(_, value)| !value.trim().is_empty())
            .map(|(name, value)| (name.into_owned(), value.trim().to_owned()))
            .collect();
        Self { pairs }
    }

    /// As it is written: blank parts and all.
    pub(super) fn written(query: &str) -> Self {
        Self { pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect() }
    }

    /// A problem for each part that no text of the database can be.
    pub(super) fn impossible(&self) -> Vec<Problem> {
        let has_zero = |(name, value): &&(String, String)| name.contains('\0') || value.contains('\0');
        let problem = |(name, _): &(String, String)| {
            Problem::new(name, "has a zero byte, which no text in the database has")
        };
        self.pairs.iter().filter(has_zero).map(problem).collect()
    }

    /// The parts that are left, without taking them.
    pub(super) fn rest(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// Takes the only part of this name.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.take_all(&[name]).into_iter().map(|(_, value)| value);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Problem::new(name, "is given twice; give it once")),
            (value, None) => Ok(value),
        }
    }

    /// Takes the place a page goes on from.
    pub(super) fn take_cursor(&mut self) -> Result<Option<Cursor>, Problem> {
        let cursor = self.take("after")?.map(|text| text.parse()).transpose();
        cursor.map_err(|error: Error| Problem::new("after", error.to_string()))
    }

    /// Takes all parts of these names.
    pub(super) fn take_all(&mut self, names: &[&str]) -> Vec<(String, String)> {
        self.pairs.extract_if(.., |(name, _)| names.contains(&name.as_str())).collect()
    }

    /// A problem for each part that is left.
    pub(super) fn unknown(self, known: &[&str]) -> Vec<Problem> {
        let allowed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        self.pairs
            .into_iter()
            .map(|(name, _)| Problem::new(name, format!("is not known here; there are {allowed}")))
            .collect()
    }
}
