//! The documents that are answered: those of the command line's `--json`, each with the version of its shape in front.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Serialize;
use threadline::Page;

use crate::surface::failure::Failure;

/// As of the command line's documents: another number means that something has gone or means something else.
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a, T> {
    format_version: u32,
    #[serde(flatten)]
    body: &'a T,
}

/// A page of a list, and what retention has removed of it.
#[derive(Serialize)]
pub(super) struct Listed<T, R> {
    #[serde(flatten)]
    pub(super) page: Page<T>,
    pub(super) removed: R,
}

/// The document with this body.
pub(super) fn document(body: &impl Serialize) -> Result<HttpResponse, Failure> {
    whole(&Document { format_version: FORMAT_VERSION, body })
}

/// A document that says its version itself.
pub(super) fn whole(document: &impl Serialize) -> Result<HttpResponse, Failure> {
    let json = serde_json::to_string(document).map_err(|error| {
        tracing::error!(%error, "threadline: an answer could not be written as JSON");
        Failure::Internal
    })?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(json))
}
