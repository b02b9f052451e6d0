//! What a host asks for: an export, now or at a time or again and again, on somebody's behalf.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz};

use super::job::{ExportJob, JOB, JobRow};
use super::stored;
use crate::capture::TableName;
use crate::error::Error;
use crate::intent::{Actor, ActorType};
use crate::investigation::{ExportFormat, ExportOptions, Filter, Order, Scope, check_filter, relation_named};

/// An export to be made in the background.
///
/// Either [`scoped`](Self::scoped) or [`unscoped`](Self::unscoped): there is no third way to begin, so nobody is shown
/// everything for want of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ExportRequest {
    filter: Filter,
    scope: Option<Scope>,
    options: ExportOptions,
    at: Option<DateTime<Utc>>,
    every: Option<Duration>,
    window: Option<Duration>,
    keep: Option<Duration>,
    max_failures: u32,
}

impl ExportRequest {
    /// Of what the requester may see: the [`Scope`] that the host gives their reads at [`Surface::Export`](crate::Surface).
    ///
    /// It is stored, and applied again when the job runs. A recurring export goes on with it: when the requester's rights
    /// change, cancel what they have ([`cancel_all`](super::cancel_all)).
    pub fn scoped(scope: Scope, options: ExportOptions) -> Self {
        Self { scope: Some(scope), ..Self::unscoped(options) }
    }

    /// Of the whole trail: for those who run the application, not for its users.
    pub fn unscoped(options: ExportOptions) -> Self {
        Self {
            filter: Filter::new(),
            scope: None,
            options,
            at: None,
            every: None,
            window: None,
            keep: None,
            max_failures: 3,
        }
    }

    /// Which changes; all of them if left out. A table without a schema is the one on the search path of whoever enqueues.
    pub fn filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// When; at once if left out.
    pub fn at(self, at: DateTime<Utc>) -> Self {
        Self { at: Some(at), ..self }
    }

    /// Again and again, from the first time on, in whole seconds, at least a minute. A time that no worker
    /// was there for is made up for, but not more than the last hundred of them.
    pub fn every(self, every: Duration) -> Self {
        Self { every: Some(every), ..self }
    }

    /// Only what was captured in this time before the job's own: from then on, up to it and without it, so that windows
    /// as long as [`every`](Self::every) leave nothing out and say nothing twice. In whole seconds.
    ///
    /// A change is captured when it is made and seen when it is committed: one made in a window by a transaction that is
    /// still open at its end is in no window. Have them overlap where transactions are long, or read the
    /// [feed](crate::Trail::read_feed), which misses nothing.
    pub fn window(self, window: Duration) -> Self {
        Self { window: Some(window), ..self }
    }

    /// How long the file is kept, in whole seconds; for as long as the worker is configured to if left out.
    pub fn keep(self, keep: Duration) -> Self {
        Self { keep: Some(keep), ..self }
    }

    /// With so many failed attempts, 1 to 100, the job has failed; 3 if left out.
    pub fn max_failures(self, failures: u32) -> Self {
        Self { max_failures: failures, ..self }
    }

    fn check(&self, requester: &Actor) -> Result<(), InvalidExportRequest> {
        let mut problems = Vec::new();
        if requester.actor_type() == ActorType::Anonymous {
            problems.push("requester: is anonymous, and a job belongs to somebody".to_owned());
        } else if requester.id().is_none_or(|id| id.trim().is_empty()) {
            problems.push("requester: id is blank, and a job belongs to somebody".to_owned());
        }
        match self.filter.check() {
            Err(invalid) => {
                problems.extend(invalid.problems().iter().map(|problem| format!("filter: {problem}")));
            }
            Ok(()) if self.filter_changes_when_stored() => {
                problems.push(
                    "filter: cannot be stored; a key's column may have no `=`, a text no NUL".to_owned(),
                );
            }
            Ok(()) => {}
        }
        let mut whole_seconds = |name, duration: Option<Duration>, least: u64| {
            let is_fine = duration.is_none_or(|duration| {
                duration.subsec_nanos() == 0 && (least..=LONGEST).contains(&duration.as_secs())
            });
            if !is_fine {
                problems
                    .push(format!("{name}: is not a whole number of seconds between {least} and {LONGEST}"));
            }
        };
        whole_seconds("every", self.every, 60);
        whole_seconds("window", self.window, 1);
        whole_seconds("keep", self.keep, 1);
        if self.window.is_some() && (self.filter.from.is_some() || self.filter.to.is_some()) {
            problems.push("window: the filter has `from` or `to` as well; leave one of them out".to_owned());
        }
        if !(1..=100).contains(&self.max_failures) {
            problems.push("max_failures: is not between 1 and 100".to_owned());
        }
        if self.options.parts().2.is_some_and(|rows| i64::try_from(rows).is_err()) {
            problems.push("max_rows: is too large; use `unlimited`".to_owned());
        }
        // Read back as a worker would, whatever the reason that it could not.
        let scope = stored::scope_text(self.scope.as_ref());
        if scope.contains("\\u0000") || stored::scope(&scope).ok().as_ref() != Some(&self.scope) {
            problems.push("scope: cannot be stored; nest it less deeply, and use no NUL".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(InvalidExportRequest { problems }) }
    }

    fn filter_changes_when_stored(&self) -> bool {
        let pairs = self.filter.pairs();
        let has_nul = pairs.iter().any(|(_, value)| value.contains('\0'));
        has_nul || Filter::from_pairs(pairs).ok().as_ref() != Some(&self.filter)
    }
}

/// Seconds that `every`, `window` and `keep` are at most: ten years.
const LONGEST: u64 = 10 * 366 * 86_400;

/// Jobs of one requester that can be queued and running; a recurring one counts once. Two at once may come to one more.
const MOST_WAITING: u32 = 100;

/// Puts a job into the queue, which belongs to `requester` from then on, and says how it stands.
///
/// Within a transaction of the caller's, no worker sees it before that is committed. The names of tables are looked up now, so
/// that the worker means the same ones.
///
/// # Errors
///
/// [`Error::InvalidExportRequest`] with everything that is wrong with the request, or a requester who is anonymous or blank,
/// or has 100 jobs queued and running already;
/// [`Error::NotAudited`] for a table the trail does not know; [`Error::Refused`] for a key that is not the table's, and
/// [`Error::InvalidFilter`] for a column that no table asked about has.
pub fn enqueue(
    conn: &mut PgConnection,
    request: &ExportRequest,
    requester: &Actor,
) -> Result<ExportJob, Error> {
    request.check(requester)?;
    let filter = qualified(conn, &request.filter)?;
    // As the worker will: what has no answer is refused while somebody is there to hear it.
    if filter.key.is_some() || filter.column.is_some() {
        check_filter(conn, &filter)?;
    }
    let scope = request.scope.as_ref().map(|scope| scope.qualified(conn)).transpose()?;
    let (format, order, max_rows, formula_guard) = request.options.parts();
    let seconds = |duration: Option<Duration>| {
        duration.map(|duration| i64::try_from(duration.as_secs()).expect("it was found to be short enough"))
    };
    let sql = format!(
        "WITH made AS (SELECT (lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || \
             substr(gen_random_uuid()::text, 16))::uuid AS id, coalesce($12, clock_timestamp()) AS at) \
         INSERT INTO threadline.export_jobs AS j (id, series_id, scheduled_at, requested_at, requester_type, requester_id, filter, \
             scope, format, sort_order, max_rows, formula_guard, every_seconds, window_seconds, keep_seconds, max_failures, state, due_at) \
         SELECT made.id, made.id, made.at, clock_timestamp(), $1, $2, $3::jsonb, $4::jsonb, $5, $6, $7, $8, $9, $10, $11, $13, 'queued', made.at \
         FROM made WHERE {MOST_WAITING} > (SELECT count(*) FROM threadline.export_jobs w WHERE w.requester_type = $1 \
             AND w.requester_id = $2 AND w.state IN ('queued', 'running')) RETURNING {JOB}"
    );
    let row: Option<JobRow> = diesel::sql_query(sql)
        .bind::<Text, _>(requester.actor_type().as_str())
        .bind::<Text, _>(requester.id().unwrap_or_default())
        .bind::<Text, _>(serde_json::to_string(&filter).expect("texts serialize"))
        .bind::<Text, _>(stored::scope_text(scope.as_ref()))
        .bind::<Text, _>(match format {
            ExportFormat::Csv => "csv",
            ExportFormat::Json => "json",
            ExportFormat::Ndjson => "ndjson",
        })
        .bind::<Text, _>(match order {
            Order::NewestFirst => "newest_first",
            Order::OldestFirst => "oldest_first",
        })
        .bind::<Nullable<BigInt>, _>(max_rows.and_then(|rows| i64::try_from(rows).ok()))
        .bind::<Bool, _>(formula_guard)
        .bind::<Nullable<BigInt>, _>(seconds(request.every))
        .bind::<Nullable<BigInt>, _>(seconds(request.window))
        .bind::<Nullable<BigInt>, _>(seconds(request.keep))
        .bind::<Nullable<Timestamptz>, _>(request.at)
        .bind::<Integer, _>(i32::try_from(request.max_failures).unwrap_or(100))
        .get_result(conn)
        .optional()
        .map_err(|error| Error::from_query(conn, "", error))?;
    let too_many = || {
        InvalidExportRequest::one(format!(
            "requester: has {MOST_WAITING} exports under way already; wait until some are made, or cancel some"
        ))
    };
    row.ok_or_else(too_many)?.read()
}

/// The same filter with the schemas of its tables in it.
fn qualified(conn: &mut PgConnection, filter: &Filter) -> Result<Filter, Error> {
    let mut filter = filter.clone();
    for table in &mut filter.tables {
        let schema = table.schema().or(filter.schema.as_deref());
        *table = audited_name(conn, &TableName::new(schema, table.name()))?;
    }
    Ok(filter)
}

/// The full name of a table of the trail, the last one it had when it is gone.
fn audited_name(conn: &mut PgConnection, table: &TableName) -> Result<TableName, Error> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Text)]
        schema: String,
        #[diesel(sql_type = Text)]
        name: String,
    }
    let found: Found = diesel::sql_query(
        "SELECT a.schema_name AS schema, a.table_name AS name FROM threadline.audited_tables a \
         WHERE a.id = threadline.find_table($1, to_regclass($1))",
    )
    .bind::<Text, _>(table.to_sql())
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, &table.to_plain(), error))?;
    // A table that is there goes by the name it has now, which the trail learns when its capture is next compiled.
    let now = relation_named(conn, table)?;
    Ok(now.unwrap_or_else(|| TableName::new(Some(&found.schema), &found.name)))
}

/// What is wrong with a request, each problem with the name of its field. None of them quotes a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidExportRequest {
    problems: Vec<String>,
}

impl InvalidExportRequest {
    pub(super) fn one(problem: impl Into<String>) -> Self {
        Self { problems: vec![problem.into()] }
    }

    /// Each problem, such as `every: is not a whole number of seconds between 60 and 316224000`.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for InvalidExportRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid export request: {}", self.problems.join("; "))
    }
}

impl std::error::Error for InvalidExportRequest {}
