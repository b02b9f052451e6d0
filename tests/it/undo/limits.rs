//! What the trail does not know is not undone, and said: nothing is left out silently, nothing redacted shows.

use threadline::Error;
use threadline::undo::Resolution;
use threadline_tests::{audited_database, run};

use super::{doing, outline, plan, rows, undo_clean, undo_with};

#[test]
fn masked_and_excluded_columns_are_reported_and_never_written() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE users (id bigint PRIMARY KEY, name text, email text, secret text, token text NOT NULL DEFAULT 't');
        SELECT threadline.attach('users', mask => ARRAY['email'], exclude => ARRAY['secret', 'token']);
        INSERT INTO users VALUES (1, 'a', 'a@example.com', 's1'), (2, 'b', 'b@example.com', 's2')",
    );
    let done = doing(
        conn,
        "UPDATE users SET name = 'x', email = 'x@example.com', secret = 'other' WHERE id = 1; DELETE FROM users WHERE id = 2",
    );
    let plan_now = plan(conn, done);
    assert_eq!(
        outline(&plan_now),
        [
            "insert users 2 id=2 name=b",
            "update users 1 name=a<-x",
            "limit: column `email` of row `1` of \"public\".\"users\": masked",
            "limit: column `email` of row `2` of \"public\".\"users\": masked",
            "limit: column `secret` of row `2` of \"public\".\"users\": excluded from capture",
            "limit: column `token` of row `2` of \"public\".\"users\": excluded from capture",
        ]
    );
    assert!(!serde_json::to_string(&plan_now).unwrap().contains("example.com"));
    assert!(matches!(undo_with(conn, done, Resolution::Refuse), Err(Error::UndoRefused { .. })));
    undo_with(conn, done, Resolution::Skip).unwrap();
    assert_eq!(rows(conn, "users"), ["(1,a,x@example.com,other,t)", "(2,b,,,t)"]);

    // What nothing fills in makes an insert impossible; what is redacted only today does not show either.
    let done = doing(conn, "UPDATE users SET name = 'private' WHERE id = 1; DELETE FROM users WHERE id = 2");
    run(
        conn,
        "ALTER TABLE users ALTER token DROP DEFAULT; SELECT threadline.attach('users', mask => ARRAY['email', 'name'], exclude => ARRAY['secret', 'token'])",
    );
    let plan_now = plan(conn, done);
    assert_eq!(plan_now.steps, [], "{:?}", outline(&plan_now));
    assert!(outline(&plan_now).contains(
        &"limit: column `token` of row `2` of \"public\".\"users\": the value is not known and must not be NULL".to_owned()
    ));
    assert!(!serde_json::to_string(&plan_now).unwrap().contains("private"));
}

#[test]
fn a_later_change_of_a_masked_column_stops_a_delete_without_showing_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE users (id bigint PRIMARY KEY, email text); SELECT threadline.attach('users', mask => ARRAY['email'])",
    );
    let done = doing(conn, "INSERT INTO users VALUES (1, 'a@example.com')");
    doing(conn, "UPDATE users SET email = 'b@example.com'");
    let plan = plan(conn, done);
    assert_eq!(plan.conflicts().filter_map(|conflict| conflict.column()).collect::<Vec<_>>(), ["email"]);
    let shown = serde_json::to_string(&plan).unwrap();
    assert!(!shown.contains("example.com") && !shown.contains("REDACTED"), "{shown}");
}

#[test]
fn a_truncate_is_reported_and_kept_rows_come_back() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE lost (id integer PRIMARY KEY); CREATE TABLE kept (id integer PRIMARY KEY);
        SELECT threadline.attach('lost'), threadline.attach('kept', on_truncate => 'keep');
        INSERT INTO lost VALUES (1); INSERT INTO kept VALUES (1), (2)",
    );
    let done = doing(conn, "TRUNCATE lost, kept");
    assert_eq!(
        outline(&plan(conn, done)),
        [
            "insert kept 1 id=1",
            "insert kept 2 id=2",
            "limit: \"public\".\"lost\": truncated, and the rows were not kept"
        ]
    );
    undo_with(conn, done, Resolution::Skip).unwrap();
    assert_eq!(rows(conn, "kept"), ["(1)", "(2)"]);

    let begun = doing(conn, "INSERT INTO lost VALUES (3)");
    let done = doing(conn, "UPDATE lost SET id = 4");
    let gone = doing(conn, "TRUNCATE lost");
    assert!(plan(conn, begun).is_done(), "{:?}", outline(&plan(conn, begun)));
    assert_eq!(
        outline(&plan(conn, done))[1],
        format!("conflict: row `3` of \"public\".\"lost\": the row is gone, last by change {gone}#1")
    );
}

#[test]
fn columns_renamed_added_dropped_and_retyped_since() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE t (id integer PRIMARY KEY, a text, b text, c text, d integer); SELECT threadline.attach('t');
        INSERT INTO t VALUES (1, 'a1', 'b1', '1', 1), (2, 'a2', 'b2', 'two', 2)",
    );
    let done =
        doing(conn, "UPDATE t SET a = 'x', b = 'x', c = '7', d = 7 WHERE id = 1; DELETE FROM t WHERE id = 2");
    run(
        conn,
        "ALTER TABLE t RENAME a TO e; ALTER TABLE t DROP b; ALTER TABLE t ADD f text DEFAULT 'new';
        ALTER TABLE t ALTER c TYPE integer USING c::integer; ALTER TABLE t ALTER d TYPE bigint",
    );
    let limit = |column: &str, row: i32, why: &str| {
        format!("limit: column `{column}` of row `{row}` of \"public\".\"t\": {why}")
    };
    let unfit = "does not fit the column's type: invalid input syntax for type integer: \"two\"";
    assert_eq!(
        outline(&plan(conn, done)),
        [
            "insert t 2 id=2 e=a2 d=2".to_owned(),
            "update t 1 e=a1<-x c=1<-7 d=1<-7".to_owned(),
            limit("b", 1, "the column is gone"),
            limit("b", 2, "the column is gone"),
            limit("c", 2, unfit),
        ]
    );
    undo_with(conn, done, Resolution::Skip).unwrap();
    assert_eq!(rows(conn, "t"), ["(1,a1,1,1,new)", "(2,a2,,2,new)"]);
}

#[test]
fn a_table_that_is_gone_or_no_longer_audited_is_named() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE b (id integer PRIMARY KEY); CREATE TABLE c (id integer PRIMARY KEY);
        SELECT threadline.attach('a'), threadline.attach('b'), threadline.attach('c')",
    );
    let done = doing(conn, "INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); INSERT INTO c VALUES (1)");
    run(conn, "DROP TABLE a; SELECT threadline.detach('b')");
    let why = "the table is gone, or no longer audited";
    assert_eq!(
        outline(&plan(conn, done)),
        [
            "delete c 1".to_owned(),
            format!("limit: \"public\".\"a\": {why}"),
            format!("limit: \"public\".\"b\": {why}")
        ]
    );
}

#[test]
fn values_the_trail_writes_alike_are_reported_or_told_apart_by_the_column() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE t (id integer PRIMARY KEY, j jsonb, k jsonb NOT NULL, l integer[]); SELECT threadline.attach('t');
        INSERT INTO t VALUES (1, 'null', 'null', '{1}')",
    );
    let done = doing(conn, "UPDATE t SET j = NULL, k = '1', l = '[0:0]={1}'");
    let alike = "of row `1` of \"public\".\"t\": changed between values that the trail writes alike";
    assert_eq!(
        outline(&plan(conn, done)),
        [
            "update t 1 k=null<-1".to_owned(),
            format!("limit: column `j` {alike}"),
            format!("limit: column `l` {alike}")
        ]
    );
    undo_with(conn, done, Resolution::Skip).unwrap();
    assert_eq!(rows(conn, "t"), ["(1,,null,[0:0]={1})"]);
    let done = doing(conn, "UPDATE t SET k = '2'");
    undo_clean(conn, done);
}
