//! Holding a job while it is made: the lease is prolonged from a thread of its own, for the export's connection is busy.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use threadline::exports::{self, Claim};
use threadline::{Error, ExportProgress};

use crate::connections::{Connection, Connections};
use crate::stop::Stop;

/// A job that is being made, as the thread that makes it and the one that holds it know it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    rows: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicBool,
    pub(crate) over: Stop,
}

impl Held {
    pub(crate) fn progressed(&self, progress: ExportProgress) {
        self.rows.store(progress.rows, Ordering::Relaxed);
        self.bytes.store(progress.bytes, Ordering::Relaxed);
    }

    /// Whether somebody else has it, or may have.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Prolongs the lease until the job is over, three times in each. When that has not succeeded for as long as the lease is,
    /// the job is given up: another worker may have taken it.
    pub(crate) fn keep(&self, connections: &Connections, claim: &Claim, lease: Duration) {
        let mut conn: Option<Connection> = None;
        let mut prolonged = Instant::now();
        while !self.over.wait(lease / 3) {
            let (rows, bytes) = (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
            let begun = Instant::now();
            let outcome = match conn.take().map_or_else(|| connections.get(), Ok) {
                Err(_) => None,
                Ok(mut taken) => {
                    let outcome = exports::heartbeat(&mut taken, claim, rows, bytes, lease);
                    if outcome.is_ok() {
                        conn = Some(taken);
                    }
                    Some(outcome)
                }
            };
            match outcome {
                Some(Ok(())) => prolonged = begun,
                Some(Err(Error::ExportClaimLost { .. })) => {
                    self.lost.store(true, Ordering::Release);
                    return;
                }
                _ if prolonged.elapsed() >= lease => {
                    tracing::warn!("threadline: an export was given up: its lease could not be prolonged");
                    self.lost.store(true, Ordering::Release);
                    return;
                }
                _ => {}
            }
        }
    }
}
