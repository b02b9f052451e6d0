//! What holds the feed back.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz};
use serde::Serialize;

use crate::error::Error;

/// The oldest transaction that is running: the feed delivers nothing with its number or a higher one until it has ended.
///
/// Any transaction that has written counts, in any database of the cluster and whether or not it wrote anything audited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FeedHold {
    /// Its number.
    pub number: u64,
    /// How many numbers have been given out from its own on; what was committed with one of them waits.
    pub numbers_behind: u64,
    /// When it began, or was prepared. `None` where the role may not see the session (grant it `pg_read_all_stats`), and on
    /// a standby.
    pub since: Option<DateTime<Utc>>,
    /// The process it runs in; `None` for a prepared one, and on a standby.
    pub pid: Option<i32>,
    /// The name of a prepared transaction (`PREPARE TRANSACTION`): it holds until somebody ends it.
    pub prepared: Option<String>,
}

/// What holds the feed back at this moment; `None` when nothing that has ended waits for it. Most of what it finds is gone a moment later: look at `since`.
///
/// # Errors
///
/// [`Error::ConnectionLost`] and others of the database.
pub fn feed_hold(conn: &mut PgConnection) -> Result<Option<FeedHold>, Error> {
    #[derive(QueryableByName)]
    struct Oldest {
        #[diesel(sql_type = BigInt)]
        number: i64,
        #[diesel(sql_type = BigInt)]
        numbers_behind: i64,
        #[diesel(sql_type = Nullable<Timestamptz>)]
        since: Option<DateTime<Utc>>,
        #[diesel(sql_type = Nullable<Integer>)]
        pid: Option<i32>,
        #[diesel(sql_type = Nullable<Text>)]
        prepared: Option<String>,
    }
    // Sessions show the last 32 bits of their number.
    let oldest: Option<Oldest> = diesel::sql_query(
        "SELECT s.number, s.next_number - s.number AS numbers_behind, coalesce(a.xact_start, p.prepared) AS since, a.pid, p.gid AS prepared \
         FROM (SELECT pg_snapshot_xmin(n)::text::bigint AS number, pg_snapshot_xmax(n)::text::bigint AS next_number FROM pg_current_snapshot() n) s \
         LEFT JOIN pg_stat_activity a ON a.backend_xid::text::bigint = s.number % 4294967296 \
         LEFT JOIN pg_prepared_xacts p ON p.transaction::text::bigint = s.number % 4294967296 \
         WHERE s.number < s.next_number",
    )
    .get_result(conn)
    .optional()
    .map_err(Error::from)?;
    Ok(oldest.map(|Oldest { number, numbers_behind, since, pid, prepared }| FeedHold {
        number: number.unsigned_abs(),
        numbers_behind: numbers_behind.unsigned_abs(),
        since,
        pid,
        prepared,
    }))
}
