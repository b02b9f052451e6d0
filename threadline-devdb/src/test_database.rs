//! One test's own database.

use std::mem;
use std::process::Command;
use std::thread;

use diesel::PgConnection;

use crate::cluster::{Cluster, connect};
use crate::error::Error;
use crate::server::{Origin, Server, chain};
use crate::url::ServerUrl;
use crate::watchdog::remove_libpq_variables;

/// A database of one test's own, dropped with it together with the connections that are still open.
///
/// All of a process's test databases are on one server. It is the one `TEST_DATABASE_URL` names, else `DATABASE_URL`,
/// whichever is set and not empty first; that role needs `CREATEDB`. Else it is a [`Cluster`] of this process, started
/// with the first database and gone with the process.
///
/// On a server that was named, only databases are created and dropped, all called `test_…` with this process's id in
/// the name, so many processes can use it at once. What a process has not dropped at its end, its templates and, if it
/// was killed, its databases, is dropped a moment later by `psql`; where no `psql` is installed it stays.
///
/// # Roles
///
/// Roles belong to the server, not to a database: a role that a test creates is seen by all others and, on a server
/// that was named, stays. Make its name from [`TestDatabase::name`], and drop it.
///
/// # Panics
///
/// All functions panic when the server refuses: a test has nothing better to do.
#[derive(Debug)]
pub struct TestDatabase {
    server: &'static Server,
    name: String,
}

impl TestDatabase {
    /// An empty database.
    #[track_caller]
    pub fn empty() -> Self {
        let server = Server::shared();
        // Not template1: it can have been written to, and somebody can be connected to it.
        Self { server, name: done("create a database", server.create("template0")) }
    }

    /// A copy of the template called `template`, which `build` fills the first time this process asks for it.
    ///
    /// `build` gets the superuser's URL of an empty database and typically runs the migrations; its connections are
    /// ended for it. It runs once, however many threads ask, so calls with one name should pass the same one. A copy
    /// takes 10 to 15 ms; it does not have what `ALTER DATABASE … SET` or `GRANT … ON DATABASE` gave the template.
    #[track_caller]
    pub fn from_template(template: &str, build: impl FnOnce(&str)) -> Self {
        let server = Server::shared();
        let template = server.template(template, || {
            // Dropped as any other when `build` panics.
            let draft = Self::empty();
            build(&draft.url());
            done("seal a template", server.seal(&draft.name));
            let name = draft.name.clone();
            // A template lives as long as its server is ours.
            mem::forget(draft);
            name
        });
        Self { server, name: done("copy a template", server.create(&template)) }
    }

    /// The database's name, unique on the server; plain lower-case letters, digits and `_`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of the superuser, or of the role that `TEST_DATABASE_URL` names.
    ///
    /// It always has a parameter, so `&options=…` can be appended.
    pub fn url(&self) -> String {
        self.server_url().to_string()
    }

    /// The same as another role, which has to exist and to be allowed to log in.
    ///
    /// On a server that was named, that role's password has to be the one in the URL.
    pub fn url_as(&self, role: &str) -> String {
        self.server_url().with_user(role).to_string()
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> PgConnection {
        done("connect", connect(&self.server_url()))
    }

    /// A new connection of another role's, as in [`TestDatabase::url_as`].
    #[track_caller]
    pub fn connect_as(&self, role: &str) -> PgConnection {
        done("connect", connect(&self.server_url().with_user(role)))
    }

    /// A PostgreSQL program, as in `command("pg_dump")`, with the environment that leads it to this database.
    ///
    /// On a server of our own it is that server's version and no other `PG…` variable is left in its environment. On
    /// one that was named it is the newest installed, and variables the URL does not speak of hold for it as they do
    /// for [`TestDatabase::connect`], `PGPASSFILE` for one.
    pub fn command(&self, program: &str) -> Command {
        let mut command = match &self.server.origin {
            Origin::Private(cluster) => Command::new(cluster.programs().path(program)),
            Origin::Explicit { programs: Some(programs), .. } => Command::new(programs.path(program)),
            Origin::Explicit { programs: None, .. } => Command::new(program),
        };
        if self.cluster().is_some() {
            remove_libpq_variables(&mut command);
        }
        command.envs(self.server_url().variables());
        command
    }

    /// The server, when it is this process's own; `None` when the environment named one.
    pub fn cluster(&self) -> Option<&'static Cluster> {
        match &self.server.origin {
            Origin::Private(cluster) => Some(cluster),
            Origin::Explicit { .. } => None,
        }
    }

    pub(crate) fn server_url(&self) -> ServerUrl {
        self.server.url.with_database(&self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Err(error) = self.server.drop(&self.name) {
            let message = format!("could not drop {}: {}", self.name, chain(&error));
            // A second panic would abort the process and hide the test's own.
            if thread::panicking() {
                eprintln!("{message}");
            } else {
                panic!("{message}");
            }
        }
    }
}

#[track_caller]
fn done<T>(action: &str, result: Result<T, Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("could not {action}: {}", chain(&error)),
    }
}
