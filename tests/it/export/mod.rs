//! Exports: what the timeline says, whole, in three forms, and nothing else.

mod endings;
mod formats;
mod limits;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use threadline::{
    Action, ActionStatus, Actor, ActorId, AuditContext, Error, ExportFormat, ExportOptions, ExportSummary,
    Filter, LinkedChange, Op, Order, PageRequest, RowImage, Scope, Surface, TableName, Trail,
};
use threadline_tests::{audited_database, clock, row_key, run, table, text};

const FORMATS: [ExportFormat; 3] = [ExportFormat::Csv, ExportFormat::Json, ExportFormat::Ndjson];

fn export_to(
    conn: &mut PgConnection,
    trail: &Trail,
    filter: &Filter,
    options: &ExportOptions,
) -> (Vec<u8>, ExportSummary) {
    let mut bytes = Vec::new();
    let summary = trail.export(conn, filter, options, &mut bytes).unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(summary.sha256, digest);
    (bytes, summary)
}

fn whole(conn: &mut PgConnection, format: ExportFormat) -> (Vec<u8>, ExportSummary) {
    export_to(conn, &Trail::unscoped(), &Filter::new(), &ExportOptions::new(format).unlimited())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format_version: u32,
    generated_at: chrono::DateTime<chrono::Utc>,
    changes: Vec<Box<RawValue>>,
    rows: u64,
    truncated: bool,
}

fn lines(ndjson: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(ndjson).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.split_terminator('\n').map(String::from).collect()
}

fn document(json: &[u8]) -> Document {
    serde_json::from_slice(json).unwrap()
}

/// The records of a CSV, by column.
fn records(csv: &[u8]) -> Vec<BTreeMap<&'static str, String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv);
    let mut records = reader.records().map(|record| record.unwrap());
    let header = records.next().unwrap();
    assert_eq!(header.iter().collect::<Vec<_>>(), ExportFormat::CSV_COLUMNS);
    let named = |record: csv::StringRecord| {
        ExportFormat::CSV_COLUMNS.iter().copied().zip(record.iter().map(String::from)).collect()
    };
    records.map(named).collect()
}

/// The ids of the changes, whatever the format.
fn ids(format: ExportFormat, bytes: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Line {
        change: Id,
    }
    #[derive(Deserialize)]
    struct Id {
        transaction_id: String,
        ordinal: i32,
    }
    let of_line = |line: &str| {
        let Line { change: Id { transaction_id, ordinal } } = serde_json::from_str(line).unwrap();
        format!("{transaction_id}#{ordinal}")
    };
    match format {
        ExportFormat::Csv => {
            records(bytes).into_iter().map(|mut record| record.remove("id").unwrap()).collect()
        }
        ExportFormat::Json => document(bytes).changes.iter().map(|change| of_line(change.get())).collect(),
        ExportFormat::Ndjson => lines(bytes).iter().map(|line| of_line(line)).collect(),
    }
}

/// All pages of the timeline.
fn timeline(conn: &mut PgConnection, trail: &Trail, filter: &Filter, order: Order) -> Vec<LinkedChange> {
    let mut request = PageRequest::new().size(1000).unwrap().order(order);
    let mut entries = Vec::new();
    loop {
        let page = trail.timeline_page(conn, filter, &request).unwrap();
        entries.extend(page.entries);
        let Some(cursor) = page.cursor else { return entries };
        request = request.after(cursor);
    }
}
