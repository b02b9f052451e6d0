//! What many rows were at an instant: a set of keys, a whole table.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Array, Integer, Nullable, Text, Timestamptz};
use serde::Serialize;

use super::as_of::{self, AsOf};
use super::audited::Audited;
use super::decode;
use super::image::RowImage;
use super::key::RowKey;
use super::scope::Surface;
use super::trail::Trail;
use super::travel::in_snapshot;
use crate::capture::TableName;
use crate::error::{Error, PastProblem};

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

impl Trail {
    /// What the rows with these keys were, in the order of the keys: as [`row_as_of`](Self::row_as_of) for each, but all in
    /// one snapshot.
    ///
    /// # Errors
    ///
    /// As [`row_history`](Self::row_history).
    pub fn rows_as_of(
        &self,
        conn: &mut PgConnection,
        table: &TableName,
        keys: &[RowKey],
        at: DateTime<Utc>,
    ) -> Result<Vec<AsOf<RowImage>>, Error> {
        let table = table.to_sql();
        self.read(conn, Surface::AsOf, |conn, scope| {
            keys.iter().map(|key| as_of::read(conn, &table, key, at, scope.as_ref())).collect()
        })
    }

    /// Calls `each` with every row a table held at an instant, in no particular order, 500 in memory at a time. Stops when
    /// `each` fails. Not inside an open transaction.
    ///
    /// What an instant means, and which gaps are found, says [`Travel`](super::Travel). A column has the name it has today and
    /// the value that was stored, also when its type has changed since.
    ///
    /// # Errors
    ///
    /// What `each` returns; [`Error::NotAudited`]; [`Error::UnknownPast`] when the table was not audited yet, or was truncated
    /// since, or a row has a gap; [`Error::Refused`] inside an open transaction.
    pub fn table_as_of(
        &self,
        conn: &mut PgConnection,
        table: &TableName,
        at: DateTime<Utc>,
        mut each: impl FnMut(PastRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.pages_as_of(conn, &table.to_sql(), at, |_, rows| rows.into_iter().try_for_each(&mut each))
    }

    /// As [`table_as_of`](Self::table_as_of), all rows as the model. They are all in memory.
    ///
    /// # Errors
    ///
    /// As [`table_as_of`](Self::table_as_of), and [`Error::UnknownPast`] when the model cannot hold a row: a masked or excluded
    /// column is not an `Option`, or its type has changed.
    pub fn all_as_of<M: Audited>(&self, conn: &mut PgConnection, at: DateTime<Utc>) -> Result<Vec<M>, Error> {
        let table = M::table_name().to_sql();
        let mut all = Vec::new();
        self.pages_as_of(conn, &table, at, |conn, rows| {
            let images: Vec<&RowImage> = rows.iter().map(|row| &row.image).collect();
            for (row, decoded) in rows.iter().zip(decode::decode::<M>(conn, &images)?) {
                all.push(decoded.map_err(|error| Error::UnknownPast {
                    reason: PastProblem::DoesNotFit,
                    message: format!("the row of table {table} with the key `{}`: {error}", row.row_key),
                    hint: None,
                })?);
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// As [`table_as_of`](Self::table_as_of), page by page, with the connection.
    fn pages_as_of(
        &self,
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
            let query = self.past_images(conn, table, at)?;
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
    pub(super) fn past_images(
        &self,
        conn: &mut PgConnection,
        table: &str,
        at: DateTime<Utc>,
    ) -> Result<String, Error> {
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = Integer)]
            id: i32,
        }
        #[derive(QueryableByName)]
        struct Written {
            #[diesel(sql_type = Text)]
            query: String,
        }
        let found: Found = diesel::sql_query("SELECT threadline.find_table($1, to_regclass($1)) AS id")
            .bind::<Text, _>(table)
            .get_result(conn)
            .map_err(|error| match &error {
                DieselError::DatabaseError(_, information)
                    if information.constraint_name() == Some("threadline_not_audited") =>
                {
                    Error::not_audited(table, information.as_ref())
                }
                _ => Error::from(error),
            })?;
        let scopes = self.scope(conn, Surface::AsOf)?.and_then(|scope| scope.tenants_of(found.id));
        let written: Written = diesel::sql_query(
            "SELECT threadline.past_images($1, threadline.resolve_instant($2), $3) AS query",
        )
        .bind::<Integer, _>(found.id)
        .bind::<Timestamptz, _>(at)
        .bind::<Nullable<Array<Text>>, _>(scopes.map(Vec::from_iter))
        .get_result(conn)?;
        Ok(written.query)
    }
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
