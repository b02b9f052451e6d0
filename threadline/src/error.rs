//! What can go wrong between the library and the database.

use std::time::Duration;

use diesel::prelude::*;
use diesel::r2d2::PoolError;
use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{Bool, Integer, Nullable};
use uuid::Uuid;

use crate::capture::TableName;
use crate::health;
use crate::intent::{InvalidContext, gave_way};
use crate::investigation::undo::{Conflict, Limit, LimitReason, UndoPlan};
use crate::investigation::{FeedCursor, InvalidFeedCursor, InvalidFilter, InvalidScope};
use crate::migrations::SCHEMA_VERSION;
use crate::operation::evidence::InvalidEvidence;
use crate::operation::exports::InvalidExportRequest;
use crate::operation::views::InvalidView;

/// Why a call could not be answered. A call that fails leaves nothing half-written in the database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// PostgreSQL refused the statement for a reason of its own.
    #[error("the database refused a statement")]
    Query(#[source] DieselError),
    /// The connection broke; the server may be down.
    #[error("the connection to the database was lost; check that PostgreSQL is running and reachable")]
    ConnectionLost(#[source] DieselError),
    /// The database has no schema `threadline`, or half of one.
    #[error(
        "the database has no audit schema; run `threadline migrate`, or `threadline install` and `diesel migration run`, or \
         `run_pending_migrations(threadline::MIGRATIONS)`"
    )]
    SchemaMissing,
    /// The audit schema is not of the version this library was written for.
    #[error(
        "the audit schema is version {found} and this library needs {needed}; run `threadline migrate`, or `threadline install` and \
         `diesel migration run`, or `run_pending_migrations(threadline::MIGRATIONS)`"
    )]
    SchemaVersion {
        /// Version in the database.
        found: i32,
        /// Version the library needs.
        needed: i32,
    },
    /// The trail has nothing under this table's name.
    #[error("table `{table}` {}", unknown_to_the_trail(renamed_to.as_deref(), nearest.as_deref()))]
    NotAudited {
        /// The table as it was asked for, as a person writes it.
        table: String,
        /// What it is called now, where the trail knew it by this name.
        renamed_to: Option<String>,
        /// The audited table whose name is nearest, if one is near.
        nearest: Option<String>,
    },
    /// The table to be audited is not there.
    #[error("table `{table}` does not exist; create it in an earlier migration, or name its schema")]
    NoSuchTable {
        /// The table as it was asked for.
        table: String,
    },
    /// Two models of one table declare different audits.
    #[error(
        "models `{first}` and `{second}` are of the same table and declare different audits; make their `#[threadline(…)]` equal"
    )]
    PolicyContradiction {
        /// Path of one model.
        first: String,
        /// Path of the other.
        second: String,
    },
    /// The database refused a policy, a key or a table; the message names the offender.
    #[error("{message}{}", hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    Refused {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A model's `#[threadline(schema = "…")]` and its `table!` name different schemas.
    #[error(
        "model `{model}`: `schema = \"{declared}\"` contradicts `table!`, which says `{table}`; remove one of them"
    )]
    SchemaContradiction {
        /// Path of the model.
        model: String,
        /// The schema the model declares.
        declared: String,
        /// The table as `table!` names it.
        table: String,
    },
    /// Nobody answers for the transaction.
    #[error(
        "the audit context has no actor; give it one, or call `allow_missing_actor` where nobody answers for the changes"
    )]
    MissingActor,
    /// A value of the context or the action is not allowed.
    #[error(transparent)]
    InvalidContext(#[from] InvalidContext),
    /// A filter asks for something that cannot be asked.
    #[error(transparent)]
    InvalidFilter(#[from] InvalidFilter),
    /// A record of evidence, or a question about it, is not what can be recorded or asked.
    #[error(transparent)]
    InvalidEvidence(#[from] InvalidEvidence),
    /// A page is asked for that there cannot be: its size, or where it starts.
    #[error("{problem}")]
    InvalidPage {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The host's scope hook failed, so nothing is shown.
    #[error("the scope of the reader could not be determined")]
    ScopeFailed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What takes an export failed to. What it had taken before is no whole export.
    #[error("the export could not be written")]
    Export(#[source] std::io::Error),
    /// The pool had no connection to give in time.
    #[error(
        "no database connection was free in time; the pool is exhausted, or the database cannot be reached"
    )]
    NoConnection(#[source] PoolError),
    /// A statement ran for longer than the reader was ready to wait.
    #[error("the database took longer than {} ms; ask for less, such as a shorter time", limit.as_millis())]
    TookTooLong {
        /// What the reader was ready to wait for one statement.
        limit: Duration,
        /// How the database put it.
        source: DieselError,
    },
    /// The transaction's body went on after an error of a statement, so PostgreSQL had aborted it; it is rolled back.
    #[error(
        "a statement in the audited transaction failed and its error was not returned; everything is rolled back"
    )]
    Aborted(#[source] DieselError),
    /// Changes were required, and nothing was captured; everything is rolled back.
    #[error(
        "the audited transaction changed no audited row and `require_changes` is set; check that the table is attached and that the statement matched a row"
    )]
    NoChanges,
    /// Another transaction stood in the way; trying the whole transaction again may succeed.
    #[error("the transaction gave way to another one; try it again")]
    Conflict(#[source] DieselError),
    /// PostgreSQL refused to commit, as for a deferred constraint; everything is rolled back.
    #[error("the audited transaction could not be committed")]
    Commit(#[source] DieselError),
    /// The trail has nothing of what is to be undone.
    #[error("the trail has no {target}; check it, and whether retention has removed it")]
    NothingToUndo {
        /// What was to be undone.
        target: String,
    },
    /// Later work, or what the trail does not know, stands in the way of undoing, or there is nothing to do; nothing was
    /// written.
    #[error("{}", undo_refusal(conflicts, limits))]
    UndoRefused {
        /// The later work.
        conflicts: Vec<Conflict>,
        /// What cannot be undone.
        limits: Vec<Limit>,
    },
    /// Since the plan was made, what it is about has changed; nothing was written.
    #[error("the plan does not hold any more, rows have changed since; review the new one")]
    UndoStale {
        /// The plan as it would be now.
        plan: Box<UndoPlan>,
    },
    /// A row came out of undoing otherwise than planned, so everything was rolled back.
    #[error(
        "row `{row_key}` of table {table} did not come out as planned{}; check the table's triggers and rules",
        column.as_deref().map(|column| format!(" in column `{column}`")).unwrap_or_default()
    )]
    UndoAltered {
        /// The table, quoted.
        table: String,
        /// The row's key in its stored form.
        row_key: String,
        /// The column; `None` when it is about the whole row.
        column: Option<String>,
    },
    /// The database refused to undo a row, so everything was rolled back.
    #[error("row `{row_key}` of table {table} could not be undone")]
    UndoFailed {
        /// The table, quoted.
        table: String,
        /// The row's key in its stored form.
        row_key: String,
        /// What the database said.
        #[source]
        error: DieselError,
    },
    /// An export cannot be made in the background as it is asked for.
    #[error(transparent)]
    InvalidExportRequest(#[from] InvalidExportRequest),
    /// A view cannot be saved as it is.
    #[error(transparent)]
    InvalidView(#[from] InvalidView),
    /// What a reader may see was stored, and cannot be read.
    #[error(transparent)]
    InvalidScope(#[from] InvalidScope),
    /// The export job is no longer this worker's: its lease ran out and another one took it, or it was cancelled.
    #[error("export job {job} is not held by this worker any more; what it has written is to be discarded")]
    ExportClaimLost {
        /// The job.
        job: Uuid,
    },
    /// A text is no cursor of the feed.
    #[error(transparent)]
    InvalidFeedCursor(#[from] InvalidFeedCursor),
    /// The cursor was not written by this trail, nor by one it was restored from.
    #[error(
        "feed cursor `{cursor}` is of another trail, this database is in cluster {cluster}; read with the cursor kept for this one, or begin anew with `FeedCursor::since`"
    )]
    FeedElsewhere {
        /// The cursor.
        cursor: FeedCursor,
        /// `system_identifier` of the cluster that was asked.
        cluster: i64,
    },
    /// The database was set back to before the cursor, by a restore to an earlier point or a failover that lost commits: what
    /// was delivered last is not there though older transactions are, and its number may be given out again.
    #[error(
        "feed cursor `{cursor}` is ahead of the database, which was set back; begin anew with `FeedCursor::since` and the instant it was set back to"
    )]
    FeedRewound {
        /// The cursor.
        cursor: FeedCursor,
    },
    /// The trail is in another cluster than the one that wrote it, and transaction numbers mean something else there.
    #[error(
        "the trail was moved into cluster {cluster}; as its owner run `SELECT threadline.adopt_restored_trail()` after a restore, or `SELECT threadline.adopt_upgraded_cluster()` after pg_upgrade"
    )]
    TrailMoved {
        /// `system_identifier` of the cluster that was asked.
        cluster: i64,
    },
    /// An archive could not be written or read; nothing was removed for it.
    #[error("archive object `{object}` could not be written or read")]
    Archive {
        /// The object's name.
        object: String,
        /// What the archive said.
        #[source]
        error: std::io::Error,
    },
    /// An archive does not hold what it should; nothing was removed or attached for it.
    #[error("archive object `{object}` {problem}")]
    ArchiveUnsound {
        /// The object's name.
        object: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A run of retention is alive, and there is one at a time.
    #[error(
        "retention is running already; wait for it to end, `threadline.retention_runs` says who began it"
    )]
    RetentionRunning,
    /// The run of retention had been silent for too long, and another has gone on with its work.
    #[error(
        "the run of retention was taken for dead, and another has gone on with its work; look at the newer run in `threadline.retention_runs`"
    )]
    RetentionSuperseded,
    /// Whoever follows a run of retention stopped it. What it had removed is gone, and all of it was whole.
    #[error("retention was stopped; the next run goes on where it was")]
    RetentionStopped,
    /// What a table or a row was at the instant is not known.
    #[error("{message}{}", hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    UnknownPast {
        /// Why.
        reason: PastProblem,
        /// What is wrong, with the table and, where it is about one, the row's key.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A query in time travel read relations as they are now; what it returned is discarded.
    #[error(
        "time travel read {} as of now: not audited, or named with its schema; audit the table, leave the schema out of `table!`, \
         or accept present rows with `Travel::run_with_live_tables`",
        tables.iter().map(|table| format!("`{table}`")).collect::<Vec<_>>().join(", ")
    )]
    LiveTables {
        /// The tables, views and sequences, each with its schema, in the order of their names.
        tables: Vec<TableName>,
    },
    /// Writes to the table escape capture, or may. [`continuity::missing`](crate::continuity::missing) has what mends each.
    #[error("table `{table}` is not ready: {}; `threadline continuity {table}` names what mends it", problems.join("; "))]
    NotReady {
        /// The table as a person writes it.
        table: String,
        /// Every reason.
        problems: Vec<String>,
    },
    /// What the trail holds is not what this library writes.
    #[error("the audit trail holds a payload this library cannot read")]
    Payload(#[source] serde_json::Error),
}

fn unknown_to_the_trail(renamed_to: Option<&str>, nearest: Option<&str>) -> String {
    let attach = "attach it in a migration (`threadline generate`)";
    match (renamed_to, nearest) {
        (Some(name), _) => format!("was renamed to `{name}`; ask for it by that name"),
        (None, Some(name)) => format!("has never been audited; did you mean `{name}`? If not, {attach}"),
        (None, None) => format!("has never been audited; {attach}"),
    }
}

/// Why what was at an instant is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PastProblem {
    /// The instant is earlier than the trail of the table reaches back.
    BeforeHorizon,
    /// The table is no longer audited.
    CaptureEnded,
    /// The table was truncated since, and its rows were not kept.
    CrossedTruncate,
    /// A write to a row escaped capture since.
    Gap,
    /// A row held a value that does not fit its column today.
    DoesNotFit,
}

impl PastProblem {
    /// By the name that the audit schema gives the error.
    fn named(constraint: &str) -> Option<Self> {
        Some(match constraint {
            "threadline_before_horizon" => Self::BeforeHorizon,
            "threadline_capture_ended" => Self::CaptureEnded,
            "threadline_crossed_truncate" => Self::CrossedTruncate,
            "threadline_gap" => Self::Gap,
            "threadline_unfit" => Self::DoesNotFit,
            _ => return None,
        })
    }
}

impl Error {
    /// What kind of error it is, in a word that does not change and quotes nothing: for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Query(..) => "query",
            Self::ConnectionLost(..) => "connection_lost",
            Self::SchemaMissing => "schema_missing",
            Self::SchemaVersion { .. } => "schema_version",
            Self::NotAudited { .. } => "not_audited",
            Self::NoSuchTable { .. } => "no_such_table",
            Self::PolicyContradiction { .. } => "policy_contradiction",
            Self::Refused { .. } => "refused",
            Self::SchemaContradiction { .. } => "schema_contradiction",
            Self::MissingActor => "missing_actor",
            Self::InvalidContext(..) => "invalid_context",
            Self::InvalidFilter(..) => "invalid_filter",
            Self::InvalidScope(..) => "invalid_scope",
            Self::InvalidEvidence(..) => "invalid_evidence",
            Self::NotReady { .. } => "not_ready",
            Self::Archive { .. } => "archive",
            Self::ArchiveUnsound { .. } => "archive_unsound",
            Self::RetentionRunning => "retention_running",
            Self::RetentionSuperseded => "retention_superseded",
            Self::RetentionStopped => "retention_stopped",
            Self::InvalidExportRequest(..) => "invalid_export_request",
            Self::InvalidView(..) => "invalid_view",
            Self::ExportClaimLost { .. } => "export_claim_lost",
            Self::InvalidPage { .. } => "invalid_page",
            Self::ScopeFailed(..) => "scope_failed",
            Self::Export(..) => "export",
            Self::NoConnection(..) => "no_connection",
            Self::TookTooLong { .. } => "took_too_long",
            Self::Aborted(..) => "aborted",
            Self::NoChanges => "no_changes",
            Self::Conflict(..) => "conflict",
            Self::Commit(..) => "commit",
            Self::NothingToUndo { .. } => "nothing_to_undo",
            Self::UndoRefused { .. } => "undo_refused",
            Self::UndoStale { .. } => "undo_stale",
            Self::UndoAltered { .. } => "undo_altered",
            Self::UndoFailed { .. } => "undo_failed",
            Self::InvalidFeedCursor(..) => "invalid_feed_cursor",
            Self::FeedElsewhere { .. } => "feed_elsewhere",
            Self::FeedRewound { .. } => "feed_rewound",
            Self::TrailMoved { .. } => "trail_moved",
            Self::UnknownPast { .. } => "unknown_past",
            Self::LiveTables { .. } => "live_tables",
            Self::Payload(..) => "payload",
        }
    }

    /// What `threadline.find_table` says of a name: what it is called now, or which audited tables are called much like it.
    pub(crate) fn not_audited(table: &str, said: &dyn DatabaseErrorInformation) -> Self {
        let asked = TableName::from_sql(table);
        let similar: Vec<TableName> =
            said.details().into_iter().flat_map(|names| names.split(", ")).map(TableName::from_sql).collect();
        let renamed_to = said.table_name().filter(|name| !name.is_empty());
        Self::NotAudited {
            renamed_to: renamed_to.map(|name| TableName::from_sql(name).to_plain()),
            nearest: health::nearest(&similar, &asked).map(TableName::to_plain),
            table: asked.to_plain(),
        }
    }

    /// Names what a failed call ran into, asking the database where the error alone does not say.
    pub(crate) fn from_query(conn: &mut PgConnection, table: &str, error: DieselError) -> Self {
        if let DieselError::DatabaseError(_, information) = &error
            && information.constraint_name() == Some("threadline_not_audited")
        {
            return Self::not_audited(table, information.as_ref());
        }
        match Self::from(error) {
            Self::Query(error @ DieselError::DatabaseError(..)) => {
                Self::schema_trouble(conn).unwrap_or(Self::Query(error))
            }
            error => error,
        }
    }

    /// Whether the schema is missing or of another version; `None` too when the database cannot be asked any more.
    fn schema_trouble(conn: &mut PgConnection) -> Option<Self> {
        #[derive(QueryableByName)]
        struct Installed {
            #[diesel(sql_type = Bool)]
            installed: bool,
        }
        #[derive(QueryableByName)]
        struct Version {
            #[diesel(sql_type = Nullable<Integer>)]
            version: Option<i32>,
        }
        let Installed { installed } = diesel::sql_query(
            "SELECT to_regprocedure('threadline.schema_version()') IS NOT NULL AS installed",
        )
        .get_result(conn)
        .ok()?;
        if !installed {
            return Some(Self::SchemaMissing);
        }
        let Version { version } =
            diesel::sql_query("SELECT threadline.schema_version() AS version").get_result(conn).ok()?;
        let found = version?;
        (found != SCHEMA_VERSION).then_some(Self::SchemaVersion { found, needed: SCHEMA_VERSION })
    }
}

/// For bodies of audited transactions that return this error: tells apart what can be tried again, a connection that is gone,
/// and what Threadline itself refused.
impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        if matches!(error, DieselError::BrokenTransactionManager) {
            return Self::ConnectionLost(error);
        }
        let DieselError::DatabaseError(kind, information) = &error else {
            return Self::Query(error);
        };
        if gave_way(&error) {
            return Self::Conflict(error);
        }
        if matches!(kind, DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand) {
            return Self::ConnectionLost(error);
        }
        if information.constraint_name() == Some("threadline_no_changes") {
            return Self::NoChanges;
        }
        if information.constraint_name() == Some("threadline_retention_running") {
            return Self::RetentionRunning;
        }
        if information.constraint_name() == Some("threadline_retention_superseded") {
            return Self::RetentionSuperseded;
        }
        // The host's constraints may be named as ours are; their messages are not.
        match information.message().strip_prefix("threadline: ") {
            Some(message)
                if information.constraint_name().is_some_and(|name| name.starts_with("threadline_")) =>
            {
                let message = message.to_owned();
                let hint = information.hint().map(|hint| uncapitalized(hint.trim_end_matches('.')));
                match information.constraint_name().and_then(PastProblem::named) {
                    Some(reason) => Self::UnknownPast { reason, message, hint },
                    None => Self::Refused { message, hint },
                }
            }
            _ => Self::Query(error),
        }
    }
}

/// How much stands in the way of undoing, with the first of it as an example.
fn undo_refusal(conflicts: &[Conflict], limits: &[Limit]) -> String {
    let count = |number: usize, one: &str, many: &str| {
        (number > 0).then(|| format!("{number} {}", if number == 1 { one } else { many }))
    };
    let reasons: Vec<String> = [
        count(conflicts.len(), "conflict with later work", "conflicts with later work"),
        count(limits.len(), "thing that cannot be undone", "things that cannot be undone"),
    ]
    .into_iter()
    .flatten()
    .collect();
    // What rules a whole row out says more than the columns it is about.
    let required = limits.iter().find(|limit| matches!(limit.reason, LimitReason::Required));
    let first = conflicts
        .first()
        .map(ToString::to_string)
        .or_else(|| required.or(limits.first()).map(ToString::to_string));
    let Some(first) = first else {
        return "there is nothing to undo: no row is otherwise than before".to_owned();
    };
    format!(
        "undoing is refused for {}; review them and choose a resolution; the first: {first}",
        reasons.join(" and ")
    )
}

/// A hint as it goes on after a semicolon. What begins with a capital and goes on with one is a statement of SQL.
fn uncapitalized(hint: &str) -> String {
    let mut letters = hint.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(letters).collect(),
        _ => hint.to_owned(),
    }
}
