//! Findings about the audit schema and its partitions.

use chrono::{Datelike, Utc};
use threadline::health::{self, FindingCode as Code, HealthOptions};
use threadline::{CORE_MIGRATIONS, Error};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_cluster, audited_database, run, text, texts};

use super::{codes, found, mend, prove};
use crate::restore::restored;

#[test]
fn functions_and_types_that_are_not_as_shipped_are_found() {
    for (cause, callable) in [
        ("DROP FUNCTION threadline.set_context(jsonb)", true),
        ("DROP FUNCTION threadline.require_actor(integer, uuid)", false),
        (
            "CREATE OR REPLACE FUNCTION threadline.require_actor(of_table integer, of_transaction uuid) RETURNS void
            LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN END $$",
            false,
        ),
        ("ALTER FUNCTION threadline.open_transaction() SECURITY INVOKER", false),
        ("ALTER FUNCTION threadline.open_transaction() RESET search_path", false),
    ] {
        prove("CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts')", cause, Code::SchemaAltered, &["schema_altered"]);
        // It can be called by whom it could be before.
        let db = audited_database();
        let conn = &mut db.connect();
        run(conn, cause);
        let findings = found(conn, &HealthOptions::catalog_only());
        mend(conn, &findings, Code::SchemaAltered);
        let name = findings[0].details["function"].as_str().unwrap().to_owned();
        let public = format!("SELECT count(*) FROM pg_proc f, aclexplode(f.proacl) a WHERE f.pronamespace = 'threadline'::regnamespace AND f.proname = '{name}' AND a.grantee = 0");
        assert_eq!(text(conn, &public), if callable { "1" } else { "0" }, "{cause}");
    }
}

#[test]
fn migrations_that_have_not_run_are_found() {
    let db = TestDatabase::empty();
    let conn = &mut db.connect();
    assert!(matches!(health::findings(conn, &HealthOptions::default()), Err(Error::SchemaMissing)));
    let (last, earlier) = CORE_MIGRATIONS.split_last().unwrap();
    for migration in earlier {
        run(conn, migration.up);
    }
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&findings), ["schema_behind"]);
    assert_eq!(findings[0].details["migrations"], serde_json::json!([last.name]));
    // What the command of the fix runs.
    assert_eq!(findings[0].fix, "threadline install && diesel migration run");
    run(conn, last.up);
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
}

#[test]
fn every_index_is_missed() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id integer PRIMARY KEY, org integer); SELECT threadline.attach('posts', scope => 'org')",
    );
    let indexes = texts(
        conn,
        "SELECT c.relname FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE c.relnamespace = 'threadline'::regnamespace
        AND NOT c.relispartition AND NOT i.indisprimary ORDER BY 1",
    );
    assert!(indexes.len() >= 19, "{indexes:?}");
    for index in &indexes {
        run(conn, &format!("DROP INDEX threadline.{index}"));
        let findings = found(conn, &HealthOptions::catalog_only());
        assert_eq!(codes(&findings), ["missing_index"], "{index}");
        assert_eq!(findings[0].details["index"], index.as_str());
        mend(conn, &findings, Code::MissingIndex);
        assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0], "{index}");
    }
    run(
        conn,
        "DROP INDEX threadline.audit_changes_time_idx; CREATE INDEX audit_changes_time_idx ON ONLY threadline.audit_changes (captured_at)",
    );
    let findings = found(conn, &HealthOptions::catalog_only());
    assert!(findings[0].message.contains("is invalid"), "{findings:?}");
    mend(conn, &findings, Code::MissingIndex);
    for table in
        ["audit_changes", "audited_tables", "audit_long_transactions", "capture_periods", "known_gaps"]
    {
        run(conn, &format!("ALTER TABLE threadline.{table} DROP CONSTRAINT {table}_pkey"));
        let findings = found(conn, &HealthOptions::catalog_only());
        assert_eq!(codes(&findings), ["missing_index"], "{table}");
        mend(conn, &findings, Code::MissingIndex);
        assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0], "{table}");
    }
}

/// The last partitions of a table of the trail but its tail, newest first.
fn months(conn: &mut diesel::PgConnection, parent: &str) -> Vec<String> {
    texts(
        conn,
        &format!(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'threadline.{parent}'::regclass
            AND c.relname NOT LIKE '%_tail' ORDER BY c.relname DESC"
        ),
    )
}

#[test]
fn a_month_without_a_partition_is_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    for (parent, gone) in [("audit_changes", 0), ("audit_actions", 1)] {
        let partition = months(conn, parent).remove(gone);
        // Dropped, it is made anew; detached, it is attached again.
        for cause in ["DROP TABLE threadline.$p", "ALTER TABLE threadline.$t DETACH PARTITION threadline.$p"]
        {
            run(conn, &cause.replace("$p", &partition).replace("$t", parent));
            let findings = found(conn, &HealthOptions::catalog_only());
            assert_eq!(codes(&findings), [format!("partition_missing threadline.{parent}")], "{findings:#?}");
            mend(conn, &findings, Code::PartitionMissing);
            assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
        }
    }
    run(conn, "DROP TABLE threadline.audit_changes_tail");
    let findings = found(conn, &HealthOptions::catalog_only());
    assert_eq!(codes(&findings), ["partition_missing threadline.audit_changes"]);
    mend(conn, &findings, Code::PartitionMissing);
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
    run(
        conn,
        "SELECT threadline.maintain(); CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts'); INSERT INTO posts VALUES (1)",
    );
}

#[test]
fn a_runway_of_less_than_a_month_is_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    let parents = texts(
        conn,
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind = 'p' ORDER BY 1",
    );
    // As it is when nobody has maintained it: the tail begins with the month after this one, unless that is a whole one away.
    let today = Utc::now();
    for parent in &parents {
        for month in months(conn, parent) {
            if month.ends_with(&format!("{:04}_{:02}", today.year(), today.month())) {
                continue;
            }
            run(conn, &format!("DROP TABLE threadline.{month}"));
        }
        run(
            conn,
            &format!(
                "ALTER TABLE threadline.{parent} DETACH PARTITION threadline.{parent}_tail;
                DO $$ BEGIN EXECUTE format('ALTER TABLE threadline.{parent} ATTACH PARTITION threadline.{parent}_tail FOR VALUES FROM (%L) TO (MAXVALUE)',
                    threadline.first_id_at((date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC')); END $$"
            ),
        );
    }
    let findings = found(conn, &HealthOptions::catalog_only());
    let expected: Vec<String> =
        parents.iter().map(|parent| format!("partition_runway_short threadline.{parent}")).collect();
    assert_eq!(codes(&findings), expected);
    run(conn, &findings[0].fix);
    assert_eq!(codes(&found(conn, &HealthOptions::catalog_only())), [""; 0]);
}

#[test]
fn a_trail_in_another_cluster_is_found() {
    prove(
        "SELECT 1",
        "UPDATE threadline.trail_clusters SET cluster = cluster + 1",
        Code::TrailMoved,
        &["trail_moved"],
    );
}

#[test]
fn after_a_restore_into_another_cluster_the_fixes_are_all_it_takes() {
    let old = audited_cluster();
    let conn = &mut old.connect("app").unwrap();
    run(
        conn,
        "CREATE TABLE gone (a integer); CREATE TABLE posts (a integer, id integer PRIMARY KEY, body text); ALTER TABLE posts DROP COLUMN a; DROP TABLE gone;
        SELECT threadline.attach('posts'); INSERT INTO posts VALUES (1, 'a')",
    );
    let options = HealthOptions::default().check_actors(false);
    assert_eq!(codes(&found(conn, &options)), [""; 0]);
    let new = restored(&old);
    let conn = &mut new.connect("app").unwrap();
    let findings = found(conn, &options);
    assert_eq!(codes(&findings), ["trail_moved", "relation_changed public.posts"], "{findings:#?}");
    for finding in &findings {
        run(conn, &finding.fix);
    }
    run(conn, "UPDATE posts SET body = 'b'");
    let left = found(conn, &options);
    assert_eq!(codes(&left), [""; 0], "{left:#?}");
}
