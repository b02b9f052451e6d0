//! Months in an archive: written before they leave, read back to be sure, attached again for reading.

mod local;
mod restore;
mod write;

use std::collections::BTreeMap;
use std::io::{self, Read};

use chrono::{DateTime, Utc};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use self::local::LocalArchive;
pub use self::restore::{RestoredMonth, release_archive, restore_archive};
pub(super) use self::write::write;
use crate::error::Error;

/// Where months are kept after they have left the database: named objects, each written once and whole.
///
/// A month `2025_01` is seven of them: `2025_01/<table>.ndjson.gz` for each of the six tables, one JSON object a line in the
/// order they were stored, gzip; and `2025_01/manifest.json`, written last. Names are of ASCII letters, digits, `_`, `.` and `/`.
pub trait Archive {
    /// Stores what `content` yields until its end under `name`, in the place of what is there: all of it durably, or, when this
    /// fails, nothing.
    ///
    /// # Errors
    ///
    /// Those of `content`, and its own.
    fn store(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()>;

    /// Reads what is stored under `name`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when there is no such object, and its own.
    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + '_>>;
}

/// Rows by table.
pub(super) type Counts = BTreeMap<String, u64>;

/// What an archived month consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Of this shape.
    format: u32,
    month: String,
    /// Inclusive; `None` for the lowest id there is.
    first_id: Option<Uuid>,
    /// Exclusive.
    end_id: Uuid,
    archived_at: DateTime<Utc>,
    tables: BTreeMap<String, Part>,
}

/// One table's rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    rows: u64,
    /// Over the lines before compression, in hexadecimal.
    sha256: String,
}

const FORMAT: u32 = 1;

fn manifest_name(month: &str) -> String {
    format!("{month}/manifest.json")
}

fn part_name(month: &str, table: &str) -> String {
    format!("{month}/{table}.ndjson.gz")
}

fn failed(object: &str) -> impl FnOnce(io::Error) -> Error {
    let object = object.to_owned();
    move |error| Error::Archive { object, error }
}

/// Reads lines, and counts and digests them on the way.
struct Lines<R> {
    source: R,
    rows: u64,
    digest: Sha256,
}

impl<R: Read> Lines<R> {
    fn new(source: R) -> Self {
        Self { source, rows: 0, digest: Sha256::new() }
    }

    /// What was read.
    fn part(self) -> Part {
        let sha256 = self.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Part { rows: self.rows, sha256 }
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.rows += buffer[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

fn open_lines<'a>(
    archive: &'a mut dyn Archive,
    object: &str,
) -> Result<Lines<MultiGzDecoder<Box<dyn Read + 'a>>>, Error> {
    archive.open(object).map(|source| Lines::new(MultiGzDecoder::new(source))).map_err(failed(object))
}
