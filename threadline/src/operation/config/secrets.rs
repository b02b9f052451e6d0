//! What has no place in a file that is committed: credentials.

use toml::de::{DeTable, DeValue};

use super::source::{Source, key_path};
use crate::operation::credential::{has_userinfo, names_credential};

pub(super) const ENVIRONMENT: &str = "credentials are not written here; set them in the environment (DATABASE_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)";

/// Reports every URL with userinfo below `table`, and in what is unknown every key that names a credential.
pub(super) fn report(source: &mut Source<'_>, path: &str, value: &toml::Spanned<DeValue<'_>>, unknown: bool) {
    match value.get_ref() {
        DeValue::String(text) if has_userinfo(text) => {
            source.report(Some(value.span()), path, "has a URL with a user or password in it", ENVIRONMENT);
        }
        DeValue::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                report(source, &format!("{path}[{index}]"), value, unknown);
            }
        }
        DeValue::Table(table) => report_table(source, path, table, unknown),
        _ => {}
    }
}

fn report_table(source: &mut Source<'_>, path: &str, table: &DeTable<'_>, unknown: bool) {
    for (key, value) in table {
        let path = key_path(path, key.get_ref());
        if unknown && names_credential(key.get_ref()) {
            source.report(Some(key.span()), &path, "looks like a credential", ENVIRONMENT);
        } else {
            report(source, &path, value, unknown);
        }
    }
}

/// What is wrong with the URL of a storage, and what to do.
pub(super) fn storage_problem(url: &str) -> Option<(&'static str, &'static str)> {
    const FORMS: &str = "write `file:///absolute/path` or `s3://bucket/prefix`";
    if has_userinfo(url) {
        return Some(("has a URL with a user or password in it", ENVIRONMENT));
    }
    if url.contains(['?', '#']) {
        return Some((
            "has a query or a fragment",
            "leave them out; options of the storage are set in the environment",
        ));
    }
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some(("has a space or a control character", "percent-encode it"));
    }
    let path = if let Some(path) = url.strip_prefix("file://") {
        if !path.starts_with('/') {
            return Some(("is not an absolute path", "write three slashes: `file:///absolute/path`"));
        }
        path
    } else if let Some(place) = url.strip_prefix("s3://") {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        if (1..3).contains(&bucket.len()) || bucket.len() > 63 {
            return Some((
                "has a bucket's name that is too short or too long",
                "a bucket's name has 3 to 63 characters",
            ));
        }
        if bucket.is_empty() || !bucket.chars().all(allowed) {
            return Some((
                if bucket.is_empty() {
                    "has no bucket's name"
                } else {
                    "has a bucket's name with other characters than it may have"
                },
                "a bucket has 3 to 63 lower-case letters, digits, dots and hyphens",
            ));
        }
        prefix
    } else {
        return Some(("is not the URL of a storage", FORMS));
    };
    path.split('/')
        .any(|part| matches!(part, "." | ".."))
        .then_some(("leads out of its place", "leave `.` and `..` out"))
}
