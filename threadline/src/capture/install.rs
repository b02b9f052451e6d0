//! Installs, removes and refreshes the triggers of audited tables. The connection's role has to own schema `threadline`.

use std::collections::BTreeMap;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer, Text};
use tracing::field::Empty;

use super::spec::{AuditSpec, TableName};
use crate::error::Error;
use crate::registry::{AuditedModel, audited_models};
use crate::telemetry;

/// Audits `table` as `spec` says, whatever was said before; does nothing when it is audited just so already.
///
/// Holds off writers of the table (not readers) until the surrounding transaction ends.
///
/// # Errors
///
/// [`Error::NoSuchTable`]; [`Error::Refused`] when the table, its key or the policy cannot be used, naming the offender.
/// Nothing has changed then.
pub fn attach(conn: &mut PgConnection, table: &TableName, spec: &AuditSpec<'_>) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Bool)]
        found: bool,
    }
    let Found { found } = diesel::sql_query("SELECT to_regclass($1) IS NOT NULL AS found")
        .bind::<Text, _>(table.to_sql())
        .get_result(conn)
        .map_err(|error| Error::from_query(conn, &table.to_sql(), error))?;
    if !found {
        return Err(Error::NoSuchTable { table: table.to_plain() });
    }
    run(conn, "attach", table, &spec.attach_sql(table))
}

/// Ends the audit of `table`; what was recorded stays. A table that is not audited is nothing to do.
///
/// # Errors
///
/// [`Error::Refused`] when the connection's role may not.
pub fn detach(conn: &mut PgConnection, table: &TableName) -> Result<(), Error> {
    run(conn, "detach", table, &AuditSpec::detach_sql(table))
}

/// Audits the table of every model this program was linked with, in one transaction; for hosts that migrate in code.
///
/// Returns how many models that were. Zero means that no crate with models is linked: see [`audited_models`].
///
/// # Errors
///
/// As [`attach`], and [`Error::PolicyContradiction`] for two models of one table; then no table's audit has changed.
pub fn attach_models(conn: &mut PgConnection) -> Result<usize, Error> {
    let models = audited_models();
    let mut by_table = BTreeMap::<TableName, &AuditedModel>::new();
    for model in &models {
        let first = by_table.insert(model.table()?, model);
        if let Some(first) = first.filter(|first| first.spec() != model.spec()) {
            return Err(Error::PolicyContradiction { first: first.path(), second: model.path() });
        }
    }
    atomically(conn, |conn| {
        by_table.iter().try_for_each(|(table, model)| attach(conn, table, model.spec()))
    })?;
    Ok(models.len())
}

/// What became of one audited table in [`refresh_all`].
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
#[non_exhaustive]
pub struct Refreshed {
    /// The table, as the trail names it.
    #[diesel(sql_type = Text)]
    pub audited_table: String,
    /// `refreshed`, `up to date`, `gone: …` or `failed: …` with the reason.
    #[diesel(sql_type = Text)]
    pub outcome: String,
}

/// Compiles capture anew for every audited table whose columns have changed since; policies follow renamed columns.
///
/// A table that cannot be refreshed does not stop the others: it goes on being captured, more slowly.
///
/// # Errors
///
/// When the database cannot be asked.
pub fn refresh_all(conn: &mut PgConnection) -> Result<Vec<Refreshed>, Error> {
    diesel::sql_query("SELECT audited_table, outcome FROM threadline.refresh_all()")
        .load(conn)
        .map_err(|error| Error::from_query(conn, "threadline", error))
}

/// Keeps three months of partitions ahead of time; to be called at least monthly. Returns how many months were added.
///
/// # Errors
///
/// [`Error::Query`] when the audit tables stayed locked for more than half a second; nothing has changed then.
pub fn maintain(conn: &mut PgConnection) -> Result<u32, Error> {
    #[derive(QueryableByName)]
    struct Made {
        #[diesel(sql_type = Integer)]
        made: i32,
    }
    diesel::sql_query("SELECT threadline.maintain() AS made")
        .get_result(conn)
        .map(|Made { made }| made.unsigned_abs())
        .inspect(|made| telemetry::PARTITIONS_MADE.add(u64::from(*made), []))
        .map_err(|error| Error::from_query(conn, "threadline", error))
}

fn run(conn: &mut PgConnection, operation: &'static str, table: &TableName, sql: &str) -> Result<(), Error> {
    let span = tracing::info_span!("threadline.capture_setup", operation, %table, outcome = Empty);
    let done = span.in_scope(|| {
        conn.batch_execute(sql).map_err(|error| Error::from_query(conn, &table.to_sql(), error))
    });
    let outcome = telemetry::outcome(&done);
    span.record("outcome", outcome);
    telemetry::CAPTURE_SETUPS.add(1, [operation, outcome]);
    done
}

/// `body` in one transaction (a savepoint inside another), with our own error kept.
fn atomically<T>(
    conn: &mut PgConnection,
    body: impl FnOnce(&mut PgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    enum Failure {
        Ours(Error),
        Transaction(diesel::result::Error),
    }
    impl From<diesel::result::Error> for Failure {
        fn from(error: diesel::result::Error) -> Self {
            Self::Transaction(error)
        }
    }
    conn.transaction(|conn| body(conn).map_err(Failure::Ours)).map_err(|failure| match failure {
        Failure::Ours(error) => error,
        Failure::Transaction(error) => Error::from_query(conn, "threadline", error),
    })
}
