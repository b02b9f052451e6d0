//! What can go wrong around an audited handler, and what of it a client and the log are told.

use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// Why an audited handler did not run, or was rolled back.
///
/// As a response it is a status with an empty body; the log says what is wrong and never quotes a value. A handler's own
/// error type takes it in by `From`, and best leaves the response to it.
///
/// `Debug` quotes no value either, because actix's `Logger` prints it at the level `debug`. What the database said is in
/// [`source`](std::error::Error::source).
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No middleware has seen the request.
    #[error("no audit context: `.wrap(AuditMiddleware::new(…))` is missing around this route")]
    NoMiddleware,
    /// There is no pool to take a connection from.
    #[error(
        "no database pool: `.app_data(web::Data::new(AuditedPool::new(…)))` is missing around this route"
    )]
    NoPool,
    /// Nobody answers for the request. With the status that [`AuditMiddleware`](crate::AuditMiddleware) is told to answer.
    #[error(
        "no actor: the callback of `AuditMiddleware` named nobody for this request, and the route is audited \
         (where it reads a session, the session's `.wrap` comes after the one of `AuditMiddleware`)"
    )]
    MissingActor(StatusCode),
    /// The body panicked; everything is rolled back.
    #[error("the body of an audited handler panicked; everything is rolled back")]
    Panicked,
    /// The body answered with a stream, which would outlive the transaction; everything is rolled back.
    #[error(
        "an audited handler answered with a stream, which would outlive its transaction; everything is rolled back"
    )]
    StreamingBody,
    /// What the core has found, or the database.
    #[error(transparent)]
    Audit(threadline::Error),
}

impl Error {
    /// Tells the log what is wrong, as making the response does: for a host that answers in its own way.
    pub fn log(&self) {
        let cause = self.kind();
        // Anybody can ask without being somebody; that is no fault of the application's.
        if matches!(self, Self::MissingActor(StatusCode::UNAUTHORIZED)) {
            tracing::info!(cause, "threadline: {self}");
        } else {
            tracing::error!(cause, "threadline: {self}");
        }
    }

    /// A constant for the log that tells database failures apart; their messages may quote values.
    fn kind(&self) -> Option<&'static str> {
        let Self::Audit(error) = self else {
            return None;
        };
        match std::error::Error::source(error)?.downcast_ref::<DieselError>()? {
            DieselError::DatabaseError(kind, _) => Some(match kind {
                DatabaseErrorKind::UniqueViolation => "unique violation",
                DatabaseErrorKind::ForeignKeyViolation => "foreign key violation",
                DatabaseErrorKind::SerializationFailure => "serialization failure",
                DatabaseErrorKind::ReadOnlyTransaction => "read-only transaction",
                DatabaseErrorKind::NotNullViolation => "not-null violation",
                DatabaseErrorKind::CheckViolation => "check violation",
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
                    "connection lost"
                }
                _ => "refused by the database",
            }),
            DieselError::BrokenTransactionManager => Some("broken connection"),
            _ => Some("not an answer of the database"),
        }
    }
}

/// For what is asked of the trail in a handler.
impl From<threadline::Error> for Error {
    fn from(error: threadline::Error) -> Self {
        Self::Audit(error)
    }
}

/// For a handler's own statements: what can be tried again and a connection that is gone get their statuses, the rest is a 500.
impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        Self::Audit(error.into())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Some(kind) => write!(f, "Error({self} ({kind}))"),
            None => write!(f, "Error({self})"),
        }
    }
}

impl ResponseError for Error {
    /// 401 or as configured without an actor; 400 for a value of the context or the action that is not allowed; 409 when
    /// changes were required and there were none, or another transaction stood in the way; 503 without a connection; else 500.
    fn status_code(&self) -> StatusCode {
        match self {
            Self::MissingActor(status) => *status,
            Self::Audit(threadline::Error::NoConnection(_) | threadline::Error::ConnectionLost(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Audit(threadline::Error::Conflict(_) | threadline::Error::NoChanges) => {
                StatusCode::CONFLICT
            }
            Self::Audit(threadline::Error::InvalidContext(_)) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.log();
        HttpResponse::new(self.status_code())
    }
}
