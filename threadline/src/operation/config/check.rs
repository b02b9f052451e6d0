//! What a configuration cannot be: values out of range, and values that contradict each other.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Config;
use super::duration::written;
use super::names::{may_be_the_same, name_problem, table_problem, table_written};
use super::problem::Problem;
use super::secrets::storage_problem;
use super::source::key_path;
use crate::capture::TableName;
use crate::intent::{TextKind, text_problem};
use crate::operation::retention::RetentionPolicy;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
/// A thousand years, which PostgreSQL can still subtract from now.
const LONGEST: Duration = Duration::from_secs(1_000 * 31_557_600);

const BATCH_ROWS: u32 = 100_000;
const MAX_ROWS: u64 = 1_000_000_000;

/// A problem of a value, or of two that do not go together.
pub(super) struct Finding {
    key: String,
    other: Option<String>,
    wrong: String,
    allowed: String,
}

impl Finding {
    /// The keys it is about.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        [Some(self.key.as_str()), self.other.as_deref()].into_iter().flatten()
    }

    pub(super) fn into_problem(self) -> Problem {
        Problem { line: None, key: self.key, wrong: self.wrong, allowed: self.allowed }
    }
}

pub(super) fn problems(config: &Config) -> Vec<Problem> {
    findings(config).into_iter().map(Finding::into_problem).collect()
}

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut check = Check::default();
    check.tables(config);
    check.retention(&config.retention);
    check.number("exports.max_rows", config.exports.max_rows);
    if let Some((wrong, allowed)) = config.storage.url.as_deref().and_then(storage_problem) {
        check.wrong("storage.url", wrong, allowed);
    }
    let worker = &config.worker;
    check.interval("worker.partitions_every", worker.partitions_every);
    check.interval("worker.retention_every", worker.retention_every);
    check.interval("worker.exports_every", worker.exports_every);
    check.interval("worker.health_every", worker.health_every);
    check.mentions(config);
    check.windows(config);
    check.findings
}

/// What numbers a key takes.
pub(super) fn range_of(key: &str) -> String {
    format!("1 to {} are allowed", most_of(key))
}

fn most_of(key: &str) -> u64 {
    if key == "exports.max_rows" { MAX_ROWS } else { BATCH_ROWS.into() }
}

/// The path of a table's entry below `path`.
pub(super) fn table_path(path: &str, table: &TableName) -> String {
    key_path(path, &table_written(table))
}

#[derive(Default)]
struct Check {
    findings: Vec<Finding>,
}

impl Check {
    fn wrong(&mut self, key: &str, wrong: impl Into<String>, allowed: impl Into<String>) {
        self.findings.push(Finding {
            key: key.to_owned(),
            other: None,
            wrong: wrong.into(),
            allowed: allowed.into(),
        });
    }

    /// Two values that do not go together, unless one of them is wrong by itself.
    fn contradiction(&mut self, key: &str, other: &str, wrong: String, allowed: &str) {
        if self
            .findings
            .iter()
            .any(|finding| finding.other.is_none() && (finding.key == key || finding.key == other))
        {
            return;
        }
        self.findings.push(Finding {
            key: key.to_owned(),
            other: Some(other.to_owned()),
            wrong,
            allowed: allowed.to_owned(),
        });
    }

    fn tables(&mut self, config: &Config) {
        for (index, table) in config.tables.expected.iter().enumerate() {
            self.table(&format!("tables.expected[{index}]"), table);
        }
        for (index, ignored) in config.tables.ignored.iter().enumerate() {
            let path = format!("tables.ignored[{index}]");
            self.table(&key_path(&path, "table"), &ignored.table);
            let problem = text_problem(&ignored.reason, TextKind::Prose);
            let blank = ignored.reason.trim().is_empty().then_some("is empty");
            if let Some(problem) = problem.or(blank) {
                self.wrong(
                    &key_path(&path, "reason"),
                    problem,
                    "say in a sentence why the table need not be audited",
                );
            }
        }
        if let Some(problem) = config.tables.scope_column.as_deref().and_then(name_problem) {
            self.wrong(
                "tables.scope_column",
                problem,
                "write a column's name as it is spelt in the database",
            );
        }
    }

    fn table(&mut self, key: &str, table: &TableName) {
        if let Some((wrong, allowed)) = table_problem(table) {
            self.wrong(key, wrong, allowed);
        }
    }

    fn retention(&mut self, retention: &RetentionPolicy) {
        let windows = [
            ("retention.keep", retention.keep),
            ("retention.exports", Some(retention.exports)),
            ("retention.evidence", retention.evidence),
            ("retention.access_log", retention.access_log),
            ("retention.runs", retention.runs),
        ];
        for (key, window) in windows {
            window.into_iter().for_each(|window| self.duration(key, window, SECOND, LONGEST));
        }
        self.duration("retention.minimum", retention.minimum, Duration::ZERO, LONGEST);
        for (action, window) in &retention.actions {
            let key = key_path("retention.actions", action);
            if let Some(problem) = text_problem(action, TextKind::Name) {
                self.wrong(
                    &key,
                    format!("is the window of an action whose name {problem}"),
                    "name an action",
                );
            }
            self.duration(&key, *window, SECOND, LONGEST);
        }
        for (table, window) in &retention.tables {
            let key = table_path("retention.tables", table);
            if let Some((wrong, allowed)) = table_problem(table) {
                self.wrong(&key, wrong, allowed);
            }
            self.duration(&key, *window, SECOND, LONGEST);
        }
        self.number("retention.batch_rows", retention.batch_rows.into());
        self.duration("retention.pause", retention.pause, Duration::ZERO, HOUR);
        let timeouts = [
            ("retention.lock_timeout", retention.lock_timeout),
            ("retention.statement_timeout", retention.statement_timeout),
        ];
        for (key, timeout) in timeouts {
            self.duration(key, timeout, Duration::from_millis(1), HOUR);
            if timeout.subsec_nanos() % 1_000_000 != 0 && timeout >= Duration::from_millis(1) {
                self.wrong(key, "is not a whole number of milliseconds", "PostgreSQL counts in milliseconds");
            }
        }
        if retention.lock_timeout >= retention.statement_timeout {
            self.contradiction(
                "retention.lock_timeout",
                "retention.statement_timeout",
                format!(
                    "is not shorter than `retention.statement_timeout`, {}",
                    written(retention.statement_timeout)
                ),
                "the statement would end first; shorten it",
            );
        }
    }

    fn duration(&mut self, key: &str, duration: Duration, shortest: Duration, longest: Duration) {
        let wrong = if duration.is_zero() && !shortest.is_zero() {
            "is zero"
        } else if duration < shortest {
            "is too short"
        } else if duration > longest {
            "is too long"
        } else {
            return;
        };
        self.wrong(key, wrong, format!("{} to {} is allowed", written(shortest), written(longest)));
    }

    fn interval(&mut self, key: &str, interval: Duration) {
        self.duration(key, interval, SECOND, MONTH);
    }

    fn number(&mut self, key: &str, number: u64) {
        if number == 0 {
            self.wrong(key, "is zero", range_of(key));
        } else if number > most_of(key) {
            self.wrong(key, "is too large", range_of(key));
        }
    }

    /// Tables named twice, and tables that are ignored here and asked for there.
    fn mentions(&mut self, config: &Config) {
        #[derive(Clone, Copy, PartialEq)]
        enum List {
            Expected,
            Ignored,
            Windows,
        }
        let expected = config.tables.expected.iter().enumerate();
        let ignored = config.tables.ignored.iter().enumerate();
        let all = expected
            .map(|(index, table)| (List::Expected, format!("tables.expected[{index}]"), table))
            .chain(ignored.map(|(index, ignored)| {
                (List::Ignored, format!("tables.ignored[{index}].table"), &ignored.table)
            }))
            .chain(
                config
                    .retention
                    .tables
                    .keys()
                    .map(|table| (List::Windows, table_path("retention.tables", table), table)),
            );
        let mut by_name: BTreeMap<&str, Vec<(List, String, &TableName)>> = BTreeMap::new();
        for (list, key, table) in all {
            let before = by_name.entry(table.name()).or_default();
            let earlier = |of: &dyn Fn(List) -> bool| {
                before.iter().find(|(list, _, other)| of(*list) && may_be_the_same(table, other))
            };
            if let Some((_, other_key, other)) = earlier(&|other| other == list) {
                let (is, fix) = certainty(table, other, "leave one of them out");
                let the_other = table_written(other);
                let wrong = format!("{is} the table `{the_other}`, which `{other_key}` names already");
                self.contradiction(&key, other_key, wrong, &fix);
            }
            let undecided = |other| other != list && (other == List::Ignored || list == List::Ignored);
            if let Some((_, other_key, other)) = earlier(&undecided) {
                let (is, fix) = certainty(table, other, "decide for one");
                let the_other = table_written(other);
                let wrong = format!(
                    "{is} the table `{the_other}` of `{other_key}`, and an ignored table has no changes to expect or to keep"
                );
                self.contradiction(&key, other_key, wrong, &fix);
            }
            before.push((list, key, table));
        }
    }

    /// Windows under the minimum, and what needs a storage.
    fn windows(&mut self, config: &Config) {
        let retention = &config.retention;
        let keep = retention.keep.map(|window| ("retention.keep".to_owned(), window));
        let actions =
            retention.actions.iter().map(|(name, window)| (key_path("retention.actions", name), *window));
        let tables =
            retention.tables.iter().map(|(table, window)| (table_path("retention.tables", table), *window));
        let windows: Vec<_> = keep.into_iter().chain(actions).chain(tables).collect();
        for (key, window) in windows {
            if window < retention.minimum {
                self.contradiction(
                    &key,
                    "retention.minimum",
                    format!("is shorter than `retention.minimum`, {}", written(retention.minimum)),
                    "lengthen it, or lower the minimum",
                );
            }
        }
        if config.archive && config.storage.url.is_none() {
            self.contradiction(
                "retention.archive",
                "storage.url",
                "has nowhere to archive to".to_owned(),
                "set `storage.url`, or do not archive",
            );
        }
    }
}

/// Whether two names that may mean one table do, and what to do about it.
fn certainty(table: &TableName, other: &TableName, fix: &str) -> (&'static str, String) {
    if table == other {
        ("is", fix.to_owned())
    } else {
        ("may be", format!("{fix}, or name both with their schemas"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound() {
        assert!(problems(&Config::default()).is_empty());
    }
}
