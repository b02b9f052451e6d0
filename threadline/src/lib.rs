//! Audit infrastructure for Diesel and PostgreSQL: capture in the database, typed reading of what was captured.
//!
//! Triggers record every change of an audited table, whoever makes it. A model says what is to be recorded with
//! `#[derive(Audited)]`, and its history is read back through it:
//!
//! ```no_run
//! use chrono::{TimeDelta, Utc};
//! use diesel::prelude::*;
//! use threadline::{AsOf, Audited};
//!
//! diesel::table! {
//!     posts (id) {
//!         id -> BigInt,
//!         title -> Text,
//!         views -> Integer,
//!     }
//! }
//!
//! #[derive(Debug, Queryable, Selectable, Identifiable, Audited)]
//! #[diesel(table_name = posts)]
//! #[threadline(ignore(views))]
//! struct Post {
//!     id: i64,
//!     title: String,
//!     views: i32,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut conn = PgConnection::establish("postgres://localhost/blog")?;
//! for version in Post::history(&mut conn, 42)?.versions {
//!     println!("{} {:?} {:?}", version.change.captured_at, version.change.op, version.change.changed_fields());
//! }
//! match Post::as_of(&mut conn, 42, Utc::now() - TimeDelta::days(7))? {
//!     AsOf::Present(post) => println!("a week ago: {}", post.title),
//!     other => println!("a week ago: {other:?}"),
//! }
//! # Ok(())
//! # }
//! ```

pub mod capture;
mod error;
pub mod intent;
pub mod investigation;
mod migrations;
pub mod operation;
mod registry;
pub mod telemetry;
mod unseen;

pub use threadline_macros::Audited;

pub use crate::capture::{ActorPolicy, AuditSpec, OnTruncate, TableName, quote_ident, quote_literal};
pub use crate::error::{Error, PastProblem};
pub use crate::intent::{
    Action, ActionStatus, Actor, ActorId, ActorType, AuditContext, AuditedPool, InvalidContext, Isolation,
    OpenTransaction, TransactionBuilder, is_retryable,
};
pub use crate::investigation::{
    AsOf, AuditAction, AuditChange, AuditKey, AuditTransaction, Audited, BaselineVersion, ChangeDiff,
    ChangeId, Count, Cursor, DecodeError, ExportFormat, ExportOptions, ExportProgress, ExportSummary,
    FeedAction, FeedBatch, FeedCursor, FeedEntry, FeedHold, FeedTransaction, FieldChange, FieldDiff,
    FieldValue, Filter, History, HistoryLimit, IncidentBundle, InvalidFeedCursor, InvalidFilter,
    InvalidScope, Json, KeyColumns, LinkedChange, LinkedTransaction, ListHorizon, Op, Order, Page,
    PageRequest, PastRow, RecordedBaseline, Resolution, RowChange, RowDiff, RowImage, RowKey, RowState,
    Scope, Surface, TableChange, TableDiff, TableHorizon, TableRows, Trail, TransactionBundle, Travel,
    UndoPlan, UndoTarget, Version, change_diff, feed_hold, listen_for_feed, travel, undo, wait_for_feed,
};
pub use crate::migrations::{CORE_MIGRATIONS, CoreMigration, CoreMigrations, MIGRATIONS};
pub use crate::operation::{
    config, continuity, evidence, exports, health, holds, partitions, policy, retention, verify, views,
};
pub use crate::registry::{AuditedModel, audited_models};
pub use crate::unseen::is_unseen;

/// What the code of our macros names; no part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use ::diesel;
    pub use ::inventory;
}
