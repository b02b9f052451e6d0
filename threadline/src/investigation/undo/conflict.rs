//! What stands in the way of undoing: later work it would destroy, and what the trail does not know.

use std::fmt;

use serde::Serialize;

use super::super::change::ChangeId;
use super::table::TypedValue;
use crate::capture::TableName;

/// What happened to a row after the changes that are to be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlap {
    /// A captured change.
    Change {
        /// Its name in the trail.
        id: ChangeId,
    },
    /// A write that escaped capture, or a change of the column's type.
    Escaped,
}

/// How later work stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "conflict", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConflictKind {
    /// The column was written again.
    Changed {
        /// The column, by today's name.
        column: String,
        /// What the target left in it; `None` when redaction hides it, or it does not fit the column's type of today.
        left: Option<TypedValue>,
        /// What it holds now, likewise.
        now: Option<TypedValue>,
    },
    /// The row is not there any more.
    RowGone,
    /// Another row has the key the row would get back.
    KeyTaken,
    /// A row that stays refers to the one that would be deleted.
    Referenced {
        /// The foreign key's name.
        foreign_key: String,
        /// The key of the row that refers, in its stored form; `None` when its table is not audited. In JSON it is
        /// `referring_row_key`: `row_key` is that of the conflict's own row.
        #[serde(rename = "referring_row_key")]
        row_key: Option<String>,
    },
}

/// Later work that undoing would destroy, or that makes it impossible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Conflict {
    /// The table.
    pub table: TableName,
    /// The row's key in its stored form.
    pub row_key: String,
    /// What stands in the way.
    #[serde(flatten)]
    pub kind: ConflictKind,
    /// What did it, newest first; empty when the trail does not say.
    pub overlaps: Vec<Overlap>,
}

impl Conflict {
    /// The column, when it is about one.
    pub fn column(&self) -> Option<&str> {
        match &self.kind {
            ConflictKind::Changed { column, .. } => Some(column),
            _ => None,
        }
    }

    /// Whether [`Resolution::Overwrite`](super::Resolution::Overwrite) can settle it: where the row is not there to be
    /// written, it cannot.
    pub fn can_be_overwritten(&self) -> bool {
        matches!(self.kind, ConflictKind::Changed { .. })
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, row_key, kind, overlaps } = self;
        write!(f, "row `{row_key}` of {table}: ")?;
        match kind {
            ConflictKind::Changed { column, .. } => write!(f, "column `{column}` was written again")?,
            ConflictKind::RowGone => write!(f, "the row is gone")?,
            ConflictKind::KeyTaken => write!(f, "another row has its key")?,
            ConflictKind::Referenced { foreign_key, row_key } => {
                write!(f, "row `{}` refers to it by `{foreign_key}`", row_key.as_deref().unwrap_or("?"))?;
            }
        }
        match overlaps.first() {
            Some(Overlap::Change { id }) => write!(f, ", last by change {id}"),
            Some(Overlap::Escaped) => write!(f, ", by a write that escaped capture"),
            None => Ok(()),
        }
    }
}

/// Why something cannot be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimitReason {
    /// The column is masked: what it held was not captured, or is not to be shown.
    Masked,
    /// The column is excluded from capture. An update of such a column leaves nothing in the trail and is not listed.
    Excluded,
    /// The table does not have the column any more.
    ColumnGone,
    /// The value does not fit the column's type of today.
    Unfit {
        /// What PostgreSQL said.
        problem: String,
    },
    /// It was changed from one value to another that the trail writes alike: SQL NULL and the JSON value null, or arrays
    /// that differ in their bounds.
    Alike,
    /// The column must not be NULL, its value is not known, and nothing fills it in: the row cannot be inserted.
    Required,
    /// The column is ignored by capture and has moved on, so it is left as it is. Nothing is lost by that.
    MovedOn,
    /// PostgreSQL lets nobody update the column: it is `GENERATED ALWAYS AS IDENTITY`.
    AlwaysIdentity,
    /// A write to the row escaped capture since the instant it is to be brought back to: what it was then is not certain.
    Escaped,
    /// The rows a TRUNCATE removed were not kept.
    Truncated,
    /// The table is gone, or no longer audited.
    NotAudited,
    /// The role may not read the table.
    Unreadable,
    /// The row cannot be addressed: its key was captured as a digest only, or the table has another key today.
    KeyUnknown,
    /// The statements wait for each other, because of these constraints, which are not deferrable.
    CannotOrder {
        /// Their names.
        constraints: Vec<String>,
    },
}

/// Something that cannot be undone, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Limit {
    /// The table, when it is about one.
    pub table: Option<TableName>,
    /// The row's key in its stored form, when it is about one.
    pub row_key: Option<String>,
    /// The column, when it is about one.
    pub column: Option<String>,
    /// The change, when it is about one as a whole.
    pub change: Option<ChangeId>,
    /// Why.
    #[serde(flatten)]
    pub reason: LimitReason,
}

impl Limit {
    /// Whether something the target did stays done because of it.
    pub fn is_loss(&self) -> bool {
        self.reason != LimitReason::MovedOn
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(column) = &self.column {
            write!(f, "column `{column}` of ")?;
        }
        if let Some(row_key) = &self.row_key {
            write!(f, "row `{row_key}` of ")?;
        }
        if let Some(table) = &self.table {
            write!(f, "{table}: ")?;
        }
        match &self.reason {
            LimitReason::Masked => f.write_str("masked"),
            LimitReason::Excluded => f.write_str("excluded from capture"),
            LimitReason::ColumnGone => f.write_str("the column is gone"),
            LimitReason::Unfit { problem } => write!(f, "does not fit the column's type: {problem}"),
            LimitReason::Alike => f.write_str("changed between values that the trail writes alike"),
            LimitReason::Required => f.write_str("the value is not known and must not be NULL"),
            LimitReason::MovedOn => f.write_str("ignored by capture and left as it is"),
            LimitReason::AlwaysIdentity => f.write_str("an identity column that is generated always"),
            LimitReason::Escaped => {
                f.write_str("a write escaped capture since then, so what the row was is not certain")
            }
            LimitReason::Truncated => f.write_str("truncated, and the rows were not kept"),
            LimitReason::NotAudited => f.write_str("the table is gone, or no longer audited"),
            LimitReason::Unreadable => f.write_str("the role may not read the table"),
            LimitReason::KeyUnknown => f.write_str("the row's key is not known"),
            LimitReason::CannotOrder { constraints } => {
                write!(f, "no order of the statements satisfies {}", constraints.join(", "))
            }
        }
    }
}
