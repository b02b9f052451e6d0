//! Findings about the capture of tables.

use std::thread;
use std::time::Duration;

use diesel::PgConnection;
use threadline::health::{FindingCode as Code, HealthOptions, Severity};
use threadline::verify::{Expected, verify};
use threadline_tests::{audited_database, changes, run, table, text};

use super::{EVENTS, NOTES, codes, found, mend, prove};

/// As a finding names it.
const ODD: &str = r#""My Blog"."#;

#[test]
fn a_table_nobody_decided_on_is_found_until_it_is_attached() {
    prove(
        NOTES,
        r#"CREATE TABLE "My Blog"."new one" (a text NOT NULL, b integer NOT NULL, UNIQUE (b, a))"#,
        Code::UncoveredTable,
        &["uncovered_table My Blog.new one"],
    );
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE posts (id integer PRIMARY KEY); CREATE TABLE keyless (a integer)");
    let findings = found(conn, &HealthOptions::catalog_only().expect(table("posts")));
    assert_eq!(codes(&findings), ["uncovered_table public.posts", "uncovered_table public.keyless"]);
    assert_eq!((findings[0].severity, findings[1].severity), (Severity::Error, Severity::Warning));
    assert!(findings[1].fix.starts_with("-- first give it a primary key"), "{}", findings[1].fix);
}

#[test]
fn what_is_wrong_with_triggers_is_found_and_mended() {
    let odd = format!("{ODD}\"Odd \"\"Notes\"\"\"");
    let named = |code: &str| format!("{code} {ODD}\"Odd \"\"Notes\"\"\"").replace("\"My Blog\"", "My Blog");
    let one = |cause: &str, code: Code| {
        prove(NOTES, &cause.replace("$t", &odd), code, &[&named(code.as_str())]);
    };
    one(r#"DROP TRIGGER "!threadline_capture" ON $t"#, Code::TriggerMissing);
    one(r#"DROP TRIGGER "!threadline_truncate" ON $t"#, Code::TriggerMissing);
    one(r#"ALTER TABLE $t DISABLE TRIGGER "!threadline_capture""#, Code::TriggerDisabled);
    one(r#"ALTER TABLE $t ENABLE REPLICA TRIGGER "!threadline_truncate""#, Code::TriggerDisabled);
    one(r#"ALTER TRIGGER "!threadline_capture" ON $t RENAME TO zz"#, Code::TriggerAltered);
    one(r#"ALTER TRIGGER "!threadline_truncate" ON $t RENAME TO "z ""z""#.replace("\"\"z\"", "\"\"z\"\"\"").as_str(), Code::TriggerAltered);
    // It would capture inserts only, or some rows, or updates of some columns.
    for altered in [
        "AFTER INSERT ON $t FOR EACH ROW",
        "AFTER INSERT OR UPDATE OR DELETE ON $t FOR EACH STATEMENT",
        "AFTER INSERT OR UPDATE OF body OR DELETE ON $t FOR EACH ROW",
    ] {
        one(
            &format!(
                r#"CREATE OR REPLACE TRIGGER "!threadline_capture" {altered} EXECUTE FUNCTION threadline.capture_1()"#
            ),
            Code::TriggerAltered,
        );
    }
    one(
        r#"CREATE OR REPLACE TRIGGER "!threadline_capture" AFTER UPDATE ON $t FOR EACH ROW WHEN (old.id > 5) EXECUTE FUNCTION threadline.capture_1()"#,
        Code::TriggerAltered,
    );
    one(
        "CREATE TRIGGER again AFTER INSERT OR UPDATE OR DELETE ON $t FOR EACH ROW EXECUTE FUNCTION threadline.capture_1()",
        Code::DuplicateTrigger,
    );
    one(
        "CREATE TRIGGER again BEFORE TRUNCATE ON $t FOR EACH STATEMENT EXECUTE FUNCTION threadline.capture_truncate('1')",
        Code::DuplicateTrigger,
    );
}

#[test]
fn a_function_of_another_table_is_found() {
    prove(
        &format!("{NOTES}; CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts')"),
        "CREATE TRIGGER stray AFTER INSERT ON posts FOR EACH ROW EXECUTE FUNCTION threadline.capture_1();
        CREATE TRIGGER stray_truncate BEFORE TRUNCATE ON posts FOR EACH STATEMENT EXECUTE FUNCTION threadline.capture_truncate('1')",
        Code::SharedFunction,
        &["shared_function public.posts", "shared_function public.posts"],
    );
}

#[test]
fn partitions_are_looked_at_one_by_one() {
    prove(
        EVENTS,
        "CREATE TABLE events_next PARTITION OF events FOR VALUES FROM (200) TO (300)",
        Code::PartitionUncovered,
        &["partition_uncovered public.events_next"],
    );
    prove(
        EVENTS,
        r#"ALTER TABLE "Events High" DISABLE TRIGGER "!threadline_capture""#,
        Code::TriggerDisabled,
        &["trigger_disabled public.Events High"],
    );
    // What an ALTER by the superuser of the catalogs leaves behind.
    prove(
        EVENTS,
        r#"DELETE FROM pg_depend d USING pg_trigger t WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid AND t.tgrelid = 'events_lowest'::regclass
            AND t.tgname = '!threadline_capture' AND d.deptype IN ('P', 'S');
        UPDATE pg_trigger SET tgparentid = 0 WHERE tgrelid = 'events_lowest'::regclass AND tgname = '!threadline_capture';
        DROP TRIGGER "!threadline_capture" ON events_lowest"#,
        Code::PartitionUncovered,
        &["partition_uncovered public.events_lowest"],
    );
    prove(
        EVENTS,
        "CREATE TRIGGER again AFTER INSERT OR UPDATE OR DELETE ON events_lowest FOR EACH ROW EXECUTE FUNCTION threadline.capture_1()",
        Code::DuplicateTrigger,
        &["duplicate_trigger public.events_lowest"],
    );
}

#[test]
fn a_partition_whose_row_trigger_is_back_is_captured() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, EVENTS);
    run(
        conn,
        r#"ALTER TABLE events_lowest DISABLE TRIGGER "!threadline_capture"; INSERT INTO events VALUES (1, 1)"#,
    );
    assert_eq!(changes(conn, "events"), [""; 0]);
    let findings = found(conn, &HealthOptions::catalog_only());
    mend(conn, &findings, Code::TriggerDisabled);
    run(conn, "INSERT INTO events VALUES (2, 2)");
    assert_eq!(changes(conn, "events").len(), 1);
}

#[test]
fn functions_altered_by_hand_are_found_by_their_digest() {
    let odd = r#"My Blog."Odd ""Notes""""#;
    for cause in [
        "CREATE OR REPLACE FUNCTION threadline.capture_1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN NULL; END $$",
        "ALTER FUNCTION threadline.capture_1() SECURITY INVOKER",
        "ALTER FUNCTION threadline.capture_1() RESET search_path",
    ] {
        prove(NOTES, cause, Code::FunctionAltered, &[&format!("function_altered {odd}")]);
    }
    // A superuser, so that no other finding is caused.
    prove(
        NOTES,
        "CREATE ROLE threadline_test_super SUPERUSER; ALTER FUNCTION threadline.capture_1() OWNER TO threadline_test_super",
        Code::FunctionAltered,
        &[&format!("function_altered {odd}")],
    );
    let db = audited_database();
    run(&mut db.connect(), "DROP ROLE threadline_test_super");
}

#[test]
fn a_changed_table_is_found_with_what_its_policy_lost() {
    let odd = r#"My Blog."Odd ""Notes""""#;
    prove(
        NOTES,
        r#"ALTER TABLE "My Blog"."Odd ""Notes""" ADD COLUMN extra text"#,
        Code::StaleFunction,
        &[&format!("stale_function {odd}")],
    );
    prove(
        NOTES,
        r#"ALTER TABLE "My Blog"."Odd ""Notes""" DROP COLUMN secret"#,
        Code::PolicyColumnGone,
        &[&format!("stale_function {odd}"), &format!("policy_column_gone {odd}")],
    );
    // A renamed column has not gone, and is still the key.
    prove(
        NOTES,
        r#"ALTER TABLE "My Blog"."Odd ""Notes""" RENAME secret TO hidden; ALTER TABLE "My Blog"."Odd ""Notes""" RENAME id TO "the id""#,
        Code::StaleFunction,
        &[&format!("stale_function {odd}")],
    );
}

#[test]
fn a_key_that_lost_its_constraint_is_found() {
    let declared = r#"CREATE TABLE memberships (org integer, "User" integer, note text, CONSTRAINT pair UNIQUE ("User", org));
        ALTER TABLE memberships ALTER org SET NOT NULL, ALTER "User" SET NOT NULL;
        SELECT threadline.attach('memberships', key => ARRAY['org', 'User'])"#;
    let plain =
        "CREATE TABLE posts (id integer PRIMARY KEY, slug text NOT NULL); SELECT threadline.attach('posts')";
    for (setup, cause, table) in [
        (declared, "ALTER TABLE memberships DROP CONSTRAINT pair", "memberships"),
        (declared, r#"ALTER TABLE memberships ALTER "User" DROP NOT NULL"#, "memberships"),
        (plain, "ALTER TABLE posts DROP CONSTRAINT posts_pkey", "posts"),
        (plain, "ALTER TABLE posts DROP CONSTRAINT posts_pkey, ADD PRIMARY KEY (slug)", "posts"),
    ] {
        prove(setup, cause, Code::KeyDrift, &[&format!("key_drift public.{table}")]);
    }
}

#[test]
fn a_dropped_table_is_found_and_its_history_stays() {
    prove(
        "CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts'); INSERT INTO posts VALUES (1)",
        "DROP TABLE posts",
        Code::TableGone,
        &["table_gone public.posts"],
    );
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts'); INSERT INTO posts VALUES (1)",
    );
    assert!(threadline_tests::refused(conn, "SELECT threadline.detach_gone(1)").contains("is not gone"));
    run(conn, "DROP TABLE posts; SELECT threadline.detach_gone(1)");
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.audit_changes"), "1");
    assert_eq!(text(conn, "SELECT count(ended_at) FROM threadline.capture_periods"), "1");
    assert_eq!(text(conn, "SELECT to_regprocedure('threadline.capture_1()')"), "NULL");
    // Made anew, it goes on under its identity.
    run(conn, "CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts')");
    assert_eq!(text(conn, "SELECT threadline.table_id('posts'::regclass)"), "1");
}

#[test]
fn a_table_made_anew_under_its_name_is_found() {
    prove(
        "CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts')",
        "DROP TABLE posts; CREATE TABLE posts (id integer PRIMARY KEY)",
        Code::TriggerMissing,
        &["trigger_missing public.posts", "trigger_missing public.posts"],
    );
    // As a restore leaves it: the relation has another number.
    prove(
        "CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts')",
        r#"DROP TABLE posts; CREATE TABLE posts (id integer PRIMARY KEY);
        CREATE TRIGGER "!threadline_capture" AFTER INSERT OR UPDATE OR DELETE ON posts FOR EACH ROW EXECUTE FUNCTION threadline.capture_1();
        CREATE TRIGGER "!threadline_truncate" BEFORE TRUNCATE ON posts FOR EACH STATEMENT EXECUTE FUNCTION threadline.capture_truncate('1')"#,
        Code::RelationChanged,
        &["relation_changed public.posts"],
    );
}

#[test]
fn an_interrupted_detach_is_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, EVENTS);
    let reader = &mut db.connect();
    run(reader, "BEGIN; SELECT FROM events");
    // It has marked the partition by then and waits for the reader.
    let waiting = &mut db.connect();
    run(waiting, "SET statement_timeout = '700ms'");
    let said = threadline_tests::refused(
        waiting,
        r#"ALTER TABLE events DETACH PARTITION "Events High" CONCURRENTLY"#,
    );
    assert!(said.contains("statement timeout"), "{said}");
    run(reader, "COMMIT");
    thread::sleep(Duration::from_millis(10));
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&findings), ["detach_pending public.events"]);
    mend(conn, &findings, Code::DetachPending);
    let left = codes(&found(conn, &HealthOptions::catalog_only()));
    // Of its own now, and nobody has decided on it yet.
    assert!(!left.iter().any(|code| code.starts_with("detach_pending")), "{left:?}");
}

#[test]
fn what_attaches_a_detached_table_again_keeps_out_of_the_trail_what_was_kept_out() {
    const USERS: &str = "CREATE TABLE users (id integer PRIMARY KEY, org integer, email text, password_hash text, seen integer);
        SELECT threadline.attach('users', exclude => '{password_hash}', mask => '{email}', mask_placeholder => '***', ignore => '{seen}',
            scope => 'org', on_truncate => 'refuse', actor_policy => 'allow')";
    const POLICY: &str = "SELECT to_jsonb(a) - ARRAY['changed_at', 'layout', 'function_digest'] FROM threadline.audited_tables a";
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, USERS);
    let policy = text(conn, POLICY);
    let options = HealthOptions::catalog_only();
    let asked: [fn(&mut PgConnection, &HealthOptions) -> String; 3] = [
        |conn, options| {
            let findings = found(conn, options);
            assert_eq!(codes(&findings), ["uncovered_table public.users"]);
            assert!(findings[0].message.contains("until it was detached at 20"), "{findings:?}");
            findings[0].fix.clone()
        },
        |conn, _| {
            let problems = threadline::continuity::missing(conn, &table("users")).unwrap();
            assert!(
                problems[0].what.starts_with("it is not attached: it was detached at 20"),
                "{problems:?}"
            );
            problems[0].fix.clone()
        },
        |conn, _| {
            let expected = Expected::new().declared(Vec::new());
            verify(conn, &expected).unwrap().violations[0].fix.clone()
        },
    ];
    for (place, fix) in asked.into_iter().enumerate() {
        run(conn, "SELECT threadline.detach('users')");
        let fix = fix(conn, &options);
        run(conn, &fix);
        assert_eq!(text(conn, POLICY), policy, "{fix}");
        run(
            conn,
            &format!("INSERT INTO users VALUES ({place}, 7, 'planted@example.org', 'planted-hash', 1)"),
        );
        assert_eq!(codes(&found(conn, &options)), [""; 0]);
    }
    let recorded = text(conn, "SELECT string_agg(c::text, '') FROM threadline.audit_changes c");
    assert!(recorded.contains("***") && !recorded.contains("planted"), "{recorded}");
}
