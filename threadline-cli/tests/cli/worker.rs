//! `threadline worker` and its storage: one part that cannot work stops no other, and each says what it did.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::host::Run;
use crate::sample::{Sample, finished};
use crate::schemas::assert_documented;

/// A configured worker: its database, its configuration, and the place of its storage, which is not there yet.
struct Place {
    sample: Sample,
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { sample: Sample::new(), directory: TempDir::new().expect("a temporary directory") };
        let storage = place.storage();
        place.configure(&format!("[storage]\nurl = \"file://{}\"\n", storage.display()));
        place
    }

    fn configure(&self, storage: &str) {
        let toml = format!("{storage}[worker]\nexports_every = \"1s\"\n[retention]\nkeep = \"10 years\"\n");
        fs::write(self.directory.path().join("threadline.toml"), toml).expect("can be written");
    }

    fn storage(&self) -> PathBuf {
        self.directory.path().canonicalize().expect("it exists").join("store")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sample.command(arguments);
        command.current_dir(self.directory.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        finished(&mut self.command(arguments))
    }

    fn done(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {}{}", run.stdout, run.stderr);
        run
    }

    fn enqueue(&self) -> String {
        let run = self.done(&["exports", "enqueue", "--table", "posts", "--by", "admin:7", "--json"]);
        document(&run)["job"]["id"].as_str().expect("a text").to_owned()
    }

    fn state(&self, job: &str) -> String {
        document(&self.done(&["exports", "show", job, "--json"]))["job"]["state"]
            .as_str()
            .expect("a text")
            .to_owned()
    }

    /// How each task ended, by `worker --once`.
    fn once(&self) -> Vec<(String, String, String)> {
        let document = document(&self.run(&["worker", "--once", "--json"]));
        assert_documented("worker", &document);
        let tasks = document["tasks"].as_array().expect("a list").iter();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        tasks.map(|task| (text(&task["task"]), text(&task["outcome"]), text(&task["text"]))).collect()
    }
}

fn document(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", run.stdout, run.stderr))
}

fn outcomes(tasks: &[(String, String, String)]) -> Vec<(&str, &str)> {
    tasks.iter().map(|(task, outcome, _)| (task.as_str(), outcome.as_str())).collect()
}

fn said<'a>(tasks: &'a [(String, String, String)], task: &str) -> &'a str {
    &tasks.iter().find(|(name, ..)| name == task).expect("is told of").2
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).expect("is there").next().is_none()
}

/// Killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_storage_that_cannot_be_used_stops_nothing_else() {
    let place = Place::new();
    let job = place.enqueue();
    let tasks = place.once();
    assert_eq!(
        outcomes(&tasks),
        [
            ("partitions", "done"),
            ("retention", "done"),
            ("health", "done"),
            ("exports", "failed"),
            ("expiry", "failed")
        ]
    );
    for part in ["`url` of `[storage]`", &place.storage().display().to_string(), "threadline storage create"]
    {
        assert!(said(&tasks, "exports").contains(part), "{tasks:?}");
    }
    assert!(!place.storage().exists(), "nobody asked for it");
    assert_eq!(place.state(&job), "queued", "no attempt was spent on it");

    // One that goes on says so, and makes the export once it can.
    let mut command = place.command(&["worker"]);
    let mut running = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts"));
    let stderr = BufReader::new(running.0.stderr.take().expect("is piped"));
    let mut lines = stderr.lines().map(|line| line.expect("UTF-8"));
    let told = lines.find(|line| line.contains("`exports` has failed")).expect("says so");
    assert!(told.contains("ERROR") && told.contains("`url` of `[storage]`"), "{told}");
    place.done(&["storage", "create"]);
    let begun = Instant::now();
    while place.state(&job) != "completed" {
        assert!(begun.elapsed() < Duration::from_secs(60), "a minute has passed");
        std::thread::sleep(Duration::from_millis(50));
    }
    let told = lines.find(|line| line.contains("`exports`: ")).expect("says so");
    assert!(told.contains("INFO") && told.ends_with("1 made"), "{told}");
    assert!(lines.any(|line| line.contains("`exports` works again")));
}

#[test]
fn all_that_retention_removed_is_counted() {
    let place = Place::new();
    let toml = "[retention]\nkeep = \"1s\"\nminimum = \"0s\"\npause = \"0ms\"\n";
    fs::write(place.directory.path().join("threadline.toml"), toml).expect("can be written");
    // An old baseline goes by the window of its table.
    place.done(&[
        "continuity",
        "posts",
        "--baseline",
        "--execute",
        "--actor",
        "admin:7",
        "--reason",
        "cut-over",
    ]);
    let (changes, transactions) = (
        "SELECT count(*) FROM threadline.audit_changes",
        "SELECT count(*) FROM threadline.audit_transactions",
    );
    let before = [changes, transactions].map(|sql| place.sample.text(sql));
    let baseline_rows = place.sample.text("SELECT count(*) FROM posts");
    std::thread::sleep(Duration::from_millis(1100));
    let document = document(&place.done(&["worker", "--once", "--json"]));
    assert_documented("worker", &document);
    let tasks = document["tasks"].as_array().expect("a list");
    let retention = tasks.iter().find(|task| task["task"] == "retention").expect("is told of");
    let count = |name: &str| retention["counts"][name].to_string();
    assert_eq!([count("changes"), count("transactions")], before, "{retention}");
    assert_eq!((count("bytes"), count("baseline_rows")), ("0".to_owned(), baseline_rows.clone()));
    let text = retention["text"].as_str().expect("a text");
    for part in [format!("{} transactions", before[1]), format!("{baseline_rows} baseline rows")] {
        assert!(text.contains(&part), "{text}");
    }
}

#[test]
fn the_place_of_an_absent_volume_is_no_storage() {
    let place = Place::new();
    let (store, away) = (place.storage(), place.directory.path().join("away"));
    // As a mount point is while nothing is mounted.
    fs::create_dir(&store).expect("can be made");
    let refused = place.run(&["storage", "check"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stdout.contains("it has no `.threadline-storage`"), "{}", refused.stdout);
    let told = place.done(&["config", "check"]).stdout;
    assert!(
        told.starts_with("valid  threadline.toml\nhere, `url` of `[storage]`: the storage's directory `"),
        "{told}"
    );
    let checked = document(&place.done(&["config", "check", "--json"]));
    assert_documented("config-check", &checked);
    assert!(checked["storage_problem"].is_string());
    assert_eq!(outcomes(&place.once())[3], ("exports", "failed"));
    assert!(is_empty(&store));

    for (verb, usable) in [("check", false), ("create", true), ("check", true)] {
        let document = document(&place.run(&["storage", verb, "--json"]));
        assert_documented("storage", &document);
        assert_eq!(document["usable"], usable, "{document}");
    }
    assert!(document(&place.done(&["config", "check", "--json"]))["storage_problem"].is_null());

    // And one that goes away later on: neither written to nor taken for one whose files are gone already.
    let job = place.enqueue();
    assert_eq!(said(&place.once(), "exports"), "1 made");
    fs::rename(&store, &away).expect("can be moved");
    fs::create_dir(&store).expect("can be made");
    place.sample.run_sql("UPDATE threadline.export_jobs SET expires_at = now() - interval '1 day'");
    let tasks = place.once();
    assert_eq!(outcomes(&tasks)[3..], [("exports", "failed"), ("expiry", "failed")], "{tasks:?}");
    assert!(is_empty(&store));
    fs::remove_dir(&store).expect("is empty");
    fs::rename(&away, &store).expect("can be moved");
    assert_eq!(said(&place.once(), "expiry"), "removed the files of 1 export");
    assert_eq!(place.state(&job), "expired");
}

#[test]
fn an_export_that_cannot_be_made_is_a_failure_of_the_worker() {
    let place = Place::new();
    place.done(&["storage", "create"]);
    let job = place.enqueue();
    // As when the column is dropped after the job was queued.
    place.sample.run_sql("UPDATE threadline.export_jobs SET filter = filter || '{\"column\": [\"gone\"]}'");
    let run = place.run(&["worker", "--once"]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("exports     failed  1 failed\n"), "{}", run.stdout);
    assert!(run.stderr.ends_with("error: 1 of 5 tasks failed: exports\n"), "{}", run.stderr);
    let shown = place.done(&["exports", "show", &job]).stdout;
    assert!(shown.contains("its filter cannot be answered: a column that no table has"), "{shown}");
    let run = place.done(&["worker", "--once", "--json"]);
    assert_documented("worker", &document(&run));
}

#[test]
fn a_missing_schema_is_told_once() {
    let place = Place::new();
    place.sample.run_sql("DROP SCHEMA threadline CASCADE");
    let run = place.run(&["worker", "--once"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{}", run.stderr);
    assert_eq!(
        run.stderr.matches("has no audit schema; run `threadline migrate`").count(),
        1,
        "{}",
        run.stderr
    );
}

#[test]
fn exports_that_nobody_will_make_are_told_of() {
    let place = Place::new();
    assert_eq!(place.done(&["exports", "enqueue", "--by", "admin:7"]).stderr, "");
    place.configure("");
    let run = place.done(&["exports", "enqueue", "--by", "admin:7"]);
    assert!(
        run.stderr.starts_with("warning: no storage is configured here; the job waits"),
        "{}",
        run.stderr
    );
    let run = place.done(&["worker", "--once"]);
    let line = run.stdout.lines().last().expect("there is one");
    assert_eq!(
        line,
        "exports     done  2 exports wait: this worker has no storage; set `url` in `[storage]` of `threadline.toml`"
    );
    assert!(run.stderr.contains("WARN") && run.stderr.contains("2 exports wait"), "{}", run.stderr);
}

#[test]
fn what_was_done_once_is_said_by_task_and_health_by_its_codes() {
    let place = Place::new();
    place.done(&["storage", "create"]);
    place.sample.run_sql(
        "ALTER TABLE posts DISABLE TRIGGER USER;
         UPDATE posts SET title = 'a-secret-title' WHERE id = 1",
    );
    place.enqueue();
    let run = place.done(&["worker", "--once"]);
    let heads: Vec<&str> = run.stdout.lines().filter_map(|line| line.split("  ").next()).collect();
    assert_eq!(heads, ["partitions", "retention", "health", "exports", "expiry"], "{}", run.stdout);
    assert!(run.stdout.contains("retention   done  nothing was due (run "), "{}", run.stdout);
    assert!(run.stdout.contains("exports     done  1 made\n"), "{}", run.stdout);
    for text in [&run.stdout, &run.stderr] {
        assert!(text.contains("trigger_disabled") && !text.contains("secret"), "{text}");
    }
    let narrow = place.run(&["worker", "--once", "--width", "60"]);
    assert!(narrow.stdout.lines().all(|line| line.chars().count() <= 60), "{}", narrow.stdout);
    let refused = place.run(&["worker", "--json"]);
    assert_eq!((refused.code, refused.stderr.contains("`--once`")), (Some(2), true), "{}", refused.stderr);
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_neither_read_nor_written() {
    let place = Place::new();
    place.done(&["storage", "create"]);
    let job = place.enqueue();
    assert_eq!(said(&place.once(), "exports"), "1 made");
    let fifo = |path: &Path| {
        let made = Command::new("mkfifo").arg(path).status().expect("is there");
        assert!(made.success());
    };
    let target = place.directory.path().join("pipe.csv");
    fifo(&target);
    for force in [&[][..], &["--force"]] {
        let run = place.run(&[&["exports", "download", &job, "--output", "pipe.csv"], force].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains("`pipe.csv` is no regular file"), "{}", run.stderr);
    }
    let file = fs::read_dir(place.storage().join("exports")).expect("is there").next().expect("is there");
    let file = file.expect("readable").path();
    fs::remove_file(&file).expect("can be removed");
    fifo(&file);
    let run = place.run(&["exports", "download", &job, "--output", "new.csv"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("is no regular file: somebody has put"), "{}", run.stderr);
    assert!(!place.directory.path().join("new.csv").exists());
}
