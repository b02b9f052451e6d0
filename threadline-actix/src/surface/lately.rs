//! What was recorded of late, so that asking over and over fills no trail, and nothing else goes unrecorded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So much is remembered at most; beyond that nothing is, until something is forgotten.
const MOST: usize = 1_000;

/// What the workers of a process share of it.
#[derive(Clone)]
pub(super) struct Lately {
    /// For so long something is remembered.
    apart: Duration,
    known: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Lately {
    pub(super) fn new(apart: Duration) -> Self {
        Self { apart, known: Arc::default() }
    }

    /// Whether it was noted of late.
    pub(super) fn knows(&self, what: &str, now: Instant) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(what).is_some_and(|at| now.saturating_duration_since(*at) < self.apart)
    }

    /// Notes it, unless it was noted of late, or there is no room for it; whether it did.
    pub(super) fn note(&self, what: &str, now: Instant) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, at| now.saturating_duration_since(*at) < self.apart);
        if known.len() >= MOST || known.contains_key(what) {
            return false;
        }
        known.insert(what.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Lately, MOST};

    #[test]
    fn something_is_noted_once_a_minute_and_of_too_much_nothing_is() {
        let (lately, start) = (Lately::new(Duration::from_secs(60)), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!lately.knows("1", start) && lately.note("1", start));
        assert!(lately.knows("1", after(59)) && !lately.note("1", after(59)));
        assert!(lately.note("2", after(59)));
        assert!(!lately.knows("1", after(60)) && lately.note("1", after(60)));
        let noted = (0..5_000).filter(|n| lately.note(&format!("n{n}"), after(61))).count();
        assert_eq!(noted, MOST - 2);
        assert!(!lately.note("3", after(61)) && !lately.knows("3", after(61)));
        assert!(lately.note("3", after(200)));
    }
}
