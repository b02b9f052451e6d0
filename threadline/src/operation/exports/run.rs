//! Making the export of a job: the same call a host makes itself, with what was stored of the request.

use std::io;

use chrono::TimeDelta;
use diesel::prelude::*;

use super::claim::Claim;
use super::job::ExportJob;
use super::stored;
use crate::error::Error;
use crate::investigation::{ExportProgress, ExportSummary, Filter, Trail};

impl Claim {
    /// Writes what the job asks for, at most `max_rows` changes of it, and tells `progress` how far it is after each piece.
    ///
    /// It is [`Trail::export`], with the stored scope, and of the relative window if there is one. Nothing is read before the
    /// scope is.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidScope`] and [`Error::InvalidExportRequest`] for what this version cannot read, and as [`Trail::export`].
    pub fn export(
        &self,
        conn: &mut PgConnection,
        max_rows: Option<u64>,
        writer: impl io::Write,
        progress: impl FnMut(ExportProgress),
    ) -> Result<ExportSummary, Error> {
        let job = self.job();
        let trail = match stored::scope(job.scope())? {
            None => Trail::unscoped(),
            Some(scope) => Trail::scoped(move |_| Ok(scope.clone())),
        };
        let filter = windowed(job)?;
        let options = match (job.max_rows, max_rows) {
            (Some(asked), Some(allowed)) => job.options().max_rows(asked.min(allowed)),
            (None, Some(allowed)) => job.options().max_rows(allowed),
            (_, None) => job.options(),
        };
        trail.export_with_progress(conn, &filter, &options, writer, progress)
    }
}

/// The filter, and where the window is relative, its bounds. Both bounds of a filter are inclusive, and what is captured has
/// microseconds: the last one before the end is the window's last.
fn windowed(job: &ExportJob) -> Result<Filter, Error> {
    let filter = job.filter()?;
    let Some(seconds) = job.window_seconds else { return Ok(filter) };
    let length = i64::try_from(seconds).ok().and_then(TimeDelta::try_seconds);
    let begins = length.and_then(|length| job.scheduled_at.checked_sub_signed(length));
    let begins = begins.ok_or_else(|| super::InvalidExportRequest::one("window: is too long"))?;
    Ok(filter.from(begins).to(job.scheduled_at - TimeDelta::microseconds(1)))
}
