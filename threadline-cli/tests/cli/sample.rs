//! A database with a small made-up trail, and the command run on it.

use std::process::{Command, Stdio};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::MigrationHarness;
use serde_json::Value;
use threadline::{Action, Actor, ActorId, AuditContext, Error};
use threadline_devdb::TestDatabase;

use crate::host::Run;

const TABLES: &str = "
CREATE TABLE posts (id bigint PRIMARY KEY, title text, body text, views integer NOT NULL DEFAULT 0);
CREATE TABLE users (id bigint PRIMARY KEY, email text, password_hash text);
CREATE TABLE members (organization_id bigint, user_id bigint, role text, PRIMARY KEY (organization_id, user_id));
CREATE TABLE logs (id bigint PRIMARY KEY, line text);
CREATE TABLE marks (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());
INSERT INTO posts VALUES (9, 'Older than its audit', NULL, 0);
INSERT INTO marks VALUES ('before');
SELECT threadline.attach('posts');
SELECT threadline.attach('users', mask => ARRAY['email'], mask_placeholder => 'n/a', exclude => ARRAY['password_hash']);
SELECT threadline.attach('members', scope => 'organization_id');
SELECT threadline.attach('logs');
";

/// What a stranger can type: clears the screen, changes the colours, turns the text around, ends the line.
pub(crate) const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\u{202e}evil\u{7f}\r\n";

/// The database, with ids and instants by the names the tests use.
pub(crate) struct Sample {
    pub(crate) db: TestDatabase,
}

impl Sample {
    pub(crate) fn new() -> Self {
        let db = TestDatabase::from_template("command-line", |url| {
            let conn = &mut PgConnection::establish(url).expect("the new database accepts connections");
            conn.run_pending_migrations(threadline::MIGRATIONS).expect("the audit schema installs");
            fill(conn);
        });
        Self { db }
    }

    /// A database with the audit schema and nothing else.
    pub(crate) fn empty() -> Self {
        let db = TestDatabase::from_template("command-line-empty", |url| {
            let conn = &mut PgConnection::establish(url).expect("the new database accepts connections");
            conn.run_pending_migrations(threadline::MIGRATIONS).expect("the audit schema installs");
        });
        Self { db }
    }

    /// The one text of a query.
    pub(crate) fn text(&self, sql: &str) -> String {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Text)]
            text: String,
        }
        let query = diesel::sql_query(format!("SELECT q.text::text FROM ({sql}) AS q (text)"));
        let row: Row =
            query.get_result(&mut self.db.connect()).unwrap_or_else(|error| panic!("{error}: {sql}"));
        row.text
    }

    pub(crate) fn run_sql(&self, sql: &str) {
        self.db.connect().batch_execute(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    /// The transaction in which this action was recorded.
    pub(crate) fn transaction(&self, action: &str) -> String {
        self.text(&format!("SELECT transaction_id FROM threadline.audit_actions WHERE name = '{action}'"))
    }

    /// A moment between the changes, as the command line takes it.
    pub(crate) fn mark(&self, name: &str) -> String {
        let sql = format!(
            r#"SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM marks WHERE name = '{name}'"#
        );
        self.text(&sql)
    }

    /// The command on this database, without a terminal.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.env("DATABASE_URL", self.db.url());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        finished(&mut self.command(arguments))
    }

    /// As [`run`](Self::run), which must end with 0; standard output.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {}{}", run.stdout, run.stderr);
        run.stdout
    }

    /// The document that `--json` prints, whatever the exit code but 2.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let run = self.run(arguments);
        assert_ne!(run.code, Some(2), "{arguments:?}: {}", run.stderr);
        serde_json::from_str(&run.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", run.stdout))
    }

    /// As [`run`](Self::run), which must not be able to; the message without its `error: `.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", run.stderr);
        run.stderr.split_once("error: ").expect("says what is wrong").1.trim_end().to_owned()
    }
}

/// The command as nobody's session has it.
pub(crate) fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_threadline"));
    command.args(arguments).stdin(Stdio::null());
    for name in [
        "COLUMNS",
        "NO_COLOR",
        "CLICOLOR_FORCE",
        "DATABASE_URL",
        "PGOPTIONS",
        "PGCONNECT_TIMEOUT",
        "THREADLINE_CONFIG",
    ] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn finished(command: &mut Command) -> Run {
    let output = command.output().expect("the binary was built for this test");
    let text = |bytes| String::from_utf8(bytes).expect("the command writes UTF-8");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs the command with a reader that takes `lines` lines and goes away.
pub(crate) fn run_until_closed(command: &mut Command, lines: usize) -> Run {
    use std::io::{BufRead, BufReader, Read};
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let stdout = BufReader::new(child.stdout.take().expect("is piped"));
    let taken: Vec<String> = stdout.lines().take(lines).map(|line| line.expect("UTF-8")).collect();
    let mut stderr = String::new();
    child.stderr.take().expect("is piped").read_to_string(&mut stderr).expect("UTF-8");
    Run { code: child.wait().expect("ends").code(), stdout: taken.join("\n"), stderr }
}

fn fill(conn: &mut PgConnection) {
    let run = |conn: &mut PgConnection, context: AuditContext, action: Action, sql: &str| {
        let transaction = context.transaction().action(action);
        transaction
            .run(conn, |conn, _| conn.batch_execute(sql).map_err(Error::from))
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
    };
    let mark = |conn: &mut PgConnection, name: &str| {
        diesel::sql_query(format!("INSERT INTO marks VALUES ('{name}')")).execute(conn).expect("is noted");
    };
    let author = || AuditContext::new(Actor::user(42));
    conn.batch_execute(TABLES).expect("the tables are made");
    mark(conn, "attached");
    run(
        conn,
        author().with_request_id("7f3a"),
        Action::new("post.created"),
        "INSERT INTO posts VALUES (1, 'Draft', 'Once upon a time', 0)",
    );
    mark(conn, "created");
    run(
        conn,
        author().with_request_id("7f3b").with_correlation_id("import-7").with_meta("tenant", "acme"),
        Action::new("post.published").verb("publish").reason("ready for the front page"),
        "UPDATE posts SET title = 'Final', body = NULL WHERE id = 1; INSERT INTO posts VALUES (2, 'Second', 'More', 3)",
    );
    mark(conn, "published");
    conn.batch_execute("UPDATE posts SET views = 5 WHERE id = 1").expect("nobody may");
    run(
        conn,
        AuditContext::new(Actor::job(ActorId::from_static("cleanup"))),
        Action::new("post.purged"),
        "DELETE FROM posts WHERE id = 2",
    );
    mark(conn, "purged");
    run(
        conn,
        AuditContext::new(Actor::admin(7)),
        Action::new("user.changed"),
        "INSERT INTO users VALUES (1, 'a@example.org', 'secret-hash'); UPDATE users SET email = 'b@example.org' WHERE id = 1",
    );
    run(
        conn,
        author(),
        Action::new("members.added"),
        "INSERT INTO members VALUES (7, 42, 'owner'), (8, 42, 'guest')",
    );
    let refused = Action::new("login.failed").failed("wrong password");
    AuditContext::new(Actor::anonymous()).record_action(conn, &refused).expect("is recorded");
    let hostile = HOSTILE.replace('\'', "''");
    run(
        conn,
        author(),
        Action::new("comment.spam"),
        &format!("INSERT INTO posts VALUES (3, '{hostile}', '{hostile}', 0)"),
    );
    run(conn, author(), Action::new("log.filled"), "INSERT INTO logs VALUES (1, 'one'), (2, 'two')");
    mark(conn, "filled");
    conn.batch_execute("TRUNCATE logs").expect("is truncated");
    run(conn, author(), Action::new("post.fourth"), "INSERT INTO posts VALUES (4, 'Fourth', NULL, 0)");
    mark(conn, "gap");
    // As a restore does it, or somebody who knows too much.
    conn.batch_execute(
        "SET session_replication_role = replica; UPDATE posts SET title = 'Unseen' WHERE id = 4; RESET session_replication_role",
    )
    .expect("escapes capture");
    mark(conn, "end");
}
