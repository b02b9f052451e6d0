//! What a batch removes, written to an archive before the batch commits.

use std::collections::BTreeMap;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use uuid::Uuid;

use super::store::{check, page_of, store};
use super::{Archive, Archived, ArchivedKind, ArchivedRows};
use crate::error::Error;
use crate::operation::retention::work::name_of;

/// How many lines are in memory at a time.
const PAGE_LINES: usize = 1_000;

/// The object of a new attempt at archiving a run's batch.
pub(in crate::operation::retention) fn name(label: &str, run: i64, number: u32) -> String {
    format!("{}/part_{run}_{number}_{}.ndjson.gz", name_of(label), Uuid::new_v4().simple())
}

/// Has the batch that comes next in this transaction put what it deletes where [`write`] finds it.
pub(in crate::operation::retention) fn expect(conn: &mut PgConnection) -> QueryResult<()> {
    conn.batch_execute("CREATE TEMPORARY TABLE threadline_leaving (parent text, line text) ON COMMIT DROP")
}

/// Writes what the batch has deleted in this transaction, and reads it back.
pub(in crate::operation::retention) fn write(
    conn: &mut PgConnection,
    object: String,
    archive: &mut dyn Archive,
) -> Result<Archived, Error> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        parent: String,
        #[diesel(sql_type = Text)]
        line: String,
    }
    conn.batch_execute(
        "DECLARE threadline_leaving NO SCROLL CURSOR FOR SELECT parent, line FROM pg_temp.threadline_leaving",
    )?;
    let mut tables = BTreeMap::new();
    let part = store(archive, &object, &mut || {
        let lines: Vec<Line> =
            diesel::sql_query(format!("FETCH {PAGE_LINES} FROM threadline_leaving")).load(conn)?;
        if lines.is_empty() {
            return Ok(None);
        }
        Ok(Some(page_of(lines.into_iter().map(|Line { parent, line }| {
            let text = format!("{{\"{parent}\":{line}}}");
            tables.entry(parent).or_insert(ArchivedRows { rows: 0, content: None }).rows += 1;
            text
        }))))
    })?;
    conn.batch_execute("CLOSE threadline_leaving")?;
    check(archive, &object, &part)?;
    Ok(Archived { object, kind: ArchivedKind::Part, tables, content: part.content })
}
