//! A month's rows, written to an archive and read back.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant};

use chrono::Utc;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::store::{check, differs, page_of, sha256_of, store};
use super::{
    Archive, Archived, ArchivedContent, ArchivedKind, ArchivedRows, FORMAT, Manifest, PINNED_OUTPUT, Part,
    failed, manifest_name, table_name,
};
use crate::capture::quote_ident;
use crate::error::Error;
use crate::operation::retention::work::name_of;

/// How many blocks of a table are read at a time: two megabytes, before what is stored out of line.
const PAGE_BLOCKS: i64 = 256;

/// How often the run says that it goes on.
const BEAT: Duration = Duration::from_secs(5);

/// Writes a month's six tables and its manifest, and reads all of it back. Returns what is to be remembered of it.
pub(in crate::operation::retention) fn write(
    conn: &mut PgConnection,
    label: &str,
    archive: &mut dyn Archive,
    beat: &mut dyn FnMut(&mut PgConnection) -> Result<(), Error>,
) -> Result<Archived, Error> {
    #[derive(QueryableByName)]
    struct Bounds {
        #[diesel(sql_type = Nullable<SqlUuid>)]
        first_id: Option<Uuid>,
        #[diesel(sql_type = Nullable<SqlUuid>)]
        end_id: Option<Uuid>,
    }
    #[derive(QueryableByName)]
    struct Table {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let month = name_of(label);
    // One that an earlier run has begun to detach is among the months alone.
    let bounds: Bounds = diesel::sql_query(
        "SELECT nullif(m.first_id, '00000000-0000-0000-0000-000000000000') AS first_id, m.end_id FROM threadline.retention_months m WHERE m.label = $1 \
         UNION ALL SELECT p.first_id, p.end_id FROM threadline.partitions() p WHERE p.label = $1 LIMIT 1",
    )
    .bind::<Text, _>(label)
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    let Some(end_id) = bounds.end_id else {
        return Err(Error::ArchiveUnsound {
            object: month,
            problem: "would have no end; the last partition is not archived".to_owned(),
        });
    };
    let tables: Vec<Table> = diesel::sql_query("SELECT unnest(threadline.trail_tables()) AS name")
        .load(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    let manifest_object = manifest_name(&month);
    let mut parts = BTreeMap::new();
    for Table { name } in tables {
        let object = table_name(&manifest_object, &name);
        let mut pages = Pages::of(conn, &format!("{name}{label}"), beat)?;
        let part = store(archive, &object, &mut || pages.next())?;
        check(archive, &object, &part)?;
        beat(conn)?;
        parts.insert(name, part);
    }
    let object = manifest_object;
    let manifest = Manifest {
        format: FORMAT,
        month,
        first_id: bounds.first_id,
        end_id,
        archived_at: Utc::now(),
        tables: parts,
    };
    let text = serde_json::to_vec_pretty(&manifest).expect("a manifest always serializes");
    archive.store(&object, &mut text.as_slice()).map_err(failed(&object))?;
    let mut stored = Vec::new();
    archive
        .open(&object)
        .and_then(|reader| reader.take(text.len() as u64 + 1).read_to_end(&mut stored))
        .map_err(failed(&object))?;
    if stored != text {
        return Err(differs(&object));
    }
    let contents = || manifest.tables.values().map(|part| &part.content);
    let content = ArchivedContent {
        sha256: sha256_of(&text),
        bytes: text.len() as u64 + contents().map(|content| content.bytes).sum::<u64>(),
        text_bytes: contents().map(|content| content.text_bytes).sum(),
        longest_line: contents().map(|content| content.longest_line).max().unwrap_or_default(),
    };
    let tables = manifest.tables.into_iter();
    let tables =
        tables.map(|(name, Part { rows, content })| (name, ArchivedRows { rows, content: Some(content) }));
    Ok(Archived { object, kind: ArchivedKind::Month, tables: tables.collect(), content })
}

/// A table's rows as lines of JSON, a page in memory at a time.
struct Pages<'a> {
    conn: &'a mut PgConnection,
    beat: &'a mut dyn FnMut(&mut PgConnection) -> Result<(), Error>,
    beaten: Instant,
    relation: String,
    next_block: i64,
    blocks: i64,
}

impl<'a> Pages<'a> {
    fn of(
        conn: &'a mut PgConnection,
        relation: &str,
        beat: &'a mut dyn FnMut(&mut PgConnection) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        #[derive(QueryableByName)]
        struct Size {
            #[diesel(sql_type = BigInt)]
            blocks: i64,
        }
        let relation = format!("threadline.{}", quote_ident(relation));
        let Size { blocks } = diesel::sql_query(
            "SELECT pg_relation_size($1::regclass) / current_setting('block_size')::bigint AS blocks",
        )
        .bind::<Text, _>(&relation)
        .get_result(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
        Ok(Self { conn, beat, beaten: Instant::now(), relation, next_block: 0, blocks })
    }

    /// The rows in the next blocks; `None` after the last. Nothing is written to a month that is due, so a row stays in its block.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        #[derive(QueryableByName)]
        struct Line {
            #[diesel(sql_type = Text)]
            line: String,
        }
        if self.next_block >= self.blocks {
            return Ok(None);
        }
        if self.beaten.elapsed() > BEAT {
            (self.beat)(self.conn)?;
            self.beaten = Instant::now();
        }
        let end = self.next_block + PAGE_BLOCKS;
        // Line feeds in JSON are space between its tokens.
        let rows: Vec<Line> = self
            .conn
            .transaction(|conn| {
                conn.batch_execute(PINNED_OUTPUT)?;
                diesel::sql_query(format!(
                    "SELECT replace(row_to_json(r)::text, E'\\n', ' ') AS line FROM {} r WHERE r.ctid >= '({},0)'::tid AND r.ctid < '({end},0)'::tid",
                    self.relation, self.next_block
                ))
                .load(conn)
            })
            .map_err(|error| Error::from_query(self.conn, "", error))?;
        self.next_block = end;
        Ok(Some(page_of(rows.into_iter().map(|row| row.line))))
    }
}
