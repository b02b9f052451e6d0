//! What a client is told when a request fails, and what only the log is told.

use std::error::Error;
use std::fmt;

use actix_web::error::{BlockingError, InternalError};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use serde_json::json;

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is nothing there, or nothing this user may see.
    #[error("not found")]
    NotFound,
    /// Nobody is signed in, or somebody who is gone.
    #[error("log in first, with POST /api/login")]
    Unauthorized,
    /// Nobody has this address and this password.
    #[error("wrong e-mail address or password")]
    WrongCredentials,
    /// Another site had a browser send the request.
    #[error("the request comes from another site")]
    ForeignOrigin,
    /// The request makes no sense; the text says why.
    #[error("{0}")]
    BadRequest(String),
    /// Something else in the database stands against it.
    #[error("conflicts with what is there")]
    Conflict,
    /// The request asks for what is already so.
    #[error("nothing to change")]
    NothingToChange,
    /// The audit stands against it, or the database under it. The cause is for the log.
    #[error("the request could not be served")]
    Audit(#[source] threadline_actix::Error),
    /// Our fault. The cause is for the log.
    #[error("internal error")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

impl ApiError {
    pub(crate) fn internal(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::Internal(Box::new(cause))
    }

    /// Writes into the log what a client is not told.
    pub(crate) fn log(&self) {
        match self {
            Self::Internal(cause) => log::error!("{}", Chain(cause.as_ref())),
            Self::Audit(error) => error.log(),
            _ => {}
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthorized | Self::WrongCredentials => StatusCode::UNAUTHORIZED,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Conflict | Self::NothingToChange => StatusCode::CONFLICT,
            Self::Audit(error) => error.status_code(),
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        self.log();
        HttpResponse::build(self.status_code()).json(json!({ "error": self.to_string() }))
    }
}

impl From<DieselError> for ApiError {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::NotFound => Self::NotFound,
            DieselError::QueryBuilderError(_) => Self::BadRequest("nothing to change".into()),
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Self::Conflict,
            DieselError::DatabaseError(DatabaseErrorKind::CheckViolation, _) => {
                Self::BadRequest("a value is not allowed".into())
            }
            other => Self::internal(other),
        }
    }
}

/// For what is around a handler: its transaction.
impl From<threadline_actix::Error> for ApiError {
    fn from(error: threadline_actix::Error) -> Self {
        match error {
            threadline_actix::Error::MissingActor(_) => Self::Unauthorized,
            // `require_changes` is set where a request that changes nothing is a mistake of the client's.
            threadline_actix::Error::Audit(threadline::Error::NoChanges) => Self::NothingToChange,
            // All that comes from clients is the reason they give; the text names the field, never what is in it.
            threadline_actix::Error::Audit(threadline::Error::InvalidContext(problems)) => {
                Self::BadRequest(problems.to_string())
            }
            other => Self::Audit(other),
        }
    }
}

/// For what is asked in a handler: the trail.
impl From<threadline::Error> for ApiError {
    fn from(error: threadline::Error) -> Self {
        Self::internal(error)
    }
}

impl From<BlockingError> for ApiError {
    fn from(error: BlockingError) -> Self {
        Self::internal(error)
    }
}

impl From<argon2::password_hash::Error> for ApiError {
    fn from(error: argon2::password_hash::Error) -> Self {
        Self::internal(error)
    }
}

/// The answer to a body, path or query that could not be read. The text is about the client's own input.
pub(crate) fn unreadable<E>(error: E, _request: &HttpRequest) -> actix_web::Error
where
    E: ResponseError + 'static,
{
    let response = HttpResponse::build(error.status_code()).json(json!({ "error": error.to_string() }));
    InternalError::from_response(error, response).into()
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut error = self.0;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        Ok(())
    }
}
