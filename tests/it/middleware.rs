//! What a request brings with it and what of it is believed, and what is answered and logged when something is missing.

use std::cell::{Cell, RefCell};
use std::io;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::{Mutex, Once};
use std::time::Duration;

use actix_web::body::{MessageBody, to_bytes};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::error::ErrorForbidden;
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::middleware::Logger;
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, HttpResponse, get, post, web};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use serde_json::Value;
use threadline_actix::{
    Action, Actor, Audit, AuditMiddleware, AuditedPool, Error, ForwardedHeader, IpNet, MissingActor,
    RequestIds, audited,
};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, run, texts};
use uuid::Uuid;

// ## Ids and addresses

#[get("/seen")]
async fn seen(audit: Audit) -> HttpResponse {
    HttpResponse::Ok().json(audit.context())
}

async fn ann(_: &ServiceRequest) -> actix_web::Result<Option<Actor>> {
    Ok(Some(Actor::user(7)))
}

async fn nobody(_: &ServiceRequest) -> actix_web::Result<Option<Actor>> {
    Ok(None)
}

/// Ids that are not taken over: one header, or several of the same name.
fn insane() -> Vec<Vec<Vec<u8>>> {
    let one = |value: &[u8]| vec![value.to_vec()];
    vec![
        vec![],
        one(b""),
        one(b" "),
        one(b"two words"),
        one(b"tab\tulator"),
        one("ü".as_bytes()),
        one(b"\xff"),
        one("x".repeat(257).as_bytes()),
        vec![b"a".to_vec(), b"b".to_vec()],
        vec![b"a".to_vec(), b"a".to_vec()],
        vec![b"a".to_vec(), b"".to_vec()],
    ]
}

/// A request with both ids given in the same way.
fn with_ids(values: &[Vec<u8>]) -> TestRequest {
    values.iter().fold(TestRequest::get().uri("/seen"), |request, value| {
        let value = HeaderValue::from_bytes(value).expect("actix hands such a header over");
        request.append_header(("x-request-id", value.clone())).append_header(("x-correlation-id", value))
    })
}

#[actix_web::test]
async fn sane_ids_are_taken_over_and_all_others_replaced_or_dropped() {
    let app = init_service(App::new().wrap(AuditMiddleware::new(ann)).service(seen)).await;
    let longest = "x".repeat(256);
    for sane in ["r-1", " r-1\t", "{\"a\":1}", "0", &longest] {
        let answer = ask(&app, with_ids(&[sane.as_bytes().to_vec()]).to_request()).await;
        assert_eq!(answer.echoed(), sane.trim());
        let context = answer.json();
        assert_eq!(context["request_id"], sane.trim());
        assert_eq!(context["correlation_id"], sane.trim());
        assert_eq!(context["actor"]["id"], "7");
    }
    let mut made = Vec::new();
    for values in insane() {
        let answer = ask(&app, with_ids(&values).to_request()).await;
        let id = answer.echoed();
        assert!(id.parse::<Uuid>().is_ok(), "{id} for {values:?}");
        assert_eq!(answer.json()["request_id"], id);
        assert_eq!(answer.json().get("correlation_id"), None, "{values:?}");
        made.push(id);
    }
    let all = made.len();
    made.sort();
    made.dedup();
    assert_eq!(made.len(), all, "each request has its own");
}

#[actix_web::test]
async fn gaps_are_filled_and_nothing_is_replaced_and_insane_ids_are_left_out() {
    let ids = Rc::new(RefCell::new(RequestIds::default()));
    let given = Rc::clone(&ids);
    let middleware = AuditMiddleware::new(ann).fill_gaps(move |_| given.borrow().clone());
    let app = init_service(App::new().wrap(middleware).service(seen)).await;
    let fill = |id: &str| {
        *ids.borrow_mut() = RequestIds { request_id: Some(id.into()), correlation_id: Some(id.into()) }
    };

    fill("gap");
    let answer = ask(&app, with_ids(&[b"own".to_vec()]).to_request()).await;
    assert_eq!((answer.echoed(), &answer.json()["correlation_id"]), ("own".into(), &"own".into()));
    for values in insane() {
        let answer = ask(&app, with_ids(&values).to_request()).await;
        let context = answer.json();
        assert_eq!(answer.echoed(), "gap");
        assert_eq!((&context["request_id"], &context["correlation_id"]), (&"gap".into(), &"gap".into()));
        assert_eq!(context["actor"], serde_json::json!({"type": "user", "id": "7"}));
    }
    for insane in ["", "two words", "new\nline", "ü", &"x".repeat(257)] {
        fill(insane);
        let answer = ask(&app, with_ids(&[]).to_request()).await;
        assert!(answer.echoed().parse::<Uuid>().is_ok(), "{insane:?}");
        assert_eq!(answer.json().get("correlation_id"), None);
        assert!(answer.log.contains("`fill_gaps`") && answer.log.contains("left out"), "{}", answer.log);
    }
}

#[actix_web::test]
async fn request_correlates_by_its_own_id_only_where_there_is_no_other() {
    let correlating = || AuditMiddleware::new(ann).correlate_requests();
    let app = init_service(App::new().wrap(correlating()).service(seen)).await;
    let answer = ask(&app, with_ids(&[]).to_request()).await;
    assert_eq!(answer.json()["correlation_id"], answer.echoed());
    let request = with_ids(&[]).append_header(("x-correlation-id", "c-1"));
    assert_eq!(ask(&app, request.to_request()).await.json()["correlation_id"], "c-1");
    let filling = correlating()
        .fill_gaps(|_| RequestIds { correlation_id: Some("c-2".into()), ..RequestIds::default() });
    let app = init_service(App::new().wrap(filling).service(seen)).await;
    assert_eq!(ask(&app, with_ids(&[]).to_request()).await.json()["correlation_id"], "c-2");
}

#[actix_web::test]
async fn forwarded_address_is_ignored_unless_the_peer_is_a_trusted_proxy() {
    let proxies: IpNet = "10.0.0.0/8".parse().unwrap();
    let trusting = AuditMiddleware::new(ann).trust_proxies([proxies], ForwardedHeader::XForwardedFor);
    let trusting = init_service(App::new().wrap(trusting).service(seen)).await;
    let plain = init_service(App::new().wrap(AuditMiddleware::new(ann)).service(seen)).await;
    let from = |peer: &str| {
        TestRequest::get()
            .uri("/seen")
            .peer_addr(peer.parse().unwrap())
            .insert_header(("x-forwarded-for", "203.0.113.9"))
            .insert_header(("forwarded", "for=203.0.113.10"))
            .insert_header(("x-real-ip", "203.0.113.11"))
    };
    assert_eq!(ask(&plain, from("10.0.0.1:1").to_request()).await.json()["remote_addr"], "10.0.0.1");
    assert_eq!(
        ask(&trusting, from("198.51.100.7:1").to_request()).await.json()["remote_addr"],
        "198.51.100.7"
    );
    assert_eq!(ask(&trusting, from("10.0.0.1:1").to_request()).await.json()["remote_addr"], "203.0.113.9");
}

// ## Actors

#[actix_web::test]
async fn error_of_the_callback_is_the_answer_and_the_handler_does_not_run() {
    let ran = Rc::new(Cell::new(false));
    let runs = Rc::clone(&ran);
    let refusing = async |_: &ServiceRequest| Err(ErrorForbidden("not you"));
    let handler = web::to(move || {
        runs.set(true);
        async { "ran" }
    });
    let app = init_service(App::new().wrap(AuditMiddleware::new(refusing)).route("/", handler)).await;
    let answer = ask(&app, TestRequest::get().uri("/").to_request()).await;
    assert_eq!((answer.status, &answer.body[..]), (403, "not you"));
    assert!(!ran.get());
}

#[actix_web::test]
async fn inner_middleware_names_the_actor_and_the_ids_stay() {
    let admin = async |_: &ServiceRequest| Ok(Some(Actor::admin(2)));
    let other_ids = |_: &ServiceRequest| RequestIds {
        request_id: Some("r-2".into()),
        correlation_id: Some("c-2".into()),
    };
    let trusted: IpNet = "10.0.0.0/8".parse().unwrap();
    let inner = AuditMiddleware::new(admin)
        .fill_gaps(other_ids)
        .trust_proxies([trusted], ForwardedHeader::XForwardedFor)
        .missing_actor(MissingActor::InternalServerError);
    let app = App::new()
        .wrap(AuditMiddleware::new(ann))
        .service(web::scope("/admin").wrap(inner).service(seen))
        .service(web::scope("/public").wrap(AuditMiddleware::new(nobody)).service(seen))
        .service(seen);
    let app = init_service(app).await;
    let get = |path: &str| {
        TestRequest::get()
            .uri(path)
            .peer_addr("10.0.0.1:1".parse().unwrap())
            .insert_header(("x-forwarded-for", "203.0.113.9"))
    };
    for (path, actor) in [
        ("/seen", serde_json::json!({"type": "user", "id": "7"})),
        ("/admin/seen", serde_json::json!({"type": "admin", "id": "2"})),
        ("/public/seen", Value::Null),
    ] {
        let answer = ask(&app, get(path).to_request()).await;
        let context = answer.json();
        assert_eq!(context["actor"], actor, "{path}");
        assert!(context["request_id"].as_str().unwrap().parse::<Uuid>().is_ok(), "the outer one had made it");
        assert_eq!(context["request_id"], answer.echoed(), "{path}");
        assert_eq!(context.get("correlation_id"), None, "{path}");
        assert_eq!(context["remote_addr"], "10.0.0.1", "{path}");
    }
    let answer = ask(&app, get("/admin/seen").insert_header(("x-request-id", "r-1")).to_request()).await;
    assert_eq!((answer.echoed(), &answer.json()["request_id"]), ("r-1".into(), &"r-1".into()));
}

// ## What is missing

#[post("/audited")]
#[audited(action = "note.added")]
async fn by_macro(conn: &mut PgConnection) -> Result<&'static str, Error> {
    conn.batch_execute("INSERT INTO notes VALUES (1)").map_err(query)?;
    Ok("written")
}

#[post("/extracted")]
async fn by_extractor(audit: Audit) -> Result<&'static str, Error> {
    audit
        .write(audit.transaction().action(Action::new("note.added")), |conn, _| {
            conn.batch_execute("INSERT INTO notes VALUES (1)").map_err(query)?;
            Ok("written")
        })
        .await
}

#[post("/by_another")]
async fn by_another_context(audit: Audit) -> Result<&'static str, Error> {
    audit.write(threadline::AuditContext::without_actor().transaction(), |_, _| Ok("written")).await
}

fn query(error: DieselError) -> Error {
    Error::Audit(threadline::Error::Query(error))
}

/// A pool that nobody will get a connection from.
fn dead_pool() -> web::Data<AuditedPool> {
    let nowhere = ConnectionManager::new("postgres:///nowhere?host=/nowhere&port=1");
    let builder = Pool::builder().max_size(1).connection_timeout(Duration::from_millis(50));
    web::Data::new(AuditedPool::new(builder.build_unchecked(nowhere)))
}

#[actix_web::test]
async fn missing_actor_is_401_or_500_as_configured_and_the_log_says_what_is_missing() {
    for (configured, status) in [
        (MissingActor::default(), 401),
        (MissingActor::Unauthorized, 401),
        (MissingActor::InternalServerError, 500),
    ] {
        let app = App::new()
            .app_data(dead_pool())
            .wrap(AuditMiddleware::new(nobody).missing_actor(configured))
            .service((by_macro, by_extractor));
        let app = init_service(app).await;
        for path in ["/audited", "/extracted"] {
            let answer = ask(&app, TestRequest::post().uri(path).to_request()).await;
            assert_eq!(answer.status, status, "{path}");
            answer.assert_opaque("named nobody for this request");
            assert!(answer.echoed().parse::<Uuid>().is_ok());
        }
    }
    // The innermost says what to answer, as it says who asks.
    let inner = AuditMiddleware::new(nobody).missing_actor(MissingActor::InternalServerError);
    let app = App::new()
        .app_data(dead_pool())
        .wrap(AuditMiddleware::new(ann))
        .service(web::scope("/inner").wrap(inner).service(by_macro));
    assert_eq!(
        ask(&init_service(app).await, TestRequest::post().uri("/inner/audited").to_request()).await.status,
        500
    );
}

#[actix_web::test]
async fn transaction_without_an_actor_for_a_request_that_has_one_is_the_handlers_mistake() {
    let app = App::new().app_data(dead_pool()).wrap(AuditMiddleware::new(ann)).service(by_another_context);
    let answer = ask(&init_service(app).await, TestRequest::post().uri("/by_another").to_request()).await;
    assert_eq!(answer.status, 500);
    answer.assert_opaque("the audit context has no actor");
}

#[actix_web::test]
async fn missing_middleware_and_missing_pool_are_500_and_the_log_says_what_to_add() {
    let no_middleware =
        init_service(App::new().app_data(dead_pool()).service((by_macro, by_extractor))).await;
    // Of a pool that is not wrapped in `Data` under its own type nobody hears either.
    let no_pool = App::new().wrap(AuditMiddleware::new(ann)).service((by_macro, by_extractor));
    let no_pool = init_service(no_pool).await;
    for path in ["/audited", "/extracted"] {
        let answer = ask(&no_middleware, TestRequest::post().uri(path).to_request()).await;
        assert_eq!(answer.status, 500);
        answer.assert_opaque(".wrap(AuditMiddleware::new(…))");
        let answer = ask(&no_pool, TestRequest::post().uri(path).to_request()).await;
        assert_eq!(answer.status, 500);
        answer.assert_opaque(".app_data(web::Data::new(AuditedPool::new(…)))");
    }
}

#[actix_web::test]
async fn exhausted_pool_is_503_and_a_connection_set_free_serves_again() {
    let (_db, pool) = notes();
    let taken = pool.get().unwrap();
    let app = App::new()
        .app_data(web::Data::new(AuditedPool::new(pool)))
        .wrap(AuditMiddleware::new(ann))
        .service((by_macro, by_extractor));
    let app = init_service(app).await;
    for path in ["/audited", "/extracted"] {
        let answer = ask(&app, TestRequest::post().uri(path).to_request()).await;
        assert_eq!(answer.status, 503);
        answer.assert_opaque("no database connection was free in time");
    }
    drop(taken);
    let answer = ask(&app, TestRequest::post().uri("/audited").to_request()).await;
    assert_eq!((answer.status, &answer.body[..]), (200, "written"));
}

// ## What a body may do, and what nobody hears of

#[get("/peek")]
async fn peek(audit: Audit) -> Result<String, Error> {
    audit
        .read(|conn| match conn.batch_execute("INSERT INTO notes VALUES (1)") {
            Err(DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, said)) => {
                Ok(said.message().to_owned())
            }
            other => panic!("{other:?}"),
        })
        .await
}

#[get("/poke")]
async fn poke(audit: Audit) -> Result<&'static str, Error> {
    audit.read(|conn| conn.batch_execute("INSERT INTO notes VALUES (1)").map_err(query)).await?;
    Ok("written")
}

#[actix_web::test]
async fn read_needs_no_actor_and_postgresql_refuses_every_write_in_it() {
    let (db, pool) = notes();
    let app = App::new()
        // r2d2's own pool is found as well.
        .app_data(web::Data::new(pool))
        .wrap(AuditMiddleware::new(nobody))
        .service((peek, poke));
    let app = init_service(app).await;
    let answer = ask(&app, TestRequest::get().uri("/peek").to_request()).await;
    assert_eq!((answer.status, &answer.body[..]), (200, "cannot execute INSERT in a read-only transaction"));
    let answer = ask(&app, TestRequest::get().uri("/poke").to_request()).await;
    assert_eq!(answer.status, 500);
    answer.assert_opaque("cause=\"read-only transaction\"");
    let conn = &mut db.connect();
    assert_eq!(texts(conn, "SELECT id FROM notes"), Vec::<String>::new());
}

/// What no answer and no log may say.
const SECRET: &str = "hunter2@example.com";

#[post("/fails/{how}")]
#[audited(action = "note.added", record_failures)]
async fn fails(conn: &mut PgConnection, how: web::Path<String>) -> Result<&'static str, Error> {
    let first = conn.batch_execute(&format!("INSERT INTO notes VALUES (1, '{SECRET}')"));
    let second = match how.as_str() {
        "twice" | "swallowed" => format!("INSERT INTO notes VALUES (2, '{SECRET}')"),
        "deferred" => {
            format!("INSERT INTO notes VALUES (3, 'other', '{SECRET}'), (4, 'another', '{SECRET}')")
        }
        "cast" => format!("SELECT '{SECRET}'::integer"),
        "raised" => format!("DO $$ BEGIN RAISE EXCEPTION 'no room for {SECRET}'; END $$"),
        _ => resume_unwind(Box::new(format!("no room for {SECRET}"))),
    };
    let second = conn.batch_execute(&second);
    match (&second, how.as_str()) {
        // PostgreSQL does quote the value.
        (Err(DieselError::DatabaseError(_, said)), _) => {
            assert!(format!("{}{:?}", said.message(), said.details()).contains(SECRET));
        }
        (Ok(()), "deferred") => {}
        other => panic!("{other:?}"),
    }
    if how.as_str() != "swallowed" {
        first.and(second).map_err(query)?;
    }
    Ok("written")
}

#[actix_web::test]
async fn errors_are_opaque_in_answer_and_log_and_trail_though_postgresql_quotes_the_row() {
    let (db, pool) = notes();
    let app = App::new()
        .app_data(web::Data::new(AuditedPool::new(pool)))
        .wrap(AuditMiddleware::new(ann))
        // It logs the error behind an answer as `Debug` has it.
        .wrap(Logger::default())
        .service(fails);
    let app = init_service(app).await;
    for (how, logged) in [
        ("twice", r#"the database refused a statement cause="unique violation""#),
        ("swallowed", "its error was not returned; everything is rolled back"),
        ("deferred", r#"could not be committed cause="unique violation""#),
        ("cast", r#"the database refused a statement cause="refused by the database""#),
        ("raised", r#"the database refused a statement cause="refused by the database""#),
        ("panics", "the body of an audited handler panicked"),
    ] {
        let answer = ask(&app, TestRequest::post().uri(&format!("/fails/{how}")).to_request()).await;
        assert_eq!(answer.status, 500, "{how}");
        answer.assert_opaque(logged);
        for (name, value) in &answer.headers {
            assert!(!value.to_str().unwrap().contains(SECRET), "{name} after {how}");
        }
    }
    // Not on another thread either.
    assert_eq!(*LEAKED.lock().unwrap(), Vec::<String>::new());
    let conn = &mut db.connect();
    let trail = texts(conn, "SELECT audit_actions::text FROM threadline.audit_actions");
    assert_eq!(trail.len(), 6, "each failure is recorded");
    assert!(!trail.concat().contains(SECRET), "{trail:?}");
    assert_eq!(texts(conn, "SELECT id FROM notes"), Vec::<String>::new());
}

/// A database with a table, and a pool of one connection to it.
fn notes() -> (TestDatabase, Pool<ConnectionManager<PgConnection>>) {
    let db = audited_database();
    run(
        &mut db.connect(),
        "CREATE TABLE notes (id bigint PRIMARY KEY, mail text UNIQUE, other_mail text UNIQUE DEFERRABLE INITIALLY DEFERRED);
        SELECT threadline.attach('notes')",
    );
    let builder = Pool::builder().max_size(1).connection_timeout(Duration::from_millis(200));
    let pool = builder.build(ConnectionManager::new(db.url())).unwrap();
    (db, pool)
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
    /// What threadline has logged meanwhile on this thread, on which actix runs everything but bodies.
    log: String,
}

impl Answer {
    fn echoed(&self) -> String {
        let mut ids = self.headers.get_all("x-request-id");
        let (Some(id), None) = (ids.next(), ids.next()) else { panic!("{:?}", self.headers) };
        id.to_str().unwrap().to_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The log says it and the client does not hear of it.
    #[track_caller]
    fn assert_opaque(&self, says: &str) {
        assert_eq!(self.body, "");
        assert!(self.log.contains(says), "{says:?} is not in the log: {:?}", self.log);
        assert_eq!(self.log.matches("threadline:").count(), 1, "said once: {:?}", self.log);
    }
}

// `R` is the request of actix's own service, which has no name here.
async fn ask<S, R, B>(app: &S, request: R) -> Answer
where
    S: Service<R, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    listen();
    LOG.take();
    let (status, headers, body) = match app.call(request).await {
        Ok(response) => {
            let (status, headers) = (response.status(), response.headers().clone());
            (status, headers, to_bytes(response.into_body()).await.ok())
        }
        Err(error) => {
            let response = error.error_response();
            let (status, headers) = (response.status(), response.headers().clone());
            (status, headers, to_bytes(response.into_body()).await.ok())
        }
    };
    let body = String::from_utf8(body.expect("the body is there").to_vec()).unwrap();
    Answer { status: status.as_u16(), headers, body, log: LOG.take() }
}

thread_local! {
    static LOG: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What anybody has logged with the secret in it.
static LEAKED: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn hear(line: &str, ours: bool) {
    if ours {
        LOG.with_borrow_mut(|log| log.push_str(line));
    }
    if line.contains(SECRET) {
        LEAKED.lock().unwrap().push(line.to_owned());
    }
}

/// What others tell `log`.
struct Listener;

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        hear(&format!("{}\n", record.args()), false);
    }

    fn flush(&self) {}
}

/// A line of what we, and others, tell `tracing`.
impl io::Write for Listener {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(line);
        hear(&line, line.trim_start().starts_with("threadline"));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything is heard, of every test in this process.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Listener).expect("no other test sets one");
        log::set_max_level(log::LevelFilter::Trace);
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_level(false)
            .without_time()
            .with_writer(|| Listener)
            .init();
    });
}
