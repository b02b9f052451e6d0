//! A pool that gives out no connection to write with, but through a context.

use std::time::Duration;

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool, PooledConnection};
use diesel::result::Error as DieselError;
use uuid::Uuid;

use super::action::Action;
use super::actor::Actor;
use super::context::AuditContext;
use super::transaction::{OpenTransaction, TransactionBuilder};
use crate::error::Error;
use crate::investigation::{in_one_snapshot_within, in_one_transaction_within, timed};
use crate::operation::evidence::Recorded;
use crate::operation::exports::{ReadyExport, record_delivery};

/// A pool of connections that can be written with only in an audited transaction.
///
/// The connection it hides has no other way out: a handler that is given this instead of the pool itself cannot forget
/// to say who is writing. Clones share the connections.
///
/// Both ways block until a connection is free, up to the pool's `connection_timeout`; in async code, call them on a thread
/// for blocking work (`web::block`), or use what `threadline-actix` offers.
///
/// # Behind PgBouncer
///
/// Everything here happens inside a transaction, and nothing of it outlasts one, so PgBouncer may hand on connections in
/// transaction mode. Diesel's statement cache is another matter: it prepares a statement once per client connection and later
/// calls it by its name, on whichever connection to the server it then has. What it needs is up to PgBouncer's version:
/// - from 1.21 on nothing, if `max_prepared_statements` is not 0; it is by default up to 1.23, and is not from 1.24 on
/// - before that, or with 0, the cache has to be off, or statements fail as existing already, or as not existing:
///
/// ```
/// use diesel::connection::CacheSize;
/// use diesel::prelude::*;
/// use diesel::r2d2::{CustomizeConnection, Error};
///
/// #[derive(Debug)]
/// struct WithoutStatementCache;
///
/// impl CustomizeConnection<PgConnection, Error> for WithoutStatementCache {
///     fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), Error> {
///         conn.set_prepared_statement_cache_size(CacheSize::Disabled);
///         Ok(())
///     }
/// }
/// // Pool::builder().connection_customizer(Box::new(WithoutStatementCache)).build(…)
/// ```
///
/// Then each statement is parsed and planned again, in no more round trips.
/// Source: <https://www.pgbouncer.org/config.html#max_prepared_statements>
#[derive(Clone, Debug)]
pub struct AuditedPool {
    pool: Pool<ConnectionManager<PgConnection>>,
}

impl AuditedPool {
    /// Hides `pool`.
    pub fn new(pool: Pool<ConnectionManager<PgConnection>>) -> Self {
        Self { pool }
    }

    /// Runs `body` in an audited transaction; see [`TransactionBuilder::run`].
    ///
    /// # Errors
    ///
    /// [`Error::NoConnection`] when none was free in time, and what [`TransactionBuilder::run`] returns.
    pub fn write<T, E, F>(&self, transaction: TransactionBuilder, body: F) -> Result<T, E>
    where
        E: From<Error>,
        F: FnOnce(&mut PgConnection, &OpenTransaction) -> Result<T, E>,
    {
        // Before a connection is taken: what is wrong with the context is wrong without one.
        transaction.check()?;
        transaction.run_checked(&mut *self.connection()?, body)
    }

    /// Records that the file of an export is handed out; see [`exports::record_delivery`](crate::exports::record_delivery).
    ///
    /// # Errors
    ///
    /// [`Error::NoConnection`] when none was free in time, and what that returns.
    pub fn record_delivery(
        &self,
        ready: &ReadyExport,
        to: Option<&Actor>,
        entry_point: &str,
    ) -> Result<Option<Recorded>, Error> {
        record_delivery(&mut *self.connection()?, ready, to, entry_point)
    }

    /// Records an action that stands alone; see [`AuditContext::record_action`].
    ///
    /// # Errors
    ///
    /// [`Error::NoConnection`] when none was free in time, and what [`AuditContext::record_action`] returns.
    pub fn record_action(&self, context: &AuditContext, action: &Action) -> Result<Uuid, Error> {
        context.record_action(&mut *self.connection()?, action)
    }

    /// Runs `body` in a transaction in which PostgreSQL refuses every write. It is there to find mistakes, not malice: a body
    /// that sends COMMIT, or SET TRANSACTION READ WRITE as its first statement, is not held back.
    ///
    /// # Errors
    ///
    /// [`Error::NoConnection`] when none was free in time, [`Error::Query`] when the transaction cannot begin or end, and
    /// what `body` returns.
    pub fn read<T, E, F>(&self, body: F) -> Result<T, E>
    where
        E: From<Error>,
        F: FnOnce(&mut PgConnection) -> Result<T, E>,
    {
        let conn = &mut *self.connection()?;
        let mut outcome = None;
        let ended: QueryResult<()> = conn.build_transaction().read_only().run(|conn| {
            let value = body(conn);
            let ended = if value.is_ok() { Ok(()) } else { Err(DieselError::RollbackTransaction) };
            outcome = Some(value);
            ended
        });
        match (outcome, ended) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(DieselError::AlreadyInTransaction)) => Err(Error::Refused {
                message: "the pool's connection is in a transaction already".to_owned(),
                hint: Some("give tests a database of their own; Diesel's test transactions and an AuditedPool exclude each other".to_owned()),
            }
            .into()),
            (_, Err(error)) => Err(Error::from_query(conn, "", error).into()),
            (None, Ok(())) => unreachable!("the body has run when its transaction has ended well"),
        }
    }

    /// Runs `body`, which reads the trail, on one snapshot, for somebody who waits for the answer: neither a connection nor any
    /// one statement is waited for longer than `limit`. All the reads in it see the same trail.
    ///
    /// # Errors
    ///
    /// [`Error::NoConnection`] when none was free within `limit`, [`Error::TookTooLong`] when a statement ran for longer, and
    /// what `body` returns.
    pub fn snapshot<T>(
        &self,
        limit: Duration,
        body: impl FnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let conn = &mut *self.pool.get_timeout(limit).map_err(Error::NoConnection)?;
        in_one_snapshot_within(conn, limit, body)
    }

    /// As [`write`](Self::write), for somebody who waits for the answer: neither a connection nor any one statement is waited for
    /// longer than `limit`.
    ///
    /// # Errors
    ///
    /// [`Error::NoConnection`] when none was free within `limit`, [`Error::TookTooLong`] when a statement ran, or waited, for
    /// longer, and what [`TransactionBuilder::run`] returns.
    pub fn write_within<T>(
        &self,
        limit: Duration,
        transaction: TransactionBuilder,
        body: impl FnOnce(&mut PgConnection, &OpenTransaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        transaction.check()?;
        let conn = &mut *self.pool.get_timeout(limit).map_err(Error::NoConnection)?;
        timed(limit, || transaction.limit(limit).run_checked(conn, body))
    }

    /// As [`record_action`](Self::record_action), for somebody who waits for the answer: neither a connection nor any one statement
    /// is waited for longer than `limit`.
    ///
    /// # Errors
    ///
    /// As [`write_within`](Self::write_within).
    pub fn record_action_within(
        &self,
        limit: Duration,
        context: &AuditContext,
        action: &Action,
    ) -> Result<Uuid, Error> {
        let conn = &mut *self.pool.get_timeout(limit).map_err(Error::NoConnection)?;
        in_one_transaction_within(conn, limit, |conn| context.record_action(conn, action))
    }

    fn connection(&self) -> Result<PooledConnection<ConnectionManager<PgConnection>>, Error> {
        self.pool.get().map_err(Error::NoConnection)
    }
}
