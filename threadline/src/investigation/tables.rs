//! What it takes to show changes of several tables: their names, today's redaction, and how older payloads relate to
//! today's columns.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};
use serde::{Deserialize, Serialize};

use super::change::{AuditChange, Op};
use super::fold;
use super::image::RowImage;
use super::key::RowKey;
use super::log::{Present, SinceLayout, StoredChange, TodaysColumns};
use super::statement::Statement;
use crate::capture::TableName;
use crate::error::Error;

/// A change, and the table it was made in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TableChange {
    /// The table, under the name it had when its capture was last compiled.
    pub table: TableName,
    /// The row's key after the change; `None` where the trail keeps no more than a digest of it, where the table has no key or
    /// was given another one since, and for a TRUNCATE.
    pub key: Option<RowKey>,
    /// The change; its columns have today's names.
    #[serde(flatten)]
    pub change: AuditChange,
    /// The whole row: the new one of an insert, the old one of a delete or of an update that changed the key.
    pub row: Option<RowImage>,
}

#[derive(Deserialize)]
struct Table {
    schema: String,
    name: String,
    /// Key columns under today's names.
    key: Option<Vec<String>>,
    present: Present,
    layouts: Option<BTreeMap<i32, SinceLayout>>,
    attributes: Option<TodaysColumns>,
}

/// Tables of the trail, by their ids.
#[derive(Default)]
pub(crate) struct Tables(BTreeMap<i32, Table>);

impl Tables {
    /// Reads what these changes need and is not here yet.
    pub(crate) fn learn(&mut self, conn: &mut PgConnection, changes: &[StoredChange]) -> Result<(), Error> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Integer)]
            id: i32,
            #[diesel(sql_type = Text)]
            reading: String,
        }
        // A change without a layout needs the attribute numbers, which are read for such changes alone.
        let missing = |change: &&StoredChange| {
            self.0
                .get(&change.table_id)
                .is_none_or(|table| change.layout.is_none() && table.attributes.is_none())
        };
        let ids: BTreeSet<i32> = changes.iter().filter(missing).map(|change| change.table_id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let with_attributes: BTreeSet<i32> =
            changes.iter().filter(|change| change.layout.is_none()).map(|change| change.table_id).collect();
        let mut statement = Statement::kept("SELECT t.id, threadline.table_reading(t.id, t.id = ANY (");
        statement.bind(with_attributes.into_iter().collect::<Vec<_>>());
        statement.sql("))::text AS reading FROM threadline.audited_tables t WHERE t.id = ANY (");
        statement.bind(ids.into_iter().collect::<Vec<_>>());
        statement.sql(")");
        let rows: Vec<Row> = statement.load_from(conn)?;
        for row in rows {
            self.0.insert(row.id, serde_json::from_str(&row.reading).map_err(Error::Payload)?);
        }
        Ok(())
    }

    /// A change under today's names and today's redaction.
    pub(crate) fn shown(&self, stored: StoredChange) -> Result<TableChange, Error> {
        let table = self.0.get(&stored.table_id).ok_or_else(|| {
            Error::Payload(serde::de::Error::custom("a change of a table that is not among the audited ones"))
        })?;
        let columns = table.key.as_deref().filter(|_| stored.op != Op::Truncate);
        let key = columns.and_then(|columns| RowKey::stored(columns, &stored.row_key));
        let (layouts, attributes) = (BTreeMap::new(), TodaysColumns::default());
        let (change, row) = fold::shown(
            stored,
            &table.present,
            table.layouts.as_ref().unwrap_or(&layouts),
            table.attributes.as_ref().unwrap_or(&attributes),
        );
        Ok(TableChange { table: TableName::new(Some(&table.schema), &table.name), key, change, row })
    }
}
