//! What of a request is stored as JSON, and read back exactly or not at all.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::request::InvalidExportRequest;
use crate::error::Error;
use crate::investigation::{ExportSummary, Filter, InvalidScope, Scope};

/// How everything is said: never by what is missing.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unscoped {
    version: u32,
    unscoped: bool,
}

/// The version of [`Unscoped`].
const VERSION: u32 = 1;

/// What the job may see; `None` for everything, which the requester has asked for in so many words.
///
/// # Errors
///
/// [`InvalidScope`] for anything that is not exactly one of the two forms.
pub(super) fn scope(text: &str) -> Result<Option<Scope>, InvalidScope> {
    if let Ok(Unscoped { version: VERSION, unscoped: true }) = serde_json::from_str(text) {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(|_| InvalidScope)
}

pub(super) fn scope_text(scope: Option<&Scope>) -> String {
    match scope {
        None => serde_json::to_string(&Unscoped { version: VERSION, unscoped: true }),
        Some(scope) => serde_json::to_string(scope),
    }
    .expect("texts, numbers and maps serialize")
}

pub(super) fn filter(text: &str) -> Result<Filter, Error> {
    serde_json::from_str(text)
        .map_err(|_| InvalidExportRequest::one("filter: cannot be read by this version").into())
}

/// Nothing for what cannot be read: a job is more than its manifest.
pub(super) fn readable<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ExportSummary>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}
