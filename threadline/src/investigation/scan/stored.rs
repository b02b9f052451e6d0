//! Changes as the database keeps them, read by SQL of ours.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::error::Error;
use crate::investigation::change::{ChangeId, Op};
use crate::investigation::log::StoredChange;
use crate::investigation::page::Position;

/// What is selected of a change `c`. The payload goes through jsonb, so that a value is written the same way wherever it
/// is read; do this where few rows are left.
pub(crate) const COLUMNS: &str = "c.captured_at, c.transaction_id, c.ordinal, c.table_id, c.layout, c.op::text AS op, c.row_key, \
     c.previous_row_key, c.scope, c.previous_scope, c.partition, c.masked, c.row_data::jsonb::text AS row_data, \
     c.diff::jsonb::text AS diff, c.attributes::text AS attributes";

/// The order of the trail, as far as SQL goes.
pub(crate) fn order_by(direction: &str) -> String {
    format!(" ORDER BY c.captured_at {direction}, c.transaction_id {direction}, c.ordinal {direction}")
}

/// A row of [`COLUMNS`].
#[derive(QueryableByName)]
pub(crate) struct ChangeRow {
    #[diesel(sql_type = Timestamptz)]
    captured_at: DateTime<Utc>,
    #[diesel(sql_type = SqlUuid)]
    transaction_id: Uuid,
    #[diesel(sql_type = Integer)]
    ordinal: i32,
    #[diesel(sql_type = Integer)]
    table_id: i32,
    #[diesel(sql_type = Nullable<Integer>)]
    layout: Option<i32>,
    #[diesel(sql_type = Text)]
    op: String,
    #[diesel(sql_type = Text)]
    row_key: String,
    #[diesel(sql_type = Nullable<Text>)]
    previous_row_key: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    scope: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    previous_scope: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    partition: Option<String>,
    #[diesel(sql_type = Nullable<Array<Text>>)]
    masked: Option<Vec<String>>,
    #[diesel(sql_type = Nullable<Text>)]
    row_data: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    diff: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    attributes: Option<String>,
}

impl ChangeRow {
    pub(crate) fn read(self) -> Result<StoredChange, Error> {
        let op = Op::coded(&self.op).ok_or_else(|| {
            Error::Payload(serde::de::Error::custom("a change of a kind that is not known"))
        })?;
        Ok(StoredChange {
            captured_at: self.captured_at,
            transaction_id: self.transaction_id,
            ordinal: self.ordinal,
            table_id: self.table_id,
            layout: self.layout,
            op,
            row_key: self.row_key,
            previous_row_key: self.previous_row_key,
            scope: self.scope,
            previous_scope: self.previous_scope,
            partition: self.partition,
            masked: self.masked,
            row_data: parsed(self.row_data)?,
            diff: parsed(self.diff)?,
            attributes: parsed(self.attributes)?,
            settled: false,
        })
    }
}

fn parsed<T: DeserializeOwned>(text: Option<String>) -> Result<Option<T>, Error> {
    text.map(|text| serde_json::from_str(&text)).transpose().map_err(Error::Payload)
}

impl StoredChange {
    pub(crate) fn position(&self) -> Position {
        Position {
            captured_at: self.captured_at,
            id: ChangeId { transaction_id: self.transaction_id, ordinal: self.ordinal },
        }
    }
}
