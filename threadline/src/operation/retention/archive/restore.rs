//! An archived month, attached again for reading.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Uuid as SqlUuid};
use serde::Serialize;

use super::{Archive, FORMAT, Manifest, Part, failed, manifest_name, open_lines, part_name};
use crate::capture::quote_ident;
use crate::error::Error;
use crate::operation::partitions;
use crate::operation::retention::RetentionPolicy;
use crate::operation::retention::month::{self, Left};
use crate::operation::retention::policy::instant_of;
use crate::operation::retention::run::{Work, is_lock_timeout, refuse_in_transaction};

/// How many lines are written at a time.
const PAGE_LINES: usize = 1_000;

/// A month that is attached from an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RestoredMonth {
    /// As the names of its partitions end: `2025_01`.
    pub month: String,
    /// Where it begins; `None` for the beginning of time.
    pub from: Option<DateTime<Utc>>,
    /// Where it ends, exclusive.
    pub to: DateTime<Utc>,
    /// When it was archived.
    pub archived_at: DateTime<Utc>,
    /// How many changes it has.
    pub changes: u64,
}

/// Attaches an archived month again, for reading: all reads find it, and the past is known back to it when no later month is
/// missing. Retention leaves it alone until [`release_archive`].
///
/// All or nothing, in one transaction; the tables of the trail are locked for the moment of attaching alone. Not inside an open
/// transaction.
///
/// # Errors
///
/// [`Error::ArchiveUnsound`] when count or digest of a table are not those of the manifest; [`Error::Archive`] when the archive
/// cannot be read; [`Error::Refused`] when there are partitions for its time already, or `month` is no month; others of the
/// database.
pub fn restore_archive(
    conn: &mut PgConnection,
    archive: &mut dyn Archive,
    month: &str,
) -> Result<RestoredMonth, Error> {
    refuse_in_transaction(conn)?;
    if month.is_empty()
        || !month.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        || month.len() > 40
    {
        return Err(Error::Refused {
            message: format!("`{}` is not the name of a month", month.escape_default()),
            hint: Some("give it as the archive has it, such as `2025_01`".to_owned()),
        });
    }
    let manifest = read_manifest(archive, month)?;
    let result = in_transaction(conn, |conn| {
        refuse_overlap(conn, &manifest)?;
        for (table, part) in &manifest.tables {
            load(conn, archive, month, table, part)?;
        }
        attach(conn, &manifest)
    });
    result?;
    // For what lies between it and the trail.
    let _ = partitions::maintain(conn, &partitions::MaintainOptions::default());
    Ok(RestoredMonth {
        month: manifest.month,
        from: manifest.first_id.map(instant_of),
        to: instant_of(manifest.end_id),
        archived_at: manifest.archived_at,
        changes: manifest.tables.get("audit_changes").map_or(0, |part| part.rows),
    })
}

/// Lets a month go again that was attached from an archive, and returns what the disk got back; `None` when transactions are
/// open that may still read it: then call it again, or leave it to the next run of retention.
///
/// # Errors
///
/// [`Error::Refused`] when no such month is attached; others of the database.
pub fn release_archive(conn: &mut PgConnection, month: &str) -> Result<Option<u64>, Error> {
    #[derive(QueryableByName)]
    struct Released {
        #[diesel(sql_type = Text)]
        label: String,
    }
    refuse_in_transaction(conn)?;
    let policy = RetentionPolicy::new();
    let work = Work { run: None, policy: &policy, cutoffs: policy.resolve(conn)? };
    let released: Option<Released> = work.in_time(conn, |conn| {
        diesel::sql_query(
            "WITH released AS (UPDATE threadline.retention_months SET state = 'released', since = clock_timestamp() \
             WHERE label = '_' || $1 AND state IN ('restored', 'released') RETURNING label, first_id), \
             purged AS (UPDATE threadline.retention_purges p SET restored = false FROM released r WHERE p.first_id = r.first_id AND p.kind = 'dropped') \
             SELECT label FROM released",
        )
        .bind::<Text, _>(month)
        .get_result(conn)
        .optional()
    })?;
    let Some(Released { label }) = released else {
        return Err(Error::Refused {
            message: format!("month `{}` is not attached from an archive", month.escape_default()),
            hint: Some("list the partitions to see which are".to_owned()),
        });
    };
    let left = month::remove(&work, conn, &label, None)?;
    let _ = partitions::maintain(conn, &partitions::MaintainOptions::default());
    Ok(match left {
        Left::Dropped { bytes } => Some(bytes),
        Left::Postponed | Left::Stays => None,
    })
}

fn read_manifest(archive: &mut dyn Archive, month: &str) -> Result<Manifest, Error> {
    let object = manifest_name(month);
    let mut text = Vec::new();
    // As long as no manifest is, so that something else does not fill the memory.
    archive
        .open(&object)
        .and_then(|reader| reader.take(1 << 20).read_to_end(&mut text))
        .map_err(failed(&object))?;
    let unsound =
        |problem: &str| Error::ArchiveUnsound { object: object.clone(), problem: problem.to_owned() };
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|_| unsound("is no manifest of this library's"))?;
    if manifest.format != FORMAT || manifest.month != month || manifest.first_id >= Some(manifest.end_id) {
        return Err(unsound("is of another month or another format"));
    }
    Ok(manifest)
}

fn refuse_overlap(conn: &mut PgConnection, manifest: &Manifest) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct There {
        #[diesel(sql_type = Bool)]
        there: bool,
        /// Partitions that fill its gap and have rows by now.
        #[diesel(sql_type = Nullable<Text>)]
        fillers: Option<String>,
        #[diesel(sql_type = BigInt)]
        filler_rows: i64,
    }
    #[derive(QueryableByName)]
    struct Tables {
        #[diesel(sql_type = Array<Text>)]
        tables: Vec<String>,
    }
    let Tables { tables } = diesel::sql_query(
        "SELECT array_agg(t ORDER BY t) AS tables FROM unnest(threadline.trail_tables()) t",
    )
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    if !manifest.tables.keys().eq(tables.iter()) {
        return Err(Error::ArchiveUnsound {
            object: manifest_name(&manifest.month),
            problem: "does not have the six tables of the trail".to_owned(),
        });
    }
    let There { there, fillers, filler_rows } = diesel::sql_query(
        "WITH other AS (SELECT p.label, p.filler, CASE WHEN p.filler THEN \
             (SELECT sum(n.value::bigint) FROM jsonb_each_text(threadline.month_counts(p.label)) n) END AS row_count \
             FROM threadline.partitions() p WHERE p.label = $1 OR ((p.first_id IS NULL OR p.first_id < $3) \
             AND (p.end_id IS NULL OR $2 IS NULL OR p.end_id > $2) AND NOT ($2 IS NULL AND p.end_id IS NULL AND p.first_id >= $3))) \
         SELECT coalesce(bool_or(NOT o.filler OR o.label = $1), false) OR to_regclass('threadline.audit_changes' || $1) IS NOT NULL AS there, \
             string_agg('`audit_changes' || o.label || '`', ', ' ORDER BY o.label) FILTER (WHERE o.row_count > 0) AS fillers, \
             coalesce(sum(o.row_count), 0)::bigint AS filler_rows FROM other o",
    )
    .bind::<Text, _>(format!("_{}", manifest.month))
    .bind::<Nullable<SqlUuid>, _>(manifest.first_id)
    .bind::<SqlUuid, _>(manifest.end_id)
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    if there {
        return Err(Error::Refused {
            message: format!("there are partitions for month `{}` already", manifest.month),
            hint: Some("the trail has it, or part of it, without the archive".to_owned()),
        });
    }
    if let Some(fillers) = fillers {
        return Err(Error::Refused {
            message: format!(
                "rows ({filler_rows} in all six tables) lie where month `{}` goes, in {fillers}: they were written after it had left, \
                 by a clock that was set back",
                manifest.month
            ),
            hint: Some(
                "export them if they are to be kept, have retention take them, which are as old as the month, then restore it again"
                    .to_owned(),
            ),
        });
    }
    Ok(())
}

/// A table's rows into a table of their own.
fn load(
    conn: &mut PgConnection,
    archive: &mut dyn Archive,
    month: &str,
    table: &str,
    part: &Part,
) -> Result<(), Error> {
    let object = part_name(month, table);
    let relation = format!("threadline.{}", quote_ident(&format!("{table}_{month}")));
    conn.batch_execute(&format!(
        "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; SET LOCAL jit = off; \
         CREATE TABLE {relation} (LIKE threadline.{} INCLUDING ALL)",
        quote_ident(table)
    ))
    .map_err(|error| Error::from_query(conn, "", error))?;
    let mut lines = BufReader::new(open_lines(archive, &object)?);
    let mut page = Vec::with_capacity(PAGE_LINES);
    loop {
        let mut line = String::new();
        let at_end = lines.read_line(&mut line).map_err(failed(&object))? == 0;
        if !at_end {
            page.push(line);
        }
        if page.len() == PAGE_LINES || (at_end && !page.is_empty()) {
            diesel::sql_query(format!(
                "INSERT INTO {relation} SELECT r.* FROM unnest($1) l (line) CROSS JOIN LATERAL json_populate_record(NULL::{relation}, l.line::json) r"
            ))
            .bind::<Array<Text>, _>(&page)
            .execute(conn)
            // A line is a row: what the database says of it stays out of messages.
            .map_err(|_| differs(&object))?;
            page.clear();
        }
        if at_end {
            break;
        }
    }
    if lines.into_inner().part() != *part {
        return Err(differs(&object));
    }
    Ok(())
}

fn differs(object: &str) -> Error {
    Error::ArchiveUnsound {
        object: object.to_owned(),
        problem: "does not have the rows its manifest says; nothing was attached".to_owned(),
    }
}

fn attach(conn: &mut PgConnection, manifest: &Manifest) -> Result<(), Error> {
    let mut attempt = 0_u32;
    loop {
        // A savepoint: what it has locked is free again when it gives up.
        let result = conn.transaction(|conn| {
            conn.batch_execute("SET LOCAL lock_timeout = '500ms'")?;
            diesel::sql_query("SELECT threadline.attach_month($1, $2, $3)")
                .bind::<Text, _>(format!("_{}", manifest.month))
                .bind::<Nullable<SqlUuid>, _>(manifest.first_id)
                .bind::<SqlUuid, _>(manifest.end_id)
                .execute(conn)
        });
        match result {
            Err(error) if is_lock_timeout(&error) && attempt < 6 => {
                std::thread::sleep(Duration::from_millis(100) * 2_u32.pow(attempt));
                attempt += 1;
            }
            result => return result.map(drop).map_err(|error| Error::from_query(conn, "", error)),
        }
    }
}

/// `body` in one transaction, with our own error kept.
fn in_transaction(
    conn: &mut PgConnection,
    body: impl FnOnce(&mut PgConnection) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut failure = None;
    let result = conn.transaction(|conn| {
        body(conn).map_err(|error| {
            failure = Some(error);
            diesel::result::Error::RollbackTransaction
        })
    });
    match (failure, result) {
        (Some(error), _) => Err(error),
        (None, result) => result.map_err(|error| Error::from_query(conn, "", error)),
    }
}
