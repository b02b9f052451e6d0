//! Refuses requests that change something and that another site's page has made a reader's browser send.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse};
use url::Url;

/// What browsers say about where a request comes from; no page can set it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request through that changes nothing, or that one of our own pages has sent: the browser says so in `Sec-Fetch-Site`,
/// or, if it is an older one, by an `Origin` that is the host that is asked. Whoever says neither is no browser with one of
/// our forms.
pub(super) async fn refuse_cross_origin<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let harmless = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if harmless || is_same_origin(&request) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let refusal = HttpResponse::Forbidden()
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .body("this form was not sent from one of these pages; open the page again and repeat it there\n");
    Ok(request.into_response(refusal).map_into_right_body())
}

fn is_same_origin(request: &ServiceRequest) -> bool {
    let header = |name: &HeaderName| {
        let mut values = request.headers().get_all(name);
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    };
    if request.headers().contains_key(FETCH_SITE) {
        return header(&FETCH_SITE) == Some("same-origin");
    }
    let authority = |origin: &str| {
        let origin = Url::parse(origin).ok()?;
        let host = origin.host_str()?;
        Some(origin.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    };
    match (header(&ORIGIN).and_then(authority), header(&HOST)) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}
