//! From the text of a file to the values it sets, with everything that is wrong on the way.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::names::{TABLE_FORM, table_named};
use super::secrets::{self, ENVIRONMENT};
use super::source::{Source, key_path};
use super::values::{Value, duration, list, number, table, text, windows};
use super::{Config, IgnoredTable, InvalidConfig, check};
use crate::capture::TableName;
use crate::operation::credential::names_credential;

/// The sections and their keys.
const KEYS: [(&str, &[&str]); 5] = [
    ("tables", &["expected", "ignored", "scope_column"]),
    (
        "retention",
        &[
            "keep",
            "minimum",
            "actions",
            "tables",
            "exports",
            "evidence",
            "access_log",
            "runs",
            "archive",
            "batch_rows",
            "pause",
            "lock_timeout",
            "statement_timeout",
        ],
    ),
    ("exports", &["max_rows"]),
    ("storage", &["url"]),
    ("worker", &["partitions_every", "retention_every", "exports_every", "health_every"]),
];

pub(super) fn parse(text: &str) -> Result<Config, InvalidConfig> {
    let mut source = Source::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    // After any other error of syntax, what follows may not be what was meant.
    let readable = errors.iter().all(|error| error.message() == "duplicate key");
    for error in errors {
        source.report(error.span(), "", error.message(), "see https://toml.io for what a file may look like");
    }
    let mut config = Config::default();
    if readable {
        read_root(&mut source, &mut config, root.get_ref());
        let findings = check::findings(&config);
        let sound = findings.into_iter().filter(|finding| finding.keys().all(|key| source.is_sound(key)));
        let problems = sound.map(check::Finding::into_problem).collect();
        source.adopt(problems);
    }
    InvalidConfig::unless_none(source.into_problems())?;
    Ok(config)
}

fn read_root(source: &mut Source<'_>, config: &mut Config, root: &DeTable<'_>) {
    let sections: Vec<&str> = KEYS.iter().map(|(section, _)| *section).collect();
    for (key, value) in root {
        let name: &str = key.get_ref();
        let Some((section, keys)) = KEYS.iter().find(|(section, _)| *section == name) else {
            let is_table = matches!(value.get_ref(), DeValue::Table(_));
            let what = if is_table { "is not a section" } else { "is not a key outside of a section" };
            unknown(source, "", key, value, &sections, what);
            continue;
        };
        let DeValue::Table(table) = value.get_ref() else {
            source.wrong_kind(section, value, &format!("a section, `[{section}]`"));
            continue;
        };
        for (key, value) in table {
            let path = key_path(section, key.get_ref());
            if !keys.contains(&key.get_ref().as_ref()) {
                unknown(source, section, key, value, keys, "is not a key of this section");
                continue;
            }
            source.stands(&path, &value.span());
            secrets::report(source, &path, value, false);
            set(source, config, &path, value);
        }
    }
}

/// A key that means nothing here, with the one that may have been meant.
fn unknown(
    source: &mut Source<'_>,
    section: &str,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Value<'_>,
    known: &[&str],
    what: &str,
) {
    let name: &str = key.get_ref();
    let path = key_path(section, name);
    if names_credential(name) {
        source.report(Some(key.span()), &path, "looks like a credential", ENVIRONMENT);
        return;
    }
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, known)| *distance <= (known.len() / 3).clamp(1, 3));
    let elsewhere = KEYS.iter().find(|(other, keys)| *other != section && keys.contains(&name));
    let allowed = match (near, elsewhere) {
        (_, Some((other, _))) => format!("it belongs into `[{other}]`"),
        (Some((_, near)), None) => format!("did you mean `{near}`?"),
        (None, None) if section.is_empty() => format!("the sections are {}", known.join(", ")),
        (None, None) => format!("its keys are {}", known.join(", ")),
    };
    source.report(Some(key.span()), &path, what, allowed);
    secrets::report(source, &path, value, true);
}

fn set(source: &mut Source<'_>, config: &mut Config, path: &str, value: &Value<'_>) {
    let Config { tables, retention, archive, exports, storage, worker } = config;
    match path {
        "tables.expected" => put(&mut tables.expected, expected(source, path, value)),
        "tables.ignored" => put(&mut tables.ignored, ignored(source, path, value)),
        "tables.scope_column" => tables.scope_column = text(source, path, value, "a column's name in quotes"),
        "retention.keep" => retention.keep = duration(source, path, value),
        "retention.minimum" => put(&mut retention.minimum, duration(source, path, value)),
        "retention.actions" => put(&mut retention.actions, action_windows(source, path, value)),
        "retention.tables" => put(&mut retention.tables, table_windows(source, path, value)),
        "retention.exports" => put(&mut retention.exports, duration(source, path, value)),
        "retention.evidence" => retention.evidence = duration(source, path, value),
        "retention.access_log" => retention.access_log = duration(source, path, value),
        "retention.runs" => retention.runs = duration(source, path, value),
        "retention.archive" => match value.get_ref() {
            DeValue::Boolean(whether) => *archive = *whether,
            _ => source.wrong_kind(path, value, "true or false"),
        },
        "retention.batch_rows" => put(&mut retention.batch_rows, number(source, path, value)),
        "retention.pause" => put(&mut retention.pause, duration(source, path, value)),
        "retention.lock_timeout" => put(&mut retention.lock_timeout, duration(source, path, value)),
        "retention.statement_timeout" => put(&mut retention.statement_timeout, duration(source, path, value)),
        "exports.max_rows" => put(&mut exports.max_rows, number(source, path, value)),
        "storage.url" => storage.url = text(source, path, value, "a URL in quotes"),
        "worker.partitions_every" => put(&mut worker.partitions_every, duration(source, path, value)),
        "worker.retention_every" => put(&mut worker.retention_every, duration(source, path, value)),
        "worker.exports_every" => put(&mut worker.exports_every, duration(source, path, value)),
        "worker.health_every" => put(&mut worker.health_every, duration(source, path, value)),
        _ => unreachable!("every key of KEYS is handled"),
    }
}

/// Replaces the default by what could be read.
fn put<T>(place: &mut T, read: Option<T>) {
    if let Some(value) = read {
        *place = value;
    }
}

fn expected(source: &mut Source<'_>, path: &str, value: &Value<'_>) -> Option<Vec<TableName>> {
    let items = list(source, path, value, "a list of tables, such as [\"public.posts\"]")?;
    let tables =
        items.into_iter().map(|(path, value)| table(source, &path, value).unwrap_or_else(|| unread(&path)));
    Some(tables.collect())
}

/// What stands for a table that could not be read, so that the others keep their places in the list. Nothing is found wrong
/// with it: its key has a problem already, and its name is no other table's.
fn unread(path: &str) -> TableName {
    TableName::new(None, path)
}

fn ignored(source: &mut Source<'_>, path: &str, value: &Value<'_>) -> Option<Vec<IgnoredTable>> {
    const WANTED: &str = "{ table = \"public.sessions\", reason = \"why\" }";
    let items = list(source, path, value, &format!("a list of {WANTED}"))?;
    let mut tables = Vec::new();
    for (path, value) in items {
        let DeValue::Table(entry) = value.get_ref() else {
            source.wrong_kind(&path, value, WANTED);
            tables.push(IgnoredTable::new(unread(&path), "unread"));
            continue;
        };
        let (mut name, mut reason) = (None, None);
        let (mut has_name, mut has_reason) = (false, false);
        for (key, value) in entry {
            let place = key_path(&path, key.get_ref());
            source.stands(&place, &value.span());
            match key.get_ref().as_ref() {
                "table" => {
                    has_name = true;
                    name = table(source, &place, value);
                }
                "reason" => {
                    has_reason = true;
                    reason = text(source, &place, value, "the reason in quotes");
                }
                _ => {
                    unknown(
                        source,
                        &path,
                        key,
                        value,
                        &["table", "reason"],
                        "is not a key of an ignored table",
                    );
                }
            }
        }
        for (key, is_there) in [("table", has_name), ("reason", has_reason)] {
            if !is_there {
                source.report(
                    Some(value.span()),
                    &key_path(&path, key),
                    "is missing",
                    format!("write {WANTED}"),
                );
            }
        }
        let name = name.unwrap_or_else(|| unread(&key_path(&path, "table")));
        tables.push(IgnoredTable::new(name, reason.unwrap_or_else(|| "unread".to_owned())));
    }
    Some(tables)
}

fn action_windows(
    source: &mut Source<'_>,
    path: &str,
    value: &Value<'_>,
) -> Option<BTreeMap<String, Duration>> {
    let mut actions = BTreeMap::new();
    for (key, value) in windows(source, path, value)? {
        let path = key_path(path, key.get_ref());
        source.stands(&path, &value.span());
        if let Some(window) = duration(source, &path, value) {
            actions.insert(key.get_ref().clone().into_owned(), window);
        }
    }
    Some(actions)
}

fn table_windows(
    source: &mut Source<'_>,
    path: &str,
    value: &Value<'_>,
) -> Option<BTreeMap<TableName, Duration>> {
    let mut tables = BTreeMap::new();
    for (key, value) in windows(source, path, value)? {
        let Some(table) = table_named(key.get_ref()) else {
            let place = key_path(path, key.get_ref());
            source.report(Some(key.span()), &place, "is not the name of a table", TABLE_FORM);
            continue;
        };
        let place = check::table_path(path, &table);
        source.stands(&place, &value.span());
        let window = duration(source, &place, value);
        match tables.entry(table) {
            Entry::Occupied(_) => {
                source.report(
                    Some(key.span()),
                    &place,
                    "names a table that is named before",
                    "leave one of them out",
                );
            }
            // Its place is taken even when its window could not be read, which has been said.
            Entry::Vacant(entry) => {
                entry.insert(window.unwrap_or(Duration::MAX));
            }
        }
    }
    Some(tables)
}
