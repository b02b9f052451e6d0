//! `threadline feed`: once, in order, from where it was left.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::sample::Sample;

fn ids(lines: &str) -> Vec<String> {
    let entry = |line: &str| -> Value { serde_json::from_str(line).expect("a line is a document") };
    let id = |entry: Value| {
        entry["transaction"]["id"].as_str().or(entry["action"]["id"].as_str()).map(str::to_owned)
    };
    lines.lines().map(|line| id(entry(line)).expect("has an id")).collect()
}

#[test]
fn batches_put_together_are_the_whole_feed() {
    let sample = Sample::new();
    let all = ids(&sample.done(&["feed", "--all", "--ndjson"]));
    assert_eq!(all.len(), 11);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("cursor");
    let file = path.to_str().expect("UTF-8");
    let mut read = Vec::new();
    for _ in 0..20 {
        read.extend(ids(&sample.done(&["feed", "--limit", "2", "--ndjson", "--cursor-file", file])));
    }
    assert_eq!(read, all);
    // What is committed now is all that is left.
    sample.run_sql("UPDATE posts SET views = 7 WHERE id = 1");
    let mut later = Vec::new();
    // Transactions of other tests hold it back for a while.
    while later.is_empty() {
        later = ids(&sample.done(&["feed", "--ndjson", "--cursor-file", file]));
    }
    assert_eq!(later.len(), 1);
    let first = sample.json(&["feed", "--limit", "2", "--json"]);
    let next =
        sample.done(&["feed", "--ndjson", "--all", "--cursor", first["cursor"].as_str().expect("a text")]);
    let taken = first["entries"].as_array().expect("a list").len();
    assert_eq!(ids(&next)[..all.len() - taken], all[taken..]);

    fs::write(&path, "nonsense").expect("can be written");
    assert!(sample.refused(&["feed", "--cursor-file", file]).contains("cannot read on from"));
    assert_eq!(sample.done(&["feed", "--from-now", "--ndjson"]), "");
}

#[test]
fn following_gets_what_is_committed_later() {
    let sample = Sample::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("cursor");
    let mut command = sample.command(&[
        "feed",
        "--follow",
        "--from-now",
        "--ndjson",
        "--poll",
        "100ms",
        "--cursor-file",
        path.to_str().expect("UTF-8"),
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
    // It has begun when it has kept its place.
    while !path.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for views in [11, 12] {
        sample.run_sql(&format!("UPDATE posts SET views = {views} WHERE id = 1"));
        let line = lines.next().expect("goes on").expect("UTF-8");
        let entry: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(entry["changes"][0]["fields"]["views"]["after"], views);
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(killed.expect("kill is there").success());
    child.wait().expect("ends");
    // Interrupted before it kept its place, it has the last entry come again, and no other.
    let again = sample.done(&["feed", "--ndjson", "--cursor-file", path.to_str().expect("UTF-8")]);
    for line in again.lines() {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(entry["changes"][0]["fields"]["views"]["after"], 12, "{again}");
    }
    assert!(again.lines().count() <= 1, "{again}");
}

#[test]
fn what_holds_the_feed_back_is_named() {
    use diesel::connection::SimpleConnection;
    let sample = Sample::new();
    let mut open = sample.db.connect();
    open.batch_execute("BEGIN; UPDATE posts SET views = 8 WHERE id = 1").expect("begins");
    sample.run_sql("UPDATE posts SET views = 8 WHERE id = 3");
    let shown = sample.done(&["feed", "--hold"]);
    assert!(shown.contains("has been running since ") && shown.contains("pg_cancel_backend("), "{shown}");
    assert!(sample.json(&["feed", "--hold", "--json"])["hold"]["pid"].is_number());
}
