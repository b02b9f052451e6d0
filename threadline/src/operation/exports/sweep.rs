//! What is to be removed from the storage: files whose time is over, and what attempts that failed have left behind.

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::job::{ExportJob, JOB, JobRow};
use crate::error::Error;
use crate::telemetry;

/// A job that is over, and of which the storage may have something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftovers {
    job: ExportJob,
}

impl Leftovers {
    /// The job.
    pub fn job(&self) -> &ExportJob {
        &self.job
    }

    /// The name of every file an attempt may have written.
    pub fn object_names(&self) -> &[String] {
        self.job.attempt_objects()
    }
}

/// Has completed jobs whose time is over expire, so that nobody is given their files from now on, and returns up to `limit`
/// jobs that are to be cleaned up after, of those after the job `after`, in the order of their ids.
///
/// One that failed or was cancelled while a worker had it comes once the lease is over, when that worker writes no more.
///
/// # Errors
///
/// As of any statement.
pub fn sweep(conn: &mut PgConnection, after: Option<Uuid>, limit: u32) -> Result<Vec<Leftovers>, Error> {
    let expired = diesel::sql_query(
        "UPDATE threadline.export_jobs SET state = 'expired' WHERE id IN (SELECT j.id FROM threadline.export_jobs j \
            WHERE j.state = 'completed' AND j.expires_at <= statement_timestamp() FOR UPDATE SKIP LOCKED)",
    )
    .execute(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    telemetry::EXPORT_JOBS.add(expired as u64, ["expired"]);
    let sql = format!(
        "SELECT {JOB} FROM threadline.export_jobs j WHERE j.state IN ('failed', 'expired', 'cancelled') AND j.cleaned_at IS NULL \
            AND j.due_at <= statement_timestamp() AND j.id > coalesce($1, '00000000-0000-0000-0000-000000000000') ORDER BY j.id LIMIT {limit}"
    );
    let rows: Vec<JobRow> = diesel::sql_query(sql)
        .bind::<Nullable<SqlUuid>, _>(after)
        .load(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    rows.into_iter().map(|row| row.read().map(|job| Leftovers { job })).collect()
}

/// The storage has nothing of the job any more; `threadline.expire_exports` may delete its row in time.
///
/// # Errors
///
/// As of any statement.
pub fn cleaned(conn: &mut PgConnection, leftovers: &Leftovers) -> Result<(), Error> {
    diesel::sql_query(
        "UPDATE threadline.export_jobs SET cleaned_at = clock_timestamp() WHERE id = $1 AND state = $2 AND cleaned_at IS NULL",
    )
    .bind::<SqlUuid, _>(leftovers.job.id)
    .bind::<Text, _>(leftovers.job.state.to_string())
    .execute(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    Ok(())
}
