//! From when on the answer to a filter is whole, as far as retention goes.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text, Timestamptz};
use serde::{Deserialize, Serialize};

use super::filter::Filter;
use super::scan::Question;
use super::scope::Surface;
use super::statement::Statement;
use super::trail::Trail;
use crate::capture::TableName;
use crate::error::Error;

/// That retention has removed changes of a table that a filter asks about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TableHorizon {
    /// The table, under the name it had when its capture was last compiled.
    pub table: TableName,
    /// From then on all that was captured is there; of what was before, some or all has gone.
    pub before: DateTime<Utc>,
}

/// That retention has removed transactions, or actions, from the time that a filter asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListHorizon {
    /// From then on all are there; of those before, some or all have gone.
    pub before: DateTime<Utc>,
}

/// What `threadline.purged_until` takes for transactions.
const TRANSACTIONS: i32 = 0;
/// And for actions.
const ACTIONS: i32 = -1;

impl Trail {
    /// The tables of which retention has removed changes from the time that the filter asks about, in the order of their names;
    /// empty when nothing has gone that has not come back from an archive.
    ///
    /// Asks of the filter only for tables and time: whether a change that is gone would have answered to the rest, nobody can
    /// say. A scope leaves no table out, for the same reason.
    ///
    /// # Errors
    ///
    /// As [`timeline`](Self::timeline).
    pub fn removed(&self, conn: &mut PgConnection, filter: &Filter) -> Result<Vec<TableHorizon>, Error> {
        self.read(conn, Surface::Timeline, |conn, scope| {
            let question = Question::new(conn, filter, scope)?;
            horizons(conn, &question)
        })
    }

    /// That retention has removed actions from the time that the filter asks about; `None` when none has gone that has not come
    /// back from an archive. For [`actions`](Self::actions).
    ///
    /// Asks of the filter only for `from`, and leaves nothing out for a scope, as [`removed`](Self::removed) does.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidFilter`] for one that contradicts itself, [`Error::ScopeFailed`], and those of the database.
    pub fn removed_actions(
        &self,
        conn: &mut PgConnection,
        filter: &Filter,
    ) -> Result<Option<ListHorizon>, Error> {
        filter.check()?;
        self.read(conn, Surface::Actions, |conn, _| horizon_of(conn, ACTIONS, filter))
    }

    /// As [`removed_actions`](Self::removed_actions), of whole transactions. For [`actor_history`](Self::actor_history).
    ///
    /// # Errors
    ///
    /// As [`removed_actions`](Self::removed_actions).
    pub fn removed_transactions(
        &self,
        conn: &mut PgConnection,
        filter: &Filter,
    ) -> Result<Option<ListHorizon>, Error> {
        filter.check()?;
        self.read(conn, Surface::ActorHistory, |conn, _| horizon_of(conn, TRANSACTIONS, filter))
    }
}

/// What has gone of transactions or of actions, since `from`.
fn horizon_of(conn: &mut PgConnection, of: i32, filter: &Filter) -> Result<Option<ListHorizon>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<Timestamptz>)]
        before: Option<DateTime<Utc>>,
    }
    let mut statement = Statement::new("SELECT threadline.purged_until(");
    statement.bind(of).sql(") AS before");
    let before = statement.load_from::<Row>(conn)?.into_iter().find_map(|row| row.before);
    Ok(before
        .filter(|before| filter.from.is_none_or(|from| from < *before))
        .map(|before| ListHorizon { before }))
}

/// As [`Trail::removed`].
pub(super) fn horizons(conn: &mut PgConnection, question: &Question) -> Result<Vec<TableHorizon>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        schema: String,
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Timestamptz)]
        before: DateTime<Utc>,
    }
    let mut statement = Statement::new(
        "SELECT a.schema_name AS schema, a.table_name AS name, p.before FROM threadline.audited_tables a \
         CROSS JOIN LATERAL (SELECT threadline.purged_until(a.id) AS before) p WHERE p.before IS NOT NULL",
    );
    if let Some(tables) = &question.tables {
        statement.sql(" AND a.id = ANY (").bind(tables.clone()).sql(")");
    }
    if let Some(from) = question.filter.from {
        statement.sql(" AND p.before > ").bind(from);
    }
    statement.sql(" ORDER BY 1, 2");
    let rows = statement.load_from::<Row>(conn)?.into_iter();
    Ok(rows
        .map(|Row { schema, name, before }| TableHorizon {
            table: TableName::new(Some(&schema), &name),
            before,
        })
        .collect())
}
