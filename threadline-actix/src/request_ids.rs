//! The ids a request comes with.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// The id in a header, if it is there once and is 1 to 256 visible ASCII characters: anything else is as good as absent.
pub(crate) fn id_in(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name);
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let id = value.to_str().ok()?.trim();
    is_sane(id).then(|| id.to_owned())
}

/// Whether an id may be stored and sent back.
pub(crate) fn is_sane(id: &str) -> bool {
    (1..=256).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// An id for a request that came without one: a UUID that sorts by time.
pub(crate) fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The id as it is echoed.
pub(crate) fn header_value(id: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(id).ok()
}
