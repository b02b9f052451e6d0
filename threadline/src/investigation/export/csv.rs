//! Changes as comma-separated values (RFC 4180).

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::Write as _;

use csv::{ByteRecord, Terminator, Writer, WriterBuilder};
use serde::{Serialize, Serializer};

use super::json::Why;
use crate::investigation::change::{AuditChange, FieldChange, Op};
use crate::investigation::image::Json;
use crate::investigation::tables::TableChange;
use crate::investigation::timeline::Who;

/// Documented at [`ExportFormat::CSV_COLUMNS`](super::ExportFormat::CSV_COLUMNS). Columns are only ever added at the end.
pub(super) const COLUMNS: [&str; 30] = [
    "id",
    "transaction_id",
    "table_schema",
    "table_name",
    "op",
    "captured_at",
    "row_key",
    "data_after",
    "changed_fields",
    "changed_from",
    "transaction_json",
    "correlation_id",
    "action_id",
    "ordinal",
    "previous_row_key",
    "scope",
    "previous_scope",
    "partition",
    "data_before",
    "masked_columns",
    "actor_type",
    "actor_id",
    "request_id",
    "job_id",
    "remote_addr",
    "db_role",
    "meta",
    "action_name",
    "action_status",
    "action_json",
];

/// Quotes what holds a comma, a quote, CR or LF.
fn writer() -> Writer<Vec<u8>> {
    WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new())
}

fn written(writer: Writer<Vec<u8>>) -> Vec<u8> {
    writer.into_inner().unwrap_or_else(|_| unreachable!("memory takes whatever is written"))
}

pub(super) fn header() -> Vec<u8> {
    let mut writer = writer();
    writer.write_record(COLUMNS).expect("memory takes whatever is written");
    written(writer)
}

pub(super) fn records(changes: &[TableChange], who: &Who, guard: bool) -> Vec<u8> {
    let mut writer = writer();
    let mut record = Record { cells: ByteRecord::new(), scratch: Vec::new(), guard };
    let mut why = None;
    for change in changes {
        record.cells.clear();
        record.fill(change, who, Why::of_next(&mut why, who, change.change.id.transaction_id));
        writer.write_byte_record(&record.cells).expect("memory takes it, and all records have as many cells");
    }
    written(writer)
}

/// One record, put together cell by cell.
struct Record {
    cells: ByteRecord,
    scratch: Vec<u8>,
    guard: bool,
}

impl Record {
    /// The cells in the order of [`COLUMNS`].
    fn fill(&mut self, TableChange { table, change, row, .. }: &TableChange, who: &Who, why: &Why) {
        let (transaction, action) = who.of_transaction(change.id.transaction_id);
        let is_update = change.op == Op::Update;
        let columns = row.as_ref().map(|row| &row.columns);
        let is_inserted = change.op == Op::Insert;

        self.plain(Some(change.id));
        self.plain(Some(change.id.transaction_id));
        self.text(table.schema());
        self.text(Some(table.name()));
        self.plain(Some(change.op));
        self.instant(change);
        self.text(Some(&change.row_key));
        if is_update {
            self.json(Some(Side(change, |field| &field.after)));
            self.json(Some(change.changed_fields()));
            self.json(Some(Side(change, |field| &field.before)));
        } else {
            self.json(columns.filter(|_| is_inserted));
            self.text(None);
            self.text(None);
        }
        self.json(transaction.map(|_| &why.transaction));
        self.text(transaction.and_then(|transaction| transaction.correlation_id.as_deref()));
        self.plain(transaction.and_then(|transaction| transaction.action_id));

        self.plain(Some(change.id.ordinal));
        self.text(change.previous_row_key.as_deref());
        self.text(change.scope.as_deref());
        self.text(change.previous_scope.as_deref());
        self.text(change.partition.as_deref());
        self.json(columns.filter(|_| !is_inserted));
        let masked_fields = change.fields.iter().filter(|(_, field)| field.masked).map(|(name, _)| name);
        let masked: BTreeSet<&String> = row.iter().flat_map(|row| &row.masked).chain(masked_fields).collect();
        self.json(Some(masked).filter(|masked| !masked.is_empty()));
        self.text(transaction.and_then(|transaction| transaction.actor_type.as_deref()));
        self.text(transaction.and_then(|transaction| transaction.actor_id.as_deref()));
        self.text(transaction.and_then(|transaction| transaction.request_id.as_deref()));
        self.text(transaction.and_then(|transaction| transaction.job_id.as_deref()));
        self.text(transaction.and_then(|transaction| transaction.remote_addr.as_deref()));
        self.text(transaction.map(|transaction| transaction.db_role.as_str()));
        self.json(transaction.and_then(|transaction| transaction.meta.as_ref()));
        self.text(action.map(|action| action.name.as_str()));
        self.plain(action.map(|action| action.status));
        self.json(action.map(|_| &why.action));
    }

    /// What others chose.
    fn text(&mut self, text: Option<&str>) {
        let text = text.unwrap_or_default();
        if self.guard && is_formula(text) {
            self.scratch.clear();
            self.scratch.push(b'\'');
            self.scratch.extend_from_slice(text.as_bytes());
            self.cells.push_field(&self.scratch);
        } else {
            self.cells.push_field(text.as_bytes());
        }
    }

    /// What can only look one way: ids, numbers, words of ours.
    fn plain(&mut self, value: Option<impl Display>) {
        self.scratch.clear();
        if let Some(value) = value {
            write!(self.scratch, "{value}").expect("memory takes whatever is written");
        }
        self.cells.push_field(&self.scratch);
    }

    /// JSON of objects and arrays, which begins with their bracket.
    fn json(&mut self, value: Option<impl Serialize>) {
        self.scratch.clear();
        if let Some(value) = value {
            serde_json::to_writer(&mut self.scratch, &value)
                .expect("what was read from the trail serializes");
        }
        self.cells.push_field(&self.scratch);
    }

    /// As JSON has it, without the quotes.
    fn instant(&mut self, change: &AuditChange) {
        self.scratch.clear();
        serde_json::to_writer(&mut self.scratch, &change.captured_at).expect("an instant serializes");
        self.cells.push_field(
            self.scratch
                .trim_ascii()
                .strip_prefix(b"\"")
                .and_then(|text| text.strip_suffix(b"\""))
                .expect("it is a string"),
        );
    }
}

/// The changed columns on one side of an update.
struct Side<'a>(&'a AuditChange, fn(&FieldChange) -> &Json);

impl Serialize for Side<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.fields.iter().map(|(name, field)| (name, (self.1)(field))))
    }
}

/// Whether a spreadsheet would compute a cell with this text, by what OWASP lists under CSV injection; or whether it looks
/// like such a text that has been guarded, which would make the guard impossible to undo.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'')
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
}
