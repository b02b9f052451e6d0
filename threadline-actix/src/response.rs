//! An `HttpResponse` on its way between threads.

use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::dev::ResponseHead;
use actix_web::web::Bytes;

use crate::error::Error;

/// An `HttpResponse` taken apart: it is bound to its thread, its parts are not. Its extensions stay behind.
pub(crate) struct Parts {
    head: ResponseHead,
    body: Bytes,
}

impl Parts {
    /// Fails for a body that is not there as a whole.
    pub(crate) fn of(response: HttpResponse) -> Result<Self, Error> {
        let (response, body) = response.into_parts();
        let body = body.try_into_bytes().map_err(|_| Error::StreamingBody)?;
        Ok(Self { head: response.head().clone(), body })
    }

    pub(crate) fn into_response(self) -> HttpResponse {
        let mut response = HttpResponse::build(self.head.status).body(self.body);
        // The whole of it: `body` has guessed a content type where the handler may have given none.
        *response.head_mut() = self.head;
        response
    }
}
