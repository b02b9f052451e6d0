//! Making one export: take a job, write its file, check it, say that it is there. Whatever fails on the way, what was written
//! is removed, now or by whoever takes the job next, and nobody is told of a file that is not whole.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use threadline::exports::{self, Claim, ExportFailure, ExportState};
use threadline::{Error, ExportSummary, telemetry};
use tokio::runtime::Runtime;
use tracing::field::Empty;

use crate::connections::{Connection, Connections};
use crate::heartbeat::Held;
use crate::object::ObjectName;
use crate::stop::Stop;
use crate::storage::{Storage, StorageError};
use crate::task::TaskError;
use crate::upload::Upload;

/// Jobs that a round of cleaning up looks at in one go.
const SWEPT: u32 = 100;

/// What makes exports, and removes them in time.
#[derive(Clone, Debug)]
pub(crate) struct Exports {
    pub(crate) connections: Connections,
    pub(crate) storage: Storage,
    pub(crate) instance: String,
    pub(crate) lease: Duration,
    pub(crate) keep: Duration,
    pub(crate) max_rows: Option<u64>,
    pub(crate) grace: Duration,
}

/// Why an attempt came to nothing.
#[derive(Debug)]
enum Ended {
    /// Somebody else has the job, or its owner wants it no more.
    Lost,
    /// The worker stops.
    Stopped,
    Failed(ExportFailure),
}

impl Exports {
    /// Makes the export that has been due for longest; says whether there was one.
    pub(crate) fn make_next(
        &self,
        conn: &mut PgConnection,
        runtime: &Runtime,
        stop: &Stop,
    ) -> Result<bool, TaskError> {
        let Some(claim) = exports::claim(conn, &self.instance, self.lease)? else { return Ok(false) };
        let name: ObjectName = claim.object_name().parse()?;
        let held = Held::default();
        let span = tracing::info_span!("threadline.export_job", outcome = Empty);
        let begun = Instant::now();
        let outcome = span.in_scope(|| {
            thread::scope(|scope| {
                // However this ends, or the scope waits for the lease's thread for ever.
                let _over = OnDrop(&held.over);
                let holding = thread::Builder::new()
                    .name("threadline-lease".to_owned())
                    .spawn_scoped(scope, || held.keep(&self.connections, &claim, self.lease));
                let outcome = match &holding {
                    Ok(_) => self.attempt(conn, &claim, &name, runtime, &held, stop),
                    // The job would be lost before it is made.
                    Err(_) => Err(Ended::Stopped),
                };
                let outcome = match outcome {
                    Ok(summary) => self.complete(conn, &claim, &summary, &held, stop),
                    Err(ended) => Err(ended),
                };
                if let Err(ended) = &outcome {
                    self.give_up(conn, &claim, &name, runtime, ended);
                }
                outcome
            })
        });
        let outcome = match outcome {
            Ok(()) => "completed",
            Err(Ended::Lost) => "lost",
            Err(Ended::Stopped) => "stopped",
            Err(Ended::Failed(_)) => "failed",
        };
        span.record("outcome", outcome);
        telemetry::EXPORT_JOB_DURATION.note(begun.elapsed(), [outcome]);
        Ok(true)
    }

    /// Writes the file and reads it back.
    fn attempt(
        &self,
        conn: &mut PgConnection,
        claim: &Claim,
        name: &ObjectName,
        runtime: &Runtime,
        held: &Held,
        stop: &Stop,
    ) -> Result<ExportSummary, Ended> {
        let must_end = || {
            if held.is_lost() {
                Some(Ended::Lost)
            } else {
                stop.requested_for().is_some_and(|since| since >= self.grace).then_some(Ended::Stopped)
            }
        };
        // The worker that left them is dead, or will find that it has lost the job. What cannot be removed now is when the job
        // expires.
        for earlier in claim.earlier_object_names() {
            if let Ok(earlier) = earlier.parse() {
                let _ = runtime.block_on(self.storage.delete(&earlier));
            }
        }
        let storage_failed = |_: StorageError| must_end().unwrap_or(Ended::Failed(ExportFailure::Storage));
        let mut upload = Upload::begin(runtime, &self.storage, name).map_err(storage_failed)?;
        let writer = Interruptible { writer: &mut upload, must_end: || must_end().is_some() };
        let written = claim.export(conn, self.max_rows, writer, |progress| held.progressed(progress));
        let summary = match written {
            Ok(summary) => summary,
            Err(error) => {
                let _ = upload.abort();
                return Err(must_end().unwrap_or_else(|| Ended::Failed(ExportFailure::of(&error))));
            }
        };
        upload.finish().map_err(storage_failed)?;
        runtime.block_on(self.storage.verify(name, summary.bytes, &summary.sha256)).map_err(|error| {
            must_end().unwrap_or(Ended::Failed(match error {
                StorageError::NotWhole | StorageError::NotFound => ExportFailure::Verification,
                _ => ExportFailure::Storage,
            }))
        })?;
        match must_end() {
            Some(Ended::Lost) => Err(Ended::Lost),
            _ => Ok(summary),
        }
    }

    /// Records that the file is there. While the database cannot be reached, nobody knows whether it has recorded it: it is
    /// asked again until the lease is over, or the worker has to stop.
    fn complete(
        &self,
        conn: &mut PgConnection,
        claim: &Claim,
        summary: &ExportSummary,
        held: &Held,
        stop: &Stop,
    ) -> Result<(), Ended> {
        let mut fresh: Option<Connection> = None;
        let begun = Instant::now();
        let mut refused = 0;
        loop {
            let conn: &mut PgConnection = match &mut fresh {
                Some(fresh) => fresh,
                None => &mut *conn,
            };
            match exports::complete(conn, claim, summary, self.keep) {
                Ok(_) => return Ok(()),
                Err(Error::ExportClaimLost { .. }) => return Err(Ended::Lost),
                // An answer of a database that is there; a connection that is ended looks like one at first.
                Err(Error::Query(_) | Error::Refused { .. }) if refused > 0 => {
                    return Err(Ended::Failed(ExportFailure::Database));
                }
                Err(Error::Query(_) | Error::Refused { .. }) => refused += 1,
                Err(_) => {}
            }
            // Not `Lost`: what was sent last may still arrive, and finds nothing to complete once the job has failed.
            let stops = stop.requested_for().is_some_and(|since| since >= self.grace);
            if stops || held.is_lost() || begun.elapsed() > self.lease {
                return Err(Ended::Failed(ExportFailure::Database));
            }
            thread::sleep((self.lease / 20).min(Duration::from_secs(1)));
            fresh = self.connections.get().ok();
        }
    }

    /// Lets go of the job and removes what was written, in this order: once the database has said that the job is not completed,
    /// or somebody else's, the file is nobody's.
    fn give_up(
        &self,
        conn: &mut PgConnection,
        claim: &Claim,
        name: &ObjectName,
        runtime: &Runtime,
        ended: &Ended,
    ) {
        let mut let_go = self.let_go(conn, claim, ended);
        if let_go.is_err()
            && let Ok(mut fresh) = self.connections.get()
        {
            let_go = self.let_go(&mut fresh, claim, ended);
        }
        match let_go {
            Ok(true) => {
                if runtime.block_on(self.storage.delete(name)).is_err() {
                    tracing::warn!("threadline: what a failed export has written could not be removed yet");
                }
            }
            Ok(false) => {}
            // Whoever takes the job next removes the file.
            Err(_) => tracing::warn!("threadline: an export ended and the database could not be told"),
        }
    }

    /// Whether the file is nobody's now.
    fn let_go(&self, conn: &mut PgConnection, claim: &Claim, ended: &Ended) -> Result<bool, Error> {
        let told = match ended {
            Ended::Lost => Err(Error::ExportClaimLost { job: claim.job().id }),
            Ended::Stopped => exports::hand_back(conn, claim),
            Ended::Failed(failure) => exports::fail(conn, claim, *failure).map(|state| {
                let will = if state == ExportState::Queued { "is tried again" } else { "has failed" };
                tracing::warn!("threadline: an export {will}: {failure}");
            }),
        };
        match told {
            Ok(()) => Ok(true),
            Err(Error::ExportClaimLost { .. }) => {
                // Not completed by this attempt after all, of which the answer was lost?
                let job = exports::find(conn, claim.job().id)?;
                Ok(job.is_none_or(|job| job.object_name.as_deref() != Some(&claim.object_name())))
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the files whose time is over and what failed attempts have left. What cannot be removed is tried again in the next
    /// round.
    pub(crate) fn sweep(
        &self,
        conn: &mut PgConnection,
        runtime: &Runtime,
        stop: &Stop,
    ) -> Result<(), TaskError> {
        let (mut after, mut failed) = (None, None);
        while !stop.is_requested() {
            let jobs = exports::sweep(conn, after, SWEPT)?;
            let Some(last) = jobs.last() else { break };
            after = Some(last.job().id);
            for leftovers in &jobs {
                let removed = leftovers.object_names().try_for_each(|name| -> Result<(), TaskError> {
                    Ok(runtime.block_on(self.storage.delete(&name.parse()?))?)
                });
                match removed {
                    Ok(()) => exports::cleaned(conn, leftovers)?,
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

struct OnDrop<'a>(&'a Stop);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// Fails once the export is to end, so that it ends at the next piece.
struct Interruptible<W, F> {
    writer: W,
    must_end: F,
}

impl<W: Write, F: Fn() -> bool> Write for Interruptible<W, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.must_end)() {
            return Err(io::Error::other("the export is to end"));
        }
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
