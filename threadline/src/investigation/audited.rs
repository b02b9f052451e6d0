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
use super::image::RowState;
use super::key::{AuditKey, KeyColumns, TypedKey};
use super::scope::Surface;
use super::trail::Trail;
use crate::capture::{AuditSpec, TableName};
use crate::error::Error;

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
        Trail::unscoped().history::<Self, K>(conn, key, limit)
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
        Trail::unscoped().as_of::<Self, K>(conn, key, at)
    }

    /// Every row the table held at an instant, in no particular order; all of them in memory. Not inside an open transaction.
    ///
    /// # Errors
    ///
    /// As [`Trail::all_as_of`].
    fn all_as_of(conn: &mut PgConnection, at: DateTime<Utc>) -> Result<Vec<Self>, Error> {
        Trail::unscoped().all_as_of(conn, at)
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

impl Trail {
    /// As [`Audited::history_up_to`], as this reader may see it.
    ///
    /// # Errors
    ///
    /// As [`Audited::history`], and [`Error::ScopeFailed`].
    pub fn history<M: Audited, K: AuditKey<M::KeyColumns>>(
        &self,
        conn: &mut PgConnection,
        key: K,
        limit: HistoryLimit,
    ) -> Result<History<M>, Error> {
        let table = M::table_name().to_sql();
        let key = TypedKey::<K, M::KeyColumns>::new(key);
        self.read(conn, Surface::RowHistory, |conn, scope| {
            let mut history = history::read::<M>(conn, &table, &key, limit, scope.as_ref())?;
            let images: Vec<_> =
                history.versions.iter().filter_map(|version| version.after.present()).collect();
            let mut decoded = decode::decode::<M>(conn, &images)?.into_iter();
            for version in &mut history.versions {
                if matches!(version.after, RowState::Present(_)) {
                    version.row = decoded.next();
                }
            }
            Ok(history)
        })
    }

    /// As [`Audited::as_of`], as this reader may see it: a row that may not be seen has not been created.
    ///
    /// # Errors
    ///
    /// As [`Audited::history`], and [`Error::ScopeFailed`].
    pub fn as_of<M: Audited, K: AuditKey<M::KeyColumns>>(
        &self,
        conn: &mut PgConnection,
        key: K,
        at: DateTime<Utc>,
    ) -> Result<AsOf<M>, Error> {
        let table = M::table_name().to_sql();
        let key = TypedKey::<K, M::KeyColumns>::new(key);
        self.read(conn, Surface::AsOf, |conn, scope| {
            as_of::read(conn, &table, &key, at, scope.as_ref())?.and_then(|image| {
                let mut decoded = decode::decode::<M>(conn, &[&image])?;
                Ok(match decoded.pop().expect("one image yields one row") {
                    Ok(row) => AsOf::Present(row),
                    Err(error) => AsOf::NotRepresentable { error, image },
                })
            })
        })
    }
}
