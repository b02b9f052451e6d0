//! Who was refused of late, so that asking over and over fills no trail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use threadline::Actor;

/// For so long one refusal of somebody stands for all of theirs.
const APART: Duration = Duration::from_secs(60);

/// So many people are remembered at most; beyond them nobody is recorded until one is forgotten.
const MOST: usize = 1_000;

/// What the workers of a process share of it.
#[derive(Clone, Default)]
pub(super) struct Refusals(Arc<Mutex<HashMap<String, Instant>>>);

impl Refusals {
    /// Whether that this one is refused is to be recorded, which it then counts as.
    pub(super) fn is_due(&self, actor: &Actor, now: Instant) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, at| now.saturating_duration_since(*at) < APART);
        let actor = actor.to_string();
        if known.len() >= MOST || known.contains_key(&actor) {
            return false;
        }
        known.insert(actor, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use threadline::Actor;

    use super::{MOST, Refusals};

    #[test]
    fn somebody_is_due_once_a_minute_and_of_too_many_none_is() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(refusals.is_due(&Actor::user(1), start));
        assert!(!refusals.is_due(&Actor::user(1), after(59)));
        assert!(refusals.is_due(&Actor::user(2), after(59)));
        assert!(refusals.is_due(&Actor::user(1), after(60)));
        let due = (0..5_000_i64).filter(|id| refusals.is_due(&Actor::admin(*id), after(61))).count();
        assert_eq!(due, MOST - 2);
        assert!(!refusals.is_due(&Actor::user(3), after(61)));
        assert!(refusals.is_due(&Actor::user(3), after(200)));
    }
}
