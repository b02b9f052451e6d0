//! TRUNCATE is recorded, kept or refused, as each table's policy says.

use threadline::AsOf;
use threadline_tests::{as_of, audited_database, changes, clock, history, refused, run, states, text};

#[test]
fn the_three_policies_mark_keep_and_refuse() {
    let db = audited_database();
    let conn = &mut db.connect();
    for policy in ["record", "keep", "refuse"] {
        run(
            conn,
            &format!(
                "CREATE TABLE {policy}_t (id integer PRIMARY KEY, v text); SELECT threadline.attach('{policy}_t', on_truncate => '{policy}')"
            ),
        );
        run(conn, &format!("INSERT INTO {policy}_t VALUES (1, 'a'), (2, 'b')"));
    }
    let before = clock(conn);
    run(conn, "TRUNCATE record_t, keep_t");
    let said = refused(conn, "TRUNCATE refuse_t");
    assert!(said.contains("refuse_t") && said.contains("DELETE"), "{said}");
    refused(conn, "TRUNCATE record_t, refuse_t, keep_t");
    assert_eq!(text(conn, "SELECT count(*) FROM refuse_t"), "2");
    assert_eq!(changes(conn, "record_t")[2..], ["T "]);
    assert_eq!(changes(conn, "keep_t")[2..], [r#"D 1 {"v": "a", "id": 1}"#, r#"D 2 {"v": "b", "id": 2}"#]);
    assert_eq!(
        text(
            conn,
            "SELECT max(c) FROM (SELECT count(*) AS c FROM threadline.audit_changes WHERE op IN ('T', 'D') GROUP BY transaction_id) q"
        ),
        "3"
    );

    assert!(matches!(as_of(conn, "record_t", "id=1", before), AsOf::CrossedTruncate { .. }));
    assert!(matches!(as_of(conn, "keep_t", "id=1", before), AsOf::Present(_)));
    let after = clock(conn);
    run(conn, "INSERT INTO record_t VALUES (1, 'again'); INSERT INTO keep_t VALUES (1, 'again')");
    for table in ["record_t", "keep_t"] {
        assert!(matches!(as_of(conn, table, "id=1", after), AsOf::Deleted { .. }), "{table}");
        assert!(history(conn, table, "id=1").versions.iter().all(|version| !version.gap), "{table}");
    }
    assert!(matches!(as_of(conn, "record_t", "id=1", before), AsOf::CrossedTruncate { .. }));
    assert_eq!(states(conn, "keep_t", "id=1").len(), 5 - 1);
}

#[test]
fn a_cascade_a_rollback_and_writes_around_it_keep_their_order() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE p (id integer PRIMARY KEY); CREATE TABLE c (id integer PRIMARY KEY, p integer REFERENCES p);
        SELECT threadline.attach('p', on_truncate => 'keep'), threadline.attach('c', on_truncate => 'keep');
        INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (10, 1)",
    );
    run(conn, "BEGIN; TRUNCATE p CASCADE; ROLLBACK");
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.audit_changes"), "3");
    run(
        conn,
        "BEGIN; INSERT INTO p VALUES (3); SAVEPOINT s; TRUNCATE p CASCADE; ROLLBACK TO s; INSERT INTO p VALUES (4); TRUNCATE p, c; INSERT INTO p VALUES (1); TRUNCATE p CASCADE; COMMIT",
    );
    let order = "SELECT string_agg(op::text || row_key, ' ' ORDER BY ordinal) || ' ' || max(ordinal) FROM threadline.audit_changes
        WHERE transaction_id = (SELECT transaction_id FROM threadline.audit_changes ORDER BY captured_at DESC LIMIT 1)";
    assert_eq!(text(conn, order), "I3 I4 D1 D2 D3 D4 D10 I1 D1 9");
    assert_eq!(states(conn, "p", "id=1").len(), 5);
    assert_eq!(states(conn, "c", "id=10").len(), 3);
}

#[test]
fn kept_rows_of_a_table_that_others_inherit_from_are_its_own() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE base (id integer PRIMARY KEY); CREATE TABLE child () INHERITS (base); ALTER TABLE child ADD PRIMARY KEY (id);
        SELECT threadline.attach('child', on_truncate => 'keep'); SELECT threadline.attach('base', on_truncate => 'keep');
        INSERT INTO base VALUES (1); INSERT INTO child VALUES (2)");
    run(conn, "TRUNCATE base");
    assert_eq!(changes(conn, "base"), [r#"I 1 {"id": 1}"#, r#"D 1 {"id": 1}"#]);
    assert_eq!(changes(conn, "child"), [r#"I 2 {"id": 2}"#, r#"D 2 {"id": 2}"#]);
}
