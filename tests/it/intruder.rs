//! Whoever owns a table, or may see one tenant, gets nothing more by way of reading, travelling or undoing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::PgConnection;
use diesel::prelude::*;
use threadline::{Actor, AuditContext, Filter, HistoryLimit, Scope, Trail, UndoTarget};
use threadline_tests::{TestRole, audited_database, clock, row_key, run, table, text, texts};
use uuid::Uuid;

fn as_tenant(t: &'static str) -> Trail {
    Trail::scoped(move |_| Ok(Scope::tenant(t)))
}
fn doing(conn: &mut PgConnection, sql: &str) -> Uuid {
    run(conn, &format!("BEGIN; {sql}; COMMIT"));
    text(conn, "SELECT id FROM threadline.audit_transactions ORDER BY xid DESC LIMIT 1").parse().unwrap()
}
const POSTS: &str = "CREATE TABLE posts (id bigint PRIMARY KEY, org text, title text, note text);
    SELECT threadline.attach('posts', scope => 'org')";
const GRAB: &str = "BEGIN IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    RAISE EXCEPTION 'ran as %', current_user; END IF; RETURN";

#[test]
fn a_stale_plan_of_a_tenant_shows_nothing_of_another() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(conn, "INSERT INTO posts VALUES (1, 'a', 't0', 'n')");
    let wrong = doing(conn, "UPDATE posts SET title = 'wrong' WHERE id = 1");
    let plan = as_tenant("a").undo_plan(conn, &UndoTarget::transaction(wrong)).unwrap();
    run(conn, "UPDATE posts SET org = 'b', title = 'B-SECRET' WHERE id = 1");
    assert!(as_tenant("a").undo_plan(conn, &UndoTarget::transaction(wrong)).is_err());
    let error = plan.apply(conn, AuditContext::new(Actor::user(1)).transaction()).unwrap_err();
    let said = format!("{error:?}");
    assert!(!said.contains("B-SECRET"), "{said}");
}

#[test]
fn a_tenants_plan_is_not_made_for_a_row_another_owns_now() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(conn, "INSERT INTO posts VALUES (1, 'a', 't0', 'n')");
    let wrong = doing(conn, "UPDATE posts SET title = 'wrong' WHERE id = 1");
    // Moved away by a write that is not captured: nothing in the trail says so.
    run(
        conn,
        "SET session_replication_role = replica; UPDATE posts SET org = 'b', title = 'B-SECRET' WHERE id = 1; SET session_replication_role = origin",
    );
    let plan = as_tenant("a").undo_plan(conn, &UndoTarget::transaction(wrong));
    let said = format!("{plan:?}");
    if let Ok(plan) = plan {
        let r = plan.apply_with(
            conn,
            AuditContext::new(Actor::user(1)).transaction(),
            threadline::undo::Resolution::Overwrite,
        );
        println!("a01b overwrite: {r:?}; row now {:?}", texts(conn, "SELECT posts::text FROM posts"));
    }
    assert!(!said.contains("B-SECRET"), "{said}");
}

#[test]
fn a_conflict_names_no_row_of_another_tenant() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE tags (id bigint PRIMARY KEY, org text); CREATE TABLE uses (id text PRIMARY KEY, org text, tag bigint REFERENCES tags);
        SELECT threadline.attach('tags', scope => 'org'), threadline.attach('uses', scope => 'org')");
    let made = doing(conn, "INSERT INTO tags VALUES (1, 'a')");
    run(conn, "INSERT INTO uses VALUES ('b-secret-key', 'b', 1)");
    let plan = as_tenant("a").undo_plan(conn, &UndoTarget::transaction(made)).unwrap();
    let said = serde_json::to_string(&plan).unwrap();
    assert!(!said.contains("b-secret-key"), "{said}");
}

#[test]
fn a_gap_does_not_show_the_row_of_another_tenant() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(conn, "INSERT INTO posts VALUES (1, 'a', 't0', 'a-note')");
    let at = clock(conn);
    run(conn, "UPDATE posts SET title = 't1'");
    run(
        conn,
        "SET session_replication_role = replica; DELETE FROM posts; INSERT INTO posts VALUES (1, 'b', 'B-TITLE', 'B-SECRET'); SET session_replication_role = origin",
    );
    let trail = as_tenant("a");
    let mut leaks = Vec::new();
    let history = trail.row_history(conn, &table("posts"), &row_key("id=1"), HistoryLimit::All).unwrap();
    if format!("{history:?}").contains("B-SECRET") {
        leaks.push("row_history");
    }
    let as_of = trail.row_as_of(conn, &table("posts"), &row_key("id=1"), at).unwrap();
    if format!("{as_of:?}").contains("B-SECRET") {
        leaks.push("row_as_of");
    }
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[test]
fn a_row_that_was_nobodys_before_is_not_shown_as_it_was_then() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(conn, "INSERT INTO posts VALUES (1, NULL, 'GLOBAL-SECRET', 'GLOBAL-NOTE')");
    let at = clock(conn);
    run(conn, "UPDATE posts SET org = 'a', title = 'x' WHERE id = 1");
    let trail = as_tenant("a");
    let mut leaks = Vec::new();
    if format!("{:?}", trail.timeline(conn, &Filter::new()).unwrap()).contains("GLOBAL") {
        leaks.push("timeline");
    }
    if format!("{:?}", trail.row_history(conn, &table("posts"), &row_key("id=1"), HistoryLimit::All).unwrap())
        .contains("GLOBAL")
    {
        leaks.push("row_history");
    }
    if format!("{:?}", trail.row_as_of(conn, &table("posts"), &row_key("id=1"), at).unwrap())
        .contains("GLOBAL")
    {
        leaks.push("row_as_of");
    }
    let mut all = Vec::new();
    trail
        .table_as_of(conn, &table("posts"), at, |row| {
            all.push(row);
            Ok(())
        })
        .unwrap();
    if format!("{all:?}").contains("GLOBAL") {
        leaks.push("table_as_of");
    }
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[test]
fn errors_of_travel_name_no_value_of_another_tenant() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(conn, "INSERT INTO posts VALUES (1, 'a', 't', '1'), (2, 'b', 't', 'B-SECRET')");
    let at = clock(conn);
    run(
        conn,
        "UPDATE posts SET note = '7' WHERE id = 2; ALTER TABLE posts ALTER note TYPE integer USING note::integer",
    );
    let said = as_tenant("a").travel(conn, at, |conn| {
        #[derive(QueryableByName, Debug)]
        struct N {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            #[expect(dead_code, reason = "loaded, and only shown")]
            n: i64,
        }
        diesel::sql_query("SELECT count(note) AS n FROM posts")
            .load::<N>(conn)
            .map_err(threadline::Error::from)
    });
    assert!(!format!("{said:?}").contains("B-SECRET"), "{said:?}");
}

#[test]
fn operators_of_a_tables_owner_do_not_run_as_the_reader() {
    let db = audited_database();
    let owner = TestRole::new(&db, "owner");
    let conn = &mut db.connect();
    run(&mut owner.connect(), &format!(
        "CREATE TYPE mood AS ENUM ('x', 'y'); CREATE TABLE t (id mood PRIMARY KEY, v integer);
         CREATE FUNCTION eq(a mood, b mood) RETURNS boolean LANGUAGE plpgsql AS $$ {GRAB} a::text = b::text; END $$"));
    run(conn, &format!("SELECT threadline.attach('{}.t')", owner.name()));
    run(&mut owner.connect(), "INSERT INTO t VALUES ('x', 5)");
    let at = clock(conn);
    run(&mut owner.connect(), "UPDATE t SET v = 6");
    let id: Uuid =
        text(conn, "SELECT id FROM threadline.audit_transactions ORDER BY xid DESC LIMIT 1").parse().unwrap();
    run(&mut owner.connect(), "CREATE OPERATOR = (LEFTARG = mood, RIGHTARG = mood, FUNCTION = eq)");
    run(conn, &format!("SET search_path = {}, public", owner.name()));
    let mut ran = Vec::new();
    #[derive(QueryableByName, Debug)]
    struct N {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        #[expect(dead_code, reason = "loaded, and only shown")]
        n: i64,
    }
    let said = Trail::unscoped().travel(conn, at, |conn| {
        diesel::sql_query("SELECT count(v) AS n FROM t").load::<N>(conn).map_err(threadline::Error::from)
    });
    if format!("{said:?}").contains("ran as") {
        ran.push(format!("travel {said:?}"));
    }
    let said = Trail::unscoped().table_as_of(conn, &table("t"), at, |_| Ok(()));
    if format!("{said:?}").contains("ran as") {
        ran.push("table_as_of".into());
    }
    let said = Trail::unscoped().undo_plan(conn, &UndoTarget::transaction(id));
    if format!("{said:?}").contains("ran as") {
        ran.push("undo_plan".into());
    }
    let said = Trail::unscoped().row_as_of(conn, &table("t"), &row_key("id=x"), at);
    if format!("{said:?}").contains("ran as") {
        ran.push("row_as_of".into());
    }
    assert!(ran.is_empty(), "{ran:?}");
}

#[test]
fn column_names_do_not_end_what_they_are_quoted_in() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE fine (id integer PRIMARY KEY); CREATE TABLE bad (id integer PRIMARY KEY, \"a$threadline_past$b\" integer);
        SELECT threadline.attach('fine'), threadline.attach('bad')");
    let at = clock(conn);
    let said = Trail::unscoped()
        .travel(conn, at, |conn| Ok::<_, threadline::Error>(texts(conn, "SELECT id::text FROM fine")));
    assert!(said.is_ok(), "{said:?}");
}

#[test]
fn a_hook_that_panics_leaves_the_connection_usable() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    let trail = Trail::scoped(|_| panic!("hook"));
    let _ = catch_unwind(AssertUnwindSafe(|| trail.timeline(conn, &Filter::new()).map(|_| ())));
    let after = diesel::sql_query("INSERT INTO posts VALUES (1, 'a', 't', 'n')").execute(conn);
    assert!(after.is_ok(), "{after:?}");
    let visible = diesel::sql_query("SELECT 1 FROM pg_stat_activity").execute(&mut db.connect());
    assert!(visible.is_ok());
}

#[test]
fn undoing_a_key_change_cuts_no_reference() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE p (id bigint PRIMARY KEY); CREATE TABLE c (id bigint PRIMARY KEY, p bigint REFERENCES p ON UPDATE SET NULL);
        SELECT threadline.attach('p'), threadline.attach('c')");
    run(conn, "INSERT INTO p VALUES (1)");
    let wrong = doing(conn, "UPDATE p SET id = 2");
    run(conn, "INSERT INTO c VALUES (7, 2)");
    let plan = Trail::unscoped().undo_plan(conn, &UndoTarget::transaction(wrong)).unwrap();
    assert!(!plan.is_clean());
    assert!(plan.apply(conn, AuditContext::new(Actor::user(1)).transaction()).is_err());
    assert_eq!(texts(conn, "SELECT coalesce(p::text, 'NULL') FROM c"), ["2"]);
}

#[test]
fn undoing_an_insert_takes_no_unreadable_row_along() {
    let db = audited_database();
    let role = TestRole::new(&db, "r");
    let conn = &mut db.connect();
    run(conn, &format!("CREATE TABLE p (id bigint PRIMARY KEY); CREATE TABLE c (id bigint PRIMARY KEY, p bigint REFERENCES p ON DELETE CASCADE);
        SELECT threadline.attach('p'); GRANT USAGE ON SCHEMA threadline TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA threadline TO {0};
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA threadline TO {0}; GRANT SELECT, UPDATE, DELETE ON p TO {0}", role.name()));
    run(conn, "INSERT INTO p VALUES (0)");
    let wrong = doing(conn, "INSERT INTO p VALUES (1)");
    run(conn, "INSERT INTO c VALUES (7, 1)");
    let host = &mut role.connect();
    run(host, "SET search_path = public");
    let plan = Trail::unscoped().undo_plan(host, &UndoTarget::transaction(wrong)).unwrap();
    assert!(!plan.is_clean());
    assert!(plan.apply(host, AuditContext::new(Actor::user(1)).transaction()).is_err());
    let left = texts(conn, "SELECT id::text FROM c");
    drop(role);
    assert_eq!(left, ["7"]);
}

#[test]
fn travel_finds_keys_of_instants_in_any_time_zone() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE k (id timestamptz PRIMARY KEY, v text); SELECT threadline.attach('k'); INSERT INTO k VALUES ('2026-01-01Z', 'old')",
    );
    let at = clock(conn);
    run(conn, "UPDATE k SET v = 'new'");
    run(conn, "SET TimeZone = 'America/New_York'");
    let seen = Trail::unscoped()
        .travel(conn, at, |conn| Ok::<_, threadline::Error>(texts(conn, "SELECT v FROM k")))
        .unwrap();
    assert_eq!(seen, ["old"]);
}

#[test]
fn travel_finds_tenants_that_are_instants_in_any_time_zone() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE k (id bigint PRIMARY KEY, org timestamptz, v text); SELECT threadline.attach('k', scope => 'org'); INSERT INTO k VALUES (1, '2026-01-01Z', 'old')",
    );
    let at = clock(conn);
    run(conn, "SET TimeZone = 'America/New_York'");
    let seen = as_tenant("2026-01-01T00:00:00+00:00")
        .travel(conn, at, |conn| Ok::<_, threadline::Error>(texts(conn, "SELECT v FROM k")))
        .unwrap();
    assert_eq!(seen, ["old"]);
}

#[test]
fn huge_and_odd_keys_do_not_fail_a_write() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE big (id text PRIMARY KEY, v text); SELECT threadline.attach('big'); SET threadline.long_transaction = 'x y z'",
    );
    run(
        conn,
        "INSERT INTO big VALUES (repeat('a', 100000), 'x'), ('q\"''\\', 'y'); UPDATE big SET id = id || 'b'; DELETE FROM big",
    );
    run(
        conn,
        "CREATE TABLE nk (a text NOT NULL, b integer NOT NULL, v text, UNIQUE (a, b)); SELECT threadline.attach('nk', key => '{a,b}'); ALTER TABLE nk ALTER a DROP NOT NULL, ALTER b DROP NOT NULL; INSERT INTO nk VALUES (NULL, NULL, 'x'); UPDATE nk SET a = 'q'; DELETE FROM nk",
    );
    run(
        conn,
        "BEGIN; INSERT INTO big VALUES ('l', 'x'); SELECT pg_sleep(2.1); SAVEPOINT s; UPDATE big SET v = 'y'; ROLLBACK TO s; UPDATE big SET v = 'z'; UPDATE big SET v = 'w'; COMMIT",
    );
    assert_eq!(texts(conn, "SELECT count(*)::text FROM threadline.audit_long_transactions"), ["1"]);
}

#[test]
fn travel_of_a_tenant_through_a_qualifying_function_shows_nothing_of_another() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(
        conn,
        "INSERT INTO posts VALUES (1, 'a', 't', 'n'), (2, 'b', 'B-SECRET', 'n'); CREATE FUNCTION title_of(bigint) RETURNS text LANGUAGE sql STABLE SET search_path = public AS 'SELECT title FROM posts WHERE id = $1'",
    );
    let at = clock(conn);
    let seen = as_tenant("a").travel(conn, at, |conn| {
        Ok::<_, threadline::Error>(texts(conn, "SELECT title_of(id + 1) FROM posts"))
    });
    assert!(!format!("{seen:?}").contains("B-SECRET"), "{seen:?}");
}

#[test]
fn an_action_of_another_transaction_is_not_shown_as_this_ones() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(
        conn,
        r#"BEGIN; SELECT threadline.begin('{}', '{"name": "merge", "reason": "B-SECRET"}'); INSERT INTO posts VALUES (2, 'b', 't', 'n'); COMMIT"#,
    );
    let action = text(conn, "SELECT id::text FROM threadline.audit_actions");
    run(
        conn,
        &format!(
            r#"BEGIN; SELECT threadline.set_context('{{"action_id": "{action}"}}'); INSERT INTO posts VALUES (1, 'a', 't', 'n'); COMMIT"#
        ),
    );
    let trail = as_tenant("a");
    assert!(trail.actions(conn, &Filter::new(), &threadline::PageRequest::new()).unwrap().entries.is_empty());
    let seen = trail.timeline(conn, &Filter::new()).unwrap();
    assert!(!format!("{seen:?}").contains("B-SECRET"), "{seen:?}");
}

#[test]
fn keys_of_odd_types_travel() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "SET bytea_output = 'escape'; SET DateStyle = 'German'");
    let mut wrong = Vec::new();
    for (name, sql_type, one, two) in [
        ("kn", "numeric", "1.50", "2.00"),
        ("kc", "char(5)", "'a'", "'b'"),
        ("kb", "bytea", "'\\x0102'", "'\\x03'"),
        ("kd", "date", "'2026-03-04'", "'2026-03-05'"),
        ("ki", "inet", "'10.0.0.1'", "'10.0.0.2'"),
        ("kt", "timestamp", "'2026-03-04 05:06'", "'2026-03-05 05:06'"),
        ("km", "time", "'05:06'", "'05:07'"),
        ("kx", "varbit", "B'101'", "B'11'"),
        ("kv", "varchar(9)", "'a '", "'b'"),
        ("kz", "bool", "true", "false"),
    ] {
        run(
            conn,
            &format!(
                "CREATE TABLE {name} (id {sql_type} PRIMARY KEY, v text); SELECT threadline.attach('{name}'); INSERT INTO {name} VALUES ({one}, 'old'), ({two}, 'old')"
            ),
        );
        let at = clock(conn);
        run(
            conn,
            &format!(
                "UPDATE {name} SET v = 'new' WHERE id = {one}; DELETE FROM {name} WHERE id = {two}; INSERT INTO {name} VALUES ({two}, 'again')"
            ),
        );
        #[derive(QueryableByName, Debug)]
        struct V {
            #[diesel(sql_type = diesel::sql_types::Text)]
            v: String,
        }
        let seen = Trail::unscoped().travel(conn, at, |conn| diesel::sql_query(format!("SELECT concat_ws(' ', v, (SELECT count(*) FROM {name} WHERE id = {two}), (SELECT count(*) FROM {name} WHERE id = {one})) AS v FROM {name}")).load::<V>(conn).map_err(threadline::Error::from)).map(|v| v.into_iter().map(|v| v.v).collect::<Vec<_>>());
        let mut all = Vec::new();
        let t = Trail::unscoped().table_as_of(conn, &table(name), at, |row| {
            all.push(format!("{:?}", row.image.columns.get("v")));
            Ok(())
        });
        if !matches!(&seen, Ok(v) if *v == ["old 1 1", "old 1 1"])
            || t.is_err()
            || all.len() != 2
            || all.iter().any(|v| !v.contains("old"))
        {
            wrong.push((name, format!("{seen:?}"), format!("{t:?} {all:?}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_tenants_plan_is_not_applied_to_a_row_that_went_to_another() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(conn, "INSERT INTO posts VALUES (1, 'a', 't0', 'n')");
    let wrong = doing(conn, "UPDATE posts SET title = 'wrong' WHERE id = 1");
    let plan = as_tenant("a").undo_plan(conn, &UndoTarget::transaction(wrong)).unwrap();
    run(conn, "UPDATE posts SET org = 'b' WHERE id = 1");
    assert!(as_tenant("a").undo_plan(conn, &UndoTarget::transaction(wrong)).is_err());
    let applied = plan.apply(conn, AuditContext::new(Actor::user(1)).transaction());
    assert!(applied.is_err(), "{applied:?} {:?}", texts(conn, "SELECT posts::text FROM posts"));
}

#[test]
fn a_forged_setting_hides_no_long_transaction() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE t (id bigint PRIMARY KEY, v text); SELECT threadline.attach('t'); INSERT INTO t VALUES (1, 'old'), (2, 'old')",
    );
    run(conn, "BEGIN; SELECT 1; UPDATE t SET v = 'new' WHERE id = 1");
    std::thread::sleep(std::time::Duration::from_millis(2200));
    let at = clock(&mut db.connect());
    std::thread::sleep(std::time::Duration::from_millis(100));
    run(
        conn,
        "SELECT set_config('threadline.long_transaction', '1 ' || current_setting('threadline.transaction'), true)",
    );
    run(conn, "UPDATE t SET v = 'new' WHERE id = 2; COMMIT");
    let noted = texts(conn, "SELECT doublings::text FROM threadline.audit_long_transactions");
    let one = threadline_tests::as_of(conn, "t", "id=1", at);
    let seen = Trail::unscoped()
        .travel(conn, at, |conn| Ok::<_, threadline::Error>(texts(conn, "SELECT v FROM t ORDER BY id")))
        .unwrap();
    assert!(seen == ["old", "old"], "noted {noted:?} row_as_of {one:?} travel {seen:?}");
}

#[test]
fn a_tenant_sees_its_own_row_and_not_who_took_its_key() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(conn, "INSERT INTO posts VALUES (1, 'a', 't0', 'n')");
    let at = clock(conn);
    run(conn, "DELETE FROM posts; INSERT INTO posts VALUES (1, 'b', 'B-SECRET', 'n')");
    let late = clock(conn);
    run(conn, "TRUNCATE posts");
    let trail = as_tenant("a");
    let history = trail.row_history(conn, &table("posts"), &row_key("id=1"), HistoryLimit::All).unwrap();
    let all = format!(
        "{history:?} {:?} {:?} {:?} {:?}",
        trail.row_as_of(conn, &table("posts"), &row_key("id=1"), at),
        trail.row_as_of(conn, &table("posts"), &row_key("id=1"), late),
        trail.row_diff(conn, &table("posts"), &row_key("id=1"), at, late),
        trail.timeline(conn, &Filter::new().table(table("posts")).key(row_key("id=1")))
    );
    assert!(!all.contains("B-SECRET") && !all.contains("Truncate"), "{all}");
}

#[test]
fn an_ignored_column_is_not_shown_as_the_next_tenant_has_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id bigint PRIMARY KEY, org text, title text, note text);
        SELECT threadline.attach('posts', scope => 'org', ignore => '{note}')",
    );
    run(conn, "INSERT INTO posts VALUES (1, 'a', 't0', 'a-note')");
    run(conn, "UPDATE posts SET title = 't1'");
    let at = clock(conn);
    run(conn, "UPDATE posts SET org = 'b'");
    run(conn, "UPDATE posts SET note = 'B-NOTE'");
    let trail = as_tenant("a");
    let history = trail.row_history(conn, &table("posts"), &row_key("id=1"), HistoryLimit::All).unwrap();
    let mut leaks = Vec::new();
    if format!("{history:?}").contains("B-NOTE") {
        leaks.push("row_history");
    }
    let as_of = trail.row_as_of(conn, &table("posts"), &row_key("id=1"), at).unwrap();
    if format!("{as_of:?}").contains("B-NOTE") {
        leaks.push("row_as_of");
    }
    let mut all = Vec::new();
    trail
        .table_as_of(conn, &table("posts"), at, |row| {
            all.push(row);
            Ok(())
        })
        .unwrap();
    if format!("{all:?}").contains("B-NOTE") {
        leaks.push("table_as_of");
    }
    let seen = trail
        .travel(conn, at, |conn| Ok::<_, threadline::Error>(texts(conn, "SELECT posts::text FROM posts")))
        .unwrap();
    if format!("{seen:?}").contains("B-NOTE") {
        leaks.push("travel");
    }
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[test]
fn errors_of_the_past_name_no_key_of_another_tenant() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(conn, "INSERT INTO posts VALUES (1, 'a', 't', '1'), (424242, 'b', 't', 'x')");
    let at = clock(conn);
    run(
        conn,
        "UPDATE posts SET note = '7' WHERE id = 424242; SET session_replication_role = replica; UPDATE posts SET note = 'z' WHERE id = 424242; SET session_replication_role = origin",
    );
    let said = as_tenant("a").table_as_of(conn, &table("posts"), at, |_| Ok(())).unwrap_err();
    assert!(!format!("{said:?}").contains("424242"), "{said:?}");
    let count = |conn: &mut PgConnection| {
        diesel::sql_query("SELECT count(note) FROM posts").execute(conn).map_err(threadline::Error::from)
    };
    let said = as_tenant("a").travel(conn, at, count).unwrap_err();
    assert!(!format!("{said:?}").contains("424242"), "{said:?}");
    let said = Trail::unscoped().travel(conn, at, count).unwrap_err();
    assert!(format!("{said:?}").contains("424242"), "{said:?}");
}

#[test]
fn a_tenant_of_any_type_sees_its_own_past_and_nobody_elses() {
    for (column, own, other) in [
        ("numeric", "1.50", "2.50"),
        ("char(5)", "a", "b"),
        ("inet", "10.0.0.1", "10.0.0.2"),
        ("boolean", "true", "false"),
        ("uuid", "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"),
    ] {
        let db = audited_database();
        let conn = &mut db.connect();
        run(
            conn,
            &format!(
                "CREATE TABLE posts (id bigint PRIMARY KEY, org {column}, note text); SELECT threadline.attach('posts', scope => 'org');
                INSERT INTO posts VALUES (1, '{own}', 'mine'), (2, '{other}', 'theirs'), (3, '{own}', 'untouched')"
            ),
        );
        let tenant: &'static str =
            text(conn, "SELECT scope FROM threadline.audit_changes ORDER BY row_key LIMIT 1").leak();
        let at = clock(conn);
        run(conn, "UPDATE posts SET note = 'later' WHERE id < 3; DELETE FROM posts WHERE id < 3");
        let mut rows = Vec::new();
        as_tenant(tenant)
            .table_as_of(conn, &table("posts"), at, |row| {
                rows.push(row.row_key);
                Ok(())
            })
            .unwrap();
        rows.sort();
        assert_eq!(rows, ["1", "3"], "{column}");
    }
}
