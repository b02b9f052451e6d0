//! What is kept, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Integer, Text, Timestamptz};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::work::Month;
use crate::capture::TableName;
use crate::error::Error;
use crate::intent::Actor;
use crate::operation::evidence::{Record, Reference, Subject};

const DAY: Duration = Duration::from_secs(86_400);

/// What is kept, and for how long: `[retention]` of `threadline.toml`. Nothing of the trail goes unless a window says so; the
/// default keeps all of it.
///
/// A transaction is as old as the last change it captured, in any table. All its changes to one table go together, once it is
/// strictly older than the table's window: that of [`table`](Self::table), else [`keep`](Self::keep). They stay for longer
/// where one of its actions has a longer window of its own ([`action`](Self::action)). An action with a window of its own goes
/// by that one, before the changes where it is shorter; another goes by `keep`, but not before the changes of its transaction.
/// The transaction goes with the last of both. [`minimum`](Self::minimum) wins over all windows, and a hold
/// ([`holds`](crate::holds)) over everything.
///
/// ```
/// use std::time::Duration;
/// use threadline::TableName;
/// use threadline::retention::RetentionPolicy;
///
/// let day = Duration::from_secs(86_400);
/// let policy = RetentionPolicy::new()
///     .keep(400 * day)
///     .table(TableName::new(Some("public"), "page_views"), 60 * day)
///     .action("login.failed", 90 * day);
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct RetentionPolicy {
    /// The window of what has none of its own; `None`: for ever.
    pub keep: Option<Duration>,
    /// Nothing in the trail that is younger than this goes, whatever the windows say; zero for no such limit.
    pub minimum: Duration,
    /// The windows of tables' changes.
    pub tables: BTreeMap<TableName, Duration>,
    /// The windows of actions, by their names.
    pub actions: BTreeMap<String, Duration>,
    /// The window of finished export jobs and their files.
    pub exports: Duration,
    /// The window of evidence; `None`: for ever.
    pub evidence: Option<Duration>,
    /// The window of the access log; `None`: for ever.
    pub access_log: Option<Duration>,
    /// The window of what is known of earlier runs; `None`: for ever.
    pub runs: Option<Duration>,
    /// How many old changes a batch takes.
    pub batch_rows: u32,
    /// How long to wait between batches.
    pub pause: Duration,
    /// How long a statement waits for a lock.
    pub lock_timeout: Duration,
    /// How long a batch may take.
    pub statement_timeout: Duration,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        Self {
            keep: None,
            minimum: 30 * DAY,
            tables: BTreeMap::new(),
            actions: BTreeMap::new(),
            exports: 7 * DAY,
            evidence: None,
            access_log: None,
            runs: None,
            batch_rows: 5_000,
            pause: Duration::from_millis(50),
            lock_timeout: Duration::from_millis(500),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

impl RetentionPolicy {
    /// One that keeps the whole trail.
    pub fn new() -> Self {
        Self::default()
    }

    /// The window of what has none of its own; without it, such things are kept for ever.
    pub fn keep(self, window: Duration) -> Self {
        Self { keep: Some(window), ..self }
    }

    /// Nothing in the trail that is younger than this goes, whatever the windows say. 30 days unless set.
    pub fn minimum(self, minimum: Duration) -> Self {
        Self { minimum, ..self }
    }

    /// The window of a table's changes.
    pub fn table(mut self, table: TableName, window: Duration) -> Self {
        self.tables.insert(table, window);
        self
    }

    /// The window of actions of a name.
    pub fn action(mut self, name: impl Into<String>, window: Duration) -> Self {
        self.actions.insert(name.into(), window);
        self
    }

    /// The window of finished export jobs and their files, which are copies: 7 days unless set. The minimum is not about these.
    pub fn exports(self, window: Duration) -> Self {
        Self { exports: window, ..self }
    }

    /// The window of evidence. The minimum is not about it.
    pub fn evidence(self, window: Duration) -> Self {
        Self { evidence: Some(window), ..self }
    }

    /// The window of the access log. The minimum is not about it.
    pub fn access_log(self, window: Duration) -> Self {
        Self { access_log: Some(window), ..self }
    }

    /// The window of what is known of earlier runs.
    pub fn runs(self, window: Duration) -> Self {
        Self { runs: Some(window), ..self }
    }

    /// How many old changes a batch takes, 1 to 100,000; with each comes what else its transaction has in the table. 5,000
    /// unless set.
    pub fn batch_rows(self, rows: u32) -> Self {
        Self { batch_rows: rows, ..self }
    }

    /// How long to wait between batches. 50 ms unless set.
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// How long a statement waits for a lock, at least a millisecond. 500 ms unless set.
    pub fn lock_timeout(self, timeout: Duration) -> Self {
        Self { lock_timeout: timeout, ..self }
    }

    /// How long a batch may take, at least a millisecond, and how long a partition waits for transactions that may still read
    /// it. 30 s unless set.
    pub fn statement_timeout(self, timeout: Duration) -> Self {
        Self { statement_timeout: timeout, ..self }
    }

    /// How long what is kept, as the evidence of a run has it: windows in whole seconds, as they were given, without what is
    /// kept for ever.
    pub(super) fn posture(&self, by: &Actor) -> Record {
        let windows = [
            ("keep_seconds", self.keep),
            ("minimum_seconds", Some(self.minimum)),
            ("exports_seconds", Some(self.exports)),
            ("evidence_seconds", self.evidence),
            ("access_log_seconds", self.access_log),
            ("runs_seconds", self.runs),
        ];
        let record = Record::new(
            Subject::RetentionPolicy,
            Reference::new("policy", "retention"),
            "threadline::retention",
            "threadline::retention::run",
        )
        .actor(by.clone())
        .named("tables", self.tables.iter().map(|(table, window)| (table.to_plain(), window.as_secs())))
        .named("actions", self.actions.iter().map(|(name, window)| (name.clone(), window.as_secs())));
        windows.into_iter().fold(record, |record, (name, window)| match window {
            Some(window) => record.detail(name, window.as_secs()),
            None => record,
        })
    }

    /// Whether nothing of the trail ever goes by it; evidence, the access log, export jobs and earlier runs still may.
    pub fn keeps_trail_for_ever(&self) -> bool {
        self.keep.is_none() && self.tables.is_empty() && self.actions.is_empty()
    }

    /// Every problem, as it is said to people.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=100_000).contains(&self.batch_rows) {
            problems.push(format!("`batch_rows` is {}, not 1 to 100000", self.batch_rows));
        }
        for (name, timeout) in
            [("lock_timeout", self.lock_timeout), ("statement_timeout", self.statement_timeout)]
        {
            // Zero would mean none.
            if !(1..=86_400_000).contains(&timeout.as_millis()) {
                problems.push(format!("`{name}` is not between a millisecond and a day"));
            }
        }
        if self.pause > DAY {
            problems.push("`pause` is longer than a day".to_owned());
        }
        if self.actions.keys().any(String::is_empty) {
            problems.push("`actions` has a window for an action without a name".to_owned());
        }
        problems
    }

    /// What the windows mean at this moment.
    pub(super) fn resolve(&self, conn: &mut PgConnection) -> Result<Cutoffs, Error> {
        #[derive(QueryableByName)]
        struct Now {
            #[diesel(sql_type = Timestamptz)]
            now: DateTime<Utc>,
        }
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = Integer)]
            id: i32,
        }
        let mut problems = self.problems();
        let Now { now } = diesel::sql_query("SELECT clock_timestamp() AS now")
            .get_result(conn)
            .map_err(|error| Error::from_query(conn, "", error))?;
        let cutoff = |window: Duration| before(now, window.max(self.minimum));
        let mut tables = Map::new();
        for (table, window) in &self.tables {
            let found: Result<Found, _> =
                diesel::sql_query("SELECT threadline.find_table($1, to_regclass($1)) AS id")
                    .bind::<Text, _>(table.to_sql())
                    .get_result(conn);
            match found.map_err(|error| Error::from_query(conn, &table.to_sql(), error)) {
                Ok(Found { id }) if tables.contains_key(&id.to_string()) => {
                    problems.push(format!("`tables` names table {} twice", table.to_sql()));
                }
                Ok(Found { id }) => {
                    tables.insert(id.to_string(), text(cutoff(*window)));
                }
                Err(error @ (Error::NotAudited { .. } | Error::Refused { .. })) => {
                    problems.push(format!("`tables`: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        if !problems.is_empty() {
            return Err(Error::Refused {
                message: format!("the retention policy is not sound: {}", problems.join("; ")),
                hint: None,
            });
        }
        let actions: Map<String, Value> =
            self.actions.iter().map(|(name, window)| (name.clone(), text(cutoff(*window)))).collect();
        let windows = self.keep.iter().chain(self.tables.values()).chain(self.actions.values());
        let newest = windows.filter_map(|window| cutoff(*window)).max();
        let keep = self.keep.and_then(cutoff);
        let policy =
            json!({"keep": text(keep), "tables": tables, "actions": actions, "newest": text(newest)});
        Ok(Cutoffs { now, newest, policy })
    }
}

/// The instants before which things are due.
pub(super) struct Cutoffs {
    pub(super) now: DateTime<Utc>,
    /// The latest of them; `None` when everything is kept for ever.
    pub(super) newest: Option<DateTime<Utc>>,
    /// As the database takes them: {"keep", "tables": {"<id>"}, "actions": {"<name>"}, "newest"}, `null` for ever.
    pub(super) policy: Value,
}

impl Cutoffs {
    /// When the first of what is past an instant and not past the end of its month goes with it; `None` for a month that no such
    /// instant lies in.
    pub(super) fn wait(&self, month: &Month) -> Option<DateTime<Utc>> {
        let end = month.end_id.map(instant_of)?;
        let begins = month.first_id.map(instant_of);
        let windows = ["tables", "actions"].into_iter().filter_map(|name| self.policy[name].as_object());
        let instants = windows.flat_map(Map::values).chain([&self.policy["keep"]]);
        let latest = instants
            .filter_map(|instant| instant.as_str()?.parse::<DateTime<Utc>>().ok())
            .filter(|instant| *instant < end && begins.is_none_or(|begins| begins < *instant))
            .max()?;
        end.checked_add_signed(self.now - latest)
    }

    /// The policy with those instants alone that have passed all of a month: what is not past then stays for now.
    pub(super) fn passed(&self, month: &Month) -> Value {
        let end = month.end_id.map(instant_of);
        let has_passed = |instant: &Value| {
            let instant = instant.as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
            end.zip(instant).is_some_and(|(end, instant)| end <= instant)
        };
        let mut policy = self.policy.clone();
        let Value::Object(entries) = &mut policy else { return policy };
        for (name, entry) in entries {
            match entry {
                Value::Object(windows) => {
                    windows
                        .values_mut()
                        .filter(|instant| !has_passed(instant))
                        .for_each(|instant| *instant = Value::Null);
                }
                // How far to look, which nothing goes by.
                _ if name == "newest" => {}
                keep if !has_passed(keep) => *keep = Value::Null,
                _ => {}
            }
        }
        policy
    }
}

/// When a transaction with this id began, to the millisecond.
pub(crate) fn instant_of(id: Uuid) -> DateTime<Utc> {
    let milliseconds = (id.as_u128() >> 80) as i64;
    DateTime::from_timestamp_millis(milliseconds).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// `None` for an instant no trail reaches back to.
pub(super) fn before(now: DateTime<Utc>, window: Duration) -> Option<DateTime<Utc>> {
    let instant = now.checked_sub_signed(TimeDelta::from_std(window).ok()?)?;
    (instant.year() >= 1).then_some(instant)
}

fn text(instant: Option<DateTime<Utc>>) -> Value {
    instant.map_or(Value::Null, |instant| {
        Value::String(instant.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
    })
}
