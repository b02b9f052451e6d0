//! What the library tells `metrics` and `tracing`: the registry of names.
//!
//! A label's value is a text of this program's source, never one of a request or of the database, so nothing that was said
//! about a person or a row gets into a metric. Spans and events have constant messages; the names of actions are the one thing
//! in them that the host chooses.
//!
//! Without a recorder a metric costs some nanoseconds, and without a subscriber so does a span. Events are handed to the `log`
//! crate where no subscriber is set.

use std::time::{Duration, Instant};

use metrics::{Label, Unit};

use crate::error::Error;

/// A count that only grows.
#[derive(Clone, Copy, Debug)]
pub struct Counter<const LABELS: usize> {
    name: &'static str,
    labels: [&'static str; LABELS],
    help: &'static str,
}

/// A distribution of durations, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Durations<const LABELS: usize> {
    name: &'static str,
    labels: [&'static str; LABELS],
    help: &'static str,
}

fn labels<const LABELS: usize>(names: [&'static str; LABELS], values: [&'static str; LABELS]) -> Vec<Label> {
    names.into_iter().zip(values).map(|(name, value)| Label::from_static_parts(name, value)).collect()
}

impl<const LABELS: usize> Counter<LABELS> {
    /// Counts `by` more, with these values of its labels in their order.
    pub fn add(&self, by: u64, values: [&'static str; LABELS]) {
        metrics::counter!(self.name, labels(self.labels, values)).increment(by);
    }

    const fn describe(&'static self) -> Metric {
        Metric { name: self.name, kind: MetricKind::Counter, labels: self.labels.as_slice(), help: self.help }
    }
}

impl<const LABELS: usize> Durations<LABELS> {
    /// Notes how long something has taken.
    pub fn note(&self, took: Duration, values: [&'static str; LABELS]) {
        metrics::histogram!(self.name, labels(self.labels, values)).record(took);
    }

    const fn describe(&'static self) -> Metric {
        Metric {
            name: self.name,
            kind: MetricKind::Durations,
            labels: self.labels.as_slice(),
            help: self.help,
        }
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A count that only grows.
    Counter,
    /// A distribution of durations, in seconds.
    Durations,
}

/// An entry of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Audited transactions.
pub static TRANSACTIONS: Counter<1> = Counter {
    name: "threadline_transactions_total",
    labels: ["outcome"],
    help: "Audited transactions: committed, rolled_back (the body failed), panicked, not_begun, not_committed.",
};

/// How long audited transactions took.
pub static TRANSACTION_DURATION: Durations<1> = Durations {
    name: "threadline_transaction_duration_seconds",
    labels: ["outcome"],
    help: "Duration of audited transactions with their bodies, in seconds.",
};

/// Actions that were recorded.
pub static ACTIONS: Counter<1> = Counter {
    name: "threadline_actions_total",
    labels: ["status"],
    help: "Actions recorded, by how they ended: ok, error.",
};

/// Reads of the trail.
pub static READS: Counter<2> = Counter {
    name: "threadline_reads_total",
    labels: ["surface", "outcome"],
    help: "Reads of the trail, by what was asked; the outcome is ok or the kind of error.",
};

/// How long reads of the trail took.
pub static READ_DURATION: Durations<1> = Durations {
    name: "threadline_read_duration_seconds",
    labels: ["surface"],
    help: "Duration of reads of the trail, in seconds.",
};

/// Rows that were exported.
pub static EXPORT_ROWS: Counter<1> = Counter {
    name: "threadline_export_rows_total",
    labels: ["format"],
    help: "Changes written by exports, by format.",
};

/// Tables attached and refreshed.
pub static CAPTURE_SETUPS: Counter<2> = Counter {
    name: "threadline_capture_setups_total",
    labels: ["operation", "outcome"],
    help: "Tables attached, detached or refreshed by this process; the outcome is ok or the kind of error.",
};

/// Every metric there is.
pub static METRICS: &[Metric] = &[
    TRANSACTIONS.describe(),
    TRANSACTION_DURATION.describe(),
    ACTIONS.describe(),
    READS.describe(),
    READ_DURATION.describe(),
    EXPORT_ROWS.describe(),
    CAPTURE_SETUPS.describe(),
];

/// Tells the recorder what the metrics mean; to be called once, after a recorder was installed.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, Unit::Count, metric.help),
            MetricKind::Durations => metrics::describe_histogram!(metric.name, Unit::Seconds, metric.help),
        }
    }
}

/// `ok`, or what kind of error it is.
pub(crate) fn outcome<T>(result: &Result<T, Error>) -> &'static str {
    result.as_ref().map_or_else(Error::kind, |_| "ok")
}

/// Runs `body` and says how long it took.
pub(crate) fn timed<T>(body: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let value = body();
    (value, begun.elapsed())
}
