//! `threadline retention`, `partitions`, `exports` and `worker`: what goes, what stays, and what is done meanwhile.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use insta::{assert_snapshot, with_settings};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::host::Run;
use crate::sample::{HOSTILE, Sample, bare, finished};
use crate::schemas::assert_documented;

/// A trail, and a directory with a `threadline.toml` to work in.
struct Site {
    sample: Sample,
    directory: TempDir,
}

impl Site {
    /// With these lines in `[retention]`, and a storage.
    fn new(retention: &str) -> Self {
        let site = Self { sample: Sample::new(), directory: TempDir::new().expect("a temporary directory") };
        let storage = site.path().join("storage");
        let text = format!("[retention]\n{retention}\n[storage]\nurl = \"file://{}\"\n", storage.display());
        fs::write(site.path().join("threadline.toml"), text).expect("can be written");
        site.done(&["storage", "create"]);
        site
    }

    /// One that removes what is older than a second.
    fn short(more: &str) -> Self {
        Self::new(&format!("keep = \"1s\"\nminimum = \"0s\"\npause = \"0ms\"\n{more}"))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sample.command(arguments);
        command.current_dir(self.path()).env_remove("THREADLINE_CONFIG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        finished(&mut self.command(arguments))
    }

    fn done(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {}{}", run.stdout, run.stderr);
        run.stdout
    }

    /// The document of `--json`, which is as the schema says.
    fn json(&self, schema: &str, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["--json"]].concat());
        let document = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_documented(schema, &document);
        document
    }

    /// As [`run`](Self::run), which must not be able to; what it says.
    fn refused(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", run.stderr);
        run.stderr
    }

    fn changes(&self) -> u64 {
        let count = self.sample.text("SELECT count(*) FROM threadline.audit_changes");
        count.parse().expect("a number")
    }

    /// Has the trail so far end some milliseconds from now, in a month that is over: `2001_01`.
    fn end_month(&self) {
        self.sample.run_sql(
            "DO $$ DECLARE parent text; ends uuid := threadline.first_id_at(clock_timestamp() + interval '1 second'); part record; BEGIN
                FOR part IN SELECT label FROM threadline.partitions() LOOP
                    FOREACH parent IN ARRAY threadline.trail_tables() LOOP
                        EXECUTE format('ALTER TABLE threadline.%I DETACH PARTITION threadline.%I', parent, parent || part.label);
                        IF part.label = to_char(now() AT TIME ZONE 'UTC', '_YYYY_MM') THEN
                            EXECUTE format('ALTER TABLE threadline.%I RENAME TO %I', parent || part.label, parent || '_2001_01');
                        ELSE
                            EXECUTE format('DROP TABLE threadline.%I', parent || part.label);
                        END IF;
                    END LOOP;
                END LOOP;
                FOREACH parent IN ARRAY threadline.trail_tables() LOOP
                    EXECUTE format('ALTER TABLE threadline.%I ATTACH PARTITION threadline.%I FOR VALUES FROM (MINVALUE) TO (%L)', parent, parent || '_2001_01', ends);
                    EXECUTE format('CREATE TABLE threadline.%I PARTITION OF threadline.%I FOR VALUES FROM (%L) TO (MAXVALUE)', parent || '_tail', parent, ends);
                END LOOP;
            END $$",
        );
        sleep(Duration::from_millis(2300));
    }
}

const SUBCOMMANDS: [&[&str]; 16] = [
    &["retention", "plan"],
    &["retention", "run"],
    &["retention", "runs"],
    &["retention", "holds", "list"],
    &["retention", "holds", "place"],
    &["retention", "holds", "release"],
    &["retention", "archives"],
    &["retention", "restore"],
    &["retention", "release"],
    &["partitions", "list"],
    &["partitions", "maintain"],
    &["exports", "list"],
    &["exports", "show"],
    &["exports", "enqueue"],
    &["exports", "cancel"],
    &["exports", "download"],
];

#[test]
fn help_says_what_each_subcommand_does_and_none_ignores_what_is_misspelt() {
    with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        for command in SUBCOMMANDS {
            let run = finished(&mut bare(&[command, &["--help"]].concat()));
            assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{command:?}");
            let help = run.stdout.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
            assert_snapshot!(format!("threadline-{}", command.join("-")), help);
            for wrong in [&["--exekute"][..], &["stray", "stray"]] {
                let run = finished(&mut bare(&[command, wrong].concat()));
                assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{command:?} {wrong:?}");
            }
        }
    });
}

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
fn what_is_held_stays_until_it_is_released() {
    let site = Site::short("");
    let place = ["retention", "holds", "place"];
    let by = ["--by", "admin:7", "--reason"];
    let why = [&by[..], &[HOSTILE]].concat();
    let held =
        site.json("retention-hold-placed", &[&place[..], &["--table", "posts", "--key", "1"], &why].concat());
    assert!(held["changes"].as_u64() > Some(0) && held["warnings"] == json!([]), "{held}");
    assert_eq!(held["hold"]["table"]["name"], "posts");
    let told = site.done(&[&place[..], &["--actor", "admin:7", "--from", "2020-01-01"], &why].concat());
    assert!(told.starts_with("placed\nhold 2  actor admin:7, from 2020-01-01 00:00:00.000000Z\n"), "{told}");
    assert!(!told.contains(['\u{1b}', '\u{9b}', '\u{202e}']) && told.contains("\\u{1b}[2J"), "{told}");
    let nothing = site.run(&[&place[..], &["--table", "posts", "--key", "987"], &why].concat());
    assert!(nothing.stdout.contains("holds 0 changes now"), "{}", nothing.stdout);
    assert!(nothing.code == Some(0) && nothing.stderr.contains("matches nothing"), "{}", nothing.stderr);
    site.done(&["retention", "holds", "release", "3", "--by", "admin:7", "--reason", "mistyped"]);
    for wrong in [
        &["--key", "1"][..],
        &["--everything", "--table", "posts"],
        &[],
        &["--table", "nowhere"],
        &["--table", "posts", "--key", "a=1"],
        &["--from", "2026-01-02", "--to", "2026-01-01"],
    ] {
        site.refused(&[&place[..], wrong, &why].concat());
    }
    site.refused(&["retention", "holds", "place", "--everything", "--by", "admin:7"]);
    assert_eq!(
        site.json("retention-holds", &["retention", "holds", "list"])["holds"].as_array().map(Vec::len),
        Some(2)
    );

    sleep(Duration::from_millis(1100));
    site.done(&["retention", "run", "--execute"]);
    let kept = site.sample.text(
        "SELECT string_agg(DISTINCT a.table_name, ' ' ORDER BY a.table_name) FROM threadline.audit_changes c JOIN threadline.audited_tables a ON a.id = c.table_id",
    );
    assert_eq!(kept, "posts users");
    let release = ["retention", "holds", "release"];
    let released = site.json("retention-hold", &[&release[..], &["2"], &by, &["settled"]].concat());
    assert_eq!(released["hold"]["release_reason"], "settled");
    let again = site.refused(&[&release[..], &["2"], &by, &["settled"]].concat());
    let at = released["hold"]["released_at"].as_str().expect("an instant");
    let said = format!("hold 2 was released before, at {}Z by admin:7", &at[..19]);
    assert!(again.contains(&said), "{again}");
    let none = site.refused(&[&release[..], &["99"], &by, &["settled"]].concat());
    assert!(none.contains("there is no hold 99"), "{none}");
    site.done(&[&release[..], &["1"], &by, &["settled"]].concat());
    assert_eq!(site.done(&["retention", "holds", "list"]), "");
    assert!(site.done(&["retention", "holds", "list", "--released"]).contains("settled"));
    site.done(&["retention", "run", "--execute"]);
    assert_eq!(site.changes(), 0);
}

#[test]
fn a_held_row_is_named_as_it_was_given() {
    let site = Site::short("");
    let why = ["--by", "admin:7", "--reason", "case 14"];
    let key = ["--key", "user_id=42", "--key", "organization_id=7"];
    let placed = [&["retention", "holds", "place", "--table", "members"], &key[..], &why[..]].concat();
    let told = site.done(&placed);
    assert!(told.contains("hold 1  table public.members, row organization_id=7 user_id=42\n"), "{told}");
    assert!(site.done(&["retention", "holds", "list"]).contains("row organization_id=7 user_id=42\n"));
    let hold = site.json("retention-holds", &["retention", "holds", "list"])["holds"][0].clone();
    assert_eq!(hold["key"], json!({"organization_id": "7", "user_id": "42"}));
    assert_eq!(hold["row_key"], r#"["7", "42"]"#);
    // Of a table that is gone, too.
    site.sample.run_sql("DROP TABLE members");
    assert!(site.done(&["retention", "holds", "list"]).contains("row organization_id=7 user_id=42\n"));
}

#[test]
fn a_tenant_is_not_held_where_no_change_says_one() {
    let site = Site::short("");
    let place = ["retention", "holds", "place", "--tenant", "7", "--by", "admin:7", "--reason", "case 14"];
    for blank in ["", " "] {
        let refused = site.refused(&[
            "retention",
            "holds",
            "place",
            "--tenant",
            blank,
            "--by",
            "admin:7",
            "--reason",
            "case 14",
        ]);
        assert!(refused.contains("the tenant to hold is blank"), "{refused}");
    }
    let refused = site.refused(&[&place[..], &["--table", "posts"]].concat());
    assert!(refused.contains("table `posts` has no scope column"), "{refused}");
    site.done(&[&place[..], &["--table", "members"]].concat());
    // What was captured while there was one is still held by it.
    site.sample.run_sql("SELECT threadline.attach('members')");
    site.sample.run_sql("UPDATE threadline.audited_tables SET scope_column = NULL");
    site.done(&place);
    site.sample.run_sql("DELETE FROM threadline.audit_changes");
    let refused = site.refused(&place);
    assert!(refused.contains("no audited table has a scope column"), "{refused}");
    assert_eq!(site.sample.text("SELECT count(*) FROM threadline.legal_holds"), "2", "of those refused none");
}

#[test]
fn every_verb_of_the_family_takes_a_configuration_and_says_when_it_is_wrong() {
    let site = Site::short("");
    let right = site.path().join("threadline.toml").display().to_string();
    let wrong = site.path().join("wrong.toml");
    fs::write(&wrong, "[retention]\nkeep = 7\n").expect("can be written");
    let wrong = wrong.display().to_string();
    let verbs: [&[&str]; 5] = [&["plan"], &["run"], &["runs"], &["holds", "list"], &["archives"]];
    for verb in verbs {
        let command = [&["retention"], verb, &["--config"]].concat();
        site.done(&[&command[..], &[&right]].concat());
        let refused = site.refused(&[&command[..], &[&wrong]].concat());
        assert!(refused.contains("retention.keep"), "{verb:?}: {refused}");
        let refused = site.refused(&[&command[..], &["/nonexistent"]].concat());
        assert!(refused.contains("/nonexistent"), "{verb:?}: {refused}");
    }
    // One that is only found keeps nobody from seeing what is held.
    fs::write(&right, "[retention]\nkeep = 7\n").expect("can be written");
    site.done(&["retention", "holds", "list"]);
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

#[test]
fn a_partition_says_of_its_changes_what_is_known() {
    let sample = Sample::new();
    let month = sample.text("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')");
    let changes = |of: &str| {
        let listed = sample.done(&["partitions"]);
        let line = listed.lines().find(|line| line.starts_with(of)).expect("is listed");
        line.split_whitespace().nth(3).expect("a column").to_owned()
    };
    let estimate = || {
        let document = sample.json(&["partitions", "--json"]);
        assert_documented("partitions", &document);
        let partitions = document["partitions"].as_array().expect("a list").iter();
        let of = |found: &Value| found["changes_estimate"].clone();
        partitions.filter(|found| found["name"] == month.as_str()).map(of).next().expect("is there")
    };
    assert_eq!((changes(&month).as_str(), changes("tail").as_str()), ("unknown", "0"));
    assert_eq!(estimate(), Value::Null);
    sample.run_sql("ANALYZE threadline.audit_changes");
    let count = sample.text("SELECT count(*) FROM threadline.audit_changes");
    assert_eq!((changes(&month), changes("tail").as_str()), (format!("~{count}"), "0"));
    assert_eq!(estimate().to_string(), count);
}

#[test]
fn partitions_are_listed_and_made_ahead() {
    let site = Site::new("");
    let listed = site.json("partitions", &["partitions", "list"]);
    assert_eq!(
        listed,
        site.json("partitions", &["partitions"]).as_object().map_or(Value::Null, |found| {
            let mut found = found.clone();
            found["runway"] = listed["runway"].clone();
            Value::Object(found)
        })
    );
    assert_eq!(site.json("partitions-maintain", &["partitions", "maintain"])["months_added"], 0);
    site.end_month();
    let run = site.run(&["partitions"]);
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stdout.contains("`threadline partitions maintain` makes more"), "{}", run.stdout);
    let added = site.json("partitions-maintain", &["partitions", "maintain"])["months_added"].clone();
    assert!(added.as_u64() > Some(2), "{added}");
    assert!(site.done(&["partitions"]).contains("ahead"));
}

#[test]
fn a_queued_export_is_made_by_the_worker_and_downloaded() {
    let site = Site::new("");
    let enqueue = ["exports", "enqueue", "--table", "posts", "--format", "ndjson", "--by", "admin:7"];
    let id = site.json("exports-job", &enqueue)["job"]["id"].as_str().expect("has one").to_owned();
    let later =
        site.json("exports-job", &[&enqueue[..], &["--at", "2100-01-01", "--every", "1day"]].concat());
    let later = later["job"]["id"].as_str().expect("has one").to_owned();
    let file = site.path().join("posts.ndjson");
    let download = ["exports", "download", &id, "--output", "posts.ndjson"];
    let early = site.run(&download);
    assert_eq!((early.code, file.exists()), (Some(1), false), "{}", early.stderr);

    site.done(&["worker", "--once"]);
    let job = site.json("exports-job", &["exports", "show", &id]);
    assert_eq!(job["job"]["state"], "completed");
    let manifest = site.json("exports-download", &download);
    let text = fs::read_to_string(&file).expect("was written");
    assert_eq!(manifest["summary"]["rows"], json!(text.lines().count()));
    assert_eq!(text, site.done(&["export", "--table", "posts", "--format", "ndjson"]));
    assert!(site.refused(&download).contains("`--force` replaces it"));
    let stored = fs::read_dir(site.path().join("storage/exports")).expect("is there").next();
    let stored = stored.expect("one file").expect("readable").path();
    fs::write(&stored, text.replacen('1', "2", 1)).expect("can be written");
    assert!(site.refused(&[&download[..], &["--force"]].concat()).contains("not what was made"));
    assert_eq!(fs::read_to_string(&file).expect("is still there"), text);
    // However long it has become, no more of it is read than was written.
    fs::File::options().write(true).open(&stored).and_then(|file| file.set_len(6 << 30)).expect("a hole");
    let refused = site.refused(&["exports", "download", &id, "--output", "big.ndjson"]);
    let (name, written) = (&stored.file_name().expect("has one").to_string_lossy(), text.len());
    let said = format!("`exports/{name}` has {} bytes, and {written} were written", 6_u64 << 30);
    assert!(refused.contains(&said), "{refused}");
    let names =
        fs::read_dir(site.path()).expect("is there").map(|entry| entry.expect("readable").file_name());
    assert!(
        names
            .map(|name| name.to_string_lossy().into_owned())
            .all(|name| !name.starts_with("big") && !name.ends_with(".partial"))
    );

    assert_eq!(site.json("exports", &["exports", "list"])["jobs"].as_array().map(Vec::len), Some(2));
    assert_eq!(site.json("exports", &["exports", "list", "--by", "user:1"])["jobs"], json!([]));
    assert!(site.done(&["exports", "show", &later]).contains("every     1day"));
    assert_eq!(site.json("exports-cancel", &["exports", "cancel", &later])["cancelled"], 1);
    assert_eq!(site.run(&["exports", "cancel", &later]).code, Some(1));
    assert!(site.refused(&["exports", "show", &later.replace('0', "1")]).contains("there is no export job"));
    site.refused(&["exports", "enqueue", "--by", "anonymous"]);
    site.refused(&["exports", "enqueue", "--by", "admin:7", "--every", "1s"]);
}

#[test]
fn an_export_of_a_tenant_has_nothing_of_others() {
    let site = Site::new("");
    let enqueue = ["exports", "enqueue", "--tenant", "7", "--format", "ndjson", "--by", "user:42"];
    let id = site.json("exports-job", &enqueue)["job"]["id"].as_str().expect("has one").to_owned();
    site.done(&["worker", "--once"]);
    site.done(&["exports", "download", &id, "--output", "seven.ndjson"]);
    let text = fs::read_to_string(site.path().join("seven.ndjson")).expect("was written");
    assert_eq!(text, site.done(&["export", "--tenant", "7", "--format", "ndjson"]));
    assert!(text.contains("owner") && !text.contains("guest"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_worker_works_until_it_is_told_to_stop_and_says_what_failed() {
    let site = Site::short("");
    let mut command = site.command(&["worker"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    for _ in 0..500 {
        if site.changes() == 0 {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("is there").success());
    let ended = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(0), &b""[..]), "{said}");
    assert!(said.contains("working by `threadline.toml`"), "{said}");

    let wrong = Site::short("tables = { \"public.nowhere\" = \"2s\" }");
    let run = wrong.run(&["worker", "--once"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.ends_with("error: 1 of 5 tasks failed: retention\n"), "{}", run.stderr);
    assert!(run.stdout.contains("retention   failed  ") && run.stdout.contains("nowhere"), "{}", run.stdout);
    fs::write(wrong.path().join("threadline.toml"), "[worker]\nhealth_evry = \"1s\"")
        .expect("can be written");
    assert!(wrong.refused(&["worker", "--once"]).contains("did you mean `health_every`"));
}

#[test]
fn no_id_no_time_and_no_name_is_cut_however_narrow_the_terminal() {
    let site = Site::short("archive = true");
    site.end_month();
    site.done(&["retention", "run", "--execute"]);
    let job = site.json("exports-job", &["exports", "enqueue", "--by", "admin:7"])["job"].clone();
    let run = site.json("retention-runs", &["retention", "runs"])["runs"][0].clone();
    let printed = |time: &Value| time.as_str().expect("a time").replace('T', " ");
    let partitions = site.json("partitions", &["partitions"]);
    let named = |name: &Value| name.as_str().is_some_and(|name| name.starts_with("filler_"));
    assert!(
        partitions["partitions"].as_array().expect("a list").iter().any(|one| named(&one["name"])),
        "{partitions}"
    );
    for (arguments, whole) in [
        (
            &["retention", "runs"][..],
            vec![printed(&run["started_at"]), "service_account:threadline".to_owned()],
        ),
        (
            &["exports", "list"],
            vec![job["id"].as_str().expect("a text").to_owned(), printed(&job["scheduled_at"])],
        ),
        (
            &["partitions"],
            vec!["filler".to_owned(), "attached, for clocks set back".to_owned(), "tail".to_owned()],
        ),
    ] {
        for width in
            [&["--width", "60"][..], &["--width", "80"], &["--width", "100"], &["--width", "140"], &[]]
        {
            let shown = site.done(&[arguments, width].concat());
            for part in &whole {
                assert!(shown.contains(part), "{arguments:?} {width:?} {part}: {shown}");
            }
            assert!(!shown.contains('…') && !shown.contains("gap"), "{arguments:?} {width:?}: {shown}");
            let most = width.last().map_or(usize::MAX, |columns| columns.parse().expect("a number"));
            assert!(shown.lines().all(|line| line.chars().count() <= most), "{shown}");
        }
        // So narrow that an id is wider than the line, it is whole all the same.
        let shown = site.done(&[arguments, &["--width", "25"]].concat());
        assert!(whole.iter().all(|part| shown.contains(part)), "{shown}");
    }
}
