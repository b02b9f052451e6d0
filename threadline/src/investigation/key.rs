//! The key of a row, typed by the model or given as text.

use std::collections::BTreeMap;
use std::fmt;

use diesel::expression::Expression;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel::serialize::ToSql;
use diesel::sql_types::{Array, HasSqlType, Text};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::scan::{row_key, table_id};
use crate::capture::TableName;
use crate::error::Error;

/// The key columns of a model: a tuple of Diesel columns, also when there is one.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a tuple of one to eight key columns")]
pub trait KeyColumns {
    /// The columns' names in the database, in order.
    const NAMES: &'static [&'static str];
}

/// A value that can be the key of a row identified by `Columns`.
///
/// One key column takes a plain value of the column's Rust type, by value or by reference; several take a tuple, in the
/// order of `#[diesel(primary_key(…))]` or `#[threadline(key(…))]`. `Identifiable::id(&model)` fits too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key for the columns `{Columns}`",
    label = "wrong number or types of key parts",
    note = "one key column takes a plain value, several take a tuple in the order of `#[diesel(primary_key(...))]`"
)]
pub trait AuditKey<Columns> {
    /// Writes the key as SQL that yields a jsonb object of texts.
    #[doc(hidden)]
    fn walk_key<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

/// `to_jsonb(…) #>> '{}'` writes dates and times the ISO way whatever the session's DateStyle is.
fn walk_part<'b, C, K>(out: &mut AstPass<'_, 'b, Pg>, value: &'b K) -> QueryResult<()>
where
    C: Column,
    <C as Expression>::SqlType: 'static,
    Pg: HasSqlType<<C as Expression>::SqlType>,
    K: ToSql<<C as Expression>::SqlType, Pg>,
{
    out.push_bind_param::<Text, str>(C::NAME)?;
    out.push_sql("::text, to_jsonb(");
    out.push_bind_param::<<C as Expression>::SqlType, K>(value)?;
    out.push_sql(") #>> '{}'");
    Ok(())
}

impl<C: Column> KeyColumns for (C,) {
    const NAMES: &'static [&'static str] = &[C::NAME];
}

impl<C, K> AuditKey<(C,)> for K
where
    C: Column,
    <C as Expression>::SqlType: 'static,
    Pg: HasSqlType<<C as Expression>::SqlType>,
    K: ToSql<<C as Expression>::SqlType, Pg>,
{
    fn walk_key<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("jsonb_build_object(");
        walk_part::<C, K>(&mut out, self)?;
        out.push_sql(")");
        Ok(())
    }
}

macro_rules! several_key_columns {
    ($(($first_column:ident $first_part:ident $first_index:tt $(, $column:ident $part:ident $index:tt)+))+) => {$(
        impl<$first_column: Column, $($column: Column),+> KeyColumns for ($first_column, $($column),+) {
            const NAMES: &'static [&'static str] = &[$first_column::NAME, $($column::NAME),+];
        }

        impl<$first_column, $($column,)+ $first_part, $($part),+> AuditKey<($first_column, $($column),+)> for ($first_part, $($part),+)
        where
            $first_column: Column,
            <$first_column as Expression>::SqlType: 'static,
            Pg: HasSqlType<<$first_column as Expression>::SqlType>,
            $first_part: ToSql<<$first_column as Expression>::SqlType, Pg>,
            $($column: Column,
            <$column as Expression>::SqlType: 'static,
            Pg: HasSqlType<<$column as Expression>::SqlType>,
            $part: ToSql<<$column as Expression>::SqlType, Pg>,)+
        {
            fn walk_key<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                out.push_sql("jsonb_build_object(");
                walk_part::<$first_column, $first_part>(&mut out, &self.$first_index)?;
                $(out.push_sql(", ");
                walk_part::<$column, $part>(&mut out, &self.$index)?;)+
                out.push_sql(")");
                Ok(())
            }
        }
    )+};
}

several_key_columns! {
    (C0 K0 0, C1 K1 1)
    (C0 K0 0, C1 K1 1, C2 K2 2)
    (C0 K0 0, C1 K1 1, C2 K2 2, C3 K3 3)
    (C0 K0 0, C1 K1 1, C2 K2 2, C3 K3 3, C4 K4 4)
    (C0 K0 0, C1 K1 1, C2 K2 2, C3 K3 3, C4 K4 4, C5 K5 5)
    (C0 K0 0, C1 K1 1, C2 K2 2, C3 K3 3, C4 K4 4, C5 K5 5, C6 K6 6)
    (C0 K0 0, C1 K1 1, C2 K2 2, C3 K3 3, C4 K4 4, C5 K5 5, C6 K6 6, C7 K7 7)
}

/// A key without a model: column names and texts, in any spelling PostgreSQL accepts for the columns' types.
///
/// ```
/// use threadline::RowKey;
///
/// let composite = RowKey::new([("organization_id", "7"), ("user_id", "42")])?;
/// assert_eq!(composite, RowKey::new([("user_id", "42"), ("organization_id", "7")])?);
/// # Ok::<(), threadline::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowKey(String);

impl RowKey {
    /// The key with these parts, in any order.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when a column is named twice. Whether the columns are the table's key is checked by the query.
    pub fn new<N: Into<String>, V: Into<String>>(
        parts: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, Error> {
        let mut key = BTreeMap::<String, String>::new();
        for (name, value) in parts {
            let name = name.into();
            if key.contains_key(&name) {
                return Err(Error::Refused {
                    message: format!("key column `{name}` is given twice"),
                    hint: None,
                });
            }
            key.insert(name, value.into());
        }
        Ok(Self(serde_json::to_string(&key).expect("texts always serialize")))
    }

    /// The key a person has written down for a row of `table`: `column=value` for each key column, all in one text with a space
    /// between them or each in its own; or else one text, which is the key as
    /// [`AuditChange::row_key`](super::AuditChange::row_key) has it: the value of the only key column, or a JSON array of texts
    /// for several.
    ///
    /// A text that begins with the name of the only key column and `=` is taken for `column=value`. One text for several columns
    /// may have spaces in its values, and is refused where it can be read in two ways: then each column takes its own.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] for what cannot be a key of the table, with its key columns; [`Error::NotAudited`]; those of the database.
    pub fn written<T: AsRef<str>>(
        conn: &mut PgConnection,
        table: &TableName,
        texts: &[T],
    ) -> Result<Self, Error> {
        let (name, columns) = (table.to_sql(), Self::columns(conn, table)?);
        let named: Option<Vec<(&str, &str)>> = texts
            .iter()
            .map(|text| text.as_ref().split_once('=').filter(|(name, _)| columns.iter().any(|c| c == name)))
            .collect();
        let key = match (named, texts) {
            (Some(parts), _) if parts.len() == columns.len() => Some(Self::new(parts)?),
            (_, [text]) if columns.len() > 1 => {
                Self::spelled(&columns, text.as_ref()).or_else(|| Self::stored(&columns, text.as_ref()))
            }
            (None, [text]) => Self::stored(&columns, text.as_ref()),
            _ => None,
        };
        let hint = match &columns[..] {
            [] => "it has no key".to_owned(),
            [column] => format!("write its value, or `{column}=VALUE`"),
            _ => format!(
                "write `{}=VALUE`, or each of them by itself where a value looks like another",
                columns.join("=VALUE ")
            ),
        };
        let refused = |why: &str| Error::Refused {
            message: format!(
                "not a key of table {name}, which is audited by the key ({}){why}",
                columns.join(", ")
            ),
            hint: Some(hint),
        };
        let Some(key) = key else { return Err(refused("")) };
        // Read now: what comes later would take it for a fault of the database.
        let read = match table_id(conn, table)? {
            Some(id) => row_key(conn, id, key.as_json()).map(drop),
            None => Ok(()),
        };
        match read {
            Ok(()) => Ok(key),
            Err(Error::Refused { message, .. }) => Err(refused(&format!(": {message}"))),
            Err(error) => Err(error),
        }
    }

    /// The key columns of an audited table, by their present names, in the order in which a stored key has their values.
    ///
    /// # Errors
    ///
    /// [`Error::NotAudited`]; those of the database.
    pub fn columns(conn: &mut PgConnection, table: &TableName) -> Result<Vec<String>, Error> {
        #[derive(QueryableByName)]
        struct Key {
            #[diesel(sql_type = Array<Text>)]
            columns: Vec<String>,
        }
        let name = table.to_sql();
        let key = diesel::sql_query(
            "SELECT coalesce(threadline.key_now(a), a.key_columns) AS columns FROM threadline.audited_tables a \
             WHERE a.id = threadline.find_table($1, to_regclass($1))",
        );
        let key: Result<Key, _> = key.bind::<Text, _>(&name).get_result(conn);
        key.map(|key| key.columns).map_err(|error| Error::from_query(conn, &name, error))
    }

    /// The table of the trail that a name means: with its schema, where the name leaves that to the search path.
    ///
    /// # Errors
    ///
    /// [`Error::NotAudited`] when it means none, and those of the database.
    pub fn table(conn: &mut PgConnection, table: &TableName) -> Result<TableName, Error> {
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = Text)]
            schema: String,
            #[diesel(sql_type = Text)]
            name: String,
        }
        let name = table.to_sql();
        let found = diesel::sql_query(
            "SELECT a.schema_name AS schema, a.table_name AS name FROM threadline.audited_tables a \
             WHERE a.id = threadline.find_table($1, to_regclass($1))",
        );
        let found: Result<Found, _> = found.bind::<Text, _>(&name).get_result(conn);
        let found = found.map_err(|error| Error::from_query(conn, &name, error))?;
        Ok(TableName::new(Some(&found.schema), &found.name))
    }

    /// The key that an [`AuditChange::row_key`](super::AuditChange::row_key) means in a table with these key
    /// [`columns`](Self::columns); `None` when they cannot be what it is made of.
    pub fn stored(columns: &[String], key: &str) -> Option<Self> {
        // What stands in for a key that would be too long for an index.
        if key.starts_with("sha256:") && key.len() == 71 {
            return None;
        }
        let values: Vec<String> = match columns {
            [_] => vec![key.to_owned()],
            _ => serde_json::from_str(key).ok()?,
        };
        (values.len() == columns.len()).then(|| Self::new(columns.iter().zip(values)).ok())?
    }

    /// The key that `column=value column=value` means, as [`to_plain`](Self::to_plain) writes it; `None` unless each of the columns
    /// begins in exactly one place, so that there is one way to read it.
    pub(crate) fn spelled(columns: &[String], text: &str) -> Option<Self> {
        let begins = |at: usize| at == 0 || text[..at].ends_with(' ');
        let mut starts: Vec<(usize, &String)> = Vec::new();
        for column in columns {
            let name = format!("{column}=");
            starts
                .extend(text.match_indices(&name).filter(|(at, _)| begins(*at)).map(|(at, _)| (at, column)));
        }
        starts.sort();
        if starts.len() != columns.len() || starts.first()?.0 != 0 {
            return None;
        }
        let ends = starts.iter().skip(1).map(|(at, _)| at - 1).chain([text.len()]);
        let parts = starts.iter().zip(ends).map(|((at, column), end)| {
            let value = text.get(at + column.len() + 1..end)?;
            Some((column.as_str(), value))
        });
        // A column that begins twice is named twice, and another one not at all.
        Self::new(parts.collect::<Option<Vec<_>>>()?).ok()
    }

    /// The key as a person writes it: the value of the only column, or `column=value` of each of several with a space between
    /// them. [`written`](Self::written) takes it back, unless a value looks like the beginning of another part.
    pub fn to_plain(&self) -> String {
        let parts = self.parts();
        match parts.values().next() {
            Some(only) if parts.len() == 1 => only.clone(),
            _ => parts.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
        }
    }

    /// The parts: column and value, in the order of the columns' names.
    pub fn parts(&self) -> BTreeMap<String, String> {
        serde_json::from_str(&self.0).expect("it was made of such a map")
    }

    /// The parts as a JSON object of texts.
    pub(crate) fn as_json(&self) -> &str {
        &self.0
    }
}

/// As a JSON object of texts: `{"id":"7"}`.
impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RowKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object: &RawValue = serde_json::from_str(&self.0).expect("it was made of such a map");
        object.serialize(serializer)
    }
}

/// Writes a key into a query; what typed and untyped keys have in common.
pub(crate) trait WalkKey {
    fn walk_key<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

impl WalkKey for RowKey {
    fn walk_key<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<Text, str>(&self.0)?;
        out.push_sql("::jsonb");
        Ok(())
    }
}

/// A typed key, with the columns it is a key for.
pub(crate) struct TypedKey<K, Columns>(K, std::marker::PhantomData<Columns>);

impl<K, Columns> TypedKey<K, Columns> {
    pub(crate) fn new(key: K) -> Self {
        Self(key, std::marker::PhantomData)
    }
}

impl<Columns, K: AuditKey<Columns>> WalkKey for TypedKey<K, Columns> {
    fn walk_key<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_key(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_columns_are_read_from_one_text_where_there_is_one_way_to() {
        let columns = ["organization_id".to_owned(), "user_id".to_owned()];
        let read = |text: &str| {
            RowKey::spelled(&columns, text).map(|key| key.parts().into_values().collect::<Vec<_>>())
        };
        assert_eq!(read("organization_id=1 user_id=16"), Some(vec!["1".to_owned(), "16".to_owned()]));
        assert_eq!(
            read("user_id=somebody else organization_id=1"),
            Some(vec!["1".to_owned(), "somebody else".to_owned()])
        );
        for not_one in [
            "organization_id=1",
            "organization_id=1 user_id=2 user_id=3",
            "organization_id=1 organization_id=2",
            "x organization_id=1 user_id=2",
            "organization_id=1,user_id=2",
            "1 16",
            "",
        ] {
            assert_eq!(read(not_one), None, "{not_one}");
        }
    }

    #[test]
    fn a_key_as_it_is_written_is_read_back_or_refused_and_never_taken_for_another() {
        let mut values = vec![String::new()];
        for length in 0..3 {
            let longer = values.iter().filter(|value| value.len() == length);
            let longer = longer.flat_map(|value| "ab= ".chars().map(move |c| format!("{value}{c}")));
            values.extend(longer.collect::<Vec<_>>());
        }
        for (one, other) in [("a", "b"), ("a", "ab"), ("a", "b a"), ("a", "a=b"), ("=", "a"), ("a=a", "b")] {
            let columns = [one.to_owned(), other.to_owned()];
            for first in &values {
                for second in &values {
                    let key = RowKey::new([(one, first), (other, second)]).unwrap();
                    let read = RowKey::spelled(&columns, &key.to_plain());
                    assert!(read.as_ref().is_none_or(|read| *read == key), "{key} is read as {read:?}");
                    // Where no value can begin another part there is one way to read it.
                    let is_plain = columns == ["a", "b"] && !first.contains('=') && !second.contains('=');
                    assert!(!is_plain || read.is_some(), "{key} is refused");
                }
            }
        }
    }
}
