//! Refuses what another site has a browser send: the cookie's `SameSite=Lax` keeps it from going along already, this says no
//! where the other site counts as the same one, or the browser knows no `SameSite`.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HOST, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};

use crate::error::ApiError;

/// For the whole application; see [`is_ours`].
pub(crate) async fn refuse_foreign_writes<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if request.method().is_safe() || is_ours(&request) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    Ok(request.into_response(ApiError::ForeignOrigin.error_response()).map_into_right_body())
}

/// Whether a request comes from a page of this host, or from a program that is no browser.
///
/// A browser names the origin of whatever it sends but `GET`. Programs need not, and they ask the API.
fn is_ours(request: &ServiceRequest) -> bool {
    let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    match text(ORIGIN) {
        // The scheme may be another one: a proxy in front of us may end TLS.
        Some(origin) => origin.split_once("://").map(|(_, host)| host) == text(HOST),
        None => request.path().starts_with("/api/"),
    }
}
