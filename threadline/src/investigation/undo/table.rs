//! What undoing needs to know of a table as it is today, and values of its columns as texts their types read.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};
use serde::{Deserialize, Serialize};

use super::super::image::Columns;
use super::super::log::{Present, SinceLayout, TodaysColumns};
use crate::capture::{TableName, quote_ident};
use crate::error::Error;

/// A value in the form its type writes and reads, with the type: `{"type": "numeric(8,3)", "text": "1.001"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TypedValue {
    /// The column's type as SQL takes it, schema-qualified unless it is built in.
    #[serde(rename = "type")]
    pub sql_type: String,
    /// What the type's input function reads; `None` is SQL NULL.
    pub text: Option<String>,
}

/// What is known of a column's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The text its type writes; `None` for NULL.
    Text(Option<String>),
    /// Masked, then or by today's policy.
    Hidden,
    /// It does not fit the column's type of today.
    Unfit(String),
}

/// What is known of a row's columns, by today's names.
pub(super) type Values = BTreeMap<String, Value>;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) sql_type: String,
    pub(super) base: String,
    pub(super) generated: bool,
    pub(super) always_identity: bool,
    /// NOT NULL, and nothing fills it in when an INSERT leaves it out.
    pub(super) required: bool,
    pub(super) nullable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Unique {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// The constraint, quoted, when it can be deferred.
    pub(super) deferrable: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ForeignKey {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) child: i64,
    pub(super) parent: i64,
    pub(super) child_columns: Vec<String>,
    pub(super) parent_columns: Vec<String>,
    /// Whether an update of the key referred to updates the referring rows.
    pub(super) cascades: bool,
    /// The constraint, quoted, when it can be deferred.
    pub(super) deferrable: Option<String>,
}

/// The table as it is in the database.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Shape {
    pub(super) relation: i64,
    pub(super) schema: String,
    pub(super) name: String,
    /// Whether other tables inherit from it, whose rows are not its own.
    pub(super) only: bool,
    pub(super) readable: bool,
    /// The key columns under today's names; `None` when one is gone.
    pub(super) key: Option<Vec<String>>,
    pub(super) columns: Vec<Column>,
    pub(super) uniques: Vec<Unique>,
    pub(super) foreign_keys: Vec<ForeignKey>,
}

impl Shape {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The table as a statement names it.
    pub(super) fn to_sql(&self) -> String {
        let only = if self.only { "ONLY " } else { "" };
        format!("{only}{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }

    pub(super) fn typed(&self, column: &str, value: &Value) -> Option<TypedValue> {
        let Value::Text(text) = value else { return None };
        let sql_type = self.column(column)?.sql_type.clone();
        Some(TypedValue { sql_type, text: text.clone() })
    }
}

/// A table of the trail: what it is called, how it is redacted, how old payloads relate to it, and what it is today.
#[derive(Deserialize)]
pub(super) struct Table {
    pub(super) id: i32,
    pub(super) schema_name: String,
    pub(super) table_name: String,
    pub(super) present: Present,
    pub(super) attached: bool,
    pub(super) layouts: Option<BTreeMap<i32, SinceLayout>>,
    pub(super) attributes: Option<TodaysColumns>,
    pub(super) shape: Option<Shape>,
}

impl Table {
    /// Its name today, or the last one when it is gone.
    pub(super) fn name(&self) -> TableName {
        match &self.shape {
            Some(shape) => TableName::new(Some(&shape.schema), &shape.name),
            None => TableName::new(Some(&self.schema_name), &self.table_name),
        }
    }

    pub(super) fn is_redacted(&self, column: &str) -> bool {
        let is = |list: &[String]| list.iter().any(|name| name == column);
        is(&self.present.mask) || is(&self.present.exclude)
    }

    pub(super) fn is_ignored(&self, column: &str) -> bool {
        self.present.ignore.iter().any(|name| name == column)
    }

    /// The texts of a stored key, one for each key column; `None` for one that is kept by its digest only, or was NULL.
    pub(super) fn key_texts(&self, row_key: &str) -> Option<Vec<String>> {
        let columns = self.shape.as_ref()?.key.as_ref()?;
        if row_key.starts_with("sha256:") || (row_key.is_empty() && columns.len() > 1) {
            return None;
        }
        match columns.len() {
            1 => Some(vec![row_key.to_owned()]),
            several => {
                serde_json::from_str(row_key).ok().filter(|texts: &Vec<String>| texts.len() == several)
            }
        }
    }
}

/// Reads what is known of these tables.
pub(super) fn read(conn: &mut PgConnection, ids: &BTreeSet<i32>) -> Result<BTreeMap<i32, Table>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        entry: String,
    }
    let rows: Vec<Row> = diesel::sql_query(include_str!("sql/tables.sql"))
        .bind::<Array<Integer>, _>(ids.iter().copied().collect::<Vec<_>>())
        .load(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    let tables: Result<BTreeMap<i32, Table>, _> = rows
        .iter()
        .map(|row| serde_json::from_str::<Table>(&row.entry).map(|table| (table.id, table)))
        .collect();
    tables.map_err(Error::Payload)
}

/// The rows of a table with these keys as they are now, in the form capture gives them; absent ones are left out.
pub(super) fn present_images(
    conn: &mut PgConnection,
    table: &Table,
    keys: &BTreeMap<String, Vec<String>>,
) -> Result<BTreeMap<String, Columns>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        place: i64,
        #[diesel(sql_type = Text)]
        image: String,
    }
    let given: Vec<String> =
        keys.values().map(|texts| serde_json::to_string(texts).expect("texts always serialize")).collect();
    let rows: Vec<Row> =
        diesel::sql_query("SELECT p.place, p.image FROM threadline.present_images($1, $2::jsonb[]) p")
            .bind::<Integer, _>(table.id)
            .bind::<Array<Text>, _>(given)
            .load(conn)
            .map_err(|error| Error::from_query(conn, "", error))?;
    let names: Vec<&String> = keys.keys().collect();
    rows.iter()
        .map(|row| {
            let place = usize::try_from(row.place - 1).expect("WITH ORDINALITY counts from one");
            Ok((names[place].clone(), serde_json::from_str(&row.image).map_err(Error::Payload)?))
        })
        .collect()
}

/// The texts of values as payloads have them, each named by its column and its JSON.
#[derive(Default)]
pub(super) struct Texts {
    wanted: BTreeSet<(String, String)>,
    known: BTreeMap<(String, String), Value>,
}

impl Texts {
    /// Asks for the texts of a row's columns.
    pub(super) fn want(&mut self, columns: &Columns) {
        self.wanted.extend(columns.iter().map(|(name, value)| (name.clone(), value.as_str().to_owned())));
    }

    /// Asks for the text of a key column, whose text in the key may be another one.
    pub(super) fn want_text(&mut self, column: &str, text: &str) {
        self.wanted.insert((column.to_owned(), json_text(text)));
    }

    /// What has been asked for with `want_text`.
    pub(super) fn of_text(&self, column: &str, text: &str) -> Option<&Value> {
        self.known.get(&(column.to_owned(), json_text(text)))
    }

    /// Gets what has been asked for; columns that the table does not have stay unknown.
    pub(super) fn fetch(&mut self, conn: &mut PgConnection, table: &Table) -> Result<(), Error> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            place: i64,
            #[diesel(sql_type = Nullable<Text>)]
            value: Option<String>,
            #[diesel(sql_type = Nullable<Text>)]
            problem: Option<String>,
        }
        let wanted: Vec<(String, String)> = std::mem::take(&mut self.wanted)
            .into_iter()
            .filter(|(name, _)| {
                !table.is_redacted(name) && table.shape.as_ref().is_some_and(|s| s.column(name).is_some())
            })
            .filter(|pair| !self.known.contains_key(pair))
            .collect();
        let (columns, given): (Vec<&str>, Vec<&str>) =
            wanted.iter().map(|(name, value)| (name.as_str(), value.as_str())).unzip();
        let rows: Vec<Row> = diesel::sql_query(
            "SELECT t.place, t.value, t.problem FROM threadline.column_texts($1, $2, $3) t",
        )
        .bind::<Integer, _>(table.id)
        .bind::<Array<Text>, _>(columns)
        .bind::<Array<Text>, _>(given)
        .load(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
        for row in rows {
            let place = usize::try_from(row.place - 1).expect("WITH ORDINALITY counts from one");
            let value = match row.problem {
                Some(problem) => Value::Unfit(problem),
                None => Value::Text(row.value),
            };
            self.known.insert(wanted[place].clone(), value);
        }
        Ok(())
    }

    /// A row's values; columns the table does not have any more are left out.
    pub(super) fn values(&self, table: &Table, columns: &Columns, masked: &BTreeSet<String>) -> Values {
        columns
            .iter()
            .filter_map(|(name, json)| {
                if masked.contains(name) || table.is_redacted(name) {
                    return Some((name.clone(), Value::Hidden));
                }
                let value = self.known.get(&(name.clone(), json.as_str().to_owned()))?;
                Some((name.clone(), value.clone()))
            })
            .collect()
    }
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).expect("a text always serializes")
}
