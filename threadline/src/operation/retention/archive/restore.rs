//! What an archive has of a month, there again for reading.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::DatabaseErrorKind;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Uuid as SqlUuid};
use serde::Serialize;

use super::records::{Remembered, read_manifest, remembered, verify};
use super::store::open_lines;
use super::{Archive, ArchivedKind, ArchivedObject, PINNED_OUTPUT, Part, failed, table_name};
use crate::capture::{quote_ident, quote_literal};
use crate::error::Error;
use crate::operation::partitions;
use crate::operation::retention::RetentionPolicy;
use crate::operation::retention::month::{self, Left};
use crate::operation::retention::work::{Work, is_lock_timeout, name_of, refuse_in_transaction};

/// How many lines are written at a time.
const PAGE_LINES: usize = 1_000;

/// Or how many bytes of lines, and one line.
const PAGE_BYTES: usize = 4 << 20;

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

/// Brings back what an archive has of a month, for reading. A month that has left is attached again, with the parts that had left
/// it before; into one that has stayed, what had left it is put back. All reads find it, and the past is known back to it when
/// no later month is missing, and nothing has gone that no archive has. Retention leaves the month alone until
/// [`release_archive`].
///
/// Every object has to have count and digest that the database remembers. All or nothing, in one transaction; the tables of the
/// trail are locked for the moment of attaching alone. Not inside an open transaction.
///
/// # Errors
///
/// [`Error::ArchiveUnsound`] when an object is not what was written; [`Error::Archive`] when the archive cannot be read;
/// [`Error::Refused`] when the month is there already, another restore or retention is at work on it, nothing of it was archived, or
/// `month` is no month (`2025_01` or `2025-01`); others of the database.
pub fn restore_archive(
    conn: &mut PgConnection,
    archive: &mut dyn Archive,
    month: &str,
) -> Result<RestoredMonth, Error> {
    refuse_in_transaction(conn)?;
    let label = label_of(month)?;
    let month = in_transaction(conn, |conn| {
        // Whoever had the month until it was taken has committed, and is seen.
        conn.batch_execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")?;
        conn.batch_execute(PINNED_OUTPUT)?;
        take(conn, &label)?;
        restore(conn, archive, &label)
    })?;
    // For what lies between it and the trail.
    let _ = partitions::maintain(conn, &partitions::MaintainOptions::default());
    let changes = |object: &ArchivedObject| object.tables.get("audit_changes").map_or(0, |table| table.rows);
    Ok(RestoredMonth {
        changes: month.archived.needed().map(changes).sum(),
        archived_at: month.archived.needed().map(|object| object.archived_at).max().unwrap_or_default(),
        month: month.archived.month,
        from: month.archived.from,
        to: month.archived.to,
    })
}

/// Takes the month for this transaction, unless another has it.
fn try_take(conn: &mut PgConnection, label: &str) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Taken {
        #[diesel(sql_type = Bool)]
        taken: bool,
    }
    diesel::sql_query("SELECT threadline.take_month($1) AS taken")
        .bind::<Text, _>(label)
        .get_result(conn)
        .map(|Taken { taken }| taken)
}

/// As [`try_take`], for restoring it.
fn take(conn: &mut PgConnection, label: &str) -> Result<(), Error> {
    if try_take(conn, label)? {
        return Ok(());
    }
    Err(Error::Refused {
        message: format!(
            "month `{}` is being restored by another session, or a run of retention is at work on it; nothing was changed",
            name_of(label)
        ),
        hint: Some(
            "wait for that to end; the list of partitions says whether the month is there then".to_owned(),
        ),
    })
}

fn restore(conn: &mut PgConnection, archive: &mut dyn Archive, label: &str) -> Result<Remembered, Error> {
    let Some(month) = remembered(conn, Some(label))?.pop() else {
        refuse_other_than_month(label)?;
        return Err(Error::Refused {
            message: format!("nothing of month `{}` is known to be in an archive", name_of(label)),
            hint: Some("list the archives to see of which months something is".to_owned()),
        });
    };
    let is_attached = match month.state.as_deref() {
        None => false,
        Some("attached") if month.archived.needed().next().is_some() => true,
        Some(state) => {
            let (why, hint) = match state {
                "restored" | "filled" => ("is restored already", "release it when it is not needed any more"),
                "leaving" | "released" => ("is there already, on its way out", "restore it once it has gone"),
                _ => ("is there already", "the trail has it without the archive"),
            };
            return Err(Error::Refused {
                message: format!("month `{}` {why}", month.archived.month),
                hint: Some(hint.to_owned()),
            });
        }
    };
    // More than one where a clock was set back, and rows of the month left again.
    for object in month.archived.needed().filter(|object| object.kind == ArchivedKind::Month) {
        read_manifest(archive, &month.archived, object)?;
    }
    if !is_attached {
        refuse_overlap(conn, &month)?;
        create(conn, &month.label)?;
    }
    for object in month.archived.needed() {
        load(conn, archive, &month, object)?;
    }
    if is_attached { fill(conn, &month) } else { attach(conn, &month) }?;
    Ok(month)
}

/// What became of a month that was released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum Release {
    /// It is gone.
    Gone {
        /// What the disk got back.
        bytes: u64,
    },
    /// Transactions are open that may still read it: release it again, or leave it to the next run of retention.
    Waiting,
    /// It had stayed, and parts were put back into it. Nothing has gone: what is due of it goes by the next run of retention, and is
    /// archived anew if that has an archive.
    LeftToRetention {
        /// How many changes the month has, those that were put back among them.
        changes: u64,
        /// How many of these stay, whatever their age: a hold is on one of what their transaction did to their table.
        held_changes: u64,
        /// The holds that anything in the month is under, by number.
        holds: Vec<i64>,
    },
}

/// Lets a month go again that was restored from an archive. One that had stayed, and that parts were put back into, is left to
/// retention, which goes by its windows as before.
///
/// All that the archive has of the month is read first, and compared with what the database remembers: what is here is not let
/// go for an archive that has lost it.
///
/// # Errors
///
/// [`Error::Refused`] when the month was not restored, or was released before, another session restores it or lets it go, or something
/// in it is held, naming the hold; [`Error::ArchiveUnsound`] and
/// [`Error::Archive`] when the archive does not have it any more; then it stays. Others of the database.
pub fn release_archive(
    conn: &mut PgConnection,
    archive: &mut dyn Archive,
    month: &str,
) -> Result<Release, Error> {
    #[derive(QueryableByName)]
    struct Released {
        #[diesel(sql_type = Text)]
        released: String,
    }
    #[derive(QueryableByName)]
    struct Filled {
        #[diesel(sql_type = BigInt)]
        changes: i64,
        #[diesel(sql_type = BigInt)]
        held_changes: i64,
        #[diesel(sql_type = Array<BigInt>)]
        holds: Vec<i64>,
    }
    refuse_in_transaction(conn)?;
    let label = label_of(month)?;
    let policy = RetentionPolicy::new();
    let work = Work::outside(&policy, policy.resolve(conn)?);
    verify(conn, archive, &label)?;
    let filled: Option<Filled> = work.whole(conn, |conn| {
        if !try_take(conn, &label)? {
            return Err(busy(&label));
        }
        Ok(diesel::sql_query(
            "WITH filled AS (DELETE FROM threadline.retention_months m WHERE m.label = $1 AND m.state = 'filled' RETURNING m.label) \
             SELECT h.changes, h.held_changes, h.holds FROM filled f CROSS JOIN LATERAL threadline.held_in(f.label) h",
        )
        .bind::<Text, _>(&label)
        .get_result(conn)
        .optional()?)
    })?;
    if let Some(Filled { changes, held_changes, holds }) = filled {
        // What was put back is part of a month of the trail, and goes as it went.
        let (changes, held_changes) = (changes.unsigned_abs(), held_changes.unsigned_abs());
        return Ok(Release::LeftToRetention { changes, held_changes, holds });
    }
    let Released { released } = work.in_time(conn, |conn| {
        diesel::sql_query("SELECT threadline.retention_release($1) AS released")
            .bind::<Text, _>(&label)
            .get_result(conn)
    })?;
    match released.as_str() {
        "released" => {}
        "taken" => return Err(busy(&label)),
        _ => return Err(not_restored(conn, &label)?),
    }
    let left = month::remove_released(&work, conn, &label)?;
    let _ = partitions::maintain(conn, &partitions::MaintainOptions::default());
    match left {
        Left::Dropped { bytes } => Ok(Release::Gone { bytes }),
        Left::Postponed => Ok(Release::Waiting),
        Left::Taken => Err(busy(&label)),
        Left::Gone => Err(Error::Refused {
            message: format!(
                "month `{}` was released by another session meanwhile, and is gone",
                name_of(&label)
            ),
            hint: None,
        }),
        Left::Stays => Err(Error::Refused {
            message: format!("month `{}` came under a hold meanwhile, and stays", name_of(&label)),
            hint: Some("release the hold first".to_owned()),
        }),
    }
}

/// Of a month that another session has at this moment.
fn busy(label: &str) -> Error {
    Error::Refused {
        message: format!(
            "month `{}` is being restored or removed by another session; nothing was changed",
            name_of(label)
        ),
        hint: Some(
            "wait for that to end; the list of partitions says whether the month is there then".to_owned(),
        ),
    }
}

/// Of a month that cannot be let go, because it is not there from an archive: not any more, as far as that can be told.
fn not_restored(conn: &mut PgConnection, label: &str) -> Result<Error, Error> {
    let month = name_of(label);
    let refused = |message, hint: &str| Error::Refused { message, hint: Some(hint.to_owned()) };
    Ok(match remembered(conn, Some(label))?.pop() {
        Some(Remembered { state: None, .. }) => refused(
            format!(
                "month `{month}` is in the archive alone: it was released before, or has not been restored"
            ),
            "there is nothing left to release",
        ),
        Some(Remembered { state: Some(state), archived, .. })
            if state == "attached" && archived.needed().next().is_none() =>
        {
            refused(
                format!("month `{month}` was released before"),
                "what is due of it goes by the next run of retention",
            )
        }
        _ => {
            refuse_other_than_month(label)?;
            refused(
                format!("month `{month}` was not restored from an archive"),
                "list the partitions to see which are",
            )
        }
    })
}

/// What the names of the month's partitions end in.
fn label_of(month: &str) -> Result<String, Error> {
    let is_dashed = month.len() == 7
        && month
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 { byte == b'-' } else { byte.is_ascii_digit() });
    let name = if is_dashed { month.replace('-', "_") } else { month.to_owned() };
    if name.is_empty()
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        || name.len() > 40
    {
        return Err(Error::Refused {
            message: format!("`{}` is not a month such as `2025-01`", month.escape_default()),
            hint: None,
        });
    }
    Ok(format!("_{name}"))
}

/// Of what is not known: partitions for a clock that was set back have names of other shapes.
fn refuse_other_than_month(label: &str) -> Result<(), Error> {
    let name = name_of(label);
    let is_month = name.split_once('_').is_some_and(|(year, month)| {
        year.len() == 4
            && year.bytes().all(|byte| byte.is_ascii_digit())
            && month.len() == 2
            && month.parse::<u8>().is_ok_and(|month| (1..=12).contains(&month))
    });
    if is_month {
        return Ok(());
    }
    Err(Error::Refused { message: format!("`{name}` is not a month such as `2025-01`"), hint: None })
}

fn relation(table: &str, label: &str) -> String {
    format!("threadline.{}", quote_ident(&format!("{table}{label}")))
}

fn refuse_overlap(conn: &mut PgConnection, month: &Remembered) -> Result<(), Error> {
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
    let There { there, fillers, filler_rows } = diesel::sql_query(
        "WITH other AS (SELECT p.label, p.filler, CASE WHEN p.filler THEN \
             (SELECT sum(n.value::bigint) FROM jsonb_each_text(threadline.month_counts(p.label)) n) END AS row_count \
             FROM threadline.partitions() p WHERE p.label = $1 OR ((p.first_id IS NULL OR p.first_id < $3) \
             AND (p.end_id IS NULL OR $2 IS NULL OR p.end_id > $2) AND NOT ($2 IS NULL AND p.end_id IS NULL AND p.first_id >= $3))) \
         SELECT coalesce(bool_or(NOT o.filler OR o.label = $1), false) OR to_regclass('threadline.audit_changes' || $1) IS NOT NULL AS there, \
             string_agg('`audit_changes' || o.label || '`', ', ' ORDER BY o.label) FILTER (WHERE o.row_count > 0) AS fillers, \
             coalesce(sum(o.row_count), 0)::bigint AS filler_rows FROM other o",
    )
    .bind::<Text, _>(&month.label)
    .bind::<Nullable<SqlUuid>, _>(month.first_id)
    .bind::<SqlUuid, _>(month.end_id)
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    if there {
        return Err(Error::Refused {
            message: format!("there are partitions for month `{}` already", month.archived.month),
            hint: Some("the trail has it, or part of it, without the archive".to_owned()),
        });
    }
    if let Some(fillers) = fillers {
        return Err(Error::Refused {
            message: format!(
                "rows ({filler_rows} in all six tables) lie where month `{}` goes, in {fillers}: they were written after it had left, \
                 by a clock that was set back",
                month.archived.month
            ),
            hint: Some(
                "export them if they are to be kept, have retention take them, which are as old as the month, then restore it again"
                    .to_owned(),
            ),
        });
    }
    Ok(())
}

/// The six tables, for rows of theirs.
fn create(conn: &mut PgConnection, label: &str) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Table {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let tables: Vec<Table> = diesel::sql_query("SELECT unnest(threadline.trail_tables()) AS name")
        .load(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    for Table { name } in tables {
        conn.batch_execute(&format!(
            "CREATE TABLE {} (LIKE threadline.{} INCLUDING ALL)",
            relation(&name, label),
            quote_ident(&name)
        ))
        .map_err(|error| Error::from_query(conn, "", error))?;
    }
    Ok(())
}

/// The rows of an object into the month's tables.
fn load(
    conn: &mut PgConnection,
    archive: &mut dyn Archive,
    month: &Remembered,
    object: &ArchivedObject,
) -> Result<(), Error> {
    match object.kind {
        ArchivedKind::Month => {
            for (table, rows) in &object.tables {
                let part = object.table(rows)?;
                let insert = [insert(&relation(table, &month.label), "l.line::json", "true")];
                load_lines(conn, archive, &table_name(&object.object, table), &part, &insert)?;
            }
            Ok(())
        }
        ArchivedKind::Part => {
            let part = object.part();
            let tables = object.tables.keys().map(|table| {
                let row = format!("l.line::json -> {}", quote_literal(table));
                insert(&relation(table, &month.label), &row, &format!("({row}) IS NOT NULL"))
            });
            load_lines(conn, archive, &object.object, &part, &tables.collect::<Vec<_>>())
        }
    }
}

/// The statement that writes a page of lines, as its first value, of which `row` is the row.
fn insert(relation: &str, row: &str, condition: &str) -> String {
    format!(
        "INSERT INTO {relation} SELECT r.* FROM unnest($1) l (line) CROSS JOIN LATERAL json_populate_record(NULL::{relation}, {row}) r WHERE {condition}"
    )
}

fn load_lines(
    conn: &mut PgConnection,
    archive: &mut dyn Archive,
    object: &str,
    part: &Part,
    inserts: &[String],
) -> Result<(), Error> {
    let mut lines = BufReader::new(open_lines(archive, object, part)?);
    let mut page = Vec::with_capacity(PAGE_LINES);
    let (mut page_bytes, mut written) = (0, 0);
    loop {
        let mut line = String::new();
        let at_end = lines.read_line(&mut line).map_err(failed(object))? == 0;
        if !at_end {
            page_bytes += line.len();
            page.push(line);
        }
        let is_full = page.len() == PAGE_LINES || page_bytes >= PAGE_BYTES;
        if is_full || (at_end && !page.is_empty()) {
            for insert in inserts {
                written += diesel::sql_query(insert)
                    .bind::<Array<Text>, _>(&page)
                    .execute(conn)
                    .map_err(|error| not_written(object, error))?;
            }
            page.clear();
            page_bytes = 0;
        }
        if at_end {
            break;
        }
    }
    lines.into_inner().end(object)?;
    if written as u64 != part.rows {
        return Err(unsound(object, "has lines that are no rows; nothing was restored"));
    }
    Ok(())
}

/// A line is a row: what the database says of it stays out of messages.
fn not_written(object: &str, error: diesel::result::Error) -> Error {
    match Error::from(error) {
        error @ (Error::Conflict(_) | Error::ConnectionLost(_)) => error,
        Error::Query(diesel::result::Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
            unsound(object, "has rows that the month has already; nothing was restored")
        }
        _ => unsound(object, "has lines that the month's tables do not take; nothing was restored"),
    }
}

fn unsound(object: &str, problem: &str) -> Error {
    Error::ArchiveUnsound { object: object.to_owned(), problem: problem.to_owned() }
}

fn fill(conn: &mut PgConnection, month: &Remembered) -> Result<(), Error> {
    diesel::sql_query("SELECT threadline.fill_month($1, $2, $3)")
        .bind::<Text, _>(&month.label)
        .bind::<Nullable<SqlUuid>, _>(month.first_id)
        .bind::<SqlUuid, _>(month.end_id)
        .execute(conn)
        .map(drop)
        .map_err(Error::from)
}

fn attach(conn: &mut PgConnection, month: &Remembered) -> Result<(), Error> {
    // Before anything is locked: it reads the month once.
    diesel::sql_query(
        "SELECT threadline.make_whole($1, coalesce($2, '00000000-0000-0000-0000-000000000000'))",
    )
    .bind::<Text, _>(&month.label)
    .bind::<Nullable<SqlUuid>, _>(month.first_id)
    .execute(conn)?;
    let mut attempt = 0_u32;
    loop {
        // A savepoint: what it has locked is free again when it gives up.
        let result = conn.transaction(|conn| {
            conn.batch_execute("SET LOCAL lock_timeout = '500ms'")?;
            diesel::sql_query("SELECT threadline.attach_month($1, $2, $3)")
                .bind::<Text, _>(&month.label)
                .bind::<Nullable<SqlUuid>, _>(month.first_id)
                .bind::<SqlUuid, _>(month.end_id)
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
fn in_transaction<T>(
    conn: &mut PgConnection,
    body: impl FnOnce(&mut PgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
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
