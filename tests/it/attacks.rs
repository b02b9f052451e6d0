//! What the owner of an audited table, or whoever can run SQL, may try: none of it runs with our rights or blinds the trail.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use threadline::{Action, Actor, AuditContext, Error, Trail, TransactionBuilder};
use threadline_tests::{TestRole, audited_database, changes, history, refused, run, text, texts};

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

/// What a role that may write one audited table can say in settings and calls, and who it wants to be.
fn ann() -> AuditContext {
    AuditContext::new(Actor::user(7)).with_request_id("r-7")
}

const NOTES: &str =
    "CREATE TABLE notes (id bigint PRIMARY KEY, body numeric); SELECT threadline.attach('notes')";

const ACTORS: &str = "SELECT concat_ws(' ', c.row_key, coalesce(t.actor_type || ':' || t.actor_id, 'nobody'), t.context_error)
    FROM threadline.audit_changes c JOIN threadline.audit_transactions t ON t.id = c.transaction_id ORDER BY c.captured_at";

#[test]
fn bytes_that_are_no_text_get_into_no_row_of_the_trail() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    // PostgreSQL does not check the encoding of settings that come with the connection.
    let poisoned = |setting: &str, sql: &str| {
        let poison = b"={\"type\":\"user\",\"id\":\"\xff\xfe\"}";
        let options = OsString::from_vec([b"-c threadline.", setting.as_bytes(), poison].concat());
        let arguments = ["-Xqt", "-v", "ON_ERROR_STOP=1", "-c", sql];
        let psql = db.command("psql").env("PGOPTIONS", options).args(arguments).output().unwrap();
        String::from_utf8_lossy(&psql.stderr).into_owned()
    };
    assert_eq!(poisoned("actor_ref", "INSERT INTO notes VALUES (1)"), "");
    assert_eq!(poisoned("context", "INSERT INTO notes VALUES (2)"), "");
    for call in [
        "set_context(jsonb_build_object('actor', current_setting('threadline.actor_ref')::jsonb))",
        "begin(jsonb_build_object('meta', current_setting('threadline.actor_ref')::jsonb), '{\"name\": \"x\"}')",
        "record_action('{}', jsonb_build_object('name', current_setting('threadline.actor_ref')))",
    ] {
        let said = poisoned("actor_ref", &format!("SELECT threadline.{call}"));
        assert!(said.contains("invalid byte sequence"), "{call}: {said}");
    }
    assert_eq!(texts(conn, ACTORS), ["1 nobody actor_ref: not JSON", "2 nobody context: not JSON"]);
}

#[test]
fn forged_beginning_of_an_audited_transaction_is_checked_as_any_context_is() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    let now = "lpad(to_hex(floor(extract(epoch FROM now()) * 1000)::bigint), 12, '0')";
    let number = "right('00000000000' || pg_current_xact_id()::text, 12)";
    let plausible = format!("left({now}, 8) || '-' || right({now}, 4) || '-7000-8000-' || {number}");
    let distant = format!("'ffffffff-ffff-7000-8000-' || {number}");
    let huge = r#"'{"job_id": "' || repeat('z', 100000) || '"}'"#;
    let robot = r#"'{"actor": {"type": "robot", "id": "x"}, "meta": [1]}'"#;
    for (key, context, id) in [(1, huge, &plausible), (2, robot, &plausible), (3, "'{}'", &distant)] {
        run(
            conn,
            &format!(
                "BEGIN; SELECT set_config('threadline.context', {context}, true) IS NULL;
                SELECT set_config('threadline.begun', md5(current_setting('threadline.context')) || {id}, true) IS NULL;
                INSERT INTO notes VALUES ({key}); COMMIT"
            ),
        );
    }
    assert_eq!(
        texts(conn, ACTORS),
        [
            "1 nobody context: larger than 65536 bytes",
            "2 nobody actor: type is not one of user, admin, service_account, job, system, anonymous; meta: not an object",
            "3 nobody",
        ]
    );
    assert_eq!(text(conn, "SELECT max(id::text) LIKE 'ffff%' FROM threadline.audit_transactions"), "false");
}

#[test]
fn audited_transaction_has_the_context_it_was_begun_with_and_no_other() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(
        conn,
        r#"CREATE FUNCTION sneaky() RETURNS void LANGUAGE sql SET threadline.context = '{"actor": {"type": "admin", "id": "1"}}'
            AS 'INSERT INTO notes VALUES (2)'"#,
    );
    let write = |conn: &mut PgConnection, transaction: TransactionBuilder, sql: &str| {
        transaction.run(conn, |conn, _| Ok::<_, Error>(conn.batch_execute(sql)?))
    };
    // An actor that somebody has left in the session is not that of a request of nobody's.
    run(conn, r#"SET threadline.actor_ref = '{"type": "admin", "id": "1"}'"#);
    let nobody = AuditContext::without_actor().transaction().allow_missing_actor();
    write(conn, nobody.clone().action(Action::new("signup")), "INSERT INTO notes VALUES (0)").unwrap();
    write(conn, nobody, "INSERT INTO notes VALUES (1)").unwrap();
    // Replaced for the first write, and put back.
    let said = write(conn, ann().transaction(), "SELECT sneaky()").unwrap_err().to_string();
    assert!(said.contains("its context replaced"), "{said}");
    write(conn, ann().transaction().action(Action::new("a")), "SELECT sneaky()").unwrap();
    assert_eq!(texts(conn, ACTORS), ["0 nobody", "1 nobody", "2 user:7"]);

    // A BEGIN that Diesel does not know of, once something was written in it.
    run(conn, "CREATE TABLE other (id bigint); BEGIN; INSERT INTO other VALUES (1)");
    let said = write(conn, ann().transaction(), "INSERT INTO notes VALUES (3)").unwrap_err().to_string();
    assert!(said.contains("not audited; begin the audited transaction outermost"), "{said}");

    // What the inner context says has to be what the outer one says, whole.
    let outer = ann().with_meta("tags", vec!["a", "b"]).transaction();
    let inner = ann().with_meta("tags", vec!["b"]).transaction();
    let nested = outer.run(conn, |conn, _| Ok::<_, Error>(write(conn, inner, "SELECT 1").is_err()));
    assert!(nested.unwrap());
}

#[test]
fn metadata_and_numbers_that_only_postgresql_can_read_hide_no_history() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let context = format!(r#"{{"meta": {{"deep": {deep}, "n": 1e400}}}}"#);
    run(
        conn,
        &format!(
            "BEGIN; SELECT threadline.set_context('{context}'); INSERT INTO notes VALUES (1, 1e400); COMMIT"
        ),
    );
    let id = text(conn, "SELECT id FROM threadline.audit_transactions").parse().unwrap();
    let bundle = Trail::unscoped().transaction_context(conn, id).unwrap().unwrap();
    assert!(bundle.transaction.unwrap().meta.unwrap().as_str().contains(&deep));
    let version = &history(conn, "notes", "id=1").versions[0];
    assert!(version.transaction.as_ref().unwrap().meta.as_ref().unwrap().to_value().is_err());
    assert!(version.after.present().unwrap().columns["body"].to_value().is_err());

    let deep = (0..100).fold(serde_json::Value::Null, |deep, _| serde_json::Value::Array(vec![deep]));
    let refused = ann().with_meta("deep", deep).transaction().run(conn, |_, _| Ok::<_, Error>(()));
    assert_eq!(refused.unwrap_err().to_string(), "invalid context: meta: is nested deeper than 64 levels");
}

#[test]
fn recorded_action_says_which_role_recorded_it() {
    let db = audited_database();
    let role = TestRole::new(&db, "app");
    ann().record_action(&mut role.connect(), &Action::new("user.deleted")).unwrap();
    assert_eq!(text(&mut db.connect(), "SELECT db_role FROM threadline.audit_actions"), role.name());
}
