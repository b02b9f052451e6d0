//! `threadline retention archives`, `restore` and `release`: months that leave the database and come back.

use std::fs;

use diesel::connection::SimpleConnection;
use serde_json::json;

use super::Site;
use crate::sample::HOSTILE;

#[test]
fn a_month_is_archived_restored_and_released() {
    let site = Site::short("archive = true");
    let before = site.changes();
    site.end_month();
    let plan = site.done(&["retention", "plan"]);
    assert!(plan.contains("2001_01  whole, archived first"), "{plan}");
    site.done(&["retention", "run", "--execute"]);
    assert_eq!(site.changes(), 0);
    let mut attempts = fs::read_dir(site.path().join("storage/archive/2001_01")).expect("is there");
    let attempt = attempts.next().expect("one attempt").expect("readable").path();
    assert!(attempts.next().is_none() && attempt.join("manifest.json").is_file());
    // The history of a row says where it begins, and why.
    let history = site.run(&["history", "posts", "1"]);
    assert!(history.stderr.contains("changes of posts before 20"), "{}", history.stderr);
    assert!(
        history.stderr.contains(" were removed by retention (the last run that removed any, 1, ended 20")
    );
    assert!(history.stderr.contains("`threadline retention restore` 2001_01, and"), "{}", history.stderr);
    let narrow = site.run(&["history", "posts", "1", "--width", "80"]).stderr;
    assert!(narrow.contains("2001_01") && narrow.lines().all(|line| line.len() <= 80), "{narrow}");
    assert!(site.json("history", &["history", "posts", "1"])["removed"]["before"].is_string());
    let listed = site.json("retention-archives", &["retention", "archives", "--verify"]);
    let month = &listed["archives"][0];
    assert_eq!(
        (&month["month"], &month["sound"], &month["in_database"]),
        (&json!("2001_01"), &json!(true), &json!(false))
    );
    assert_eq!(month["objects"][0]["tables"]["audit_changes"]["rows"], json!(before));
    let lists: [(&str, &[&str]); 2] =
        [("actions", &["actions"]), ("transactions", &["actor", "user:42", "--transactions"])];
    for (schema, arguments) in lists {
        assert!(site.json(schema, arguments)["removed"]["before"].is_string(), "{arguments:?}");
    }
    let restored = site.json("retention-restore", &["retention", "restore", "2001-01"]);
    assert!(site.json("history", &["history", "posts", "1"])["removed"].is_null());
    for (schema, arguments) in lists {
        let list = site.json(schema, arguments);
        assert!(list["removed"].is_null() && list["entries"] != json!([]), "{arguments:?}");
    }
    assert!(!site.run(&["history", "posts", "1"]).stderr.contains("retention"));
    assert_eq!((&restored["restored"]["changes"], site.changes()), (&json!(before), before));
    assert!(site.done(&["partitions"]).contains("restored"));
    assert!(site.refused(&["retention", "restore", "2001_01"]).contains("already"));
    let file = attempt.join("audit_changes.ndjson.gz");
    let whole = fs::read(&file).expect("is there");
    fs::write(&file, &whole[..whole.len() - 9]).expect("can be written");
    let found = site.run(&["retention", "archives", "--verify"]);
    assert_eq!(found.code, Some(1), "{}{}", found.stdout, found.stderr);
    assert!(found.stdout.contains("/audit_changes.ndjson.gz"), "{}", found.stdout);
    site.refused(&["retention", "release", "2001_01"]);
    fs::remove_file(&file).expect("is there");
    assert!(site.run(&["retention", "archives", "--verify"]).stdout.contains("is not there"));
    // Each wrong object is told, whatever stands in its place.
    fs::create_dir(&file).expect("can be made");
    let kept = ["manifest.json", "audit_actions.ndjson.gz"].map(|name| {
        let path = attempt.join(name);
        let content = fs::read(&path).expect("is there");
        fs::remove_file(&path).expect("is there");
        (path, content)
    });
    std::os::unix::fs::symlink("/etc/hostname", &kept[0].0).expect("can be made");
    let found = site.run(&["retention", "archives", "--verify", "--wide"]);
    assert_eq!(found.code, Some(1), "{}{}", found.stdout, found.stderr);
    for said in [
        "manifest.json` is no regular file",
        "audit_actions.ndjson.gz` is not there",
        "audit_changes.ndjson.gz` is a directory",
    ] {
        assert!(found.stdout.contains(said), "{said}: {}", found.stdout);
    }
    fs::remove_file(&kept[0].0).expect("is there");
    fs::remove_dir(&file).expect("is there");
    for (path, content) in kept {
        fs::write(path, content).expect("can be written");
    }
    assert_eq!(site.changes(), before);
    fs::write(&file, whole).expect("can be written");
    let by = ["--by", "admin:7", "--reason", "case 14"];
    site.done(&[&["retention", "holds", "place", "--table", "posts"], &by[..]].concat());
    assert!(site.refused(&["retention", "release", "2001-01"]).contains("held by hold 1"));
    site.done(&[&["retention", "holds", "release", "1"], &by[..]].concat());
    let released = site.json("retention-release", &["retention", "release", "2001-01"]);
    assert_eq!((&released["month"], &released["state"]), (&json!("2001_01"), &json!("gone")));
    for (schema, arguments) in lists {
        assert!(site.json(schema, arguments)["removed"]["before"].is_string(), "{arguments:?}");
    }
    assert!(
        site.refused(&["retention", "restore", "foo"]).contains("`foo` is not a month such as `2025-01`")
    );
    assert_eq!(site.changes(), 0);
    for wrong in ["2001_01", "../x", HOSTILE] {
        let said = site.refused(&["retention", "release", wrong]);
        assert!(!said.contains('\u{1b}'), "{said}");
    }
    assert!(site.refused(&["retention", "restore", "2001_02"]).contains("known to be in an archive"));
    fs::remove_file(site.path().join("threadline.toml")).expect("is there");
    assert!(site.refused(&["retention", "restore", "2001_01"]).contains("no storage is configured"));
}

#[test]
fn a_month_that_another_session_is_at_work_on_is_said_to_be_left_for_later() {
    let site = Site::short("");
    site.end_month();
    let mut other = site.sample.db.connect();
    other.batch_execute("BEGIN; SELECT threadline.take_month('_2001_01')").expect("nobody has it");
    let before = site.changes();
    let told = site.done(&["retention", "run", "--execute"]);
    assert!(told.contains("completed in part, 2001_01 left for a later run"), "{told}");
    let run = site.json("retention-run", &["retention", "run", "--execute"])["run"].clone();
    assert_eq!((&run["left_for_later"], &run["looks"]), (&json!(["2001_01"]), &json!(1)), "{run}");
    let worker = site.json("worker", &["worker", "--once"]);
    let tasks = worker["tasks"].as_array().expect("a list");
    let retention = tasks.iter().find(|task| task["task"] == "retention").expect("is told of");
    assert_eq!(retention["counts"]["left_for_later"], 1, "{retention}");
    assert!(retention["text"].as_str().is_some_and(|text| text.contains("left 2001_01 for a later run")));
    assert_eq!(site.changes(), before);
    other.batch_execute("COMMIT").expect("was begun");
    let run = site.json("retention-run", &["retention", "run", "--execute"])["run"].clone();
    assert_eq!((&run["left_for_later"], &run["months"]), (&json!([]), &json!(1)), "{run}");
}

#[test]
fn what_goes_in_part_is_archived_too() {
    let site = Site::short("archive = true");
    let before = site.changes();
    site.end_month();
    site.done(&["retention", "holds", "place", "--table", "posts", "--by", "admin:7", "--reason", "case 14"]);
    let plan = site.done(&["retention", "plan"]);
    assert!(plan.contains("in part, archived first"), "{plan}");
    site.done(&["retention", "run", "--execute"]);
    let left = site.changes();
    assert!((1..before).contains(&left), "{left}");
    let listed = site.done(&["retention", "archives"]);
    assert!(listed.contains("2001_01") && listed.contains("the rest of it"), "{listed}");
    let restored = site.json("retention-restore", &["retention", "restore", "2001-01"]);
    assert_eq!((&restored["restored"]["changes"], site.changes()), (&json!(before - left), before));
    // What was put back is listed with its files, and verified; releasing says what becomes of it.
    let listed =
        site.json("retention-archives", &["retention", "archives", "--verify"])["archives"][0].clone();
    assert!(listed["sound"] == json!(true) && listed["rows"].as_u64() > Some(0), "{listed}");
    assert!(site.done(&["retention", "archives"]).contains("put back"));
    let object = listed["objects"][0]["object"].as_str().expect("has a name");
    let file = site.path().join("storage/archive").join(object);
    let content = fs::read(&file).expect("is there");
    fs::remove_file(&file).expect("is there");
    assert_eq!(site.run(&["retention", "archives", "--verify"]).code, Some(1));
    site.refused(&["retention", "release", "2001-01"]);
    fs::write(&file, content).expect("can be written");
    assert!(site.done(&["retention", "release", "2001-01"]).contains("nothing has gone yet"));
    assert_eq!(site.changes(), before);
}
