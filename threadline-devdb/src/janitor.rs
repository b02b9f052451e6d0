//! Drops our databases on somebody else's server after this process has ended.
//!
//! It is the watchdog's idea again. A test's own database is dropped by its guard, but the templates live as long as
//! the process, whose statics are never dropped; and a killed process drops nothing.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Mutex;

use crate::cluster::quote_ident;
use crate::programs::Programs;
use crate::url::ServerUrl;

/// A shell that waits for this process's end, then drops what it was told of.
#[derive(Debug)]
pub(crate) struct Janitor {
    statements: Mutex<ChildStdin>,
}

impl Janitor {
    /// `None` when no shell can be run. Where there is no `psql` the databases stay, and nobody hears of it.
    pub(crate) fn hire(programs: &Programs, server: &ServerUrl) -> Option<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", include_str!("janitor.sh"), "threadline-janitor"])
            .arg(programs.path("psql"))
            // Not as arguments: other accounts can read those.
            .envs(server.variables())
            // Out of reach of Ctrl-C.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        shell.stdin.take().map(|pipe| Self { statements: Mutex::new(pipe) })
    }

    /// Has the database dropped at the end, if it is still there.
    pub(crate) fn note(&self, database: &str) {
        let mut statements = self.statements.lock().expect("no holder of the lock panics");
        // A janitor that was killed is no reason to fail a test.
        let _ = writeln!(statements, "DROP DATABASE IF EXISTS {} WITH (FORCE);", quote_ident(database));
    }
}
