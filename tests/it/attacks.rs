//! What the owner of an audited table, or whoever can run SQL, may try: none of it runs with our rights or blinds the trail.

use threadline_tests::{TestRole, audited_database, changes, refused, run, text};

/// A function body that would make its owner a superuser, if a superuser ran it.
const GRAB: &str = "BEGIN IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    RAISE EXCEPTION 'ran as %', current_user; END IF; RETURN";

#[test]
fn a_type_that_takes_over_a_name_is_not_taken_for_the_one_compiled_for() {
    let db = audited_database();
    let conn = &mut db.connect();
    let owner = TestRole::new(&db, "owner");
    let host = &mut owner.connect();
    run(host, "CREATE DOMAIN level AS integer; CREATE TABLE x (id integer PRIMARY KEY, c level)");
    run(conn, &format!("SELECT threadline.attach('{}.x')", owner.name()));
    run(
        host,
        &format!(
            "INSERT INTO x VALUES (1, 7);
            ALTER TABLE x ALTER c TYPE text USING NULL; DROP DOMAIN level; CREATE TYPE level AS ENUM ('a', 'b');
            CREATE FUNCTION grab(level) RETURNS json LANGUAGE plpgsql AS $$ {GRAB} '1'; END $$;
            CREATE CAST (level AS json) WITH FUNCTION grab(level);
            ALTER TABLE x ALTER c TYPE level USING NULL; INSERT INTO x VALUES (2, 'a')"
        ),
    );
    for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
        run(
            &mut owner.connect(),
            &format!("BEGIN ISOLATION LEVEL {isolation}; UPDATE x SET c = 'b' WHERE id = 2; COMMIT"),
        );
    }
    assert_eq!(
        changes(conn, &format!("{}.x", owner.name())),
        [r#"I 1 {"c": 7, "id": 1}"#, r#"I 2 {"c": "a", "id": 2}"#, r#"U 2 {"c": ["a", "b"]}"#]
    );
}

#[test]
fn a_capture_function_on_another_relation_captures_nothing_and_is_not_taken_for_the_table() {
    let db = audited_database();
    let conn = &mut db.connect();
    let owner = TestRole::new(&db, "owner");
    let host = &mut owner.connect();
    run(
        host,
        &format!(
            "CREATE FUNCTION grab() RETURNS integer LANGUAGE plpgsql AS $$ {GRAB} 1; END $$;
            CREATE VIEW spy AS SELECT grab() AS id, 1 AS k, 'x'::text AS v;
            CREATE TABLE early (id integer, k integer, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
            CREATE TABLE early_1 PARTITION OF early FOR VALUES IN (1);
            CREATE TABLE late (LIKE early INCLUDING ALL) PARTITION BY LIST (k); CREATE TABLE late_1 PARTITION OF late FOR VALUES IN (1)"
        ),
    );
    let late = format!("{}.late", owner.name());
    let id = text(conn, &format!("SELECT threadline.attach('{late}')"));
    run(
        host,
        &format!(
            "CREATE TRIGGER x INSTEAD OF INSERT ON spy FOR EACH ROW EXECUTE FUNCTION threadline.capture_{id}();
            CREATE TRIGGER \"!threadline_capture\" AFTER INSERT ON early FOR EACH ROW EXECUTE FUNCTION threadline.capture_{id}();
            INSERT INTO late VALUES (1, 1, 'a')"
        ),
    );
    let said = refused(host, "INSERT INTO early VALUES (9, 1, 'forged')");
    assert!(said.contains("belongs to table"), "{said}");
    let read =
        format!("SELECT p.image FROM threadline.present_row({id}, '{{\"id\": \"1\", \"k\": \"1\"}}') p");
    assert_eq!(text(conn, &read), r#"{"k": 1, "v": "a", "id": 1}"#);
    run(host, "ALTER TABLE late ADD COLUMN extra text");
    assert_eq!(text(conn, &format!("SELECT threadline.refresh('{late}')")), "true");
    assert_eq!(changes(conn, &late).len(), 1);
    run(conn, &format!("SELECT threadline.detach('{late}')"));
    run(host, "INSERT INTO early VALUES (9, 1, 'free again')");
}

#[test]
fn reading_a_row_by_a_domain_key_does_not_run_the_domains_check() {
    let db = audited_database();
    let conn = &mut db.connect();
    let owner = TestRole::new(&db, "owner");
    run(
        &mut owner.connect(),
        &format!(
            "CREATE FUNCTION grab(i integer) RETURNS boolean LANGUAGE plpgsql AS $$ {GRAB} true; END $$;
            CREATE DOMAIN number AS integer CHECK (grab(value)); CREATE TABLE t (id number PRIMARY KEY, v text)"
        ),
    );
    let id = text(conn, &format!("SELECT threadline.attach('{}.t')", owner.name()));
    run(&mut owner.connect(), "INSERT INTO t VALUES (1, 'a'); UPDATE t SET id = 2");
    assert_eq!(text(conn, &format!("SELECT threadline.row_key({id}, '{{\"id\": \"02\"}}')")), "2");
    assert_eq!(
        text(conn, &format!("SELECT p.state FROM threadline.present_row({id}, '{{\"id\": \"2\"}}') p")),
        "present"
    );
}

#[test]
fn settings_cannot_silence_a_truncate_nor_stand_in_for_an_actor() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE kept (id integer PRIMARY KEY); CREATE TABLE marked (id integer PRIMARY KEY); CREATE TABLE strict (id integer PRIMARY KEY);
        SELECT threadline.attach('kept', on_truncate => 'refuse'), threadline.attach('marked'), threadline.attach('strict', actor_policy => 'require')",
    );
    let silence = "SELECT set_config('threadline.truncating', concat_ws(',', pg_current_xact_id(), 'kept'::regclass::oid, 'marked'::regclass::oid), true)";
    refused(conn, &format!("BEGIN; {silence}; TRUNCATE kept"));
    run(conn, &format!("ROLLBACK; BEGIN; {silence}; TRUNCATE marked; COMMIT"));
    assert_eq!(changes(conn, "marked"), ["T "]);
    let forge = "SELECT set_config('threadline.transaction', '00000000-0000-7000-8000-' || lpad(pg_current_xact_id()::text, 12, '0'), true),
        set_config('threadline.ordinal', '41', true)";
    let said = refused(conn, &format!("BEGIN; {forge}; INSERT INTO strict VALUES (1)"));
    assert!(said.contains("requires an actor"), "{said}");
    run(conn, "ROLLBACK");
}

#[test]
fn a_column_called_like_the_row_is_a_column() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE e (id integer PRIMARY KEY, old text, new text)");
    let id = text(conn, "SELECT threadline.attach('e', on_truncate => 'keep')");
    run(conn, "INSERT INTO e VALUES (1, 'o', 'n')");
    let read = format!("SELECT p.image FROM threadline.present_row({id}, '{{\"id\": \"1\"}}') p");
    assert_eq!(text(conn, &read), r#"{"id": 1, "new": "n", "old": "o"}"#);
    run(conn, "TRUNCATE e");
    assert_eq!(changes(conn, "e")[1], r#"D 1 {"id": 1, "new": "n", "old": "o"}"#);
}

#[test]
fn replacing_a_masked_column_by_a_new_one_shows_nothing_even_when_refreshed_at_once() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "SELECT threadline.enable_ddl_refresh(); CREATE TABLE h (id integer PRIMARY KEY, ssn text)");
    run(conn, "SELECT threadline.attach('h', mask => '{ssn}'); INSERT INTO h VALUES (1, 'SECRET-1')");
    run(
        conn,
        "ALTER TABLE h ADD COLUMN ssn_new text; UPDATE h SET ssn_new = ssn; ALTER TABLE h DROP COLUMN ssn; ALTER TABLE h RENAME ssn_new TO ssn",
    );
    run(conn, "INSERT INTO h VALUES (2, 'SECRET-2')");
    assert!(!changes(conn, "h").concat().contains("SECRET"));
    // Only an attach, which says what is to be redacted, lets a new column out.
    run(conn, "ALTER TABLE h ADD COLUMN note text; INSERT INTO h VALUES (3, 'SECRET-3', 'n')");
    assert_eq!(
        changes(conn, "h").last().unwrap(),
        r#"I 3 {"id": 3, "ssn": "[REDACTED]", "note": "[REDACTED]"}"#
    );
    run(conn, "SELECT threadline.attach('h', mask => '{ssn}'); INSERT INTO h VALUES (4, 'SECRET-4', 'n')");
    assert_eq!(changes(conn, "h").last().unwrap(), r#"I 4 {"id": 4, "ssn": "[REDACTED]", "note": "n"}"#);
}

#[test]
fn what_would_leak_or_go_unseen_is_refused_at_attach() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE g (id integer PRIMARY KEY, email text, low text GENERATED ALWAYS AS (lower(email)) STORED);
        CREATE TABLE parent (id integer PRIMARY KEY); CREATE TABLE child () INHERITS (parent); ALTER TABLE child ADD PRIMARY KEY (id)",
    );
    let said = refused(conn, "SELECT threadline.attach('g', mask => '{email}')");
    assert!(said.contains(r#""low" is generated from column "email""#), "{said}");
    run(conn, "SELECT threadline.attach('g', mask => '{email,low}')");
    let said = refused(conn, "SELECT threadline.attach('parent')");
    assert!(said.contains("rows of public.child, which inherits from it, would go unseen"), "{said}");
    run(conn, "SELECT threadline.attach('child'); SELECT threadline.attach('parent')");
}
