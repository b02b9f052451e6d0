//! What an export was: its manifest.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use serde::{Deserialize, Serialize};

use super::{ExportFormat, ExportOptions};
use crate::capture::TableName;
use crate::error::Error;
use crate::investigation::filter::Filter;
use crate::investigation::horizon::{TableHorizon, horizons};
use crate::investigation::page::Order;
use crate::investigation::scan::Question;
use crate::investigation::statement::Statement;
use crate::investigation::tables::TableChange;

/// What an export holds and how it came about. Serialized it is the export's manifest, to be kept beside the file: it says
/// what was asked for, whether that is all there was, and by which digest the file is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExportSummary {
    /// Of the export's shape; another number means that something has gone or means something else, not that there is more.
    pub format_version: u32,
    /// The version of this library.
    pub threadline_version: String,
    /// When the export began, by the database's clock; what had been committed by then is in it.
    pub generated_at: DateTime<Utc>,
    /// The form it has.
    pub format: ExportFormat,
    /// Whether CSV cells that a spreadsheet would compute were made plain text; `false` for other formats.
    pub formula_guard: bool,
    /// What was asked for.
    pub filter: Filter,
    /// Whether the reader could see only a part of the trail.
    pub scoped: bool,
    /// The order of the changes.
    pub order: Order,
    /// The most changes it could have; `None` for any number.
    pub max_rows: Option<u64>,
    /// The changes it has.
    pub rows: u64,
    /// Whether there were more. Exact.
    pub truncated: bool,
    /// The tables of which retention had removed changes from the time asked about, in the order of their names: what is left of
    /// that time is no more than that.
    #[serde(default)]
    pub removed: Vec<TableHorizon>,
    /// When the earliest of its changes was captured; `None` when there is none.
    pub earliest: Option<DateTime<Utc>>,
    /// When the latest of its changes was captured.
    pub latest: Option<DateTime<Utc>>,
    /// How many of its changes each table has, in the order of the names, without tables that have none.
    pub tables: Vec<TableRows>,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its bytes, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// How many changes of a table an export has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRows {
    /// The table.
    pub table: TableName,
    /// So many.
    pub rows: u64,
}

impl ExportSummary {
    /// Of an export that has nothing yet.
    pub(super) fn begin(
        conn: &mut PgConnection,
        question: &Question,
        options: &ExportOptions,
    ) -> Result<Self, Error> {
        #[derive(QueryableByName)]
        struct Clock {
            #[diesel(sql_type = Timestamptz)]
            now: DateTime<Utc>,
        }
        let Clock { now } = Statement::kept("SELECT now()")
            .get_result(conn)
            .map_err(|error| Error::from_query(conn, "", error))?;
        Ok(Self {
            format_version: super::FORMAT_VERSION,
            threadline_version: env!("CARGO_PKG_VERSION").to_owned(),
            generated_at: now,
            format: options.format,
            formula_guard: options.formula_guard && options.format == ExportFormat::Csv,
            filter: question.filter.clone(),
            scoped: question.scope.is_some(),
            order: options.order,
            max_rows: options.max_rows,
            rows: 0,
            truncated: false,
            removed: horizons(conn, question)?,
            earliest: None,
            latest: None,
            tables: Vec::new(),
            bytes: 0,
            sha256: String::new(),
        })
    }

    /// These changes were written, next in order.
    pub(super) fn add(&mut self, changes: &[TableChange]) {
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
            return;
        };
        self.rows += changes.len() as u64;
        for at in [first.change.captured_at, last.change.captured_at] {
            self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
            self.latest = Some(self.latest.map_or(at, |latest| latest.max(at)));
        }
        let mut counted = BTreeMap::<&TableName, u64>::new();
        for change in changes {
            *counted.entry(&change.table).or_default() += 1;
        }
        for (table, rows) in counted {
            match self.tables.binary_search_by(|known| known.table.cmp(table)) {
                Ok(place) => self.tables[place].rows += rows,
                Err(place) => self.tables.insert(place, TableRows { table: table.clone(), rows }),
            }
        }
    }
}
