//! Months and parts of months in an archive: written before they leave, read back to be sure, there again for reading.

mod local;
pub(super) mod part;
mod records;
mod restore;
mod store;
mod write;

use std::collections::BTreeMap;
use std::io::{self, Read};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::local::LocalArchive;
pub(super) use self::records::verify;
pub use self::records::{ArchivedMonth, ArchivedObject, archives, verify_archive, verify_archive_with};
pub use self::restore::{Release, RestoredMonth, release_archive, restore_archive};
pub(super) use self::write::write;
use crate::error::Error;

/// Where months are kept after they have left the database: named objects, each written once and whole.
///
/// A month `2025_01` is seven of them: `2025_01/<attempt>/<table>.ndjson.gz` for each of the six tables, one JSON object a line in
/// the order they were stored, gzip; and `2025_01/<attempt>/manifest.json`, written last. What leaves a month that stays is
/// `2025_01/part_<run>_<number>_<attempt>.ndjson.gz`, an object for each batch, whose lines are `{"<table>": <row>}`. Each attempt
/// at writing has a random UUID in its names: no two databases ever choose one name, a copy of this one neither, so several may
/// share an archive. The database has names, counts and digests of what is its own ([`archives`]); an object that no database
/// knows is what a run that failed left behind, and is not needed. Names are of ASCII letters, digits, `_`, `.` and `/`.
pub trait Archive {
    /// Stores what `content` yields until its end under `name`: all of it durably, or, when this fails, nothing. What is there
    /// already is never replaced: it may be all that is left of somebody's rows.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] when there is an object of that name; those of `content`, and its own.
    fn store(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()>;

    /// Reads what is stored under `name`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when there is no such object, and its own.
    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + '_>>;

    /// How many bytes are stored under `name`; `None`, as here, where that cannot be told without reading them. What has another
    /// length than what was written is not read then; without it, reading ends where it becomes too much.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    fn size(&mut self, name: &str) -> io::Result<Option<u64>> {
        let _ = name;
        Ok(None)
    }
}

/// Rows by table.
pub(super) type Counts = BTreeMap<String, u64>;

/// What is archived of a partition: the whole of it, or what a batch removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ArchivedKind {
    /// The six tables of a month that left as a whole; the object is their manifest.
    Month,
    /// What a batch removed.
    Part,
}

/// A table's rows in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ArchivedRows {
    /// How many.
    pub rows: u64,
    /// The table's object, of a month; a part has all tables in one.
    #[serde(flatten)]
    pub content: Option<ArchivedContent>,
}

/// What an object of lines is, and how much of it there is: no more is ever read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ArchivedContent {
    /// Over its lines before compression, in hexadecimal.
    pub sha256: String,
    /// What it takes in the archive, in bytes.
    pub bytes: u64,
    /// Its lines before compression, in bytes.
    pub text_bytes: u64,
    /// The longest of them, in bytes, without its line feed.
    pub longest_line: u64,
}

/// What has been written and read back, as the database is to remember it with the removal.
#[derive(Debug, Serialize)]
pub(super) struct Archived {
    object: String,
    kind: ArchivedKind,
    tables: BTreeMap<String, ArchivedRows>,
    /// Of a month with its manifest, over which its digest is.
    #[serde(flatten)]
    content: ArchivedContent,
}

impl Archived {
    /// As `note_archive` takes it.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("it always serializes")
    }

    pub(super) fn object(&self) -> &str {
        &self.object
    }

    /// How many rows each table has there.
    pub(super) fn counts(&self) -> Counts {
        self.tables.iter().map(|(name, part)| (name.clone(), part.rows)).collect()
    }
}

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

/// An object of lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    rows: u64,
    #[serde(flatten)]
    content: ArchivedContent,
}

const FORMAT: u32 = 1;

/// What a transaction sets so that a row is the same text when it is archived and when it is put back.
const PINNED_OUTPUT: &str = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; SET LOCAL jit = off";

/// Of a new attempt, which nobody has named anything by.
fn manifest_name(month: &str) -> String {
    format!("{month}/{}/manifest.json", Uuid::new_v4().simple())
}

/// The object of a table, beside its manifest.
fn table_name(manifest: &str, table: &str) -> String {
    let beside = manifest.rsplit_once('/').map_or("", |(beside, _)| beside);
    format!("{beside}/{table}.ndjson.gz")
}

fn failed(object: &str) -> impl FnOnce(io::Error) -> Error {
    let object = object.to_owned();
    move |error| match error.kind() {
        // It could be read, and is no file of ours.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            match error.get_ref().and_then(|error| error.downcast_ref::<store::Unlike>()) {
                Some(unlike) => Error::ArchiveUnsound { problem: unlike.to_string(), object },
                None => store::differs(&object),
            }
        }
        _ => Error::Archive { object, error },
    }
}
