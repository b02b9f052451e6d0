//! The changes of an export in batches: while one is written, the next one is read.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;

use diesel::prelude::*;

use crate::error::Error;
use crate::investigation::page::Order;
use crate::investigation::scan::{Question, Scan};
use crate::investigation::tables::TableChange;
use crate::investigation::timeline::Who;

/// Changes in a batch: at first, and at most.
const FIRST_ROWS: usize = 100;
const MOST_ROWS: usize = 4000;

/// What a batch is to weigh at most, as far as that can be told from the batch before it.
const MOST_BYTES: usize = 8 << 20;

/// Changes, and the transactions they belong to.
pub(super) struct Batch {
    pub(super) changes: Vec<TableChange>,
    pub(super) who: Who,
}

/// Hands over the changes that answer the question, `most` of them at most, for as long as `write` wants more.
///
/// What fits into one batch gets along without a thread.
pub(super) fn in_batches(
    conn: &mut PgConnection,
    question: &Question,
    order: Order,
    most: Option<u64>,
    mut write: impl FnMut(Batch) -> Result<bool, Error>,
) -> Result<(), Error> {
    let scan = Scan::new(question, order, None);
    let mut reader = Reader { scan, rows: FIRST_ROWS, left: most.unwrap_or(u64::MAX), is_over: false };
    let first = reader.next(conn)?;
    if !write(first)? || reader.is_over {
        return Ok(());
    }
    // Nothing waits in between: besides the batch being written there is the one being read.
    let (sender, batches) = mpsc::sync_channel(0);
    thread::scope(|scope| {
        let reading = thread::Builder::new()
            .name("threadline-export".to_owned())
            .spawn_scoped(scope, move || {
                while !reader.is_over {
                    let batch = reader.next(conn)?;
                    if sender.send(batch).is_err() {
                        break;
                    }
                }
                Ok(())
            })
            .map_err(Error::Export)?;
        let mut written = Ok(true);
        while matches!(written, Ok(true)) {
            let Ok(batch) = batches.recv() else { break };
            written = write(batch);
        }
        // Tells the reader, who may be waiting to hand over one more.
        drop(batches);
        let read = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
        written.and(read)
    })
}

struct Reader<'a> {
    scan: Scan<'a>,
    /// Changes in the next batch.
    rows: usize,
    /// Changes that may still be read.
    left: u64,
    is_over: bool,
}

impl Reader<'_> {
    fn next(&mut self, conn: &mut PgConnection) -> Result<Batch, Error> {
        let wanted = usize::try_from(self.left).map_or(self.rows, |left| left.min(self.rows));
        let changes = self.scan.advance(conn, wanted)?;
        self.left -= changes.len() as u64;
        self.is_over = self.scan.is_over() || self.left == 0;
        let bytes: usize = changes.iter().map(weight).sum();
        let each = bytes / changes.len().max(1) + 1;
        self.rows = (MOST_BYTES / each).clamp(1, MOST_ROWS.min(self.rows * 4));
        let ids: BTreeSet<_> = changes.iter().map(|change| change.change.id.transaction_id).collect();
        Ok(Batch { who: Who::of(conn, ids)?, changes })
    }
}

/// About how many bytes of text a change has.
fn weight(change: &TableChange) -> usize {
    let fields = change.change.fields.iter();
    let changed: usize = fields
        .map(|(name, field)| name.len() + field.before.as_str().len() + field.after.as_str().len())
        .sum();
    let row = change.row.iter().flat_map(|row| &row.columns);
    changed + row.map(|(name, value)| name.len() + value.as_str().len()).sum::<usize>()
}
