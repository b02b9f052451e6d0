//! A worker's side of the queue: taking a job, holding it, and letting go of it in one of four ways.
//!
//! Who holds a job is told by the number of the attempt: every statement here names it, and does nothing when the job has been
//! taken under another one since. A worker that was given up for dead and was not can therefore do no harm.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Text, Uuid as SqlUuid};

use super::delivery;
use super::job::{ExportFailure, ExportJob, ExportState, JOB, JobRow};
use crate::error::Error;
use crate::investigation::ExportSummary;
use crate::operation::evidence::{Subject, record_if_allowed};
use crate::telemetry;

/// A job, held by the worker that took it for as long as it prolongs its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    job: ExportJob,
}

impl Claim {
    /// The job, as it was when it was taken.
    pub fn job(&self) -> &ExportJob {
        &self.job
    }

    /// The name of the file this attempt writes, such as `exports/0197f2c4-….1.8f1c….csv`. Each attempt has its own with a random
    /// part: one that was given up for dead never writes to the file of another, nor does a copy of this database in the same storage.
    pub fn object_name(&self) -> &str {
        self.job.attempt_objects().last().map_or("", String::as_str)
    }

    /// The names of files that attempts before this one may have left behind.
    pub fn earlier_object_names(&self) -> &[String] {
        self.job.attempt_objects().split_last().map_or(&[], |(_, earlier)| earlier)
    }

    fn attempt(&self) -> i32 {
        i32::try_from(self.job.attempt).unwrap_or(i32::MAX)
    }

    fn lost(&self) -> Error {
        Error::ExportClaimLost { job: self.job.id }
    }
}

/// `lease` as a factor of `interval '1 millisecond'`.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(MOST_MILLIS)
}

/// A hundred years, which PostgreSQL can still add to an instant.
const MOST_MILLIS: i64 = 100 * 366 * 86_400_000;

/// Takes a job: one that is queued and whose time has come, or one that is running and whose lease has run out. Requesters take
/// turns: it is the turn of who has been served least recently, with the job that has been due for longest. `worker` names the instance, for people. `None` when nothing is due.
///
/// Of any number of workers that ask at once each gets another job. A job whose last allowed attempt ended without a word is
/// failed instead, as `abandoned`. With the first attempt of a recurring export's job the next one is put into the queue.
///
/// # Errors
///
/// As of any statement; then nothing was taken.
pub fn claim(conn: &mut PgConnection, worker: &str, lease: Duration) -> Result<Option<Claim>, Error> {
    let taken = conn.transaction(|conn| {
        let abandoned = diesel::sql_query(ABANDON).execute(conn)?;
        let sql = format!(
            "UPDATE threadline.export_jobs j SET state = 'running', attempt = j.attempt + 1, \
                attempt_objects = j.attempt_objects || format('exports/%s.%s.%s.%s', j.id, j.attempt + 1, \
                    replace(gen_random_uuid()::text, '-', ''), j.format), \
                failures = j.failures + CASE j.state WHEN 'running' THEN 1 ELSE 0 END, worker = left($1, 200), backend_pid = pg_backend_pid(), \
                claimed_at = statement_timestamp(), heartbeat_at = statement_timestamp(), rows_written = 0, bytes_written = 0, \
                due_at = statement_timestamp() + $2 * interval '1 millisecond', error = CASE j.state WHEN 'running' THEN 'abandoned' ELSE j.error END \
             WHERE j.id = (SELECT d.id FROM threadline.export_jobs d JOIN (SELECT q.requester_type, q.requester_id, \
                    (SELECT max(s.claimed_at) FROM threadline.export_jobs s \
                        WHERE s.requester_type = q.requester_type AND s.requester_id = q.requester_id) AS served \
                    FROM (SELECT DISTINCT w.requester_type, w.requester_id FROM threadline.export_jobs w \
                        WHERE w.state IN ('queued', 'running') AND w.due_at <= statement_timestamp()) q) t \
                    ON t.requester_type = d.requester_type AND t.requester_id = d.requester_id \
                WHERE d.state IN ('queued', 'running') AND d.due_at <= statement_timestamp() \
                ORDER BY t.served NULLS FIRST, d.due_at, d.id LIMIT 1 FOR UPDATE OF d SKIP LOCKED) RETURNING {JOB}"
        );
        let row: Option<JobRow> = diesel::sql_query(sql)
            .bind::<Text, _>(worker)
            .bind::<BigInt, _>(millis(lease))
            .get_result(conn)
            .optional()?;
        let Some(row) = row else { return Ok((abandoned, None)) };
        let job = row.read()?;
        if job.every_seconds.is_some() && job.attempt == 1 {
            diesel::sql_query(NEXT_OF_SERIES).bind::<SqlUuid, _>(job.id).execute(conn)?;
        }
        Ok((abandoned, Some(Claim { job })))
    });
    let (abandoned, claim) = taken.map_err(|error: Error| asked(conn, error))?;
    telemetry::EXPORT_JOBS.add(abandoned as u64, ["abandoned"]);
    Ok(claim)
}

/// The error of a transaction: now that it is over, the database can be asked what it ran into.
fn asked(conn: &mut PgConnection, error: Error) -> Error {
    match error {
        Error::Query(error) => Error::from_query(conn, "", error),
        error => error,
    }
}

/// Fails what was taken for the last allowed time and not heard of again.
const ABANDON: &str = "UPDATE threadline.export_jobs SET state = 'failed', error = 'abandoned', failures = failures + 1, \
        finished_at = statement_timestamp() \
    WHERE id IN (SELECT j.id FROM threadline.export_jobs j WHERE j.state = 'running' AND j.due_at <= statement_timestamp() \
        AND j.failures + 1 >= j.max_failures FOR UPDATE SKIP LOCKED)";

/// The next job of a recurring export: after this one by its interval, or where many have been missed, a hundred before now.
const NEXT_OF_SERIES: &str = "WITH made AS (SELECT (lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') \
            || '7' || substr(gen_random_uuid()::text, 16))::uuid AS id, j.scheduled_at + interval '1 second' * (j.every_seconds * \
            greatest(1, floor(extract(epoch FROM statement_timestamp() - j.scheduled_at) / j.every_seconds) - 99)) AS at, j.id AS of_job \
        FROM threadline.export_jobs j WHERE j.id = $1) \
    INSERT INTO threadline.export_jobs (id, series_id, scheduled_at, requested_at, requester_type, requester_id, filter, scope, format, \
        sort_order, max_rows, formula_guard, every_seconds, window_seconds, keep_seconds, max_failures, state, due_at) \
    SELECT made.id, j.series_id, made.at, clock_timestamp(), j.requester_type, j.requester_id, j.filter, j.scope, j.format, j.sort_order, \
        j.max_rows, j.formula_guard, j.every_seconds, j.window_seconds, j.keep_seconds, j.max_failures, 'queued', made.at \
    FROM made JOIN threadline.export_jobs j ON j.id = made.of_job ON CONFLICT (series_id, scheduled_at) DO NOTHING";

/// Prolongs the lease, from now on, and says how much has been written.
///
/// # Errors
///
/// [`Error::ExportClaimLost`] when another worker has the job or it was cancelled: stop, and discard what was written.
pub fn heartbeat(
    conn: &mut PgConnection,
    claim: &Claim,
    rows: u64,
    bytes: u64,
    lease: Duration,
) -> Result<(), Error> {
    let held = diesel::sql_query(
        "UPDATE threadline.export_jobs SET heartbeat_at = clock_timestamp(), rows_written = $3, bytes_written = $4, \
            due_at = clock_timestamp() + $5 * interval '1 millisecond' WHERE id = $1 AND attempt = $2 AND state = 'running'",
    )
    .bind::<SqlUuid, _>(claim.job.id)
    .bind::<Integer, _>(claim.attempt())
    .bind::<BigInt, _>(i64::try_from(rows).unwrap_or(i64::MAX))
    .bind::<BigInt, _>(i64::try_from(bytes).unwrap_or(i64::MAX))
    .bind::<BigInt, _>(millis(lease))
    .execute(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    if held == 1 { Ok(()) } else { Err(claim.lost()) }
}

/// Puts the job back into the queue, due at once: for a worker that stops. This is no failure.
///
/// # Errors
///
/// [`Error::ExportClaimLost`] when the job is not held any more.
pub fn hand_back(conn: &mut PgConnection, claim: &Claim) -> Result<(), Error> {
    let held = diesel::sql_query(
        "UPDATE threadline.export_jobs SET state = 'queued', due_at = clock_timestamp() \
         WHERE id = $1 AND attempt = $2 AND state = 'running'",
    )
    .bind::<SqlUuid, _>(claim.job.id)
    .bind::<Integer, _>(claim.attempt())
    .execute(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    if held != 1 {
        return Err(claim.lost());
    }
    telemetry::EXPORT_JOBS.add(1, ["handed_back"]);
    Ok(())
}

/// Says that the attempt has failed. Where another one may do better and one is left, the job is queued again, due in half a
/// minute and after each further failure in twice the time; else it has failed. Returns which of the two.
///
/// # Errors
///
/// [`Error::ExportClaimLost`] when the job is not held any more.
pub fn fail(conn: &mut PgConnection, claim: &Claim, failure: ExportFailure) -> Result<ExportState, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        state: String,
    }
    let row: Option<Row> = diesel::sql_query(
        "UPDATE threadline.export_jobs SET failures = failures + 1, error = $3, \
            state = CASE WHEN $4 = 1 AND failures + 1 < max_failures THEN 'queued' ELSE 'failed' END, \
            due_at = clock_timestamp() + CASE WHEN $4 = 1 AND failures + 1 < max_failures \
                THEN interval '30 seconds' * 2 ^ least(failures, 10) ELSE interval '0' END, \
            finished_at = CASE WHEN $4 = 1 AND failures + 1 < max_failures THEN NULL ELSE clock_timestamp() END \
         WHERE id = $1 AND attempt = $2 AND state = 'running' RETURNING state",
    )
    .bind::<SqlUuid, _>(claim.job.id)
    .bind::<Integer, _>(claim.attempt())
    .bind::<Text, _>(failure.as_str())
    .bind::<Integer, _>(i32::from(failure.is_transient()))
    .get_result(conn)
    .optional()
    .map_err(|error| Error::from_query(conn, "", error))?;
    let (state, outcome) = match row {
        Some(row) if row.state == "queued" => (ExportState::Queued, "retried"),
        Some(_) => (ExportState::Failed, "failed"),
        None => return Err(claim.lost()),
    };
    telemetry::EXPORT_JOBS.add(1, [outcome]);
    Ok(state)
}

/// Says that the file is in the storage, whole and verified; it can be had for `keep` from now on, unless the request says for
/// how long. Says the same again without harm, for a worker that did not hear the answer.
///
/// Where the role may record it, a completed job and its [evidence](crate::evidence) are there together or not at all.
///
/// # Errors
///
/// [`Error::ExportClaimLost`] when the job is not held any more: the file is to be removed. After any other error nobody knows
/// whether it was recorded: ask again.
pub fn complete(
    conn: &mut PgConnection,
    claim: &Claim,
    summary: &ExportSummary,
    keep: Duration,
) -> Result<ExportJob, Error> {
    #[derive(QueryableByName)]
    struct Before {
        #[diesel(sql_type = Bool)]
        completed: bool,
    }
    let result = conn.transaction(|conn| {
        let before: Option<Before> = diesel::sql_query(
            "SELECT state = 'completed' AS completed FROM threadline.export_jobs WHERE id = $1 AND attempt = $2 FOR UPDATE",
        )
        .bind::<SqlUuid, _>(claim.job.id)
        .bind::<Integer, _>(claim.attempt())
        .get_result(conn)
        .optional()?;
        let before = before.ok_or_else(|| claim.lost())?;
        let job = set_completed(conn, claim, summary, keep)?;
        if !before.completed {
            record_if_allowed(conn, Subject::ExportDelivery, &[delivery::completed(&job, summary)])?;
        }
        Ok((job, before.completed))
    });
    let (job, before) = result.map_err(|error| asked(conn, error))?;
    telemetry::EXPORT_JOBS.add(u64::from(!before), ["completed"]);
    Ok(job)
}

fn set_completed(
    conn: &mut PgConnection,
    claim: &Claim,
    summary: &ExportSummary,
    keep: Duration,
) -> Result<ExportJob, Error> {
    let manifest = serde_json::to_string(summary).expect("a manifest serializes");
    let size = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let sql = format!(
        "UPDATE threadline.export_jobs j SET state = 'completed', object_name = $3, rows = $4, bytes = $5, truncated = ($6 = 1), sha256 = $7, \
            manifest = $8::jsonb, rows_written = $4, bytes_written = $5, error = NULL, due_at = clock_timestamp(), finished_at = coalesce(j.finished_at, clock_timestamp()), \
            expires_at = coalesce(j.expires_at, clock_timestamp() + coalesce(j.keep_seconds * 1000, $9) * interval '1 millisecond') \
         WHERE j.id = $1 AND j.attempt = $2 AND (j.state = 'running' OR (j.state = 'completed' AND j.sha256 = $7)) RETURNING {JOB}"
    );
    let row: Option<JobRow> = diesel::sql_query(sql)
        .bind::<SqlUuid, _>(claim.job.id)
        .bind::<Integer, _>(claim.attempt())
        .bind::<Text, _>(claim.object_name())
        .bind::<BigInt, _>(size(summary.rows))
        .bind::<BigInt, _>(size(summary.bytes))
        .bind::<Integer, _>(i32::from(summary.truncated))
        .bind::<Text, _>(&summary.sha256)
        .bind::<Text, _>(manifest)
        .bind::<BigInt, _>(millis(keep))
        .get_result(conn)
        .optional()
        .map_err(|error| Error::from_query(conn, "", error))?;
    row.ok_or_else(|| claim.lost())?.read()
}
