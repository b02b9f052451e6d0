//! The trait `#[derive(Audited)]` implements.

use chrono::{DateTime, Utc};
use diesel::associations::HasTable;
use diesel::deserialize::FromSqlRow;
use diesel::pg::{Pg, PgQueryBuilder};
use diesel::prelude::*;
use diesel::query_builder::{QueryBuilder, QueryFragment};
use diesel::query_source::QuerySource;

use super::as_of::{self, AsOf};
use super::decode;
use super::history::{self, History, HistoryLimit};
use super::image::{RowImage, RowState};
use super::key::{AuditKey, KeyColumns, TypedKey};
use super::past_rows;
use crate::capture::{AuditSpec, TableName};
use crate::error::{Error, PastProblem};

/// The SQL type of the columns a model selects.
pub type ModelSql<M> = <<M as Selectable<Pg>>::SelectExpression as Expression>::SqlType;

/// What Diesel writes after FROM for a model's table.
pub(crate) type FromClause<M> = <<M as HasTable>::Table as QuerySource>::FromClause;

/// A Diesel model whose table is audited. Implement it with `#[derive(Audited)]`.
///
/// The model needs `Selectable`, `Queryable` and `Identifiable` as well. It may select a part of the table's columns.
pub trait Audited:
    HasTable<Table: QuerySource<FromClause: QueryFragment<Pg>>>
    + Selectable<Pg, SelectExpression: SelectableExpression<<Self as HasTable>::Table> + QueryFragment<Pg>>
    + FromSqlRow<ModelSql<Self>, Pg>
    + 'static
{
    /// The columns that identify a row, as a tuple also when there is one.
    type KeyColumns: KeyColumns;

    /// What the database is to record about the model's table.
    const AUDIT: AuditSpec<'static>;

    /// The versions of the row with this key, newest first, the newest 200 at most: see [`History::has_more`].
    ///
    /// Rows are followed through changes of their key as far as the key asked for was theirs.
    ///
    /// # Errors
    ///
    /// [`Error::NotAudited`] when the table never was; [`Error::Refused`] when it is audited by another key than the model's.
    fn history<K: AuditKey<Self::KeyColumns>>(
        conn: &mut PgConnection,
        key: K,
    ) -> Result<History<Self>, Error> {
        Self::history_up_to(conn, key, HistoryLimit::default())
    }

    /// As [`history`](Self::history), with another limit than the default.
    ///
    /// # Errors
    ///
    /// As [`history`](Self::history).
    fn history_up_to<K: AuditKey<Self::KeyColumns>>(
        conn: &mut PgConnection,
        key: K,
        limit: HistoryLimit,
    ) -> Result<History<Self>, Error> {
        let table = Self::table_name().to_sql();
        let mut history =
            history::read::<Self>(conn, &table, &TypedKey::<K, Self::KeyColumns>::new(key), limit)?;
        let images: Vec<_> = history.versions.iter().filter_map(|version| version.after.present()).collect();
        let mut decoded = decode::decode::<Self>(conn, &images)?.into_iter();
        for version in &mut history.versions {
            if matches!(version.after, RowState::Present(_)) {
                version.row = decoded.next();
            }
        }
        Ok(history)
    }

    /// What the row with this key was at an instant.
    ///
    /// # Errors
    ///
    /// As [`history`](Self::history).
    fn as_of<K: AuditKey<Self::KeyColumns>>(
        conn: &mut PgConnection,
        key: K,
        at: DateTime<Utc>,
    ) -> Result<AsOf<Self>, Error> {
        let table = Self::table_name().to_sql();
        as_of::read(conn, &table, &TypedKey::<K, Self::KeyColumns>::new(key), at)?.and_then(|image| {
            let mut decoded = decode::decode::<Self>(conn, &[&image])?;
            Ok(match decoded.pop().expect("one image yields one row") {
                Ok(row) => AsOf::Present(row),
                Err(error) => AsOf::NotRepresentable { error, image },
            })
        })
    }

    /// Every row the table held at an instant, in no particular order; all of them in memory. Not inside an open transaction.
    ///
    /// # Errors
    ///
    /// As [`table_as_of`](super::table_as_of), and [`Error::UnknownPast`] when the model cannot hold a row: a masked or excluded
    /// column is not an `Option`, or its type has changed.
    fn all_as_of(conn: &mut PgConnection, at: DateTime<Utc>) -> Result<Vec<Self>, Error> {
        let mut all = Vec::new();
        past_rows::pages(conn, &Self::table_name().to_sql(), at, |conn, rows| {
            let images: Vec<&RowImage> = rows.iter().map(|row| &row.image).collect();
            for (row, decoded) in rows.iter().zip(decode::decode::<Self>(conn, &images)?) {
                all.push(decoded.map_err(|error| Error::UnknownPast {
                    reason: PastProblem::DoesNotFit,
                    message: format!("the row of table {} with the key `{}`: {error}", Self::table_name(), row.row_key),
                    hint: None,
                })?);
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// The model's table as Diesel names it.
    #[doc(hidden)]
    fn table_name() -> TableName {
        let mut query = PgQueryBuilder::new();
        QueryFragment::<Pg>::to_sql(&<Self as HasTable>::table().from_clause(), &mut query, &Pg)
            .expect("a table's name has no bind parameters and always renders");
        TableName::from_sql(&query.finish())
    }
}
