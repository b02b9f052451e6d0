//! Rows are told apart by their keys, also when the keys move.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::PgConnection;
use threadline::AsOf;
use threadline_tests::{as_of, audited_database, changes, clock, history, refused, run, states, text, texts};

/// One literal of a key type, other spellings of it, another key, and how the trail writes the first.
const TYPES: &[(&str, &str, &[&str], &str, &str)] = &[
    ("smallint", "7", &["7", "007", " 7 "], "8", "7"),
    ("bigint", "9007199254740993", &["9007199254740993"], "8", "9007199254740993"),
    (
        "uuid",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        &["{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"],
        "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ),
    ("text", "", &[""], " ", ""),
    ("text", "it's \"quoted\\, %s {1}", &["it's \"quoted\\, %s {1}"], "x", "it's \"quoted\\, %s {1}"),
    ("varchar(9)", "é", &["é"], "e", "é"),
    ("char(5)", "ab", &["ab", "ab   "], "abc", "ab"),
    ("numeric", "1.00", &["1", "1.0", "1.000", "1e0"], "1.001", "1"),
    ("numeric(12,3)", "12000", &["12000", "12000.000"], "12000.5", "12000"),
    (
        "timestamptz",
        "2024-03-31 12:00:00+02",
        &["2024-03-31T10:00:00Z", "2024-03-31 05:00:00-05"],
        "2024-03-31 12:00:00.000001+02",
        "2024-03-31T10:00:00+00:00",
    ),
    (
        "timestamp",
        "2024-03-31 12:00:00.5",
        &["2024-03-31T12:00:00.500"],
        "2024-03-31 12:00:00",
        "2024-03-31T12:00:00.5",
    ),
    ("date", "2024-03-31", &["2024-03-31", "March 31, 2024", "20240331"], "2024-04-01", "2024-03-31"),
    ("time", "12:30", &["12:30:00", "12:30 PM"], "12:31", "12:30:00"),
    ("boolean", "true", &["t", "yes", "true"], "false", "true"),
    ("bytea", "\\x00ff", &["\\x00FF", "\\000\\377"], "\\x00", "\\x00ff"),
    ("inet", "10.0.0.1", &["10.0.0.1", "10.0.0.1/32"], "10.0.0.2", "10.0.0.1/32"),
    ("bit(3)", "101", &["101"], "111", "101"),
    ("varbit", "10", &["10"], "100", "10"),
    ("oid", "4000000000", &["4000000000"], "1", "4000000000"),
    ("colour", "red", &["red"], "green", "red"),
    ("even", "4", &["4"], "6", "4"),
    ("name", "n", &["n"], "m", "n"),
    ("\"char\"", "c", &["c"], "d", "c"),
];

#[test]
fn every_key_type_has_one_text_and_any_spelling_finds_the_row() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TYPE colour AS ENUM ('red', 'green'); CREATE DOMAIN even AS numeric CHECK (VALUE % 2 = 0); SET TimeZone = 'Asia/Tokyo'",
    );
    for (number, (of_type, literal, spellings, other, stored)) in TYPES.iter().enumerate() {
        let table = format!("t{number}");
        let quote = |text: &str| text.replace('\'', "''");
        let (literal, other) = (quote(literal), quote(other));
        run(
            conn,
            &format!(
                "CREATE TABLE {table} (k {of_type} PRIMARY KEY, v integer); SELECT threadline.attach('{table}')"
            ),
        );
        run(conn, &format!("INSERT INTO {table} VALUES ('{literal}', 1), ('{other}', 1)"));
        run(
            conn,
            &format!(
                "SET DateStyle = 'SQL, DMY'; UPDATE {table} SET v = 2 WHERE k = '{literal}'; SET DateStyle = 'ISO'"
            ),
        );
        let keys = texts(
            conn,
            &format!(
                "SELECT row_key FROM threadline.audit_changes WHERE table_id = {} AND op = 'U'",
                number + 1
            ),
        );
        assert_eq!(keys, [*stored], "{of_type}");
        for spelling in *spellings {
            let found = history(conn, &table, &format!("k={spelling}")).versions.len();
            assert_eq!(found, 2, "{of_type} {spelling}");
        }
        run(conn, &format!("UPDATE {table} SET k = k; DELETE FROM {table}"));
        assert_eq!(states_of(conn, &table, spellings[0]).len(), 4, "{of_type}");
    }
}

fn states_of(conn: &mut PgConnection, table: &str, key: &str) -> Vec<String> {
    states(conn, table, &format!("k={key}"))
}

#[test]
fn an_equal_number_in_another_scale_is_the_same_key() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE t (k numeric PRIMARY KEY, v integer); SELECT threadline.attach('t'); INSERT INTO t VALUES (1.0, 1)",
    );
    run(conn, "UPDATE t SET k = 1.00");
    run(conn, "UPDATE t SET v = 2");
    assert_eq!(changes(conn, "t")[1..], [r#"U 1 {"k": [1.0, 1.00]}"#, r#"U 1 {"v": [1, 2]}"#]);
    assert_eq!(states_of(conn, "t", "1.000").len(), 4);
}

#[test]
fn a_very_long_key_is_kept_by_its_digest_and_found_by_its_text() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE t (k text PRIMARY KEY, v integer); SELECT threadline.attach('t')");
    // Random text does not compress, so it is the longest PostgreSQL's own index takes.
    run(conn, "INSERT INTO t SELECT string_agg(md5(n::text), ''), 1 FROM generate_series(1, 80) n");
    run(conn, "INSERT INTO t VALUES (repeat('long ', 1000), 1)");
    run(conn, "UPDATE t SET v = 2; UPDATE t SET k = 'short' WHERE k LIKE 'long%'");
    let key = "long ".repeat(1000);
    assert_eq!(history(conn, "t", &format!("k={key}")).versions.len(), 3);
    assert_eq!(states_of(conn, "t", "short").len(), 2);
    assert_eq!(text(conn, "SELECT max(length(row_key)) FROM threadline.audit_changes"), "71");
    // Also where the slower path writes it.
    run(
        conn,
        "ALTER TABLE t ADD COLUMN extra integer; UPDATE t SET extra = 1, k = repeat('long ', 1000) WHERE k = 'short'",
    );
    assert_eq!(history(conn, "t", &format!("k={key}")).versions.len(), 4);
}

#[test]
fn a_composite_key_keeps_its_parts_apart() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE t (\"B\" text, a numeric, at timestamptz, v integer, PRIMARY KEY (\"B\", a, at)); SELECT threadline.attach('t')",
    );
    run(conn, "INSERT INTO t VALUES ('x,1', 2.50, '2024-01-01Z', 1), ('x', 12.5, '2024-01-01Z', 1)");
    run(conn, "UPDATE t SET v = 2 WHERE a = 2.5");
    run(conn, "UPDATE t SET \"B\" = 'y' WHERE a = 2.5");
    assert_eq!(
        changes(conn, "t")[2..],
        [
            r#"U ["x,1", "2.5", "2024-01-01T00:00:00+00:00"] {"v": [1, 2]}"#,
            r#"U ["y", "2.5", "2024-01-01T00:00:00+00:00"]<-["x,1", "2.5", "2024-01-01T00:00:00+00:00"] {"B": ["x,1", "y"]}"#,
        ]
    );
    assert_eq!(states(conn, "t", "a=2.500;B=y;at=2024-01-01 09:00+09").len(), 2);
}

/// What every key held right after each step; checked at the end against `as_of` of every key at every instant.
#[derive(Default)]
struct Record {
    steps: Vec<(DateTime<Utc>, BTreeMap<i32, String>)>,
}

impl Record {
    fn step(&mut self, conn: &mut PgConnection, sql: &str) {
        run(conn, sql);
        let rows = texts(conn, "SELECT id || ':' || coalesce(name, '') FROM t ORDER BY id");
        let rows = rows
            .iter()
            .map(|row| row.split_once(':').unwrap())
            .map(|(id, name)| (id.parse().unwrap(), name.to_owned()));
        self.steps.push((clock(conn), rows.collect()));
    }

    fn check(&self, conn: &mut PgConnection, keys: std::ops::RangeInclusive<i32>) {
        for id in keys {
            let history = history(conn, "t", &format!("id={id}"));
            assert!(history.versions.iter().all(|version| !version.gap), "{id}: {history:#?}");
            for (number, (at, rows)) in self.steps.iter().enumerate() {
                let held = match as_of(conn, "t", &format!("id={id}"), *at) {
                    AsOf::Present(image) => {
                        Some(image.columns["name"].to_value().unwrap().as_str().unwrap().to_owned())
                    }
                    AsOf::Deleted { .. } | AsOf::NotCreated => None,
                    other => panic!("key {id} after step {number}: {other:?}"),
                };
                assert_eq!(held.as_ref(), rows.get(&id), "key {id} after step {number}");
            }
        }
    }
}

#[test]
fn history_follows_keys_that_shift_swap_rotate_and_are_used_again() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE t (id integer PRIMARY KEY DEFERRABLE, name text, n integer DEFAULT 0); SELECT threadline.attach('t')",
    );
    let mut record = Record::default();
    record.step(conn, "INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 30) n");
    for step in [
        "UPDATE t SET id = id + 1",
        "UPDATE t SET id = CASE id WHEN 5 THEN 9 WHEN 9 THEN 5 END WHERE id IN (5, 9)",
        "UPDATE t SET id = CASE WHEN id = 2 THEN 31 ELSE id - 1 END, n = id",
        "UPDATE t SET id = 32 - id",
        "DELETE FROM t WHERE id % 3 = 0",
        "UPDATE t SET id = id - 1 WHERE id % 3 = 1",
        "INSERT INTO t SELECT n, 'again ' || n FROM generate_series(1, 31) n ON CONFLICT DO NOTHING",
        "UPDATE t SET name = name || '!' WHERE id < 6",
        // Through another key and back, in one transaction and in one statement after another.
        "BEGIN; UPDATE t SET id = 99 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2; UPDATE t SET id = 2 WHERE id = 99; COMMIT",
        "BEGIN; DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (3, 'reborn'); UPDATE t SET id = 40 WHERE id = 3; INSERT INTO t VALUES (3, 'third'); COMMIT",
        "UPDATE t SET id = id + 1 WHERE id <= 10",
        "DELETE FROM t",
        "INSERT INTO t VALUES (7, 'last')",
    ] {
        let step = if step.contains("ON CONFLICT") {
            "INSERT INTO t SELECT n, 'again ' || n FROM generate_series(1, 31) n WHERE n NOT IN (SELECT id FROM t)"
        } else if step.ends_with("id <= 10") {
            "BEGIN; DELETE FROM t WHERE id = 11; UPDATE t SET id = id + 1 WHERE id <= 10; COMMIT"
        } else {
            step
        };
        record.step(conn, step);
    }
    record.check(conn, 0..=41);
    assert_eq!(
        text(
            conn,
            "SELECT count(*) FROM threadline.audit_changes WHERE op = 'U' AND previous_row_key IS NOT NULL AND row_data IS NULL"
        ),
        "0"
    );
}

#[test]
fn a_declared_unique_key_serves_where_there_is_no_primary_key() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE t (a integer NOT NULL, b text NOT NULL, c json, UNIQUE (b, a)); SELECT threadline.attach('t', key => '{a,b}')",
    );
    run(conn, "INSERT INTO t VALUES (1, 'x'); UPDATE t SET c = '{}'");
    assert_eq!(changes(conn, "t")[1], r#"U ["1", "x"] {"c": [null, "{}"]}"#);
    assert_eq!(states(conn, "t", "b=x;a=1").len(), 3);
}

#[test]
fn a_table_without_a_usable_key_is_refused_with_the_way_out() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE plain (a integer, b text NOT NULL UNIQUE);
        CREATE TABLE bare (a integer); CREATE TABLE nullable (a integer UNIQUE);
        CREATE TABLE partial (a integer NOT NULL); CREATE UNIQUE INDEX partial_a ON partial (a) WHERE a > 0; CREATE UNIQUE INDEX partial_e ON partial (abs(a));
        CREATE TABLE real_key (f float8 PRIMARY KEY, other integer NOT NULL UNIQUE);
        CREATE TABLE jsonb_key (j jsonb PRIMARY KEY); CREATE TABLE array_key (a integer[] PRIMARY KEY);
        CREATE TABLE interval_key (i interval PRIMARY KEY); CREATE TABLE range_key (r int4range PRIMARY KEY);
        CREATE TABLE folded (t text COLLATE anycase PRIMARY KEY)");
    for (table, key, expected) in [
        ("plain", "", &["plain", "no primary key", "Declare key => ARRAY['b']"][..]),
        ("bare", "", &["no primary key", "no unique index", "Add a primary key"]),
        ("nullable", "", &["nullable_a_key", "column \"a\" may be NULL"]),
        ("partial", "", &["partial_a: it is partial", "partial_e: it is over an expression"]),
        ("real_key", "", &["column \"f\" is of type double precision", "Declare key => ARRAY['other']"]),
        ("jsonb_key", "", &["column \"j\" is of type jsonb"]),
        ("array_key", "", &["column \"a\" is of type integer[]"]),
        ("interval_key", "", &["column \"i\" is of type interval"]),
        ("range_key", "", &["column \"r\" is of type int4range"]),
        ("folded", "", &["column \"t\" has the nondeterministic collation", "anycase"]),
        ("plain", "a", &["key (a)", "No unique index is over exactly these columns", "plain_b_key: usable"]),
        ("plain", "zz", &["\"zz\"", "does not have"]),
    ] {
        let said = refused(conn, &format!("SELECT threadline.attach('{table}', key => '{{{key}}}')"));
        for part in expected {
            assert!(said.contains(part), "{table} {key}: {part} is not in: {said}");
        }
    }
    assert_eq!(
        text(
            conn,
            "SELECT (SELECT count(*) FROM threadline.audited_tables) + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE '!threadline%')"
        ),
        "0"
    );
}
