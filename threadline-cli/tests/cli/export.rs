//! `threadline export`: a file that is whole or not there.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::sample::Sample;
use crate::schemas::assert_documented;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("is there");
    entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn each_form_holds_the_same_changes() {
    let (sample, directory) = (Sample::new(), directory());
    let timeline = sample.json(&["timeline", "--all", "--json"]);
    for (name, rows) in [("a.ndjson", 14), ("a.json", 14), ("a.csv", 14)] {
        let path = directory.path().join(name);
        let manifest = sample.json(&["export", "--output", text(&path), "--json"]);
        assert_documented("export", &manifest);
        assert_eq!(manifest["rows"], rows);
        let written = fs::read(&path).expect("was written");
        assert_eq!(manifest["bytes"], written.len());
        let sum = Command::new("sha256sum").arg(&path).output().expect("coreutils are there");
        let sum = String::from_utf8(sum.stdout).expect("UTF-8");
        assert_eq!(sum.split(' ').next(), manifest["sha256"].as_str());
    }
    let ndjson = fs::read_to_string(directory.path().join("a.ndjson")).expect("was written");
    let entries: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(&entries, timeline["entries"].as_array().expect("a list"));
    assert_eq!(sample.done(&["export", "--format", "ndjson"]), ndjson);
    assert_eq!(sample.done(&["export", "--format", "ndjson", "--output", "-"]), ndjson);
}

#[test]
fn what_is_there_is_replaced_only_when_asked() {
    let (sample, directory) = (Sample::new(), directory());
    let path = directory.path().join("a.csv");
    fs::write(&path, "precious").expect("can be written");
    let refused = sample.refused(&["export", "--output", text(&path)]);
    assert!(refused.contains("exists; `--force` replaces it"), "{refused}");
    assert_eq!(fs::read_to_string(&path).expect("is there"), "precious");
    // Also not when the export fails.
    sample.refused(&["export", "--output", text(&path), "--force", "--table", "nowhere"]);
    assert_eq!(fs::read_to_string(&path).expect("is there"), "precious");
    sample.done(&["export", "--output", text(&path), "--force", "--manifest"]);
    assert!(fs::read_to_string(&path).expect("is there").starts_with("id,"));
    let manifest = fs::read_to_string(directory.path().join("a.csv.manifest.json")).expect("was written");
    assert_documented("export", &serde_json::from_str(&manifest).expect("JSON"));
    let mut left = names(directory.path());
    left.sort();
    assert_eq!(left, ["a.csv", "a.csv.manifest.json"]);
    let refused = sample.refused(&["export", "--format", "csv", "--output", "/dev/null", "--force"]);
    assert!(refused.contains("is no regular file"), "{refused}");
    let refused = sample.refused(&["export", "--output", text(&directory.path().join("no/such/a.csv"))]);
    assert!(refused.contains("cannot write into"), "{refused}");
    let refused = sample.refused(&["export", "--output", text(&directory.path().join("a.xlsx"))]);
    assert!(refused.contains("name one with `--format`"), "{refused}");
}

#[test]
fn what_was_left_out_is_said() {
    let (sample, directory) = (Sample::new(), directory());
    let path = directory.path().join("a.csv");
    let run = sample.run(&["export", "--output", text(&path), "--max-rows", "3"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert!(run.stderr.starts_with("3 changes, "), "{}", run.stderr);
    assert!(
        run.stderr.contains("truncated: true, sha256 ") && run.stderr.contains("warning: there are more"),
        "{}",
        run.stderr
    );
    let run = sample.run(&["export", "--output", text(&path), "--force", "--all"]);
    assert!(
        run.stderr.starts_with("14 changes, ") && run.stderr.contains("truncated: false"),
        "{}",
        run.stderr
    );
    assert_eq!(sample.done(&["export", "--dry-run", "--table", "users"]), "2 changes\n");
    assert_eq!(sample.done(&["export", "--dry-run", "--max-rows", "3"]), "3+ changes\n");
}

#[test]
fn an_interrupted_export_leaves_nothing() {
    let (sample, directory) = (Sample::new(), directory());
    sample
        .run_sql("INSERT INTO posts SELECT n, repeat('x', 2000), NULL, 0 FROM generate_series(100, 60000) n");
    let path = directory.path().join("a.ndjson");
    for signal in ["INT", "TERM"] {
        let mut command = sample.command(&["export", "--all", "--output", text(&path)]);
        let child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let began = Instant::now();
        let is_writing = || {
            let mut entries = fs::read_dir(directory.path()).expect("is there");
            entries.any(|entry| entry.expect("readable").metadata().is_ok_and(|metadata| metadata.len() > 0))
        };
        while !is_writing() && began.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(1));
        }
        let killed = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        assert!(killed.expect("kill is there").success());
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(130), "{signal}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(names(directory.path()), [] as [&str; 0], "{signal}");
    }
}
