//! The way into the trail: every read goes through a [`Trail`], which knows what its reader may see.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;

use super::scope::{ResolvedScope, Scope, Surface};
use crate::error::Error;
use crate::intent::{depth, roll_back};
use crate::telemetry;

type Cause = Box<dyn std::error::Error + Send + Sync>;
type Hook = dyn Fn(Surface) -> Result<Scope, Cause> + Send + Sync;

/// The trail as one reader may see it. Cheap to clone; holds no connection.
///
/// ```no_run
/// use diesel::prelude::*;
/// use threadline::{Filter, Scope, TableName, Trail};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let conn = &mut PgConnection::establish("postgres://localhost/blog")?;
/// // Whoever works for the host itself sees everything, and says so.
/// for entry in Trail::unscoped().timeline(conn, &Filter::new().table(TableName::new(None, "posts")))?.entries {
///     println!("{} {} {}", entry.change.captured_at, entry.change.op, entry.change.row_key);
/// }
/// // A customer sees the rows of one organization, in every read. An error of the hook is no answer.
/// let organization = String::from("7");
/// let trail = Trail::scoped(move |_surface| Ok(Scope::tenant(organization.clone())));
/// let page = trail.timeline(conn, &Filter::new())?;
/// # let _ = page;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Trail {
    hook: Option<Arc<Hook>>,
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail").field("scoped", &self.hook.is_some()).finish()
    }
}

/// The same hook, or none.
impl PartialEq for Trail {
    fn eq(&self, other: &Self) -> bool {
        match (&self.hook, &other.hook) {
            (None, None) => true,
            (Some(hook), Some(other)) => Arc::ptr_eq(hook, other),
            _ => false,
        }
    }
}

impl Eq for Trail {}

impl Trail {
    /// All of it: for those who run the application, not for its users.
    pub fn unscoped() -> Self {
        Self { hook: None }
    }

    /// What `hook` lets through. It is asked at every read and told what kind of read it is; when it fails, so does the read,
    /// with [`Error::ScopeFailed`], and nothing is shown.
    pub fn scoped(hook: impl Fn(Surface) -> Result<Scope, Cause> + Send + Sync + 'static) -> Self {
        Self { hook: Some(Arc::new(hook)) }
    }

    /// Runs several reads in one snapshot, so that they fit together; inside a transaction of the caller's, in that one. They
    /// are given what may be seen; `None` for everything.
    pub(crate) fn read<T>(
        &self,
        conn: &mut PgConnection,
        surface: Surface,
        read: impl FnOnce(&mut PgConnection, Option<ResolvedScope>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        surface.observed(telemetry::outcome, || {
            in_one_snapshot(conn, |conn| {
                let scope = self.scope(conn, surface)?;
                read(conn, scope)
            })
        })
    }

    /// What may be seen on this surface; `None` for everything.
    pub(crate) fn scope(
        &self,
        conn: &mut PgConnection,
        surface: Surface,
    ) -> Result<Option<ResolvedScope>, Error> {
        match self.scope_of_host(surface) {
            None => Ok(None),
            Some(scope) => scope?.resolve(conn).map(Some),
        }
    }

    /// What the host's hook says of this surface; `None` when there is none.
    pub(super) fn scope_of_host(&self, surface: Surface) -> Option<Result<Scope, Error>> {
        self.hook.as_ref().map(|hook| hook(surface).map_err(Error::ScopeFailed))
    }

    pub(super) fn is_scoped(&self) -> bool {
        self.hook.is_some()
    }
}

/// A snapshot to read in. Statements that a session keeps are planned once, whatever the values: their conditions leave one
/// way to find the rows, and planning for a year of partitions takes longer than reading. Compiling them would take longer still.
const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; \
     SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL jit = off";

/// Runs several reads in one snapshot, for what is no part of the trail; inside a transaction of the caller's, in that one.
pub(crate) fn in_one_snapshot<T>(
    conn: &mut PgConnection,
    read: impl FnOnce(&mut PgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    if depth(conn)? > 0 {
        return read(conn);
    }
    in_new_transaction(conn, BEGIN, read)
}

/// As [`in_one_snapshot`], in a transaction of its own, in which no statement may run for longer than `limit`.
pub(crate) fn in_one_snapshot_within<T>(
    conn: &mut PgConnection,
    limit: Duration,
    read: impl FnOnce(&mut PgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    within(conn, limit, BEGIN, read)
}

/// Runs `body` in a transaction of its own that may write, in which no statement may run, or wait, for longer than `limit`.
pub(crate) fn in_one_transaction_within<T>(
    conn: &mut PgConnection,
    limit: Duration,
    body: impl FnOnce(&mut PgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    within(conn, limit, "BEGIN", body)
}

fn within<T>(
    conn: &mut PgConnection,
    limit: Duration,
    begin: &str,
    body: impl FnOnce(&mut PgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    timed(limit, || in_new_transaction(conn, &limited(begin, limit), body))
}

/// What begins a transaction in which no statement runs, or waits, for longer than this.
pub(crate) fn limited(begin: &str, limit: Duration) -> String {
    // 0 would be no limit at all.
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).max(1);
    format!("{begin}; SET LOCAL statement_timeout = {millis}")
}

/// Tells of an error whether it is that of the limit.
pub(crate) fn timed<T>(limit: Duration, answer: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let begun = Instant::now();
    match answer() {
        // Its text is in the server's language, and its SQLSTATE is not handed on.
        Err(Error::Query(error)) if begun.elapsed() >= limit => {
            Err(Error::TookTooLong { limit, source: error })
        }
        answer => answer,
    }
}

fn in_new_transaction<T>(
    conn: &mut PgConnection,
    begin: &str,
    read: impl FnOnce(&mut PgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    AnsiTransactionManager::begin_transaction_sql(conn, begin)?;
    // A panic of the host's hook, say, goes on after the connection is what it was.
    let outcome = catch_unwind(AssertUnwindSafe(|| read(conn)));
    if let Ok(Ok(answer)) = outcome {
        AnsiTransactionManager::commit_transaction(conn)?;
        return Ok(answer);
    }
    roll_back(conn, 0);
    match outcome {
        // Now that the transaction is over, the database can be asked what it ran into.
        Ok(Err(Error::Query(error))) => Err(Error::from_query(conn, "", error)),
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}
