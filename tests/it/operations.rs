//! Every way to write a row is captured, with exact before and after.

use threadline_tests::{audited_database, changes, history, run, states, text, texts};

const NOTES: &str =
    "CREATE TABLE notes (id integer PRIMARY KEY, body text, views integer NOT NULL DEFAULT 0);
    SELECT threadline.attach('notes')";

#[test]
fn insert_update_and_delete_keep_both_sides() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 'a', 5), (2, 'b', 6)");
    run(conn, "UPDATE notes SET views = views + 1, body = body WHERE id = 1");
    run(conn, "UPDATE notes SET body = NULL WHERE id = 1");
    run(conn, "DELETE FROM notes WHERE id = 1");
    run(conn, "DELETE FROM notes");
    assert_eq!(
        changes(conn, "notes"),
        [
            r#"I 1 {"id": 1, "body": "a", "views": 5}"#,
            r#"I 2 {"id": 2, "body": "b", "views": 6}"#,
            r#"U 1 {"views": [5, 6]}"#,
            r#"U 1 {"body": ["a", null]}"#,
            r#"D 1 {"id": 1, "body": null, "views": 6}"#,
            r#"D 2 {"id": 2, "body": "b", "views": 6}"#,
        ]
    );
}

#[test]
fn an_upsert_is_captured_as_what_it_did() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    let upsert = "INSERT INTO notes VALUES (1, 'a'), (2, 'b') ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body || '!'";
    run(conn, "INSERT INTO notes VALUES (1, 'first')");
    run(conn, upsert);
    run(conn, "INSERT INTO notes VALUES (1, 'phantom'), (2, 'phantom') ON CONFLICT DO NOTHING");
    run(conn, "INSERT INTO notes VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET body = notes.body");
    run(
        conn,
        "INSERT INTO notes VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET body = 'x' WHERE notes.views > 9",
    );
    assert_eq!(
        changes(conn, "notes"),
        [
            r#"I 1 {"id": 1, "body": "first", "views": 0}"#,
            r#"U 1 {"body": ["first", "a!"]}"#,
            r#"I 2 {"id": 2, "body": "b", "views": 0}"#,
        ]
    );
    // What wrote nothing has no transaction either.
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.audit_transactions"), "2");
}

#[test]
fn merge_and_copy_are_captured_row_by_row() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    let mut psql = db.command("psql");
    psql.args(["-qc", "\\copy notes (id, body) FROM PSTDIN"]).stdin(std::process::Stdio::piped());
    let mut psql = psql.spawn().unwrap();
    std::io::Write::write_all(&mut psql.stdin.take().unwrap(), b"1\tone\n2\t\\N\n3\tthree\n").unwrap();
    assert!(psql.wait().unwrap().success());
    run(
        conn,
        "MERGE INTO notes USING (VALUES (1, 'uno'), (2, NULL), (3, 'tres'), (4, 'four')) AS new (id, body) ON notes.id = new.id
        WHEN MATCHED AND new.id = 2 THEN DELETE
        WHEN MATCHED AND new.id = 3 THEN DO NOTHING
        WHEN MATCHED THEN UPDATE SET body = new.body
        WHEN NOT MATCHED THEN INSERT (id, body) VALUES (new.id, new.body)",
    );
    assert_eq!(
        changes(conn, "notes"),
        [
            r#"I 1 {"id": 1, "body": "one", "views": 0}"#,
            r#"I 2 {"id": 2, "body": null, "views": 0}"#,
            r#"I 3 {"id": 3, "body": "three", "views": 0}"#,
            r#"U 1 {"body": ["one", "uno"]}"#,
            r#"D 2 {"id": 2, "body": null, "views": 0}"#,
            r#"I 4 {"id": 4, "body": "four", "views": 0}"#,
        ]
    );
}

#[test]
fn a_foreign_key_cascade_is_captured_in_the_transaction_that_caused_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE authors (id integer PRIMARY KEY, name text);
        CREATE TABLE books (id integer PRIMARY KEY, author integer REFERENCES authors ON UPDATE CASCADE ON DELETE CASCADE);
        CREATE TABLE reviews (id integer PRIMARY KEY, author integer REFERENCES authors ON UPDATE CASCADE ON DELETE SET NULL);
        SELECT threadline.attach('authors'), threadline.attach('books'), threadline.attach('reviews');
        INSERT INTO authors VALUES (1, 'a'); INSERT INTO books VALUES (10, 1), (11, 1); INSERT INTO reviews VALUES (20, 1)",
    );
    run(conn, "UPDATE authors SET id = 2");
    run(conn, "DELETE FROM authors");
    assert_eq!(
        changes(conn, "books")[2..],
        [
            r#"U 10 {"author": [1, 2]}"#,
            r#"U 11 {"author": [1, 2]}"#,
            r#"D 10 {"id": 10, "author": 2}"#,
            r#"D 11 {"id": 11, "author": 2}"#,
        ]
    );
    assert_eq!(
        changes(conn, "reviews")[1..],
        [r#"U 20 {"author": [1, 2]}"#, r#"U 20 {"author": [2, null]}"#]
    );
    assert_eq!(changes(conn, "authors")[1..], [r#"U 2<-1 {"id": [1, 2]}"#, r#"D 2 {"id": 2, "name": "a"}"#]);
    let shared = "SELECT string_agg(op::text || row_key, ' ' ORDER BY ordinal) FROM threadline.audit_changes
        GROUP BY transaction_id ORDER BY min(captured_at) OFFSET 1";
    assert_eq!(texts(conn, shared), ["U2 U10 U11 U20", "D2 D10 D11 U20"]);
}

#[test]
fn a_before_trigger_is_seen_through_to_what_was_stored() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(
        conn,
        "CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.body = 'cancel' THEN RETURN NULL; END IF;
            NEW.body := upper(NEW.body); NEW.views := NEW.views + 100; RETURN NEW; END $$;
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN OLD.body = 'A' THEN NULL ELSE OLD END; END $$;
        CREATE TRIGGER tidy BEFORE INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION tidy();
        CREATE TRIGGER keep BEFORE DELETE ON notes FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    run(conn, "INSERT INTO notes VALUES (1, 'a'), (2, 'cancel'), (3, 'b')");
    run(conn, "UPDATE notes SET body = 'cancel'");
    run(conn, "UPDATE notes SET body = body WHERE id = 3");
    run(conn, "DELETE FROM notes");
    assert_eq!(
        changes(conn, "notes"),
        [
            r#"I 1 {"id": 1, "body": "A", "views": 100}"#,
            r#"I 3 {"id": 3, "body": "B", "views": 100}"#,
            r#"U 3 {"views": [100, 200]}"#,
            r#"D 3 {"id": 3, "body": "B", "views": 200}"#,
        ]
    );
}

#[test]
fn what_an_after_trigger_writes_comes_after_what_caused_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE log (id serial PRIMARY KEY, entry text); SELECT threadline.attach('log');
        CREATE TABLE notes (id integer PRIMARY KEY, body text, views integer NOT NULL DEFAULT 0);
        CREATE FUNCTION count_view() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.views < 3 THEN UPDATE notes SET views = NEW.views + 1 WHERE id = NEW.id; END IF;
            INSERT INTO log (entry) VALUES (NEW.body || NEW.views); RETURN NULL; END $$;
        -- Made before ours, and named to come early.
        CREATE TRIGGER \"0 count\" AFTER INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION count_view();
        SELECT threadline.attach('notes')",
    );
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    assert_eq!(
        changes(conn, "notes"),
        [
            r#"I 1 {"id": 1, "body": "a", "views": 0}"#,
            r#"U 1 {"views": [0, 1]}"#,
            r#"U 1 {"views": [1, 2]}"#,
            r#"U 1 {"views": [2, 3]}"#,
        ]
    );
    assert_eq!(changes(conn, "log").len(), 4);
    assert_eq!(states(conn, "notes", "id=1").len(), 5);
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.audit_transactions"), "1");
}

/// A statement's row triggers run after all its rows are written, so a trigger's write to a sibling can be captured before
/// the statement's own change of that sibling.
#[test]
fn rows_that_triggers_write_to_each_other_have_histories_without_gaps() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(
        conn,
        "CREATE FUNCTION spread() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF pg_trigger_depth() = 1 THEN UPDATE notes SET views = views + NEW.id, body = body || NEW.id WHERE id <> NEW.id; END IF;
            RETURN NULL; END $$;
        CREATE TRIGGER spread AFTER UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION spread();
        INSERT INTO notes SELECT n, 'b' FROM generate_series(1, 4) n",
    );
    run(conn, "UPDATE notes SET views = views + 10, body = body || '-'");
    run(conn, "UPDATE notes SET views = 0");
    for id in 1..=4 {
        let states = states(conn, "notes", &format!("id={id}"));
        assert_eq!(states.len(), 10, "insert and twice one own and three foreign updates");
        let live =
            text(conn, &format!("SELECT to_jsonb(notes)->>'body' || views FROM notes WHERE id = {id}"));
        let last: serde_json::Value = serde_json::from_str(states.last().unwrap()).unwrap();
        assert_eq!(format!("{}{}", last["body"].as_str().unwrap(), last["views"]), live);
        assert!(states[0] == "-" && states[1] == format!(r#"{{"body":"b","id":{id},"views":0}}"#));
    }
}

#[test]
fn a_write_that_changes_no_stored_byte_leaves_no_trace() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE exact (id integer PRIMARY KEY, n numeric, f float8, j jsonb, t text, x json);
        SELECT threadline.attach('exact');
        INSERT INTO exact VALUES (1, 1.0, 'NaN', '{\"a\": 1.0, \"b\": null}', 'É', '{\"a\":1}')",
    );
    run(conn, "UPDATE exact SET n = 1.0, f = 'NaN', j = '{\"b\":null,\"a\":1.0}', t = 'É', x = '{\"a\":1}'");
    run(conn, "UPDATE exact SET id = id");
    assert_eq!(changes(conn, "exact").len(), 1);
    // Equal is not the same.
    run(
        conn,
        "UPDATE exact SET n = 1.00, j = '{\"a\": 1.00, \"b\": null}', t = E'E\\u0301', x = '{\"a\": 1}'",
    );
    assert_eq!(
        changes(conn, "exact")[1],
        "U 1 {\"j\": [{\"a\": 1.0, \"b\": null}, {\"a\": 1.00, \"b\": null}], \"n\": [1.0, 1.00], \"t\": [\"É\", \"E\u{301}\"], \
         \"x\": [\"{\\\"a\\\":1}\", \"{\\\"a\\\": 1}\"]}"
    );
}

#[test]
fn generated_columns_and_values_stored_out_of_line_are_captured() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE files (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text, size integer GENERATED ALWAYS AS (length(body)) STORED, n integer);
        ALTER TABLE files ALTER body SET STORAGE EXTERNAL;
        SELECT threadline.attach('files');
        INSERT INTO files (body, n) VALUES (repeat('x', 100000), 1)",
    );
    run(conn, "UPDATE files SET n = 2");
    run(conn, "UPDATE files SET body = body");
    run(conn, "UPDATE files SET body = 'y' || substr(body, 2)");
    run(conn, "UPDATE files SET body = 'short'");
    run(conn, "DELETE FROM files");
    let long = "x".repeat(99_999);
    assert_eq!(
        changes(conn, "files"),
        [
            format!(r#"I 1 {{"n": 1, "id": 1, "body": "x{long}", "size": 100000}}"#),
            r#"U 1 {"n": [1, 2]}"#.to_owned(),
            format!(r#"U 1 {{"body": ["x{long}", "y{long}"]}}"#),
            format!(r#"U 1 {{"body": ["y{long}", "short"], "size": [100000, 5]}}"#),
            r#"D 1 {"n": 2, "id": 1, "body": "short", "size": 5}"#.to_owned(),
        ]
    );
}

#[test]
fn an_ignored_column_is_kept_but_does_not_make_a_change() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id integer PRIMARY KEY, body text, views integer NOT NULL DEFAULT 0)");
    run(conn, "SELECT threadline.attach('notes', ignore => '{views}')");
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    run(conn, "UPDATE notes SET views = 7");
    run(conn, "UPDATE notes SET views = 8, body = 'b'");
    assert_eq!(changes(conn, "notes")[1..], [r#"U 1 {"body": ["a", "b"], "views": [7, 8]}"#]);
    run(conn, "UPDATE notes SET views = 9");
    let history = history(conn, "notes", "id=1");
    assert!(history.versions.iter().all(|version| !version.gap));
    assert_eq!(history.versions[0].after.present().unwrap().columns["views"].as_str(), "8");
}
