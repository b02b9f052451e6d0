//! Findings about tampering with the trail's own tables: each caused, seen with its offender, mended by what is printed, and gone.

use std::fs;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use diesel::PgConnection;
use threadline::health::{Finding, FindingCode as Code, HealthOptions, Severity};
use threadline::retention::{self, LocalArchive};
use threadline::verify::{self, Expected};
use threadline::{continuity, partitions};
use threadline_tests::{TestRole, audited_cluster, audited_database, refused, run, table, text};

use super::{codes, found, mend};
use crate::retention::{operator, policy, retain, split_time};

const POSTS: &str = "CREATE TABLE posts (id integer PRIMARY KEY, title text, org integer); SELECT threadline.attach('posts', scope => 'org');
    CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION ascribe() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.actor_type := ''admin''; NEW.actor_id := ''boss''; RETURN NEW; END'";

/// The tests' own models are of no concern here.
fn expected() -> Expected<'static> {
    Expected::new().declared(Vec::new()).expect(table("posts"))
}

/// Sees exactly `code` for the tampering, naming the offender; that gates fail for it; and that what it prints mends it.
#[track_caller]
fn prove(conn: &mut PgConnection, tampering: &str, code: Code, offender: &str) -> Vec<Finding> {
    run(conn, tampering);
    let findings = found(conn, &HealthOptions::catalog_only());
    assert!(
        !findings.is_empty()
            && findings.iter().all(|finding| finding.code == code && finding.severity == Severity::Error),
        "{tampering}: {findings:#?}"
    );
    let told = |finding: &Finding| format!("{finding}").lines().next().unwrap_or_default().contains(offender);
    assert!(findings.iter().any(told), "{tampering}: no `{offender}` in {findings:#?}");
    let report = verify::verify(conn, &expected()).unwrap();
    assert!(!report.passed(), "{tampering}");
    if code != Code::AuditOwnerCanLogIn {
        assert!(continuity::assert_ready(conn, &table("posts")).is_err(), "{tampering}");
    }
    mend(conn, &findings, code);
    let left = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&left), [""; 0], "{tampering}: {left:#?}\nafter {findings:#?}");
    let report = verify::verify(conn, &expected()).unwrap();
    assert!(report.passed(), "{tampering}: {report}");
    continuity::assert_ready(conn, &table("posts")).unwrap();
    findings
}

#[test]
fn what_stands_between_the_trail_and_its_rows_is_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    for (tampering, code, offender) in [
        ("CREATE TRIGGER sw BEFORE INSERT ON threadline.audit_changes FOR EACH ROW EXECUTE FUNCTION swallow()", Code::TrailTrigger, "`sw`"),
        ("CREATE TRIGGER \"Odd \"\"one\" BEFORE INSERT ON threadline.audit_transactions FOR EACH ROW EXECUTE FUNCTION ascribe()", Code::TrailTrigger, "`public.ascribe`"),
        ("CREATE TRIGGER sw BEFORE INSERT ON threadline.audit_changes_tail FOR EACH ROW EXECUTE FUNCTION swallow()", Code::TrailTrigger, "threadline.audit_changes_tail"),
        ("CREATE TRIGGER sw BEFORE INSERT ON threadline.legal_holds FOR EACH ROW EXECUTE FUNCTION swallow(); ALTER TABLE threadline.legal_holds DISABLE TRIGGER sw", Code::TrailTrigger, "`sw`"),
        ("ALTER TABLE threadline.evidence_records DISABLE TRIGGER ALL", Code::TrailTrigger, "`threadline_guard_truncate`"),
        ("ALTER TABLE threadline.evidence_records ENABLE TRIGGER threadline_guard", Code::TrailTrigger, "replica mode"),
        ("ALTER TABLE threadline.evidence_records ENABLE REPLICA TRIGGER threadline_guard", Code::TrailTrigger, "replicas only"),
        ("DROP TRIGGER threadline_guard ON threadline.evidence_records", Code::TrailTrigger, "`threadline_guard`, which keeps its rows from being changed, is missing"),
        ("ALTER TRIGGER threadline_guard ON threadline.evidence_records RENAME TO other", Code::TrailTrigger, "`other`"),
        ("CREATE OR REPLACE TRIGGER threadline_guard BEFORE UPDATE ON threadline.evidence_records FOR EACH ROW EXECUTE FUNCTION threadline.guard_evidence();
            ALTER TABLE threadline.evidence_records ENABLE ALWAYS TRIGGER threadline_guard", Code::TrailTrigger, "was altered"),
        ("CREATE OR REPLACE TRIGGER threadline_guard BEFORE UPDATE OR DELETE ON threadline.evidence_records FOR EACH ROW WHEN (false) EXECUTE FUNCTION threadline.guard_evidence();
            ALTER TABLE threadline.evidence_records ENABLE ALWAYS TRIGGER threadline_guard", Code::TrailTrigger, "was altered"),
        ("CREATE OR REPLACE TRIGGER threadline_guard BEFORE UPDATE OR DELETE ON threadline.evidence_records FOR EACH ROW EXECUTE FUNCTION swallow();
            ALTER TABLE threadline.evidence_records ENABLE ALWAYS TRIGGER threadline_guard", Code::TrailTrigger, "was altered"),
        ("CREATE RULE r AS ON INSERT TO threadline.audit_changes DO INSTEAD NOTHING", Code::TrailRule, "`r`"),
        ("CREATE RULE r AS ON DELETE TO threadline.legal_holds DO ALSO NOTHING; ALTER TABLE threadline.legal_holds DISABLE RULE r", Code::TrailRule, "threadline.legal_holds"),
        ("ALTER TABLE threadline.audit_changes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY \"P\" ON threadline.audit_changes USING (false); CREATE POLICY q ON threadline.audit_changes FOR INSERT WITH CHECK (true)",
            Code::TrailRowSecurity, "threadline.audit_changes"),
        ("ALTER TABLE threadline.legal_holds ENABLE ROW LEVEL SECURITY", Code::TrailRowSecurity, "threadline.legal_holds"),
        ("ALTER TABLE threadline.audit_changes_tail FORCE ROW LEVEL SECURITY", Code::TrailRowSecurity, "threadline.audit_changes_tail"),
        ("ALTER TABLE threadline.audit_changes_tail SET UNLOGGED", Code::TrailUnlogged, "threadline.audit_changes_tail"),
        ("ALTER TABLE threadline.evidence_records SET UNLOGGED", Code::TrailUnlogged, "threadline.evidence_records"),
        ("CREATE TABLE tables (id integer PRIMARY KEY); SELECT threadline.attach('tables'); ALTER TABLE threadline.audit_changes ADD CONSTRAINT gone FOREIGN KEY (table_id) REFERENCES tables ON DELETE CASCADE",
            Code::TrailConstraint, "`gone`"),
        ("ALTER TABLE threadline.audit_long_transactions ADD CONSTRAINT once UNIQUE (transaction_id)", Code::TrailConstraint, "`once`"),
        ("CREATE UNIQUE INDEX \"Once\" ON threadline.legal_holds (reason)", Code::TrailConstraint, "`Once`"),
        ("CREATE TABLE more () INHERITS (threadline.evidence_records); ALTER TABLE more ADD PRIMARY KEY (id); SELECT threadline.attach('more')", Code::TrailMisplaced, "public.more"),
        ("CREATE SCHEMA hid; ALTER TABLE threadline.audit_changes_tail SET SCHEMA hid", Code::TrailMisplaced, "hid.audit_changes_tail"),
    ] {
        prove(conn, tampering, code, offender);
    }
    // What was captured in between is there, and capture goes on.
    run(conn, "INSERT INTO posts VALUES (1, 'a', 1)");
    assert_eq!(
        text(
            conn,
            "SELECT count(*) FROM threadline.audit_changes c JOIN threadline.audit_transactions t ON t.id = c.transaction_id"
        ),
        "1"
    );
    assert!(refused(conn, "TRUNCATE threadline.evidence_records").contains("evidence"));
}

#[test]
fn a_partition_that_is_a_foreign_table_is_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;
        CREATE FOREIGN TABLE away (captured_at timestamptz NOT NULL, transaction_id uuid NOT NULL, ordinal integer NOT NULL, table_id integer NOT NULL,
            row_key text COLLATE \"C\" NOT NULL, key_int4 integer, key_int8 bigint, key_uuid uuid, key_text text) SERVER elsewhere");
    run(conn, "DO $$ DECLARE bound text := (SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = 'threadline.audit_departures_tail'::regclass); BEGIN
        ALTER TABLE threadline.audit_departures DETACH PARTITION threadline.audit_departures_tail;
        EXECUTE 'ALTER TABLE threadline.audit_departures ATTACH PARTITION away ' || bound; END $$");
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&findings), ["trail_misplaced public.away"], "{findings:#?}");
    mend(conn, &findings, Code::TrailMisplaced);
    // The other one can have its place again.
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&findings), ["partition_missing threadline.audit_departures"], "{findings:#?}");
    mend(conn, &findings, Code::PartitionMissing);
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
}

#[test]
fn tables_that_are_not_defined_as_shipped_are_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    for (tampering, offender) in [
        (
            "ALTER TABLE threadline.legal_holds ALTER placed_at SET DEFAULT '2000-01-01'",
            "default of column `placed_at`",
        ),
        ("ALTER TABLE threadline.audit_actions ALTER xid DROP DEFAULT", "default of column `xid`"),
        ("ALTER TABLE threadline.audit_changes ALTER scope SET DEFAULT '1'", "default of column `scope`"),
        ("ALTER TABLE threadline.known_gaps ALTER reason DROP NOT NULL", "`reason` takes NULL"),
        ("ALTER TABLE threadline.known_gaps ALTER actor_id SET NOT NULL", "`actor_id` is NOT NULL"),
        (
            "ALTER TABLE threadline.known_gaps ALTER reason TYPE varchar(10)",
            "`reason` is of type character varying(10)",
        ),
        ("ALTER TABLE threadline.known_gaps ALTER reason TYPE text COLLATE \"C\"", "`reason`"),
        ("ALTER TABLE threadline.audit_actions DROP COLUMN comment", "column `comment` is missing"),
        ("ALTER TABLE threadline.audit_actions ADD COLUMN \"Extra\" text DEFAULT 'x'", "column `Extra`"),
        ("ALTER TABLE threadline.retention_runs ALTER id SET GENERATED BY DEFAULT", "`id` takes any number"),
        ("ALTER TABLE threadline.legal_holds ALTER id DROP IDENTITY", "`id` is no identity"),
        (
            "ALTER TABLE threadline.evidence_records DROP CONSTRAINT evidence_records_posture_check",
            "it lacks CHECK (verdict <> 'proven'",
        ),
        (
            "ALTER TABLE threadline.audit_actions DROP CONSTRAINT audit_actions_status_check",
            "it lacks CHECK (status IN ('ok', 'error'))",
        ),
        (
            "ALTER TABLE threadline.legal_holds DROP CONSTRAINT legal_holds_check, ADD CONSTRAINT legal_holds_check CHECK (true)",
            "constraint `legal_holds_check` is none it ships with",
        ),
        (
            "ALTER TABLE threadline.retention_purges DROP CONSTRAINT retention_purges_kind_check, ADD CHECK (kind IN ('thinned', 'dropped', 'lost'))",
            "it lacks CHECK (kind IN ('thinned', 'dropped'))",
        ),
        (
            "ALTER TABLE threadline.evidence_records DROP CONSTRAINT evidence_records_status_check, ADD CHECK (status IN ('ok', 'finding', 'error')) NOT VALID",
            "was never validated",
        ),
        (
            "ALTER TABLE threadline.audited_tables ADD CHECK (table_name <> 'secrets')",
            "is none it ships with",
        ),
    ] {
        prove(conn, tampering, Code::SchemaAltered, offender);
    }
    // A column more that nothing fills is no harm, and is told of.
    run(conn, "ALTER TABLE threadline.audit_actions ADD COLUMN note text");
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(
        (codes(&findings), findings[0].severity),
        (vec!["schema_altered threadline.audit_actions".to_owned()], Severity::Warning)
    );
    mend(conn, &findings, Code::SchemaAltered);
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
    // One table in the place of the partitioned one.
    run(
        conn,
        "ALTER TABLE threadline.audit_key_changes RENAME TO aside; CREATE TABLE threadline.audit_key_changes (LIKE threadline.aside INCLUDING ALL)",
    );
    let findings = found(conn, &HealthOptions::catalog_only());
    assert!(
        codes(&findings).contains(&"schema_altered threadline.audit_key_changes".to_owned()),
        "{findings:#?}"
    );
}

#[test]
fn functions_declared_otherwise_than_shipped_are_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    for (tampering, offender) in [
        (
            "ALTER FUNCTION threadline.open_transaction() STRICT",
            "`threadline.open_transaction` is not as shipped; it differs in what it does for NULL",
        ),
        ("ALTER FUNCTION threadline.instant_of(uuid) VOLATILE", "its volatility"),
        ("ALTER FUNCTION threadline.instant_of(uuid) PARALLEL UNSAFE", "in parallel"),
        ("ALTER FUNCTION threadline.instant_of(uuid) SECURITY DEFINER", "with whose rights"),
        (
            "ALTER FUNCTION threadline.open_transaction() SET session_replication_role = replica",
            "the settings",
        ),
        ("ALTER FUNCTION threadline.maintain() RESET lock_timeout", "the settings"),
        (
            "CREATE FUNCTION threadline.instant_of(uuid, integer DEFAULT 1) RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
            "`threadline.instant_of(uuid,integer)` is none that ships",
        ),
        (
            "CREATE FUNCTION threadline.instant_of(text) RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'; DROP FUNCTION threadline.instant_of(uuid)",
            "`threadline.instant_of` is missing",
        ),
    ] {
        prove(conn, tampering, Code::SchemaAltered, offender);
    }
}

#[test]
fn what_belongs_to_another_role_is_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    let app = TestRole::new(&db, "app");
    let name = app.name();
    run(conn, POSTS);
    for (tampering, offender) in [
        (format!("ALTER TABLE threadline.audit_changes OWNER TO {name}"), "`threadline.audit_changes`"),
        (
            format!(
                "ALTER TABLE threadline.audit_changes_tail OWNER TO {name}; ALTER TABLE threadline.legal_holds OWNER TO {name}"
            ),
            "`threadline.legal_holds`",
        ),
        (format!("ALTER TYPE threadline.past_instant OWNER TO {name}"), "`threadline.past_instant`"),
    ] {
        let findings = prove(conn, &tampering, Code::TrailOwner, offender);
        assert!(findings[0].message.contains(name), "{findings:#?}");
    }
}

#[test]
fn whoever_can_become_the_owner_of_the_trail_is_found_whatever_else_they_own() {
    // Memberships are of the whole server.
    let cluster = audited_cluster();
    let conn = &mut cluster.connect("app").unwrap();
    let (owner, group, app) = ("trail_owner", "\"The group\"", "app");
    run(conn, &format!("CREATE ROLE {owner}; CREATE ROLE {group}; CREATE ROLE {app} LOGIN; {POSTS}"));
    run(conn, &give_all_to(owner));
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
    // Directly or not, inherited or not: SET ROLE takes neither.
    for grants in [
        format!("GRANT {owner} TO {app}"),
        format!("ALTER ROLE {app} NOINHERIT; GRANT {owner} TO {group}; GRANT {group} TO {app}"),
    ] {
        run(conn, &grants);
        let findings = found(conn, &HealthOptions::catalog_only());
        assert_eq!(codes(&findings), ["audit_owner_can_log_in"], "{findings:#?}");
        assert_eq!(findings[0].severity, Severity::Warning);
        // Whoever asks is told nothing of themselves.
        run(conn, &format!("SET SESSION AUTHORIZATION {app}"));
        let asking = found(conn, &HealthOptions::catalog_only());
        run(conn, "RESET SESSION AUTHORIZATION");
        assert!(!asking.iter().any(|finding| finding.code == Code::AuditOwnerCanLogIn), "{asking:#?}");
        mend(conn, &findings, Code::AuditOwnerCanLogIn);
        assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0], "{}", findings[0].fix);
    }
    // The application's role by what it was granted.
    run(conn, &format!("GRANT SELECT, UPDATE ON posts TO {app}"));
    prove(conn, &format!("GRANT {group} TO {app}"), Code::AuditOwnerCanLogIn, app);
    // Of the same kind: everything, through another role.
    run(
        conn,
        &format!("REVOKE {owner} FROM {group}; GRANT pg_write_all_data TO {group}; GRANT {group} TO {app}"),
    );
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&findings), ["audit_writable"], "{findings:#?}");
    mend(conn, &findings, Code::AuditWritable);
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
}

#[test]
fn functions_and_roles_that_can_switch_capture_off_are_found() {
    // What a role may set is of the whole server.
    let cluster = audited_cluster();
    let conn = &mut cluster.connect("app").unwrap();
    run(conn, &format!("CREATE ROLE app; {POSTS}"));
    prove(
        conn,
        "CREATE FUNCTION quietly(a integer) RETURNS void LANGUAGE sql SET session_replication_role = replica AS 'UPDATE public.posts SET title = NULL'",
        Code::DangerousSetting,
        "`public.quietly(integer)`",
    );
    prove(
        conn,
        "CREATE PROCEDURE quiet() LANGUAGE sql SET session_replication_role = 'REPLICA' AS 'UPDATE public.posts SET title = NULL'",
        Code::DangerousSetting,
        "`public.quiet()`",
    );
    prove(
        conn,
        "GRANT SET ON PARAMETER session_replication_role TO app",
        Code::DangerousSetting,
        "role `app`",
    );
    prove(
        conn,
        "GRANT SET ON PARAMETER session_replication_role TO PUBLIC",
        Code::DangerousSetting,
        "every role",
    );
}

#[test]
fn functions_that_may_switch_capture_off_for_whoever_calls_them_are_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    for (name, function) in [
        (
            "`public.hushed()`",
            "CREATE FUNCTION hushed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
             'BEGIN PERFORM set_config(''SESSION_replication_role'', ''replica'', true); RETURN NEW; END'",
        ),
        (
            "`public.hush()`",
            "CREATE FUNCTION hush() RETURNS text LANGUAGE sql SECURITY DEFINER \
             RETURN set_config('session_replication_role', 'replica', false)",
        ),
    ] {
        run(conn, function);
        let findings = found(conn, &HealthOptions::catalog_only());
        assert_eq!(codes(&findings), ["dangerous_setting"], "{findings:#?}");
        assert_eq!(findings[0].severity, Severity::Warning);
        assert!(findings[0].message.contains(name), "{findings:#?}");
        mend(conn, &findings, Code::DangerousSetting);
        assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
    }
}

#[test]
fn a_table_among_the_trails_that_is_none_of_them_is_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts'); CREATE TABLE threadline.hidden () INHERITS (posts)",
    );
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&findings), ["trail_misplaced threadline.hidden"]);
    assert_eq!(findings[0].severity, Severity::Warning);
    mend(conn, &findings, Code::TrailMisplaced);
    // Now it is seen.
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), ["uncovered_table public.hidden"]);
}

/// What the owner of all there is would have run.
fn give_all_to(owner: &str) -> String {
    format!(
        "GRANT USAGE ON SCHEMA public TO {owner};
        DO $$ DECLARE s text; BEGIN ALTER SCHEMA threadline OWNER TO {owner};
        FOR s IN SELECT format('ALTER TABLE %s OWNER TO {owner}', oid::regclass) FROM pg_class WHERE relnamespace = 'threadline'::regnamespace AND relkind IN ('r', 'p')
            UNION ALL SELECT format('ALTER FUNCTION %s OWNER TO {owner}', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'threadline'::regnamespace
            UNION ALL SELECT format('ALTER TYPE %s OWNER TO {owner}', reltype::regtype) FROM pg_class WHERE relnamespace = 'threadline'::regnamespace AND relkind = 'c'
        LOOP EXECUTE s; END LOOP; END $$"
    )
}

#[test]
fn nothing_is_found_where_the_trail_is_only_looked_after() {
    let cluster = audited_cluster();
    let admin = &mut cluster.connect("app").unwrap();
    let clean = |conn: &mut PgConnection, when: &str| {
        let findings = found(conn, &HealthOptions::catalog_only());
        assert_eq!(codes(&findings), [""; 0], "{when}: {findings:#?}");
    };
    clean(admin, "as migrated");
    run(
        admin,
        "CREATE ROLE trail_owner; CREATE ROLE caretaker LOGIN; GRANT trail_owner TO caretaker; CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO trail_owner",
    );
    run(admin, &give_all_to("trail_owner"));
    run(admin, POSTS);
    run(admin, "GRANT SELECT, INSERT, UPDATE, DELETE ON posts TO app");
    // What a caretaker needs beyond being a member of the owner.
    run(admin, "GRANT pg_read_all_stats TO caretaker; GRANT SELECT ON posts TO trail_owner");
    split_time(admin, 2, Duration::from_millis(150));
    run(admin, &give_all_to("trail_owner"));
    run(
        admin,
        "INSERT INTO posts VALUES (1, 'a', 1); SET SESSION AUTHORIZATION app; UPDATE posts SET title = 'b'; RESET SESSION AUTHORIZATION",
    );
    thread::sleep(Duration::from_millis(400));

    run(admin, "SET SESSION AUTHORIZATION caretaker");
    let conn = admin;
    // It makes partitions, which are not its own.
    assert!(partitions::maintain(conn, &partitions::MaintainOptions::default()).unwrap() > 0);
    clean(conn, "after maintenance");
    let dir = std::env::temp_dir().join(format!("threadline-clean-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    let mut archive = LocalArchive::new(&dir);
    let policy = policy(Duration::ZERO);
    let done =
        retention::run(conn, &policy, &operator(), Some(&mut archive), &mut |_| ControlFlow::Continue(()))
            .unwrap();
    assert_eq!(done.months, 2, "{done:?}");
    clean(conn, "after retention");
    retention::restore_archive(conn, &mut archive, "2001_01").unwrap();
    clean(conn, "after a restore");
    assert!(matches!(
        retention::release_archive(conn, &mut archive, "2001_01").unwrap(),
        retention::Release::Gone { .. }
    ));
    retain(conn, &policy);
    clean(conn, "after its release");
    run(conn, "RESET SESSION AUTHORIZATION");
    // The others are told that there is a caretaker, and it asks them whether there should be.
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&findings), ["audit_owner_can_log_in"], "{findings:#?}");
    assert_eq!(findings[0].severity, Severity::Warning);
    assert!(verify::verify(conn, &expected()).unwrap().passed());
    mend(conn, &findings, Code::AuditOwnerCanLogIn);
    clean(conn, "without a caretaker");
    // A month that stays after all keeps what detaching left on it.
    run(conn, "INSERT INTO posts VALUES (2, 'a', 1)");
    let part = text(
        conn,
        "SELECT c.inhrelid::regclass FROM pg_inherits c WHERE c.inhparent = 'threadline.audit_changes'::regclass AND pg_get_expr((SELECT relpartbound FROM pg_class WHERE oid = c.inhrelid), c.inhrelid) NOT LIKE '%M%VALUE%' LIMIT 1",
    );
    let bound = text(
        conn,
        &format!("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = '{part}'::regclass"),
    );
    run(conn, &format!("ALTER TABLE threadline.audit_changes DETACH PARTITION {part} CONCURRENTLY"));
    run(conn, &format!("ALTER TABLE threadline.audit_changes ATTACH PARTITION {part} {bound}"));
    clean(conn, "after a detach that was taken back");
    let _ = fs::remove_dir_all(&dir);
}
