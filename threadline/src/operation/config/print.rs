//! A configuration as the file that says the same.

use std::fmt::Write;
use std::time::Duration;

use super::Config;
use super::duration::written;
use super::names::table_written;
use super::source::{key_path, quoted};
use crate::capture::TableName;

pub(super) fn to_toml(config: &Config) -> String {
    let Config { tables, retention, archive, exports, storage, worker } = config;
    let mut out = Output(String::new());

    out.line("[tables]");
    out.list("expected", tables.expected.iter().map(table));
    out.list(
        "ignored",
        tables.ignored.iter().map(|ignored| {
            format!("{{ table = {}, reason = {} }}", table(&ignored.table), quoted(&ignored.reason))
        }),
    );
    out.optional("scope_column", tables.scope_column.as_deref().map(quoted), "no column has to be a scope");

    out.line("\n[retention]");
    out.optional("keep", retention.keep.map(duration), FOR_EVER);
    out.set("minimum", duration(retention.minimum));
    out.set("exports", duration(retention.exports));
    out.optional("evidence", retention.evidence.map(duration), FOR_EVER);
    out.optional("access_log", retention.access_log.map(duration), FOR_EVER);
    out.optional("runs", retention.runs.map(duration), FOR_EVER);
    out.set("archive", archive);
    out.set("batch_rows", retention.batch_rows);
    out.set("pause", duration(retention.pause));
    out.set("lock_timeout", duration(retention.lock_timeout));
    out.set("statement_timeout", duration(retention.statement_timeout));
    out.line("\n[retention.actions]");
    for (action, window) in &retention.actions {
        out.set(&key_path("", action), duration(*window));
    }
    out.line("\n[retention.tables]");
    for (table, window) in &retention.tables {
        out.set(&key_path("", &table_written(table)), duration(*window));
    }

    out.line("\n[exports]");
    out.set("max_rows", exports.max_rows);

    out.line("\n[storage]");
    out.optional("url", storage.url.as_deref().map(quoted), "nothing can be stored");

    out.line("\n[worker]");
    out.set("partitions_every", duration(worker.partitions_every));
    out.set("retention_every", duration(worker.retention_every));
    out.set("exports_every", duration(worker.exports_every));
    out.set("health_every", duration(worker.health_every));
    out.0
}

const FOR_EVER: &str = "for ever";

fn table(name: &TableName) -> String {
    quoted(&table_written(name))
}

fn duration(duration: Duration) -> String {
    quoted(&written(duration))
}

struct Output(String);

impl Output {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "{key} = {value}").expect("a text can always be written to");
    }

    /// A key that may be absent, which then means `otherwise`.
    fn optional(&mut self, key: &str, value: Option<String>, otherwise: &str) {
        match value {
            Some(value) => self.set(key, value),
            None => self.line(&format!("# {key} is not set: {otherwise}")),
        }
    }

    fn list(&mut self, key: &str, items: impl Iterator<Item = String>) {
        let items: Vec<String> = items.collect();
        match items.as_slice() {
            [] => self.set(key, "[]"),
            items => self.set(key, format!("[\n    {},\n]", items.join(",\n    "))),
        }
    }
}
