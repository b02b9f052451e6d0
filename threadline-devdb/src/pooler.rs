//! A PgBouncer of our own, for what has to hold behind one.

use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::account::Account;
use crate::cluster::Watched;
use crate::error::Error;
use crate::place;
use crate::test_database::TestDatabase;
use crate::url::ServerUrl;

/// Where Debian puts it; not on every account's `PATH`.
const DEBIAN: &str = "/usr/sbin";

/// PgBouncer in transaction mode in front of one test database, on a Unix socket only. Dropping it ends it, and so does
/// the end of this process, however it comes; nothing is left behind.
///
/// Run by root, it runs as the account the server does: PgBouncer refuses root too.
#[derive(Debug)]
pub struct Pooler {
    url: ServerUrl,
    /// Held for its `Drop`.
    _watched: Watched,
}

impl Pooler {
    /// Starts one that shares `server_connections` connections among all its clients, a transaction at a time.
    ///
    /// # Errors
    ///
    /// [`Error::MissingPooler`] when it is not installed, and [`Error::StartPooler`] with what it said when it did not
    /// start.
    pub fn start(db: &TestDatabase, server_connections: u32) -> Result<Self, Error> {
        let program = find().ok_or(Error::MissingPooler)?;
        let run_dir = place::new_run_dir();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", include_str!("pooler.sh"), "threadline-pooler"])
            .args([&program, &run_dir])
            .arg(configuration(db, &run_dir, server_connections))
            .current_dir("/")
            // Out of reach of Ctrl-C.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Account::for_server()?.apply(&mut command);
        let mut shell = command.spawn().map_err(Error::io("run /bin/sh"))?;
        let answers = BufReader::new(shell.stdout.take().expect("the command pipes standard output"));
        // Dropped on the way out when the start fails.
        let watched = Watched(shell);
        let mut output = String::new();
        for line in answers.lines() {
            let line = line.map_err(Error::io("read from the pooler's shell"))?;
            if line == "started" {
                let url = ServerUrl::socket(&run_dir.to_string_lossy()).with_database(db.name());
                return Ok(Self { url, _watched: watched });
            }
            output.push_str(&line);
            output.push('\n');
        }
        Err(Error::StartPooler { output: output.trim_end().to_owned() })
    }

    /// The database's URL through the pooler, as the role the database is made with.
    pub fn url(&self) -> String {
        self.url.to_string()
    }
}

fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from(DEBIAN)])
        .map(|dir| dir.join("pgbouncer"))
        .find(|program| program.is_file())
}

/// Clients need no password: they are who may enter the directory of the socket. What the server wants of them is in the
/// entry of the database.
fn configuration(db: &TestDatabase, run_dir: &Path, server_connections: u32) -> String {
    let server = db.server_url().variables().into_iter().filter_map(|(variable, value)| {
        let name = match variable {
            "PGHOST" => "host",
            "PGPORT" => "port",
            "PGUSER" => "user",
            "PGPASSWORD" => "password",
            _ => return None,
        };
        Some(format!(" {name}='{}'", value.replace('\'', "''")))
    });
    format!(
        "[databases]\n{} ={}\n[pgbouncer]\nunix_socket_dir = {}\nunix_socket_mode = 0700\nlisten_port = 5432\n\
         auth_type = any\npool_mode = transaction\ndefault_pool_size = {server_connections}",
        db.name(),
        server.collect::<String>(),
        run_dir.display()
    )
}
