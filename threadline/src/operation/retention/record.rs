//! What is on record of a run of retention: its row, and the evidence of how it ended.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text};
use serde::{Deserialize, Serialize};

use super::policy::RetentionPolicy;
use crate::error::Error;
use crate::intent::Actor;
use crate::operation::evidence::{Record, Reference, Status, Subject, record_if_allowed};

const DAY: Duration = Duration::from_secs(86_400);

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// It goes on.
    Running,
    /// It removed all that was due and could go; but for the months it has left for a later run.
    Completed,
    /// It ended with an error; what it had removed is gone.
    Failed,
    /// It died, and a later run noticed.
    Abandoned,
}

impl RunState {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A run of retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RetentionRun {
    /// Its number.
    pub id: i64,
    /// How it stands.
    pub state: RunState,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended; of one that died, when it was last heard of.
    pub ended_at: Option<DateTime<Utc>>,
    /// Who asked for it.
    pub asked_by: Actor,
    /// What kind of error ended it: `superseded`, `stopped`, `archive`, `lock_timeout`, `statement_timeout`, `connection_lost`, `died`
    /// or `other`.
    pub error: Option<String>,
    /// The run that had died before it.
    pub resumes: Option<i64>,
    /// Changes that went.
    pub changes: u64,
    /// Transactions that went.
    pub transactions: u64,
    /// Actions that went.
    pub actions: u64,
    /// Months that went as a whole; their rows are among those counted.
    pub months: u64,
    /// What those gave back to the disk. Space of rows that went in batches stays with the partition for PostgreSQL to use
    /// again, until the partition goes.
    pub bytes: u64,
    /// Export jobs that expired.
    pub exports: u64,
    /// Evidence rows that expired.
    pub evidence: u64,
    /// Access-log rows that expired.
    pub access_log: u64,
    /// Rows of recorded baselines that expired.
    pub baseline_rows: u64,
    /// Earlier runs that were forgotten.
    pub runs: u64,
    /// The months it did not look through to their end, for a later run: another session was at work on them, or transactions
    /// were open that may still read them. As the names of their partitions end: `2025_01`.
    pub left_for_later: Vec<String>,
    /// How many runs it stands for. Those that find nothing due one after the other, asked for by the same actor, are one: it
    /// began when the first did, and ended when the last did.
    pub looks: u64,
}

impl RetentionRun {
    /// That it ran, how it ended, and how much went. Of runs that find nothing due, one a day is recorded.
    fn evidence(&self) -> Record {
        let record = Record::new(
            Subject::RetentionRun,
            Reference::new("run", self.id),
            "threadline::retention",
            "threadline::retention::run",
        )
        .status(if self.state == RunState::Completed { Status::Ok } else { Status::Error })
        .actor(self.asked_by.clone())
        .detail("state", self.state.as_str())
        .detail("error", self.error.clone())
        .detail("resumes", self.resumes)
        .detail("started_at", self.started_at.to_rfc3339_opts(SecondsFormat::Micros, true))
        .detail("left_for_later", self.left_for_later.clone())
        .detail("bytes", self.bytes);
        let record = if self.is_idle() { record.unless_unchanged_for(DAY) } else { record };
        let record = match self.ended_at {
            Some(ended_at) => record.recorded_at(ended_at),
            None => record,
        };
        self.removed().into_iter().fold(record, |record, (kind, number)| record.detail(kind, number))
    }

    /// Whether it found nothing due.
    fn is_idle(&self) -> bool {
        self.state == RunState::Completed
            && self.resumes.is_none()
            && self.left_for_later.is_empty()
            && self.removed().iter().all(|(_, number)| *number == 0)
    }

    /// What went, by kind.
    pub(super) fn removed(&self) -> [(&'static str, u64); 9] {
        [
            ("changes", self.changes),
            ("transactions", self.transactions),
            ("actions", self.actions),
            ("months", self.months),
            ("exports", self.exports),
            ("evidence", self.evidence),
            ("access_log", self.access_log),
            ("baseline_rows", self.baseline_rows),
            ("runs", self.runs),
        ]
    }
}

/// The posture the run works with, and the end of the one it goes on for.
pub(super) fn record_begin(
    conn: &mut PgConnection,
    run: i64,
    policy: &RetentionPolicy,
    by: &Actor,
) -> Result<(), Error> {
    record_if_allowed(conn, Subject::RetentionPolicy, &[policy.posture(by)])?;
    let died = read_runs(conn, "JOIN threadline.retention_runs n ON n.resumes = r.id WHERE n.id = $1", run)?;
    let died: Vec<Record> = died.iter().map(RetentionRun::evidence).collect();
    record_if_allowed(conn, Subject::RetentionRun, &died).map(drop)
}

/// Ends a run in its row and in the evidence. One that was taken for dead meanwhile has its end from the one that did so.
pub(super) fn record_end(
    conn: &mut PgConnection,
    run: i64,
    state: RunState,
    kind: Option<&str>,
    left_for_later: &[String],
) -> Result<RetentionRun, Error> {
    #[derive(QueryableByName)]
    struct Folded {
        #[diesel(sql_type = BigInt)]
        run: i64,
    }
    conn.transaction(|conn| {
        let ended = diesel::sql_query(
            "UPDATE threadline.retention_runs SET state = $2, error = $3, left_for_later = $4, ended_at = clock_timestamp() WHERE id = $1 AND state = 'running'",
        )
        .bind::<BigInt, _>(run)
        .bind::<Text, _>(state.as_str())
        .bind::<Nullable<Text>, _>(kind)
        .bind::<Array<Text>, _>(left_for_later)
        .execute(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
        let mut found = read_run(conn, run)?;
        if ended > 0 && found.is_idle() {
            let Folded { run } = diesel::sql_query("SELECT threadline.fold_idle($1) AS run")
                .bind::<BigInt, _>(run)
                .get_result(conn)
                .map_err(|error| Error::from_query(conn, "", error))?;
            found = read_run(conn, run)?;
        }
        if ended > 0 {
            record_if_allowed(conn, Subject::RetentionRun, &[found.evidence()])?;
        }
        Ok(found)
    })
}

/// The newest `limit` runs, newest first; those in a row that found nothing due as one.
///
/// # Errors
///
/// When the database cannot be asked.
pub fn runs(conn: &mut PgConnection, limit: u32) -> Result<Vec<RetentionRun>, Error> {
    read_runs(conn, "ORDER BY r.id DESC LIMIT $1", i64::from(limit))
}

fn read_runs(conn: &mut PgConnection, which: &str, value: i64) -> Result<Vec<RetentionRun>, Error> {
    #[derive(QueryableByName)]
    struct Entry {
        #[diesel(sql_type = Text)]
        entry: String,
    }
    let entries: Vec<Entry> = diesel::sql_query(format!(
        "SELECT (to_jsonb(r) - '{{backend_pid, backend_start, heartbeat_at, silence_limit, policy, batches, batch_rows, batch_time, month_time}}'::text[])::text AS entry \
         FROM threadline.retention_runs r {which}"
    ))
    .bind::<BigInt, _>(value)
    .load(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    entries.into_iter().map(|entry| serde_json::from_str(&entry.entry).map_err(Error::Payload)).collect()
}

/// A run whose row is gone was taken for dead, and forgotten since.
fn read_run(conn: &mut PgConnection, run: i64) -> Result<RetentionRun, Error> {
    read_runs(conn, "WHERE r.id = $1", run)?.pop().ok_or(Error::RetentionSuperseded)
}
