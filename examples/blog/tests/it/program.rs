//! The program itself: from an empty database to an answer.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use threadline_devdb::TestDatabase;

use blog::seed::SEEDED;

use crate::app::{PASSWORD, log_in, send};

#[test]
fn it_migrates_an_empty_database_says_where_it_listens_and_counts_what_it_does() {
    let db = TestDatabase::empty();
    let mut program = Command::new(env!("CARGO_BIN_EXE_blog"))
        .env("DATABASE_URL", db.url())
        .env("LISTEN", "127.0.0.1:0")
        .env("DEMO_PASSWORD", PASSWORD)
        .env("METRICS_LISTEN", "127.0.0.1:0")
        .env_remove("SESSION_KEY")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test");
    let mut lines = BufReader::new(program.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let said = [lines.next(), lines.next()];
    let answers = || {
        let address = |line: &Option<String>, before: &str, after: &str| {
            line.as_ref()?.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
        };
        let metrics = address(&said[0], "metrics on http://", "/metrics")?;
        let address = address(&said[1], "listening on http://", "")?;
        let session = format!("cookie: {}", log_in(address, SEEDED[0], PASSWORD).cookie());
        let users = send(address, &[&session], "GET", "/api/users", "").ok()?;
        let post = r#"{"title": "t", "body": "b", "tags": [], "price": "1"}"#;
        let headers = [session.as_str(), "content-type: application/json"];
        let post = send(address, &headers, "POST", "/api/posts", post).ok()?;
        Some((users, post, send(metrics, &[], "GET", "/metrics", "").ok()?))
    };
    let answers = answers();
    program.kill().and_then(|()| program.wait()).expect("it can be ended");
    let (users, post, metrics) = answers.unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(users.body[0]["name"], "ann");
    assert_eq!(post.status, 201, "{}", post.text);
    let metrics = metrics.text;
    assert!(metrics.contains("threadline_transactions_total{outcome=\"committed\"}"), "{metrics}");
    assert!(metrics.contains("# HELP threadline_transaction_duration_seconds"), "{metrics}");
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
