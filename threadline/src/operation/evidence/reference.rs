//! What exactly a record of evidence is about.

use std::collections::BTreeMap;
use std::fmt;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};

use super::record::InvalidEvidence;
use super::show::plain;
use crate::capture::TableName;
use crate::intent::{TextKind, text_problem};
use crate::operation::credential::has_userinfo;

/// Bytes it has as JSON at most, so that it fits into an index.
const LARGEST: usize = 1900;

/// What exactly a record is about: one or more names, each with a text. Texts alone, so that one thing has one reference.
///
/// ```
/// use threadline::TableName;
/// use threadline::evidence::Reference;
///
/// let posts = Reference::table(&TableName::new(Some("public"), "posts"));
/// assert_eq!(posts.to_json(), r#"{"table":"public.posts"}"#);
/// assert_eq!(Reference::from_json(r#"{"table": "public.posts"}"#)?, posts);
/// assert!(Reference::from_json(r#"{"run": 7}"#).is_err());
/// # Ok::<_, threadline::evidence::InvalidEvidence>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, FromSqlRow)]
#[serde(transparent)]
pub struct Reference(BTreeMap<String, String>);

impl Reference {
    /// The thing that has this text under this name, such as `job` and `7`.
    pub fn new(name: impl Into<String>, text: impl fmt::Display) -> Self {
        Self(BTreeMap::from([(name.into(), text.to_string())]))
    }

    /// A table. PostgreSQL can have one with a control character in its name, which is written here as an escape.
    pub fn table(table: &TableName) -> Self {
        Self::new("table", plain(table.to_plain()))
    }

    /// The same with one more name, or another text for one it has.
    #[must_use]
    pub fn and(mut self, name: impl Into<String>, text: impl fmt::Display) -> Self {
        self.0.insert(name.into(), text.to_string());
        self
    }

    /// From a JSON object of texts.
    ///
    /// # Errors
    ///
    /// [`InvalidEvidence`] when it is anything else, or has what no reference can have.
    pub fn from_json(json: &str) -> Result<Self, InvalidEvidence> {
        let reference: Self = serde_json::from_str(json).map_err(|_| {
            InvalidEvidence::one(
                "reference: is not a JSON object of texts, such as {\"table\": \"public.posts\"}",
            )
        })?;
        match reference.problems() {
            problems if problems.is_empty() => Ok(reference),
            problems => Err(InvalidEvidence::all(problems)),
        }
    }

    /// As a JSON object, its names in their order.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("texts can always be written")
    }

    /// The text under this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The table, when it is about one and about nothing else.
    pub(super) fn only_table(&self) -> Option<&str> {
        self.get("table").filter(|_| self.0.len() == 1)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.0.is_empty() {
            problems.push("reference: is empty".to_owned());
        }
        for (name, text) in &self.0 {
            problems.extend(
                text_problem(name, TextKind::Name).map(|problem| format!("reference: a name {problem}")),
            );
            problems.extend(
                value_problem(text).map(|problem| format!("reference: the text of a name {problem}")),
            );
        }
        if self.to_json().len() > LARGEST {
            problems.push(format!("reference: is larger than {LARGEST} bytes"));
        }
        problems
    }
}

/// A table's quoted name can be twice the 256 bytes other texts have.
fn value_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("is empty")
    } else if text.len() > 512 {
        Some("is longer than 512 bytes")
    } else if text.chars().any(char::is_control) {
        Some("has a control character")
    } else if has_userinfo(text) {
        Some("has a URL with a user or password in it")
    } else {
        None
    }
}

/// `table=public.posts`, several with a comma between.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(name, text)| format!("{name}={text}")).collect();
        f.pad(&parts.join(", "))
    }
}

/// From the JSON PostgreSQL writes.
impl FromSql<Text, Pg> for Reference {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(serde_json::from_str(&<String as FromSql<Text, Pg>>::from_sql(bytes)?)?)
    }
}
