//! The connection pool, and the migrations that are run at start.

use std::error::Error;

use diesel::PgConnection;
use diesel::r2d2::{self, ConnectionManager};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

/// The connections the handlers share.
pub type Pool = r2d2::Pool<ConnectionManager<PgConnection>>;

/// The host's tables, the audit schema (`threadline install`) and what is captured (`threadline generate`), in one history.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Connects to the database at `url`.
///
/// # Errors
///
/// When the database cannot be reached.
pub fn pool(url: &str) -> Result<Pool, r2d2::PoolError> {
    Pool::builder().max_size(8).build(ConnectionManager::new(url))
}

/// Runs the migrations the database has not had yet.
///
/// # Errors
///
/// When the database cannot be reached, or a migration fails; those before it stay applied.
pub fn migrate(pool: &Pool) -> Result<(), Box<dyn Error + Send + Sync>> {
    pool.get()?.run_pending_migrations(MIGRATIONS)?;
    Ok(())
}
