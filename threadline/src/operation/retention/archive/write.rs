//! A month's rows, written to an archive and read back.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use chrono::Utc;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid};
use flate2::Compression;
use flate2::read::GzEncoder;
use uuid::Uuid;

use super::{Archive, Counts, FORMAT, Lines, Manifest, Part, failed, manifest_name, open_lines, part_name};
use crate::capture::quote_ident;
use crate::error::Error;
use crate::operation::retention::run::name_of;

/// How many blocks of a table are read at a time: two megabytes, before what is stored out of line.
const PAGE_BLOCKS: i64 = 256;

/// How often the run says that it goes on.
const BEAT: Duration = Duration::from_secs(5);

/// Writes a month's six tables and its manifest, and reads all of it back. Returns how many rows each table has there.
pub(in crate::operation::retention) fn write(
    conn: &mut PgConnection,
    label: &str,
    archive: &mut dyn Archive,
    beat: &mut dyn FnMut(&mut PgConnection) -> Result<(), Error>,
) -> Result<Counts, Error> {
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
    let mut parts = BTreeMap::new();
    for Table { name } in tables {
        let object = part_name(&month, &name);
        let part = store(conn, &format!("{name}{label}"), &object, archive, beat)?;
        check(archive, &object, &part)?;
        beat(conn)?;
        parts.insert(name, part);
    }
    let counts = parts.iter().map(|(name, part)| (name.clone(), part.rows)).collect();
    let object = manifest_name(&month);
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
    archive.open(&object).and_then(|mut reader| reader.read_to_end(&mut stored)).map_err(failed(&object))?;
    if stored != text {
        return Err(differs(&object));
    }
    Ok(counts)
}

fn store(
    conn: &mut PgConnection,
    relation: &str,
    object: &str,
    archive: &mut dyn Archive,
    beat: &mut dyn FnMut(&mut PgConnection) -> Result<(), Error>,
) -> Result<Part, Error> {
    #[derive(QueryableByName)]
    struct Size {
        #[diesel(sql_type = BigInt)]
        blocks: i64,
    }
    let quoted = format!("threadline.{}", quote_ident(relation));
    let Size { blocks } = diesel::sql_query(
        "SELECT pg_relation_size($1::regclass) / current_setting('block_size')::bigint AS blocks",
    )
    .bind::<Text, _>(&quoted)
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    let rows = Rows {
        conn,
        beat,
        beaten: Instant::now(),
        relation: quoted,
        next_block: 0,
        blocks,
        page: io::Cursor::default(),
        error: None,
    };
    let mut content = GzEncoder::new(Lines::new(rows), Compression::default());
    let stored = archive.store(object, &mut content);
    let Lines { mut source, .. } = match stored {
        Ok(()) => {
            // Where the archive has not read to the end, that is an object with less in it.
            let at_end = matches!(content.read(&mut [0]), Ok(0));
            let lines = content.into_inner();
            return if at_end { Ok(lines.part()) } else { Err(differs(object)) };
        }
        Err(_) => content.into_inner(),
    };
    match (source.error.take(), stored) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(failed(object)(error)),
        (None, Ok(())) => Err(differs(object)),
    }
}

/// Reads an object back.
fn check(archive: &mut dyn Archive, object: &str, part: &Part) -> Result<(), Error> {
    let mut lines = open_lines(archive, object)?;
    io::copy(&mut lines, &mut io::sink()).map_err(failed(object))?;
    if lines.part() == *part { Ok(()) } else { Err(differs(object)) }
}

fn differs(object: &str) -> Error {
    Error::ArchiveUnsound {
        object: object.to_owned(),
        problem: "did not come back as it was stored; check the storage".to_owned(),
    }
}

/// A table's rows as lines of JSON, a page in memory at a time.
struct Rows<'a> {
    conn: &'a mut PgConnection,
    beat: &'a mut dyn FnMut(&mut PgConnection) -> Result<(), Error>,
    beaten: Instant,
    relation: String,
    next_block: i64,
    blocks: i64,
    page: io::Cursor<Vec<u8>>,
    /// What a read failed with.
    error: Option<Error>,
}

impl Rows<'_> {
    /// The rows in the next blocks. Nothing is written to a month that is due, so a row stays in its block.
    fn next_page(&mut self) -> Result<Vec<u8>, Error> {
        #[derive(QueryableByName)]
        struct Line {
            #[diesel(sql_type = Text)]
            line: String,
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
                use diesel::connection::SimpleConnection;
                conn.batch_execute(
                    "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; SET LOCAL jit = off",
                )?;
                diesel::sql_query(format!(
                    "SELECT replace(row_to_json(r)::text, E'\\n', ' ') AS line FROM {} r WHERE r.ctid >= '({},0)'::tid AND r.ctid < '({end},0)'::tid",
                    self.relation, self.next_block
                ))
                .load(conn)
            })
            .map_err(|error| Error::from_query(self.conn, "", error))?;
        self.next_block = end;
        let mut page = Vec::new();
        for Line { line } in rows {
            page.extend_from_slice(line.as_bytes());
            page.push(b'\n');
        }
        Ok(page)
    }
}

impl Read for Rows<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.page.read(buffer)?;
            if count > 0 || buffer.is_empty() || self.next_block >= self.blocks {
                return Ok(count);
            }
            match self.next_page() {
                Ok(page) => self.page = io::Cursor::new(page),
                Err(error) => {
                    self.error = Some(error);
                    return Err(io::Error::other("the database failed"));
                }
            }
        }
    }
}
