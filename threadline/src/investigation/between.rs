//! What differs between two instants, for a row and for a table.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Nullable, Text};
use serde::Serialize;

use super::as_of::{self, AsOf};
use super::change::FieldChange;
use super::image::{Json, RowImage};
use super::key::RowKey;
use super::past_rows::{fetch, image};
use super::scope::Surface;
use super::trail::Trail;
use super::travel::in_snapshot;
use crate::capture::TableName;
use crate::error::Error;

/// How a row at one instant differs from the row with its key at an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", content = "row", rename_all = "snake_case")]
pub enum RowChange {
    /// It was not there at the earlier instant.
    Added(RowImage),
    /// It was not there at the later one; this is what it was.
    Removed(RowImage),
    /// It was there at both. The columns that differ, by name; one that an image lacks is `null` in it. Masked values do not
    /// differ.
    Changed(BTreeMap<String, FieldChange>),
}

/// A row at two instants.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RowDiff {
    /// What it was at the earlier instant.
    pub from: AsOf<RowImage>,
    /// What it was at the later one.
    pub to: AsOf<RowImage>,
    /// How they differ; `None` when they do not, or when one of them is not known.
    pub change: Option<RowChange>,
}

/// A row of a table that differs between two instants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TableDiff {
    /// Its key in the text form of [`AuditChange::row_key`](super::AuditChange::row_key). A row whose key changed is removed
    /// under the one and added under the other.
    pub row_key: String,
    /// How it differs.
    pub change: RowChange,
}

impl Trail {
    /// How the row with this key differs between two instants, in one snapshot.
    ///
    /// # Errors
    ///
    /// As [`row_history`](Self::row_history); [`Error::Refused`] when `from` is after `to`.
    pub fn row_diff(
        &self,
        conn: &mut PgConnection,
        table: &TableName,
        key: &RowKey,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<RowDiff, Error> {
        check_order(from, to)?;
        let table = table.to_sql();
        self.read(conn, Surface::AsOf, |conn, scope| {
            let from = as_of::read(conn, &table, key, from, scope.as_ref())?;
            let to = as_of::read(conn, &table, key, to, scope.as_ref())?;
            let image = |answer: &AsOf<RowImage>| match answer {
                AsOf::Present(image) => Some(Some(image.clone())),
                AsOf::Deleted { .. } | AsOf::NotCreated => Some(None),
                _ => None,
            };
            let change = image(&from).zip(image(&to)).and_then(|(from, to)| change(from, to));
            Ok(RowDiff { from, to, change })
        })
    }

    /// Calls `each` with every row that differs between two instants, in no particular order, 500 in memory at a time. Reads the
    /// whole table as it was at both. Not inside an open transaction.
    ///
    /// # Errors
    ///
    /// As [`table_as_of`](Self::table_as_of), for either instant; [`Error::Refused`] when `from` is after `to`.
    pub fn table_diff(
        &self,
        conn: &mut PgConnection,
        table: &TableName,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        mut each: impl FnMut(TableDiff) -> Result<(), Error>,
    ) -> Result<(), Error> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            row_key: String,
            #[diesel(sql_type = Nullable<Text>)]
            from_image: Option<String>,
            #[diesel(sql_type = Nullable<Array<Text>>)]
            from_masked: Option<Vec<String>>,
            #[diesel(sql_type = Nullable<Text>)]
            to_image: Option<String>,
            #[diesel(sql_type = Nullable<Array<Text>>)]
            to_masked: Option<Vec<String>>,
        }
        check_order(from, to)?;
        let table = table.to_sql();
        in_snapshot(conn, |conn| {
            let (earlier, later) =
                (self.past_images(conn, &table, from)?, self.past_images(conn, &table, to)?);
            let query = format!(
                "SELECT coalesce(a.row_key, b.row_key) AS row_key, a.image AS from_image, a.masked AS from_masked, b.image AS to_image, \
             b.masked AS to_masked FROM ({earlier}) a FULL JOIN ({later}) b ON b.row_key = a.row_key \
             WHERE a.image IS DISTINCT FROM b.image"
            );
            fetch(conn, &query, |_, rows: Vec<Row>| {
                for row in rows {
                    let from = row.from_image.map(|from| image(&from, row.from_masked.unwrap_or_default()));
                    let to = row.to_image.map(|to| image(&to, row.to_masked.unwrap_or_default()));
                    if let Some(change) = change(from.transpose()?, to.transpose()?) {
                        each(TableDiff { row_key: row.row_key, change })?;
                    }
                }
                Ok(())
            })
        })
    }
}

fn check_order(from: DateTime<Utc>, to: DateTime<Utc>) -> Result<(), Error> {
    if from > to {
        return Err(Error::Refused {
            message: format!("`from` ({from}) is after `to` ({to})"),
            hint: Some("give the earlier instant first".to_owned()),
        });
    }
    Ok(())
}

fn change(from: Option<RowImage>, to: Option<RowImage>) -> Option<RowChange> {
    match (from, to) {
        (None, None) => None,
        (None, Some(to)) => Some(RowChange::Added(to)),
        (Some(from), None) => Some(RowChange::Removed(from)),
        (Some(from), Some(to)) => {
            let names: BTreeSet<&String> = from.columns.keys().chain(to.columns.keys()).collect();
            let value = |image: &RowImage, name: &str| image.get(name).cloned().unwrap_or_else(Json::null);
            let fields: BTreeMap<String, FieldChange> = names
                .into_iter()
                .map(|name| (name, value(&from, name), value(&to, name)))
                .filter(|(_, before, after)| before != after)
                .map(|(name, before, after)| {
                    let masked = from.masked.contains(name) || to.masked.contains(name);
                    (name.clone(), FieldChange { before, after, masked })
                })
                .collect();
            (!fields.is_empty()).then_some(RowChange::Changed(fields))
        }
    }
}
