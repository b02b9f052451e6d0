//! The sections of `threadline.toml`, as values. Each setter has the name of the key it sets.

use std::fmt;
use std::time::Duration;

use super::secrets::storage_problem;
use crate::capture::TableName;

const DAY: Duration = Duration::from_secs(86_400);

/// `[tables]`: what has to be audited, and what need not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Tables {
    /// Tables that have to be audited, beyond those of the linked models.
    pub expected: Vec<TableName>,
    /// Tables that need not be audited.
    pub ignored: Vec<IgnoredTable>,
    /// The column every expected table that has it must declare as its scope; `None`: no such rule.
    pub scope_column: Option<String>,
}

/// A table that need not be audited, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IgnoredTable {
    /// The table.
    pub table: TableName,
    /// Why it need not be audited: 1 to 4,096 bytes.
    pub reason: String,
}

impl IgnoredTable {
    /// The table, and why it need not be audited.
    pub fn new(table: TableName, reason: impl Into<String>) -> Self {
        Self { table, reason: reason.into() }
    }
}

impl Tables {
    /// No tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has this table audited as well.
    pub fn expected(mut self, table: TableName) -> Self {
        self.expected.push(table);
        self
    }

    /// Does without the audit of this table as well.
    pub fn ignored(mut self, table: TableName, reason: impl Into<String>) -> Self {
        self.ignored.push(IgnoredTable::new(table, reason));
        self
    }

    /// The column every expected table that has it must declare as its scope.
    pub fn scope_column(self, column: impl Into<String>) -> Self {
        Self { scope_column: Some(column.into()), ..self }
    }
}

/// `[exports]`: export jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Exports {
    /// The most rows of one export, 1 to 1,000,000,000. 1,000,000 by default.
    pub max_rows: u64,
}

impl Default for Exports {
    fn default() -> Self {
        Self { max_rows: 1_000_000 }
    }
}

impl Exports {
    /// Exports of up to a million rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most rows of one export.
    pub fn max_rows(self, max_rows: u64) -> Self {
        Self { max_rows }
    }
}

/// `[storage]`: where exports and archives go.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Storage {
    /// `file:///absolute/path` or `s3://bucket/prefix`, without credentials; `None`: nowhere.
    pub url: Option<String>,
}

impl Storage {
    /// Nowhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory, `file:///absolute/path`, or a bucket, `s3://bucket/prefix`.
    pub fn url(self, url: impl Into<String>) -> Self {
        Self { url: Some(url.into()) }
    }
}

/// A URL that was refused may hold a credential, and is not shown.
impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url =
            self.url.as_deref().map(|url| if storage_problem(url).is_some() { "(refused)" } else { url });
        f.debug_struct("Storage").field("url", &url).finish()
    }
}

/// `[worker]`: how often the worker does what; each 1 second to 30 days.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Worker {
    /// Partitions are made ahead of time. Every day by default.
    pub partitions_every: Duration,
    /// What is past its time goes. Every hour by default.
    pub retention_every: Duration,
    /// Export jobs are looked for. Every 5 seconds by default.
    pub exports_every: Duration,
    /// Health is looked after. Every 15 minutes by default.
    pub health_every: Duration,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            partitions_every: DAY,
            retention_every: DAY / 24,
            exports_every: Duration::from_secs(5),
            health_every: Duration::from_secs(15 * 60),
        }
    }
}

impl Worker {
    /// The default intervals.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often partitions are made ahead of time.
    pub fn partitions_every(self, interval: Duration) -> Self {
        Self { partitions_every: interval, ..self }
    }

    /// How often what is past its time goes.
    pub fn retention_every(self, interval: Duration) -> Self {
        Self { retention_every: interval, ..self }
    }

    /// How often export jobs are looked for.
    pub fn exports_every(self, interval: Duration) -> Self {
        Self { exports_every: interval, ..self }
    }

    /// How often health is looked after.
    pub fn health_every(self, interval: Duration) -> Self {
        Self { health_every: interval, ..self }
    }
}
