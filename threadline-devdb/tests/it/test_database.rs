//! `TestDatabase`.

use std::io::Read;
use std::mem;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, thread};

use diesel::prelude::*;
use threadline_devdb::{Cluster, Error, TestDatabase};

use crate::running::{eventually, stdout_of};
use crate::{execute, texts};

fn with_posts() -> TestDatabase {
    TestDatabase::from_template("posts", |url| {
        let mut conn = PgConnection::establish(url).expect("the template accepts connections");
        execute("CREATE TABLE posts (title text)", &mut conn);
        execute("INSERT INTO posts VALUES ('from the template')", &mut conn);
        // As a connection pool that nobody closes.
        mem::forget(conn);
    })
}

fn titles(db: &TestDatabase) -> Vec<String> {
    texts("SELECT title AS value FROM posts ORDER BY title", &mut db.connect())
}

fn exists(name: &str, db: &TestDatabase) -> bool {
    let sql = format!("SELECT datname::text AS value FROM pg_database WHERE datname = '{name}'");
    !texts(&sql, &mut db.connect()).is_empty()
}

#[test]
fn copy_has_the_templates_rows_and_no_other_copys() {
    let (one, other) = (with_posts(), with_posts());
    execute("INSERT INTO posts VALUES ('mine')", &mut one.connect());
    assert_eq!(titles(&one), ["from the template", "mine"]);
    assert_eq!(titles(&other), ["from the template"]);
}

#[test]
fn template_is_built_once_by_many_threads() {
    static BUILDS: AtomicU32 = AtomicU32::new(0);

    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let db = TestDatabase::from_template("counted", |_| {
                    BUILDS.fetch_add(1, Ordering::Relaxed);
                });
                assert!(exists(db.name(), &db));
            });
        }
    });
    assert_eq!(BUILDS.load(Ordering::Relaxed), 1);
}

#[test]
fn template_that_failed_is_tried_again() {
    let build = |fails: bool| {
        thread::spawn(move || {
            TestDatabase::from_template("fails at first", move |_| assert!(!fails, "a migration fails"));
        })
        .join()
    };
    assert!(build(true).is_err());
    assert!(build(false).is_ok());
}

#[test]
fn database_is_gone_after_its_guard_even_when_connected_to() {
    let (observer, db) = (TestDatabase::empty(), TestDatabase::empty());
    let name = db.name().to_owned();
    assert!(exists(&name, &observer));
    let _conn = db.connect();
    drop(db);
    assert!(!exists(&name, &observer));
}

#[test]
fn database_is_gone_after_a_test_that_panicked() {
    let observer = TestDatabase::empty();
    let db = TestDatabase::empty();
    let name = db.name().to_owned();
    let test = thread::spawn(move || {
        let _db = db;
        panic!("as a failing test does");
    });
    assert!(test.join().is_err());
    assert!(!exists(&name, &observer));
}

#[test]
fn empty_database_has_no_tables() {
    let sql = "SELECT relname::text AS value FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert!(texts(sql, &mut TestDatabase::empty().connect()).is_empty());
}

#[test]
fn another_role_connects_as_itself() {
    let db = with_posts();
    let role = format!("{} reader", db.name());
    execute(&format!("CREATE ROLE \"{role}\" LOGIN"), &mut db.connect());
    let mut conn = db.connect_as(&role);
    assert_eq!(texts("SELECT session_user::text AS value", &mut conn), [role.as_str()]);
    assert!(
        diesel::sql_query("SELECT title FROM posts").execute(&mut conn).is_err(),
        "it was granted nothing"
    );
    assert!(db.url_as(&role).contains("%20reader"));
    execute(&format!("DROP ROLE \"{role}\""), &mut db.connect());
}

#[test]
fn programs_are_led_to_the_database() {
    let (db, copy) = (with_posts(), TestDatabase::empty());
    let dump = env::temp_dir().join(format!("{}.dump", db.name()));
    stdout_of(db.command("pg_dump").args(["--format=custom", "--file"]).arg(&dump));
    stdout_of(copy.command("pg_restore").args(["--dbname", copy.name()]).arg(&dump));
    std::fs::remove_file(&dump).expect("it was written");
    assert_eq!(titles(&copy), ["from the template"]);
    stdout_of(copy.command("pgbench").args(["--initialize", "--quiet"]));
    assert_eq!(
        stdout_of(copy.command("psql").args(["-AXtc", "SELECT count(*) FROM pgbench_accounts"])),
        "100000"
    );
}

#[test]
fn databases_of_a_killed_process_leave_a_server_that_was_named() -> Result<(), Error> {
    let cluster = Cluster::start()?;
    cluster.create_database("somebodys")?;
    let mut child = Command::new(env::current_exe().expect("the test has a path"))
        .args(["--exact", "test_database::child_that_dies_with_databases", "--ignored", "--nocapture"])
        .env("TEST_DATABASE_URL", cluster.url("somebodys"))
        .env("DATABASE_URL", "postgres://nobody.invalid/not_this_one")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test binary runs");
    let stdout = child.stdout.as_mut().expect("it is piped");
    let mut said = Vec::new();
    while !said.ends_with(b"ready\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).expect("the child gets ready");
        said.push(byte[0]);
    }
    let databases = || {
        let sql = "SELECT datname::text AS value FROM pg_database WHERE NOT datistemplate ORDER BY datname";
        texts(sql, &mut cluster.connect("postgres").expect("the server is there"))
    };
    let (pid, during) = (child.id(), databases());
    assert_eq!(
        during.iter().filter(|name| name.starts_with(&format!("test_{pid}_"))).count(),
        3,
        "{during:?}"
    );
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    assert!(eventually(|| databases() == ["postgres", "somebodys"]), "{:?}", databases());
    Ok(())
}

#[test]
#[ignore = "run by databases_of_a_killed_process_leave_a_server_that_was_named"]
fn child_that_dies_with_databases() {
    let (db, _empty) = (with_posts(), TestDatabase::empty());
    assert!(db.cluster().is_none());
    println!("\nready");
    // Until it is killed, or its parent is gone.
    let _ = std::io::stdin().read(&mut [0]);
    process::abort();
}
