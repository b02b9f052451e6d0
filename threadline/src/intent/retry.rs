//! Which failures a fresh attempt may get past.

use std::error::Error as StdError;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::error::Error;

/// Whether trying the whole transaction again may succeed: PostgreSQL gave it up for the sake of another one, by a
/// serialization failure or a deadlock. Looks through the error's sources.
///
/// A deadlock is known by PostgreSQL's English message, as Diesel has no kind for it; with another `lc_messages` it is not.
/// Source: <https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html>
pub fn is_retryable(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(error.downcast_ref(), Some(Error::Conflict(_)))
            || error.downcast_ref::<DieselError>().is_some_and(gave_way)
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether PostgreSQL ended the statement so that another transaction could go on.
pub(crate) fn gave_way(error: &DieselError) -> bool {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => true,
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
            information.message() == "deadlock detected"
        }
        _ => false,
    }
}
