//! Recorded baselines: what a table held at one instant, taken on purpose.
//!
//! A row that existed when capture began needs none: it is folded back from the row of now. A baseline is for what capture
//! cannot give: after a write that escaped it, a place from which rows are known again; and before whatever may be lost later
//! (a TRUNCATE, another gap), a place to tell them from forwards. It is no change. No row of it is in the timeline, the feed, an
//! export or an undo, and nobody is said to have written one.

use std::thread::sleep;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use serde::Serialize;
use uuid::Uuid;

use crate::capture::TableName;
use crate::error::Error;
use crate::intent::{Actor, depth, gave_way};
use crate::investigation::{RecordedBaseline, Statement, relation_named};
use crate::operation::evidence::{Record, Reference, Subject, record_if_allowed};
use crate::operation::retention::is_lock_timeout;

/// How long the beginning waits for writers of the table, and they behind it, at a time: less than PostgreSQL waits before it
/// looks for a deadlock and might end a writer.
const LOCK_TIMEOUT: &str = "500ms";

/// A table that takes no more bytes on disk is counted.
const COUNTED_BYTES: i64 = 16 * 1024 * 1024;

/// How often it tries.
const ATTEMPTS: u32 = 10;

/// A baseline of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Baseline {
    /// Which it is, of when, by whom and why.
    #[serde(flatten)]
    pub recorded: RecordedBaseline,
    /// How many rows the table had.
    pub rows: u64,
}

/// What recording a baseline would copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BaselinePlan {
    /// How many rows the table has: counted where it is small, else by the planner's estimate; `None` before it was first analyzed.
    pub rows_estimate: Option<u64>,
    /// What the table takes on disk without its indexes, about what the baseline will take.
    pub bytes: u64,
}

/// What [`record_baseline`] would copy. Nothing is written and nothing is locked.
///
/// # Errors
///
/// As [`assert_ready`](super::assert_ready); [`Error::Query`] for a role that may not read a table that is small enough to be counted.
pub fn plan_baseline(conn: &mut PgConnection, table: &TableName) -> Result<BaselinePlan, Error> {
    #[derive(QueryableByName)]
    struct Size {
        #[diesel(sql_type = Nullable<BigInt>)]
        row_estimate: Option<i64>,
        #[diesel(sql_type = BigInt)]
        size_bytes: i64,
    }
    #[derive(QueryableByName)]
    struct Counted {
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    super::assert_ready(conn, table)?;
    let mut statement = Statement::new(
        "SELECT CASE WHEN bool_and(c.reltuples >= 0) THEN sum(c.reltuples)::bigint END AS row_estimate, \
         coalesce(sum(pg_table_size(c.oid)), 0)::bigint AS size_bytes FROM (SELECT to_regclass(",
    );
    statement.bind(table.to_sql()).sql(
        ")) t (oid) CROSS JOIN LATERAL (SELECT p.relid FROM pg_partition_tree(t.oid) p UNION SELECT t.oid) member (oid) \
         JOIN pg_class c ON c.oid = member.oid AND c.relkind = 'r'",
    );
    let sizes: Vec<Size> = statement.load_from(conn)?;
    let (mut rows, bytes) = sizes.first().map_or((None, 0), |size| (size.row_estimate, size.size_bytes));
    if bytes <= COUNTED_BYTES {
        let count = format!("SELECT count(*) AS rows FROM {}", table.to_sql());
        let counted: Vec<Counted> = Statement::new(&count).load_from(conn)?;
        rows = counted.first().map(|counted| counted.rows);
    }
    Ok(BaselinePlan { rows_estimate: rows.map(i64::unsigned_abs), bytes: bytes.unsigned_abs() })
}

/// Records what a table holds: every row, redacted as capture redacts it, at one instant that is exact to its changes. From then
/// on [`row_as_of`](crate::Trail::row_as_of) and [`row_history`](crate::Trail::row_history) know the rows at that instant, whatever
/// escaped capture before or after it.
///
/// It begins with a lock that waits for the transactions that write the table, half a second at a time and ten times at most,
/// in which new writers wait behind it. The lock goes as soon as it was given; the rows are copied without it, in the snapshot
/// taken under it. For so long readers and writers are not disturbed; a TRUNCATE or a change of the table waits, the feed waits
/// as for any transaction that has written, and VACUUM keeps what the snapshot sees. All of it is one transaction: a baseline is there whole or not at all.
///
/// The role has to own the audit schema, and to be allowed to read and to update the table. Not inside an open transaction. Where
/// the role may record it, the baseline and its [evidence](crate::evidence) are there together or not at all.
///
/// # Errors
///
/// As [`assert_ready`](super::assert_ready), for what escapes capture from then on would not be known either;
/// [`Error::Refused`] when `reason` is empty or longer than 4096 bytes, when writers did not let it begin, and inside an open
/// transaction.
pub fn record_baseline(
    conn: &mut PgConnection,
    table: &TableName,
    who: &Actor,
    reason: &str,
) -> Result<Baseline, Error> {
    if depth(conn)? > 0 {
        return Err(Error::Refused {
            message: "a baseline cannot be recorded inside an open transaction".to_owned(),
            hint: Some("record it on a connection that has none".to_owned()),
        });
    }
    super::assert_ready(conn, table)?;
    let mut attempt = 1;
    loop {
        let result = conn
            .build_transaction()
            .repeatable_read()
            .read_write()
            .run(|conn| copy(conn, table, who, reason));
        match result {
            Err(Error::Query(error)) if gave_way(&error) || is_lock_timeout(&error) => {
                if attempt == ATTEMPTS {
                    return Err(Error::Refused {
                        message: format!(
                            "transactions that write table `{}` did not let its baseline begin",
                            table.to_plain()
                        ),
                        hint: Some("end those that stay open, or try again at a quieter time".to_owned()),
                    });
                }
                // Writers that have queued behind it go first.
                sleep(Duration::from_millis(100) * attempt);
                attempt += 1;
            }
            // Now that the transaction is over, the database can be asked what it ran into.
            Err(Error::Query(error)) => return Err(Error::from_query(conn, &table.to_plain(), error)),
            result => return result,
        }
    }
}

fn copy(conn: &mut PgConnection, table: &TableName, who: &Actor, reason: &str) -> Result<Baseline, Error> {
    #[derive(QueryableByName)]
    struct Instant {
        #[diesel(sql_type = Timestamptz)]
        at: DateTime<Utc>,
    }
    #[derive(QueryableByName)]
    struct Copied {
        #[diesel(sql_type = SqlUuid)]
        id: Uuid,
        #[diesel(sql_type = BigInt)]
        row_count: i64,
    }
    let name = table.to_sql();
    // None of these takes a snapshot. The first lock stays, so that the table keeps its columns; the second, which no writer holds
    // one beside, goes with the savepoint.
    conn.batch_execute(&format!(
        "SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; LOCK TABLE {name} IN ACCESS SHARE MODE; \
         SAVEPOINT threadline_instant; LOCK TABLE {name} IN SHARE MODE"
    ))?;
    // This does, and the transaction keeps it: all that was captured of the table has been committed by now, and all that will be
    // is captured later than this.
    let Instant { at } = diesel::sql_query("SELECT clock_timestamp() AS at").get_result(conn)?;
    conn.batch_execute("ROLLBACK TO SAVEPOINT threadline_instant; RELEASE SAVEPOINT threadline_instant")?;
    let actor = serde_json::json!({ "type": who.actor_type().as_str(), "id": who.id() });
    let copied: Copied = diesel::sql_query(
        "SELECT id, row_count FROM threadline.record_baseline(CAST($1 AS text)::regclass, $2, $3::jsonb, $4)",
    )
    .bind::<Text, _>(&name)
    .bind::<Timestamptz, _>(at)
    .bind::<Text, _>(actor.to_string())
    .bind::<Text, _>(reason)
    .get_result(conn)?;
    let recorded_by = match who.id() {
        Some(id) => format!("{}:{id}", who.actor_type().as_str()),
        None => who.actor_type().as_str().to_owned(),
    };
    let baseline = Baseline {
        recorded: RecordedBaseline { id: copied.id, recorded_at: at, recorded_by, reason: reason.to_owned() },
        rows: copied.row_count.unsigned_abs(),
    };
    let named = relation_named(conn, table)?;
    let evidence = baseline.evidence(named.as_ref().unwrap_or(table), who);
    record_if_allowed(conn, Subject::RecordedBaseline, &[evidence])?;
    Ok(baseline)
}

impl Baseline {
    /// That it was recorded. The reason, people's own words, is with the baseline.
    fn evidence(&self, table: &TableName, who: &Actor) -> Record {
        Record::new(
            Subject::RecordedBaseline,
            Reference::new("baseline", self.recorded.id),
            "threadline::continuity",
            "threadline::continuity::record_baseline",
        )
        .actor(who.clone())
        .recorded_at(self.recorded.recorded_at)
        .detail("rows", self.rows)
        .names("tables", [table.to_plain()])
    }
}

/// The baselines of a table, by its identity in the trail, oldest first; without those that retention is removing.
pub(super) fn of_table(conn: &mut PgConnection, table_id: i32) -> Result<Vec<Baseline>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        id: Uuid,
        #[diesel(sql_type = Timestamptz)]
        recorded_at: DateTime<Utc>,
        #[diesel(sql_type = Text)]
        recorded_by: String,
        #[diesel(sql_type = Text)]
        reason: String,
        #[diesel(sql_type = BigInt)]
        row_count: i64,
    }
    let mut statement = Statement::kept(
        "SELECT b.id, b.recorded_at, b.actor_type || coalesce(':' || b.actor_id, '') AS recorded_by, b.reason, b.row_count \
         FROM threadline.audit_baselines b WHERE b.leaving_at IS NULL AND b.table_id = ",
    );
    statement.bind(table_id).sql(" ORDER BY b.recorded_at, b.id");
    let rows: Vec<Row> = statement.load_from(conn)?;
    Ok(rows
        .into_iter()
        .map(|row| Baseline {
            recorded: RecordedBaseline {
                id: row.id,
                recorded_at: row.recorded_at,
                recorded_by: row.recorded_by,
                reason: row.reason,
            },
            rows: row.row_count.unsigned_abs(),
        })
        .collect())
}
