//! A PostgreSQL server of our own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};

use crate::account::Account;
use crate::error::Error;
use crate::kept::Share;
use crate::place;
use crate::programs::Programs;
use crate::url::ServerUrl;
use crate::watchdog::{Mode, Order, remove_libpq_variables};

/// Said to every server. There is no TCP: no port to race for, and trust authentication stays private to those who
/// may enter the socket's directory, the server's account and root.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("port", "5432"),
    ("unix_socket_permissions", "0700"),
    ("max_connections", "200"),
    // A schema with many partitions or a DROP SCHEMA … CASCADE takes a lock per relation.
    ("max_locks_per_transaction", "256"),
    ("shared_buffers", "32MB"),
    // Files in the data directory: containers often give /dev/shm too little for a parallel query.
    ("dynamic_shared_memory_type", "mmap"),
    // No replication and no logical decoding.
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_logical_replication_workers", "0"),
    ("log_min_messages", "warning"),
    ("timezone", "UTC"),
];

/// Said to a throwaway server, whose data nobody reads after a crash.
const THROWAWAY_SETTINGS: &[(&str, &str)] =
    &[("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off"), ("max_wal_size", "64MB")];

/// A running server with superuser `postgres`, on a Unix socket only. Dropping it stops the server.
///
/// The server also stops when this process ends without dropping it, on Ctrl-C and on SIGKILL too. One started by
/// [`Cluster::start`] then leaves nothing behind.
///
/// Run by root, the server runs as `postgres`, or else as `nobody`.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    url: ServerUrl,
    socket_dir: PathBuf,
    /// Held for its `Drop`.
    _life: Life,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for what dropping them does")]
enum Life {
    Throwaway(Watched),
    Kept(Share),
}

impl Cluster {
    /// Starts an empty server in memory, or in the temporary directory when /dev/shm has less than 1 GB free.
    ///
    /// It takes about half a second, most of it `initdb`, and some 40 MB plus 9 MB for each database.
    ///
    /// # Errors
    ///
    /// [`Error::MissingServer`] when PostgreSQL is not installed, [`Error::MissingAccount`], and [`Error::Start`] with
    /// what the server said when it did not start.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(&[])
    }

    /// As [`Cluster::start`], with configuration parameters by name, such as `("shared_buffers", "1GB")`; they win
    /// over this crate's.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start`]; a parameter the server does not know is [`Error::Start`].
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self, Error> {
        let programs = Programs::find()?;
        let dir = place::new_run_dir();
        let order = Order {
            programs: &programs,
            account: Account::for_server()?,
            run_dir: &dir,
            home_dir: &dir,
            mode: Mode::Throwaway,
            settings: &[SETTINGS, THROWAWAY_SETTINGS, settings].concat(),
        };
        let watched = Watched(order.run(Stdio::piped())?);
        Ok(Self::behind(programs, dir, Life::Throwaway(watched)))
    }

    /// Starts the server whose data is under `dir`, one directory per PostgreSQL major, or joins it when another
    /// process has started it. The first time the data is created.
    ///
    /// The data is written safely and stays; the server stops when the last process that uses it has ended.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start`], and [`Error::Io`] when `dir` cannot be made. Run by root, the server's account has to be
    /// able to enter `dir`.
    pub fn keep(dir: &Path) -> Result<Self, Error> {
        let programs = Programs::find()?;
        // Absolute, because the server starts in `/`.
        let dir = std::path::absolute(dir).map_err(Error::io(format!("resolve `{}`", dir.display())))?;
        let share = Share::take(&programs, &dir.join(programs.major()?.to_string()), SETTINGS)?;
        Ok(Self::behind(programs, share.socket_dir.clone(), Life::Kept(share)))
    }

    fn behind(programs: Programs, socket_dir: PathBuf, life: Life) -> Self {
        // The path is ours: /dev/shm, /tmp or a temporary directory, and anything else in it is percent-encoded.
        let url = ServerUrl::socket(&socket_dir.to_string_lossy());
        Self { programs, url, socket_dir, _life: life }
    }

    /// The superuser's URL of a database, as in `url("postgres")`, for libpq, Diesel and `psql`.
    ///
    /// It has the form `postgres:///app?host=…&port=5432&user=postgres`, so `&options=…` can be appended.
    pub fn url(&self, database: &str) -> String {
        self.server_url().with_database(database).to_string()
    }

    /// A connection of the superuser's.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`], for one when there is no such database.
    pub fn connect(&self, database: &str) -> Result<PgConnection, Error> {
        connect(&self.server_url().with_database(database))
    }

    /// Creates an empty database, unless there is one of that name.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] or [`Error::Query`] when the server refuses.
    pub fn create_database(&self, name: &str) -> Result<(), Error> {
        let mut conn = self.connect("postgres")?;
        match diesel::sql_query(format!("CREATE DATABASE {}", quote_ident(name))).execute(&mut conn) {
            Ok(_) => Ok(()),
            // Diesel has no kind for it; the message is in English, as the server runs in C.UTF-8.
            Err(QueryError::DatabaseError(DatabaseErrorKind::Unknown, info))
                if info.message().ends_with("already exists") =>
            {
                Ok(())
            }
            // Two at once: the loser may meet the name in the catalog's index first.
            Err(QueryError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A PostgreSQL program of this server's own version if it came with it, see [`Programs::path`], as in
    /// `command("psql", "app")`. Its environment leads it to `database` as the superuser; no other `PG…` variable is
    /// left in it.
    pub fn command(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(self.programs.path(program));
        self.lead(&mut command, database);
        command
    }

    /// Gives any command what [`Cluster::command`] has: `PGHOST`, `PGPORT`, `PGUSER` and `PGDATABASE`.
    pub fn lead(&self, command: &mut Command, database: &str) {
        remove_libpq_variables(command);
        command.envs(self.server_url().with_database(database).variables());
    }

    /// The programs the server was started with.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The directory of the socket, mode 0700.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    pub(crate) fn server_url(&self) -> &ServerUrl {
        &self.url
    }
}

/// The watchdog of a throwaway server or pooler; dropping it waits until everything is removed.
#[derive(Debug)]
pub(crate) struct Watched(pub(crate) Child);

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // What it cannot clean up it would not say either.
        let _ = self.0.wait();
    }
}

/// Connects to the database the URL names.
pub(crate) fn connect(url: &ServerUrl) -> Result<PgConnection, Error> {
    PgConnection::establish(&url.to_string())
        .map_err(|source| Error::Connect { database: url.database(), source })
}

/// The one place where an identifier is quoted.
pub(crate) fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
