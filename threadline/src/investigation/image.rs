//! A row as the trail knows it: column names and JSON values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::Text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// One value as PostgreSQL's jsonb writes it, kept as text: numbers keep every digit and their scale.
#[derive(Clone, Serialize, FromSqlRow)]
#[serde(transparent)]
pub struct Json(#[serde(serialize_with = "as_it_is")] Arc<RawValue>);

fn as_it_is<S: Serializer>(value: &Arc<RawValue>, serializer: S) -> Result<S::Ok, S::Error> {
    (**value).serialize(serializer)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|value| Self(value.into()))
    }
}

impl Json {
    /// The JSON text, such as `12.3400`, `"a"` or `null`.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The value parsed; a number beyond the range of `u64` loses digits.
    ///
    /// # Errors
    ///
    /// For what PostgreSQL stores and `serde_json` does not take: a number beyond the range of `f64`, or more than 127
    /// levels of nesting.
    pub fn to_value(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }

    /// JSON `null`.
    pub(crate) fn null() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }

    /// Whether it is JSON `null`, which stands for SQL NULL.
    pub fn is_null(&self) -> bool {
        self.as_str() == "null"
    }
}

/// From the text PostgreSQL writes.
impl FromSql<Text, Pg> for Json {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Pg>>::from_sql(bytes)?;
        Ok(Self(RawValue::from_string(text)?.into()))
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(crate) type Columns = BTreeMap<String, Json>;

/// A row's columns, under the names they have today; excluded columns are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowImage {
    /// Column name to value.
    pub columns: BTreeMap<String, Json>,
    /// The columns whose value is the mask's placeholder instead of what was stored.
    pub masked: BTreeSet<String>,
}

impl RowImage {
    /// The value of a column; `None` when it is excluded, or unknown.
    pub fn get(&self, column: &str) -> Option<&Json> {
        self.columns.get(column)
    }

    /// The columns as one JSON object.
    pub(crate) fn to_json_text(&self) -> String {
        serde_json::to_string(&self.columns).expect("names and JSON values always serialize")
    }
}

/// What the row with a key was at one point of its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "row", rename_all = "snake_case")]
pub enum RowState {
    /// It existed, and every captured column is known.
    Present(Arc<RowImage>),
    /// It did not exist.
    Absent,
    /// It existed; only the columns that changes name are known, because what came after was lost to a gap or a TRUNCATE.
    Partial(Arc<RowImage>),
    /// Nothing is known: a TRUNCATE lies between, or the present row cannot be read.
    Unknown,
}

impl RowState {
    /// The columns, as far as they are known.
    pub fn image(&self) -> Option<&RowImage> {
        match self {
            Self::Present(image) | Self::Partial(image) => Some(image),
            Self::Absent | Self::Unknown => None,
        }
    }

    /// The columns, when all of them are known.
    pub fn present(&self) -> Option<&RowImage> {
        match self {
            Self::Present(image) => Some(image),
            _ => None,
        }
    }
}
