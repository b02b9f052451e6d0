//! The partitions of the trail: kept ahead of time, and what there is of them.

use std::thread::sleep;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Uuid as SqlUuid};
use serde::Serialize;
use uuid::Uuid;

use super::retention::{instant_of, is_lock_timeout};
use crate::capture;
use crate::error::Error;

/// How often maintenance tries again while others use the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintainOptions {
    attempts: u32,
    backoff: Duration,
}

impl Default for MaintainOptions {
    fn default() -> Self {
        Self { attempts: 6, backoff: Duration::from_millis(100) }
    }
}

impl MaintainOptions {
    /// How often it is tried at most; 0 counts as 1. 6 unless set.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// How long to wait after the first attempt; twice as long after each further one, up to a minute. 100 ms unless set.
    pub fn backoff(self, backoff: Duration) -> Self {
        Self { backoff, ..self }
    }
}

/// Keeps three months of partitions ahead of time, and one for what lies before the oldest. To be called at least monthly;
/// what was neglected it makes good, however long. Returns how many months were added.
///
/// An attempt makes writers wait for half a second at most before it gives up. Only where rows have reached the tail, because
/// maintenance was neglected, do they wait for as long as it takes to read those once.
///
/// # Errors
///
/// That of the last attempt, when the audit tables stayed locked; nothing has changed then.
pub fn maintain(conn: &mut PgConnection, options: &MaintainOptions) -> Result<u32, Error> {
    let mut wait = options.backoff;
    let mut attempt = 1;
    loop {
        match capture::maintain(conn) {
            Err(Error::Query(error)) if is_lock_timeout(&error) && attempt < options.attempts => {}
            Err(Error::Conflict(_)) if attempt < options.attempts => {}
            result => return result,
        }
        sleep(wait);
        wait = (2 * wait).min(Duration::from_secs(60));
        attempt += 1;
    }
}

/// A month of the trail: one partition of each of its six tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Partition {
    /// As the partitions' names end: `2025_01`, `tail` for the last one, `filler_…` for one that only a clock set back leads to.
    pub name: String,
    /// Where it begins; `None` for the beginning of time.
    pub from: Option<DateTime<Utc>>,
    /// Where it ends, exclusive; `None` for the end of time.
    pub to: Option<DateTime<Utc>>,
    /// How many changes it has, as PostgreSQL last counted; 0 is exact, and `None` that it has not counted since there are any.
    pub changes_estimate: Option<u64>,
    /// What its six tables take on disk, indexes included.
    pub bytes: u64,
    /// Whether it is on its way out, or attached from an archive.
    pub state: PartitionState,
}

/// How a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartitionState {
    /// Part of the trail.
    Attached,
    /// Retention has decided to drop it.
    Leaving,
    /// Attached from an archive for reading, or filled with what an archive has of it.
    Restored,
}

/// The partitions of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Partitions {
    /// Oldest first.
    pub partitions: Vec<Partition>,
    /// How long it is until writes reach the tail, which maintenance keeps two months away at least. Zero when they have.
    pub runway: Duration,
}

/// The partitions of the trail, oldest first. Reads catalogs alone.
///
/// # Errors
///
/// When the database cannot be asked.
pub fn list(conn: &mut PgConnection) -> Result<Partitions, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        label: String,
        #[diesel(sql_type = Nullable<SqlUuid>)]
        first_id: Option<Uuid>,
        #[diesel(sql_type = Nullable<SqlUuid>)]
        end_id: Option<Uuid>,
        #[diesel(sql_type = Nullable<BigInt>)]
        row_estimate: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        size_bytes: Option<i64>,
        #[diesel(sql_type = Bool)]
        leaving: bool,
        #[diesel(sql_type = Bool)]
        restored: bool,
    }
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT p.label, p.first_id, p.end_id, p.row_estimate, p.size_bytes, coalesce(m.state IN ('leaving', 'released'), p.pending) AS leaving, \
         coalesce(m.state IN ('restored', 'filled'), false) AS restored \
         FROM threadline.partitions() p LEFT JOIN threadline.retention_months m USING (label) ORDER BY p.first_id NULLS FIRST",
    )
    .load(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    let tail = rows.last().and_then(|row| row.first_id).map(instant_of);
    let runway = tail.and_then(|tail| (tail - Utc::now()).to_std().ok()).unwrap_or_default();
    let partitions = rows.into_iter().map(|row| Partition {
        name: row.label.trim_start_matches('_').to_owned(),
        from: row.first_id.map(instant_of),
        to: row.end_id.map(instant_of),
        changes_estimate: row.row_estimate.map(i64::unsigned_abs),
        bytes: row.size_bytes.unwrap_or_default().unsigned_abs(),
        state: match (row.leaving, row.restored) {
            (true, _) => PartitionState::Leaving,
            (_, true) => PartitionState::Restored,
            _ => PartitionState::Attached,
        },
    });
    Ok(Partitions { partitions: partitions.collect(), runway })
}
