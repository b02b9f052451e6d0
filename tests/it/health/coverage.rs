//! Coverage: what is audited, by the triggers that fire.

use std::time::Duration;

use diesel::PgConnection;
use threadline::health::{CoverageOptions, CoverageStatus, HealthOptions, Severity, coverage};
use threadline::retention::{self, RetentionPolicy};
use threadline::verify::{self, Expected};
use threadline_tests::{audited_database, run, table};

use super::{EVENTS, codes, found};

fn lines(conn: &mut PgConnection, options: &CoverageOptions) -> Vec<String> {
    let partitions = |table: &threadline::health::TableCoverage| {
        let partitions = table.partitions.iter();
        partitions
            .map(|partition| {
                format!(" {}{}", if partition.covered { '+' } else { '-' }, partition.table.to_plain())
            })
            .collect::<String>()
    };
    coverage(conn, options)
        .unwrap()
        .iter()
        .map(|table| format!("{} {}{}", table.status, table.table.to_plain(), partitions(table)))
        .collect()
}

#[test]
fn each_schema_answers_for_its_own_tables_whatever_they_are_called() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        r#"CREATE SCHEMA a; CREATE SCHEMA "A.b"; CREATE TABLE a.posts (id integer PRIMARY KEY); CREATE TABLE "A.b".posts (id integer PRIMARY KEY);
        CREATE TABLE posts (id integer PRIMARY KEY); CREATE TABLE "A.b"."threadline_capture_posts" (id integer PRIMARY KEY);
        CREATE TABLE "audit_changes" (id integer PRIMARY KEY); CREATE TEMP TABLE passing (id integer PRIMARY KEY);
        CREATE VIEW seen AS SELECT * FROM posts;
        CREATE TABLE sessions (id integer PRIMARY KEY); CREATE FUNCTION public.capture_1() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER "!threadline_capture" AFTER INSERT OR UPDATE OR DELETE ON posts FOR EACH ROW EXECUTE FUNCTION public.capture_1();
        SELECT threadline.attach('"A.b".posts')"#,
    );
    let options =
        CoverageOptions::new().ignore(table("sessions"), "no business data").ignore(table("a.nothing"), "-");
    assert_eq!(
        lines(conn, &options),
        [
            "covered \"A.b\".posts",
            "uncovered \"A.b\".threadline_capture_posts",
            "uncovered a.posts",
            "ignored public.__diesel_schema_migrations",
            "uncovered public.audit_changes",
            "uncovered public.posts",
            "ignored public.sessions",
        ]
    );
    assert_eq!(lines(conn, &CoverageOptions::new().schema("a")), ["uncovered a.posts"]);
    // Temporary tables of other sessions are nobody's either, and an extension's are not the host's to audit.
    let other = &mut db.connect();
    assert_eq!(lines(other, &options).len(), 7);
    run(conn, "CREATE EXTENSION hstore; ALTER EXTENSION hstore ADD TABLE a.posts");
    assert!(lines(conn, &options).contains(&"ignored a.posts".to_owned()));
    run(conn, "ALTER EXTENSION hstore DROP TABLE a.posts");
    let ignored = coverage(conn, &options).unwrap().pop().unwrap();
    assert_eq!(ignored.reasons, ["no business data"]);
    run(
        conn,
        r#"ALTER TABLE "A.b".posts DISABLE TRIGGER "!threadline_capture"; SELECT threadline.attach('a.posts')"#,
    );
    run(
        conn,
        "ALTER TABLE a.posts ENABLE ALWAYS TRIGGER \"!threadline_capture\"; ALTER TABLE a.posts RENAME TO \"Posts\"",
    );
    let now = coverage(conn, &CoverageOptions::new()).unwrap();
    let of = |name: &str| now.iter().find(|covered| covered.table.to_plain() == name).unwrap();
    assert_eq!(of("a.Posts").status, CoverageStatus::Covered);
    assert_eq!(of("\"A.b\".posts").status, CoverageStatus::Uncovered);
    assert_eq!(of("\"A.b\".posts").reasons, ["trigger `!threadline_capture` is disabled"]);
    run(conn, "DROP TABLE a.\"Posts\"");
    assert_eq!(lines(conn, &CoverageOptions::new().schema("a")), ["gone a.posts"]);
}

#[test]
fn partitions_stand_under_their_table_and_a_child_table_for_itself() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, EVENTS);
    run(
        conn,
        "CREATE SCHEMA parts; CREATE TABLE parts.events_next PARTITION OF events FOR VALUES FROM (200) TO (300);
        CREATE TABLE loose (id integer PRIMARY KEY) PARTITION BY HASH (id); CREATE TABLE loose_0 PARTITION OF loose FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        CREATE TABLE parent (id integer PRIMARY KEY); SELECT threadline.attach('parent'); CREATE TABLE child () INHERITS (parent)",
    );
    assert_eq!(
        lines(conn, &CoverageOptions::new()),
        [
            "ignored public.__diesel_schema_migrations",
            "uncovered public.child",
            "uncovered public.events -parts.events_next +public.Events High +public.events_low +public.events_lowest",
            "uncovered public.loose -public.loose_0",
            "covered public.parent",
        ]
    );
    let events = coverage(conn, &CoverageOptions::new()).unwrap().remove(2);
    assert_eq!(events.reasons, ["partition `parts.events_next`: no trigger sees its TRUNCATE"]);
    run(conn, "SELECT threadline.refresh('events')");
    assert!(lines(conn, &CoverageOptions::new())[2].starts_with("covered public.events +"));
}

#[test]
fn names_that_mean_no_table_are_found_with_the_one_that_is_near() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE posts (id integer PRIMARY KEY); CREATE TABLE old (id integer PRIMARY KEY)");
    run(
        conn,
        "SELECT threadline.attach('posts'); SELECT threadline.attach('old'); SELECT threadline.detach('old'); DROP TABLE old",
    );
    let window = "`[retention] tables` has a window for it";
    let options = HealthOptions::catalog_only()
        .expect(table("public.psots"))
        .coverage(CoverageOptions::new().ignore(table("comments_of_nobody"), "-"))
        .named(table("pots"), window)
        .named(table("public.posts"), window)
        .named(table("public.old"), window);
    let findings = found(conn, &options);
    let seen: Vec<_> = findings
        .iter()
        .map(|finding| (finding.severity, finding.table.as_deref().unwrap(), finding.message.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (
                Severity::Error,
                "psots",
                "there is no such table, though it is expected to be audited; did you mean `public.posts`?"
            ),
            (Severity::Warning, "comments_of_nobody", "there is no such table, though it is ignored"),
            (
                Severity::Warning,
                "pots",
                "there is no such table, though `[retention] tables` has a window for it; did you mean `public.posts`?"
            ),
        ]
    );
    let expected = Expected::new()
        .declared(Vec::new())
        .expect(table("public.psots"))
        .ignore(table("pots"), "-")
        .named(table("public.post"), window);
    let report = verify::verify(conn, &expected).unwrap();
    assert_eq!(report.violations.len(), 3, "{report}");
    assert_eq!(report.to_string().matches("; did you mean `public.posts`?").count(), 3, "{report}");
}

#[test]
fn a_table_that_was_renamed_is_named_as_it_is_called_now() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE invoices (id integer PRIMARY KEY); SELECT threadline.attach('invoices')");
    run(conn, "ALTER TABLE invoices RENAME TO bills");
    let window = "`[retention] tables` has a window for it";
    let said = "there is no such table, though `[retention] tables` has a window for it; it was renamed to `public.bills`";
    let findings = found(conn, &HealthOptions::catalog_only().named(table("public.invoices"), window));
    assert_eq!(codes(&findings), ["unknown_table public.invoices"]);
    assert_eq!(findings[0].message, said);
    let expected = Expected::new().declared(Vec::new()).named(table("invoices"), window);
    assert_eq!(verify::verify(conn, &expected).unwrap().violations[0].message, said);

    let policy = RetentionPolicy::new().table(table("public.invoices"), Duration::from_secs(90 * 86_400));
    let refused = retention::plan(conn, &policy, false).unwrap_err().to_string();
    assert!(refused.contains("table `public.invoices` was renamed to `public.bills`"), "{refused}");
    let refused = |conn: &mut PgConnection, name: &str| {
        threadline::continuity::report(conn, &table(name)).unwrap_err().to_string()
    };
    assert_eq!(
        refused(conn, "invoices"),
        "table `invoices` was renamed to `public.bills`; ask for it by that name"
    );
    // Capture compiled anew for the new name forgets the old one, and does not take it for one that is near.
    run(conn, "SELECT threadline.refresh('bills')");
    let attach = "attach it in a migration (`threadline generate`)";
    assert_eq!(refused(conn, "invoices"), format!("table `invoices` has never been audited; {attach}"));
    assert_eq!(
        refused(conn, "bils"),
        format!("table `bils` has never been audited; did you mean `public.bills`? If not, {attach}")
    );
    assert_eq!(
        refused(conn, "public.blils"),
        format!("table `public.blils` has never been audited; did you mean `public.bills`? If not, {attach}")
    );
}

#[test]
fn an_action_that_is_named_and_not_on_record_is_found_with_the_one_that_is_near() {
    let db = audited_database();
    let conn = &mut db.connect();
    for name in ["login.failed", "post.published", "post.removed"] {
        run(
            conn,
            &format!(
                r#"SELECT threadline.record_action('{{"actor": {{"type": "admin", "id": "7"}}}}', '{{"name": "{name}"}}')"#
            ),
        );
    }
    let window = "`[retention] actions` has a window for it";
    let options = HealthOptions::catalog_only()
        .named_action("login.faild", window)
        .named_action("login.failed", window)
        .named_action("invoice.sent", window);
    let findings = found(conn, &options);
    let seen: Vec<_> = findings.iter().map(|finding| (finding.severity, finding.message.as_str())).collect();
    assert_eq!(
        seen,
        [
            (
                Severity::Warning,
                "no action `login.faild` is on record, though `[retention] actions` has a window for it; did you mean `login.failed`?"
            ),
            (
                Severity::Info,
                "no action `invoice.sent` is on record, though `[retention] actions` has a window for it"
            ),
        ]
    );
}
