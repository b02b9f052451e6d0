//! What can go wrong between looking for a server and talking to it.

use std::io;
use std::path::PathBuf;

/// Why a server could not be started, joined or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No directory with the server's programs was found.
    // The first of the two lines keeps Debian from creating and starting a cluster of its own on port 5432;
    // without `noninteractive` the package would ask about the file that line wrote.
    #[error(
        "no PostgreSQL server in {searched}; on Debian or Ubuntu install one as root with\n\n    \
         mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >> /etc/postgresql-common/createcluster.conf\n    \
         DEBIAN_FRONTEND=noninteractive apt-get install --yes postgresql\n\n\
         or set `PG_BINDIR` to the directory that holds `initdb` and `postgres`"
    )]
    MissingServer {
        /// Where was looked, in reading order.
        searched: String,
    },
    /// Root may not run PostgreSQL, and there is no other account to run it as.
    #[error(
        "PostgreSQL refuses to run as root, and /etc/passwd has neither `postgres` nor `nobody`; add one of them"
    )]
    MissingAccount,
    /// PgBouncer is not installed.
    #[error(
        "no `pgbouncer` on `PATH` or in /usr/sbin; on Debian or Ubuntu install it as root with\n\n    \
         DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends pgbouncer\n\n\
         or run scripts/test, which does"
    )]
    MissingPooler,
    /// PgBouncer ended while it started, or took too long.
    #[error("PgBouncer did not start:\n{output}")]
    StartPooler {
        /// What it wrote.
        output: String,
    },
    /// The data directory was not created, or the server ended while it started.
    #[error("PostgreSQL did not start:\n{output}")]
    Start {
        /// The end of what `initdb` or the server wrote.
        output: String,
    },
    /// The server neither answered nor gave up in time.
    #[error("PostgreSQL was not ready after {seconds} s; its log is `{}`", log.display())]
    NotReady {
        /// How long was waited, in seconds.
        seconds: u64,
        /// The server's log file.
        log: PathBuf,
    },
    /// The file system or the operating system refused a step.
    #[error("could not {action}")]
    Io {
        /// The step, as it reads after "could not".
        action: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The server did not take a connection.
    #[error("no connection to database `{database}`")]
    Connect {
        /// The database asked for.
        database: String,
        /// What libpq said.
        source: diesel::ConnectionError,
    },
    /// The server refused a statement.
    #[error("statement refused")]
    Query(#[from] diesel::result::Error),
    /// The address of an existing server is not a URL.
    #[error("`{variable}` is not a PostgreSQL URL; write it as `postgres://user@host:5432/database`")]
    NotAUrl {
        /// The environment variable that holds it.
        variable: &'static str,
    },
}

impl Error {
    /// For `map_err`: an operating system error, with the step that failed as it reads after "could not".
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
