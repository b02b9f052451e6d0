//! Doing something again and again: when it is due, and what happens when it fails.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use threadline::telemetry;
use tracing::field::Empty;

use crate::connections::{Connection, Connections};
use crate::place::Unusable;
use crate::stop::Stop;
use crate::storage::StorageError;
use crate::task::{Done, TaskError};

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The tasks a worker has by itself, as telemetry names them; it names none of the host's.
const BUILT_IN: [&str; 5] = ["exports", "expiry", "partitions", "retention", "health"];

/// How a round ended.
enum Ended {
    Ok {
        more: bool,
    },
    /// With what can be said of it.
    Failed(Option<String>),
    Panicked,
    NotConnected,
}

impl Ended {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Ok { .. } => "ok",
            Self::Failed(_) => "failed",
            Self::Panicked => "panicked",
            Self::NotConnected => "not_connected",
        }
    }
}

/// What can be said of a failure: of ours all, and of the database's which kind; the host's own may quote a value.
fn told(error: &TaskError) -> Option<String> {
    if let Some(error) = error.downcast_ref::<Unusable>() {
        return Some(error.to_string());
    }
    if let Some(error) = error.downcast_ref::<StorageError>() {
        return Some(error.told());
    }
    error.downcast_ref::<threadline::Error>().map(|error| error.kind().replace('_', " "))
}

/// Runs `round` until it is to stop, the first time at once. It says whether there is more to do right away; else it runs again
/// after `every`, and after failures first a second later, then two, four, up to a minute. All pauses differ by up to a tenth,
/// so that instances that were started together do not stay together.
pub(crate) fn run(
    name: &str,
    every: Duration,
    connections: &Connections,
    stop: &Stop,
    mut round: impl FnMut(&mut PgConnection) -> Result<(Done, bool), TaskError>,
) {
    let mut kept: Option<Connection> = None;
    let mut failures: u32 = 0;
    let task = BUILT_IN.into_iter().find(|built_in| *built_in == name).unwrap_or("custom");
    while !stop.is_requested() {
        let span = tracing::debug_span!("threadline.worker_round", task, outcome = Empty);
        let begun = Instant::now();
        let ended = span.in_scope(|| match kept.take().map_or_else(|| connections.get(), Ok) {
            Err(_) => Ended::NotConnected,
            Ok(mut conn) => {
                // What a panic may have left half-done is a transaction, which ends with the connection.
                let ended = match catch_unwind(AssertUnwindSafe(|| round(&mut conn))) {
                    Ok(Ok((done, more))) => {
                        if done.is_news {
                            tracing::info!("threadline: worker task `{name}`: {}", done.text);
                        }
                        Ended::Ok { more }
                    }
                    Ok(Err(error)) => Ended::Failed(told(&error)),
                    Err(_) => Ended::Panicked,
                };
                if matches!(ended, Ended::Ok { .. }) && !connections.are_pooled() {
                    kept = Some(conn);
                }
                ended
            }
        });
        span.record("outcome", ended.as_str());
        telemetry::WORKER_ROUNDS.add(1, [task, ended.as_str()]);
        telemetry::WORKER_ROUND_DURATION.note(begun.elapsed(), [task]);
        let pause = match ended {
            Ended::Ok { more } => {
                if failures > 0 {
                    tracing::info!("threadline: worker task `{name}` works again");
                }
                failures = 0;
                if more {
                    continue;
                }
                every
            }
            Ended::Failed(_) | Ended::Panicked | Ended::NotConnected => {
                // The first one, and then each time the number doubles: an outage is not to fill the log.
                failures = failures.saturating_add(1);
                if failures.is_power_of_two() {
                    let times =
                        if failures == 1 { String::new() } else { format!(" {failures} times in a row") };
                    match ended {
                        Ended::Failed(Some(why)) => tracing::error!(
                            "threadline: worker task `{name}` has failed{times}: {why}; it is tried again"
                        ),
                        _ => tracing::warn!(
                            "threadline: worker task `{name}` has failed{times}; it is tried again"
                        ),
                    }
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
