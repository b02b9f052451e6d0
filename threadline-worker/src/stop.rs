//! The wish that a worker stops.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tells a worker to stop. Clones are the same wish; it cannot be taken back.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<(Mutex<Option<Instant>>, Condvar)>,
}

impl Stop {
    /// Nobody wishes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has whoever waits stop. It does not wait itself.
    pub fn request(&self) {
        let (requested, changed) = &*self.shared;
        requested.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        changed.notify_all();
    }

    /// Whether somebody wishes it.
    pub fn is_requested(&self) -> bool {
        self.requested_for().is_some()
    }

    /// For how long somebody has.
    pub(crate) fn requested_for(&self) -> Option<Duration> {
        let requested = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        requested.map(|since| since.elapsed())
    }

    /// Waits, at most for so long; says whether to stop.
    pub(crate) fn wait(&self, most: Duration) -> bool {
        let (requested, changed) = &*self.shared;
        let guard = requested.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(guard, most, |requested| requested.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }
}
