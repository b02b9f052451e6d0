//! What a recorded baseline says of a row. It is a snapshot that somebody had taken, and no change: nobody wrote the row then.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::image::RowState;

/// Which baseline it is; see [`continuity::record_baseline`](crate::continuity::record_baseline).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedBaseline {
    /// Its id.
    pub id: Uuid,
    /// The instant it shows: every change captured by then counts, none captured after.
    pub recorded_at: DateTime<Utc>,
    /// Who had it recorded, as `admin:7`. Not who wrote the rows.
    pub recorded_by: String,
    /// Why.
    pub reason: String,
}

/// A row as a baseline recorded it. A snapshot, not a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BaselineVersion {
    /// The baseline.
    #[serde(flatten)]
    pub baseline: RecordedBaseline,
    /// How many of the history's versions are newer; it comes right before the version at this place.
    pub place: usize,
    /// The row at that instant: [`RowState::Present`] or [`RowState::Absent`].
    pub state: RowState,
    /// Whether a write between the baseline and the next newer change (or the row as it is now) escaped capture.
    pub gap: bool,
}
