//! Doing something again and again: when it is due, and what happens when it fails.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use diesel::prelude::*;

use crate::connections::{Connection, Connections};
use crate::stop::Stop;
use crate::task::TaskError;

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Runs `round` until it is to stop, the first time at once. It says whether there is more to do right away; else it runs again
/// after `every`, and after failures first a second later, then two, four, up to a minute. All pauses differ by up to a tenth,
/// so that instances that were started together do not stay together.
pub(crate) fn run(
    name: &str,
    every: Duration,
    connections: &Connections,
    stop: &Stop,
    mut round: impl FnMut(&mut PgConnection) -> Result<bool, TaskError>,
) {
    let mut kept: Option<Connection> = None;
    let mut failures: u32 = 0;
    while !stop.is_requested() {
        let outcome = match kept.take().map_or_else(|| connections.get(), Ok) {
            Err(error) => Err(error),
            Ok(mut conn) => {
                // What a panic may have left half-done is a transaction, which ends with the connection.
                let outcome = catch_unwind(AssertUnwindSafe(|| round(&mut conn)))
                    .unwrap_or_else(|_| Err("it panicked".into()));
                if outcome.is_ok() && !connections.are_pooled() {
                    kept = Some(conn);
                }
                outcome
            }
        };
        let pause = match outcome {
            Ok(true) => {
                failures = 0;
                continue;
            }
            Ok(false) => {
                failures = 0;
                every
            }
            Err(_) => {
                // The first one, and then each time the number doubles: an outage is not to fill the log.
                failures = failures.saturating_add(1);
                if failures.is_power_of_two() {
                    tracing::warn!(
                        "threadline: worker task `{name}` has failed {failures} times in a row; it is tried again"
                    );
                }
                let pause = Duration::from_secs(1 << (failures - 1).min(6));
                pause.min(LONGEST_PAUSE).min(every.max(Duration::from_secs(1)))
            }
        };
        if stop.wait(jittered(pause)) {
            return;
        }
    }
}

/// Give or take a tenth.
fn jittered(pause: Duration) -> Duration {
    // Keyed anew each time, from the system's random numbers.
    let random = RandomState::new().build_hasher().finish() % 2001;
    pause.mul_f64(0.9 + f64::from(u32::try_from(random).unwrap_or(1000)) / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_by_a_tenth_at_most() {
        let pauses: Vec<Duration> = (0..200).map(|_| jittered(Duration::from_secs(10))).collect();
        assert!(pauses.iter().all(|pause| (9.0..=11.01).contains(&pause.as_secs_f64())), "{pauses:?}");
        assert!(
            pauses.iter().max().unwrap().as_secs_f64() - pauses.iter().min().unwrap().as_secs_f64() > 1.0
        );
    }
}
