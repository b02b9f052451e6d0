//! The sections of `threadline.toml`, as values. Each setter has the name of the key it sets.

use std::collections::BTreeMap;
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

/// `[retention]`: how long what is kept, and how carefully it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Retention {
    /// How long changes are kept, unless their table or action says otherwise; `None`: for ever.
    pub keep: Option<Duration>,
    /// No change younger than this goes, whatever else is set. 30 days by default; zero for no such limit.
    pub minimum: Duration,
    /// How long the changes of an action are kept, by the action's name.
    pub actions: BTreeMap<String, Duration>,
    /// How long the changes of a table are kept.
    pub tables: BTreeMap<TableName, Duration>,
    /// How long finished export jobs and their files are kept. 7 days by default: files are copies.
    pub exports: Duration,
    /// How long evidence is kept; `None`: for ever.
    pub evidence: Option<Duration>,
    /// How long it is kept who read the trail; `None`: for ever.
    pub access_log: Option<Duration>,
    /// How long the runs of retention are kept; `None`: for ever.
    pub runs: Option<Duration>,
    /// Whether a partition is archived to the storage before it is dropped.
    pub archive: bool,
    /// Rows a statement deletes, 1 to 100,000. 5,000 by default.
    pub batch_rows: u32,
    /// The pause between two such statements. 50 ms by default; zero for none.
    pub pause: Duration,
    /// How long to wait for a lock, in whole milliseconds and less than `statement_timeout`. 500 ms by default.
    pub lock_timeout: Duration,
    /// How long a statement may take, in whole milliseconds. 30 s by default.
    pub statement_timeout: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep: None,
            minimum: 30 * DAY,
            actions: BTreeMap::new(),
            tables: BTreeMap::new(),
            exports: 7 * DAY,
            evidence: None,
            access_log: None,
            runs: None,
            archive: false,
            batch_rows: 5_000,
            pause: Duration::from_millis(50),
            lock_timeout: Duration::from_millis(500),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

impl Retention {
    /// Everything is kept for ever but export jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long changes are kept, unless their table or action says otherwise.
    pub fn keep(self, window: Duration) -> Self {
        Self { keep: Some(window), ..self }
    }

    /// No change younger than this goes, whatever else is set.
    pub fn minimum(self, minimum: Duration) -> Self {
        Self { minimum, ..self }
    }

    /// How long the changes of this action are kept.
    pub fn action(mut self, name: impl Into<String>, window: Duration) -> Self {
        self.actions.insert(name.into(), window);
        self
    }

    /// How long the changes of this table are kept.
    pub fn table(mut self, table: TableName, window: Duration) -> Self {
        self.tables.insert(table, window);
        self
    }

    /// How long finished export jobs and their files are kept.
    pub fn exports(self, window: Duration) -> Self {
        Self { exports: window, ..self }
    }

    /// How long evidence is kept.
    pub fn evidence(self, window: Duration) -> Self {
        Self { evidence: Some(window), ..self }
    }

    /// How long it is kept who read the trail.
    pub fn access_log(self, window: Duration) -> Self {
        Self { access_log: Some(window), ..self }
    }

    /// How long the runs of retention are kept.
    pub fn runs(self, window: Duration) -> Self {
        Self { runs: Some(window), ..self }
    }

    /// Whether a partition is archived to the storage before it is dropped.
    pub fn archive(self, archive: bool) -> Self {
        Self { archive, ..self }
    }

    /// Rows a statement deletes.
    pub fn batch_rows(self, batch_rows: u32) -> Self {
        Self { batch_rows, ..self }
    }

    /// The pause between two statements that delete.
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// How long to wait for a lock.
    pub fn lock_timeout(self, lock_timeout: Duration) -> Self {
        Self { lock_timeout, ..self }
    }

    /// How long a statement may take.
    pub fn statement_timeout(self, statement_timeout: Duration) -> Self {
        Self { statement_timeout, ..self }
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
