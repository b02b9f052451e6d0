//! A private PostgreSQL for tests, the demo and benchmarks.
//!
//! [`Cluster`] is a server of our own: found among the installed programs, initialised, started on a Unix socket
//! only, and gone again however this process ends. [`TestDatabase`] is one database of a cluster that the whole test
//! process shares, cloned from a template that was migrated once. [`Pooler`] puts a PgBouncer in front of one.
//!
//! ```
//! use diesel::prelude::*;
//! use threadline_devdb::TestDatabase;
//!
//! let db = TestDatabase::from_template("notes", |url| {
//!     let mut conn = PgConnection::establish(url).expect("the template accepts connections");
//!     diesel::sql_query("CREATE TABLE notes (body text)").execute(&mut conn).expect("migrations run");
//! });
//! let written = diesel::sql_query("INSERT INTO notes VALUES ('a')").execute(&mut db.connect())?;
//! assert_eq!(written, 1);
//! # Ok::<(), diesel::result::Error>(())
//! ```
//!
//! With a runner that starts one process per test (nextest), start the server once around it instead:
//! `threadline-devdb exec -- cargo nextest run`. [`TestDatabase`] then uses the `DATABASE_URL` it finds.

mod account;
mod cluster;
mod error;
mod janitor;
mod kept;
mod place;
mod pooler;
mod programs;
mod server;
mod test_database;
mod url;
mod watchdog;

pub use cluster::Cluster;
pub use error::Error;
pub use pooler::Pooler;
pub use programs::Programs;
pub use test_database::TestDatabase;
