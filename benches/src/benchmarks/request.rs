//! `request`: one handler that writes a post, over HTTP: audited by `#[audited]`, without audit, and audited by hand in the
//! four steps of the design that upserts its transaction for each row (set the actor, insert the action, find the
//! transaction, link them).
//!
//! One server has all three as routes, each with a database of its own; the clients keep their connections and take turns
//! with the contenders. A contender's latency is that of its least disturbed turn.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use actix_web::dev::{ServerHandle, ServiceRequest};
use actix_web::error::BlockingError;
use actix_web::{App, HttpServer, ResponseError, web};
use anyhow::{Context, bail, ensure};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool, PoolError};
use diesel::sql_types::Text;
use diesel_migrations::MigrationHarness;
use serde::{Deserialize, Serialize};
use serde_json::json;
use threadline_actix::{Actor, AuditMiddleware, AuditedPool, audited};
use threadline_devdb::TestDatabase;
use uuid::Uuid;

use crate::figures::Figure;
use crate::machine::Machine;
use crate::rounds::{Samples, rotation};
use crate::table::Table;
use crate::{Effort, Outcome};

/// Clients at once when throughput is measured, and connections in each pool.
const CLIENTS: usize = 4;

diesel::table! {
    posts (id) {
        id -> BigInt,
        title -> Text,
        body -> Text,
        author_id -> BigInt,
    }
}

#[derive(Clone, Deserialize, Insertable)]
#[diesel(table_name = posts)]
struct NewPost {
    title: String,
    body: String,
    author_id: i64,
}

#[derive(Serialize)]
struct Created {
    id: i64,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the database refused")]
    Query(#[from] diesel::result::Error),
    #[error("no connection")]
    Pool(#[from] PoolError),
    #[error("the handler panicked")]
    Blocking(#[from] BlockingError),
    #[error(transparent)]
    Audit(#[from] threadline_actix::Error),
}

impl ResponseError for Failure {}

type Plain = Pool<ConnectionManager<PgConnection>>;

fn insert(conn: &mut PgConnection, post: &NewPost) -> QueryResult<i64> {
    diesel::insert_into(posts::table).values(post).returning(posts::id).get_result(conn)
}

async fn unaudited(pool: web::Data<Plain>, post: web::Json<NewPost>) -> Result<web::Json<Created>, Failure> {
    let id =
        web::block(move || pool.get()?.transaction(|conn| Ok::<_, Failure>(insert(conn, &post)?))).await??;
    Ok(web::Json(Created { id }))
}

#[audited(action = "post.created")]
async fn threadline(
    conn: &mut PgConnection,
    post: web::Json<NewPost>,
) -> Result<web::Json<Created>, Failure> {
    Ok(web::Json(Created { id: insert(conn, &post)? }))
}

async fn four_steps(pool: web::Data<Plain>, post: web::Json<NewPost>) -> Result<web::Json<Created>, Failure> {
    let id = web::block(move || pool.get()?.transaction(|conn| insert_in_four_steps(conn, &post))).await??;
    Ok(web::Json(Created { id }))
}

// Typed, so that Diesel keeps the prepared statements, as the other design's library does.
#[diesel::declare_sql_function]
extern "SQL" {
    fn set_config(name: Text, value: Text, local: diesel::sql_types::Bool) -> Text;
    fn txid_current() -> diesel::sql_types::BigInt;
}

diesel::table! {
    audit_actions (id) {
        id -> Uuid,
        name -> Text,
        actor_ref -> Jsonb,
        status -> Text,
        request_id -> Text,
    }
}

diesel::table! {
    audit_transactions (id) {
        id -> Uuid,
        txid -> BigInt,
        action_id -> Nullable<Uuid>,
        meta -> Nullable<Jsonb>,
    }
}

fn insert_in_four_steps(conn: &mut PgConnection, post: &NewPost) -> Result<i64, Failure> {
    let actor = json!({ "type": "user", "id": "42" });
    diesel::select(set_config("threadline.actor_ref", actor.to_string(), true)).execute(conn)?;
    let id = insert(conn, post)?;
    let action = (
        audit_actions::name.eq("post.created"),
        audit_actions::actor_ref.eq(&actor),
        audit_actions::status.eq("ok"),
        audit_actions::request_id.eq("01JD0000000000000000000000"),
    );
    let action: Uuid = diesel::insert_into(audit_actions::table)
        .values(action)
        .returning(audit_actions::id)
        .get_result(conn)?;
    let transaction: Uuid = audit_transactions::table
        .filter(audit_transactions::txid.eq(txid_current()))
        .select(audit_transactions::id)
        .get_result(conn)?;
    diesel::update(audit_transactions::table.find(transaction))
        .set((
            audit_transactions::action_id.eq(action),
            audit_transactions::meta.eq(None::<serde_json::Value>),
        ))
        .execute(conn)?;
    Ok(id)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Unaudited,
    Threadline,
    FourSteps,
}

impl Contender {
    const ALL: [Self; 3] = [Self::Unaudited, Self::Threadline, Self::FourSteps];

    fn path(self) -> &'static str {
        match self {
            Self::Unaudited => "/unaudited",
            Self::Threadline => "/threadline",
            Self::FourSteps => "/four_steps",
        }
    }

    fn database(self) -> TestDatabase {
        TestDatabase::from_template(&format!("bench request {self:?}"), |url| {
            let mut conn = PgConnection::establish(url).expect("the new database accepts connections");
            let table =
                concat!(include_str!("../../sql/posts.sql"), include_str!("../../sql/posts_defaults.sql"));
            conn.batch_execute(table).expect("the table is created");
            match self {
                Self::Unaudited => {}
                Self::Threadline => {
                    conn.run_pending_migrations(::threadline::MIGRATIONS).expect("the audit schema installs");
                    conn.batch_execute("SELECT threadline.attach('posts')").expect("the table is attached");
                }
                Self::FourSteps => conn
                    .batch_execute(concat!(
                        include_str!("../../sql/row_upsert.sql"),
                        include_str!("../../sql/row_upsert_actions.sql")
                    ))
                    .expect("the other design installs"),
            }
        })
    }
}

struct Sizes {
    rounds: usize,
    turns: usize,
    /// Requests a client makes in a turn.
    requests: usize,
}

impl Sizes {
    fn of(effort: Effort) -> Self {
        match effort {
            Effort::Full => Self { rounds: 4, turns: 6, requests: 500 },
            Effort::Quick => Self { rounds: 2, turns: 4, requests: 300 },
            Effort::Smoke => Self { rounds: 1, turns: 1, requests: 3 },
        }
    }
}

/// What one contender showed.
#[derive(Default)]
struct Measured {
    /// Microseconds a request, of the turns with one client.
    p50: Samples,
    p99: Samples,
    /// Requests a second, of the turns with several.
    per_second: Samples,
}

/// The server and the three databases behind it.
struct Arena {
    server: Option<(ServerHandle, thread::JoinHandle<()>)>,
    address: SocketAddr,
    // After the pools in the server, which are gone once it has stopped.
    _databases: Vec<TestDatabase>,
}

impl Arena {
    fn new() -> anyhow::Result<Self> {
        let databases: Vec<TestDatabase> = Contender::ALL.into_iter().map(Contender::database).collect();
        let pools: Vec<Plain> = databases
            .iter()
            .map(|database| Pool::builder().max_size(4).build(ConnectionManager::new(database.url())))
            .collect::<Result<_, _>>()?;
        let (ready, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    let [plain, ours, other] = [0, 1, 2].map(|index| pools[index].clone());
                    let actor = async |_: &ServiceRequest| Ok(Some(Actor::user(42)));
                    App::new()
                        .service(
                            web::resource(Contender::Unaudited.path())
                                .app_data(web::Data::new(plain))
                                .route(web::post().to(unaudited)),
                        )
                        .service(
                            web::resource(Contender::Threadline.path())
                                .app_data(web::Data::new(AuditedPool::new(ours)))
                                .wrap(AuditMiddleware::new(actor))
                                .route(web::post().to(threadline)),
                        )
                        .service(
                            web::resource(Contender::FourSteps.path())
                                .app_data(web::Data::new(other))
                                .route(web::post().to(four_steps)),
                        )
                })
                .workers(1)
                .worker_max_blocking_threads(CLIENTS)
                .disable_signals()
                .bind("127.0.0.1:0");
                match server {
                    Ok(server) => {
                        let address = server.addrs()[0];
                        let server = server.run();
                        // Whoever started this has gone when it does not listen; then there is nothing to serve.
                        if ready.send(Ok((server.handle(), address))).is_ok() {
                            server
                                .await
                                .unwrap_or_else(|error| eprintln!("bench: the server failed: {error}"));
                        }
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        });
        let (handle, address) = told.recv().context("the server did not start")??;
        Ok(Self { server: Some((handle, thread)), address, _databases: databases })
    }

    /// One client's turn: microseconds for each request.
    fn turn(&self, contender: Contender, requests: usize) -> anyhow::Result<Samples> {
        let mut client = Client::connect(self.address)?;
        let mut samples = Samples::default();
        for number in 0..requests {
            let started = Instant::now();
            client.post(contender.path(), number)?;
            samples.push(started.elapsed().as_secs_f64() * 1e6);
        }
        Ok(samples)
    }

    /// Several clients' turn: requests a second of all of them.
    fn rush(&self, contender: Contender, requests: usize) -> anyhow::Result<f64> {
        let started = Instant::now();
        thread::scope(|scope| {
            let clients: Vec<_> =
                (0..CLIENTS).map(|_| scope.spawn(|| self.turn(contender, requests).map(drop))).collect();
            clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
        })?;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        Ok((CLIENTS * requests) as f64 / started.elapsed().as_secs_f64())
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Some((handle, thread)) = self.server.take() {
            // The future need not be awaited: the server's thread sees the message.
            drop(handle.stop(false));
            if thread.join().is_err() {
                eprintln!("bench: the server's thread panicked");
            }
        }
    }
}

/// A connection that is kept, and just enough HTTP for our own server.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn post(&mut self, path: &str, number: usize) -> anyhow::Result<()> {
        let body = json!({ "title": format!("Notes on the number {number}"), "body": "All work and no play. ".repeat(5), "author_id": 7 })
            .to_string();
        write!(
            self.stream.get_mut(),
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        ensure!(line.starts_with("HTTP/1.1 200"), "{path} answered {}", line.trim());
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.trim().split_once(':') {
                None if line.trim().is_empty() => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.trim().parse()?)
                }
                Some(_) => {}
                None => bail!("{path} answered a header line without a colon"),
            }
        }
        let mut answer = vec![0; length.context("the answer has no length")?];
        self.stream.read_exact(&mut answer)?;
        Ok(())
    }
}

/// Measures requests.
///
/// # Errors
///
/// When the server cannot be started or answers anything but 200; panics as [`TestDatabase`] does when it cannot be used.
pub(crate) fn run(effort: Effort) -> anyhow::Result<Outcome> {
    let sizes = Sizes::of(effort);
    let mut results: [Measured; 3] = Default::default();
    for round in 0..sizes.rounds {
        eprintln!("request: round {} of {}", round + 1, sizes.rounds);
        let arena = Arena::new()?;
        for contender in Contender::ALL {
            // Prepares statements and fills caches, on every connection of the pool.
            arena.rush(contender, sizes.requests.min(50))?;
        }
        for turn in 0..sizes.turns {
            for index in rotation(results.len(), round + turn) {
                let samples = arena.turn(Contender::ALL[index], sizes.requests)?;
                results[index].p50.push(samples.quantile(0.5));
                results[index].p99.push(samples.quantile(0.99));
            }
            for index in rotation(results.len(), round + turn) {
                let per_second = arena.rush(Contender::ALL[index], sizes.requests)?;
                results[index].per_second.push(per_second);
            }
        }
    }
    let machine = Machine::of(&mut Contender::Unaudited.database().connect())?;
    Ok(Outcome { machine, figures: figures(&results), tables: tables(&results, &sizes) })
}

/// A contender's typical latency over that of the handler without audit.
fn ratio(results: &[Measured; 3], contender: Contender) -> f64 {
    let p50 = |contender: Contender| results[contender as usize].p50.min();
    p50(contender) / p50(Contender::Unaudited)
}

fn figures(results: &[Measured; 3]) -> Vec<Figure> {
    let figure = |name: &str, value, decimals, unit, goal| {
        Figure::new(format!("request.{name}"), value, decimals, unit, goal)
    };
    vec![
        figure("audited_write.p50_ratio", ratio(results, Contender::Threadline), 3, "ratio", Some(1.25)),
        figure("audited_write.p50", results[1].p50.min(), 0, "us", None),
        figure("audited_write.p99", results[1].p99.min(), 0, "us", None),
        figure("unaudited_write.p50", results[0].p50.min(), 0, "us", None),
        figure("four_steps.p50_ratio", ratio(results, Contender::FourSteps), 3, "ratio", None),
    ]
}

fn tables(results: &[Measured; 3], sizes: &Sizes) -> String {
    let mut table = Table::new(&["one write by HTTP", "p50 us", "ratio", "goal", "p99 us", "requests/s"]);
    for contender in Contender::ALL {
        let Measured { p50, p99, per_second } = &results[contender as usize];
        let (name, goal) = match contender {
            Contender::Unaudited => ("without audit", String::new()),
            Contender::Threadline if ratio(results, contender) <= 1.25 => {
                ("#[audited]", "1.25 met".to_owned())
            }
            Contender::Threadline => ("#[audited]", "1.25 MISSED".to_owned()),
            Contender::FourSteps => ("set, insert, select, link by hand", String::new()),
        };
        table.push(vec![
            name.to_owned(),
            format!("{:.0}", p50.min()),
            format!("{:.2}", ratio(results, contender)),
            goal,
            format!("{:.0}", p99.min()),
            format!("{:.0}", per_second.max()),
        ]);
    }
    format!(
        "Least disturbed of {} turns of {} requests; p50 and p99 with one client, requests a second with {CLIENTS}.\n\n{}",
        sizes.rounds * sizes.turns,
        sizes.requests,
        table.render()
    )
}
