//! The evidence of an export: that its file was made, and that it was handed out.

use diesel::prelude::*;

use super::download::ReadyExport;
use super::job::ExportJob;
use crate::error::Error;
use crate::intent::Actor;
use crate::investigation::{ExportFormat, ExportSummary};
use crate::operation::evidence::{Record, Recorded, Reference, Subject, record_if_allowed};

/// Of a file: how much is in it and what it is, by its digest. What was asked for may have values of rows in it, and is in the
/// job.
fn of_file(
    reference: Reference,
    entry_point: &str,
    event: &str,
    format: ExportFormat,
    summary: &ExportSummary,
) -> Record {
    Record::new(Subject::ExportDelivery, reference, "threadline::exports", entry_point)
        .detail("event", event)
        .detail("format", format.as_str())
        .detail("rows", summary.rows)
        .detail("bytes", summary.bytes)
        .detail("truncated", summary.truncated)
        .detail("sha256", summary.sha256.as_str())
}

pub(super) fn completed(job: &ExportJob, summary: &ExportSummary) -> Record {
    let reference = Reference::new("job", job.id);
    of_file(reference, "threadline::exports::complete", "completed", job.format, summary)
        .actor(job.requester.clone())
        .detail("attempt", job.attempt)
        .detail("scoped", job.is_scoped())
}

/// Records that the file of a job is handed out: to its owner, or with `None` to whoever has a link that was signed for it.
/// To be called when it is certain that there is a file, before its first byte leaves. `entry_point` is what hands it out, such
/// as a route, 1 to 256 bytes.
///
/// `None` when the role may not record it, or the connection cannot write, as that of a replica.
///
/// # Errors
///
/// As [`evidence::record`](crate::evidence::record).
pub fn record_delivery(
    conn: &mut PgConnection,
    ready: &ReadyExport,
    to: Option<&Actor>,
    entry_point: &str,
) -> Result<Option<Recorded>, Error> {
    let reference = Reference::new("job", ready.job);
    let record = of_file(reference, entry_point, "handed_out", ready.format, &ready.summary)
        .by(to)
        .detail("by", if to.is_some() { "owner" } else { "link" });
    let recorded = record_if_allowed(conn, Subject::ExportDelivery, &[record])?;
    Ok(recorded.into_iter().next())
}
