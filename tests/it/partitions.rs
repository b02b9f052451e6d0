//! Partitioned tables: one identity, whichever partition a row is in and however it gets there.

use threadline::AsOf;
use threadline_tests::{
    TestRole, as_of, audited_database, changes, clock, history, run, states, text, texts,
};

/// Two levels, a partition with its columns in another order, and one attached later.
const EVENTS: &str = "CREATE TABLE events (id integer, kind text, v integer, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
    CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a') PARTITION BY RANGE (id);
    CREATE TABLE events_a_low PARTITION OF events_a FOR VALUES FROM (0) TO (100);
    CREATE TABLE events_b (junk integer, v integer, kind text NOT NULL, id integer NOT NULL); ALTER TABLE events_b DROP COLUMN junk;
    ALTER TABLE events ATTACH PARTITION events_b FOR VALUES IN ('b');
    SELECT threadline.attach('events', on_truncate => 'record')";

#[test]
fn writes_through_the_parent_and_straight_into_partitions_are_one_tables_history() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, EVENTS);
    run(conn, "INSERT INTO events VALUES (1, 'a', 1), (2, 'b', 2)");
    run(
        conn,
        "UPDATE events_a_low SET v = 10; UPDATE events_b SET v = 20; INSERT INTO events_b (id, kind, v) VALUES (3, 'b', 3); DELETE FROM events_a WHERE id = 1",
    );
    run(conn, "UPDATE events SET kind = 'a' WHERE id = 2");
    run(conn, "COPY events FROM PROGRAM 'printf \"9\\ta\\t9\\n\"'");
    assert_eq!(
        texts(
            conn,
            "SELECT op::text || ' ' || row_key || ' ' || partition FROM threadline.audit_changes ORDER BY captured_at, transaction_id, ordinal"
        ),
        [
            r#"I ["1", "a"] public.events_a_low"#,
            r#"I ["2", "b"] public.events_b"#,
            r#"U ["1", "a"] public.events_a_low"#,
            r#"U ["2", "b"] public.events_b"#,
            r#"I ["3", "b"] public.events_b"#,
            r#"D ["1", "a"] public.events_a_low"#,
            r#"D ["2", "b"] public.events_b"#,
            r#"I ["2", "a"] public.events_a_low"#,
            r#"I ["9", "a"] public.events_a_low"#,
        ]
    );
    assert_eq!(states(conn, "events", "id=2;kind=b").len(), 4);
    assert_eq!(states(conn, "events", "id=2;kind=a"), ["-", r#"{"id":2,"kind":"a","v":20}"#]);
    // A parent altered under all of them.
    run(
        conn,
        "ALTER TABLE events ADD COLUMN extra text; UPDATE events SET extra = 'x'; ALTER TABLE events RENAME v TO value",
    );
    run(conn, "UPDATE events_b SET value = 30, extra = 'y'");
    assert_eq!(
        changes(conn, "events").last().unwrap(),
        r#"U ["3", "b"] {"extra": ["x", "y"], "value": [3, 30]}"#
    );
    run(conn, "SELECT threadline.refresh('events')");
    run(conn, "UPDATE events_b SET value = 31");
    assert_eq!(
        text(
            conn,
            "SELECT layout || partition FROM threadline.audit_changes ORDER BY captured_at DESC LIMIT 1"
        ),
        "2public.events_b"
    );
    assert_eq!(states(conn, "events", "id=3;kind=b").len(), 5);
}

#[test]
fn partitions_that_come_and_go_are_captured_while_they_are_there() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, EVENTS);
    run(
        conn,
        "CREATE TABLE events_c PARTITION OF events FOR VALUES IN ('c'); CREATE TABLE events_d (id integer NOT NULL, kind text NOT NULL, v integer); INSERT INTO events_d VALUES (4, 'd', 4);
        ALTER TABLE events ATTACH PARTITION events_d FOR VALUES IN ('d')",
    );
    run(conn, "INSERT INTO events VALUES (3, 'c', 3); UPDATE events_d SET v = 5");
    run(conn, "ALTER TABLE events DETACH PARTITION events_d");
    run(conn, "UPDATE events_d SET v = 6; INSERT INTO events_c VALUES (33, 'c', 3)");
    assert_eq!(
        changes(conn, "events"),
        [
            r#"I ["3", "c"] {"v": 3, "id": 3, "kind": "c"}"#,
            r#"U ["4", "d"] {"v": [4, 5]}"#,
            r#"I ["33", "c"] {"v": 3, "id": 33, "kind": "c"}"#
        ]
    );
    // A partition made later gets its TRUNCATE trigger from refresh, or at once from the event trigger.
    assert_eq!(text(conn, "SELECT threadline.refresh('events')"), "true");
    run(conn, "TRUNCATE events_c");
    assert_eq!(changes(conn, "events").last().unwrap(), "T ");
    run(conn, "SELECT threadline.enable_ddl_refresh()");
    run(conn, "CREATE TABLE events_e PARTITION OF events FOR VALUES IN ('e')");
    run(conn, "INSERT INTO events VALUES (5, 'e', 5)");
    run(conn, "TRUNCATE events_e");
    assert_eq!(changes(conn, "events").len(), 6);
}

#[test]
fn truncating_the_parent_is_one_change_and_truncating_a_partition_concerns_only_its_rows() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, EVENTS);
    run(conn, "INSERT INTO events VALUES (1, 'a', 1), (2, 'b', 2)");
    let before = clock(conn);
    run(conn, "TRUNCATE events_b");
    assert_eq!(
        text(conn, "SELECT op::text || partition FROM threadline.audit_changes WHERE op = 'T'"),
        "Tpublic.events_b"
    );
    let after = clock(conn);
    // The row in the other partition was not touched.
    let history = history(conn, "events", "id=1;kind=a");
    assert!(history.versions.iter().all(|version| !version.gap), "{history:#?}");
    assert!(matches!(as_of(conn, "events", "id=1;kind=a", before), AsOf::Present(_)));
    assert!(matches!(as_of(conn, "events", "id=1;kind=a", after), AsOf::Present(_)));
    assert!(matches!(as_of(conn, "events", "id=2;kind=b", before), AsOf::CrossedTruncate { .. }));
    assert!(matches!(as_of(conn, "events", "id=2;kind=b", after), AsOf::Deleted { .. }));
    run(conn, "DELETE FROM events");
    let gone = clock(conn);
    run(conn, "TRUNCATE events_b");
    assert!(matches!(as_of(conn, "events", "id=1;kind=a", gone), AsOf::Deleted { .. }));

    run(conn, "INSERT INTO events VALUES (1, 'a', 1), (2, 'b', 2)");
    let count = changes(conn, "events").len();
    run(conn, "TRUNCATE events");
    assert_eq!(changes(conn, "events")[count..], ["T "]);
    run(conn, "TRUNCATE events_a");
    // Nothing can have come into it in between; then something has.
    run(
        conn,
        "BEGIN; TRUNCATE events; TRUNCATE events_a_low; INSERT INTO events VALUES (1, 'a', 1); TRUNCATE events_a_low; COMMIT",
    );
    assert_eq!(
        text(
            conn,
            "SELECT string_agg(coalesce(partition, '-'), ' ' ORDER BY captured_at) FROM threadline.audit_changes WHERE op = 'T'"
        ),
        "public.events_b public.events_b - public.events_a_low - public.events_a_low"
    );
}

#[test]
fn kept_rows_name_the_partition_they_were_in() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, EVENTS);
    run(conn, "SELECT threadline.attach('events', on_truncate => 'keep', mask => '{v}', scope => 'kind')");
    run(conn, "INSERT INTO events VALUES (1, 'a', 1), (2, 'b', 2), (3, 'b', 3)");
    run(conn, "TRUNCATE events_b");
    run(conn, "ALTER TABLE events ADD COLUMN extra text; TRUNCATE events");
    assert_eq!(
        texts(
            conn,
            "SELECT concat_ws(' ', row_key, partition, scope, row_data::jsonb) FROM threadline.audit_changes WHERE op = 'D' ORDER BY captured_at, ordinal"
        ),
        [
            r#"["2", "b"] public.events_b b {"v": "[REDACTED]", "id": 2, "kind": "b"}"#,
            r#"["3", "b"] public.events_b b {"v": "[REDACTED]", "id": 3, "kind": "b"}"#,
            r#"["1", "a"] public.events_a_low a {"v": "[REDACTED]", "id": 1, "kind": "a", "extra": "[REDACTED]"}"#,
        ]
    );
    assert_eq!(states(conn, "events", "id=2;kind=b").len(), 3);
}

#[test]
fn a_partition_made_by_an_owner_who_is_not_ours_is_captured() {
    let db = audited_database();
    let conn = &mut db.connect();
    let app = TestRole::new(&db, "app");
    let host = &mut app.connect();
    run(host, "CREATE TABLE log (id integer PRIMARY KEY) PARTITION BY RANGE (id)");
    run(conn, &format!("SELECT threadline.attach('{}.log')", app.name()));
    run(
        host,
        "CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (10); INSERT INTO log VALUES (1); UPDATE log_1 SET id = 2",
    );
    assert_eq!(
        changes(conn, &format!("{}.log", app.name())),
        [r#"I 1 {"id": 1}"#, r#"U 2<-1 {"id": [1, 2]}"#]
    );
}

#[test]
fn an_audited_table_that_becomes_a_partition_goes_on_being_captured() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE whole (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE t (id integer PRIMARY KEY, v text);
        CREATE TABLE sub (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE sub_1 PARTITION OF sub FOR VALUES FROM (100) TO (200);
        SELECT threadline.attach('t'), threadline.attach('sub');
        ALTER TABLE whole ATTACH PARTITION t FOR VALUES FROM (0) TO (100); ALTER TABLE whole ATTACH PARTITION sub FOR VALUES FROM (100) TO (200)",
    );
    run(conn, "INSERT INTO whole VALUES (1, 'a'), (101, 'b')");
    run(conn, "ALTER TABLE whole ADD COLUMN extra text; UPDATE whole SET extra = 'x'");
    assert_eq!(changes(conn, "t")[1], r#"U 1 {"extra": [null, "x"]}"#);
    assert_eq!(changes(conn, "sub")[1], r#"U 101 {"extra": [null, "x"]}"#);
}
