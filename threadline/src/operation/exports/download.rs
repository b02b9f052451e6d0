//! Whether somebody may have the file of a job, and which file that is.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use uuid::Uuid;

use super::job::{ExportJob, ExportState};
use super::owned::{find, get};
use crate::error::Error;
use crate::intent::Actor;
use crate::investigation::{ExportFormat, ExportSummary};

/// What there is to download of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Download {
    /// Its file.
    Ready(Box<ReadyExport>),
    /// No such job, or not this actor's; or it failed or was cancelled, and there will be no file.
    NotFound,
    /// There was a file, and its time is over.
    Gone,
    /// There is no file yet.
    NotReady,
}

/// A file that may be handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadyExport {
    /// The job.
    pub job: Uuid,
    /// Its name in the storage.
    pub object_name: String,
    /// The name a person is offered; of our making.
    pub file_name: String,
    /// Its form.
    pub format: ExportFormat,
    /// What is in it.
    pub summary: ExportSummary,
    /// Until when it can be had, exclusive.
    pub expires_at: DateTime<Utc>,
    /// The database's clock when it was asked.
    pub now: DateTime<Utc>,
}

/// What `requester` may have of the job: what is not theirs looks as if it were not there.
///
/// # Errors
///
/// As of any statement.
pub fn download(conn: &mut PgConnection, id: Uuid, requester: &Actor) -> Result<Download, Error> {
    let job = get(conn, id, requester)?;
    answer(conn, job)
}

/// As [`download`], for whoever shows that the owner has let them: with a link that was signed for this job.
///
/// # Errors
///
/// As of any statement.
pub fn download_granted(conn: &mut PgConnection, id: Uuid) -> Result<Download, Error> {
    let job = find(conn, id)?;
    answer(conn, job)
}

fn answer(conn: &mut PgConnection, job: Option<ExportJob>) -> Result<Download, Error> {
    #[derive(QueryableByName)]
    struct Clock {
        #[diesel(sql_type = Timestamptz)]
        now: DateTime<Utc>,
    }
    let Some(job) = job else { return Ok(Download::NotFound) };
    match job.state {
        ExportState::Queued | ExportState::Running => return Ok(Download::NotReady),
        ExportState::Failed | ExportState::Cancelled => return Ok(Download::NotFound),
        ExportState::Expired => return Ok(Download::Gone),
        ExportState::Completed => {}
    }
    let Clock { now } = diesel::sql_query("SELECT clock_timestamp() AS now")
        .get_result(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    let file_name = job.file_name();
    let (Some(object_name), Some(summary), Some(expires_at)) = (job.object_name, job.summary, job.expires_at)
    else {
        return Ok(Download::NotFound);
    };
    if expires_at <= now {
        return Ok(Download::Gone);
    }
    Ok(Download::Ready(Box::new(ReadyExport {
        job: job.id,
        object_name,
        file_name,
        format: job.format,
        summary,
        expires_at,
        now,
    })))
}
