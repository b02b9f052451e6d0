//! The audited transaction: what it hands over, what it records, and what it refuses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::PgConnection;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use serde_json::json;
use threadline::{
    Action, Actor, ActorId, ActorType, AuditContext, Error, Isolation, OpenTransaction, TransactionBuilder,
    is_retryable,
};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, changes, run, text, texts};

const NOTES: &str =
    "CREATE TABLE notes (id bigint PRIMARY KEY, body text); SELECT threadline.attach('notes')";

fn notes() -> (TestDatabase, PgConnection) {
    let db = audited_database();
    let mut conn = db.connect();
    run(&mut conn, NOTES);
    (db, conn)
}

fn ann() -> AuditContext {
    AuditContext::new(Actor::user(7)).with_request_id("r-1").with_correlation_id("c-1")
}

/// Runs SQL in the transaction.
fn write(
    transaction: TransactionBuilder,
    conn: &mut PgConnection,
    sql: &str,
) -> Result<OpenTransaction, Error> {
    transaction.run(conn, |conn, open| {
        conn.batch_execute(sql).map_err(Error::Query)?;
        Ok(open.clone())
    })
}

/// Each transaction with its actor, and the action linked from either side: `user:7 note.added 2 changes`.
fn trail(conn: &mut PgConnection) -> Vec<String> {
    texts(
        conn,
        "SELECT concat_ws(' ', coalesce(t.actor_type || ':' || t.actor_id, 'nobody'), coalesce(a.name, '-'),
            (SELECT count(*) FROM threadline.audit_changes c WHERE c.transaction_id = t.id), 'changes')
        FROM threadline.audit_transactions t LEFT JOIN threadline.audit_actions a ON a.id = t.action_id AND a.transaction_id = t.id ORDER BY t.id, t.xid::text",
    )
}

fn actions(conn: &mut PgConnection) -> Vec<String> {
    texts(
        conn,
        "SELECT concat_ws(' ', name, status, reason, CASE WHEN transaction_id IS NULL THEN 'alone' END) FROM threadline.audit_actions ORDER BY occurred_at",
    )
}

fn idle(conn: &mut PgConnection) {
    assert_eq!(
        text(
            conn,
            "SELECT concat(current_setting('threadline.context', true), current_setting('threadline.begun', true), current_setting('threadline.transaction', true), pg_current_xact_id_if_assigned())"
        ),
        "",
        "nothing is left on the connection"
    );
}

#[test]
fn changes_carry_context_and_action_and_the_id_is_known_before_the_first_write() {
    let (_db, mut conn) = notes();
    let conn = &mut conn;
    let context =
        ann().with_job_id("j-1").with_remote_addr("192.0.2.1".parse().unwrap()).with_meta("build", "42");
    let action =
        Action::new("note.added").verb("add").category("notes").reason("because\nasked").comment("ü");
    let open = write(
        context.transaction().action(action).meta("form", "new"),
        conn,
        "INSERT INTO notes VALUES (1), (2)",
    )
    .unwrap();
    assert_eq!(trail(conn), ["user:7 note.added 2 changes"]);
    let row = "SELECT concat_ws(' ', id, request_id, correlation_id, job_id, remote_addr, meta, action_id, context_error) FROM threadline.audit_transactions";
    assert_eq!(
        text(conn, row),
        format!(
            "{} r-1 c-1 j-1 192.0.2.1 {{\"form\": \"new\", \"build\": \"42\"}} {}",
            open.id(),
            open.action_id().unwrap()
        )
    );
    assert_eq!(
        text(
            conn,
            "SELECT concat_ws(' ', verb, category, reason, comment, actor_type, actor_id, request_id, correlation_id, job_id) FROM threadline.audit_actions"
        ),
        "add notes because\nasked ü user 7 r-1 c-1 j-1"
    );
    idle(conn);
}

#[test]
fn capture_only_transaction_has_a_context_and_no_action() {
    let (_db, mut conn) = notes();
    let open = write(ann().transaction(), &mut conn, "INSERT INTO notes VALUES (1)").unwrap();
    assert_eq!(open.action_id(), None);
    assert_eq!(trail(&mut conn), ["user:7 - 1 changes"]);
    assert_eq!(actions(&mut conn), Vec::<String>::new());
}

#[test]
fn missing_actor_and_bad_values_are_errors_before_anything_is_asked_of_the_database() {
    // Nobody listens there: whatever needs a database would fail otherwise.
    let (_db, mut conn) = notes();
    let conn = &mut conn;
    run(conn, "SET statement_timeout = 1; SET lock_timeout = 1");
    assert!(matches!(write(AuditContext::without_actor().transaction(), conn, ""), Err(Error::MissingActor)));
    let error = write(
        ann()
            .with_request_id("")
            .with_correlation_id("x".repeat(257))
            .with_job_id("a\nb")
            .with_meta("a", json!([{"b": "\0"}]))
            .transaction()
            .action(Action::new("").verb("a\0b").reason("x".repeat(4097))),
        conn,
        "",
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid context: correlation_id: is longer than 256 bytes; job_id: has a control character; request_id: is empty; \
         meta: holds a NUL character, which PostgreSQL cannot store; action name: is empty; action verb: has a control character; \
         action reason: is longer than 4096 bytes"
    );
    let error = write(ann().transaction().record_failures(), conn, "").unwrap_err();
    assert_eq!(error.to_string(), "invalid context: record_failures: there is no action to record");
    run(conn, "RESET statement_timeout");
    assert_eq!(trail(conn), Vec::<String>::new());
    write(
        AuditContext::without_actor().transaction().allow_missing_actor(),
        conn,
        "INSERT INTO notes VALUES (1)",
    )
    .unwrap();
    assert_eq!(trail(conn), ["nobody - 1 changes"]);
}

#[test]
fn err_and_panic_roll_back_and_leave_the_connection_fit_for_use() {
    let (_db, mut conn) = notes();
    let conn = &mut conn;
    let failed: Result<(), Error> =
        ann().transaction().action(Action::new("note.added")).run(conn, |conn, _| {
            run(conn, "INSERT INTO notes VALUES (1)");
            Err(Error::NoChanges)
        });
    assert!(matches!(failed, Err(Error::NoChanges)));
    idle(conn);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        ann().transaction().action(Action::new("note.added").reason("r")).record_failures().run(
            conn,
            |conn, _| -> Result<(), Error> {
                run(conn, "INSERT INTO notes VALUES (2)");
                conn.transaction(|_| -> QueryResult<()> { panic!("in a savepoint") }).map_err(Error::Query)
            },
        )
    }));
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "in a savepoint");
    idle(conn);
    assert_eq!(actions(conn), ["note.added error the body panicked alone"]);
    assert_eq!(text(conn, "SELECT count(*) FROM notes"), "0");
    assert_eq!(changes(conn, "notes"), Vec::<String>::new());
    write(ann().transaction(), conn, "INSERT INTO notes VALUES (3)").unwrap();
    assert_eq!(trail(conn), ["user:7 - 1 changes"]);
}

#[test]
fn swallowed_statement_error_is_an_error_and_never_a_silent_rollback() {
    let (_db, mut conn) = notes();
    let conn = &mut conn;
    let swallowed: Result<(), Error> =
        ann().transaction().action(Action::new("note.added")).record_failures().run(conn, |conn, _| {
            run(conn, "INSERT INTO notes VALUES (1)");
            assert!(conn.batch_execute("INSERT INTO notes VALUES (1)").is_err());
            Ok(())
        });
    assert!(matches!(swallowed, Err(Error::Aborted(_))), "{swallowed:?}");
    idle(conn);
    assert_eq!(actions(conn), ["note.added error the transaction could not be committed alone"]);
    // In a savepoint of its own the error may be swallowed: the rest is committed.
    ann()
        .transaction()
        .run(conn, |conn, _| {
            run(conn, "INSERT INTO notes VALUES (1)");
            assert!(conn.transaction(|conn| conn.batch_execute("INSERT INTO notes VALUES (1)")).is_err());
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(changes(conn, "notes"), ["I 1 {\"id\": 1, \"body\": null}"]);
}

#[test]
fn required_changes_that_do_not_come_roll_the_action_back_and_others_are_kept_without() {
    let (_db, mut conn) = notes();
    let conn = &mut conn;
    let touch = || ann().transaction().action(Action::new("note.touched"));
    assert!(matches!(
        write(touch().require_changes(), conn, "UPDATE notes SET body = 'a'"),
        Err(Error::NoChanges)
    ));
    assert_eq!(actions(conn), Vec::<String>::new());
    let open = write(touch(), conn, "UPDATE notes SET body = 'a'").unwrap();
    assert_eq!(actions(conn), ["note.touched ok"]);
    assert_eq!(text(conn, "SELECT transaction_id FROM threadline.audit_actions"), open.id().to_string());
    assert_eq!(trail(conn), ["user:7 note.touched 0 changes"]);
    write(touch().require_changes(), conn, "INSERT INTO notes VALUES (1)").unwrap();
    // What a rolled back savepoint had captured does not count.
    let undone: Result<(), Error> = touch().require_changes().run(conn, |conn, _| {
        conn.batch_execute("SAVEPOINT a; INSERT INTO notes VALUES (2); ROLLBACK TO a").map_err(Error::Query)
    });
    assert!(matches!(undone, Err(Error::NoChanges)), "{undone:?}");
}

#[test]
fn inner_transaction_is_a_savepoint_under_the_outer_context_or_a_clear_error() {
    let (_db, mut conn) = notes();
    let conn = &mut conn;
    let outer = ann().transaction().action(Action::new("outer"));
    outer
        .run(conn, |conn, open| {
            run(conn, "INSERT INTO notes VALUES (1)");
            let inner = write(ann().transaction().require_changes(), conn, "INSERT INTO notes VALUES (2)")?;
            assert_eq!((inner.id(), inner.action_id()), (open.id(), open.action_id()));
            let partly = AuditContext::new(Actor::user(7));
            assert!(matches!(
                write(partly.transaction().require_changes(), conn, "SELECT 1"),
                Err(Error::NoChanges)
            ));
            let undone: Result<(), Error> = partly.transaction().run(conn, |conn, _| {
                run(conn, "INSERT INTO notes VALUES (3)");
                Err(Error::MissingActor)
            });
            assert!(matches!(undone, Err(Error::MissingActor)));
            for (lie, says) in [
                (ann().transaction().action(Action::new("inner")), "running already and has its action"),
                (AuditContext::new(Actor::user(8)).transaction(), "running already under another context"),
                (ann().with_job_id("j").transaction(), "running already under another context"),
                (ann().transaction().isolation(Isolation::Serializable), "cannot choose its isolation level"),
            ] {
                let error = write(lie, conn, "INSERT INTO notes VALUES (4)").unwrap_err().to_string();
                assert!(error.contains(says), "{error}");
            }
            // One more action belongs to the same transaction.
            let more = ann().record_action(conn, &Action::new("note.mailed"))?;
            assert_eq!(
                text(
                    conn,
                    &format!("SELECT transaction_id FROM threadline.audit_actions WHERE id = '{more}'")
                ),
                open.id().to_string()
            );
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(trail(conn), ["user:7 outer 2 changes"]);
    assert_eq!(texts(conn, "SELECT id FROM notes ORDER BY id"), ["1", "2"]);

    let inside = conn.transaction(|conn| {
        run(conn, "INSERT INTO notes VALUES (5)");
        let refused = write(ann().transaction(), conn, "INSERT INTO notes VALUES (6)");
        run(conn, "INSERT INTO notes VALUES (7)");
        QueryResult::Ok(refused.unwrap_err().to_string())
    });
    assert!(inside.unwrap().contains("in a transaction that is not audited"));
    assert_eq!(trail(conn), ["user:7 outer 2 changes", "nobody - 2 changes"]);
}

#[test]
fn body_that_ends_the_transaction_or_replaces_its_context_is_found_out() {
    let (_db, mut conn) = notes();
    let conn = &mut conn;
    for (id, misuse, says) in [
        (1, "COMMIT", "was ended"),
        (2, "ROLLBACK", "was ended"),
        (3, "COMMIT; BEGIN", "was ended"),
        (4, "ROLLBACK; BEGIN", "was ended"),
        (
            5,
            "SELECT set_config('threadline.context', '{\"actor\": {\"type\": \"admin\", \"id\": \"1\"}}', true)",
            "was replaced in its body",
        ),
        (6, "SELECT set_config('threadline.begun', '', true)", "was ended"),
    ] {
        let said = write(ann().transaction(), conn, &format!("INSERT INTO notes VALUES ({id}); {misuse}"))
            .unwrap_err()
            .to_string();
        assert!(said.contains(says), "{misuse}: {said}");
        idle(conn);
    }
    let said = write(ann().transaction(), conn, "SELECT threadline.set_context('{}')").unwrap_err();
    assert!(format!("{said:?}").contains("was set when it began"), "{said:?}");
    let left_open: Result<(), Error> = ann().transaction().run(conn, |conn, _| {
        AnsiTransactionManager::begin_transaction(conn).map_err(Error::Query)?;
        Ok(())
    });
    assert!(left_open.unwrap_err().to_string().contains("begun and not ended"));
    idle(conn);
}

#[test]
fn context_handed_over_after_the_first_write_is_refused_rather_than_lost() {
    let (_db, mut conn) = notes();
    let conn = &mut conn;
    let said = threadline_tests::refused(
        conn,
        "BEGIN; INSERT INTO notes VALUES (1); SELECT threadline.set_context('{\"actor\": {\"type\": \"user\", \"id\": \"1\"}}')",
    );
    assert!(
        said.contains("has captured changes already") && said.contains("before the first write"),
        "{said}"
    );
    run(conn, "ROLLBACK");
}

#[test]
fn serialization_failures_surface_as_retryable_and_a_retry_gets_a_fresh_id_and_the_same_context() {
    let (db, mut conn) = notes();
    let conn = &mut conn;
    run(conn, "INSERT INTO notes VALUES (1, '0')");
    let rival = &mut db.connect();
    let mut ids = Vec::new();
    let attempts =
        ann().transaction().action(Action::new("note.counted")).isolation(Isolation::RepeatableRead);
    let stop = |error: &Error| is_retryable(error);
    attempts
        .clone()
        .run_with_retries(conn, 3, stop, |conn, open| {
            ids.push(open.id());
            conn.batch_execute("SELECT FROM notes").map_err(Error::Query)?;
            if ids.len() < 3 {
                run(rival, "UPDATE notes SET body = body || 'r'");
            }
            conn.batch_execute("UPDATE notes SET body = body || 'a'").map_err(Error::Query)
        })
        .unwrap();
    assert_eq!(ids.len(), 3);
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
    assert_eq!(actions(conn), ["note.counted ok"]);
    assert_eq!(trail(conn)[3..], ["user:7 note.counted 1 changes"]);

    // At commit too, and when there are no attempts left.
    let serial = ann()
        .transaction()
        .action(Action::new("note.read"))
        .isolation(Isolation::Serializable)
        .record_failures();
    let skewed = serial.run_with_retries(conn, 1, stop, |conn, _| {
        conn.batch_execute("SELECT FROM notes; INSERT INTO notes VALUES ((SELECT max(id) + 10 FROM notes))")
            .map_err(Error::Query)?;
        let skew = ann().transaction().isolation(Isolation::Serializable);
        skew.run(rival, |conn, _| {
            conn.batch_execute(
                "SELECT FROM notes; INSERT INTO notes VALUES ((SELECT max(id) + 100 FROM notes))",
            )
            .map_err(Error::Query)
        })
    });
    let error = skewed.unwrap_err();
    assert!(is_retryable(&error), "{error:?}");
    assert_eq!(actions(conn)[1..].len(), 1, "only the last attempt is recorded");
    idle(conn);
}

#[test]
fn deadlock_is_retryable() {
    let (db, mut conn) = notes();
    run(&mut conn, "INSERT INTO notes VALUES (1), (2)");
    let barrier = std::sync::Barrier::new(2);
    let outcomes: Vec<Result<(), Error>> = std::thread::scope(|scope| {
        let lockers: Vec<_> = [(1, 2), (2, 1)]
            .into_iter()
            .map(|(first, second)| {
                let (db, barrier) = (&db, &barrier);
                scope.spawn(move || {
                    ann().transaction().run(&mut db.connect(), |conn, _| {
                        conn.batch_execute(&format!("UPDATE notes SET body = 'x' WHERE id = {first}"))
                            .map_err(Error::Query)?;
                        barrier.wait();
                        conn.batch_execute(&format!("UPDATE notes SET body = 'y' WHERE id = {second}"))
                            .map_err(Error::Query)
                    })
                })
            })
            .collect();
        lockers.into_iter().map(|locker| locker.join().unwrap()).collect()
    });
    let errors: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(matches!(&errors[..], [error] if is_retryable(error)), "{errors:?}");
    assert_eq!(trail(&mut conn)[1..], ["user:7 - 2 changes"]);
}

#[test]
fn statement_error_in_a_body_is_told_apart_without_a_mapping_of_the_hosts() {
    let (db, mut conn) = notes();
    let conn = &mut conn;
    run(
        conn,
        "INSERT INTO notes VALUES (1, '0'); CREATE TABLE strict (id bigint PRIMARY KEY); SELECT threadline.attach('strict', actor_policy => 'require')",
    );
    let rival = &mut db.connect();
    let fails =
        |transaction: TransactionBuilder, conn: &mut PgConnection, rival: &mut PgConnection, sql: &str| {
            let failed: Result<(), Error> = transaction.run(conn, |conn, _| {
                conn.batch_execute("SELECT FROM notes")?;
                run(rival, "UPDATE notes SET body = body || 'r'");
                Ok(conn.batch_execute(sql)?)
            });
            failed.unwrap_err()
        };
    let repeatable = ann().transaction().isolation(Isolation::RepeatableRead);
    assert!(matches!(fails(repeatable, conn, rival, "UPDATE notes SET body = 'a'"), Error::Conflict(_)));
    assert!(matches!(fails(ann().transaction(), conn, rival, "SELECT 1 / 0"), Error::Query(_)));
    let nobody = AuditContext::without_actor().transaction().allow_missing_actor();
    let refused = fails(nobody, conn, rival, "INSERT INTO strict VALUES (1)").to_string();
    assert!(
        refused.contains("requires an actor") && refused.contains("; before the first write"),
        "{refused}"
    );
    let killed = ann().transaction();
    let error = fails(killed, conn, rival, "SELECT pg_terminate_backend(pg_backend_pid())");
    assert!(matches!(error, Error::ConnectionLost(_)), "{error:?}");
}

#[test]
fn pool_of_test_transactions_is_refused_in_words() {
    let (db, _) = notes();
    let manager = diesel::r2d2::ConnectionManager::<PgConnection>::new(db.url());
    let pool = diesel::r2d2::Pool::builder()
        .max_size(1)
        .connection_customizer(Box::new(diesel::r2d2::TestCustomizer))
        .build(manager)
        .unwrap();
    let pool = threadline::AuditedPool::new(pool);
    let read: Result<(), Error> = pool.read(|_| Ok(()));
    let written: Result<(), Error> = pool.write(ann().transaction(), |_, _| Ok(()));
    assert!(read.unwrap_err().to_string().contains("in a transaction already"));
    assert!(written.unwrap_err().to_string().contains("in a transaction that is not audited; begin the"));
}

#[test]
fn deferred_constraint_that_fails_at_commit_is_an_error_of_its_own() {
    let (_db, mut conn) = notes();
    let conn = &mut conn;
    run(conn, "CREATE TABLE parts (note bigint REFERENCES notes DEFERRABLE INITIALLY DEFERRED)");
    let failed =
        write(ann().transaction(), conn, "INSERT INTO notes VALUES (1); INSERT INTO parts VALUES (2)");
    assert!(matches!(failed, Err(Error::Commit(_))), "{failed:?}");
    idle(conn);
    assert_eq!(trail(conn), Vec::<String>::new());
}

#[test]
fn action_recorded_alone_keeps_its_context_and_its_failure() {
    let (_db, mut conn) = notes();
    let conn = &mut conn;
    assert!(matches!(
        AuditContext::without_actor().record_action(conn, &Action::new("a")),
        Err(Error::MissingActor)
    ));
    ann().record_action(conn, &Action::new("login").failed("wrong password")).unwrap();
    assert_eq!(actions(conn), ["login error wrong password alone"]);
    // In the host's own transaction it is linked to what that captured, and rolled back with it.
    run(conn, "BEGIN; INSERT INTO notes VALUES (1)");
    ann().record_action(conn, &Action::new("note.added")).unwrap();
    run(conn, "COMMIT");
    assert_eq!(actions(conn)[1..], ["note.added ok"]);
    assert_eq!(
        text(
            conn,
            "SELECT count(*) FROM threadline.audit_actions a JOIN threadline.audit_transactions t ON t.id = a.transaction_id"
        ),
        "1"
    );
    for (action, says) in [
        ("'[]'", "action: not an object"),
        ("NULL", "action name: not a text, or empty"),
        (
            "'{\"name\": \"a\", \"status\": \"maybe\", \"nmae\": 1}'",
            "action: has an unknown key; action status: neither ok nor error",
        ),
    ] {
        let said =
            threadline_tests::refused(conn, &format!("SELECT threadline.record_action('{{}}', {action})"));
        assert!(said.contains(says) && said.contains("post.published"), "{said}");
    }
}

#[test]
fn application_role_needs_no_right_on_any_table_for_all_this() {
    let (db, mut conn) = notes();
    let role = threadline_tests::TestRole::new(&db, "app");
    run(&mut conn, &format!("GRANT ALL ON notes TO {}", role.name()));
    let conn = &mut role.connect();
    write(
        ann().transaction().action(Action::new("note.added")).require_changes(),
        conn,
        "INSERT INTO notes VALUES (1)",
    )
    .unwrap();
    ann().record_action(conn, &Action::new("note.mailed")).unwrap();
    for forbidden in
        ["threadline.insert_action('{}', '{\"name\": \"a\"}', NULL)", "threadline.open_transaction()"]
    {
        assert!(
            threadline_tests::refused(conn, &format!("SELECT {forbidden}")).contains("permission denied")
        );
    }
}

#[test]
fn context_survives_the_journey_through_json_and_refuses_what_it_does_not_know() {
    let context = ann()
        .with_job_id("j")
        .with_remote_addr("::1".parse().unwrap())
        .with_meta("n", json!({"a": [1, null]}));
    let text = serde_json::to_string(&context).unwrap();
    assert_eq!(serde_json::from_str::<AuditContext>(&text).unwrap(), context);
    for (payload, says) in [
        (json!({"actor": {"type": "user"}}), "actor: a user has an id"),
        (json!({"actor": {"type": "anonymous", "id": "1"}}), "actor: anonymous has no id"),
        (json!({"actor": {"type": "robot", "id": "1"}}), "unknown variant `robot`"),
        (json!({"actor": {"type": "user", "id": "1", "name": "x"}}), "unknown field `name`"),
        (json!({"actor": {"type": "user", "id": ""}}), "actor: id is empty"),
        (json!({"request_id": ""}), "request_id: is empty"),
        (json!({"request_id": 7}), "expected a string"),
        (json!({"requestid": "7"}), "unknown field `requestid`"),
        (json!({"remote_addr": "here"}), "invalid IP address"),
        (json!([]), "invalid length 0"),
    ] {
        let error = serde_json::from_value::<AuditContext>(payload.clone()).unwrap_err().to_string();
        assert!(error.contains(says), "{payload}: {error}");
    }
    assert!(Actor::new(ActorType::Anonymous, Some(ActorId::from(1))).is_err());
    for name in ["user", "admin", "service_account", "job", "system", "anonymous"] {
        assert_eq!(name.parse::<ActorType>().unwrap().to_string(), name);
    }
}
