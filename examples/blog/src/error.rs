//! What a client is told when a request fails, and what only the log is told.

use std::error::Error;
use std::fmt;

use actix_web::error::{BlockingError, InternalError};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use diesel::r2d2::PoolError;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use serde_json::json;

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is nothing there, or nothing this user may see.
    #[error("not found")]
    NotFound,
    /// The request does not say who makes it, or nobody is called that.
    #[error("send the id of a user in the header x-demo-user")]
    Unauthorized,
    /// The request makes no sense; the text says why.
    #[error("{0}")]
    BadRequest(String),
    /// Something else in the database stands against it.
    #[error("conflicts with what is there")]
    Conflict,
    /// Our fault. The cause is for the log.
    #[error("internal error")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

impl ApiError {
    fn internal(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::Internal(Box::new(cause))
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        if let Self::Internal(cause) = self {
            log::error!("{}", Chain(cause.as_ref()));
        }
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

impl From<threadline::Error> for ApiError {
    fn from(error: threadline::Error) -> Self {
        Self::internal(error)
    }
}

impl From<PoolError> for ApiError {
    fn from(error: PoolError) -> Self {
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
