//! What cannot be audited is refused with the offender's name, and nothing is half done.

use diesel::prelude::*;
use threadline::{AuditSpec, Error, HistoryLimit, TableName, Trail, capture};
use threadline_devdb::TestDatabase;
use threadline_tests::{TestRole, audited_database, refused, row_key, run, text};

const NOTHING: &str = "SELECT concat_ws(' ', (SELECT count(*) FROM threadline.audited_tables), (SELECT count(*) FROM threadline.table_layouts),
    (SELECT count(*) FROM threadline.capture_periods), (SELECT count(*) FROM pg_trigger WHERE tgname LIKE '!threadline%'),
    (SELECT count(*) FROM pg_proc WHERE proname LIKE 'capture\\_1%'))";

#[test]
fn what_is_no_ordinary_table_is_refused_with_the_reason() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
        CREATE FOREIGN TABLE foreign_t (id integer) SERVER files OPTIONS (filename '/dev/null');
        CREATE TABLE t (id integer PRIMARY KEY); CREATE VIEW v AS SELECT * FROM t; CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
        CREATE TEMP TABLE temporary_t (id integer PRIMARY KEY); CREATE SEQUENCE s; CREATE TYPE composite AS (a integer);
        CREATE TABLE p (id integer PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (9)",
    );
    for (target, reason) in [
        ("v", "it is a view; audit the tables under it"),
        ("m", "it is a materialized view"),
        ("foreign_t", "it is a foreign table"),
        ("temporary_t", "it is temporary"),
        ("s", "it is not a table"),
        ("composite", "it is not a table"),
        ("t_pkey", "it is not a table"),
        ("p_1", "it is a partition; audit public.p"),
        ("pg_class", "it is a system catalog"),
        ("threadline.audit_changes", "it is part of the audit trail itself"),
        ("threadline.audit_changes_tail", "it is part of the audit trail itself"),
    ] {
        let said = refused(conn, &format!("SELECT threadline.attach('{target}')"));
        assert!(said.contains(reason) && said.contains(target), "{target}: {said}");
    }
    refused(conn, "SELECT threadline.attach('no_such_table')");
    assert!(refused(conn, "SELECT threadline.attach(99999999)").contains("no such table"));
    assert!(refused(conn, "SELECT threadline.attach(NULL)").contains("no such table: NULL"));
    assert_eq!(text(conn, NOTHING), "0 0 0 0 0");
}

#[test]
fn a_bad_policy_is_refused_naming_every_offender_at_once() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE t (id integer PRIMARY KEY, a text, b json, \"Odd\"\"name\" text, c text NOT NULL UNIQUE)",
    );
    for (arguments, expected) in [
        ("exclude => '{zz}'", &["exclude names column \"zz\"", "it has \"id\", \"a\""][..]),
        ("mask => '{A}'", &["mask names column \"A\""]),
        ("exclude => '{id}'", &["column \"id\" is part of the key and cannot be in exclude"]),
        ("mask => '{id}'", &["cannot be in mask"]),
        ("ignore => '{id}'", &["cannot be in ignore"]),
        ("key => '{c}', mask => '{c}'", &["column \"c\" is in both key and mask"]),
        ("exclude => '{a}', mask => '{a}'", &["column \"a\" is in both exclude and mask"]),
        ("exclude => '{a}', ignore => '{a}'", &["column \"a\" is in both exclude and ignore"]),
        ("scope => 'a', mask => '{a}'", &["column \"a\" is in both mask and scope"]),
        ("mask => '{a,a}'", &["mask names column \"a\" 2 times"]),
        ("mask => '{NULL}'", &["mask names no column (NULL)"]),
        ("scope => 'b'", &["scope column \"b\" is of type json"]),
        ("scope => ''", &["scope names column \"\""]),
        ("mask_placeholder => ''", &["mask_placeholder has to be 1 to 200 characters"]),
        ("mask_placeholder => E'a\\nb'", &["without control characters"]),
        ("mask_placeholder => NULL", &["mask_placeholder"]),
        ("on_truncate => 'ask'", &["on_truncate is 'ask'; it can be record, keep or refuse"]),
        ("actor_policy => NULL", &["actor_policy is NULL; it can be allow or require"]),
        (
            "exclude => '{x1}', mask => '{x2,id}', ignore => '{x3}', scope => 'x4', on_truncate => 'x5'",
            &["\"x1\"", "\"x2\"", "\"x3\"", "\"x4\"", "'x5'", "\"id\""],
        ),
    ] {
        let said = refused(conn, &format!("SELECT threadline.attach('t', {arguments})"));
        for part in expected {
            assert!(said.contains(part), "{arguments}: {part} is not in: {said}");
        }
    }
    assert_eq!(text(conn, NOTHING), "0 0 0 0 0");
    // A change that is refused leaves the policy that holds.
    run(conn, "SELECT threadline.attach('t', mask => '{\"Odd\\\"name\"}')");
    refused(conn, "SELECT threadline.attach('t', mask => '{a}', exclude => '{id}')");
    run(conn, "INSERT INTO t VALUES (1, 'a', '1', 'odd', 'c')");
    assert_eq!(text(conn, "SELECT row_data ->> 'Odd\"name' FROM threadline.audit_changes"), "[REDACTED]");
}

#[test]
fn a_role_that_may_not_is_told_who_may() {
    let db = audited_database();
    let conn = &mut db.connect();
    let owner = TestRole::new(&db, "owner");
    run(&mut owner.connect(), "CREATE TABLE t (id integer PRIMARY KEY)");
    run(
        conn,
        &format!("GRANT EXECUTE ON FUNCTION threadline.attach, threadline.check_target TO {}", owner.name()),
    );
    let said = refused(&mut owner.connect(), "SELECT threadline.attach('t')");
    assert!(said.contains("may not attach tables") && said.contains("Run it as"), "{said}");

    // A schema owner without rights on the host's schema or table.
    let host = TestRole::new(&db, "host");
    run(&mut host.connect(), "CREATE TABLE t (id integer PRIMARY KEY)");
    run(conn, &format!("GRANT {} TO {}", host.name(), owner.name()));
    run(
        conn,
        &format!(
            "ALTER SCHEMA threadline OWNER TO {0}; GRANT ALL ON ALL TABLES IN SCHEMA threadline TO {0}; GRANT ALL ON ALL FUNCTIONS IN SCHEMA threadline TO {0}",
            owner.name()
        ),
    );
    run(conn, &format!("REVOKE {} FROM {}", host.name(), owner.name()));
    let said = refused(conn, &format!("SELECT threadline.attach('{}.t')", host.name()));
    assert!(said.contains("lacks USAGE on schema"), "{said}");
    run(conn, &format!("GRANT USAGE ON SCHEMA {} TO {}", host.name(), owner.name()));
    let said =
        refused(conn, &format!("SELECT threadline.attach('{}.t', on_truncate => 'keep')", host.name()));
    assert!(said.contains("GRANT SELECT ON"), "{said}");
    assert_eq!(text(conn, NOTHING), "0 0 0 0 0");
    run(conn, "ALTER SCHEMA threadline OWNER TO CURRENT_USER");
}

#[test]
fn detach_and_refresh_of_what_is_not_audited_say_so_or_do_nothing() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE t (id integer PRIMARY KEY); SELECT threadline.detach('t'); SELECT threadline.detach(NULL)",
    );
    assert!(refused(conn, "SELECT threadline.refresh('t')").contains("is not audited"));
    run(conn, "SELECT threadline.attach('t'); SELECT threadline.detach('t'); INSERT INTO t VALUES (1)");
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.audit_changes"), "0");
    assert_eq!(text(conn, "SELECT threadline.attach('t')"), "1");
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.capture_periods WHERE table_id = 1"), "2");
}

#[test]
fn each_way_the_database_can_be_unfit_is_an_error_of_its_own() {
    let notes = TableName::new(None, "notes");
    let read = |conn: &mut PgConnection| {
        Trail::unscoped().row_history(conn, &notes, &row_key("id=1"), HistoryLimit::All).unwrap_err()
    };

    let bare = TestDatabase::empty();
    let conn = &mut bare.connect();
    run(conn, "CREATE TABLE notes (id integer PRIMARY KEY)");
    let error = read(conn);
    assert!(matches!(error, Error::SchemaMissing), "{error:?}");
    assert!(error.to_string().contains("diesel migration run"), "{error}");
    let error = capture::attach(conn, &notes, &AuditSpec::default()).unwrap_err();
    assert!(matches!(error, Error::SchemaMissing), "{error:?}");

    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id integer PRIMARY KEY)");
    let error = read(conn);
    assert!(matches!(&error, Error::NotAudited { table, .. } if table.contains("notes")), "{error:?}");
    run(conn, "SELECT threadline.attach('notes')");
    let error =
        Trail::unscoped().row_history(conn, &notes, &row_key("number=1"), HistoryLimit::All).unwrap_err();
    assert!(error.to_string().contains("is audited by the key (id), not by (number)"), "{error}");
    assert!(matches!(
        Trail::unscoped().row_history(conn, &notes, &row_key("id=x"), HistoryLimit::All),
        Err(Error::Query(_))
    ));

    // An older schema: it says another version, and lacks what this library calls.
    run(
        conn,
        "CREATE OR REPLACE FUNCTION threadline.schema_version() RETURNS integer LANGUAGE sql AS 'SELECT 0'; DROP FUNCTION threadline.changes_of_row",
    );
    let error = read(conn);
    assert!(matches!(error, Error::SchemaVersion { found: 0, .. }), "{error:?}");

    let admin = &mut db.connect();
    run(
        admin,
        &format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid()",
            db.name()
        ),
    );
    let error = read(conn);
    assert!(matches!(error, Error::ConnectionLost(_)), "{error:?}");
}
