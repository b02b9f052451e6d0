//! Exports: the changes that answer a filter, written out whole, for spreadsheets, for programs, for an auditor's files.

mod batches;
mod csv;
mod json;
mod output;
mod summary;

use std::io;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use self::batches::{Batch, in_batches};
use self::output::Output;
pub use self::summary::{ExportSummary, TableRows};
use super::filter::Filter;
use super::page::Order;
use super::scan::Question;
use super::scope::Surface;
use super::trail::Trail;
use crate::error::Error;
use crate::telemetry;

/// Of what an export is made of. Fields and columns may be added without another number.
const FORMAT_VERSION: u32 = 1;

/// In which form changes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// Comma-separated values as RFC 4180 has them: a header, then one record a change, lines ending in CR LF. The columns are
    /// [`ExportFormat::CSV_COLUMNS`].
    Csv,
    /// One document: `{"format_version": 1, "generated_at": "…", "changes": […], "rows": 2, "truncated": false}`. An entry of
    /// `changes` is a [`LinkedChange`](crate::LinkedChange). A document that was cut off has no end, so no program takes it.
    Json,
    /// One [`LinkedChange`](crate::LinkedChange) a line, each line ending in LF, and nothing else.
    Ndjson,
}

impl ExportFormat {
    /// `csv`, `json` or `ndjson`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }
    }

    /// The columns of a CSV export, in this order; a later version may have more after them.
    ///
    /// Those called JSON hold the text of a JSON value in which numbers keep every digit, or are empty where there is
    /// nothing. In all others NULL and the empty text look alike; JSON and NDJSON tell them apart. Times are RFC 3339 in UTC,
    /// as `2026-11-21T09:30:00.123456Z`.
    ///
    /// | Column | What it holds |
    /// |---|---|
    /// | `id` | The change's name in the trail: transaction and ordinal, as [`ChangeId`](crate::ChangeId) writes it |
    /// | `transaction_id` | The transaction |
    /// | `table_schema`, `table_name` | The table, under the name it had when its capture was last compiled |
    /// | `op` | `insert`, `update`, `delete` or `truncate` |
    /// | `captured_at` | When it was captured |
    /// | `row_key` | The row's key after the change: one column as text, several as a JSON array of texts |
    /// | `data_after` | JSON object: all columns of an inserted row; of an update the changed columns, as they were after it |
    /// | `changed_fields` | JSON array of the names of the columns an update changed, without those whose change alone is not recorded |
    /// | `changed_from` | JSON object: of an update the changed columns, as they were before it |
    /// | `transaction_json` | JSON: the transaction, an [`AuditTransaction`](crate::AuditTransaction) |
    /// | `correlation_id` | What the transaction belongs together with |
    /// | `action_id` | The action the transaction was begun with |
    /// | `ordinal` | Place within the transaction, from 1 |
    /// | `previous_row_key` | The key before an update that changed it |
    /// | `scope`, `previous_scope` | The tenant the row belongs to; the one before an update that changed it |
    /// | `partition` | The partition that was written |
    /// | `data_before` | JSON object: all columns of a deleted row, and of a row before an update that changed its key |
    /// | `masked_columns` | JSON array of the names of columns that show a placeholder here; empty when there is none |
    /// | `actor_type`, `actor_id` | Who answers for the transaction |
    /// | `request_id`, `job_id`, `remote_addr` | The request or job that made the change, and its client's address |
    /// | `db_role` | The database role that logged in |
    /// | `meta` | JSON object: metadata of the transaction |
    /// | `action_name`, `action_status` | What was done, and `ok` or `error` |
    /// | `action_json` | JSON: the action, an [`AuditAction`](crate::AuditAction) |
    pub const CSV_COLUMNS: &[&str] = &csv::COLUMNS;

    /// The media type, as a `Content-Type` header has it.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// What names of such files end in, without a dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }
    }
}

/// What an export is to look like.
///
/// ```
/// use threadline::{ExportFormat, ExportOptions, Order};
///
/// let whole = ExportOptions::new(ExportFormat::Ndjson).order(Order::OldestFirst).unlimited();
/// let for_a_program_that_is_no_spreadsheet = ExportOptions::new(ExportFormat::Csv).formula_guard(false);
/// # let _ = (whole, for_a_program_that_is_no_spreadsheet);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ExportOptions {
    format: ExportFormat,
    order: Order,
    max_rows: Option<u64>,
    formula_guard: bool,
}

impl ExportOptions {
    /// The most changes an export has unless it is told otherwise.
    pub const DEFAULT_MAX_ROWS: u64 = 10_000;

    /// The newest 10,000 changes, newest first, formulas guarded against.
    pub fn new(format: ExportFormat) -> Self {
        Self { format, order: Order::default(), max_rows: Some(Self::DEFAULT_MAX_ROWS), formula_guard: true }
    }

    /// In which order, and from which end of the trail on.
    pub fn order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The most changes to write; [`ExportSummary::truncated`] says whether there were more.
    pub fn max_rows(self, rows: u64) -> Self {
        Self { max_rows: Some(rows), ..self }
    }

    /// All changes, however many there are.
    pub fn unlimited(self) -> Self {
        Self { max_rows: None, ..self }
    }

    /// Whether cells of a CSV that a spreadsheet would compute are made plain text, as they are by default. The other
    /// formats need no guard and have none.
    ///
    /// A cell is guarded by an apostrophe before it when it begins with `=`, `+`, `-`, `@`, their full-width forms, a tab, CR
    /// or LF, or with apostrophes and then one of those: so the key `-5` is written `'-5`. Whoever wants the exact values
    /// of a guarded file takes one apostrophe off each cell that begins with apostrophes and then one of those characters.
    /// A spreadsheet that is made to split at something else than commas sees other cells, and those are not guarded.
    pub fn formula_guard(self, guard: bool) -> Self {
        Self { formula_guard: guard, ..self }
    }

    /// In which form.
    pub(crate) fn parts(&self) -> (ExportFormat, Order, Option<u64>, bool) {
        (self.format, self.order, self.max_rows, self.formula_guard)
    }
}

impl Trail {
    /// Writes the changes that answer to the filter, in the order of the trail, and says what it wrote.
    ///
    /// Everything is read in one snapshot: the export is the trail at one instant, and what commits while it runs is not in
    /// it. For as long as it runs, that snapshot keeps VACUUM from removing what was deleted since: a slow writer should
    /// write to a file first. Within a transaction of the caller's, that transaction's isolation decides instead.
    ///
    /// Memory stays the same however many changes there are: a few thousand are held at once, fewer where they are large. While
    /// they are written, a thread of its own reads the next ones. A change looks as it does in a timeline, redaction included.
    /// The writer is given large pieces, so it need not buffer.
    ///
    /// ```no_run
    /// use std::fs::{self, File};
    /// # use diesel::prelude::*;
    /// use threadline::{ExportFormat, ExportOptions, Filter, TableName, Trail};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let conn = &mut PgConnection::establish("postgres://localhost/blog")?;
    /// let filter = Filter::new().table(TableName::new(None, "posts"));
    /// let options = ExportOptions::new(ExportFormat::Csv).max_rows(50_000);
    /// let summary = Trail::unscoped().export(conn, &filter, &options, File::create("posts.csv")?)?;
    /// fs::write("posts.csv.manifest.json", serde_json::to_vec_pretty(&summary)?)?;
    /// if summary.truncated {
    ///     println!("there are more changes than {}", summary.rows);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Export`] when the writer fails, and as [`timeline`](Self::timeline). Then the export stops at once; what was
    /// written stays written, and is no whole export.
    pub fn export(
        &self,
        conn: &mut PgConnection,
        filter: &Filter,
        options: &ExportOptions,
        writer: impl io::Write,
    ) -> Result<ExportSummary, Error> {
        self.export_with_progress(conn, filter, options, writer, |_| {})
    }

    /// As [`export`](Self::export), and tells `progress` after each piece how much has been written.
    ///
    /// # Errors
    ///
    /// As [`export`](Self::export).
    pub fn export_with_progress(
        &self,
        conn: &mut PgConnection,
        filter: &Filter,
        options: &ExportOptions,
        writer: impl io::Write,
        mut progress: impl FnMut(ExportProgress),
    ) -> Result<ExportSummary, Error> {
        filter.check()?;
        self.read(conn, Surface::Export, |conn, scope| {
            let question = Question::new(conn, filter, scope)?;
            let summary = ExportSummary::begin(conn, &question, options)?;
            let mut export = Export { options, output: Output::new(writer), summary };
            export.begin()?;
            // One more than may be written says whether there are more.
            let most = options.max_rows.map(|most| most.saturating_add(1));
            in_batches(conn, &question, options.order, most, |batch| {
                let wants_more = export.batch(&batch)?;
                progress(ExportProgress { rows: export.summary.rows, bytes: export.output.bytes() });
                Ok(wants_more)
            })?;
            let summary = export.end()?;
            telemetry::EXPORT_ROWS.add(summary.rows, [options.format.as_str()]);
            Ok(summary)
        })
    }
}

/// How much of an export has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportProgress {
    /// Changes.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
}

/// An export being written.
struct Export<'a, W> {
    options: &'a ExportOptions,
    output: Output<W>,
    summary: ExportSummary,
}

impl<W: io::Write> Export<'_, W> {
    fn begin(&mut self) -> Result<(), Error> {
        match self.options.format {
            ExportFormat::Csv => self.output.write(&csv::header()),
            ExportFormat::Json => self.output.write(&json::document_begins(self.summary.generated_at)),
            ExportFormat::Ndjson => Ok(()),
        }
    }

    /// Writes as many of these changes as may be written, and says whether more are wanted.
    fn batch(&mut self, batch: &Batch) -> Result<bool, Error> {
        let left = self.options.max_rows.map(|most| most - self.summary.rows);
        let fitting = left.map_or(batch.changes.len(), |left| {
            usize::try_from(left).map_or(batch.changes.len(), |left| left.min(batch.changes.len()))
        });
        let changes = &batch.changes[..fitting];
        let text = match self.options.format {
            ExportFormat::Csv => csv::records(changes, &batch.who, self.options.formula_guard),
            ExportFormat::Json => json::entries(changes, &batch.who, self.summary.rows == 0),
            ExportFormat::Ndjson => json::lines(changes, &batch.who),
        };
        self.output.write(&text)?;
        self.summary.add(changes);
        self.summary.truncated = fitting < batch.changes.len();
        Ok(!self.summary.truncated)
    }

    fn end(mut self) -> Result<ExportSummary, Error> {
        if self.options.format == ExportFormat::Json {
            self.output.write(&json::document_ends(self.summary.rows, self.summary.truncated))?;
        }
        let (bytes, sha256) = self.output.finish()?;
        Ok(ExportSummary { bytes, sha256, ..self.summary })
    }
}
