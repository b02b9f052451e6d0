//! Jobs by whom they belong to.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::job::{ExportJob, JOB, JobRow};
use super::stored;
use crate::error::Error;
use crate::intent::Actor;
use crate::investigation::Scope;
use crate::telemetry;

/// The most jobs a list has.
const MOST: u32 = 1000;

/// A job of this actor's; `None` for one that is not there, or not theirs, which look the same.
///
/// # Errors
///
/// As of any statement.
pub fn get(conn: &mut PgConnection, id: Uuid, owner: &Actor) -> Result<Option<ExportJob>, Error> {
    Ok(find(conn, id)?.filter(|job| job.requester == *owner))
}

/// As [`get`], for one who may see no more than `scope` at present: without a job that was asked for under another scope, or
/// under none.
///
/// # Errors
///
/// As of any statement.
pub fn get_under(
    conn: &mut PgConnection,
    id: Uuid,
    owner: &Actor,
    scope: &Scope,
) -> Result<Option<ExportJob>, Error> {
    let Some(job) = get(conn, id, owner)? else { return Ok(None) };
    let scope = scope.qualified(conn)?;
    let is_the_same = matches!(stored::scope(job.scope()), Ok(Some(stored)) if stored == scope);
    Ok(is_the_same.then_some(job))
}

/// A job, whoever it belongs to: for those who run the application, not for its users.
///
/// # Errors
///
/// As of any statement.
pub fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<ExportJob>, Error> {
    let row: Option<JobRow> =
        diesel::sql_query(format!("SELECT {JOB} FROM threadline.export_jobs j WHERE j.id = $1"))
            .bind::<SqlUuid, _>(id)
            .get_result(conn)
            .optional()
            .map_err(|error| Error::from_query(conn, "", error))?;
    row.map(JobRow::read).transpose()
}

/// Jobs of this actor's, the latest first, up to `limit` (at most 1000), of those before the job `before`.
///
/// # Errors
///
/// As of any statement.
pub fn list(
    conn: &mut PgConnection,
    owner: &Actor,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<ExportJob>, Error> {
    listed(conn, owner, None, before, limit)
}

/// As [`list`], for one who may see no more than `scope` at present: without jobs that were asked for under another scope, or
/// under none.
///
/// # Errors
///
/// As of any statement.
pub fn list_under(
    conn: &mut PgConnection,
    owner: &Actor,
    scope: &Scope,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<ExportJob>, Error> {
    let scope = scope.qualified(conn)?;
    listed(conn, owner, Some(stored::scope_text(Some(&scope))), before, limit)
}

fn listed(
    conn: &mut PgConnection,
    owner: &Actor,
    scope: Option<String>,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<ExportJob>, Error> {
    let sql = format!(
        "SELECT {JOB} FROM threadline.export_jobs j WHERE j.requester_type = $1 AND j.requester_id = $2 \
         AND j.id < coalesce($3, 'ffffffff-ffff-ffff-ffff-ffffffffffff') AND ($4 IS NULL OR j.scope = $4::jsonb) \
         ORDER BY j.id DESC LIMIT {}",
        limit.min(MOST)
    );
    let rows: Vec<JobRow> = diesel::sql_query(sql)
        .bind::<Text, _>(owner.actor_type().as_str())
        .bind::<Nullable<Text>, _>(owner.id())
        .bind::<Nullable<SqlUuid>, _>(before)
        .bind::<Nullable<Text>, _>(scope)
        .load(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    rows.into_iter().map(JobRow::read).collect()
}

/// As [`list`], whoever the jobs belong to: for those who run the application.
///
/// # Errors
///
/// As of any statement.
pub fn list_all(conn: &mut PgConnection, before: Option<Uuid>, limit: u32) -> Result<Vec<ExportJob>, Error> {
    let sql = format!(
        "SELECT {JOB} FROM threadline.export_jobs j WHERE j.id < coalesce($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff') \
         ORDER BY j.id DESC LIMIT {}",
        limit.min(MOST)
    );
    let rows: Vec<JobRow> = diesel::sql_query(sql)
        .bind::<Nullable<SqlUuid>, _>(before)
        .load(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    rows.into_iter().map(JobRow::read).collect()
}

/// How many jobs a worker could take now: those that are queued and whose time has come, and those whose worker has died.
///
/// # Errors
///
/// As of any statement.
pub fn due(conn: &mut PgConnection) -> Result<u64, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        number: i64,
    }
    let sql = "SELECT count(*) AS number FROM threadline.export_jobs WHERE state IN ('queued', 'running') \
               AND due_at <= statement_timestamp()";
    let row: Row =
        diesel::sql_query(sql).get_result(conn).map_err(|error| Error::from_query(conn, "", error))?;
    Ok(row.number.unsigned_abs())
}

/// Cancels a job of this actor's that is queued or running, and what of its series is still to come. A worker that has it stops
/// at its next heartbeat, and removes what it has written. Returns how many jobs were cancelled: 0 when there is no such job,
/// or it is over and has no successor.
///
/// # Errors
///
/// As of any statement.
pub fn cancel(conn: &mut PgConnection, id: Uuid, owner: &Actor) -> Result<usize, Error> {
    diesel::sql_query(format!(
        "{CANCEL} AND (id = $3 OR (state = 'queued' AND every_seconds IS NOT NULL AND series_id = (SELECT j.series_id \
         FROM threadline.export_jobs j WHERE j.id = $3 AND j.requester_type = $1 AND j.requester_id = $2)))"
    ))
    .bind::<Text, _>(owner.actor_type().as_str())
    .bind::<Nullable<Text>, _>(owner.id())
    .bind::<SqlUuid, _>(id)
    .execute(conn)
    .inspect(|jobs| telemetry::EXPORT_JOBS.add(*jobs as u64, ["cancelled"]))
    .map_err(|error| Error::from_query(conn, "", error))
}

/// Cancels every job of this actor's that is queued or running: for one who has left, or may see less than before. Returns
/// how many.
///
/// # Errors
///
/// As of any statement.
pub fn cancel_all(conn: &mut PgConnection, owner: &Actor) -> Result<usize, Error> {
    diesel::sql_query(CANCEL)
        .bind::<Text, _>(owner.actor_type().as_str())
        .bind::<Nullable<Text>, _>(owner.id())
        .execute(conn)
        .inspect(|jobs| telemetry::EXPORT_JOBS.add(*jobs as u64, ["cancelled"]))
        .map_err(|error| Error::from_query(conn, "", error))
}

/// What no worker has ever taken left nothing in the storage. Of one that is running the lease goes on: until then its file may
/// still appear.
const CANCEL: &str = "UPDATE threadline.export_jobs SET state = 'cancelled', finished_at = clock_timestamp(), \
        cleaned_at = CASE WHEN attempt = 0 THEN clock_timestamp() END \
    WHERE requester_type = $1 AND requester_id = $2 AND state IN ('queued', 'running')";
