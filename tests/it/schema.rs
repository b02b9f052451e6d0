//! The audit schema itself: its migrations, its functions, its partitions.

use std::thread;
use std::time::{Duration, Instant};

use threadline::CORE_MIGRATIONS;
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, changes, refused, run, text, texts};

fn up(db: &TestDatabase) {
    for migration in CORE_MIGRATIONS {
        run(&mut db.connect(), migration.up);
    }
}

fn down(db: &TestDatabase) {
    for migration in CORE_MIGRATIONS.iter().rev() {
        run(&mut db.connect(), migration.down);
    }
}

fn dump(db: &TestDatabase) -> String {
    let output = db.command("pg_dump").arg("--schema-only").output().unwrap();
    assert!(output.status.success());
    // pg_dump 15.14 and later frame the text in a random word.
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('\\'))
        .collect::<Vec<_>>()
        .join("\n")
}

#[track_caller]
fn assert_same(left: &str, right: &str) {
    for (left, right) in left.lines().zip(right.lines()) {
        assert_eq!(left, right);
    }
    assert_eq!(left.lines().count(), right.lines().count());
}

#[test]
fn up_down_up_leaves_the_same_schema_and_the_hosts_tables_as_they_were() {
    let db = TestDatabase::empty();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, body text); CREATE TABLE dropped (id integer PRIMARY KEY);
        CREATE TABLE parts (id integer PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)",
    );
    let host = dump(&db);
    up(&db);
    let installed = dump(&db);
    down(&db);
    assert_same(&dump(&db), &host);
    up(&db);
    assert_same(&dump(&db), &installed);
    run(
        conn,
        "SELECT threadline.attach('notes'), threadline.attach('dropped'), threadline.attach('parts'), threadline.enable_ddl_refresh()",
    );
    run(conn, "INSERT INTO notes VALUES (1, 'a'); INSERT INTO parts VALUES (1)");
    run(
        conn,
        "SELECT threadline.detach('parts'); SELECT threadline.attach('parts'); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20)",
    );
    run(conn, "DROP TABLE parts_2; DROP TABLE dropped");
    down(&db);
    run(conn, "INSERT INTO notes VALUES (2, 'b'); TRUNCATE parts");
    run(conn, "CREATE TABLE dropped (id integer PRIMARY KEY)");
    assert_same(&dump(&db), &host);
}

#[test]
fn running_up_again_changes_nothing_and_loses_nothing() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY); SELECT threadline.attach('notes'); INSERT INTO notes VALUES (1)",
    );
    let before = dump(&db);
    up(&db);
    assert_same(&dump(&db), &before);
    run(conn, "INSERT INTO notes VALUES (2)");
    assert_eq!(changes(conn, "notes").len(), 2);
    assert_eq!(text(conn, "SELECT outcome FROM threadline.refresh_all()"), "up to date");
}

#[test]
fn every_function_pins_its_path_and_everything_is_explained() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id integer PRIMARY KEY); SELECT threadline.attach('notes')");
    let none: [String; 0] = [];
    assert_eq!(
        texts(
            conn,
            "SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'threadline'::regnamespace
            AND (proconfig IS NULL OR NOT 'search_path=pg_catalog, pg_temp' = ANY (proconfig))"
        ),
        none
    );
    assert_eq!(
        texts(
            conn,
            "SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'threadline'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL"
        ),
        none
    );
    assert_eq!(
        texts(conn, "SELECT format('%s.%s', c.oid::regclass, a.attname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
            WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL)"),
        none
    );
    assert_eq!(
        texts(
            conn,
            "SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'threadline'::regnamespace AND proacl IS NULL"
        ),
        none,
        "nothing is left to PUBLIC by default"
    );
    // pg_upgrade refuses tables with columns of these types.
    assert_eq!(
        texts(conn, "SELECT attrelid::regclass FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
            WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind IN ('r', 'p') AND atttypid::regtype::text LIKE 'reg%'"),
        none
    );
}

const BOUNDS: &str = "SELECT string_agg(regexp_replace(c.relname, '^audit_(changes|actions|transactions|long_transactions|key_changes|departures)', '') || ' ' || pg_get_expr(c.relpartbound, c.oid), E'\\n' ORDER BY c.relname)
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
    WHERE p.relnamespace = 'threadline'::regnamespace AND p.relkind = 'p' GROUP BY i.inhparent";

#[test]
fn partitions_have_the_same_bounds_reach_ahead_and_are_never_the_default() {
    let db = audited_database();
    let conn = &mut db.connect();
    assert_eq!(text(conn, "SELECT threadline.maintain()"), "0");
    let bounds = texts(conn, BOUNDS);
    assert_eq!(bounds.len(), 6);
    assert!(bounds.iter().all(|of_table| *of_table == bounds[0]), "{bounds:#?}");
    assert!(
        !bounds[0].contains("DEFAULT") && bounds[0].contains("MINVALUE") && bounds[0].contains("MAXVALUE")
    );
    assert_eq!(
        text(conn, "SELECT threadline.instant_of(substring(pg_get_expr(relpartbound, oid) FROM '''([0-9a-f-]{36})''')::uuid) >= date_trunc('month', now(), 'UTC') + interval '3 months'
            FROM pg_class WHERE oid = 'threadline.audit_changes_tail'::regclass"),
        "true"
    );
}

#[test]
fn months_of_neglect_are_closed_as_one_partition_and_lose_no_row() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY); SELECT threadline.attach('notes'); INSERT INTO notes VALUES (1)",
    );
    // As if seven months had gone by without maintenance: rows of the future lie in the tail, one of them without changes.
    for months in [5, 6, 7] {
        run(conn, &format!(
            "INSERT INTO threadline.audit_transactions (id, occurred_at, xid, db_role)
            SELECT threadline.first_id_at(now() + interval '{months} months'), now() + interval '{months} months', '9', 'x'"
        ));
    }
    run(conn, "INSERT INTO threadline.audit_changes (captured_at, transaction_id, ordinal, table_id, op, row_key)
        SELECT t.occurred_at, t.id, 1, 1, 'I', '2' FROM threadline.audit_transactions t WHERE xid = '9' AND t.occurred_at < now() + interval '6 months'");
    run(
        conn,
        "INSERT INTO threadline.audit_key_changes SELECT transaction_id, ordinal, table_id, '1' FROM threadline.audit_changes;
        INSERT INTO threadline.audit_departures SELECT captured_at, transaction_id, ordinal, table_id, '1', 1 FROM threadline.audit_changes",
    );
    let count = "SELECT concat_ws(' ', (SELECT count(*) FROM threadline.audit_transactions), (SELECT count(*) FROM threadline.audit_changes),
        (SELECT count(*) FROM threadline.audit_key_changes), (SELECT count(*) FROM threadline.audit_departures))";
    let before = text(conn, count);
    // The tail begins within the runway only once time has moved on; move the runway instead.
    let definition = text(conn, "SELECT pg_get_functiondef('threadline.maintain'::regproc)");
    run(conn, &definition.replace("now()", "(now() + interval '7 months')"));
    assert_ne!(text(conn, "SELECT threadline.maintain()"), "0");
    assert_eq!(text(conn, "SELECT threadline.maintain()"), "0");
    assert_eq!(text(conn, count), before);
    let bounds = texts(conn, BOUNDS);
    assert!(
        bounds.iter().all(|of_table| *of_table == bounds[0]) && bounds[0].contains("_to_"),
        "{bounds:#?}"
    );
    assert_eq!(text(conn, "SELECT count(*) FROM ONLY threadline.audit_transactions_tail"), "0");
    run(conn, "INSERT INTO notes VALUES (3)");
    run(
        conn,
        "INSERT INTO threadline.audit_transactions (id, occurred_at, xid, db_role) VALUES ('00000000-0000-7000-8000-000000000001', now(), '1', 'x'), ('ffffffff-ffff-7000-8000-000000000001', now(), '1', 'x')",
    );
}

#[test]
fn scopes_are_indexed_in_every_partition_from_the_first_table_that_declares_one_on() {
    let db = audited_database();
    let conn = &mut db.connect();
    let unindexed = "SELECT count(*) FROM pg_inherits i WHERE i.inhparent = 'threadline.audit_changes'::regclass AND NOT EXISTS (
        SELECT FROM pg_index x WHERE x.indrelid = i.inhrelid AND x.indisvalid AND pg_get_indexdef(x.indexrelid) LIKE '%(scope, captured_at) WHERE%')";
    run(conn, "CREATE TABLE notes (id integer PRIMARY KEY, org integer); SELECT threadline.attach('notes')");
    assert_ne!(text(conn, unindexed), "0");
    run(conn, "SELECT threadline.attach('notes', scope => 'org')");
    assert_eq!(text(conn, unindexed), "0");
    let definition = text(conn, "SELECT pg_get_functiondef('threadline.maintain'::regproc)");
    run(conn, &definition.replace("now()", "(now() + interval '2 months')"));
    assert_ne!(text(conn, "SELECT threadline.maintain()"), "0");
    assert_eq!(text(conn, unindexed), "0");
}

#[test]
fn maintenance_runs_beside_writers_and_gives_up_rather_than_hold_them_off() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id serial PRIMARY KEY, body text); SELECT threadline.attach('notes')");
    let definition = text(conn, "SELECT pg_get_functiondef('threadline.maintain'::regproc)");
    let until = Instant::now() + Duration::from_secs(2);
    let written: usize = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let conn = &mut db.connect();
                    let mut written = 0;
                    while Instant::now() < until {
                        run(conn, "BEGIN; INSERT INTO notes (body) VALUES ('a'); UPDATE notes SET id = -id WHERE id = currval('notes_id_seq'); COMMIT");
                        written += 1;
                    }
                    written
                })
            })
            .collect();
        for months in 1..=6 {
            run(conn, &definition.replace("now()", &format!("(now() + interval '{months} months')")));
            run(conn, "SELECT threadline.maintain()");
            thread::sleep(Duration::from_millis(100));
        }
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert_eq!(changes(conn, "notes").len(), 2 * written);
    run(conn, &definition.replace("now()", "(now() + interval '9 months')"));
    let reader = &mut db.connect();
    run(reader, "BEGIN; INSERT INTO notes (body) VALUES ('long')");
    let said = refused(conn, "SELECT threadline.maintain()");
    assert!(said.contains("lock timeout"), "{said}");
    run(reader, "COMMIT");
}
