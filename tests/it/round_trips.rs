//! What an audited transaction costs on the wire, counted between Diesel and PostgreSQL.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use diesel::connection::CacheSize;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use threadline::{Action, Actor, AuditContext, AuditedPool, Error, Isolation, TransactionBuilder};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, run};

diesel::table! { notes (id) { id -> BigInt, body -> Nullable<Text> } }

fn ann() -> AuditContext {
    AuditContext::new(Actor::user(7)).with_request_id("r-1").with_meta("build", "42")
}

fn write(conn: &mut PgConnection) -> QueryResult<()> {
    diesel::insert_into(notes::table).default_values().execute(conn)?;
    Ok(())
}

#[test]
fn audited_transaction_takes_one_round_trip_more_before_its_body_and_none_after_it() {
    let (_db, line) = line();
    counts_hold(&line, &mut PgConnection::establish(&line.url).unwrap());
}

#[test]
fn it_takes_no_more_without_the_statement_cache_as_behind_an_old_pgbouncer() {
    let (_db, line) = line();
    let conn = &mut PgConnection::establish(&line.url).unwrap();
    conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    counts_hold(&line, conn);
}

fn counts_hold(line: &Line, conn: &mut PgConnection) {
    let plain = |conn: &mut PgConnection| {
        line.around(|body| conn.transaction(|conn| body(conn)).map_err(Error::Query))
    };
    let audited = |conn: &mut PgConnection, transaction: TransactionBuilder| {
        line.around(|body| transaction.run(conn, |conn, _| body(conn).map_err(Error::Query)))
    };
    // Prepares the statements; Diesel keeps them with the connection.
    audited(conn, ann().transaction());

    let unaudited = plain(conn);
    assert_eq!(unaudited, Trips { before: 1, inside: 1, after: 1 }, "BEGIN, INSERT, COMMIT");
    let one_more = Trips { before: 2, ..unaudited };
    let full = ann().with_correlation_id("c-1").with_job_id("j-1").transaction();
    for transaction in [
        ann().transaction(),
        full.clone().action(Action::new("note.added").reason("asked")),
        full.clone().require_changes().record_failures().action(Action::new("note.added")),
        full.isolation(Isolation::Serializable),
        AuditContext::without_actor().transaction().allow_missing_actor(),
    ] {
        assert_eq!(audited(conn, transaction.clone()), one_more, "{transaction:?}");
    }
    // An inner one, compared with a savepoint: there the last statement does not go with the RELEASE.
    let inner = |conn: &mut PgConnection| {
        ann()
            .transaction()
            .run(conn, |conn, _| Ok::<_, Error>((plain(conn), audited(conn, ann().transaction()))))
    };
    inner(conn).unwrap();
    assert_eq!(inner(conn).unwrap(), (unaudited, Trips { before: 2, after: 2, ..unaudited }));
}

#[test]
fn what_is_refused_without_the_database_takes_no_round_trip_and_no_connection() {
    let (db, line) = line();
    let conn = &mut PgConnection::establish(&line.url).unwrap();
    let nobody = AuditContext::without_actor().transaction();
    let insane = ann().with_request_id("").transaction();
    let before = line.trips();
    for transaction in [&nobody, &insane] {
        let refused =
            transaction.clone().run(conn, |_, _| -> Result<(), Error> { unreachable!("it is refused") });
        assert!(matches!(refused, Err(Error::MissingActor | Error::InvalidContext(_))), "{refused:?}");
    }
    assert!(matches!(
        AuditContext::without_actor().record_action(conn, &Action::new("a")),
        Err(Error::MissingActor)
    ));
    assert_eq!(line.trips(), before);

    let pool = Pool::builder().max_size(1).build(ConnectionManager::new(db.url())).unwrap();
    let _the_only_one = pool.get().unwrap();
    let refused =
        AuditedPool::new(pool).write(nobody, |_, _| -> Result<(), Error> { unreachable!("it is refused") });
    assert!(matches!(refused, Err(Error::MissingActor)), "{refused:?}");
}

/// How often the client waited for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trips {
    before: u32,
    inside: u32,
    after: u32,
}

/// One connection's way to the server, which counts.
struct Line {
    url: String,
    trips: Arc<AtomicU32>,
}

fn line() -> (TestDatabase, Line) {
    let db = audited_database();
    run(
        &mut db.connect(),
        "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text); SELECT threadline.attach('notes')",
    );
    let line = Line::to(&db);
    (db, line)
}

impl Line {
    fn to(db: &TestDatabase) -> Self {
        let led = db.command("psql");
        let variable = |name: &str| {
            let value = led.get_envs().find(|(variable, _)| *variable == name).and_then(|(_, value)| value);
            value.and_then(|value| value.to_str()).unwrap_or_default().to_owned()
        };
        let (host, port, user) = (variable("PGHOST"), variable("PGPORT"), variable("PGUSER"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "postgres://{user}:{}@{}/{}?sslmode=disable&gssencmode=disable",
            variable("PGPASSWORD"),
            listener.local_addr().unwrap(),
            db.name()
        );
        let trips = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&trips);
        // The threads end with the connection.
        thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            if host.starts_with('/') {
                let server = UnixStream::connect(format!("{host}/.s.PGSQL.{port}")).unwrap();
                relay(client, server.try_clone().unwrap(), server, &counted);
            } else {
                let server =
                    TcpStream::connect(format!("{host}:{}", if port.is_empty() { "5432" } else { &port }))
                        .unwrap();
                relay(client, server.try_clone().unwrap(), server, &counted);
            }
        });
        Self { url, trips }
    }

    fn trips(&self) -> u32 {
        self.trips.load(Ordering::SeqCst)
    }

    /// The round trips around a body and in it.
    fn around(
        &self,
        transaction: impl FnOnce(&mut dyn FnMut(&mut PgConnection) -> QueryResult<()>) -> Result<(), Error>,
    ) -> Trips {
        let begun = self.trips();
        let (mut entered, mut left) = (0, 0);
        transaction(&mut |conn| {
            entered = self.trips();
            write(conn)?;
            left = self.trips();
            Ok(())
        })
        .unwrap();
        Trips { before: entered - begun, inside: left - entered, after: self.trips() - left }
    }
}

/// Passes everything on until one of the two has gone.
fn relay(
    client: TcpStream,
    mut from_server: impl Read + Send + 'static,
    to_server: impl Write,
    trips: &AtomicU32,
) {
    let mut to_client = client.try_clone().unwrap();
    thread::spawn(move || io::copy(&mut from_server, &mut to_client));
    // How it ends does not matter: whoever is at the other end fails.
    let _ = count(client, to_server, trips);
}

/// Passes messages on, and counts those after which a client waits for an answer: `Sync` and `Query`.
/// Source: <https://www.postgresql.org/docs/current/protocol-message-formats.html>
fn count(mut client: impl Read, mut server: impl Write, trips: &AtomicU32) -> io::Result<()> {
    // The first message has no type; the length counts itself.
    let mut tag = Vec::new();
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - length.len()];
        client.read_exact(&mut body)?;
        // Counted before it is passed on, so before the answer to it arrives.
        if matches!(tag[..], [b'S' | b'Q']) {
            trips.fetch_add(1, Ordering::SeqCst);
        }
        server.write_all(&[&tag[..], &length, &body].concat())?;
        tag = vec![0];
        client.read_exact(&mut tag)?;
    }
}
