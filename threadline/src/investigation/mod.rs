//! Reading the trail back: what happened to a row, and what it was at an instant.

mod actions;
mod actor;
mod as_of;
mod audited;
mod baseline;
mod between;
mod change;
mod decode;
mod diff;
mod export;
mod feed;
mod filter;
mod fold;
mod history;
mod horizon;
mod image;
mod key;
mod log;
mod page;
mod past_rows;
mod posture;
mod scan;
mod scope;
mod scope_form;
mod statement;
mod tables;
mod timeline;
mod trail;
mod transaction;
mod travel;
pub mod undo;

pub use self::as_of::AsOf;
pub use self::audited::{Audited, ModelSql};
pub use self::baseline::{BaselineVersion, RecordedBaseline};
pub use self::between::{RowChange, RowDiff, TableDiff};
pub use self::change::{AuditAction, AuditChange, AuditTransaction, ChangeId, FieldChange, Op};
pub use self::decode::DecodeError;
pub use self::diff::{ChangeDiff, FieldDiff, FieldValue, change_diff};
pub use self::export::{ExportFormat, ExportOptions, ExportProgress, ExportSummary, TableRows};
pub use self::feed::{
    FeedAction, FeedBatch, FeedCursor, FeedEntry, FeedHold, FeedTransaction, InvalidFeedCursor, feed_hold,
    listen_for_feed, wait_for_feed,
};
pub use self::filter::{Filter, InvalidFilter};
pub use self::history::{History, HistoryLimit, Version};
pub use self::horizon::{ListHorizon, TableHorizon};
pub use self::image::{Json, RowImage, RowState};
pub use self::key::{AuditKey, KeyColumns, RowKey};
pub(crate) use self::page::Place;
pub use self::page::{Cursor, Order, Page, PageRequest};
pub use self::past_rows::PastRow;
pub(crate) use self::scan::{check_filter, table_id};
pub(crate) use self::scope::relation_named;
pub use self::scope::{Scope, Surface};
pub use self::scope_form::InvalidScope;
pub(crate) use self::statement::Statement;
pub use self::tables::TableChange;
pub use self::timeline::{Count, LinkedChange};
pub use self::trail::Trail;
pub(crate) use self::trail::{
    in_one_snapshot, in_one_snapshot_within, in_one_transaction_within, limited, timed,
};
pub use self::transaction::{IncidentBundle, LinkedTransaction, TransactionBundle};
pub use self::travel::{Travel, travel};
pub use self::undo::{Resolution, UndoPlan, UndoTarget};
