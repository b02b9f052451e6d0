//! Many requests at once over few connections: each change carries its own request's actor and ids, whatever becomes of the
//! others, and what is committed is exactly what was promised to somebody.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use actix_web::dev::{ServerHandle, ServiceRequest};
use actix_web::{App, HttpResponse, HttpServer, ResponseError, post, web};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::result::Error as DieselError;
use threadline_actix::{Action, Actor, Audit, AuditMiddleware, AuditedPool, audited};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, pooled_behind, run, text, texts};

const REQUESTS: u32 = 1000;
const CLIENTS: u32 = 16;
/// Far longer than anybody waits on a healthy run.
const DEADLINE: Duration = Duration::from_secs(20);

diesel::table! { notes (id) { id -> BigInt, request -> Integer, step -> Text } }

/// What a request asks for, the status it is answered with, the rows it commits, and the action it leaves.
struct Route {
    path: &'static str,
    status: u16,
    commits: &'static [&'static str],
    action: Option<&'static str>,
}

const WRITTEN: Route =
    Route { path: "written", status: 200, commits: &["first", "second"], action: Some("written ok") };
const NOBODY: Route = Route { path: "nobody", status: 200, commits: &["unsigned"], action: None };
const FAILED: Route = Route { path: "failed", status: 422, commits: &[], action: Some("failed error") };
const PANICKED: Route = Route { path: "panicked", status: 500, commits: &[], action: Some("panicked error") };
/// Its client goes away, so it has no status.
const ABANDONED: Route =
    Route { path: "abandoned", status: 0, commits: &["begun", "ended"], action: Some("abandoned ok") };
const UNDONE: Route = Route { path: "undone", status: 200, commits: &["kept"], action: Some("undone ok") };
const SWALLOWED: Route =
    Route { path: "swallowed", status: 200, commits: &["before", "after"], action: Some("swallowed ok") };
const ABORTED: Route = Route { path: "aborted", status: 500, commits: &[], action: None };
/// Holds its connection until somebody else has waited for one in vain.
const HELD: Route = Route { path: "held", status: 200, commits: &["held"], action: Some("held ok") };

fn route(request: u32) -> &'static Route {
    const MIX: [&Route; 9] =
        [&WRITTEN, &PANICKED, &NOBODY, &ABANDONED, &FAILED, &UNDONE, &WRITTEN, &SWALLOWED, &ABORTED];
    match request {
        // As many as there are connections.
        400 | 401 => &HELD,
        _ => MIX[(request * 7 + request / 10) as usize % MIX.len()],
    }
}

#[test]
fn every_change_of_1000_interleaved_requests_carries_its_own_request_over_two_connections() {
    let db = notes();
    let manager = ConnectionManager::<PgConnection>::new(db.url());
    let timeout = Duration::from_millis(500);
    let pool = Pool::builder().max_size(2).connection_timeout(timeout).build(manager).unwrap();
    interleave(&db, &pool);
}

#[test]
fn the_same_holds_through_pgbouncer_in_transaction_mode() {
    let db = notes();
    // More clients than connections to the server, or each would have one of its own.
    let (_pooler, pool) = pooled_behind(&db, 2, 6);
    interleave(&db, &pool);
}

fn notes() -> TestDatabase {
    let db = audited_database();
    run(
        &mut db.connect(),
        "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, request integer, step text);
        SELECT threadline.attach('notes')",
    );
    db
}

fn interleave(db: &TestDatabase, pool: &Pool<ConnectionManager<PgConnection>>) {
    let server = Server::start(AuditedPool::new(pool.clone()));
    let next = AtomicU32::new(0);
    let answers: Vec<(u32, Answer)> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client { server: &server, stream: None };
                    let requests = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                    requests
                        .take_while(|request| *request < REQUESTS)
                        .map(|request| (request, client.ask(request)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    // The bodies of those who went away may still be at it.
    let patience = Instant::now();
    while pool.state().idle_connections < pool.state().connections && patience.elapsed() < DEADLINE {
        thread::sleep(Duration::from_millis(5));
    }
    drop(server);

    let (mut changes, mut actions, mut starved) = (Vec::new(), Vec::new(), 0);
    for (request, answer) in &answers {
        let (route, request_id) = (route(*request), &answer.request_id);
        if answer.status == 503 {
            starved += 1;
            continue;
        }
        assert_eq!(answer.status, route.status, "{} of request {request}", route.path);
        let actor = if signed(*request) { format!("user:{request}") } else { "nobody".to_owned() };
        let ids = format!("{actor} {request_id} {}", correlation_id(*request).unwrap_or("-".to_owned()));
        let of_action = route.action.filter(|action| action.ends_with("ok"));
        for step in route.commits {
            changes.push(format!("{request} {step} {ids} {}", of_action.unwrap_or("-")));
        }
        actions.extend(route.action.map(|action| format!("{action} {ids}")));
    }
    assert_eq!(answers.len(), REQUESTS as usize);
    assert!((1..REQUESTS / 4).contains(&starved), "{starved} requests waited for a connection in vain");

    let conn = &mut db.connect();
    let ids = |of: &str| {
        format!(
            "coalesce({of}.actor_type || ':' || {of}.actor_id, 'nobody'), {of}.request_id, coalesce({of}.correlation_id, '-')"
        )
    };
    let captured = format!(
        "SELECT concat_ws(' ', c.row_data::jsonb ->> 'request', c.row_data::jsonb ->> 'step', {}, coalesce(a.name || ' ' || a.status, '-'))
        FROM threadline.audit_changes c JOIN threadline.audit_transactions t ON t.id = c.transaction_id
        LEFT JOIN threadline.audit_actions a ON a.id = t.action_id AND a.transaction_id = t.id AND a.request_id = t.request_id",
        ids("t")
    );
    assert_same(texts(conn, &captured), changes.clone());
    let recorded =
        format!("SELECT concat_ws(' ', a.name, a.status, {}) FROM threadline.audit_actions a", ids("a"));
    assert_same(texts(conn, &recorded), actions);
    let rows = changes.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_same(texts(conn, "SELECT request || ' ' || step FROM notes"), rows);
    assert_eq!(text(conn, "SELECT count(context_error) FROM threadline.audit_transactions"), "0");
    nothing_is_left_on_the_connections(conn, pool);
}

/// Compared without regard to order; says what is in one of them only.
fn assert_same(found: Vec<String>, expected: Vec<String>) {
    let (mut only_found, mut only_expected) = (found, expected);
    only_found.sort();
    only_expected.sort();
    if only_found != only_expected {
        let (found, expected) = (only_found.clone(), only_expected.clone());
        only_found.retain(|line| expected.binary_search(line).is_err());
        only_expected.retain(|line| found.binary_search(line).is_err());
        panic!(
            "{} and {} lines; found only: {only_found:#?}, expected only: {only_expected:#?}",
            found.len(),
            expected.len()
        );
    }
}

/// Looks at both connections to the server, each in a transaction so that a pooler gives out two.
fn nothing_is_left_on_the_connections(conn: &mut PgConnection, pool: &Pool<ConnectionManager<PgConnection>>) {
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    assert_eq!(text(conn, busy), "0");
    // All that the audit schema's functions ever set.
    let settings = texts(
        conn,
        "SELECT DISTINCT (regexp_matches(prosrc, 'set_config\\(''(threadline\\.\\w+)''', 'g'))[1] FROM pg_proc WHERE pronamespace = 'threadline'::regnamespace",
    );
    assert!(settings.contains(&"threadline.context".to_owned()) && settings.len() > 3, "{settings:?}");
    let mut pooled: Vec<_> = (0..2).map(|_| pool.get().unwrap()).collect();
    let mut servers = HashSet::new();
    for conn in &mut pooled {
        run(conn, "BEGIN");
        servers.insert(text(conn, "SELECT pg_backend_pid()"));
        for setting in &settings {
            assert_eq!(
                text(conn, &format!("SELECT coalesce(current_setting('{setting}', true), '')")),
                "",
                "{setting}"
            );
        }
    }
    assert_eq!(servers.len(), 2);
    for conn in &mut pooled {
        run(conn, "COMMIT");
    }
}

fn signed(request: u32) -> bool {
    route(request).path != NOBODY.path
}

fn correlation_id(request: u32) -> Option<String> {
    (!request.is_multiple_of(3)).then(|| format!("c-{request}"))
}

fn write(conn: &mut PgConnection, request: u32, step: &str) -> QueryResult<usize> {
    let request = i32::try_from(request).expect("there are not that many");
    diesel::insert_into(notes::table).values((notes::request.eq(request), notes::step.eq(step))).execute(conn)
}

#[post("/{request}/written")]
#[audited(action = "written", require_changes)]
async fn written(conn: &mut PgConnection, request: web::Path<u32>) -> Result<&'static str, AppError> {
    write(conn, *request, "first")?;
    write(conn, *request, "second")?;
    Ok("")
}

#[post("/{request}/nobody")]
#[audited(capture_only, allow_missing_actor)]
async fn nobody(conn: &mut PgConnection, request: web::Path<u32>) -> Result<&'static str, AppError> {
    write(conn, *request, "unsigned")?;
    Ok("")
}

#[post("/{request}/failed")]
#[audited(action = "failed", record_failures)]
async fn failed(conn: &mut PgConnection, request: web::Path<u32>) -> Result<&'static str, AppError> {
    write(conn, *request, "lost")?;
    Err(AppError::Refused)
}

#[post("/{request}/panicked")]
#[audited(action = "panicked", record_failures)]
async fn panicked(conn: &mut PgConnection, request: web::Path<u32>) -> Result<&'static str, AppError> {
    write(conn, *request, "lost")?;
    // A panic, but for the hook, which would print a line for each.
    resume_unwind(Box::new("in the body"))
}

#[post("/{request}/undone")]
async fn undone(audit: Audit, request: web::Path<u32>) -> Result<&'static str, AppError> {
    let (request, context) = (*request, audit.context().clone());
    audit
        .write(audit.transaction().action(Action::new("undone")), move |conn, _| {
            let plain = conn.transaction(|conn| {
                write(conn, request, "undone")?;
                // Two deep.
                conn.transaction(|conn| write(conn, request, "undone"))?;
                Err::<(), _>(DieselError::RollbackTransaction)
            });
            assert_eq!(plain, Err(DieselError::RollbackTransaction));
            let inner: Result<(), threadline::Error> = context.transaction().run(conn, |conn, _| {
                write(conn, request, "undone").map_err(threadline::Error::Query)?;
                Err(threadline::Error::NoChanges)
            });
            assert!(inner.is_err());
            write(conn, request, "kept")?;
            Ok::<_, AppError>("")
        })
        .await
}

#[post("/{request}/swallowed")]
#[audited(action = "swallowed")]
async fn swallowed(conn: &mut PgConnection, request: web::Path<u32>) -> Result<&'static str, AppError> {
    write(conn, *request, "before")?;
    let divided = conn.transaction(|conn| conn.batch_execute("SELECT 1 / 0"));
    assert!(divided.is_err());
    write(conn, *request, "after")?;
    Ok("")
}

#[post("/{request}/aborted")]
#[audited(action = "aborted")]
async fn aborted(conn: &mut PgConnection, request: web::Path<u32>) -> Result<&'static str, AppError> {
    write(conn, *request, "lost")?;
    assert!(conn.batch_execute("SELECT 1 / 0").is_err());
    Ok("")
}

#[post("/{request}/abandoned")]
async fn abandoned(
    audit: Audit,
    request: web::Path<u32>,
    signals: web::Data<Signals>,
) -> Result<&'static str, AppError> {
    let request = *request;
    let dropped = Dropped { request, signals: signals.clone() };
    let answer = audit
        .write(audit.transaction().action(Action::new("abandoned")), move |conn, _| {
            write(conn, request, "begun")?;
            signals.tell(|told| told.running.insert(request));
            if !signals.wait(|told| told.dropped.contains(&request)) {
                return Err(AppError::Refused);
            }
            write(conn, request, "ended")?;
            Ok("")
        })
        .await;
    std::mem::forget(dropped);
    answer
}

/// Says when its future is dropped, as actix does with a handler whose client has gone.
struct Dropped {
    request: u32,
    signals: web::Data<Signals>,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.signals.tell(|told| told.dropped.insert(self.request));
    }
}

#[post("/{request}/held")]
async fn held(
    audit: Audit,
    request: web::Path<u32>,
    signals: web::Data<Signals>,
) -> Result<&'static str, AppError> {
    let request = *request;
    audit
        .write(audit.transaction().action(Action::new("held")), move |conn, _| {
            write(conn, request, "held")?;
            signals.wait(|told| told.starved);
            Ok("")
        })
        .await
}

async fn whoever(request: &ServiceRequest) -> actix_web::Result<Option<Actor>> {
    // Gives way, so that the actors of several requests are looked up at once.
    actix_web::rt::task::yield_now().await;
    let user = request.headers().get("x-user").and_then(|user| user.to_str().ok()?.parse::<u32>().ok());
    Ok(user.map(Actor::user))
}

#[derive(Debug)]
enum AppError {
    Refused,
    Query,
    Audit(threadline_actix::Error),
}

impl From<DieselError> for AppError {
    fn from(_: DieselError) -> Self {
        Self::Query
    }
}

impl From<threadline_actix::Error> for AppError {
    fn from(error: threadline_actix::Error) -> Self {
        Self::Audit(error)
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl ResponseError for AppError {
    fn error_response(&self) -> HttpResponse {
        match self {
            Self::Refused => HttpResponse::UnprocessableEntity().finish(),
            // A status that no route expects.
            Self::Query => HttpResponse::ImATeapot().finish(),
            Self::Audit(error) => error.error_response(),
        }
    }
}

/// What bodies and clients tell each other.
#[derive(Default)]
struct Signals {
    told: Mutex<Told>,
    changed: Condvar,
}

#[derive(Default)]
struct Told {
    /// Requests whose client may go away: the body is in the middle.
    running: HashSet<u32>,
    /// Requests whose handler is gone.
    dropped: HashSet<u32>,
    /// Somebody has waited for a connection in vain.
    starved: bool,
}

impl Signals {
    fn tell<T>(&self, tell: impl FnOnce(&mut Told) -> T) {
        tell(&mut self.told.lock().unwrap());
        self.changed.notify_all();
    }

    /// Whether it came true in time.
    fn wait(&self, is_so: impl Fn(&Told) -> bool) -> bool {
        let told = self.told.lock().unwrap();
        !self.changed.wait_timeout_while(told, DEADLINE, |told| !is_so(told)).unwrap().1.timed_out()
    }
}

/// The application on a port of its own; stopped when dropped.
struct Server {
    address: SocketAddr,
    signals: web::Data<Signals>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(pool: AuditedPool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let signals = web::Data::new(Signals::default());
        let (told, running) = mpsc::channel();
        let of_app = signals.clone();
        let thread = thread::spawn(move || {
            let app = move || {
                App::new()
                    .app_data(web::Data::new(pool.clone()))
                    .app_data(of_app.clone())
                    .wrap(AuditMiddleware::new(whoever))
                    .service((written, nobody, failed, panicked, undone, swallowed, aborted, abandoned, held))
            };
            let server = HttpServer::new(app)
                .workers(2)
                .disable_signals()
                // A client that has closed its end has gone away.
                .h1_allow_half_closed(false)
                .listen(listener)
                .unwrap();
            actix_web::rt::System::new().block_on(async {
                let server = server.run();
                told.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Self { address, signals, handle: running.recv().unwrap(), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Sent by the call; the future would only wait, which the thread's end does too.
        drop(self.handle.stop(false));
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

/// Asks one thing after the other, on one connection as long as it lasts.
struct Client<'a> {
    server: &'a Server,
    stream: Option<BufReader<TcpStream>>,
}

struct Answer {
    status: u16,
    request_id: String,
}

impl Client<'_> {
    fn ask(&mut self, request: u32) -> Answer {
        let route = route(request);
        let is_abandoned = route.path == ABANDONED.path;
        // Without the header there is an id too; the answer has it, unless nobody waits for the answer.
        let own_id = (is_abandoned || !request.is_multiple_of(5)).then(|| format!("r-{request}"));
        let mut head =
            format!("POST /{request}/{} HTTP/1.1\r\nhost: here\r\ncontent-length: 0\r\n", route.path);
        let headers = [
            ("x-user", signed(request).then(|| request.to_string())),
            ("x-request-id", own_id.clone()),
            ("x-correlation-id", correlation_id(request)),
        ];
        for (name, value) in headers.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            head += &format!("{name}: {value}\r\n");
        }
        let mut stream = self
            .stream
            .take()
            .unwrap_or_else(|| BufReader::new(TcpStream::connect(self.server.address).unwrap()));
        stream.get_mut().write_all((head + "\r\n").as_bytes()).unwrap();
        if is_abandoned && self.has_begun(request, &stream) {
            return Answer { status: 0, request_id: own_id.unwrap_or_default() };
        }
        stream.get_mut().set_read_timeout(Some(2 * DEADLINE)).unwrap();
        let answer = read_answer(&mut stream);
        if let Some(own_id) = own_id {
            assert_eq!(answer.request_id, own_id);
        }
        if answer.status == 503 {
            self.server.signals.tell(|told| told.starved = true);
        }
        self.stream = Some(stream);
        answer
    }

    /// Waits until the body has begun, or there is an answer all the same.
    fn has_begun(&self, request: u32, stream: &BufReader<TcpStream>) -> bool {
        stream.get_ref().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let patience = Instant::now();
        while patience.elapsed() < DEADLINE {
            if self.server.signals.told.lock().unwrap().running.contains(&request) {
                return true;
            }
            if stream.get_ref().peek(&mut [0]).is_ok() {
                return false;
            }
        }
        panic!("request {request} neither began nor was answered");
    }
}

fn read_answer(stream: &mut BufReader<TcpStream>) -> Answer {
    let (mut status, mut request_id, mut length) = (0, String::new(), 0);
    for line in stream.by_ref().lines() {
        let line = line.unwrap();
        if line.is_empty() {
            break;
        } else if let Some(version_and_status) = line.strip_prefix("HTTP/1.1 ") {
            status = version_and_status[..3].parse().unwrap();
        } else if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "x-request-id" => request_id = value.to_owned(),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
    }
    stream.read_exact(&mut vec![0; length]).unwrap();
    Answer { status, request_id }
}
