//! How a month leaves as a whole: told to readers, archived, detached, dropped; or stays after all.

use std::thread::sleep;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz};

use super::archive::{self, Archive, Archived, Counts};
use super::work::{Work, is_timeout, name_of};
use crate::capture::quote_ident;
use crate::error::Error;

/// What became of a month that was to leave.
pub(super) enum Left {
    Dropped {
        bytes: u64,
    },
    Postponed,
    Stays,
    /// Another session has let it go meanwhile.
    Gone,
    /// Another session has it at this moment.
    Taken,
}

/// The month's rows into the archive, read back and checked.
pub(super) fn archive(
    work: &Work<'_>,
    conn: &mut PgConnection,
    label: &str,
    archive: &mut dyn Archive,
) -> Result<Archived, Error> {
    let mut beat = |conn: &mut PgConnection| work.beat(conn);
    archive::write(conn, label, archive, &mut beat)
}

/// Removes a month that has been decided to leave and was, with `archived`, written to an archive, with so many rows.
///
/// Whoever read in a snapshot of before the decision does not know of it, and a partition that is detached is gone from every
/// snapshot: so those are waited for first, which also are all that could still write into the month.
pub(super) fn remove(
    work: &Work<'_>,
    conn: &mut PgConnection,
    label: &str,
    archived: Option<&Archived>,
) -> Result<Left, Error> {
    #[derive(QueryableByName)]
    struct Now {
        #[diesel(sql_type = Timestamptz)]
        now: DateTime<Utc>,
    }
    #[derive(QueryableByName)]
    struct Counted {
        #[diesel(sql_type = Text)]
        counts: String,
    }
    #[derive(QueryableByName)]
    struct Returned {
        #[diesel(sql_type = Nullable<BigInt>)]
        bytes: Option<i64>,
    }
    let Now { now: began } = diesel::sql_query("SELECT clock_timestamp() AS now")
        .get_result(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    if !wait_for_snapshots(work, conn, label)? {
        return Ok(Left::Postponed);
    }
    for (parent, place) in places(conn, label)? {
        work.beat(conn)?;
        let (parent, part) = (quote_ident(&parent), quote_ident(&format!("{parent}{label}")));
        let detach = format!("ALTER TABLE threadline.{parent} DETACH PARTITION threadline.{part}");
        match place.as_str() {
            // Neither readers nor writers wait for it; it waits for those that use the trail at this moment.
            "attached" => conn
                .batch_execute(&format!("{detach} CONCURRENTLY"))
                .map_err(|error| Error::from_query(conn, "", error))?,
            "pending" => {
                match work.in_time(conn, |conn| conn.batch_execute(&format!("{detach} FINALIZE"))) {
                    // Whoever reads it has all the time there is.
                    Err(Error::Query(error)) if is_timeout(&error) => return Ok(Left::Postponed),
                    finalized => finalized?,
                }
            }
            _ => {}
        }
    }
    let Counted { counts } = diesel::sql_query("SELECT threadline.month_counts($1)::text AS counts")
        .bind::<Text, _>(label)
        .get_result(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    let now: Counts = serde_json::from_str(&counts).map_err(Error::Payload)?;
    let unsound = archived.is_some_and(|archived| archived.counts() != now);
    let returned = if unsound {
        Returned { bytes: None }
    } else {
        work.in_time(conn, |conn| {
            diesel::sql_query(
                "SELECT threadline.retention_drop($1, $2, $3::jsonb, $4::jsonb, $5, $6::jsonb) AS bytes",
            )
            .bind::<Nullable<BigInt>, _>(work.run)
            .bind::<Text, _>(label)
            .bind::<Text, _>(work.cutoffs.policy.to_string())
            .bind::<Text, _>(&counts)
            .bind::<Timestamptz, _>(began)
            .bind::<Nullable<Text>, _>(archived.map(Archived::to_json))
            .get_result(conn)
        })?
    };
    if let Some(bytes) = returned.bytes {
        return Ok(Left::Dropped { bytes: bytes.unsigned_abs() });
    }
    stay(work, conn, label)?;
    if unsound {
        return Err(Error::ArchiveUnsound {
            object: name_of(label),
            problem: "does not have the rows the month has by now; the month stays, run retention again"
                .to_owned(),
        });
    }
    Ok(Left::Stays)
}

/// Removes a month that was attached from an archive and is released, as whoever restores takes it: one session at a time, in one
/// transaction, and with the tables of the trail locked for that moment alone.
pub(super) fn remove_released(work: &Work<'_>, conn: &mut PgConnection, label: &str) -> Result<Left, Error> {
    #[derive(QueryableByName)]
    struct Now {
        #[diesel(sql_type = Timestamptz)]
        now: DateTime<Utc>,
    }
    #[derive(QueryableByName)]
    struct Ended {
        #[diesel(sql_type = Text)]
        outcome: String,
        #[diesel(sql_type = Nullable<BigInt>)]
        bytes: Option<i64>,
    }
    let Now { now: began } = diesel::sql_query("SELECT clock_timestamp() AS now")
        .get_result(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    if !wait_for_snapshots(work, conn, label)? {
        return Ok(Left::Postponed);
    }
    let ended = work.in_time(conn, |conn| {
        diesel::sql_query("SELECT outcome, bytes FROM threadline.drop_released($1, $2, $3)")
            .bind::<Nullable<BigInt>, _>(work.run)
            .bind::<Text, _>(label)
            .bind::<Timestamptz, _>(began)
            .get_result(conn)
    });
    match ended {
        // Whoever reads the trail has all the time there is.
        Err(Error::Query(error)) if is_timeout(&error) => Ok(Left::Postponed),
        Err(error) => Err(error),
        Ok(Ended { outcome, bytes }) => Ok(match outcome.as_str() {
            "dropped" => Left::Dropped { bytes: bytes.unwrap_or_default().unsigned_abs() },
            "stays" => Left::Stays,
            "taken" => Left::Taken,
            _ => Left::Gone,
        }),
    }
}

/// Has a month stay after all.
pub(super) fn stay(work: &Work<'_>, conn: &mut PgConnection, label: &str) -> Result<(), Error> {
    work.in_time(conn, |conn| {
        diesel::sql_query("SELECT threadline.retention_stay($1)").bind::<Text, _>(label).execute(conn)
    })?;
    Ok(())
}

/// Where the six partitions of a month are, in the order in which they leave.
fn places(conn: &mut PgConnection, label: &str) -> Result<Vec<(String, String)>, Error> {
    #[derive(QueryableByName)]
    struct Part {
        #[diesel(sql_type = Text)]
        parent: String,
        #[diesel(sql_type = Text)]
        place: String,
    }
    let parts: Vec<Part> = diesel::sql_query("SELECT parent, place FROM threadline.month_places($1)")
        .bind::<Text, _>(label)
        .load(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    Ok(parts.into_iter().map(|part| (part.parent, part.place)).collect())
}

/// Waits until no transaction is left of those that are open now and may have a snapshot of before, or may write into the
/// month; `false` when that takes longer than the statement timeout.
///
/// Every transaction shows its virtual number to everybody; what else a session does is shown to its own role and to those who
/// may read all statistics. One that is seen to have no snapshot now will take a new one.
fn wait_for_snapshots(work: &Work<'_>, conn: &mut PgConnection, label: &str) -> Result<bool, Error> {
    #[derive(QueryableByName)]
    struct Open {
        #[diesel(sql_type = Array<Text>)]
        open: Vec<String>,
    }
    const OPEN: &str = "SELECT coalesce(array_agg(l.virtualtransaction), '{}') AS open FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid() AND a.usesysid IS NOT NULL \
         AND a.datid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) \
         AND NOT (a.xact_start IS NOT NULL AND a.backend_xmin IS NULL AND a.xact_start >= \
         (SELECT threadline.instant_of(m.end_id) FROM threadline.retention_months m WHERE m.label = $2)) \
         AND ($1 IS NULL OR l.virtualtransaction = ANY ($1))";
    let until = Instant::now() + work.policy.statement_timeout;
    let mut open: Option<Vec<String>> = None;
    loop {
        let left: Open = diesel::sql_query(OPEN)
            .bind::<Nullable<Array<Text>>, _>(&open)
            .bind::<Text, _>(label)
            .get_result(conn)
            .map_err(|error| Error::from_query(conn, "", error))?;
        if left.open.is_empty() {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        open = Some(left.open);
        sleep(Duration::from_millis(20));
    }
}
