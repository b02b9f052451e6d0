//! The query of a URL, of which every part has to be understood.

use threadline::{Cursor, Error, Filter, InvalidFilter, TableName};
use url::form_urlencoded;

use super::value::shown;

/// The parts of a query that nobody has asked for yet. Blank ones are as good as absent: a form sends all its fields. Those that are
/// not blank are as they were written: a key may well end in a space.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

/// Characters of a value that are quoted where it is said what is wrong with it.
const QUOTED: usize = 60;

/// What is wrong with one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The part's name.
    pub(super) field: String,
    /// What is wrong, and what would be right: what a sentence goes on with after the part's name.
    pub(super) text: String,
}

impl Problem {
    pub(super) fn new(field: impl Into<String>, text: impl Into<String>) -> Self {
        Self { field: field.into(), text: text.into() }
    }

    /// The same of one value of the part, which is named.
    pub(super) fn of_value(field: impl Into<String>, value: &str, text: impl std::fmt::Display) -> Self {
        let end = value.char_indices().nth(QUOTED).map(|(at, _)| at);
        let quoted = shown(end.map_or(value, |end| &value[..end]));
        let cut = if end.is_some() { "…" } else { "" };
        match quoted.trim() {
            "" => Self::new(field, text.to_string()),
            quoted => Self::new(field, format!("“{quoted}{cut}” {text}")),
        }
    }

    /// Whether it begins with all that the other one says.
    pub(super) fn says_more_than(&self, other: &Self) -> bool {
        self.field == other.field && self.text.starts_with(&other.text)
    }

    /// A problem of a filter, which begins with the name of its field.
    pub(super) fn named(problem: &str) -> Self {
        match problem.split_once(": ") {
            Some((field, text)) => Self::new(field, text),
            None => Self::new("filter", problem),
        }
    }
}

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes())
            .filter(|(_, value)| !value.trim().is_empty())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
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

    /// Takes the filter that parts of these names ask for. `Err` with each value that is wrong, and with what is wrong with all of
    /// them together.
    pub(super) fn take_filter(&mut self, names: &[&str]) -> Result<Filter, Vec<Problem>> {
        let pairs = self.take_all(names);
        let mut together = match Filter::from_pairs(pairs.iter().map(|(name, value)| (name, value))) {
            Ok(filter) => return Ok(filter),
            Err(invalid) => problems(invalid),
        };
        let mut alone = Vec::new();
        for (name, value) in &pairs {
            let pair = (name.as_str(), value.as_str());
            // A key is none without a table.
            let beside = (name == "key").then_some(("table", "t"));
            for problem in
                Filter::from_pairs(beside.into_iter().chain([pair])).err().map(problems).unwrap_or_default()
            {
                if let Some(place) = together.iter().position(|other| *other == problem) {
                    together.remove(place);
                }
                alone.push(Problem::of_value(problem.field, value, problem.text));
            }
        }
        // Which is there, and wrong.
        if alone.iter().any(|problem| problem.field == "table") {
            together.retain(|problem| problem.field != "key");
        }
        alone.extend(together);
        Err(alone)
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

/// The table of this name.
pub(super) fn table_named(text: &str) -> Result<TableName, Problem> {
    let wrong = "is not the name of a table; write posts or blog.posts, and quote names with dots as in SQL";
    text.parse().map_err(|_| Problem::of_value("table", text, wrong))
}

fn problems(invalid: InvalidFilter) -> Vec<Problem> {
    invalid.problems().iter().map(|problem| Problem::named(problem)).collect()
}
