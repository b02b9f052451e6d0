//! A read that may turn out to be more than the role may do, or to take too long.

use std::convert::Infallible;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::error::Error;

/// Why a question was not answered.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// In words, without values of rows.
    pub(crate) reason: String,
    /// What it was.
    pub(crate) error: Error,
}

/// Runs a read of its own: nothing of it stays, neither settings nor a failed transaction, and it is over after `timeout`.
///
/// # Errors
///
/// When the connection is lost or there is no audit schema: nothing else will be answered either.
pub(crate) fn attempt<T>(
    conn: &mut PgConnection,
    timeout: Option<Duration>,
    read: impl FnOnce(&mut PgConnection) -> Result<T, Error>,
) -> Result<Result<T, Unanswered>, Error> {
    // Both outcomes are rolled back, so both are errors to Diesel.
    enum Outcome<T> {
        Answered(T),
        Failed(Error),
    }
    impl<T> From<DieselError> for Outcome<T> {
        fn from(error: DieselError) -> Self {
            Self::Failed(error.into())
        }
    }
    let outcome = conn.transaction::<Infallible, Outcome<T>, _>(|conn| {
        // Names are written out with their schemas then, whatever the role's search path is.
        conn.batch_execute("SET LOCAL search_path = pg_catalog, pg_temp")?;
        if let Some(timeout) = timeout {
            let milliseconds = timeout.as_millis().clamp(1, i32::MAX as u128);
            conn.batch_execute(&format!("SET LOCAL statement_timeout = {milliseconds}"))?;
        }
        Err(read(conn).map_or_else(Outcome::Failed, Outcome::Answered))
    });
    match outcome {
        Ok(never) => match never {},
        Err(Outcome::Answered(answer)) => Ok(Ok(answer)),
        Err(Outcome::Failed(Error::Query(error))) => match Error::from_query(conn, "", error) {
            error @ Error::Query(_) => Ok(Err(Unanswered { reason: reason(&error), error })),
            error => Err(error),
        },
        Err(Outcome::Failed(
            error @ (Error::ConnectionLost(_) | Error::SchemaMissing | Error::SchemaVersion { .. }),
        )) => Err(error),
        Err(Outcome::Failed(error)) => Ok(Err(Unanswered { reason: reason(&error), error })),
    }
}

/// What PostgreSQL said, where that is about privileges or time. Anything else may quote a row.
fn reason(error: &Error) -> String {
    const HARMLESS: [&str; 4] = [
        "permission denied for ",
        "canceling statement due to ",
        "must be ",
        "query would be affected by row-level",
    ];
    match error {
        Error::Query(DieselError::DatabaseError(_, said))
            if HARMLESS.iter().any(|start| said.message().starts_with(start)) =>
        {
            said.message().to_owned()
        }
        _ => "the database refused it; its log says why".to_owned(),
    }
}
