//! An `HttpResponse` on its way between threads.

use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::Bytes;

use crate::error::Error;

/// An `HttpResponse` taken apart: it is bound to its thread, its parts are not.
pub(crate) struct Parts {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Parts {
    /// Fails for a body that is not there as a whole.
    pub(crate) fn of(response: HttpResponse) -> Result<Self, Error> {
        let (head, body) = response.into_parts();
        let body = body.try_into_bytes().map_err(|_| Error::StreamingBody)?;
        let headers = head.headers().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Self { status: head.status(), headers, body })
    }

    pub(crate) fn into_response(self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status).body(self.body);
        // `body` guesses a content type where the handler may have given none.
        response.headers_mut().clear();
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}
