//! Reading the trail back: what happened to a row, and what it was at an instant.

mod as_of;
mod audited;
mod bundle;
mod change;
mod decode;
mod feed;
mod fold;
mod history;
mod image;
mod key;
mod log;

pub use self::as_of::{AsOf, row_as_of};
pub use self::audited::{Audited, ModelSql};
pub use self::bundle::{TableChange, TransactionBundle, transaction_bundle};
pub use self::change::{AuditAction, AuditChange, AuditTransaction, ChangeId, FieldChange, Op};
pub use self::decode::DecodeError;
pub use self::feed::{
    FeedAction, FeedBatch, FeedCursor, FeedEntry, FeedHold, FeedTransaction, InvalidFeedCursor, feed_hold,
    listen_for_feed, read_feed, wait_for_feed,
};
pub use self::history::{History, HistoryLimit, Version, row_history};
pub use self::image::{Json, RowImage, RowState};
pub use self::key::{AuditKey, KeyColumns, RowKey};
