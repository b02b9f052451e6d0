//! What health looks at, and how long.

use std::time::Duration;

use super::coverage::CoverageOptions;
use crate::capture::TableName;
use crate::operation::config;

/// What [`findings`](super::findings) looks at, and how long.
///
/// The default makes every check: those that read the catalogs, and those that read changes, which are bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthOptions {
    pub(crate) coverage: CoverageOptions,
    pub(crate) expected: Vec<TableName>,
    pub(crate) named: Vec<(TableName, String)>,
    pub(crate) named_actions: Vec<(String, String)>,
    pub(crate) actors: bool,
    pub(crate) orphans: bool,
    pub(crate) gaps: bool,
    pub(crate) recent: Duration,
    pub(crate) recent_rows: u32,
    pub(crate) gap_rows: u32,
    pub(crate) gap_time: Duration,
    pub(crate) feed_hold: Duration,
    pub(crate) statement_timeout: Duration,
}

impl Default for HealthOptions {
    fn default() -> Self {
        Self {
            coverage: CoverageOptions::default(),
            expected: Vec::new(),
            named: Vec::new(),
            named_actions: Vec::new(),
            actors: true,
            orphans: true,
            gaps: true,
            recent: Duration::from_secs(24 * 60 * 60),
            recent_rows: 10_000,
            gap_rows: 100,
            gap_time: Duration::from_secs(2),
            feed_hold: Duration::from_secs(60 * 60),
            statement_timeout: Duration::from_secs(5),
        }
    }
}

/// As `[tables]` of `threadline.toml` says: what is expected to be audited, and what is not to be.
impl From<&config::Tables> for HealthOptions {
    fn from(section: &config::Tables) -> Self {
        let coverage = section.ignored.iter().fold(CoverageOptions::new(), |options, ignored| {
            options.ignore(ignored.table.clone(), &ignored.reason)
        });
        Self { coverage, expected: section.expected.clone(), ..Self::default() }
    }
}

impl HealthOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only the checks that read catalogs, and no change.
    pub fn catalog_only() -> Self {
        Self::default().check_actors(false).check_orphans(false).check_gaps(false)
    }

    /// Which schemas to look at, and which tables are not to be audited.
    #[must_use]
    pub fn coverage(mut self, coverage: CoverageOptions) -> Self {
        self.coverage = coverage;
        self
    }

    /// A table that has to be audited; without a schema, the one the search path finds.
    #[must_use]
    pub fn expect(mut self, table: TableName) -> Self {
        self.expected.push(table);
        self
    }

    /// A table that is named somewhere, and should be one there is, or one that was audited; `place` goes on after "though", as
    /// "`[retention] tables` has a window for it".
    #[must_use]
    pub fn named(mut self, table: TableName, place: impl Into<String>) -> Self {
        self.named.push((table, place.into()));
        self
    }

    /// An action that is named somewhere, and should be one that was recorded; `place` as in [`named`](Self::named).
    #[must_use]
    pub fn named_action(mut self, name: impl Into<String>, place: impl Into<String>) -> Self {
        self.named_actions.push((name.into(), place.into()));
        self
    }

    /// Whether to count recent changes without an actor.
    #[must_use]
    pub fn check_actors(mut self, check: bool) -> Self {
        self.actors = check;
        self
    }

    /// Whether to look for recent changes without a transaction.
    #[must_use]
    pub fn check_orphans(mut self, check: bool) -> Self {
        self.orphans = check;
        self
    }

    /// Whether to fold rows changed lately and look for writes that escaped capture.
    #[must_use]
    pub fn check_gaps(mut self, check: bool) -> Self {
        self.gaps = check;
        self
    }

    /// How far back changes are recent; a day. Whole seconds.
    #[must_use]
    pub fn recent(mut self, recent: Duration) -> Self {
        self.recent = recent;
        self
    }

    /// How many of the recent transactions, or changes, are read at most, the newest; 10,000.
    #[must_use]
    pub fn recent_rows(mut self, rows: u32) -> Self {
        self.recent_rows = rows;
        self
    }

    /// How many rows are folded at most, those changed last; 100.
    #[must_use]
    pub fn gap_rows(mut self, rows: u32) -> Self {
        self.gap_rows = rows;
        self
    }

    /// How long to fold rows; two seconds. Those that are left are not looked at.
    #[must_use]
    pub fn gap_time(mut self, time: Duration) -> Self {
        self.gap_time = time;
        self
    }

    /// How long a transaction may hold the feed back; an hour.
    #[must_use]
    pub fn feed_hold(mut self, hold: Duration) -> Self {
        self.feed_hold = hold;
        self
    }

    /// How long one statement may take; five seconds. A check that is not over then is reported as not made.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    pub(crate) fn recent_seconds(&self) -> i32 {
        self.recent.as_secs().min(i32::MAX as u64) as i32
    }
}
