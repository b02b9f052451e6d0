//! Getting to the database, and what is said when there is no way.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use threadline_devdb::Pooler;

use crate::sample::{Sample, bare, finished};

const SECRET: &str = "hunter2secret";

#[test]
fn a_database_out_of_reach_is_said_without_its_password() {
    // Nobody listens there any more.
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let sample = Sample::new();
    let path = sample.db.url();
    for url in [
        format!("postgres://me:{SECRET}@127.0.0.1:{port}/app"),
        format!("postgres://me:{SECRET}@localhost:{port}/app?sslmode=disable"),
        format!("postgres://me:{SECRET}@no-such-host.invalid/app"),
        format!("postgres://me:{SECRET}@x@127.0.0.1:{port}/app"),
        format!("postgres://me:{SECRET}/x@127.0.0.1:{port}/app"),
        format!("postgres://me:{SECRET}%zz@127.0.0.1:{port}/app"),
        format!("postgres://me:x@127.0.0.1:{SECRET}/app"),
        format!("host=127.0.0.1 port={port} password={SECRET}"),
        format!("host=127.0.0.1 port={SECRET}"),
        format!("{SECRET} is not a URL"),
        format!("{path}&options=-c%20nonsense%3D{SECRET}"),
    ] {
        for arguments in
            [&["timeline"][..], &["migrate"], &["export"], &["timeline", "--statement-timeout", "1s"]]
        {
            let run = finished(bare(arguments).env("DATABASE_URL", &url));
            let first = run.stderr.lines().next().unwrap_or_default();
            assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{url}: {}", run.stderr);
            assert!(first.starts_with("error: ") && run.stderr.lines().count() == 1, "{url}: {}", run.stderr);
            if !url.contains("nonsense") {
                assert!(!run.stderr.contains(SECRET), "{url}: {}", run.stderr);
            }
        }
    }
    let run = finished(
        bare(&["timeline"]).env("DATABASE_URL", format!("postgres://me:{SECRET}@127.0.0.1:{port}/app")),
    );
    assert_eq!(run.stderr, format!("error: cannot connect to `127.0.0.1:{port}/app`: Connection refused\n"));
}

#[test]
fn the_help_does_not_show_the_database() {
    let run =
        finished(bare(&["timeline", "--help"]).env("DATABASE_URL", format!("postgres://me:{SECRET}@db/app")));
    assert!(run.stdout.contains("[env: DATABASE_URL]") && !run.stdout.contains(SECRET), "{}", run.stdout);
}

#[test]
fn a_server_that_does_not_answer_is_given_up_on() {
    // Connections are taken by the system and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let began = Instant::now();
    let url = format!("postgres://me:{SECRET}@127.0.0.1:{port}/app?connect_timeout=2");
    let run = finished(bare(&["timeline"]).env("DATABASE_URL", url));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(began.elapsed() < Duration::from_secs(8) && !run.stderr.contains(SECRET), "{}", run.stderr);
}

#[test]
fn the_database_is_taken_from_the_flag_then_the_environment_then_the_file() {
    let sample = Sample::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).expect("can be made");
    let url = sample.db.url();
    fs::write(directory.path().join(".env"), format!("DATABASE_URL=\"{url}\"\n")).expect("can be written");
    // From a directory below, as diesel finds it.
    let run = finished(bare(&["timeline", "--count"]).current_dir(&inner));
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "14\n"), "{}", run.stderr);
    let nowhere = "postgres://127.0.0.1:1/app";
    let run = finished(bare(&["timeline", "--count"]).current_dir(&inner).env("DATABASE_URL", nowhere));
    assert_eq!(run.code, Some(2), "the environment goes before the file");
    let mut command = bare(&["timeline", "--count", "--database-url", &url]);
    assert_eq!(finished(command.env("DATABASE_URL", nowhere)).code, Some(0), "the flag goes before both");

    fs::write(directory.path().join(".env"), format!("DATABASE_URL='{SECRET}\nX")).expect("can be written");
    let run = finished(bare(&["timeline"]).current_dir(&inner));
    assert!(
        run.stderr.contains("`.env` could not be read") && !run.stderr.contains(SECRET),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("no database is named"), "{}", run.stderr);
}

#[test]
fn sessions_have_a_name_and_end_in_time() {
    let sample = Sample::new();
    sample.run_sql(
        "ALTER TABLE threadline.audit_changes RENAME TO held;
         CREATE VIEW threadline.audit_changes AS SELECT h.* FROM threadline.held h, pg_sleep(60)",
    );
    let began = Instant::now();
    let mut command = sample.command(&["timeline", "--statement-timeout", "2s"]);
    let child = command.stderr(std::process::Stdio::piped()).spawn().expect("starts");
    let mut seen = String::new();
    while seen != "threadline" && began.elapsed() < Duration::from_millis(1900) {
        let sql = "SELECT coalesce(max(application_name), '') FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> ''";
        seen = sample.text(sql);
    }
    let output = child.wait_with_output().expect("ends");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(seen, "threadline");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("statement timeout"), "{stderr}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_pooler_in_transaction_mode_is_no_hindrance() {
    let sample = Sample::new();
    let pooler = Pooler::start(&sample.db, 1).unwrap_or_else(|error| panic!("{error}"));
    let id = sample.transaction("post.purged");
    for arguments in [
        &["timeline", "--all"][..],
        &["history", "posts", "1"],
        &["as-of", "users", "--at", "now"],
        &["diff", "members", "--from", &sample.mark("attached")],
        &["export"],
        &["feed", "--all"],
        &["undo", "--transaction", &id, "--execute", "--actor", "admin:7", "--reason", "pooled"],
        &["timeline", "--all", "--json"],
    ] {
        let run = finished(bare(arguments).env("DATABASE_URL", pooler.url()));
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
    }
    // A limit that would stay behind for other clients is refused instead.
    let run = finished(bare(&["timeline", "--statement-timeout", "1s"]).env("DATABASE_URL", pooler.url()));
    assert_eq!(run.code, Some(2), "{}", run.stdout);
    let timeout = finished(bare(&["timeline"]).env("DATABASE_URL", pooler.url()));
    assert_eq!(timeout.code, Some(0), "{}", timeout.stderr);
}

#[test]
fn a_database_without_the_audit_schema_is_told_how_to_get_it() {
    let db = threadline_devdb::TestDatabase::empty();
    for arguments in [
        &["timeline"][..],
        &["history", "posts", "1"],
        &["as-of", "posts", "--at", "now"],
        &["feed"],
        &["actions"],
    ] {
        let run = finished(bare(arguments).env("DATABASE_URL", db.url()));
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains("the database has no audit schema"), "{arguments:?}: {}", run.stderr);
    }
}
