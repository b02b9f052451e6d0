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
use crate::place::StoragePlace;
use crate::stop::Stop;
use crate::storage::{Storage, StorageError};
use crate::task::{Done, TaskError};
use crate::upload::Upload;

/// Jobs that a round of cleaning up looks at in one go.
const SWEPT: u32 = 100;

/// What makes exports, and removes them in time.
#[derive(Clone, Debug)]
pub(crate) struct Exports {
    pub(crate) connections: Connections,
    pub(crate) storage: StoragePlace,
    pub(crate) instance: String,
    pub(crate) lease: Duration,
    pub(crate) keep: Duration,
    pub(crate) max_rows: Option<u64>,
    pub(crate) grace: Duration,
}

/// What became of the exports there were to make.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Made {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// Taken over by another worker, or handed back to the queue.
    pub(crate) left: u64,
}

impl Made {
    pub(crate) fn add(&mut self, other: Self) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.left += other.left;
    }

    pub(crate) fn done(self) -> Done {
        let parts = [(self.completed, "made"), (self.failed, "failed"), (self.left, "left to others")];
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        let parts: Vec<String> = parts.map(|(number, what)| format!("{number} {what}")).collect();
        let done = match parts.is_empty() {
            true => Done::nothing("no export was due"),
            false => Done::something(parts.join(", ")),
        };
        done.count("completed", self.completed).count("failed", self.failed).count("left", self.left)
    }
}

/// The storage, and where its work is done.
struct Files<'a> {
    storage: Storage,
    runtime: &'a Runtime,
}

impl Files<'_> {
    fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.runtime.block_on(self.storage.delete(name))
    }
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
    /// Makes the export that has been due for longest; `None` when there was none.
    pub(crate) fn make_next(
        &self,
        conn: &mut PgConnection,
        runtime: &Runtime,
        stop: &Stop,
    ) -> Result<Option<Made>, TaskError> {
        // Before a job is taken: while the storage cannot be used, jobs wait in the queue instead of failing one by one.
        let files = &Files { storage: self.storage.get()?, runtime };
        let Some(claim) = exports::claim(conn, &self.instance, self.lease)? else { return Ok(None) };
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
                    Ok(_) => self.attempt(conn, &claim, &name, files, &held, stop),
                    // The job would be lost before it is made.
                    Err(_) => Err(Ended::Stopped),
                };
                let outcome = match outcome {
                    Ok(summary) => self.complete(conn, &claim, &summary, &held, stop),
                    Err(ended) => Err(ended),
                };
                if let Err(ended) = &outcome {
                    self.give_up(conn, &claim, &name, files, ended);
                }
                outcome
            })
        });
        let (outcome, made) = match outcome {
            Ok(()) => ("completed", Made { completed: 1, ..Made::default() }),
            Err(Ended::Lost) => ("lost", Made { left: 1, ..Made::default() }),
            Err(Ended::Stopped) => ("stopped", Made { left: 1, ..Made::default() }),
            Err(Ended::Failed(_)) => ("failed", Made { failed: 1, ..Made::default() }),
        };
        span.record("outcome", outcome);
        telemetry::EXPORT_JOB_DURATION.note(begun.elapsed(), [outcome]);
        Ok(Some(made))
    }

    /// Writes the file and reads it back.
    fn attempt(
        &self,
        conn: &mut PgConnection,
        claim: &Claim,
        name: &ObjectName,
        files: &Files<'_>,
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
                let _ = files.delete(&earlier);
            }
        }
        let storage_failed = |error: StorageError| {
            must_end().unwrap_or_else(|| {
                tracing::error!("threadline: an export could not be written: {}", error.told());
                Ended::Failed(ExportFailure::Storage)
            })
        };
        let mut upload = Upload::begin_new(files.runtime, &files.storage, name).map_err(storage_failed)?;
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
        let verified = files.runtime.block_on(files.storage.verify(name, summary.bytes, &summary.sha256));
        verified.map_err(|error| match error {
            StorageError::NotWhole | StorageError::NotRegular | StorageError::NotFound => {
                must_end().unwrap_or(Ended::Failed(ExportFailure::Verification))
            }
            error => storage_failed(error),
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
        files: &Files<'_>,
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
                if files.delete(name).is_err() {
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
                Ok(job.is_none_or(|job| job.object_name.as_deref() != Some(claim.object_name())))
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
    ) -> Result<Done, TaskError> {
        let files = Files { storage: self.storage.get()?, runtime };
        let (mut after, mut failed, mut cleaned) = (None, None, 0);
        while !stop.is_requested() {
            let jobs = exports::sweep(conn, after, SWEPT)?;
            let Some(last) = jobs.last() else { break };
            after = Some(last.job().id);
            for leftovers in &jobs {
                let removed = leftovers
                    .object_names()
                    .iter()
                    .try_for_each(|name| -> Result<(), TaskError> { Ok(files.delete(&name.parse()?)?) });
                match removed {
                    Ok(()) => {
                        exports::cleaned(conn, leftovers)?;
                        cleaned += 1;
                    }
                    Err(error) => failed = Some(error),
                }
            }
        }
        let done = match cleaned {
            0 => Done::nothing("no file was to be removed"),
            1 => Done::something("removed the files of 1 export"),
            jobs => Done::something(format!("removed the files of {jobs} exports")),
        };
        failed.map_or(Ok(done.count("cleaned", cleaned)), Err)
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
