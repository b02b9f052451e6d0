//! The gate for CI, and what it compares: declared against deployed.

use std::panic::catch_unwind;

use diesel::PgConnection;
use threadline::policy::{self, Declared, PolicyState};
use threadline::verify::{self, Expected, Rule, VerifyReport, verify};
use threadline::{ActorPolicy, AuditSpec, OnTruncate, audited_models};
use threadline_tests::{TestRole, audited_database, run, table};

const TABLES: &str = r#"CREATE TABLE posts (id integer PRIMARY KEY, organization_id integer, secret text, views integer);
    CREATE SCHEMA "Odd one"; CREATE TABLE "Odd one"."T" (a integer NOT NULL, b integer NOT NULL, UNIQUE (a, b));
    CREATE TABLE sessions (id integer PRIMARY KEY)"#;

const POSTS: AuditSpec<'static> = AuditSpec {
    schema: None,
    exclude: &["secret"],
    mask: &[],
    mask_placeholder: None,
    ignore: &["views"],
    key: &[],
    scope: Some("organization_id"),
    on_truncate: OnTruncate::Record,
    actor_policy: ActorPolicy::Allow,
};

fn declared() -> Vec<Declared<'static>> {
    let odd = AuditSpec { key: &["b", "a"], ..AuditSpec::default() };
    vec![
        Declared { table: table("posts"), spec: POSTS, by: "blog::Post".to_owned() },
        Declared { table: table("Odd one.T"), spec: odd, by: "blog::Odd".to_owned() },
    ]
}

fn expected() -> Expected<'static> {
    Expected::new()
        .declared(declared())
        .ignore(table("sessions"), "no business data")
        .scope_column("organization_id")
}

/// The rules that are violated, each with its table.
fn violated(report: &VerifyReport) -> Vec<String> {
    let line = |violation: &verify::Violation| {
        let code = violation.code.map(|code| format!(" {code}")).unwrap_or_default();
        format!("{}{code} {}", violation.rule, violation.table.as_deref().unwrap_or("-"))
    };
    report.violations.iter().map(line).collect()
}

fn attach_all(conn: &mut PgConnection) {
    for declared in declared() {
        threadline::capture::attach(conn, &declared.table, &declared.spec).unwrap();
    }
}

#[test]
fn what_is_audited_as_declared_passes_and_everything_else_fails() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    let report = verify(conn, &expected()).unwrap();
    assert_eq!(violated(&report), ["covered uncovered_table T", "covered uncovered_table posts"]);
    // The statement has the policy that is declared, and the scope that is asked for.
    for violation in &report.violations {
        run(conn, &violation.fix);
    }
    let report = verify(conn, &expected()).unwrap();
    assert!(report.passed(), "{report}");
    assert!(
        report.to_string().starts_with("verified: 2 tables covered, 0 uncovered, 2 ignored; 0 violations"),
        "{report}"
    );
    verify::assert_expected(conn, &expected());

    // A new table nobody decided on, a disabled trigger, a name that means nothing, one that is a partition, a contradiction.
    run(
        conn,
        "CREATE TABLE new (id integer PRIMARY KEY); ALTER TABLE posts DISABLE TRIGGER \"!threadline_capture\"",
    );
    run(
        conn,
        "CREATE TABLE parts (id integer PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts DEFAULT; SELECT threadline.attach('parts')",
    );
    let more = expected()
        .ignore(table("typo"), "-")
        .ignore(table("parts_1"), "-")
        .ignore(table("posts"), "-")
        .expect(table("missing"));
    let report = verify(conn, &more).unwrap();
    let mut lines = violated(&report);
    lines.sort();
    assert_eq!(
        lines,
        [
            "decided uncovered_table new",
            "healthy trigger_disabled posts",
            "names missing",
            "names parts_1",
            "names posts",
            "names typo",
        ]
    );
    let text = report.to_string();
    assert!(text.contains("is a partition; name its table, `public.parts`"), "{text}");
    assert!(
        text.contains("fix: ALTER TABLE \"public\".\"posts\" ENABLE TRIGGER \"!threadline_capture\";"),
        "{text}"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["violations"][0]["rule"], "names");
    assert_eq!(json["coverage"].as_array().unwrap().len(), report.coverage.len());
    // The panic says all of it.
    let url = db.url();
    let panic = catch_unwind(|| {
        let conn = &mut <PgConnection as diesel::Connection>::establish(&url).unwrap();
        verify::assert_expected(conn, &expected());
    })
    .unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(
        said.contains("decided uncovered_table public.new") && said.contains("trigger_disabled"),
        "{said}"
    );
}

#[test]
fn one_statement_mends_all_that_is_wrong_with_the_policy_of_a_table() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    run(conn, "CREATE TABLE other (id integer NOT NULL UNIQUE, organization_id integer, secret text)");
    attach_all(conn);
    run(conn, "SELECT threadline.attach('posts', mask => ARRAY['secret'])");
    run(conn, "SELECT threadline.attach('other', key => ARRAY['id'], exclude => ARRAY['secret'])");
    // Stale as well: attaching it with another policy compiles it anew.
    run(conn, "ALTER TABLE posts ADD COLUMN late text; DROP EVENT TRIGGER IF EXISTS threadline_refresh");
    let report = verify(conn, &expected()).unwrap();
    assert_eq!(violated(&report), ["scope other", "policy posts", "scope posts"], "{report}");
    let fixes: Vec<&str> = report.violations.iter().map(|violation| violation.fix.as_str()).collect();
    assert_eq!(fixes[1], fixes[2]);
    for column in ["exclude => ARRAY['secret']", "ignore => ARRAY['views']", "scope => 'organization_id'"] {
        assert!(fixes[1].contains(column), "{}", fixes[1]);
    }
    assert!(
        fixes[0].contains("exclude") && fixes[0].contains("key => ARRAY['id']"),
        "what is not declared stays: {}",
        fixes[0]
    );
    let drift = report.policies.iter().find(|policy| policy.table.name() == "posts").unwrap();
    assert_eq!(drift.fix, fixes[1]);
    let stale = report.findings.iter().find(|finding| finding.code.as_str() == "stale_function");
    assert_eq!(stale.map(|stale| stale.fix.as_str()), Some(fixes[1]));
    let text = report.to_string();
    assert_eq!(text.matches("fix: the statement above").count(), 1, "{text}");
    // In whatever order they are pasted, and however often.
    for fix in fixes.iter().rev() {
        run(conn, fix);
    }
    let report = verify(conn, &expected()).unwrap();
    assert!(
        report.passed() && report.findings.iter().all(|finding| finding.code.as_str() != "stale_function"),
        "{report}"
    );
}

#[test]
fn nothing_proposes_to_end_the_audit_of_a_table_for_want_of_a_declaration() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    attach_all(conn);
    let expected = Expected::new().declared(Vec::new()).ignore(table("sessions"), "no business data");
    let report = verify(conn, &expected).unwrap();
    assert!(report.passed(), "{report}");
    assert!(!serde_json::to_string(&report).unwrap().contains("detach"), "{report:#?}");
    for policy in &report.policies {
        assert_eq!((policy.state, policy.fix.as_str()), (PolicyState::Unknown, ""));
        assert!(policy.remark.is_some_and(|remark| remark.starts_with("no declaration of it was given")));
    }
    // One that was altered is compiled anew, and goes on being recorded.
    run(
        conn,
        "CREATE OR REPLACE FUNCTION threadline.capture_1() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    );
    let report = verify(conn, &expected).unwrap();
    let altered = report.policies.iter().find(|policy| policy.state == PolicyState::Altered).unwrap();
    run(conn, &altered.fix);
    assert!(verify(conn, &expected).unwrap().passed());
}

#[test]
fn every_linked_model_is_expected() {
    let db = audited_database();
    let conn = &mut db.connect();
    let models = audited_models();
    assert!(!models.is_empty());
    let report = match verify(conn, &Expected::new()) {
        Ok(report) => report,
        // Tests that contradict each other on purpose are linked as well.
        Err(threadline::Error::PolicyContradiction { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    for declared in policy::declared_models().unwrap() {
        let missing = report.violations.iter().any(|violation| {
            violation.rule == Rule::Names && violation.table.as_deref() == Some(declared.table.name())
        });
        assert!(missing, "{report}");
    }
}

#[test]
fn each_option_of_a_policy_drifts_by_itself_and_both_sides_are_told() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    attach_all(conn);
    let one = |spec: AuditSpec<'static>| {
        vec![Declared { table: table("posts"), spec, by: "blog::Post".to_owned() }]
    };
    let posts = |report: &[policy::TablePolicy]| {
        report.iter().find(|policy| policy.table.name() == "posts").unwrap().clone()
    };
    for (spec, said) in [
        (AuditSpec { exclude: &[], ..POSTS }, "exclude: declared nothing, deployed `secret`"),
        (AuditSpec { mask: &["views"], ..POSTS }, "mask: declared `views`, deployed nothing"),
        (
            AuditSpec { mask_placeholder: Some("[HIDDEN]"), ..POSTS },
            "mask_placeholder: declared `[HIDDEN]`, deployed `[REDACTED]`",
        ),
        (
            AuditSpec { ignore: &["views", "secret"], ..POSTS },
            "ignore: declared `secret`, `views`, deployed `views`",
        ),
        (AuditSpec { key: &["id"], ..POSTS }, "key: declared `id`, deployed nothing"),
        (AuditSpec { scope: None, ..POSTS }, "scope: declared nothing, deployed `organization_id`"),
        (
            AuditSpec { on_truncate: OnTruncate::Keep, ..POSTS },
            "on_truncate: declared `keep`, deployed `record`",
        ),
        (
            AuditSpec { actor_policy: ActorPolicy::Require, ..POSTS },
            "actor_policy: declared `require`, deployed `allow`",
        ),
    ] {
        let table = posts(&policy::report(conn, &one(spec)).unwrap());
        assert_eq!(table.state, PolicyState::Drift);
        assert_eq!(table.differences.iter().map(ToString::to_string).collect::<Vec<_>>(), [said]);
    }
    let table = posts(
        &policy::report(conn, &one(AuditSpec { mask_placeholder: Some("[REDACTED]"), ..POSTS })).unwrap(),
    );
    assert_eq!((table.state, table.fix.as_str()), (PolicyState::Matches, ""));
    // The fix deploys what is declared.
    let keep = one(AuditSpec { on_truncate: OnTruncate::Keep, ..POSTS });
    let fix = posts(&policy::report(conn, &keep).unwrap()).fix;
    run(conn, &fix);
    assert_eq!(posts(&policy::report(conn, &keep).unwrap()).state, PolicyState::Matches);
}

#[test]
fn what_is_not_attached_not_declared_or_altered_is_told() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    run(conn, "SELECT threadline.attach('sessions')");
    let state = |report: &[policy::TablePolicy], name: &str| {
        report.iter().find(|policy| policy.table.name() == name).map(|policy| policy.state)
    };
    let report = policy::report(conn, &declared()).unwrap();
    assert_eq!(state(&report, "posts"), Some(PolicyState::NotAttached));
    assert_eq!(state(&report, "T"), Some(PolicyState::NotAttached));
    assert_eq!(state(&report, "sessions"), Some(PolicyState::Unknown));
    for table in report.iter().filter(|table| !table.fix.is_empty()) {
        run(conn, &table.fix);
    }
    run(conn, "SELECT threadline.detach('sessions')");
    run(
        conn,
        "CREATE OR REPLACE FUNCTION threadline.capture_2() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    );
    let report = policy::report(conn, &declared()).unwrap();
    assert_eq!(state(&report, "sessions"), None);
    let altered: Vec<_> = report.iter().filter(|policy| policy.state == PolicyState::Altered).collect();
    assert_eq!(altered.len(), 1, "{report:#?}");
    run(conn, &altered[0].fix);
    let report = policy::report(conn, &declared()).unwrap();
    assert!(report.iter().all(|policy| policy.state == PolicyState::Matches), "{report:#?}");
    // A dropped table is still deployed until its audit is ended.
    run(conn, "DROP TABLE posts");
    let report = policy::report(conn, &declared()[1..]).unwrap();
    assert_eq!(state(&report, "posts"), Some(PolicyState::Unknown));
    run(conn, &report.iter().find(|policy| policy.table.name() == "posts").unwrap().fix);
    assert_eq!(state(&policy::report(conn, &declared()[1..]).unwrap(), "posts"), None);
}

#[test]
fn what_could_not_be_checked_does_not_pass() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    attach_all(conn);
    let ci = TestRole::new(&db, "ci");
    let report = verify(&mut ci.connect(), &expected()).unwrap();
    assert!(!report.passed());
    assert!(report.violations.iter().all(|violation| violation.rule == Rule::Checked), "{report}");
    assert!(policy::report(&mut ci.connect(), &declared()).is_err());
    for violation in &report.violations {
        run(conn, &violation.fix);
    }
    let report = verify(&mut ci.connect(), &expected()).unwrap();
    assert!(report.passed(), "{report}");
}

#[test]
fn a_scope_column_that_no_table_has_is_named_with_the_one_that_is_near() {
    let db = audited_database();
    let conn = &mut db.connect();
    let expected = |column: &str| Expected::new().declared(Vec::new()).scope_column(column);
    assert!(verify(conn, &expected("orgid")).unwrap().passed(), "there is no table yet");
    run(
        conn,
        "CREATE TABLE posts (id integer PRIMARY KEY, org_id integer); SELECT threadline.attach('posts', scope => 'org_id')",
    );
    assert!(verify(conn, &expected("org_id")).unwrap().passed());
    let report = verify(conn, &expected("orgid")).unwrap();
    assert_eq!(violated(&report), ["scope -"]);
    assert_eq!(
        report.violations[0].message,
        "no table has the column `orgid`, though it is the scope column of all; did you mean `org_id`?"
    );
}
