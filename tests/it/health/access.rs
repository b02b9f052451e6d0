//! Findings about who could write the trail, or switch capture off.

use std::thread;
use std::time::Duration;

use threadline::health::{FindingCode as Code, HealthOptions, Severity};
use threadline_devdb::Cluster;
use threadline_tests::{TestRole, audited_cluster, audited_database, refused, run, text};

use super::{codes, found, mend};

#[test]
fn a_role_that_may_write_the_trail_is_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    let app = TestRole::new(&db, "App Role".replace(' ', "_").to_lowercase().as_str());
    let name = app.name();
    let month = text(
        conn,
        "SELECT min(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'threadline.audit_changes'::regclass",
    );
    for cause in [
        format!("GRANT INSERT ON threadline.audit_changes TO {name}"),
        format!("GRANT ALL ON ALL TABLES IN SCHEMA threadline TO {name}"),
        format!("GRANT DELETE ON {month} TO {name}"),
        format!("GRANT UPDATE (row_key) ON threadline.audit_changes TO {name}"),
        "GRANT UPDATE ON threadline.audited_tables TO PUBLIC".to_owned(),
        format!("GRANT CREATE ON SCHEMA threadline TO {name}"),
        format!("GRANT EXECUTE ON FUNCTION threadline.open_transaction() TO {name}"),
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA threadline TO PUBLIC".to_owned(),
    ] {
        run(conn, &cause);
        let findings = found(conn, &HealthOptions::catalog_only());
        assert_eq!(codes(&findings), ["audit_writable"], "{cause}: {findings:#?}");
        assert_eq!(findings[0].severity, Severity::Error);
        // What is to be read before it is run has a line for each object.
        let objects = findings[0].details["objects"].as_array().map_or(1, Vec::len);
        assert_eq!(findings[0].fix.lines().count(), objects, "{}", findings[0].fix);
        mend(conn, &findings, Code::AuditWritable);
        assert_eq!(
            codes(&found(conn, &HealthOptions::catalog_only())),
            [""; 0],
            "{cause}: {}",
            findings[0].fix
        );
    }
    // Reading it is no fault.
    run(conn, &format!("GRANT SELECT ON ALL TABLES IN SCHEMA threadline TO {name}"));
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
    // Whoever owns an audited partitioned table may execute its function, to create partitions.
    run(&mut app.connect(), "CREATE TABLE parts (id integer PRIMARY KEY) PARTITION BY RANGE (id)");
    run(conn, &format!("SELECT threadline.attach('{name}.parts')"));
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
}

/// A cluster of its own, in whose database `app` everything belongs to role `app`, which may log in.
fn owned_by_the_application() -> Cluster {
    let cluster = audited_cluster();
    let conn = &mut cluster.connect("app").unwrap();
    run(
        conn,
        "CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app; GRANT CREATE ON DATABASE app TO app",
    );
    run(
        conn,
        "DO $$ DECLARE s text; BEGIN ALTER SCHEMA threadline OWNER TO app;
        FOR s IN SELECT format('ALTER TABLE %s OWNER TO app', oid::regclass) FROM pg_class WHERE relnamespace = 'threadline'::regnamespace AND relkind IN ('r', 'p')
            UNION ALL SELECT format('ALTER FUNCTION %s OWNER TO app', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'threadline'::regnamespace
        LOOP EXECUTE s; END LOOP; END $$",
    );
    run(
        conn,
        "CREATE SCHEMA \"Other one\" AUTHORIZATION app; SET ROLE app; CREATE TABLE posts (id integer PRIMARY KEY); CREATE TABLE \"Other one\".t (id integer PRIMARY KEY);
        SELECT threadline.attach('posts'), threadline.attach('\"Other one\".t'); RESET ROLE",
    );
    cluster
}

#[test]
fn an_owner_of_the_trail_who_can_log_in_and_owns_host_tables_is_found() {
    let cluster = owned_by_the_application();
    let conn = &mut cluster.connect("app").unwrap();
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&findings), ["audit_owner_can_log_in"]);
    mend(conn, &findings, Code::AuditOwnerCanLogIn);
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
    // Capture goes on by its fast path, and the application is out.
    run(
        conn,
        "SET SESSION AUTHORIZATION app; INSERT INTO posts VALUES (1); INSERT INTO \"Other one\".t VALUES (1)",
    );
    assert!(refused(conn, "DELETE FROM threadline.audit_changes").contains("permission denied"));
    run(conn, "RESET SESSION AUTHORIZATION");
    assert_eq!(text(conn, "SELECT count(layout) FROM threadline.audit_changes"), "2");
    // As a member it could still become the owner.
    run(conn, "GRANT threadline_owner TO app");
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&findings), ["audit_owner_can_log_in"]);
    mend(conn, &findings, Code::AuditOwnerCanLogIn);
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
}

#[test]
fn settings_that_switch_capture_off_or_name_an_actor_are_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    let app = TestRole::new(&db, "app");
    let (name, database) = (app.name(), db.name());
    for cause in [
        format!("ALTER ROLE {name} SET session_replication_role = replica"),
        format!("ALTER ROLE {name} IN DATABASE {database} SET session_replication_role = 'replica'"),
        format!(
            "ALTER DATABASE {database} SET threadline.actor_ref = '{{\"type\": \"user\", \"id\": \"somebody\"}}'"
        ),
        format!("ALTER ROLE {name} SET threadline.context = '{{}}'"),
    ] {
        run(conn, &cause);
        let findings = found(conn, &HealthOptions::catalog_only());
        assert_eq!(codes(&findings), ["dangerous_setting"], "{cause}");
        // It says who is set, and not what to.
        assert!(!format!("{findings:?}").contains("somebody"), "{findings:?}");
        mend(conn, &findings, Code::DangerousSetting);
        assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0], "{cause}");
    }
}

#[test]
fn settings_of_the_server_are_found() {
    let cluster = audited_cluster();
    let conn = &mut cluster.connect("app").unwrap();
    run(conn, "ALTER SYSTEM SET session_replication_role = replica");
    run(conn, "SELECT pg_reload_conf()");
    thread::sleep(Duration::from_millis(300));
    let conn = &mut cluster.connect("app").unwrap();
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&findings), ["dangerous_setting"], "{findings:#?}");
    for statement in findings[0].fix.split("; ") {
        run(conn, statement);
    }
    thread::sleep(Duration::from_millis(300));
    let conn = &mut cluster.connect("app").unwrap();
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
    // The tests' servers do not survive a crash, which is said, as is that their command line has it so.
    let findings = threadline::health::findings(conn, &HealthOptions::catalog_only()).unwrap();
    assert_eq!(codes(&findings), ["dangerous_setting", "dangerous_setting"]);
    assert!(findings.iter().all(|finding| finding.severity == Severity::Warning), "{findings:#?}");
    assert!(
        findings[0].message.starts_with("`fsync` is off for the whole server: a COMMIT no longer waits"),
        "{findings:#?}"
    );
}

#[test]
fn transactions_that_hold_the_feed_back_are_found() {
    let cluster = Cluster::start_with(&[("max_prepared_transactions", "2")]).unwrap();
    cluster.create_database("app").unwrap();
    let conn = &mut cluster.connect("app").unwrap();
    diesel_migrations::MigrationHarness::run_pending_migrations(conn, threadline::MIGRATIONS).unwrap();
    run(conn, "CREATE TABLE posts (id integer PRIMARY KEY)");
    let options = HealthOptions::catalog_only().coverage(
        threadline::health::CoverageOptions::new()
            .ignore(threadline_tests::table("posts"), "only written to"),
    );
    let holder = &mut cluster.connect("app").unwrap();
    run(holder, "BEGIN; INSERT INTO posts VALUES (1)");
    let other = &mut cluster.connect("app").unwrap();
    run(other, "BEGIN; INSERT INTO posts VALUES (2); PREPARE TRANSACTION 'it''s'");
    assert_eq!(codes(&found(conn, &options)), [""; 0]);
    thread::sleep(Duration::from_millis(1100));
    let options = options.feed_hold(Duration::from_secs(1));
    let findings = found(conn, &options);
    assert_eq!(codes(&findings), ["feed_held_back", "feed_held_back"], "{findings:#?}");
    mend(conn, &findings, Code::FeedHeldBack);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(codes(&found(conn, &options)), [""; 0]);
}
