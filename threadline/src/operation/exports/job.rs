//! A job: one export to be made, being made, or made.

use std::fmt;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::stored;
use crate::error::Error;
use crate::intent::Actor;
use crate::investigation::{ExportFormat, ExportOptions, ExportSummary, Filter, Order};

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExportState {
    /// It waits for its time, or for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// Its file can be had until it expires.
    Completed,
    /// It was not made, and will not be.
    Failed,
    /// It was made, and its file is gone or going.
    Expired,
    /// Its owner wants it no more.
    Cancelled,
}

impl fmt::Display for ExportState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        })
    }
}

/// Why an attempt failed. Its text is what is stored and logged: nothing of the job, of a row or of an error's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExportFailure {
    /// The filter is not one this version reads.
    RequestUnreadable,
    /// The scope is not one this version reads, so the job may see nothing.
    ScopeUnreadable,
    /// The trail has no answer: a table was never audited, a key does not fit it.
    Refused,
    /// The database did not answer, or refused a statement.
    Database,
    /// The storage took it not, or not whole.
    Storage,
    /// What the storage has is not what was written.
    Verification,
    /// A worker took it and was not heard of again.
    Abandoned,
}

impl ExportFailure {
    /// As it is stored: `request_unreadable`, `scope_unreadable`, `refused`, `database`, `storage`, `verification` or
    /// `abandoned`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestUnreadable => "request_unreadable",
            Self::ScopeUnreadable => "scope_unreadable",
            Self::Refused => "refused",
            Self::Database => "database",
            Self::Storage => "storage",
            Self::Verification => "verification",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether another attempt may do better.
    pub const fn is_transient(self) -> bool {
        !matches!(self, Self::RequestUnreadable | Self::ScopeUnreadable | Self::Refused)
    }

    /// What an error of an attempt amounts to.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::InvalidScope(_) | Error::ScopeFailed(_) => Self::ScopeUnreadable,
            Error::InvalidFilter(_) | Error::InvalidExportRequest(_) => Self::RequestUnreadable,
            Error::NotAudited { .. } | Error::NoSuchTable { .. } | Error::Refused { .. } => Self::Refused,
            Error::Export(_) => Self::Storage,
            _ => Self::Database,
        }
    }
}

impl fmt::Display for ExportFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A job as it stands. Serialized it has everything but the scope, which is the host's affair, and the names of files that failed
/// attempts may have left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExportJob {
    /// Its id.
    pub id: Uuid,
    /// The first job of a recurring export, in all of its jobs; its own id otherwise.
    pub series_id: Uuid,
    /// When it was to be made; the end of a relative window, exclusive.
    pub scheduled_at: DateTime<Utc>,
    /// When it was asked for; of a recurring export, when the job before it began.
    pub requested_at: DateTime<Utc>,
    /// Whom it belongs to.
    pub requester: Actor,
    filter: String,
    #[serde(skip_serializing, default)]
    scope: String,
    /// The form of the file.
    pub format: ExportFormat,
    /// The order of the changes.
    pub order: Order,
    /// The most changes; `None` for any number.
    pub max_rows: Option<u64>,
    /// Whether CSV cells that a spreadsheet would compute are made plain text.
    pub formula_guard: bool,
    /// Seconds from one job of a recurring export to the next one.
    pub every_seconds: Option<u64>,
    /// Only changes captured so many seconds before `scheduled_at`.
    pub window_seconds: Option<u64>,
    /// How many seconds the file is kept; `None` for as long as the worker is configured to.
    pub keep_seconds: Option<u64>,
    /// Where it stands.
    pub state: ExportState,
    /// From when on a worker may take it.
    pub due_at: DateTime<Utc>,
    /// How often a worker has taken it.
    pub attempt: u32,
    /// How many attempts have failed.
    pub failures: u32,
    /// With so many failures it has failed.
    pub max_failures: u32,
    /// The instance that took it last.
    pub worker: Option<String>,
    /// When that instance was last heard of.
    pub heartbeat_at: Option<DateTime<Utc>>,
    /// Changes written by the latest attempt so far.
    pub rows_written: u64,
    /// Bytes written by the latest attempt so far.
    pub bytes_written: u64,
    #[serde(skip_serializing, default)]
    attempt_objects: Vec<String>,
    /// The name of the file in the storage.
    pub object_name: Option<String>,
    /// What the file is: its manifest. `None` before it is completed, and for one that this version cannot read.
    #[serde(deserialize_with = "stored::readable")]
    pub summary: Option<ExportSummary>,
    /// Why the latest attempt failed.
    pub error: Option<ExportFailure>,
    /// When it came to be completed, failed or cancelled.
    pub finished_at: Option<DateTime<Utc>>,
    /// Until when the file can be had, exclusive.
    pub expires_at: Option<DateTime<Utc>>,
}

impl ExportJob {
    /// Which changes were asked for, without the relative window.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidExportRequest`] for what this version cannot read.
    pub fn filter(&self) -> Result<Filter, Error> {
        stored::filter(&self.filter)
    }

    pub(super) fn scope(&self) -> &str {
        &self.scope
    }

    /// The names that attempts gave their files, in their order; recorded before anything was written.
    pub(super) fn attempt_objects(&self) -> &[String] {
        &self.attempt_objects
    }

    /// Whether the requester sees a part of the trail alone. A scope that this version cannot read is one too.
    pub fn is_scoped(&self) -> bool {
        !matches!(stored::scope(&self.scope), Ok(None))
    }

    /// How the file is to look.
    pub fn options(&self) -> ExportOptions {
        let options =
            ExportOptions::new(self.format).order(self.order).formula_guard(self.formula_guard).unlimited();
        self.max_rows.map_or(options.clone(), |rows| options.max_rows(rows))
    }

    /// The name a person is offered for the file, such as `threadline-export-20261121T093000Z-0197f2c4.csv`: of the job's
    /// time and id alone, so there is nothing of the request in it.
    pub fn file_name(&self) -> String {
        let id = self.id.simple().to_string();
        format!(
            "threadline-export-{}-{}.{}",
            self.scheduled_at.format("%Y%m%dT%H%M%SZ"),
            &id[id.len() - 8..],
            self.format.extension()
        )
    }
}

/// What a statement returns of the job `j`, as JSON, in which the filter and the scope are texts: a job with one that cannot be
/// read can still be listed, taken and failed.
pub(super) const JOB: &str = "jsonb_build_object('id', j.id, 'series_id', j.series_id, 'scheduled_at', j.scheduled_at, \
    'requested_at', j.requested_at, 'requester', jsonb_build_object('type', j.requester_type, 'id', j.requester_id), \
    'filter', j.filter::text, 'scope', j.scope::text, 'format', j.format, 'order', j.sort_order, 'max_rows', j.max_rows, \
    'formula_guard', j.formula_guard, 'every_seconds', j.every_seconds, 'window_seconds', j.window_seconds, \
    'keep_seconds', j.keep_seconds, 'state', j.state, 'due_at', j.due_at, 'attempt', j.attempt, 'failures', j.failures, \
    'max_failures', j.max_failures, 'worker', j.worker, 'heartbeat_at', j.heartbeat_at, 'rows_written', j.rows_written, \
    'bytes_written', j.bytes_written, 'attempt_objects', j.attempt_objects, 'object_name', j.object_name, 'summary', j.manifest, 'error', j.error, \
    'finished_at', j.finished_at, 'expires_at', j.expires_at)::text AS job";

/// A row of [`JOB`].
#[derive(QueryableByName)]
pub(super) struct JobRow {
    #[diesel(sql_type = Text)]
    job: String,
}

impl JobRow {
    pub(super) fn read(self) -> Result<ExportJob, Error> {
        serde_json::from_str(&self.job).map_err(Error::Payload)
    }
}
