//! One value of the file at a time: of the kind its key takes, or a problem.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check;
use super::names::{TABLE_FORM, table_named};
use super::source::Source;
use crate::capture::TableName;

pub(super) type Value<'t> = Spanned<DeValue<'t>>;

const DURATION: &str = "a duration in quotes, such as \"400 days\", \"1h 30min\" or \"500ms\"";

pub(super) fn text(source: &mut Source<'_>, path: &str, value: &Value<'_>, wanted: &str) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.clone().into_owned()),
        _ => {
            source.wrong_kind(path, value, wanted);
            None
        }
    }
}

pub(super) fn duration(source: &mut Source<'_>, path: &str, value: &Value<'_>) -> Option<Duration> {
    let DeValue::String(text) = value.get_ref() else {
        source.wrong_kind(path, value, DURATION);
        return None;
    };
    let duration = humantime::parse_duration(text).ok();
    if duration.is_none() {
        source.report(Some(value.span()), path, "is not a duration", format!("write {DURATION}"));
    }
    duration
}

/// A number that is not negative and fits its type; its range is for the check to say.
pub(super) fn number<T: TryFrom<i128>>(source: &mut Source<'_>, path: &str, value: &Value<'_>) -> Option<T> {
    let DeValue::Integer(written) = value.get_ref() else {
        source.wrong_kind(path, value, "a whole number without quotes");
        return None;
    };
    let number = i128::from_str_radix(written.as_str(), written.radix())
        .ok()
        .and_then(|number| T::try_from(number).ok());
    if number.is_none() {
        source.report(Some(value.span()), path, "is a number out of range", check::range_of(path));
    }
    number
}

pub(super) fn table(source: &mut Source<'_>, path: &str, value: &Value<'_>) -> Option<TableName> {
    let text = text(source, path, value, "a table's name in quotes")?;
    let table = table_named(&text);
    if table.is_none() {
        source.report(Some(value.span()), path, "is not the name of a table", TABLE_FORM);
    }
    table
}

pub(super) fn list<'v, 't>(
    source: &mut Source<'_>,
    path: &str,
    value: &'v Value<'t>,
    wanted: &str,
) -> Option<Vec<(String, &'v Value<'t>)>> {
    let DeValue::Array(values) = value.get_ref() else {
        source.wrong_kind(path, value, wanted);
        return None;
    };
    let items: Vec<_> =
        values.iter().enumerate().map(|(index, value)| (format!("{path}[{index}]"), value)).collect();
    for (path, value) in &items {
        source.stands(path, &value.span());
    }
    Some(items)
}

pub(super) fn windows<'v, 't>(
    source: &mut Source<'_>,
    path: &str,
    value: &'v Value<'t>,
) -> Option<&'v DeTable<'t>> {
    match value.get_ref() {
        DeValue::Table(windows) => Some(windows),
        _ => {
            source.wrong_kind(path, value, "durations by name, such as { \"login.failed\" = \"90 days\" }");
            None
        }
    }
}
