//! What the database remembers of archives, and whether they still have it.

use std::collections::BTreeMap;
use std::io::Read;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::store::{Counted, check, differs, refuse_other_size, sha256_of};
use super::{
    Archive, ArchivedContent, ArchivedKind, ArchivedRows, FORMAT, Manifest, Part, failed, table_name,
};
use crate::error::Error;
use crate::operation::retention::policy::instant_of;
use crate::operation::retention::work::name_of;

/// What an archive has of a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ArchivedMonth {
    /// As the names of its partitions end: `2025_01`.
    pub month: String,
    /// Where it begins; `None` for the beginning of time.
    pub from: Option<DateTime<Utc>>,
    /// Where it ends, exclusive.
    pub to: DateTime<Utc>,
    /// Whether the database has it, too: it never left as a whole, or it is attached for reading.
    pub in_database: bool,
    /// In the order they were archived.
    pub objects: Vec<ArchivedObject>,
}

/// What was archived at once: a month, or what a batch removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ArchivedObject {
    /// Its name in the archive; of a month that of its manifest.
    pub object: String,
    /// What it is.
    pub kind: ArchivedKind,
    /// The run that removed it from the database.
    pub run: Option<i64>,
    /// When it was removed.
    pub archived_at: DateTime<Utc>,
    /// Its rows by table of the trail.
    pub tables: BTreeMap<String, ArchivedRows>,
    /// Of a part; of a month all of its tables and the manifest, over which its digest is.
    #[serde(flatten)]
    pub content: ArchivedContent,
    /// When a part was put back into its month: should it leave again, it is archived anew. `None` while the archive is what has it.
    pub returned_at: Option<DateTime<Utc>>,
}

impl ArchivedObject {
    /// Its rows in all tables.
    pub fn rows(&self) -> u64 {
        self.tables.values().map(|table| table.rows).sum()
    }

    /// What a part has to be.
    pub(super) fn part(&self) -> Part {
        Part { rows: self.rows(), content: self.content.clone() }
    }

    /// What a table's object of a month has to be.
    pub(super) fn table(&self, rows: &ArchivedRows) -> Result<Part, Error> {
        let content = rows.content.clone().ok_or_else(|| differs(&self.object))?;
        Ok(Part { rows: rows.rows, content })
    }

    /// How long a month's manifest is.
    fn manifest_bytes(&self) -> u64 {
        let tables = self.tables.values().filter_map(|table| table.content.as_ref());
        self.content.bytes.saturating_sub(tables.map(|content| content.bytes).sum())
    }
}

impl ArchivedMonth {
    /// What is needed to have the month as it was.
    pub(super) fn needed(&self) -> impl Iterator<Item = &ArchivedObject> {
        self.objects.iter().filter(|object| object.returned_at.is_none())
    }
}

/// A month as the database remembers it.
pub(super) struct Remembered {
    pub(super) label: String,
    pub(super) first_id: Option<Uuid>,
    pub(super) end_id: Uuid,
    /// `attached` for one that has stayed; `leaving`, `restored`, `filled`, `released`; `None` when there are no partitions.
    pub(super) state: Option<String>,
    pub(super) archived: ArchivedMonth,
}

/// What the database remembers of archives, by month, oldest first.
///
/// # Errors
///
/// When the database cannot be asked.
pub fn archives(conn: &mut PgConnection) -> Result<Vec<ArchivedMonth>, Error> {
    Ok(remembered(conn, None)?.into_iter().map(|month| month.archived).collect())
}

/// All months, or the one with this label.
pub(super) fn remembered(conn: &mut PgConnection, label: Option<&str>) -> Result<Vec<Remembered>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        label: String,
        #[diesel(sql_type = diesel::sql_types::Uuid)]
        first_id: Uuid,
        #[diesel(sql_type = diesel::sql_types::Uuid)]
        end_id: Uuid,
        #[diesel(sql_type = Nullable<Text>)]
        state: Option<String>,
        #[diesel(sql_type = Text)]
        objects: String,
    }
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT a.label, a.first_id, a.end_id, coalesce(m.state, CASE WHEN EXISTS (SELECT FROM threadline.partitions() p WHERE p.label = a.label) THEN 'attached' END) AS state, a.objects \
         FROM (SELECT r.label, r.first_id, r.end_id, jsonb_agg(to_jsonb(r) - '{label, first_id, end_id}'::text[] ORDER BY r.archived_at, r.object)::text AS objects \
             FROM threadline.retention_archives r WHERE $1 IS NULL OR r.label = $1 GROUP BY r.label, r.first_id, r.end_id) a \
         LEFT JOIN threadline.retention_months m ON m.label = a.label ORDER BY a.first_id, a.label",
    )
    .bind::<Nullable<Text>, _>(label)
    .load(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    rows.into_iter()
        .map(|row| {
            let first_id = Some(row.first_id).filter(|id| !id.is_nil());
            let archived = ArchivedMonth {
                month: name_of(&row.label),
                from: first_id.map(instant_of),
                to: instant_of(row.end_id),
                in_database: row.state.is_some(),
                objects: serde_json::from_str(&row.objects).map_err(Error::Payload)?,
            };
            Ok(Remembered { label: row.label, first_id, end_id: row.end_id, state: row.state, archived })
        })
        .collect()
}

/// Reads all objects of a month, those that were put back, too, and compares them with what the database remembers.
///
/// # Errors
///
/// [`Error::ArchiveUnsound`] for the first object that is another than what was written; [`Error::Archive`] for one that cannot be
/// read, or is not there.
pub fn verify_archive(archive: &mut dyn Archive, month: &ArchivedMonth) -> Result<(), Error> {
    verify_objects(archive, month, month.objects.iter(), &mut Err)
}

/// As [`verify_archive`], and goes on after each object that is not as it was written, as long as `found`, which is told of it,
/// says so.
///
/// # Errors
///
/// That of `found`.
pub fn verify_archive_with(
    archive: &mut dyn Archive,
    month: &ArchivedMonth,
    found: &mut dyn FnMut(Error) -> Result<(), Error>,
) -> Result<(), Error> {
    verify_objects(archive, month, month.objects.iter(), found)
}

fn verify_objects<'a>(
    archive: &mut dyn Archive,
    month: &ArchivedMonth,
    objects: impl Iterator<Item = &'a ArchivedObject>,
    found: &mut dyn FnMut(Error) -> Result<(), Error>,
) -> Result<(), Error> {
    for object in objects {
        match object.kind {
            ArchivedKind::Month => {
                read_manifest(archive, month, object).map(drop).or_else(&mut *found)?;
                for (table, rows) in &object.tables {
                    let checked = object
                        .table(rows)
                        .and_then(|part| check(archive, &table_name(&object.object, table), &part));
                    checked.or_else(&mut *found)?;
                }
            }
            ArchivedKind::Part => {
                check(archive, &object.object, &object.part()).or_else(&mut *found)?;
            }
        }
    }
    Ok(())
}

/// As [`verify_archive`], of a month by its label, if anything of it was archived; of what was archived anew only the newer.
pub(in crate::operation::retention) fn verify(
    conn: &mut PgConnection,
    archive: &mut dyn Archive,
    label: &str,
) -> Result<(), Error> {
    match remembered(conn, Some(label))?.pop() {
        Some(Remembered { archived: month, .. }) if month.needed().next().is_some() => {
            verify_objects(archive, &month, month.needed(), &mut Err)
        }
        Some(month) => verify_archive(archive, &month.archived),
        None => Ok(()),
    }
}

/// The manifest of a month, which is the one that was written.
pub(super) fn read_manifest(
    archive: &mut dyn Archive,
    month: &ArchivedMonth,
    object: &ArchivedObject,
) -> Result<Manifest, Error> {
    let name = &object.object;
    let bytes = object.manifest_bytes();
    refuse_other_size(archive, name, bytes)?;
    let mut text = Vec::new();
    archive
        .open(name)
        .and_then(|reader| Counted::new(reader, Some(bytes)).read_to_end(&mut text))
        .map_err(failed(name))?;
    let unsound = |problem: &str| Error::ArchiveUnsound { object: name.clone(), problem: problem.to_owned() };
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|_| unsound("is no manifest of this library's"))?;
    if manifest.format != FORMAT || manifest.month != month.month {
        return Err(unsound("is of another month or another format"));
    }
    if sha256_of(&text) != object.content.sha256 {
        return Err(unsound(
            "is not the manifest that was written: the database remembers another digest; find the one that has it",
        ));
    }
    Ok(manifest)
}
