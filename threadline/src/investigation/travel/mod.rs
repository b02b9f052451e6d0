//! Time travel: a closure of the host's own queries, answered as of an instant.

mod snapshot;
mod views;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::Error as DieselError;

use self::views::Views;
use super::scope::Surface;
use super::trail::Trail;
use crate::capture::TableName;
use crate::error::Error;
use crate::intent::{depth, roll_back};

pub(super) use self::snapshot::in_snapshot;

/// Runs `body` with every audited table as it was at `at`; short for [`Travel::to`]`(at).run(conn, body)`.
///
/// ```no_run
/// use chrono::{TimeDelta, Utc};
/// use diesel::prelude::*;
///
/// diesel::table! { users (id) { id -> BigInt, name -> Text } }
/// diesel::table! { posts (id) { id -> BigInt, user_id -> BigInt, title -> Text } }
/// diesel::joinable!(posts -> users (user_id));
/// diesel::allow_tables_to_appear_in_same_query!(posts, users);
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut conn = PgConnection::establish("postgres://localhost/blog")?;
/// let last_week = Utc::now() - TimeDelta::days(7);
/// let (title, author): (String, String) = threadline::travel(&mut conn, last_week, |conn| {
///     Ok::<_, threadline::Error>(
///         posts::table.find(42).inner_join(users::table).select((posts::title, users::name)).first(conn)?,
///     )
/// })?;
/// # let _ = (title, author);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`Travel::run`].
pub fn travel<T, E, F>(conn: &mut PgConnection, at: DateTime<Utc>, body: F) -> Result<T, E>
where
    E: From<Error>,
    F: FnOnce(&mut PgConnection) -> Result<T, E>,
{
    Travel::to(at).run(conn, body)
}

/// Time travel to an instant.
///
/// # What an instant means
///
/// At `at`, a transaction counts if all that it captured was captured at or before `at`; otherwise nothing of it counts. So
/// what is seen is a set of whole transactions, and the same set in every table and every query of a closure. Two remarks:
///
/// - A change is captured when its statement runs, by the server's clock, which is before its transaction commits. A
///   transaction that captured its last change before `at` and committed after it counts, although nobody saw it at `at`; and
///   while it is open it does not, so an instant that lies closer to the present than the longest open transaction may be
///   answered otherwise later.
/// - It relies on a clock that is not set back.
///
/// # What is seen
///
/// Unqualified names of audited tables mean the past: in Diesel's queries (joins, associations, filters, ordering), in SQL, and
/// in functions, unless a function's own search path names `pg_temp` behind the table's schema. A row holds what its columns held at `at`, under the names and as
/// values of the types they have today. A column added since holds what the row has had in it from the beginning, that is its
/// default. Masked columns hold the mask's placeholder where they are texts and NULL otherwise, and excluded ones NULL, also in
/// rows that have not changed: what today's policy hides is hidden. Ignored columns whose change alone is not recorded hold
/// what the next recorded change, or the present, says.
///
/// Filters and joins on key columns reach the tables' indexes, for rows that are gone as well when the key begins with an
/// `integer`, a `bigint`, a `uuid`, or a text; a lookup takes milliseconds however long the trail is. Any other filter takes reading the
/// table, and undoing the changes since `at` of every row that has any. To begin takes about a millisecond for each audited table.
///
/// # What is not known
///
/// A query fails, with [`Error::UnknownPast`] as its reason, when a table it reads was not audited yet at `at`, or was truncated
/// since without its rows kept; and when a row it reads was changed since past capture, or held a value that does not fit its
/// column's type today. Of such gaps those are found that lie between captured changes after `at`, or between these and the present
/// row; a write that escaped capture, to a row without a captured change after `at`, is not: that is
/// for a check of the whole trail to find.
///
/// # What it costs and takes
///
/// The views are temporary and never committed, so the role needs `TEMPORARY` on the database and the server cannot be a
/// standby; permanent ones would keep the host from altering its tables. The role needs `SELECT` on the audit tables and on
/// the tables it reads. A row-level security policy that would hide rows makes a query fail.
#[derive(Clone, Debug)]
#[must_use = "nothing is read until it is run"]
pub struct Travel {
    at: DateTime<Utc>,
    trail: Trail,
}

impl Trail {
    /// Runs `body` with every audited table as it was at `at`, and only the rows of it that may be seen.
    ///
    /// The body is the host's code and is trusted to name tables without their schema: what it reads by a qualified name, or
    /// through a function that pins its search path, is the table itself, with every tenant's rows. That is an error where it
    /// is all the body reads of the table, and cannot be told where it reads the table the other way as well. What a row holds
    /// in columns that are ignored was not recorded, and may be a later tenant's.
    ///
    /// # Errors
    ///
    /// As [`Travel::run`].
    pub fn travel<T, E, F>(&self, conn: &mut PgConnection, at: DateTime<Utc>, body: F) -> Result<T, E>
    where
        E: From<Error>,
        F: FnOnce(&mut PgConnection) -> Result<T, E>,
    {
        Travel::to(at).seen_through(self).run(conn, body)
    }
}

impl Travel {
    /// To this instant; inclusive: a transaction whose last change was captured at exactly `at` counts.
    pub fn to(at: DateTime<Utc>) -> Self {
        Self { at, trail: Trail::unscoped() }
    }

    /// Shows only rows that `trail` lets through, by their table and what their scope column held at the instant. Relations that
    /// are read as they are now are not held to it.
    pub fn seen_through(self, trail: &Trail) -> Self {
        Self { trail: trail.clone(), ..self }
    }

    /// Runs `body` with every audited table as it was, in a read-only transaction that sees one snapshot, and ends that
    /// transaction; a panic goes on after that. Nothing remains of it in the session or in the database.
    ///
    /// What cannot be shown as it was is not shown as it is: when `body` has read a table that is not audited, an audited one by
    /// a name that includes its schema, a view of the host (it reads the tables under it as they are), or a sequence, its result is
    /// discarded. That is told by the locks of the transaction; a table that `body` reads by both of its names passes for read in
    /// the past.
    ///
    /// # Errors
    ///
    /// What `body` returns, or
    /// - [`Error::LiveTables`] when `body` has read relations as they are now
    /// - [`Error::Refused`] when a transaction is open on the connection, or `body` has ended this one
    /// - [`Error::Aborted`] when `body` went on after the error of a statement
    /// - [`Error::SchemaMissing`], [`Error::ConnectionLost`] and others of the database
    ///
    /// An error of a query in `body` is an [`Error::UnknownPast`] once it is turned into an [`Error`].
    pub fn run<T, E, F>(self, conn: &mut PgConnection, body: F) -> Result<T, E>
    where
        E: From<Error>,
        F: FnOnce(&mut PgConnection) -> Result<T, E>,
    {
        let (value, tables) = self.run_with_live_tables(conn, body)?;
        if tables.is_empty() { Ok(value) } else { Err(Error::LiveTables { tables }.into()) }
    }

    /// As [`run`](Self::run), but what cannot be shown as it was is shown as it is, and named beside the result: tables, views
    /// and sequences, each with its schema, in the order of their names.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), without [`Error::LiveTables`].
    pub fn run_with_live_tables<T, E, F>(
        self,
        conn: &mut PgConnection,
        body: F,
    ) -> Result<(T, Vec<TableName>), E>
    where
        E: From<Error>,
        F: FnOnce(&mut PgConnection) -> Result<T, E>,
    {
        let outcome = |result: &Result<_, E>| if result.is_ok() { "ok" } else { "failed" };
        Surface::Travel.observed(outcome, || self.run_unobserved(conn, body))
    }

    fn run_unobserved<T, E, F>(self, conn: &mut PgConnection, body: F) -> Result<(T, Vec<TableName>), E>
    where
        E: From<Error>,
        F: FnOnce(&mut PgConnection) -> Result<T, E>,
    {
        snapshot::begin(conn)?;
        let views = match Views::create(conn, self.at, &self.trail) {
            Ok(views) => views,
            Err(error) => {
                roll_back(conn, 0);
                return Err(match error {
                    Error::Query(error) => Error::from_query(conn, "", error),
                    error => error,
                }
                .into());
            }
        };
        // Safe to go on after a panic: nothing is kept of what it may have left half-done, and the panic goes on.
        let result = catch_unwind(AssertUnwindSafe(|| body(conn)));
        let ended = !matches!(depth(conn), Ok(1));
        let tables = match &result {
            Ok(Ok(_)) if !ended => views.read_live(conn),
            _ => Ok(Vec::new()),
        };
        roll_back(conn, 0);
        if ended {
            // After a COMMIT the views are the session's. Where this fails, the connection is of no use for anything else either.
            views::drop_committed(conn)?;
        }
        let value = result.unwrap_or_else(|panic| resume_unwind(panic))?;
        if ended {
            return Err(Error::Refused {
                message: "time travel was ended, or a transaction in it begun and not ended, before its body returned"
                    .to_owned(),
                hint: Some("leave BEGIN, COMMIT and ROLLBACK out of the body".to_owned()),
            }
            .into());
        }
        let tables = tables.map_err(|error| match error {
            // What PostgreSQL answers in an aborted transaction.
            DieselError::DatabaseError(..) => Error::Aborted(error),
            error => Error::from(error),
        })?;
        Ok((value, tables))
    }
}
