//! Reading the trail back: what happened to a row, and what it was at an instant.

mod as_of;
mod audited;
mod bundle;
mod change;
mod decode;
mod diff;
mod fold;
mod history;
mod image;
mod key;
mod log;
mod past_rows;
mod travel;

pub use self::as_of::{AsOf, row_as_of};
pub use self::audited::{Audited, ModelSql};
pub use self::bundle::{TableChange, TransactionBundle, transaction_bundle};
pub use self::change::{AuditAction, AuditChange, AuditTransaction, ChangeId, FieldChange, Op};
pub use self::decode::DecodeError;
pub use self::diff::{RowChange, RowDiff, TableDiff, row_diff, table_diff};
pub use self::history::{History, HistoryLimit, Version, row_history};
pub use self::image::{Json, RowImage, RowState};
pub use self::key::{AuditKey, KeyColumns, RowKey};
pub use self::past_rows::{PastRow, rows_as_of, table_as_of};
pub use self::travel::{Travel, travel};
