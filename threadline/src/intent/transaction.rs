//! The audited transaction: what the changes in it carry is settled before the first of them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{Bool, Integer, Jsonb, Nullable, Uuid as SqlUuid};
use serde::Deserialize;
use serde_json::Value;
use tracing::field::Empty;
use uuid::Uuid;

use super::action::{Action, ActionStatus};
use super::context::{AuditContext, InvalidContext};
use crate::error::Error;
use crate::investigation::limited;
use crate::telemetry;

// Typed functions rather than SQL text: Diesel keeps their prepared statements, so a call is one round trip.
#[diesel::declare_sql_function]
extern "SQL" {
    #[sql_name = "threadline.begin"]
    fn begin(context: Jsonb, action: Nullable<Jsonb>, nested: Bool) -> Jsonb;
    #[sql_name = "threadline.finish"]
    fn finish(transaction_id: SqlUuid, changes_before: Integer, require_changes: Bool) -> Integer;
    #[sql_name = "threadline.record_action"]
    fn insert_action(context: Jsonb, action: Jsonb) -> SqlUuid;
}

/// Which changes of others a transaction sees; see
/// <https://www.postgresql.org/docs/current/transaction-iso.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    ReadCommitted,
    /// Every statement sees what was committed before the first.
    RepeatableRead,
    /// As if the transactions ran one after the other.
    Serializable,
}

/// The audited transaction a body runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    context: AuditContext,
    begun: Begun,
}

/// What `threadline.begin` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct Begun {
    id: Uuid,
    action_id: Option<Uuid>,
    /// How many changes there were before, when it is a savepoint in another one.
    changes: i32,
}

impl OpenTransaction {
    /// The id the transaction has in the trail, if it captures a change or has an action.
    pub fn id(&self) -> Uuid {
        self.begun.id
    }

    /// The action it was begun with.
    pub fn action_id(&self) -> Option<Uuid> {
        self.begun.action_id
    }

    /// The context it was begun with, as for the payload of a job.
    pub fn context(&self) -> &AuditContext {
        &self.context
    }
}

/// A transaction whose changes carry a context, and perhaps belong to an action.
///
/// Made by [`AuditContext::transaction`]; nothing happens before [`run`](Self::run).
#[derive(Clone, Debug)]
#[must_use = "a transaction does nothing until it is run"]
pub struct TransactionBuilder {
    context: AuditContext,
    action: Option<Action>,
    isolation: Option<Isolation>,
    /// How long each statement may run, or wait.
    limit: Option<Duration>,
    allow_missing_actor: bool,
    require_changes: bool,
    record_failures: bool,
}

/// Why a failed action is recorded as failed. Constant texts: nothing of a row gets into them.
const BODY_FAILED: &str = "the body returned an error";
const BODY_PANICKED: &str = "the body panicked";
const NOT_COMMITTED: &str = "the transaction could not be committed";
const NO_CHANGES: &str = "no audited row was changed";

impl TransactionBuilder {
    pub(super) fn new(context: AuditContext) -> Self {
        Self {
            context,
            action: None,
            isolation: None,
            limit: None,
            allow_missing_actor: false,
            require_changes: false,
            record_failures: false,
        }
    }

    /// Says what is done in it. The action is recorded before the body runs, is linked with the transaction's changes both
    /// ways, and stays when there turn out to be none.
    pub fn action(self, action: Action) -> Self {
        Self { action: Some(action), ..self }
    }

    /// The action, unless there is one already.
    pub(crate) fn action_or(self, action: Action) -> Self {
        Self { action: self.action.or(Some(action)), ..self }
    }

    /// Adds to the metadata that is kept with the transaction.
    pub fn meta(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { context: self.context.with_meta(key, value), ..self }
    }

    /// Which changes of others it sees; if left out, what the server's configuration says.
    pub fn isolation(self, isolation: Isolation) -> Self {
        Self { isolation: Some(isolation), ..self }
    }

    /// Has it run without an actor, where that is no mistake.
    pub fn allow_missing_actor(self) -> Self {
        Self { allow_missing_actor: true, ..self }
    }

    /// Makes it an error, and rolls back, when no change of an audited table was captured.
    pub fn require_changes(self) -> Self {
        Self { require_changes: true, ..self }
    }

    /// Records the action as failed when nothing is committed: with the status `error`, in a transaction of its own after
    /// the rollback. The reason recorded is one of a few constant texts, never the error itself, which may quote a row. It is
    /// tried on the same connection: when that is gone, the log says so and the failure is not recorded.
    pub fn record_failures(self) -> Self {
        Self { record_failures: true, ..self }
    }

    /// Runs `body` in the transaction and commits, or rolls back when it returns an error or panics; a panic goes on after
    /// the rollback.
    ///
    /// One statement runs before `body`, and one goes with the COMMIT. The latter finds out when PostgreSQL has aborted the
    /// transaction, which happens when a body goes on after an error of a statement: COMMIT alone would roll back and not
    /// say so.
    ///
    /// Inside another audited transaction on the same connection it is a savepoint under that one's context and id: it must
    /// not have an action, nor a context that says anything else. In any other transaction it is an error.
    ///
    /// # Errors
    ///
    /// What `body` returns, or before `body` has run
    /// - [`Error::MissingActor`], unless that is allowed, and [`Error::InvalidContext`]; the database has not been asked yet
    /// - [`Error::Refused`] when the connection is in a transaction it cannot be part of
    /// - [`Error::SchemaMissing`], [`Error::ConnectionLost`] and others of the database
    ///
    /// and after it, with everything rolled back that `body` has not committed itself,
    /// - [`Error::Aborted`] when `body` has gone on after the error of a statement
    /// - [`Error::NoChanges`] when changes are required and there are none
    /// - [`Error::Refused`] when `body` has ended the transaction itself, or replaced its context
    /// - [`Error::Conflict`] when another transaction stood in the way: try again
    /// - [`Error::Commit`] when PostgreSQL refused to commit, as for a deferred constraint
    pub fn run<T, E, F>(self, conn: &mut PgConnection, body: F) -> Result<T, E>
    where
        E: From<Error>,
        F: FnOnce(&mut PgConnection, &OpenTransaction) -> Result<T, E>,
    {
        self.check()?;
        self.run_checked(conn, body)
    }

    /// With no statement in it, that which begins it included, that runs or waits for longer.
    pub(super) fn limit(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// As [`run`](Self::run), for who has [`check`](Self::check)ed it.
    pub(super) fn run_checked<T, E, F>(self, conn: &mut PgConnection, body: F) -> Result<T, E>
    where
        E: From<Error>,
        F: FnOnce(&mut PgConnection, &OpenTransaction) -> Result<T, E>,
    {
        self.attempt(conn, body).map_err(|failure| {
            self.record_failure(conn, &failure);
            failure.raise()
        })
    }

    /// As [`run`](Self::run), and when `is_retryable` says so of the error, again from the start, up to `retries` times: a
    /// fresh transaction with another id and the same context, after 10 ms and then twice as long each time, up to a second.
    /// For most errors [`is_retryable`](crate::is_retryable) knows.
    ///
    /// Inside another transaction there is no retry: what PostgreSQL gave up is that one.
    ///
    /// # Errors
    ///
    /// What [`run`](Self::run) returns, of the last attempt; only that one is recorded as a failure.
    pub fn run_with_retries<T, E, F>(
        self,
        conn: &mut PgConnection,
        retries: u32,
        is_retryable: impl Fn(&E) -> bool,
        mut body: F,
    ) -> Result<T, E>
    where
        E: From<Error>,
        F: FnMut(&mut PgConnection, &OpenTransaction) -> Result<T, E>,
    {
        self.check()?;
        let mut pause = Duration::from_millis(10);
        let mut left = if matches!(depth(conn), Ok(0)) { retries } else { 0 };
        let mut last = None;
        loop {
            match self.attempt(conn, &mut body) {
                Ok(value) => return Ok(value),
                Err(Failure::Body(error) | Failure::Ours(error, _)) if left > 0 && is_retryable(&error) => {
                    last = Some(error);
                    left -= 1;
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                // The attempt before had more to say than one that could not begin.
                Err(Failure::Before(error)) => return Err(last.unwrap_or(error)),
                Err(failure) => {
                    self.record_failure(conn, &failure);
                    return Err(failure.raise());
                }
            }
        }
    }

    /// What can be found wrong without the database.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.context.actor().is_none() && !self.allow_missing_actor {
            return Err(Error::MissingActor);
        }
        if self.record_failures && self.action.is_none() {
            return Err(InvalidContext::one("record_failures: there is no action to record").into());
        }
        Ok(self.context.check(self.action.as_ref())?)
    }

    fn attempt<T, E, F>(&self, conn: &mut PgConnection, body: F) -> Result<T, Failure<E>>
    where
        E: From<Error>,
        F: FnOnce(&mut PgConnection, &OpenTransaction) -> Result<T, E>,
    {
        let action = self.action.as_ref().map(Action::name);
        let span = tracing::info_span!("threadline.transaction", action, outcome = Empty);
        let (result, took) = telemetry::timed(|| span.in_scope(|| self.attempt_unseen(conn, body)));
        let outcome = result.as_ref().map_or_else(Failure::outcome, |_| "committed");
        span.record("outcome", outcome);
        telemetry::TRANSACTIONS.add(1, [outcome]);
        telemetry::TRANSACTION_DURATION.note(took, [outcome]);
        if result.is_ok() && self.action.is_some() {
            telemetry::ACTIONS.add(1, [ActionStatus::Ok.as_str()]);
        }
        result
    }

    fn attempt_unseen<T, E, F>(&self, conn: &mut PgConnection, body: F) -> Result<T, Failure<E>>
    where
        E: From<Error>,
        F: FnOnce(&mut PgConnection, &OpenTransaction) -> Result<T, E>,
    {
        let before = |error: Error| Failure::Before(error.into());
        let outside = depth(conn).map_err(|error| before(error.into()))?;
        let open = self.begin(conn, outside).map_err(before)?;
        // Safe to go on after a panic: what it may have left half-done is rolled back, and the panic goes on.
        match catch_unwind(AssertUnwindSafe(|| body(conn, &open))) {
            Ok(Ok(value)) => match self.end(conn, &open, outside) {
                Ok(()) => Ok(value),
                Err(error) => {
                    let reason = match error {
                        Error::NoChanges => Some(NO_CHANGES),
                        // A body that has ended the transaction has perhaps committed the action as done.
                        Error::Refused { .. } => None,
                        _ => Some(NOT_COMMITTED),
                    };
                    Err(Failure::Ours(error.into(), reason))
                }
            },
            Ok(Err(error)) => {
                roll_back(conn, outside);
                Err(Failure::Body(error))
            }
            Err(panic) => {
                roll_back(conn, outside);
                Err(Failure::Panic(panic))
            }
        }
    }

    fn begin(&self, conn: &mut PgConnection, outside: u32) -> Result<OpenTransaction, Error> {
        if outside > 0 && self.isolation.is_some() {
            return Err(Error::Refused {
                message: "a transaction inside another one cannot choose its isolation level".to_owned(),
                hint: Some("choose it where the outermost transaction begins".to_owned()),
            });
        }
        let begun = if outside == 0 {
            let begin = match self.isolation {
                None => "BEGIN",
                Some(Isolation::ReadCommitted) => "BEGIN ISOLATION LEVEL READ COMMITTED",
                Some(Isolation::RepeatableRead) => "BEGIN ISOLATION LEVEL REPEATABLE READ",
                Some(Isolation::Serializable) => "BEGIN ISOLATION LEVEL SERIALIZABLE",
            };
            let limited = self.limit.map(|limit| limited(begin, limit));
            AnsiTransactionManager::begin_transaction_sql(conn, limited.as_deref().unwrap_or(begin))
        } else {
            AnsiTransactionManager::begin_transaction(conn)
        };
        begun.map_err(|error| Error::from_query(conn, "", error))?;
        let action = self.action.as_ref().map(json_of);
        diesel::select(begin(self.context.to_json(), action, outside > 0))
            .get_result::<Value>(conn)
            .map_err(|error| {
                roll_back(conn, outside);
                Error::from_query(conn, "", error)
            })
            .and_then(|open| {
                Begun::deserialize(open).map_err(|error| {
                    roll_back(conn, outside);
                    Error::Payload(error)
                })
            })
            .map(|begun| OpenTransaction { context: self.context.clone(), begun })
    }

    /// Commits, unless something is wrong with the transaction the body has left; then it is rolled back.
    fn end(&self, conn: &mut PgConnection, open: &OpenTransaction, outside: u32) -> Result<(), Error> {
        // A body that has sent COMMIT or ROLLBACK, or has left a savepoint of its own open.
        if !matches!(depth(conn), Ok(inside) if inside == outside + 1) {
            roll_back(conn, outside);
            return Err(Error::Refused {
                message: "the audited transaction was ended, or one in it begun and not ended, before its body returned; what was \
                    written before a COMMIT, and after it, may be there, the latter without an actor"
                    .to_owned(),
                hint: Some(
                    "leave BEGIN, COMMIT and ROLLBACK to the audited transaction, and savepoints to `conn.transaction`"
                        .to_owned(),
                ),
            });
        }
        let ended = if outside == 0 {
            // Both in one round trip. Diesel learns from the protocol's transaction status that the COMMIT was one.
            let Begun { id, changes, .. } = open.begun;
            let required = self.require_changes;
            let finish = format!("threadline.finish('{id}', {changes}, {required})");
            // What `finish` would find in order is found without it, which saves PostgreSQL from setting it up.
            conn.batch_execute(&if required {
                format!("SELECT {finish}; COMMIT")
            } else {
                format!(
                    "SELECT CASE WHEN pg_catalog.current_setting('threadline.begun', true) = \
                     pg_catalog.md5(pg_catalog.current_setting('threadline.context', true)) || '{id}' \
                     THEN 0 ELSE {finish} END; COMMIT"
                )
            })
        } else {
            diesel::select(finish(open.begun.id, open.begun.changes, self.require_changes))
                .execute(conn)
                .and_then(|_| AnsiTransactionManager::commit_transaction(conn))
        };
        let Err(error) = ended else {
            return Ok(());
        };
        // A COMMIT that fails has ended the transaction; what fails before it has not.
        let at_commit = matches!(depth(conn), Ok(open) if open <= outside);
        roll_back(conn, outside);
        let said = match &error {
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
                Some(information.message())
            }
            _ => None,
        };
        // Of what PostgreSQL answers in an aborted transaction Diesel knows no kind, and the text has a language.
        let aborted = said.is_some_and(|said| {
            !["canceling ", "permission denied "].iter().any(|other| said.starts_with(other))
        });
        Err(match Error::from_query(conn, "", error) {
            Error::Query(error) if at_commit => Error::Commit(error),
            Error::Query(error) if aborted => Error::Aborted(error),
            error => error,
        })
    }

    fn record_failure<E>(&self, conn: &mut PgConnection, failure: &Failure<E>) {
        let reason = match failure {
            // Nothing was tried, or nobody knows what came of it.
            Failure::Before(_) | Failure::Ours(_, None) => return,
            Failure::Body(_) => BODY_FAILED,
            Failure::Panic(_) => BODY_PANICKED,
            Failure::Ours(_, Some(reason)) => reason,
        };
        let Some(action) = self.action.as_ref().filter(|_| self.record_failures) else {
            return;
        };
        // The failure itself is what the caller has to hear of. The cause of this one is not logged: it may quote a value.
        if record_action(conn, &self.context, &action.clone().failed(reason)).is_err() {
            tracing::error!("threadline: a failed action could not be recorded");
        }
    }
}

/// Why an attempt has come to nothing.
enum Failure<E> {
    /// The body has not run.
    Before(E),
    Body(E),
    /// The body has run; the second is for the record.
    Ours(E, Option<&'static str>),
    Panic(Box<dyn std::any::Any + Send>),
}

impl<E> Failure<E> {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Before(_) => "not_begun",
            Self::Body(_) => "rolled_back",
            Self::Ours(..) => "not_committed",
            Self::Panic(_) => "panicked",
        }
    }

    fn raise(self) -> E {
        match self {
            Self::Before(error) | Self::Body(error) | Self::Ours(error, _) => error,
            Self::Panic(panic) => resume_unwind(panic),
        }
    }
}

/// Records an action; the caller has checked it.
pub(super) fn record_action(
    conn: &mut PgConnection,
    context: &AuditContext,
    action: &Action,
) -> QueryResult<Uuid> {
    let id = diesel::select(insert_action(context.to_json(), json_of(action))).get_result(conn)?;
    telemetry::ACTIONS.add(1, [action.status().as_str()]);
    Ok(id)
}

fn json_of(action: &Action) -> Value {
    serde_json::to_value(action).expect("an action is JSON: it has nothing but texts")
}

/// How many transactions and savepoints are open on the connection.
pub(crate) fn depth(conn: &mut PgConnection) -> QueryResult<u32> {
    let depth = AnsiTransactionManager::transaction_manager_status_mut(conn).transaction_depth()?;
    Ok(depth.map_or(0, std::num::NonZeroU32::get))
}

/// Rolls back to how it was with `outside` transactions open. What fails here has left the connection broken, which the next
/// statement on it finds, and a pool before that.
pub(crate) fn roll_back(conn: &mut PgConnection, outside: u32) {
    while matches!(depth(conn), Ok(open) if open > outside) {
        if AnsiTransactionManager::rollback_transaction(conn).is_err() {
            return;
        }
    }
}
