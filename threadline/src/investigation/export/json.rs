//! Changes as JSON: each as its own type serializes, in one document or one a line.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::capture::TableName;
use crate::investigation::change::AuditChange;
use crate::investigation::image::RowImage;
use crate::investigation::key::RowKey;
use crate::investigation::tables::TableChange;
use crate::investigation::timeline::Who;

/// A `LinkedChange` of borrowed parts; the test that compares exports with timelines keeps the two alike.
#[derive(Serialize)]
struct Entry<'a> {
    table: &'a TableName,
    key: &'a Option<RowKey>,
    change: &'a AuditChange,
    row: &'a Option<RowImage>,
    transaction: &'a RawValue,
    action: &'a RawValue,
}

/// The transaction last written and its action: most changes have those of the change before them.
pub(super) struct Why {
    of: Uuid,
    pub(super) transaction: Box<RawValue>,
    pub(super) action: Box<RawValue>,
}

impl Why {
    fn of(who: &Who, transaction_id: Uuid) -> Self {
        let (transaction, action) = who.of_transaction(transaction_id);
        Self { of: transaction_id, transaction: raw(&transaction), action: raw(&action) }
    }

    /// That of this transaction, made anew when it is another one.
    pub(super) fn of_next<'a>(last: &'a mut Option<Self>, who: &Who, transaction_id: Uuid) -> &'a Self {
        if last.as_ref().is_some_and(|last| last.of != transaction_id) {
            *last = None;
        }
        last.get_or_insert_with(|| Self::of(who, transaction_id))
    }
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("what was read from the trail serializes")
}

pub(super) fn document_begins(generated_at: DateTime<Utc>) -> Vec<u8> {
    let (version, generated_at) = (super::FORMAT_VERSION, raw(&generated_at));
    format!("{{\"format_version\":{version},\"generated_at\":{generated_at},\"changes\":[").into_bytes()
}

pub(super) fn document_ends(rows: u64, truncated: bool) -> Vec<u8> {
    format!("\n],\"rows\":{rows},\"truncated\":{truncated}}}\n").into_bytes()
}

/// Entries of the document's array, each on a line.
pub(super) fn entries(changes: &[TableChange], who: &Who, are_first: bool) -> Vec<u8> {
    let mut text = Vec::new();
    let mut why = None;
    for (place, change) in changes.iter().enumerate() {
        text.extend_from_slice(if are_first && place == 0 { b"\n" } else { b",\n" });
        entry(&mut text, change, Why::of_next(&mut why, who, change.change.id.transaction_id));
    }
    text
}

pub(super) fn lines(changes: &[TableChange], who: &Who) -> Vec<u8> {
    let mut text = Vec::new();
    let mut why = None;
    for change in changes {
        entry(&mut text, change, Why::of_next(&mut why, who, change.change.id.transaction_id));
        text.push(b'\n');
    }
    text
}

fn entry(text: &mut Vec<u8>, change: &TableChange, why: &Why) {
    let TableChange { table, key, change, row } = change;
    let entry = Entry { table, key, change, row, transaction: &why.transaction, action: &why.action };
    serde_json::to_writer(text, &entry).expect("what was read from the trail serializes");
}
