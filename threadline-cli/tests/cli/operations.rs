//! The verbs that look after the trail, on a database with something wrong of every kind they tell of.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use serde_json::{Value, json};

use crate::host::{Host, Run};
use crate::sample::{Sample, finished};
use crate::schemas::assert_documented;

/// A host whose models are declared, and a database that is not quite as they say.
pub(crate) struct Troubled {
    pub(crate) sample: Sample,
    pub(crate) host: Host,
}

const SCHEMA: &str = "
diesel::table! { posts (id) { id -> Int8, title -> Nullable<Text>, body -> Nullable<Text>, views -> Int4 } }
diesel::table! { users (id) { id -> Int8, email -> Nullable<Text>, password_hash -> Nullable<Text> } }
diesel::table! { invoices (id) { id -> Int8, amount -> Int8 } }
";
const MODELS: &str = "
#[derive(Audited)] #[diesel(table_name = posts)] struct Post;
#[derive(Audited)] #[diesel(table_name = users)] #[threadline(exclude(password_hash))] struct User;
#[derive(Audited)] #[diesel(table_name = invoices)] struct Invoice;
";
const CONFIG: &str = "[tables]
expected = [\"public.members\", \"public.logs\"]
ignored = [{ table = \"public.marks\", reason = \"only the tests read it\" }]
scope_column = \"organization_id\"
";
/// Not attached; attached without its scope; switched off; a partition switched off; gone.
const TROUBLE: &str = "
CREATE TABLE invoices (id bigint PRIMARY KEY, amount bigint);
CREATE TABLE notes (id bigint PRIMARY KEY);
SELECT threadline.attach('members');
ALTER TABLE logs DISABLE TRIGGER USER;
CREATE TABLE events (id bigint, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
SELECT threadline.attach('events');
ALTER TABLE events_2026 DISABLE TRIGGER USER;
CREATE TABLE old_posts (id bigint PRIMARY KEY);
SELECT threadline.attach('old_posts');
DROP TABLE old_posts;
";

impl Troubled {
    pub(crate) fn new() -> Self {
        let sample = Sample::new();
        sample.run_sql(TROUBLE);
        let host = Host::new(MODELS);
        host.write("src/schema.rs", SCHEMA);
        host.write("threadline.toml", CONFIG);
        Self { sample, host }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sample.command(arguments);
        command.current_dir(self.host.path("."));
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        finished(&mut self.command(arguments))
    }

    fn code(&self, arguments: &[&str]) -> Option<i32> {
        self.run(arguments).code
    }

    fn json(&self, arguments: &[&str]) -> Value {
        document(&self.run(&[arguments, &["--json"]].concat()))
    }

    /// Standard error of what could not run.
    fn refused(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", run.stderr);
        run.stderr
    }

    fn records(&self) -> String {
        self.sample.text("SELECT count(*) FROM threadline.evidence_records")
    }
}

fn document(run: &Run) -> Value {
    assert_ne!(run.code, Some(2), "{}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

#[test]
fn every_document_is_as_its_schema_says() {
    let troubled = Troubled::new();
    for (schema, arguments) in [
        ("coverage", &["coverage"][..]),
        ("coverage", &["coverage", "--no-evidence", "--schema", "nowhere"]),
        ("verify", &["verify"]),
        ("verify", &["verify", "--no-models", "--no-evidence"]),
        ("policy", &["policy"]),
        ("doctor", &["doctor"]),
        ("doctor", &["doctor", "--catalog-only"]),
        ("continuity", &["continuity", "posts"]),
        ("continuity", &["continuity", "logs", "--assert-ready"]),
        ("continuity", &["continuity", "notes", "--assert-ready"]),
        ("continuity", &["continuity", "old_posts"]),
        ("evidence-overview", &["evidence"]),
        ("evidence", &["evidence", "--latest"]),
        ("evidence", &["evidence", "trigger_coverage", "--history", "--limit", "2"]),
        ("evidence", &["evidence", "legal_hold"]),
        ("evidence-proof", &["evidence", "--proof"]),
        ("evidence-proof", &["evidence", "legal_hold", "--proof", "--history", "--from", "1day"]),
        ("config-check", &["config", "check"]),
        ("config-show", &["config", "show"]),
    ] {
        assert_documented(schema, &troubled.json(arguments));
    }
    let named = ["evidence", "--proof", "--reference", "table=public.posts", "--from", "1day", "--to", "now"];
    let proof = troubled.json(&named);
    assert_documented("evidence-proof", &proof);
    assert_eq!(list(&proof["records"]).len(), 2, "{proof:#}");
}

#[test]
fn what_verify_finds_is_mended_by_its_fixes() {
    let troubled = Troubled::new();
    let report = troubled.json(&["verify"]);
    let rules = |report: &Value| {
        let violations = list(&report["violations"]).iter();
        let mut rules: Vec<String> = violations
            .map(|violation| format!("{} {}", violation["rule"], violation["table"]).replace('"', ""))
            .collect();
        rules.dedup();
        rules
    };
    assert_eq!(
        rules(&report),
        [
            "healthy events_2026",
            "covered invoices",
            "healthy logs",
            "scope members",
            "decided notes",
            "policy users"
        ]
    );
    assert_eq!((troubled.code(&["verify"]), &report["passed"]), (Some(1), &json!(false)));
    for violation in list(&report["violations"]) {
        troubled.sample.run_sql(violation["fix"].as_str().expect("there is one"));
    }
    let run = troubled.run(&["verify"]);
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    assert!(run.stdout.starts_with("verified\n7 tables covered, 2 ignored, 1 gone\n"), "{}", run.stdout);
    // And it is told when the models go on.
    troubled.host.write("src/models.rs", &MODELS.replace("exclude(password_hash)", "mask(email)"));
    assert_eq!(rules(&troubled.json(&["verify"])), ["policy users"]);
    // A name that means nothing is not passed over.
    troubled.host.write("src/models.rs", MODELS);
    troubled.host.write("threadline.toml", &CONFIG.replace("public.logs", "public.lgos"));
    assert_eq!(rules(&troubled.json(&["verify"])), ["names lgos"]);
}

#[test]
fn what_was_taken_as_expected_is_said() {
    let troubled = Troubled::new();
    let said = |run: &Run| run.stdout.lines().find(|line| line.starts_with("expected: ")).map(str::to_owned);
    let whole = "expected: 3 models of Cargo.toml; 2 more tables by threadline.toml, 1 ignored, scope column `organization_id`";
    assert_eq!(said(&troubled.run(&["verify"])).as_deref(), Some(whole));
    let without = "expected: no models, for no sources were read; 2 more tables by threadline.toml, 1 ignored, \
                   scope column `organization_id`";
    let run = troubled.run(&["verify", "--no-models"]);
    assert_eq!(said(&run).as_deref(), Some(without));
    assert!(!run.stdout.contains("not as declared"), "{}", run.stdout);
    let below = troubled.run(&["verify", "--source", "src"]);
    assert!(said(&below).expect("is said").starts_with("expected: 3 models of src;"), "{}", below.stdout);

    // Neither sources nor a configuration: every table is still to be decided.
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let run = finished(troubled.command(&["verify"]).current_dir(elsewhere.path()));
    assert_eq!(
        said(&run).as_deref(),
        Some("expected: no models, for no sources were read, and no threadline.toml")
    );
    assert!(
        run.code == Some(1) && run.stdout.contains("public.marks\n  undecided  uncovered_table"),
        "{}",
        run.stdout
    );
    let run = finished(troubled.command(&["policy"]).current_dir(elsewhere.path()));
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    assert!(run.stdout.contains("declared: no models, for no sources were read"), "{}", run.stdout);

    // What the sources say wrongly is no violation: it could not be verified.
    troubled.host.write("src/models.rs", "#[derive(Audited)] #[threadline(mask(emial))] struct User;");
    for verb in ["verify", "policy"] {
        assert!(troubled.refused(&[verb]).contains("src/models.rs:1:"), "{verb}");
    }
    troubled.refused(&["verify", "--no-models", "--source", "src"]);
}

#[test]
fn coverage_is_a_viewer_unless_it_is_strict() {
    let troubled = Troubled::new();
    let run = troubled.run(&["coverage"]);
    assert_eq!(run.code, Some(0));
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], "gone       public.old_posts", "{}", run.stdout);
    assert_eq!(lines[2], "uncovered  public.events  1 of 2 partitions", "{}", run.stdout);
    assert_eq!(
        lines[3],
        "           partition `public.events_2026`: trigger `!threadline_capture` is disabled"
    );
    assert!(lines.contains(&"covered    public.posts"), "{}", run.stdout);
    assert!(lines.contains(&"ignored    public.marks  only the tests read it"), "{}", run.stdout);
    assert!(lines.contains(&"3 tables covered, 4 uncovered, 2 ignored, 1 gone"), "{}", run.stdout);
    assert_eq!(troubled.code(&["coverage", "--strict"]), Some(1));
    // Where nothing is looked at, nothing is uncovered.
    assert_eq!(troubled.code(&["coverage", "--strict", "--schema", "nowhere"]), Some(0));
    troubled.sample.run_sql("CREATE SCHEMA blog; CREATE TABLE blog.drafts (id bigint PRIMARY KEY); SELECT threadline.attach('blog.drafts')");
    assert_eq!(troubled.code(&["coverage", "--strict", "--schema", "blog"]), Some(0));
    assert_eq!(troubled.code(&["coverage", "--strict", "--schema", "blog", "--schema", "public"]), Some(1));
}

#[test]
fn the_doctor_s_fixes_can_be_copied_and_mend() {
    let troubled = Troubled::new();
    let document = troubled.json(&["doctor"]);
    let shown = troubled.run(&["doctor", "--width", "40"]);
    assert_eq!(shown.code, Some(1));
    let (mut statements, mut tables) = (Vec::new(), Vec::new());
    for finding in list(&document["findings"]) {
        let fix = finding["fix"].as_str().expect("a text");
        for line in fix.lines() {
            assert!(
                shown.stdout.lines().any(|shown| shown.trim_start() == line.trim_start()),
                "{line}: {}",
                shown.stdout
            );
        }
        tables.push(finding["table"].as_str().unwrap_or_default());
        // The settings are those of the tests' server; whether every write must have an actor is for the host to decide.
        if !["dangerous_setting", "actorless_changes"].contains(&finding["code"].as_str().expect("a text")) {
            // What a person has to say of a gap is not said for them.
            statements
                .push(fix.replace("<WHAT IS KNOWN OF THE WRITE, AS 'TEXT'>", "'a repair'").replace('…', "7"));
        }
    }
    // Of SQL alone, lines may be longer than asked for.
    let sentences = shown.stdout.lines().filter(|line| !line.starts_with("    "));
    sentences.for_each(|line| assert!(line.chars().count() <= 40, "{line}"));
    for table in ["events_2026", "logs", "posts", "notes", "invoices", "old_posts"] {
        assert!(tables.contains(&table), "{table}: {document:#}");
    }
    statements.iter().for_each(|statement| troubled.sample.run_sql(statement));
    let run = troubled.run(&["doctor"]);
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    assert!(run.stdout.contains("warning") && !run.stdout.contains("error  "), "{}", run.stdout);
    assert_eq!(troubled.code(&["doctor", "--strict"]), Some(1), "warnings are left");
    // What the catalogs cannot tell is not asked of them.
    let catalogs = troubled.json(&["doctor", "--catalog-only"]);
    assert!(!catalogs.to_string().contains("actorless_changes"), "{catalogs:#}");
    for wrong in [
        &["--recent", "0s"][..],
        &["--gap-rows", "0"],
        &["--catalog-only", "--gap-time", "1s"],
        &["--feed-hold", "1ms"],
    ] {
        troubled.refused(&[&["doctor"], wrong].concat());
    }
}

#[test]
fn a_check_that_takes_too_long_is_told_and_the_rest_is_answered() {
    let troubled = Troubled::new();
    // Whoever locks the catalog of the trail's tables keeps a check waiting.
    let mut conn = troubled.sample.db.connect();
    conn.batch_execute("BEGIN; LOCK TABLE threadline.audit_changes IN ACCESS EXCLUSIVE MODE")
        .expect("is locked");
    let began = Instant::now();
    let document = troubled.json(&["doctor", "--statement-timeout", "200ms"]);
    assert!(began.elapsed() < Duration::from_secs(5), "what is given goes before the five seconds");
    let codes: Vec<&str> =
        list(&document["findings"]).iter().filter_map(|finding| finding["code"].as_str()).collect();
    assert!(codes.contains(&"could_not_check") && codes.contains(&"trigger_disabled"), "{document:#}");
}

#[test]
fn policy_tells_drift_and_does_not_offer_to_end_an_audit() {
    let troubled = Troubled::new();
    let run = troubled.run(&["policy"]);
    assert_eq!(run.code, Some(1));
    for said in [
        "7 tables: 1 as declared, 1 drift, 1 not attached, 4 not declared",
        "public.posts  as declared  by Post (src/models.rs:2)",
        "public.users  drift  by User (src/models.rs:3)\n  mask: declared nothing, deployed `email`\n",
        "        exclude => ARRAY['password_hash']\n",
        "public.invoices  not attached  by Invoice (src/models.rs:4)",
        "public.members  not declared",
    ] {
        assert!(run.stdout.contains(said), "{said}: {}", run.stdout);
    }
    assert!(!run.stdout.contains("detach"), "{}", run.stdout);
    let document = troubled.json(&["policy"]);
    let policies = list(&document["policies"]).iter();
    policies
        .filter(|policy| policy["state"] == "drift" || policy["state"] == "not_attached")
        .for_each(|policy| troubled.sample.run_sql(policy["fix"].as_str().expect("there is one")));
    assert_eq!(troubled.code(&["policy"]), Some(0));
    assert_eq!(troubled.code(&["policy", "--strict"]), Some(1), "members has no model");
}

#[test]
fn continuity_says_whether_a_table_can_be_relied_on() {
    let troubled = Troubled::new();
    let run = troubled.run(&["continuity", "posts", "--assert-ready"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let ready = "public.posts\n  ready: every write is captured from now on\n  Writes since 20";
    assert!(run.stdout.starts_with(ready), "{}", run.stdout);
    let run = troubled.run(&["continuity", "events", "--assert-ready"]);
    assert_eq!(run.code, Some(1));
    let not_ready = "public.events\n  not ready: not every write is captured\n  NOT CAPTURED: partition `public.events_2026`: trigger ";
    assert!(run.stdout.starts_with(not_ready), "{}", run.stdout);
    assert!(
        run.stdout.contains("\n    ALTER TABLE \"public\".\"events_2026\" ENABLE TRIGGER "),
        "{}",
        run.stdout
    );
    assert_eq!(troubled.code(&["continuity", "events"]), Some(0), "a viewer");
    let run = troubled.run(&["continuity", "notes", "--assert-ready"]);
    assert_eq!(
        (run.code, run.stdout.contains("The trail has nothing of it.")),
        (Some(1), true),
        "{}",
        run.stdout
    );
    assert!(troubled.refused(&["continuity", "notes"]).contains("has never been audited"));
    assert!(troubled.refused(&["continuity", "nowhere", "--assert-ready"]).contains("does not exist"));
}

#[test]
fn a_gap_is_acknowledged_for_its_table_alone() {
    let troubled = Troubled::new();
    let change = format!("{}#1", troubled.sample.transaction("post.fourth"));
    let acknowledge = |table| {
        let who = ["--actor", "admin:7", "--reason", "restored\n  by hand"];
        troubled.run(&[&["continuity", table, "--acknowledge", &change][..], &who].concat())
    };
    let gaps = || {
        let document = troubled.json(&["doctor"]);
        list(&document["findings"]).iter().filter(|finding| finding["code"] == "gap").count()
    };
    assert_eq!(gaps(), 1);
    let run = acknowledge("users");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("is not one of table `users`; nothing was noted"), "{}", run.stderr);
    assert_eq!(
        (gaps(), troubled.sample.text("SELECT count(*) FROM threadline.known_gaps").as_str()),
        (1, "0")
    );
    let run = acknowledge("posts");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    // A reason cannot pass for a line of the report.
    assert!(run.stdout.contains(r"escaped capture: restored\n  by hand (admin:7, "), "{}", run.stdout);
    assert_eq!(gaps(), 0);
    for wrong in [
        &["--acknowledge", &change][..],
        &["--actor", "admin:7"],
        &["--acknowledge", &change, "--actor", "admin:7"],
        &["--acknowledge", "x#1", "--actor", "admin:7", "--reason", "y"],
    ] {
        troubled.refused(&[&["continuity", "posts"], wrong].concat());
    }
}

#[test]
fn what_is_found_is_recorded_once_a_day_and_when_it_changes() {
    let troubled = Troubled::new();
    let evidence = |arguments: &[&str]| troubled.json(arguments)["evidence"].clone();
    assert_eq!(evidence(&["coverage", "--no-evidence"]), json!({"state": "off"}));
    assert_eq!(troubled.records(), "0");
    let recorded =
        |written, unchanged| json!({"state": "recorded", "written": written, "unchanged": unchanged});
    assert_eq!(evidence(&["coverage"]), recorded(8, 0));
    assert_eq!(evidence(&["verify"]), recorded(3, 8), "of coverage both say the same");
    troubled.sample.run_sql("ALTER TABLE logs ENABLE TRIGGER USER");
    assert_eq!(evidence(&["verify"]), recorded(1, 10));
    // Only what is declared is a promise.
    assert_eq!(evidence(&["policy"]), recorded(0, 3));
    assert_eq!(evidence(&["policy", "--no-models"]), recorded(0, 0));
    troubled.run(&["doctor"]);
    assert_eq!(troubled.records(), "12");
    let said = |table: &str| {
        let reference = format!("table=public.{table}");
        let document = troubled.json(&["evidence", "--reference", &reference, "--history", "--oldest-first"]);
        let entries = list(&document["entries"]).iter();
        entries
            .map(|entry| format!("{} {}", entry["subject"], entry["status"]).replace('"', ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(said("logs"), ["trigger_coverage finding", "trigger_coverage ok"]);
    assert_eq!(said("users"), ["trigger_coverage ok", "redaction_policy finding"]);
    assert_eq!(said("marks"), Vec::<String>::new(), "what is ignored proves nothing");
}

#[test]
fn a_role_that_may_not_record_evidence_is_answered_all_the_same() {
    let troubled = Troubled::new();
    // Roles are of the whole server.
    let role = format!("{}_viewer", troubled.sample.db.name());
    troubled.sample.run_sql(&format!("CREATE ROLE {role}"));
    let run = finished(troubled.command(&["coverage", "--json"]).env("PGOPTIONS", format!("-c role={role}")));
    let verify = finished(troubled.command(&["verify"]).env("PGOPTIONS", format!("-c role={role}")));
    troubled.sample.run_sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert_eq!(document(&run)["evidence"], json!({"state": "not_permitted"}));
    // What such a role could not see is not taken for right.
    assert_eq!(verify.code, Some(1), "{}", verify.stderr);
    assert!(verify.stdout.contains("  not checked  could_not_check\n"), "{}", verify.stdout);
    assert_eq!(troubled.records(), "0");
}

#[test]
fn evidence_that_cannot_be_written_fails_nothing() {
    let troubled = Troubled::new();
    let run =
        finished(troubled.command(&["coverage"]).env("PGOPTIONS", "-c default_transaction_read_only=on"));
    assert_eq!(run.code, Some(0));
    assert!(run.stdout.contains("covered    public.posts"), "{}", run.stdout);
    assert!(
        run.stderr.starts_with("warning: what was found could not be recorded as evidence"),
        "{}",
        run.stderr
    );
}

#[test]
fn evidence_is_counted_listed_and_proven() {
    let troubled = Troubled::new();
    troubled.run(&["coverage"]);
    let overview = troubled.run(&["evidence"]).stdout;
    let line = overview.lines().find(|line| line.starts_with("trigger_coverage")).expect("is there");
    assert!(line.contains("Z  8        8       5       8 proven"), "{overview}");
    assert!(overview.contains("legal_hold") && overview.contains("never"), "{overview}");
    let listed = troubled.run(&["evidence", "--reference", "table=public.notes"]).stdout;
    assert!(
        listed.contains("Z  trigger_coverage  finding  evidence proven\n  about table=public.notes\n"),
        "{listed}"
    );
    assert!(listed.contains("  coverage uncovered  partitions 0  reasons it is not attached\n"), "{listed}");
    // A table is named as other verbs take it, whether it is audited, is not, or is gone.
    for table in ["notes", "posts", "old_posts"] {
        let of = |name: &str| {
            let reference = format!("table={name}");
            troubled.json(&["evidence", "--history", "--reference", &reference])["entries"].clone()
        };
        assert_eq!(of(table), of(&format!("public.{table}")));
        assert!(!list(&of(table)).is_empty(), "{table}");
    }
    for name in ["nowhere", "We\"ird", ""] {
        let run = troubled.run(&["evidence", "--reference", &format!("table={name}")]);
        assert_eq!(run.stdout, "");
        assert!(run.stderr.contains(&format!("there is no table `{name}`")), "{}", run.stderr);
    }
    // What is about itself, and names the table.
    let hold = ["retention", "holds", "place", "--table", "posts", "--by", "admin:7", "--reason", "case"];
    let baseline =
        ["continuity", "posts", "--baseline", "--execute", "--actor", "admin:7", "--reason", "known"];
    for arguments in [&hold[..], &baseline] {
        let run = troubled.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {}{}", run.stdout, run.stderr);
    }
    let subjects = |table: &str| {
        let document = troubled.json(&["evidence", "--reference", &format!("table={table}")]);
        let subject = |record: &Value| record["subject"].as_str().expect("a text").to_owned();
        let mut subjects: Vec<_> = list(&document["entries"]).iter().map(subject).collect();
        subjects.sort();
        subjects
    };
    assert_eq!(subjects("posts"), ["legal_hold", "recorded_baseline", "trigger_coverage"]);
    assert_eq!(subjects("notes"), ["trigger_coverage"]);
    let proof = troubled.run(&["evidence", "trigger_coverage", "--proof"]);
    assert_eq!(proof.code, Some(0));
    assert!(
        proof.stdout.contains(
            "\nfinding: violated, for trigger_coverage\nevidence: proven\n  trigger_coverage: violated by "
        ),
        "{}",
        proof.stdout
    );
    assert_eq!(troubled.code(&["evidence", "legal_hold", "--proof"]), Some(0), "unsupported is an answer");
    assert_eq!(
        list(&troubled.json(&["evidence", "--limit", "3"])["entries"]).len(),
        3,
        "a part of a list is a list"
    );
    for (wrong, said) in [
        (&["legal_holds"][..], "trigger_coverage"),
        (&["--proof", "--limit", "5"], "cannot be used with"),
        (&["--latest", "--history"], "cannot be used with"),
        (&["--reference", "posts"], "NAME=TEXT"),
        (&["--reference", "table=a", "--reference", "table=b"], "`table` twice"),
        (&["--from", "now", "--to", "1day"], "is later than `to`"),
    ] {
        let refused = troubled.refused(&[&["evidence"], wrong].concat());
        assert!(refused.contains(said), "{wrong:?}: {refused}");
    }
}

#[test]
fn what_no_verb_records_says_what_does() {
    let sample = Sample::new();
    let posture = sample.done(&["evidence", "support_scope_posture", "--proof"]);
    assert!(
        posture.contains("there are no records; the application makes one: `Trail::record_posture`"),
        "{posture}"
    );
}

#[test]
fn a_configuration_is_checked_as_a_whole() {
    let troubled = Troubled::new();
    assert_eq!(troubled.run(&["config", "check"]).stdout, "valid  threadline.toml\n");
    troubled.host.write(
        "threadline.toml",
        "[retention]\nkep = \"1 day\"\nminimum = 3\n\n[storage]\nurl = \"s3://key:very-secret@bucket/x\"\n[wroker]\n",
    );
    let run = troubled.run(&["config", "check"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for said in [
        "threadline.toml:2: retention.kep\n",
        "threadline.toml:3: retention.minimum\n",
        "threadline.toml:6: storage.url\n",
        "threadline.toml:7: wroker\n",
        "4 problems in threadline.toml\n",
        "did you mean `keep`?",
    ] {
        assert!(run.stdout.contains(said), "{said}: {}", run.stdout);
    }
    let checked = troubled.json(&["config", "check"]);
    assert_documented("config-check", &checked);
    assert_eq!((list(&checked["problems"]).len(), &checked["valid"]), (4, &json!(false)));
    // No other verb goes by it, and each says all that is wrong.
    for arguments in [&["config", "show"][..], &["verify"], &["coverage"], &["doctor"]] {
        let refused = troubled.refused(arguments);
        assert!(refused.contains("line 2: retention.kep") && refused.contains("line 7: wroker"), "{refused}");
        assert!(!refused.contains("very-secret"), "{refused}");
    }
    assert!(!run.stdout.contains("very-secret"), "{}", run.stdout);
    troubled.host.write("other.toml", "[retention]\nkeep = \"400 days\"\n");
    for named in [&["--config", "other.toml"][..], &[]] {
        let mut command = troubled.command(&[&["config", "show", "--json"], named].concat());
        let run = finished(
            command.env("THREADLINE_CONFIG", if named.is_empty() { "other.toml" } else { "threadline.toml" }),
        );
        assert_eq!(document(&run)["config"]["retention"]["keep"], "400 days", "{}", run.stderr);
    }
    assert!(
        troubled
            .refused(&["config", "check", "--config", "none.toml"])
            .contains("`none.toml` cannot be read")
    );
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let run = finished(troubled.command(&["config", "check"]).current_dir(elsewhere.path()));
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (Some(0), "there is no threadline.toml here or above; the defaults are in force\n")
    );
}

#[test]
fn what_is_in_force_is_a_file_that_says_the_same() {
    let troubled = Troubled::new();
    let hostile = "turned \u{202e}around\u{e0041}";
    troubled.host.write("threadline.toml", &CONFIG.replace("only the tests read it", hostile));
    let shown = troubled.run(&["config", "show"]).stdout;
    assert!(!shown.contains('\u{202e}') && shown.starts_with("# From threadline.toml"), "{shown}");
    fs::write(troubled.host.path("again.toml"), &shown).expect("can be written");
    let again = troubled.run(&["config", "show", "--config", "again.toml"]).stdout;
    assert_eq!(again.replace("again.toml", "threadline.toml"), shown);
    let document = troubled.json(&["config", "show"]);
    assert_eq!(document["config"]["tables"]["ignored"][0]["reason"], hostile);
    assert_eq!(document["config"]["exports"]["max_rows"], 1_000_000);
}
