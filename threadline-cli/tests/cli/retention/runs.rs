//! `threadline retention plan`, `run` and `runs`: what goes, and that it never passes for the whole.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::Site;
use crate::schemas::assert_documented;

#[test]
fn nothing_goes_without_a_window_or_without_execute() {
    let site = Site::new("archive = true");
    let before = site.changes();
    assert!(site.done(&["retention", "plan"]).contains("kept for ever"));
    site.done(&["retention", "run", "--execute"]);
    assert_eq!(site.changes(), before);

    let site = Site::short("");
    sleep(Duration::from_millis(1100));
    let plan = site.json("retention-plan", &["retention", "plan"]);
    let thinned = &plan["plan"]["thinned"][0]["changes"];
    let planned: u64 = thinned.as_array().expect("due").iter().filter_map(|entry| entry[1].as_u64()).sum();
    assert_eq!(planned, before);
    let dry = site.json("retention-run", &["retention", "run"]);
    assert_eq!(dry["run"], Value::Null);
    assert!(site.done(&["retention", "run"]).ends_with("nothing was removed; `--execute` does it\n"));
    assert_eq!((site.changes(), site.done(&["retention", "runs"])), (before, String::new()));

    let run = site.json("retention-run", &["retention", "run", "--execute", "--by", "admin:7"]);
    assert_eq!((&run["run"]["changes"], site.changes()), (&json!(before), 0));
    let runs = site.json("retention-runs", &["retention", "runs"]);
    assert_eq!(runs["runs"][0]["asked_by"], json!({"type": "admin", "id": "7"}));
    assert!(site.done(&["retention", "run", "--execute"]).contains("nothing of the trail is due"));
    assert!(site.done(&["retention", "runs"]).contains("service_account:threadline"));
    // A table nobody knows is told before anything is done.
    let wrong = Site::short("tables = { \"public.nowhere\" = \"2s\" }");
    assert!(wrong.refused(&["retention", "run", "--execute"]).contains("nowhere"));
}

#[test]
fn what_retention_left_is_never_shown_as_the_whole() {
    let site = Site::short("tables = { \"public.users\" = \"10 years\" }");
    site.sample.run_sql(
        "BEGIN;
         UPDATE posts SET views = views + 1;
         INSERT INTO users VALUES (77, 'a', 'b');
         COMMIT",
    );
    let whole = site.sample.text(
        "SELECT transaction_id FROM threadline.audit_changes ORDER BY captured_at DESC, ordinal DESC LIMIT 1",
    );
    assert_eq!(site.json("incident", &["incident", &whole])["removed"], json!(false));
    assert_eq!(site.json("timeline", &["timeline"])["removed"], json!([]));
    assert_eq!(site.json("actions", &["actions"])["removed"], json!(null));
    assert!(!site.run(&["actions"]).stderr.contains("retention"));
    assert!(!site.run(&["timeline"]).stderr.contains("retention"));
    sleep(Duration::from_millis(1100));
    site.done(&["retention", "run", "--execute"]);

    let incident = site.json("incident", &["incident", &whole]);
    assert_eq!((&incident["removed"], incident["changes"].as_array().map(Vec::len)), (&json!(true), Some(1)));
    let told = site.done(&["incident", &whole]);
    assert!(told.contains("! retention has removed other changes of this transaction"), "{told}");

    let gone = |document: &Value| {
        let tables = document["removed"].as_array().expect("a list").iter();
        tables.map(|one| one["table"]["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    // Neither actions nor transactions are changes of a table: of them the instant alone is told.
    for (schema, arguments, said) in [
        ("actions", &["actions"][..], "actions before 20"),
        ("transactions", &["actor", "user:42", "--transactions"], "transactions before 20"),
    ] {
        assert!(site.json(schema, arguments)["removed"]["before"].is_string(), "{arguments:?}");
        let stderr = site.run(arguments).stderr;
        assert!(stderr.contains(said) && stderr.contains("were removed by retention"), "{stderr}");
        let later = [arguments, &["--from", "0s"]].concat();
        assert_eq!(site.json(schema, &later)["removed"], json!(null), "{arguments:?}");
        assert!(!site.run(&later).stderr.contains("retention"));
    }
    let said = "changes of public.posts before 20";
    let all = ["logs", "members", "posts"];
    for arguments in [&["timeline"][..], &["actor", "user:42"], &["correlation", "import-7"]] {
        assert_eq!(gone(&site.json("timeline", arguments)), all, "{arguments:?}");
        let run = site.run(arguments);
        assert!(
            run.stderr.contains(said) && run.stderr.contains("were removed by retention"),
            "{}",
            run.stderr
        );
    }
    assert_eq!(gone(&site.json("count", &["timeline", "--table", "posts", "--count"])), ["posts"]);
    // Nothing is said of a table that lost nothing, nor of a time from which all is there.
    for arguments in [&["timeline", "--table", "users"][..], &["timeline", "--from", "0s"]] {
        assert_eq!(gone(&site.json("timeline", arguments)), [""; 0], "{arguments:?}");
    }
    let export = ["export", "--table", "posts", "--output", "posts.csv", "--manifest"];
    let run = site.run(&export);
    assert!(run.code == Some(0) && run.stderr.contains(said), "{}", run.stderr);
    let manifest = fs::read_to_string(site.path().join("posts.csv.manifest.json")).expect("is written");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    assert_documented("export", &manifest);
    assert_eq!((gone(&manifest), &manifest["truncated"]), (vec!["posts".to_owned()], &json!(false)));
    // There is no archive that it could come back from.
    let history = site.run(&["history", "posts", "1"]);
    assert!(
        history.stderr.contains("removed by retention") && !history.stderr.contains("restore"),
        "{}",
        history.stderr
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_stops_between_two_batches() {
    let site = Site::short("batch_rows = 1");
    let text = fs::read_to_string(site.path().join("threadline.toml")).expect("is there");
    let text = text.replace("pause = \"0ms\"", "pause = \"300ms\"");
    fs::write(site.path().join("threadline.toml"), text).expect("can be written");
    sleep(Duration::from_millis(1100));
    let before = site.changes();
    let mut command = site.command(&["retention", "run", "--execute"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    while site.changes() == before {
        sleep(Duration::from_millis(10));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("is there").success());
    let ended = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("the next run goes on from there"), "{said}");
    assert!((1..before).contains(&site.changes()));
    let runs = site.json("retention-runs", &["retention", "runs"]);
    assert_eq!((&runs["runs"][0]["state"], &runs["runs"][0]["error"]), (&json!("failed"), &json!("stopped")));
}
