//! The program itself: from an empty database to an answer.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use threadline_devdb::TestDatabase;

use blog::seed::SEEDED;

use crate::app::{PASSWORD, log_in, send};

#[test]
fn it_migrates_an_empty_database_and_says_where_it_listens() {
    let db = TestDatabase::empty();
    let mut program = Command::new(env!("CARGO_BIN_EXE_blog"))
        .env("DATABASE_URL", db.url())
        .env("LISTEN", "127.0.0.1:0")
        .env("DEMO_PASSWORD", PASSWORD)
        .env_remove("SESSION_KEY")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test");
    let mut line = String::new();
    let stdout = program.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("the program writes UTF-8");
    let users = line.trim_end().strip_prefix("listening on http://").map(|address| {
        let address = address.parse().expect("an address");
        let session = format!("cookie: {}", log_in(address, SEEDED[0], PASSWORD).cookie());
        send(address, &[&session], "GET", "/api/users", "")
    });
    program.kill().and_then(|()| program.wait()).expect("it can be ended");
    let users = users.unwrap_or_else(|| panic!("{line:?}")).expect("the server answers");
    assert_eq!(users.body[0]["name"], "ann");
}

#[test]
fn without_a_database_it_says_what_is_missing() {
    let program = Command::new(env!("CARGO_BIN_EXE_blog")).env_remove("DATABASE_URL").output();
    let output = program.expect("the binary was built for this test");
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("DATABASE_URL is not set"), "{stderr}");
}

#[test]
fn a_short_session_key_is_refused() {
    let program = Command::new(env!("CARGO_BIN_EXE_blog"))
        .env("DATABASE_URL", "postgres://nowhere.invalid/blog")
        .env("SESSION_KEY", "secret")
        .output();
    let stderr = program.expect("the binary was built for this test").stderr;
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(stderr.contains("SESSION_KEY is shorter than 32 bytes"), "{stderr}");
}
