//! `threadline undo`: planned for review, executed under somebody's name, or not at all.

use std::fs;

use serde_json::Value;

use crate::sample::Sample;
use crate::schemas::assert_documented;

const WHO: [&str; 5] = ["--execute", "--actor", "admin:7", "--reason", "deleted by mistake"];

#[test]
fn a_plan_says_what_it_would_write_and_writes_nothing() {
    let sample = Sample::new();
    let id = sample.transaction("post.purged");
    let shown = sample.done(&["undo", "--transaction", &id]);
    for part in [
        "1 row of 1 transaction",
        "insert again public.posts 2",
        r#"  title  "Second""#,
        "everything can be undone, and no later work is in the way",
        "nothing was written; `--execute",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let sql = sample.done(&["undo", "--transaction", &id, "--sql"]);
    assert!(sql.starts_with("BEGIN;\n") && sql.contains("INSERT INTO \"public\".\"posts\""), "{sql}");
    assert_eq!(sample.text("SELECT count(*) FROM posts WHERE id = 2"), "0");
}

#[test]
fn executing_takes_a_name_and_a_reason() {
    let sample = Sample::new();
    let id = sample.transaction("post.purged");
    for missing in [
        &["--execute"][..],
        &["--execute", "--actor", "admin:7"],
        &["--execute", "--reason", "x"],
        &["--reason", "x"],
    ] {
        sample.refused(&[&["undo", "--transaction", &id], missing].concat());
    }
    let shown = sample.done(&[&["undo", "--transaction", &id], &WHO[..]].concat());
    assert_eq!(sample.text("SELECT title FROM posts WHERE id = 2"), "Second");
    let undone_by = shown.split("undone by transaction ").nth(1).expect("says so").trim();
    let incident = sample.json(&["incident", undone_by, "--json"]);
    assert_eq!(incident["transaction"]["actor_id"], "7");
    assert_eq!(incident["actions"][0]["name"], "threadline.undo");
    assert_eq!(incident["actions"][0]["reason"], "deleted by mistake");
    assert_eq!(incident["transaction"]["meta"]["undoes"]["transactions"][0], id.as_str());
    // Once more there is nothing to do, and nothing is done.
    let count = "SELECT count(*) FROM threadline.audit_transactions";
    let before = sample.text(count);
    let shown = sample.done(&[&["undo", "--transaction", &id], &WHO[..]].concat());
    assert!(shown.contains("nothing is left to undo: the rows are as they were"), "{shown}");
    assert!(shown.contains("nothing was written\n") && !shown.contains("--execute"), "{shown}");
    let again = sample.json(&[&["undo", "--transaction", &id, "--json"], &WHO[..]].concat());
    assert_documented("undo", &again);
    assert!(again["undone_by"].is_null() && again["clean"] == true, "{again}");
    let sql = sample.done(&["undo", "--transaction", &id, "--sql"]);
    assert_eq!(sql, "-- nothing is left to undo: the rows are as they were\n");
    assert_eq!(sample.text(count), before);
}

#[test]
fn later_work_in_the_way_is_shown_and_nothing_is_written() {
    let sample = Sample::new();
    let id = sample.transaction("post.published");
    // A row the transaction inserted was deleted since, and another one has come in its place.
    sample.run_sql("INSERT INTO posts VALUES (2, 'Another')");
    let run = sample.run(&["undo", "--transaction", &id]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stdout.contains("! row `2` of \"public\".\"posts\": the row is gone, last by change "),
        "{}",
        run.stdout
    );
    let run = sample.run(&[&["undo", "--transaction", &id], &WHO[..]].concat());
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
    assert_eq!(sample.text("SELECT title FROM posts WHERE id = 1"), "Final");
    let skipping = [&["undo", "--transaction", &id, "--conflicts", "skip"], &WHO[..]].concat();
    // What is printed is what is done.
    let plan = ["undo", "--transaction", &id, "--conflicts", "skip"];
    let shown = sample.done(&plan);
    assert!(shown.contains("1 row of 1 transaction; 1 row left out\n"), "{shown}");
    assert!(shown.contains("left out public.posts 2\n  ! row `2`"), "{shown}");
    assert!(shown.contains(": left as it is\n") && shown.contains("set back public.posts 1\n"), "{shown}");
    let settled = sample.json(&[&plan[..], &["--json"]].concat());
    assert_documented("undo", &settled);
    assert_eq!(settled["settled"].as_array().map(Vec::len), Some(1), "{settled}");
    assert_eq!(settled["plan"]["steps"].as_array().map(Vec::len), Some(2), "the plan that is reviewed");
    assert!(sample.json(&["undo", "--transaction", &id, "--json"])["settled"].is_null());
    sample.done(&skipping);
    assert_eq!(sample.text("SELECT title FROM posts WHERE id = 1"), "Draft");
    assert_eq!(sample.text("SELECT title FROM posts WHERE id = 2"), "Another");
}

#[test]
fn what_cannot_be_undone_is_listed() {
    let sample = Sample::new();
    sample.run_sql("UPDATE users SET email = 'c@example.org' WHERE id = 1; DELETE FROM users WHERE id = 1");
    let id = sample.text("SELECT transaction_id FROM threadline.audit_changes WHERE op = 'D' ORDER BY captured_at DESC LIMIT 1");
    let run = sample.run(&["undo", "--transaction", &id]);
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stdout.contains("masked (a loss)"), "{}", run.stdout);
    assert_documented("undo", &sample.json(&["undo", "--transaction", &id, "--json"]));
}

#[test]
fn a_reviewed_plan_is_executed_only_as_it_was_reviewed() {
    let sample = Sample::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("plan.json");
    let file = path.to_str().expect("UTF-8");
    let created = sample.mark("created");
    let (published, purged) = (sample.transaction("post.published"), sample.transaction("post.purged"));
    let action = sample.text("SELECT id FROM threadline.audit_actions WHERE name = 'post.purged'");
    let change = format!("{published}#1");
    let targets = [
        &["--row", "posts", "1", "--to", &created][..],
        &["--row", "members", "organization_id=7", "user_id=42", "--to", &created],
        &["--transaction", &purged],
        &["--action", &action],
        &["--correlation", "import-7"],
        &["--change", &change],
    ];
    for target in targets {
        let plan = sample.json(&[&["undo", "--json"], target].concat());
        assert_documented("undo", &plan);
        fs::write(&path, plan.to_string()).expect("can be written");
        let again: Value = sample.json(&["undo", "--plan", file, "--json"]);
        assert_eq!(again, plan, "{target:?}");
    }
    fs::write(&path, sample.done(&["undo", "--row", "posts", "1", "--to", &created, "--json"]))
        .expect("can be written");
    sample.run_sql("UPDATE posts SET views = 6 WHERE id = 1");
    let run = sample.run(&[&["undo", "--plan", file], &WHO[..]].concat());
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(run.stderr.contains("the plan does not hold any more"), "{}", run.stderr);
    assert_eq!(sample.text("SELECT title FROM posts WHERE id = 1"), "Final");

    fs::write(&path, sample.done(&["undo", "--row", "posts", "1", "--to", &created, "--json"]))
        .expect("can be written");
    let done = sample.json(&[&["undo", "--plan", file, "--json"], &WHO[..]].concat());
    assert_documented("undo", &done);
    assert!(done["undone_by"].is_string(), "{done}");
    assert_eq!(sample.text("SELECT title FROM posts WHERE id = 1"), "Draft");

    fs::write(&path, "{}").expect("can be written");
    assert!(sample.refused(&["undo", "--plan", file]).contains("is not a plan"));
}

#[test]
fn one_thing_is_undone_at_a_time() {
    let sample = Sample::new();
    let id = sample.transaction("post.purged");
    for arguments in [
        &["undo"][..],
        &["undo", "--transaction", &id, "--correlation", "import-7"],
        &["undo", "--row", "posts", "1"],
        &["undo", "--row", "posts", "--to", "1h"],
        &["undo", "--transaction", &id, "--to", "1h"],
        &["undo", "--change", &id],
        &["undo", "--correlation", "nothing"],
        &["undo", "--transaction", "01a1ff11-b95f-773b-adff-000000000000"],
    ] {
        sample.refused(arguments);
    }
}
