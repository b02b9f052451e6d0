//! For whom values are shown and compared: on whose clock, and for how long.

use std::cell::Cell;
use std::time::{Duration, Instant};

use chrono_tz::Tz;

/// How long two values are compared: then both are shown whole. Finding what two long values have in common takes a time that grows
/// with the square of what they have not.
const VALUE: Duration = Duration::from_millis(50);

/// How long all of a page's values are compared, on a thread that others wait for.
const PAGE: Duration = Duration::from_millis(400);

/// One reader's reading of one page.
#[derive(Clone, Copy, Debug)]
pub(in crate::surface) struct Reading<'a> {
    pub(super) zone: Tz,
    /// What comparing has taken so far.
    spent: &'a Cell<Duration>,
}

impl<'a> Reading<'a> {
    pub(in crate::surface) fn new(zone: Tz, spent: &'a Cell<Duration>) -> Self {
        Self { zone, spent }
    }

    /// Compares two values, until the instant that is handed over; `None` also where no time is left.
    pub(super) fn compare<T>(self, compare: impl FnOnce(Instant) -> Option<T>) -> Option<T> {
        let left = PAGE.checked_sub(self.spent.get()).filter(|left| !left.is_zero())?;
        let begun = Instant::now();
        let answer = compare(begun + left.min(VALUE));
        self.spent.set(self.spent.get() + begun.elapsed());
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_has_spent_its_time_compares_nothing_more() {
        let spent = Cell::new(Duration::ZERO);
        let reading = Reading::new(Tz::UTC, &spent);
        assert_eq!(reading.compare(|until| (until <= Instant::now() + VALUE).then_some(1)), Some(1));
        spent.set(PAGE);
        assert_eq!(reading.compare(|_| Some(1)), None);
    }
}
