//! What retention has removed of one table.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use serde::Serialize;

use crate::capture::TableName;
use crate::error::Error;

/// That retention has removed changes of a table, and up to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, QueryableByName)]
#[non_exhaustive]
pub struct Removed {
    /// From then on all that was captured is there; of what was before, some or all has gone.
    #[diesel(sql_type = Timestamptz)]
    pub before: DateTime<Utc>,
    /// The last run that removed changes, of this table or of another; `None` when it has been forgotten.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub last_run: Option<i64>,
    /// When that run ended; `None` while it goes on.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub last_run_at: Option<DateTime<Utc>>,
}

/// What retention has removed of a table; `None` when nothing has gone that has not come back from an archive.
///
/// # Errors
///
/// [`Error::NotAudited`] for a table that never was; those of the database.
pub fn removed(conn: &mut PgConnection, table: &TableName) -> Result<Option<Removed>, Error> {
    let name = table.to_sql();
    let found = diesel::sql_query(
        "SELECT g.until AS before, r.id AS last_run, r.ended_at AS last_run_at \
         FROM (SELECT threadline.purged_until(threadline.find_table($1, to_regclass($1))) AS until) g \
         LEFT JOIN LATERAL (SELECT r.id, r.ended_at FROM threadline.retention_runs r WHERE r.changes > 0 ORDER BY r.id DESC LIMIT 1) r ON true \
         WHERE g.until IS NOT NULL",
    );
    let found: Result<Option<Removed>, _> = found.bind::<Text, _>(&name).get_result(conn).optional();
    found.map_err(|error| Error::from_query(conn, &name, error))
}
