//! Rows of the past are found by their keys, whatever the keys are and whatever became of the rows.

use super::*;

#[test]
fn composite_quoted_and_other_keys_and_partitions_are_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        r#"CREATE TABLE "Odd ""Table" ("a key" text, "select" uuid, "old" numeric(6, 2), "new" text COLLATE "C", PRIMARY KEY ("a key", "select"));
        CREATE TABLE prices (amount numeric PRIMARY KEY, label varchar(20) COLLATE "C");
        CREATE TABLE events (id integer, kind text, v integer, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
        CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a');
        CREATE TABLE events_b (junk integer, v integer, kind text NOT NULL, id integer NOT NULL); ALTER TABLE events_b DROP COLUMN junk;
        ALTER TABLE events ATTACH PARTITION events_b FOR VALUES IN ('b'); ALTER TABLE prices ADD COLUMN gone integer; ALTER TABLE prices DROP COLUMN gone;
        SELECT threadline.attach('"Odd ""Table"'); SELECT threadline.attach('prices'); SELECT threadline.attach('events');
        INSERT INTO "Odd ""Table" VALUES ('x,"y', '00000000-0000-0000-0000-000000000001', 1.50, 'n'), ('z', '00000000-0000-0000-0000-000000000002', NULL, NULL);
        INSERT INTO "Odd ""Table" VALUES (repeat('long', 400), '00000000-0000-0000-0000-000000000003', 3, 'l');
        INSERT INTO prices VALUES (1.00, 'one'), (2.50, 'two'); INSERT INTO events VALUES (1, 'a', 1), (2, 'b', 2), (3, 'b', 3)"#,
    );
    let then = clock(conn);
    let shadows = [
        (r#""Odd ""Table""#, "row_to_json(t)::text FROM \"Odd \"\"Table\" t"),
        ("prices", "row_to_json(t)::text FROM prices t"),
        ("events", "row_to_json(t)::text FROM events t"),
    ]
    .map(|(name, select)| (name, select, texts(conn, &format!("SELECT {select} ORDER BY 1"))));
    run(
        conn,
        r#"UPDATE "Odd ""Table" SET "old" = 9, "new" = 'm'; DELETE FROM "Odd ""Table"; UPDATE prices SET amount = amount + 1; DELETE FROM prices WHERE amount > 3;
        UPDATE events SET kind = 'a', v = 20 WHERE id = 2; DELETE FROM events_b; INSERT INTO events VALUES (3, 'b', 33)"#,
    );
    for (name, select, shadow) in &shadows {
        assert_eq!(
            past_texts(conn, then, &format!("SELECT {select} ORDER BY 1")).unwrap(),
            *shadow,
            "{name}"
        );
    }
    for (sql, found) in [
        (r#"SELECT "old" FROM "Odd ""Table" WHERE "a key" = 'x,"y'"#, "1.50"),
        (r#"SELECT "new" FROM "Odd ""Table" WHERE "select" = '00000000-0000-0000-0000-000000000001'"#, "n"),
        (r#"SELECT "new" FROM "Odd ""Table" WHERE "a key" = repeat('long', 400)"#, "l"),
        ("SELECT amount || label FROM prices WHERE amount = 2.5", "2.50two"),
        ("SELECT v FROM events WHERE id = 2 AND kind = 'b'", "2"),
        ("SELECT v FROM events WHERE id = 3", "3"),
    ] {
        assert_eq!(past_texts(conn, then, sql).unwrap(), [found], "{sql}");
    }
}

#[test]
fn a_key_that_has_another_type_today_still_finds_what_is_gone() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE grown (id integer PRIMARY KEY, v text); SELECT threadline.attach('grown'); INSERT INTO grown VALUES (1, 'a'), (2, 'b')",
    );
    let then = clock(conn);
    run(
        conn,
        "DELETE FROM grown WHERE id = 1; ALTER TABLE grown ALTER id TYPE bigint; DELETE FROM grown WHERE id = 2; SELECT threadline.refresh('grown');
        INSERT INTO grown VALUES (3, 'c')",
    );
    let later = clock(conn);
    run(conn, "DELETE FROM grown");
    assert_eq!(past_texts(conn, then, "SELECT v FROM grown WHERE id = 1").unwrap(), ["a"]);
    assert_eq!(past_texts(conn, then, "SELECT id || v FROM grown ORDER BY id").unwrap(), ["1a", "2b"]);
    assert_eq!(past_texts(conn, later, "SELECT id || v FROM grown WHERE id > 2").unwrap(), ["3c"]);
}

#[test]
fn rows_kept_from_a_truncate_and_rows_captured_past_a_stale_function_are_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE kept (id uuid PRIMARY KEY, v text); SELECT threadline.attach('kept', on_truncate => 'keep');
        INSERT INTO kept VALUES ('00000000-0000-0000-0000-000000000001', 'a'), ('00000000-0000-0000-0000-000000000002', 'b')",
    );
    let then = clock(conn);
    run(
        conn,
        "TRUNCATE kept; INSERT INTO kept VALUES ('00000000-0000-0000-0000-000000000003', 'c'); ALTER TABLE kept ADD COLUMN extra text DEFAULT 'x'",
    );
    let later = clock(conn);
    run(conn, "DELETE FROM kept");
    assert_eq!(past_texts(conn, then, "SELECT v FROM kept ORDER BY id").unwrap(), ["a", "b"]);
    assert_eq!(
        past_texts(conn, then, "SELECT v FROM kept WHERE id = '00000000-0000-0000-0000-000000000002'")
            .unwrap(),
        ["b"]
    );
    assert_eq!(
        past_texts(
            conn,
            later,
            "SELECT v || extra FROM kept WHERE id = '00000000-0000-0000-0000-000000000003'"
        )
        .unwrap(),
        ["cx"]
    );
}

#[test]
fn a_lookup_by_key_uses_indexes_alone_also_for_what_is_gone_and_in_joins() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    run(
        conn,
        "INSERT INTO users SELECT i, 'u' || i, '', NULL FROM generate_series(100, 2000) i;
        INSERT INTO posts (id, user_id, title) SELECT i, 100 + i % 1900, 't' || i FROM generate_series(1000, 20000) i",
    );
    let then = clock(conn);
    run(
        conn,
        "UPDATE posts SET views = views + 1 WHERE id % 3 = 0; DELETE FROM posts WHERE id % 7 = 0; UPDATE users SET name = name || 'x';
        UPDATE posts SET id = id + 100000 WHERE id % 11 = 0",
    );
    run(
        conn,
        "CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS
            'DECLARE line text; BEGIN FOR line IN EXECUTE ''EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) '' || query LOOP RETURN NEXT line; END LOOP; END'",
    );
    run(conn, "VACUUM ANALYZE");
    // Empty partitions are read in no time whichever way.
    let plan = |conn: &mut PgConnection, sql: &str| {
        let plan =
            travel(conn, then, |conn| Ok::<_, Error>(texts(conn, &format!("SELECT plan('{sql}')")))).unwrap();
        let read: Vec<String> = plan
            .iter()
            .filter(|line| {
                line.contains("Seq Scan") && !line.contains("rows=0") && !line.contains("never executed")
            })
            .cloned()
            .collect();
        (read, plan.join("\n"))
    };
    for sql in [
        "SELECT * FROM posts WHERE id = 1002",
        "SELECT * FROM posts WHERE id = 1001",
        "SELECT * FROM posts WHERE id = 1012",
        "SELECT * FROM posts WHERE id IN (1001, 1002, 1012)",
        "SELECT * FROM posts JOIN users ON users.id = posts.user_id WHERE posts.id = 1001",
        "SELECT * FROM posts LEFT JOIN users ON users.id = posts.user_id WHERE posts.id = 1002",
    ] {
        let (read, plan) = plan(conn, sql);
        assert_eq!(read, [""; 0], "{sql}\n{plan}");
        assert!(plan.contains("Index"), "{plan}");
    }
    let (read, plan) = plan(conn, "SELECT count(*) FROM posts");
    assert!(!read.is_empty(), "the test can tell: {plan}");
}

#[test]
fn a_column_whose_domain_forbids_null_travels() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE DOMAIN address AS text NOT NULL CHECK (VALUE LIKE '%@%'); CREATE DOMAIN number AS bigint NOT NULL;
        CREATE TABLE people (id number PRIMARY KEY, email address); SELECT threadline.attach('people');
        INSERT INTO people SELECT n, n || '@a' FROM generate_series(1, 3) n",
    );
    let at = clock(conn);
    run(conn, "UPDATE people SET email = '1@b' WHERE id = 1; DELETE FROM people WHERE id = 2");
    assert_eq!(
        past_texts(conn, at, "SELECT email::text FROM people ORDER BY id").unwrap(),
        ["1@a", "2@a", "3@a"]
    );
    assert_eq!(past_texts(conn, at, "SELECT email::text FROM people WHERE id = 2").unwrap(), ["2@a"]);
}
