//! Connections through PgBouncer.

use std::time::Duration;

use diesel::PgConnection;
use diesel::connection::CacheSize;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error, Pool};
use threadline_devdb::{Pooler, TestDatabase};

/// As the documentation of `AuditedPool` has it: older PgBouncers hand a connection's prepared statements to the next client.
#[derive(Debug)]
struct WithoutStatementCache;

impl CustomizeConnection<PgConnection, Error> for WithoutStatementCache {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), Error> {
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        Ok(())
    }
}

/// PgBouncer in transaction mode before the database, and a pool of `clients` connections to it; it waits half a second for
/// one. Declare them after the database.
///
/// # Panics
///
/// When there is no PgBouncer, with the line that installs it.
pub fn pooled_behind(
    db: &TestDatabase,
    server_connections: u32,
    clients: u32,
) -> (Pooler, Pool<ConnectionManager<PgConnection>>) {
    let pooler = Pooler::start(db, server_connections).unwrap_or_else(|error| panic!("{error}"));
    let pool = Pool::builder()
        .max_size(clients)
        .connection_timeout(Duration::from_millis(500))
        .connection_customizer(Box::new(WithoutStatementCache))
        .build(ConnectionManager::new(pooler.url()))
        .expect("PgBouncer takes connections");
    (pooler, pool)
}
