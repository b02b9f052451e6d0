//! The application's role writes its own tables and can do nothing to the trail; what it owns does not run with our rights.

use threadline_tests::{TestRole, audited_database, changes, refused, run, text};

#[test]
fn a_role_without_any_privilege_on_the_trail_is_captured() {
    let db = audited_database();
    let conn = &mut db.connect();
    let app = TestRole::new(&db, "app");
    run(
        conn,
        "CREATE TABLE granted (id integer PRIMARY KEY, body text); SELECT threadline.attach('granted')",
    );
    run(conn, &format!("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON granted TO {}", app.name()));
    run(&mut app.connect(), "CREATE TABLE owned (id integer PRIMARY KEY, body text)");
    run(conn, &format!("SELECT threadline.attach('{}.owned', on_truncate => 'keep')", app.name()));
    let owned = format!("{}.owned", app.name());
    for table in ["granted", &owned] {
        let host = &mut app.connect();
        run(host, "SELECT threadline.set_context('{\"actor\": {\"type\": \"user\", \"id\": \"1\"}}')");
        run(
            host,
            &format!(
                "INSERT INTO {table} VALUES (1, 'a'), (2, 'b'); UPDATE {table} SET body = 'c' WHERE id = 1; DELETE FROM {table} WHERE id = 1; TRUNCATE {table}"
            ),
        );
        assert_eq!(changes(conn, table).len(), 5);
        run(conn, &format!("ALTER TABLE {table} ADD COLUMN extra integer"));
        run(host, &format!("INSERT INTO {table} VALUES (3, 'd', 4)"));
        assert_eq!(changes(conn, table)[5], r#"I 3 {"id": 3, "body": "d", "extra": 4}"#);
    }
    assert_eq!(
        text(conn, "SELECT string_agg(DISTINCT db_role, ' ') FROM threadline.audit_transactions"),
        app.name()
    );
}

#[test]
fn the_application_can_neither_read_nor_change_nor_forge_the_trail() {
    let db = audited_database();
    let conn = &mut db.connect();
    let app = TestRole::new(&db, "app");
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, body text); SELECT threadline.attach('notes'); INSERT INTO notes VALUES (1)",
    );
    run(conn, &format!("GRANT ALL ON notes TO {}", app.name()));
    let host = &mut app.connect();
    run(host, "CREATE TABLE mine (id integer PRIMARY KEY)");
    let trail = text(conn, "SELECT md5(string_agg(c::text, '')) FROM threadline.audit_changes c");
    let mut attempts = vec![
        "CREATE TABLE threadline.mine (id integer)".to_owned(),
        "CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION threadline.capture_1()".to_owned(),
        "CREATE TRIGGER t BEFORE TRUNCATE ON mine FOR EACH STATEMENT EXECUTE FUNCTION threadline.capture_truncate('1')".to_owned(),
        "SELECT threadline.attach('mine')".to_owned(),
        "SELECT threadline.detach('notes')".to_owned(),
        "SELECT threadline.refresh('notes')".to_owned(),
        "SELECT threadline.refresh_all()".to_owned(),
        "SELECT threadline.maintain()".to_owned(),
        "SELECT threadline.open_transaction()".to_owned(),
        "SELECT threadline.capture_changed_table('{}', 'notes'::regclass, 'I', NULL, NULL)".to_owned(),
        "SELECT threadline.enable_ddl_refresh()".to_owned(),
        "ALTER FUNCTION threadline.capture_1() SECURITY INVOKER".to_owned(),
        "DROP FUNCTION threadline.capture_1() CASCADE".to_owned(),
        "ALTER TABLE notes DISABLE TRIGGER ALL".to_owned(),
        "DROP TRIGGER \"!threadline_capture\" ON notes".to_owned(),
        "SET session_replication_role = replica".to_owned(),
    ];
    for table in [
        "audit_transactions",
        "audit_changes",
        "audit_actions",
        "audited_tables",
        "table_layouts",
        "redacted_columns",
        "capture_periods",
        "audit_changes_tail",
    ] {
        for statement in ["SELECT * FROM", "DELETE FROM", "TRUNCATE", "DROP TABLE", "INSERT INTO"] {
            attempts.push(format!(
                "{statement} threadline.{table}{}",
                if statement.starts_with("INSERT") { " DEFAULT VALUES" } else { "" }
            ));
        }
    }
    attempts.push("UPDATE threadline.audit_changes SET row_key = '2'".to_owned());
    for attempt in &attempts {
        let said = refused(host, attempt);
        assert!(
            said.contains("permission denied") || said.contains("must be owner") || said.contains("may not"),
            "{attempt}: {said}"
        );
    }
    // Of everything in the schema it may call those by which it says who it acts for and what it does, and those that read.
    let callable = "SELECT string_agg(DISTINCT p.proname, ' ') FROM pg_proc p WHERE pronamespace = 'threadline'::regnamespace
        AND has_function_privilege('{app}', p.oid, 'EXECUTE') AND p.prosecdef";
    assert_eq!(
        text(conn, &callable.replace("{app}", app.name())),
        "begin finish record_action record_application_evidence set_context"
    );
    assert_eq!(text(conn, "SELECT md5(string_agg(c::text, '')) FROM threadline.audit_changes c"), trail);
}

#[test]
fn an_owner_of_a_partitioned_table_cannot_turn_its_capture_function_on_another_table() {
    let db = audited_database();
    let conn = &mut db.connect();
    let app = TestRole::new(&db, "app");
    let host = &mut app.connect();
    run(
        host,
        "CREATE TABLE parts (id integer PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE forged (id integer PRIMARY KEY)",
    );
    run(conn, &format!("SELECT threadline.attach('{}.parts')", app.name()));
    // Creating partitions takes EXECUTE on the function.
    run(
        host,
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); INSERT INTO parts VALUES (1)",
    );
    run(host, "CREATE TRIGGER t AFTER INSERT ON forged FOR EACH ROW EXECUTE FUNCTION threadline.capture_1()");
    let said = refused(host, "INSERT INTO forged VALUES (5)");
    assert!(said.contains("forged"), "{said}");
    assert_eq!(text(conn, "SELECT string_agg(row_key, ' ') FROM threadline.audit_changes"), "1");
}

#[test]
fn nothing_the_host_shadows_or_defines_runs_with_our_rights() {
    let db = audited_database();
    let conn = &mut db.connect();
    let app = TestRole::new(&db, "app");
    let name = app.name();
    let host = &mut app.connect();
    // Every one of these would write the name of the role it runs as into `caught`.
    run(
        host,
        "CREATE TABLE caught (who text); CREATE SEQUENCE s;
        CREATE FUNCTION trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE format('INSERT INTO %I.caught VALUES (current_user)', session_user); END $$;
        CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a integer, b text);
        CREATE DOMAIN checked AS text;
        CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM trap(); RETURN '1'; END $$;
        CREATE FUNCTION pair_json(pair) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM trap(); RETURN '1'; END $$;
        CREATE FUNCTION mood_text(mood) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM trap(); RETURN '1'; END $$;
        CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood) AS IMPLICIT;
        CREATE CAST (pair AS json) WITH FUNCTION pair_json(pair) AS IMPLICIT;
        CREATE CAST (mood AS text) WITH FUNCTION mood_text(mood) AS IMPLICIT;
        CREATE FUNCTION same(mood, mood) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM trap(); RETURN true; END $$;
        CREATE OPERATOR = (LEFTARG = mood, RIGHTARG = mood, FUNCTION = same);
        CREATE OPERATOR *= (LEFTARG = mood, RIGHTARG = mood, FUNCTION = same);
        CREATE FUNCTION to_jsonb(anyelement) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM trap(); RETURN '1'; END $$;
        CREATE FUNCTION current_setting(text, boolean) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM trap(); RETURN ''; END $$;
        CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM trap(); RETURN now(); END $$;
        CREATE FUNCTION visible(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM trap(); RETURN true; END $$;
        CREATE TABLE notes (id integer PRIMARY KEY, m mood, p pair, c checked, ms mood[], body text);
        ALTER TABLE notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY p ON notes USING (visible(body))",
    );
    run(
        conn,
        &format!(
            "SELECT threadline.attach('{name}.notes', on_truncate => 'keep', mask => '{{c}}', scope => 'm')"
        ),
    );
    let writes = "INSERT INTO notes VALUES (1, 'sad', '(1,x)', 'c', '{ok}', 'b'); UPDATE notes SET m = 'ok', p = '(2,y)', c = 'd', ms = '{sad}', body = 'e'";
    let paths = [format!("{name}, pg_catalog, pg_temp"), format!("pg_temp, {name}, pg_catalog")];
    for (round, path) in paths.iter().enumerate() {
        run(
            host,
            "CREATE TEMP TABLE IF NOT EXISTS audit_changes (transaction_id uuid, ordinal integer); CREATE TEMP TABLE IF NOT EXISTS pg_class (oid oid, relkind \"char\", relname text)",
        );
        run(host, &format!("SET search_path = {path}"));
        run(host, writes);
        if round == 0 {
            run(host, "DELETE FROM notes");
        } else {
            // Through the slower path, and through TRUNCATE with rows to keep.
            run(conn, &format!("ALTER TABLE {name}.notes ADD COLUMN extra {name}.mood"));
            run(host, "UPDATE notes SET extra = 'ok', p = '(3,z)'; TRUNCATE notes");
        }
    }
    assert_eq!(changes(conn, &format!("{name}.notes")).len(), 7);
    let strangers = format!("SELECT count(*) FROM {name}.caught WHERE who <> '{name}'");
    assert_eq!(text(conn, &strangers), "0");
    assert_ne!(text(conn, &format!("SELECT count(*) FROM {name}.caught")), "0", "the traps do work");
    let image = text(
        conn,
        "SELECT row_data::jsonb - 'c' FROM threadline.audit_changes WHERE op = 'I' ORDER BY captured_at LIMIT 1",
    );
    assert_eq!(image, r#"{"m": "sad", "p": "(1,x)", "id": 1, "ms": "{ok}", "body": "b"}"#);
}

#[test]
fn row_level_security_neither_hides_a_write_nor_a_cascade() {
    let db = audited_database();
    let conn = &mut db.connect();
    let app = TestRole::new(&db, "app");
    let host = &mut app.connect();
    run(
        host,
        "CREATE TABLE parents (id integer PRIMARY KEY, org text); CREATE TABLE children (id integer PRIMARY KEY, parent integer REFERENCES parents ON DELETE CASCADE, org text);
        ALTER TABLE parents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; ALTER TABLE children ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY p ON parents USING (org = current_setting('app.org', true)) WITH CHECK (true);
        CREATE POLICY p ON children USING (org = current_setting('app.org', true)) WITH CHECK (true)",
    );
    let (parents, children) = (format!("{}.parents", app.name()), format!("{}.children", app.name()));
    run(conn, &format!("SELECT threadline.attach('{parents}'), threadline.attach('{children}')"));
    run(
        host,
        "INSERT INTO parents VALUES (1, 'a'), (2, 'b'); INSERT INTO children VALUES (10, 1, 'b'), (11, 2, 'a')",
    );
    run(host, "SET app.org = 'a'; UPDATE children SET org = 'c'; DELETE FROM parents");
    assert_eq!(changes(conn, &parents)[2..], [r#"D 1 {"id": 1, "org": "a"}"#]);
    assert_eq!(
        changes(conn, &children)[2..],
        [r#"U 11 {"org": ["a", "c"]}"#, r#"D 10 {"id": 10, "org": "b", "parent": 1}"#]
    );
}
