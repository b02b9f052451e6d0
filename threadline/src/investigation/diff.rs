//! What a change did, column by column.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::change::{AuditChange, ChangeId, Op};
use super::image::{Json, RowImage};
use super::tables::TableChange;
use super::timeline::LinkedChange;
use crate::capture::TableName;

/// What is known of a column on one side of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "value", rename_all = "snake_case")]
pub enum FieldValue {
    /// This value.
    Known(Json),
    /// A value that is not told; the mask's placeholder stands for it.
    Masked(Json),
    /// There was no row.
    Absent,
    /// A value the trail does not have.
    Unknown,
}

/// A column on both sides of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FieldDiff {
    /// The column, by today's name.
    pub name: String,
    /// Before the change.
    pub before: FieldValue,
    /// After it.
    pub after: FieldValue,
}

/// What a change did, as it is shown to people and handed to programs: the same for the same change, wherever it was read.
///
/// As JSON: `{"schema_version": 1, "transaction_id", "ordinal", "table", "op", "captured_at", "row_key", "previous_row_key",
/// "fields": [{"name", "before": {"state": "known", "value"}, "after": {"state": "absent"}}]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ChangeDiff {
    /// Of this shape; another number means that something has gone or means something else, not that there is more.
    pub schema_version: u32,
    /// The change's name in the trail.
    #[serde(flatten)]
    pub id: ChangeId,
    /// The table, under the name it had when its capture was last compiled.
    pub table: TableName,
    /// What it did.
    pub op: Op,
    /// When (UTC, microseconds).
    pub captured_at: DateTime<Utc>,
    /// The row's key after it.
    pub row_key: String,
    /// The key before an update that changed it.
    pub previous_row_key: Option<String>,
    /// The columns in the order of their names: those an update changed, or all of an inserted or deleted row; none of a
    /// TRUNCATE.
    pub fields: Vec<FieldDiff>,
}

/// What this change of `table` did; `row` is the whole row that comes with an insert or a delete.
pub fn change_diff(table: &TableName, change: &AuditChange, row: Option<&RowImage>) -> ChangeDiff {
    let fields = match change.op {
        Op::Update => change
            .fields
            .iter()
            .map(|(name, field)| {
                let side = |value: &Json| {
                    if field.masked {
                        FieldValue::Masked(value.clone())
                    } else {
                        FieldValue::Known(value.clone())
                    }
                };
                FieldDiff { name: name.clone(), before: side(&field.before), after: side(&field.after) }
            })
            .collect(),
        Op::Insert => whole(row, |name, value| FieldDiff { name, before: FieldValue::Absent, after: value }),
        Op::Delete => whole(row, |name, value| FieldDiff { name, before: value, after: FieldValue::Absent }),
        Op::Truncate => Vec::new(),
    };
    ChangeDiff {
        schema_version: 1,
        id: change.id,
        table: table.clone(),
        op: change.op,
        captured_at: change.captured_at,
        row_key: change.row_key.clone(),
        previous_row_key: change.previous_row_key.clone(),
        fields,
    }
}

fn whole(row: Option<&RowImage>, make: impl Fn(String, FieldValue) -> FieldDiff) -> Vec<FieldDiff> {
    let Some(row) = row else {
        return Vec::new();
    };
    row.columns
        .iter()
        .map(|(name, value)| {
            let value = if row.masked.contains(name) {
                FieldValue::Masked(value.clone())
            } else {
                FieldValue::Known(value.clone())
            };
            make(name.clone(), value)
        })
        .collect()
}

impl TableChange {
    /// What it did, column by column.
    pub fn diff(&self) -> ChangeDiff {
        change_diff(&self.table, &self.change, self.row.as_ref())
    }
}

impl LinkedChange {
    /// What it did, column by column.
    pub fn diff(&self) -> ChangeDiff {
        change_diff(&self.table, &self.change, self.row.as_ref())
    }
}
