//! An error as a page.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use askama::Template;
use diesel::result::Error as DieselError;

use super::{page, see_other};
use crate::error::ApiError;

/// What the API answers as JSON, told to people.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct PageError(ApiError);

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    message: String,
}

impl PageError {
    /// A form that could not be read.
    pub(super) fn unreadable(error: &impl ResponseError) -> Self {
        Self(ApiError::BadRequest(error.to_string()))
    }
}

impl ResponseError for PageError {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.0.log();
        match self.0 {
            ApiError::Unauthorized => see_other("/login"),
            _ => page(self.status_code(), &ErrorPage { message: self.0.to_string() }),
        }
    }
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<threadline_actix::Error> for PageError {
    fn from(error: threadline_actix::Error) -> Self {
        Self(error.into())
    }
}

impl From<DieselError> for PageError {
    fn from(error: DieselError) -> Self {
        Self(error.into())
    }
}
