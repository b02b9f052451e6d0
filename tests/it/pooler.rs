//! The audited transaction through PgBouncer in transaction mode: all clients share one connection to the server, so
//! whatever one of them leaves on it the next one finds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use threadline::{Action, Actor, AuditContext, AuditedPool, Error, Isolation, is_retryable};
use threadline_devdb::Pooler;
use threadline_tests::{audited_database, pooled_behind, run, text, texts};

const NOTES: &str =
    "CREATE TABLE notes (id bigint PRIMARY KEY, body text); SELECT threadline.attach('notes')";

fn ann() -> AuditContext {
    AuditContext::new(Actor::user(7)).with_request_id("r-1").with_correlation_id("c-1")
}

/// The last change: of whom, in which request, by which action.
fn last(conn: &mut PgConnection) -> String {
    text(
        conn,
        "SELECT concat_ws(' ', c.row_key, coalesce(t.actor_type || ':' || t.actor_id, 'nobody'), t.request_id, t.correlation_id, a.name, t.context_error)
        FROM threadline.audit_changes c JOIN threadline.audit_transactions t ON t.id = c.transaction_id
        LEFT JOIN threadline.audit_actions a ON a.id = t.action_id ORDER BY c.captured_at DESC, c.ordinal DESC LIMIT 1",
    )
}

#[test]
fn whatever_becomes_of_a_transaction_the_next_client_on_its_server_connection_writes_as_nobody() {
    let db = audited_database();
    run(&mut db.connect(), NOTES);
    let (_pooler, pool) = pooled_behind(&db, 1, 2);
    let (conn, next) = (&mut *pool.get().unwrap(), &mut *pool.get().unwrap());
    let server = text(conn, "SELECT pg_backend_pid()");
    assert_eq!(text(next, "SELECT pg_backend_pid()"), server);

    let added = || ann().transaction().action(Action::new("note.added"));
    let insert = |conn: &mut PgConnection| conn.batch_execute("INSERT INTO notes VALUES (0)");
    type Attempt<'a> = &'a dyn Fn(&mut PgConnection);
    let attempts: [Attempt<'_>; 6] = [
        &|conn| {
            added()
                .run(conn, |conn, _| {
                    conn.batch_execute("INSERT INTO notes VALUES (-1)").map_err(Error::Query)
                })
                .unwrap();
        },
        &|conn| {
            let failed: Result<(), Error> = added().record_failures().run(conn, |conn, _| {
                insert(conn).map_err(Error::Query)?;
                Err(Error::NoChanges)
            });
            assert!(matches!(failed, Err(Error::NoChanges)));
        },
        &|conn| {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                added().run(conn, |conn, _| -> Result<(), Error> {
                    insert(conn).map_err(Error::Query)?;
                    std::panic::resume_unwind(Box::new("in the body"))
                })
            }));
            assert!(panicked.is_err());
        },
        &|conn| {
            let aborted: Result<(), Error> = added().run(conn, |conn, _| {
                insert(conn).map_err(Error::Query)?;
                assert!(insert(conn).is_err());
                Ok(())
            });
            assert!(matches!(aborted, Err(Error::Aborted(_))));
        },
        &|conn| {
            let undone: Result<(), Error> = added().run(conn, |conn, _| {
                let inner: Result<(), Error> = ann().transaction().run(conn, |conn, _| {
                    insert(conn).map_err(Error::Query)?;
                    Err(Error::NoChanges)
                });
                inner
            });
            assert!(undone.is_err());
        },
        &|conn| {
            let read = conn.build_transaction().read_only().run(|conn| {
                assert!(insert(conn).is_err());
                Err::<(), _>(diesel::result::Error::RollbackTransaction)
            });
            assert!(read.is_err());
        },
    ];
    for (id, attempt) in attempts.into_iter().enumerate() {
        attempt(conn);
        run(next, &format!("INSERT INTO notes VALUES ({})", id + 1));
        assert_eq!(last(next), format!("{} nobody", id + 1));
        assert_eq!(text(next, "SELECT pg_backend_pid()"), server);
    }
    assert_eq!(
        texts(
            next,
            "SELECT concat_ws(' ', name, status, actor_id, request_id) FROM threadline.audit_actions ORDER BY occurred_at"
        ),
        ["note.added ok 7 r-1", "note.added error 7 r-1"]
    );
    assert_eq!(texts(next, "SELECT id FROM notes ORDER BY id"), ["-1", "1", "2", "3", "4", "5", "6"]);
}

#[test]
fn a_client_that_vanishes_in_its_transaction_commits_nothing_and_leaves_nothing() {
    let db = audited_database();
    run(&mut db.connect(), NOTES);
    let (pooler, pool) = pooled_behind(&db, 1, 1);
    let (mut vanishing, mut other) = (connect(&pooler), Some(connect(&pooler)));
    let lost = ann().transaction().run(&mut vanishing, |conn, _| {
        run(conn, "INSERT INTO notes VALUES (1)");
        // Closed as it is: PgBouncer hears of no ROLLBACK.
        drop(std::mem::replace(conn, other.take().expect("this body runs once")));
        Ok::<_, Error>(())
    });
    assert!(matches!(lost, Err(Error::Refused { .. })), "{lost:?}");
    let pool = AuditedPool::new(pool);
    let rows = pool.read(|conn| Ok::<_, Error>(texts(conn, "SELECT id FROM notes"))).unwrap();
    assert_eq!(rows, Vec::<String>::new());
    let conn = &mut connect(&pooler);
    run(conn, "INSERT INTO notes VALUES (2)");
    assert_eq!(last(conn), "2 nobody");
}

#[test]
fn retries_and_reads_find_their_way_over_two_server_connections() {
    let db = audited_database();
    run(&mut db.connect(), NOTES);
    let (_pooler, pool) = pooled_behind(&db, 2, 2);
    let (conn, rival) = (&mut *pool.get().unwrap(), &mut *pool.get().unwrap());
    run(conn, "INSERT INTO notes VALUES (1, '')");
    let mut ids = Vec::new();
    ann()
        .transaction()
        .action(Action::new("note.counted"))
        .isolation(Isolation::RepeatableRead)
        .run_with_retries(
            conn,
            3,
            |error: &Error| is_retryable(error),
            |conn, open| {
                ids.push(open.id());
                conn.batch_execute("SELECT FROM notes").map_err(Error::Query)?;
                if ids.len() < 3 {
                    run(rival, "UPDATE notes SET body = body || 'r'");
                }
                conn.batch_execute("UPDATE notes SET body = body || 'a'").map_err(Error::Query)
            },
        )
        .unwrap();
    assert_eq!(ids.len(), 3);
    assert_eq!(last(conn), "1 user:7 r-1 c-1 note.counted");
    assert_eq!(text(conn, "SELECT body FROM notes"), "rra");
}

fn connect(pooler: &Pooler) -> PgConnection {
    let mut conn = PgConnection::establish(&pooler.url()).expect("PgBouncer takes connections");
    conn.set_prepared_statement_cache_size(diesel::connection::CacheSize::Disabled);
    conn
}

#[test]
fn the_pooler_is_gone_with_its_guard_and_its_directory_with_it() {
    let db = audited_database();
    let pooler = Pooler::start(&db, 1).unwrap_or_else(|error| panic!("{error}"));
    let url = pooler.url();
    let dir = url.split("host=").nth(1).and_then(|rest| rest.split('&').next()).unwrap().to_owned();
    assert_eq!(text(&mut connect(&pooler), "SELECT current_database()"), db.name());
    assert!(std::path::Path::new(&dir).join(".s.PGSQL.5432").exists());
    drop(pooler);
    assert!(!std::path::Path::new(&dir).exists());
    assert!(PgConnection::establish(&url).is_err());
}
