//! What reaches the database without the application: `psql`, `pg_dump`, and this program's own connection.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use diesel::{Connection, PgConnection};

pub(crate) struct Database {
    url: String,
}

impl Database {
    pub(crate) fn new(url: String) -> Self {
        Self { url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn connect(&self) -> Result<PgConnection> {
        PgConnection::establish(&self.url).context("cannot connect to the database")
    }

    /// What `psql` prints for a query: one row a line, columns separated by `|`.
    pub(crate) fn ask(&self, query: &str) -> Result<String> {
        self.psql(&["--tuples-only", "--no-align", "--quiet"], query)
    }

    /// Runs statements, as somebody at a terminal would; the last command tag, such as `UPDATE 3`.
    pub(crate) fn run(&self, statements: &str) -> Result<String> {
        let tags = self.psql(&[], statements)?;
        Ok(tags.lines().last().unwrap_or_default().to_owned())
    }

    /// The time by the database's clock, as RFC 3339.
    pub(crate) fn now(&self) -> Result<String> {
        self.ask(r#"SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#)
    }

    /// The whole audit schema, definitions and data, as text.
    pub(crate) fn dump_of_the_trail(&self) -> Result<String> {
        let mut command = Command::new("pg_dump");
        output(command.args(["--schema=threadline", "--dbname", &self.url]), "")
    }

    fn psql(&self, options: &[&str], script: &str) -> Result<String> {
        let mut command = Command::new("psql");
        command.args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--dbname", &self.url]).args(options);
        output(&mut command, &format!("{script}\n"))
    }
}

/// Standard output of a program that has to succeed and is given `input`.
fn output(command: &mut Command, input: &str) -> Result<String> {
    let name = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{name}`; it comes with PostgreSQL"))?;
    child.stdin.take().expect("it is piped").write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "`{name}` failed on: {input}");
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
