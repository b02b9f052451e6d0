//! What many rows were at an instant: a set of keys, a whole table.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, Text, Timestamptz};
use serde::Serialize;

use super::as_of::{self, AsOf};
use super::image::RowImage;
use super::key::RowKey;
use super::travel::in_snapshot;
use crate::capture::TableName;
use crate::error::Error;

/// How many rows are fetched at a time.
const PAGE_ROWS: usize = 500;

/// A row a table held at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PastRow {
    /// Its key in the text form of [`AuditChange::row_key`](super::AuditChange::row_key).
    pub row_key: String,
    /// Its columns, redacted as today's policy says.
    pub image: RowImage,
}

/// What the rows with these keys were, in the order of the keys: as [`row_as_of`](super::row_as_of) for each, but all in one
/// snapshot. Not inside an open transaction.
///
/// # Errors
///
/// As [`row_history`](super::row_history), and [`Error::Refused`] inside an open transaction.
pub fn rows_as_of(
    conn: &mut PgConnection,
    table: &TableName,
    keys: &[RowKey],
    at: DateTime<Utc>,
) -> Result<Vec<AsOf<RowImage>>, Error> {
    let table = table.to_sql();
    in_snapshot(conn, |conn| keys.iter().map(|key| as_of::read(conn, &table, key, at)).collect())
}

/// Calls `each` with every row a table held at an instant, in no particular order, 500 in memory at a time. Stops when `each`
/// fails. Not inside an open transaction.
///
/// What an instant means, and which gaps are found, says [`Travel`](super::Travel). A column has the name it has today and the
/// value that was stored, also when its type has changed since.
///
/// # Errors
///
/// What `each` returns; [`Error::NotAudited`]; [`Error::UnknownPast`] when the table was not audited yet, or was truncated
/// since, or a row has a gap; [`Error::Refused`] inside an open transaction.
pub fn table_as_of(
    conn: &mut PgConnection,
    table: &TableName,
    at: DateTime<Utc>,
    mut each: impl FnMut(PastRow) -> Result<(), Error>,
) -> Result<(), Error> {
    pages(conn, &table.to_sql(), at, |_, rows| rows.into_iter().try_for_each(&mut each))
}

/// As [`table_as_of`], page by page, with the connection.
pub(super) fn pages(
    conn: &mut PgConnection,
    table: &str,
    at: DateTime<Utc>,
    mut each: impl FnMut(&mut PgConnection, Vec<PastRow>) -> Result<(), Error>,
) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        row_key: String,
        #[diesel(sql_type = Text)]
        image: String,
        #[diesel(sql_type = Array<Text>)]
        masked: Vec<String>,
    }
    in_snapshot(conn, |conn| {
        let query = past_images(conn, table, at)?;
        fetch(conn, &query, |conn, rows: Vec<Row>| {
            let rows = rows
                .into_iter()
                .map(|row| Ok(PastRow { row_key: row.row_key, image: image(&row.image, row.masked)? }))
                .collect::<Result<_, Error>>()?;
            each(conn, rows)
        })
    })
}

/// The query for the images of a table at an instant, written by the database.
pub(super) fn past_images(conn: &mut PgConnection, table: &str, at: DateTime<Utc>) -> Result<String, Error> {
    #[derive(QueryableByName)]
    struct Written {
        #[diesel(sql_type = Text)]
        query: String,
    }
    diesel::sql_query(
        "SELECT threadline.past_images(threadline.find_table($1, to_regclass($1)), threadline.resolve_instant($2), NULL) AS query",
    )
    .bind::<Text, _>(table)
    .bind::<Timestamptz, _>(at)
    .get_result(conn)
    .map(|written: Written| written.query)
    .map_err(|error| match &error {
        diesel::result::Error::DatabaseError(_, information)
            if information.constraint_name() == Some("threadline_not_audited") =>
        {
            Error::NotAudited { table: table.to_owned() }
        }
        _ => Error::from(error),
    })
}

/// Runs a query through a cursor, a page at a time.
pub(super) fn fetch<R: QueryableByName<diesel::pg::Pg> + 'static>(
    conn: &mut PgConnection,
    query: &str,
    mut each: impl FnMut(&mut PgConnection, Vec<R>) -> Result<(), Error>,
) -> Result<(), Error> {
    // All of it will be fetched, which a cursor is not planned for unless told.
    conn.batch_execute(&format!(
        "SET LOCAL cursor_tuple_fraction = 1; DECLARE threadline_past NO SCROLL CURSOR FOR {query}"
    ))?;
    loop {
        let rows: Vec<R> =
            diesel::sql_query(format!("FETCH FORWARD {PAGE_ROWS} FROM threadline_past")).load(conn)?;
        let last = rows.len() < PAGE_ROWS;
        each(conn, rows)?;
        if last {
            return Ok(());
        }
    }
}

/// An image as the database writes it.
pub(super) fn image(columns: &str, masked: Vec<String>) -> Result<RowImage, Error> {
    Ok(RowImage {
        columns: serde_json::from_str(columns).map_err(Error::Payload)?,
        masked: masked.into_iter().collect::<BTreeSet<_>>(),
    })
}
