//! The one server all of a process's test databases are on.

use std::collections::HashMap;
use std::env;
use std::error::Error as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};

use crate::cluster::{Cluster, connect, quote_ident};
use crate::error::Error;
use crate::janitor::Janitor;
use crate::programs::Programs;
use crate::url::ServerUrl;

/// The variables that name an existing server, the stronger first.
const URL_VARIABLES: [&str; 2] = ["TEST_DATABASE_URL", "DATABASE_URL"];

/// A name to its template's database. The inner cell is filled by one thread while others, with other names, go on.
type Templates = Mutex<HashMap<String, Arc<OnceLock<String>>>>;

/// A server of our own, or one the environment named, and what this process has on it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) origin: Origin,
    /// Its maintenance database, from which others are created and dropped.
    pub(crate) url: ServerUrl,
    /// The clause that makes `CREATE DATABASE` copy files, 10 ms instead of 25; empty before PostgreSQL 15, which
    /// always does.
    strategy: &'static str,
    /// Ours among all processes on this server: the pid is not enough, they can be on several machines.
    token: String,
    next: AtomicU64,
    templates: Templates,
}

/// Where the server comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    Private(Box<Cluster>),
    Explicit { programs: Option<Programs>, janitor: Option<Janitor> },
}

impl Server {
    /// The process's server, started or looked up the first time.
    ///
    /// # Panics
    ///
    /// If there is none, with the same message in each test.
    #[track_caller]
    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<Result<Server, Error>> = OnceLock::new();

        match SERVER.get_or_init(Self::find) {
            Ok(server) => server,
            Err(error) => panic!("no server for test databases: {}", chain(error)),
        }
    }

    fn find() -> Result<Self, Error> {
        let given = URL_VARIABLES.iter().find_map(|&variable| {
            let text = env::var(variable).ok().filter(|text| !text.is_empty())?;
            Some((variable, text))
        });
        let Some((variable, text)) = given else {
            let cluster = Cluster::start()?;
            return Self::on(cluster.server_url().clone(), Origin::Private(Box::new(cluster)));
        };
        let mut url = ServerUrl::parse(&text).ok_or(Error::NotAUrl { variable })?;
        if url.database().is_empty() {
            url = url.with_database("postgres");
        }
        // Only for its clients; the server may well be on a machine without them.
        let programs = Programs::find().ok();
        let janitor = programs.as_ref().and_then(|programs| Janitor::hire(programs, &url));
        Self::on(url, Origin::Explicit { programs, janitor })
    }

    fn on(url: ServerUrl, origin: Origin) -> Result<Self, Error> {
        let mut conn = connect(&url)?;
        let version: i32 =
            diesel::select(diesel::dsl::sql::<Integer>("current_setting('server_version_num')::int4"))
                .get_result(&mut conn)?;
        Ok(Self {
            origin,
            url,
            strategy: if version >= 150_000 { "STRATEGY FILE_COPY" } else { "" },
            token: token(),
            next: AtomicU64::new(0),
            templates: Templates::default(),
        })
    }

    /// Creates a database as a copy of `template`, which nobody may be connected to, and returns its name.
    pub(crate) fn create(&self, template: &str) -> Result<String, Error> {
        let name = format!("test_{}_{}", self.token, self.next.fetch_add(1, Ordering::Relaxed));
        // Noted first: a test killed in between leaves nothing.
        if let Origin::Explicit { janitor: Some(janitor), .. } = &self.origin {
            janitor.note(&name);
        }
        let (new, template) = (quote_ident(&name), quote_ident(template));
        let create = format!("CREATE DATABASE {new} TEMPLATE {template} {}", self.strategy);
        diesel::sql_query(create).execute(&mut connect(&self.url)?)?;
        Ok(name)
    }

    /// Drops a database, and first the connections to it.
    pub(crate) fn drop(&self, name: &str) -> Result<(), Error> {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote_ident(name));
        diesel::sql_query(drop).execute(&mut connect(&self.url)?)?;
        Ok(())
    }

    /// Ends all connections to a database and allows no new one: with one, `CREATE DATABASE … TEMPLATE` waits five
    /// seconds and fails.
    pub(crate) fn seal(&self, name: &str) -> Result<(), Error> {
        let mut conn = connect(&self.url)?;
        diesel::sql_query(format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", quote_ident(name)))
            .execute(&mut conn)?;
        diesel::sql_query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
            .bind::<Text, _>(name)
            .execute(&mut conn)?;
        Ok(())
    }

    /// The database of the template called `name`; `build` makes it the first time. Other threads that ask for the
    /// same one wait; when `build` panics, the next of them tries again.
    pub(crate) fn template(&self, name: &str, build: impl FnOnce() -> String) -> String {
        let cell = {
            let mut templates = self.templates.lock().expect("no holder of the lock panics");
            Arc::clone(templates.entry(name.to_owned()).or_default())
        };
        cell.get_or_init(build).clone()
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The pid for whoever looks at the server, and 32 random bits for other machines' equal pids.
fn token() -> String {
    // Each RandomState has keys of its own, so its hash of nothing is a random number.
    let random = RandomState::new().build_hasher().finish();
    format!("{}_{:08x}", process::id(), random & 0xffff_ffff)
}
