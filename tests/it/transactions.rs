//! Every change is in its own transaction, with its own actor.

use std::thread;

use diesel::PgConnection;
use threadline_tests::{audited_cluster, audited_database, refused, run, text, texts};

const NOTES: &str =
    "CREATE TABLE notes (id bigint PRIMARY KEY, body text); SELECT threadline.attach('notes')";

fn by(user: &str) -> String {
    format!(
        "SELECT threadline.set_context('{{\"actor\": {{\"type\": \"user\", \"id\": \"{user}\"}}, \"request_id\": \"r-{user}\"}}')"
    )
}

/// Each audit transaction as `actor: op+key …` in the order they began.
fn transactions(conn: &mut PgConnection) -> Vec<String> {
    texts(
        conn,
        "SELECT coalesce(t.actor_id, '(none)') || ':' || coalesce(string_agg(' ' || c.op::text || c.row_key, '' ORDER BY c.ordinal), '')
        FROM threadline.audit_transactions t LEFT JOIN threadline.audit_changes c ON c.transaction_id = t.id
        GROUP BY t.id, t.actor_id, t.occurred_at ORDER BY t.occurred_at, t.id",
    )
}

/// What has to hold for any trail: one transaction row for each database transaction, ordinals without gaps from 1.
fn assert_sound(conn: &mut PgConnection) {
    assert_eq!(
        texts(
            conn,
            "SELECT transaction_id FROM threadline.audit_changes GROUP BY transaction_id
            HAVING min(ordinal) <> 1 OR max(ordinal) <> count(*)"
        ),
        Vec::<String>::new()
    );
    assert_eq!(
        text(
            conn,
            "SELECT count(*) FROM threadline.audit_changes c LEFT JOIN threadline.audit_transactions t ON t.id = c.transaction_id WHERE t.id IS NULL"
        ),
        "0"
    );
    assert_eq!(text(conn, "SELECT count(*) - count(DISTINCT xid) FROM threadline.audit_transactions"), "0");
}

#[test]
fn a_rolled_back_savepoint_takes_its_changes_and_its_transaction_with_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(
        conn,
        &format!(
            "BEGIN; {}; SAVEPOINT a; INSERT INTO notes VALUES (1); ROLLBACK TO a;
            SAVEPOINT b; INSERT INTO notes VALUES (2); SAVEPOINT c; INSERT INTO notes VALUES (3); RELEASE b;
            SAVEPOINT d; DELETE FROM notes; ROLLBACK TO d; UPDATE notes SET body = 'x' WHERE id = 3; COMMIT",
            by("ann")
        ),
    );
    run(conn, "BEGIN; INSERT INTO notes VALUES (9); ROLLBACK");
    run(
        conn,
        "DO $$ BEGIN
            BEGIN INSERT INTO notes VALUES (4); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;
            INSERT INTO notes VALUES (5);
            BEGIN INSERT INTO notes VALUES (6), (5); EXCEPTION WHEN unique_violation THEN INSERT INTO notes VALUES (7); END;
        END $$",
    );
    assert_eq!(transactions(conn), ["ann: I2 I3 U3", "(none): I5 I7"]);
    assert_sound(conn);
}

#[test]
fn what_a_session_has_left_over_is_not_believed() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    // Everything a careless pool can leave behind, as session-level settings taken from inside a transaction.
    run(conn, &format!("BEGIN; {}; INSERT INTO notes VALUES (1)", by("ann")));
    for setting in ["transaction", "ordinal", "context"] {
        run(
            conn,
            &format!(
                "SELECT set_config('threadline.{setting}', current_setting('threadline.{setting}'), false)"
            ),
        );
    }
    run(conn, "COMMIT");
    assert!(text(conn, "SELECT current_setting('threadline.context')").contains("ann"));
    run(conn, "INSERT INTO notes VALUES (2), (3)");
    run(conn, &format!("BEGIN; {}; INSERT INTO notes VALUES (4); COMMIT", by("bob")));
    run(conn, "INSERT INTO notes VALUES (5)");
    assert_eq!(transactions(conn), ["ann: I1", "(none): I2 I3", "bob: I4", "(none): I5"]);
    assert_eq!(
        texts(
            conn,
            "SELECT DISTINCT context_error FROM threadline.audit_transactions WHERE context_error IS NOT NULL"
        ),
        ["context: left over from another transaction"]
    );
    run(conn, "SET threadline.transaction = 'garbage'; SET threadline.ordinal = 'garbage'");
    run(conn, "INSERT INTO notes VALUES (6), (7)");
    assert_sound(conn);
}

#[test]
fn two_transactions_on_one_connection_do_not_share_an_actor() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(conn, &format!("BEGIN; {}; INSERT INTO notes VALUES (1); COMMIT", by("ann")));
    run(conn, "INSERT INTO notes VALUES (2)");
    run(conn, &format!("BEGIN; {}; ROLLBACK", by("eve")));
    run(
        conn,
        "BEGIN; SET LOCAL threadline.actor_ref = '{\"type\": \"job\", \"id\": \"7\"}'; INSERT INTO notes VALUES (3); COMMIT",
    );
    run(conn, "BEGIN; INSERT INTO notes VALUES (4); SAVEPOINT a");
    assert!(refused(conn, &by("late")).contains("has captured changes already"));
    run(conn, "ROLLBACK TO a; INSERT INTO notes VALUES (5); COMMIT");
    run(conn, "BEGIN; INSERT INTO notes VALUES (6)");
    run(conn, "COMMIT AND CHAIN");
    run(conn, "INSERT INTO notes VALUES (7); COMMIT");
    assert_eq!(
        transactions(conn),
        ["ann: I1", "(none): I2", "7: I3", "(none): I4 I5", "(none): I6", "(none): I7"]
    );
    assert_sound(conn);
}

#[test]
fn sixteen_writers_at_once_keep_to_their_own_transactions_and_actors() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (0, '')");
    thread::scope(|scope| {
        for writer in 1..=16 {
            let db = &db;
            scope.spawn(move || {
                let conn = &mut db.connect();
                for round in 0..20 {
                    let user = format!("w{writer}-{round}");
                    let id = writer * 1000 + round;
                    let end = if round % 5 == 4 { "ROLLBACK" } else { "COMMIT" };
                    let context = if round % 3 == 0 { "SELECT 1".to_owned() } else { by(&user) };
                    let user = if round % 3 == 0 { "" } else { &user };
                    run(
                        conn,
                        &format!(
                            "BEGIN; {context}; INSERT INTO notes VALUES ({id}, '{user}'); UPDATE notes SET body = body || ' ' WHERE id = {id};
                            UPDATE notes SET body = '{user}' WHERE id = 0; {end}"
                        ),
                    );
                }
            });
        }
    });
    assert_sound(conn);
    // The body that was inserted names the actor.
    let strangers = "SELECT c.row_key FROM threadline.audit_changes c JOIN threadline.audit_transactions t ON t.id = c.transaction_id
        WHERE c.op = 'I' AND c.row_key <> '0' AND c.row_data ->> 'body' <> coalesce(t.actor_id, '')";
    assert_eq!(texts(conn, strangers), Vec::<String>::new());
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.audit_transactions"), (16 * 16 + 1).to_string());
    let history = threadline_tests::history(conn, "notes", "id=0");
    assert!(
        history.versions.iter().all(|version| !version.gap),
        "the row all of them wrote has a whole history"
    );
}

#[test]
fn capture_touches_no_sequence_and_spends_one_transaction_number_a_statement() {
    let cluster = audited_cluster();
    let conn = &mut cluster.connect("app").unwrap();
    run(conn, "CREATE TABLE items (id serial PRIMARY KEY, n integer); SELECT threadline.attach('items')");
    run(conn, "SELECT setval('items_id_seq', 41)");
    run(conn, "INSERT INTO items (n) VALUES (1)");
    assert_eq!(text(conn, "SELECT lastval()"), "42");
    let number = "SELECT pg_current_xact_id()::text::bigint";
    for sql in [
        "INSERT INTO items (n) SELECT n FROM generate_series(1, 50000) n",
        "UPDATE items SET n = n + 1",
        "ALTER TABLE items ADD COLUMN extra integer",
        "UPDATE items SET extra = n WHERE id < 300",
        "BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE items SET n = n + 1 WHERE id < 300; COMMIT",
        "DELETE FROM items WHERE id < 300",
    ] {
        let before: i64 = text(conn, number).parse().unwrap();
        run(conn, sql);
        let after: i64 = text(conn, number).parse().unwrap();
        assert_eq!(after - before, 2, "its own number and that of the question: {sql}");
    }
    assert_eq!(text(conn, "SELECT lastval()"), "50042");
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.audit_transactions"), "6");
    assert_sound(conn);
}

#[test]
fn a_bad_context_is_recorded_as_such_and_fails_no_write() {
    let long = "x".repeat(70_000);
    let nested = "[".repeat(60_000);
    for (number, (context, error)) in [
        ("not json", "context: not JSON"),
        ("{\"actor\": ", "context: not JSON"),
        ("\"\\u0000\"", "context: not JSON"),
        (nested.as_str(), "context: not JSON"),
        ("{\"meta\": {\"n\": 1e999999}}", "context: not JSON"),
        ("[]", "context: not an object"),
        ("null", "context: not an object"),
        (long.as_str(), "context: larger than 65536 bytes"),
        ("{\"actor\": \"ann\"}", "actor: not an object"),
        ("{\"actor\": {\"type\": \"wizard\", \"id\": \"1\"}}", "actor: type is not one of"),
        ("{\"actor\": {\"type\": \"user\"}}", "actor: id is not a text, or empty"),
        ("{\"actor\": {\"type\": \"user\", \"id\": 7}}", "actor: id is not a text"),
        ("{\"actor\": {\"type\": \"anonymous\", \"id\": \"7\"}}", "actor: anonymous has no id"),
        ("{\"actor\": {\"type\": {\"a\": 1}, \"id\": \"1\", \"more\": 1}}", "actor: has a key other than"),
        ("{\"request_id\": 7}", "request_id: not a text"),
        ("{\"action_id\": \"7\"}", "action_id: not a UUID"),
        ("{\"action_id\": [1]}", "action_id: not a UUID"),
        ("{\"meta\": []}", "meta: not an object"),
        ("{\"colour\": \"red\"}", "context: has an unknown key"),
        (
            "{\"xid\": \"3\", \"actor\": {\"type\": \"user\", \"id\": \"1\"}}",
            "context: left over from another transaction",
        ),
        (
            "{\"xid\": {}, \"actor\": {\"type\": \"user\", \"id\": \"1\"}}",
            "context: left over from another transaction",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let db = audited_database();
        let conn = &mut db.connect();
        run(conn, NOTES);
        let context = context.replace('\'', "''");
        run(
            conn,
            &format!(
                "BEGIN; SET LOCAL threadline.context = '{context}'; INSERT INTO notes VALUES ({number}); COMMIT"
            ),
        );
        let said = text(conn, "SELECT context_error FROM threadline.audit_transactions");
        assert!(said.contains(error), "{} gave {said}", &context[..context.len().min(80)]);
        assert_eq!(transactions(conn), [format!("(none): I{number}")]);
    }
}

#[test]
fn the_sound_parts_of_a_bad_context_are_kept() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(
        conn,
        "BEGIN; SET LOCAL threadline.context = '{\"actor\": {\"type\": \"admin\", \"id\": \"é\"}, \"request_id\": \"r\", \"job_id\": [1], \"meta\": {\"a\": 1}, \"correlation_id\": null}';
        INSERT INTO notes VALUES (1); COMMIT",
    );
    assert_eq!(
        text(
            conn,
            "SELECT concat_ws('|', actor_type, actor_id, request_id, job_id, meta, correlation_id, context_error) FROM threadline.audit_transactions"
        ),
        "admin|é|r|{\"a\": 1}|job_id: not a text"
    );
    run(conn, "BEGIN; SET LOCAL threadline.actor_ref = '{{'; INSERT INTO notes VALUES (2); COMMIT");
    assert_eq!(
        text(
            conn,
            "SELECT context_error FROM threadline.audit_transactions ORDER BY occurred_at DESC LIMIT 1"
        ),
        "actor_ref: not JSON"
    );
}

#[test]
fn set_context_refuses_what_capture_would_have_to_flag() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    for (context, problem) in [
        ("'[]'", "not an object"),
        ("NULL", "context: NULL"),
        ("'{\"actor\": {\"type\": \"user\"}}'", "actor: id is not a text"),
        ("'{\"colour\": 1, \"meta\": 1}'", "context: has an unknown key; meta: not an object"),
        (
            "jsonb_build_object('meta', jsonb_build_object('a', repeat('x', 40000)))",
            "larger than 32768 bytes",
        ),
        ("jsonb_build_object('request_id', repeat('x', 300))", "request_id: longer than 256 bytes"),
    ] {
        let said = refused(conn, &format!("BEGIN; SELECT threadline.set_context({context})"));
        assert!(said.contains(problem) && said.contains("The shape is"), "{context}: {said}");
        run(conn, "ROLLBACK");
    }
}

#[test]
fn a_table_may_require_an_actor() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE strict (id integer PRIMARY KEY, n integer); SELECT threadline.attach('strict', actor_policy => 'require', on_truncate => 'keep')",
    );
    run(conn, &format!("BEGIN; {}; INSERT INTO strict VALUES (1); COMMIT", by("ann")));
    run(
        conn,
        "BEGIN; SET LOCAL threadline.actor_ref = '{\"type\": \"anonymous\"}'; INSERT INTO strict VALUES (2); COMMIT",
    );
    for sql in
        ["INSERT INTO strict VALUES (3)", "UPDATE strict SET n = 1", "DELETE FROM strict", "TRUNCATE strict"]
    {
        let said = refused(conn, sql);
        assert!(said.contains("strict") && said.contains("actor") && said.contains("set_context"), "{said}");
    }
    // Also when it is captured by the slower path, and after an unlisted actor.
    run(conn, "ALTER TABLE strict ADD COLUMN extra text");
    refused(conn, "INSERT INTO strict VALUES (3)");
    refused(
        conn,
        "BEGIN; SET LOCAL threadline.context = '{\"actor\": {\"type\": \"wizard\"}}'; INSERT INTO strict VALUES (3)",
    );
    run(conn, "ROLLBACK");
    run(conn, "UPDATE strict SET n = n");
    assert_eq!(transactions(conn), ["ann: I1", "(none): I2"]);
}
