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

/// A number that goes up and down: what was seen when it was last looked at.
#[derive(Clone, Copy, Debug)]
pub struct Gauge<const LABELS: usize> {
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

impl<const LABELS: usize> Gauge<LABELS> {
    /// Says how many there are, with these values of its labels in their order.
    pub fn set(&self, number: usize, values: [&'static str; LABELS]) {
        metrics::gauge!(self.name, labels(self.labels, values)).set(number as f64);
    }

    const fn describe(&'static self) -> Metric {
        Metric { name: self.name, kind: MetricKind::Gauge, labels: self.labels.as_slice(), help: self.help }
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
    /// A number that goes up and down.
    Gauge,
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

/// Runs of retention.
pub static RETENTION_RUNS: Counter<1> = Counter {
    name: "threadline_retention_runs_total",
    labels: ["outcome"],
    help: "Runs of retention: completed, not_begun, or what ended them, as it is in their row.",
};

/// How long runs of retention took.
pub static RETENTION_RUN_DURATION: Durations<1> = Durations {
    name: "threadline_retention_run_duration_seconds",
    labels: ["outcome"],
    help: "Duration of runs of retention, in seconds.",
};

/// What retention has removed.
pub static RETENTION_REMOVED: Counter<1> = Counter {
    name: "threadline_retention_removed_total",
    labels: ["kind"],
    help: "Rows that runs of retention removed: changes, transactions, actions, exports, evidence, access_log, baseline_rows, runs; and months that went as a whole.",
};

/// How long the batches of retention took.
pub static RETENTION_BATCH_DURATION: Durations<0> = Durations {
    name: "threadline_retention_batch_duration_seconds",
    labels: [],
    help: "Duration of retention's batches, with what they waited for locks, in seconds.",
};

/// Months of partitions that were made.
pub static PARTITIONS_MADE: Counter<0> = Counter {
    name: "threadline_partitions_made_total",
    labels: [],
    help: "Months for which partitions were made ahead of time.",
};

/// Queued exports that ended, or began anew.
pub static EXPORT_JOBS: Counter<1> = Counter {
    name: "threadline_export_jobs_total",
    labels: ["outcome"],
    help: "Export jobs: completed, failed, abandoned, cancelled, expired; and retried or handed_back, which are queued again.",
};

/// How long making exports took.
pub static EXPORT_JOB_DURATION: Durations<1> = Durations {
    name: "threadline_export_job_duration_seconds",
    labels: ["outcome"],
    help: "Duration of a worker's attempts at an export: completed, failed, stopped or lost, in seconds.",
};

/// Rounds of a worker.
pub static WORKER_ROUNDS: Counter<2> = Counter {
    name: "threadline_worker_rounds_total",
    labels: ["task", "outcome"],
    help: "Rounds of a worker's tasks, custom for those of the host: ok, failed, panicked, not_connected.",
};

/// How long rounds of a worker took.
pub static WORKER_ROUND_DURATION: Durations<1> = Durations {
    name: "threadline_worker_round_duration_seconds",
    labels: ["task"],
    help: "Duration of rounds of a worker's tasks, in seconds.",
};

/// Findings of health.
pub static FINDINGS: Gauge<1> = Gauge {
    name: "threadline_findings",
    labels: ["severity"],
    help: "Findings when this process last asked for them, by severity: error, warning, info.",
};

/// Tables by whether they are audited.
pub static TABLES: Gauge<1> = Gauge {
    name: "threadline_tables",
    labels: ["coverage"],
    help: "Tables when this process last asked for coverage: covered, uncovered, ignored, gone.",
};

/// Evidence that was recorded.
pub static EVIDENCE_RECORDS: Counter<1> = Counter {
    name: "threadline_evidence_records_total",
    labels: ["subject"],
    help: "Records of evidence written, by subject; those left out because nothing had changed are not among them.",
};

/// Downloads of exports that were asked for.
pub static DOWNLOADS: Counter<1> = Counter {
    name: "threadline_downloads_total",
    labels: ["outcome"],
    help: "Downloads of exports asked for: ok, not_found, gone, not_ready, forged, link_expired, file_missing, storage_failed, failed.",
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
    RETENTION_RUNS.describe(),
    RETENTION_RUN_DURATION.describe(),
    RETENTION_REMOVED.describe(),
    RETENTION_BATCH_DURATION.describe(),
    PARTITIONS_MADE.describe(),
    EXPORT_JOBS.describe(),
    EXPORT_JOB_DURATION.describe(),
    WORKER_ROUNDS.describe(),
    WORKER_ROUND_DURATION.describe(),
    FINDINGS.describe(),
    TABLES.describe(),
    EVIDENCE_RECORDS.describe(),
    DOWNLOADS.describe(),
];

/// Tells the recorder what the metrics mean; to be called once, after a recorder was installed.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, Unit::Count, metric.help),
            MetricKind::Durations => metrics::describe_histogram!(metric.name, Unit::Seconds, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, Unit::Count, metric.help),
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
