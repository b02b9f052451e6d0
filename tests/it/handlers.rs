//! Audited handlers: what `#[audited(..)]` does to a request, the trail, and the connection it has used.

use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::body::{BodyStream, MessageBody, to_bytes};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::{self, Bytes, Json, Path, ServiceConfig};
use actix_web::{App, FromRequest, HttpRequest, HttpResponse, Responder, ResponseError, post, rt};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use serde::Deserialize;
use serde_json::json;
use threadline_actix::{Actor, AuditMiddleware, AuditedPool, OpenTransaction, audited};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, run, text, texts};

diesel::table! {
    notes (id) {
        id -> BigInt,
        body -> Text,
    }
}

/// A host's error, as the documentation recommends it.
#[derive(Debug)]
enum AppError {
    Query(diesel::result::Error),
    Number(std::num::ParseIntError),
    Audit(threadline_actix::Error),
}

impl From<diesel::result::Error> for AppError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Query(error)
    }
}

impl From<std::num::ParseIntError> for AppError {
    fn from(error: std::num::ParseIntError) -> Self {
        Self::Number(error)
    }
}

impl From<threadline_actix::Error> for AppError {
    fn from(error: threadline_actix::Error) -> Self {
        Self::Audit(error)
    }
}

impl std::fmt::Display for AppError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Query(error) => error.fmt(f),
            Self::Number(error) => error.fmt(f),
            Self::Audit(error) => error.fmt(f),
        }
    }
}

impl ResponseError for AppError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Query(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Number(_) => StatusCode::BAD_REQUEST,
            Self::Audit(error) => error.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::Audit(threadline_actix::Error::Audit(error)) => {
                HttpResponse::build(self.status_code()).body(format!("{error:?}"))
            }
            Self::Audit(error) => HttpResponse::build(self.status_code()).body(error.to_string()),
            _ => HttpResponse::build(self.status_code()).body("the application's own"),
        }
    }
}

type AppResult<T> = Result<T, AppError>;

fn insert(conn: &mut PgConnection, id: i64, body: &str) -> QueryResult<usize> {
    diesel::insert_into(notes::table).values((notes::id.eq(id), notes::body.eq(body))).execute(conn)
}

/// A database with the table `notes`, and a pool of one connection to it: what a handler leaves behind, the next one finds.
struct Host {
    db: TestDatabase,
    pool: AuditedPool,
}

impl Host {
    fn new() -> Self {
        let db = audited_database();
        run(
            &mut db.connect(),
            "CREATE TABLE notes (id bigint PRIMARY KEY, body text); SELECT threadline.attach('notes')",
        );
        let pool = Pool::builder()
            .max_size(1)
            .connection_timeout(Duration::from_secs(10))
            .build(ConnectionManager::new(db.url()))
            .expect("the database accepts a connection");
        Self { db, pool: AuditedPool::new(pool) }
    }

    /// The answers to requests by POST, one after the other: path and body.
    fn answers<const N: usize>(
        &self,
        routes: fn(&mut ServiceConfig),
        requests: [(&str, &str); N],
    ) -> [Reply; N] {
        rt::System::new().block_on(async {
            let app = App::new()
                .app_data(web::Data::new(self.pool.clone()))
                .wrap(AuditMiddleware::new(whoever))
                .configure(routes);
            let app = init_service(app).await;
            let mut replies = Vec::new();
            for (path, body) in requests {
                let request = TestRequest::post().uri(path).set_payload(body.to_owned());
                let request = request.insert_header(header::ContentType::json()).to_request();
                replies.push(Reply::of(call_service(&app, request).await).await);
            }
            replies.try_into().expect("there is one for each request")
        })
    }

    fn answer(&self, routes: fn(&mut ServiceConfig), path: &str) -> Reply {
        let [reply] = self.answers(routes, [(path, "")]);
        reply
    }

    /// The notes there are: `1 text`.
    fn notes(&self) -> Vec<String> {
        texts(&mut self.db.connect(), "SELECT concat_ws(' ', id, body) FROM notes ORDER BY id")
    }

    /// Each action with its status, and how many changes its transaction has: `ann note.added ok 1`.
    fn trail(&self) -> Vec<String> {
        texts(
            &mut self.db.connect(),
            "SELECT concat_ws(' ', coalesce(a.actor_id, t.actor_id, 'nobody'), coalesce(a.name, '-'), a.status,
                (SELECT count(*) FROM threadline.audit_changes c WHERE c.transaction_id = t.id))
            FROM threadline.audit_transactions t FULL JOIN threadline.audit_actions a ON a.id = t.action_id
            ORDER BY coalesce(a.occurred_at, t.occurred_at)",
        )
    }
}

/// Each request is made by the user 7, but for those to paths that say otherwise.
async fn whoever(request: &ServiceRequest) -> actix_web::Result<Option<Actor>> {
    Ok((!request.path().contains("nobody")).then(|| Actor::user(7)))
}

#[derive(Debug)]
struct Reply {
    status: StatusCode,
    reason: String,
    keep_alive: bool,
    headers: Vec<(String, String)>,
    body: String,
}

impl Reply {
    async fn of<B: MessageBody>(response: ServiceResponse<B>) -> Self
    where
        B::Error: std::fmt::Debug,
    {
        let (_, response) = response.into_parts();
        let (response, body) = response.into_parts();
        let text = |value: &header::HeaderValue| value.to_str().expect("it is ASCII").to_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let body = to_bytes(body).await.expect("the body is there");
        let body = String::from_utf8(body.to_vec()).expect("the body is a text");
        let head = response.head();
        let (reason, keep_alive) = (head.reason().to_owned(), head.keep_alive());
        Self { status: head.status, reason, keep_alive, headers, body }
    }

    fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value).collect()
    }

    fn told(&self) -> (u16, &str) {
        (self.status.as_u16(), &self.body)
    }
}

mod placed {
    use super::*;

    /// A doc comment stays where it is.
    #[post("/above")]
    #[audited(action = "note.above")]
    async fn above(conn: &mut PgConnection) -> AppResult<&'static str> {
        insert(conn, 1, "above")?;
        Ok("above")
    }

    #[audited(action = "note.below")]
    #[post("/below")]
    /// Here, too.
    async fn below(conn: &mut PgConnection) -> AppResult<&'static str> {
        insert(conn, 2, "below")?;
        Ok("below")
    }

    #[audited(action = "note.plain")]
    pub(super) async fn plain(conn: &mut PgConnection) -> AppResult<&'static str> {
        #![expect(unused_variables, reason = "an attribute inside of the body")]
        let unused = 7;
        insert(conn, 3, "plain")?;
        Ok("plain")
    }

    /// A body of one expression, in a crate that denies warnings.
    #[deny(warnings)]
    #[audited(action = "note.short")]
    pub(super) async fn short(conn: &mut PgConnection) -> AppResult<&'static str> {
        insert(conn, 4, "short").map(|_| "short").map_err(AppError::from)
    }

    // The route's attribute makes a unit struct of the name, and a pattern of that name would match it.
    #[post("/transaction")]
    #[audited(action = "note.named")]
    async fn transaction(_: &mut PgConnection) -> AppResult<&'static str> {
        Ok("named")
    }

    #[post("/connection")]
    #[audited(action = "note.named")]
    async fn connection(_: &mut PgConnection) -> AppResult<&'static str> {
        Ok("named")
    }

    #[post("/action")]
    #[audited(action = "note.named")]
    async fn action(_: &mut PgConnection) -> AppResult<&'static str> {
        Ok("named")
    }

    #[post("/request")]
    #[audited(action = "note.named")]
    async fn request(_: &mut PgConnection) -> AppResult<&'static str> {
        Ok("named")
    }

    pub(super) trait Text: 'static {
        const TEXT: &'static str;
    }

    pub(super) struct Fixed;

    impl Text for Fixed {
        const TEXT: &'static str = "fixed";
    }

    #[audited(action = format!("note.{}", T::TEXT))]
    async fn generic<T>(conn: &mut PgConnection) -> AppResult<&'static str>
    where
        T: Text,
    {
        insert(conn, 4, T::TEXT)?;
        Ok(T::TEXT)
    }

    fn routes(config: &mut ServiceConfig) {
        config
            .service(above)
            .service(transaction)
            .service(connection)
            .service(action)
            .service(request)
            .service(web::scope("/outer").service(web::scope("/inner").service(below)))
            .route("/plain", web::post().to(plain))
            .service(
                web::scope("/staff")
                    .wrap(AuditMiddleware::new(async |_: &ServiceRequest| Ok(Some(Actor::admin(9)))))
                    .route("/plain", web::post().to(plain)),
            )
            .service(web::resource("/generic").route(web::post().to(generic::<Fixed>)));
    }

    #[test]
    fn one_handler_serves_several_scopes_and_the_innermost_middleware_names_the_actor() {
        let host = Host::new();
        let [ours] = host.answers(routes, [("/plain", "")]);
        run(&mut host.db.connect(), "DELETE FROM notes");
        let [theirs] = host.answers(routes, [("/staff/plain", "")]);
        assert_eq!((ours.told(), theirs.told()), ((200, "plain"), (200, "plain")));
        assert_eq!(host.trail(), ["7 note.plain ok 1", "nobody - 1", "9 note.plain ok 1"]);
    }

    #[test]
    fn handler_may_have_any_name() {
        let host = Host::new();
        let paths = ["/transaction", "/connection", "/action", "/request"];
        let replies = host.answers(routes, paths.map(|path| (path, "")));
        assert_eq!(replies.each_ref().map(Reply::told), [(200, "named"); 4]);
        assert_eq!(host.trail(), ["7 note.named ok 0"; 4]);
    }

    #[test]
    fn handler_is_routed_to_in_every_way_actix_knows() {
        let host = Host::new();
        let paths = ["/above", "/outer/inner/below", "/plain", "/generic"];
        let replies = host.answers(routes, paths.map(|path| (path, "")));
        let told = replies.each_ref().map(Reply::told);
        assert_eq!(told, [(200, "above"), (200, "below"), (200, "plain"), (200, "fixed")]);
        assert_eq!(host.notes(), ["1 above", "2 below", "3 plain", "4 fixed"]);
        let actions = ["7 note.above ok 1", "7 note.below ok 1", "7 note.plain ok 1", "7 note.fixed ok 1"];
        assert_eq!(host.trail(), actions);
    }
}

mod parameters {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Note {
        body: String,
        kind: String,
    }

    #[post("/{id}/{number}")]
    #[audited(action = format!("note.{}", note.kind), verb = path.1.as_str(), category = "notes", comment = note.body.clone())]
    async fn taken_apart(
        path: Path<(i64, String)>,
        mut conn: &mut PgConnection,
        Json(mut note): Json<Note>,
        tx: &OpenTransaction,
        web::Query(mut query): web::Query<Vec<(String, String)>>,
    ) -> AppResult<String> {
        let (id, number) = path.into_inner();
        note.body.push('!');
        query.push(("sum".to_owned(), (number.parse::<i64>()? + id).to_string()));
        insert(conn, id, &note.body)?;
        let again = &mut *conn;
        conn = again;
        insert(conn, id + 1, &query.pop().map_or_else(String::new, |(_, value)| value))?;
        Ok(format!("{} {}", tx.id(), query.len()))
    }

    /// By its name it could be the one of actix-session, which is bound to its thread.
    struct Session(i64);

    impl FromRequest for Session {
        type Error = AppError;
        type Future = Ready<Result<Self, AppError>>;

        fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
            ready(Ok(Self(70)))
        }
    }

    #[audited(capture_only)]
    async fn own_session(conn: &mut PgConnection, session: self::Session) -> AppResult<&'static str> {
        insert(conn, session.0, "session")?;
        Ok("")
    }

    #[test]
    fn own_type_is_told_from_a_thread_bound_one_of_that_name_by_its_path() {
        let host = Host::new();
        assert_eq!(host.answer(routes, "/session").status, 200);
        assert_eq!(host.notes(), ["70 session"]);
    }

    fn routes(config: &mut ServiceConfig) {
        config.service(taken_apart).route("/session", web::post().to(own_session));
    }

    #[test]
    fn extractors_keep_their_patterns_and_the_action_is_made_of_them_before_the_body_takes_them() {
        let host = Host::new();
        let note = r#"{"body": "text", "kind": "added"}"#;
        let [added, bad] = host.answers(routes, [("/1/40?a=b", note), ("/3/forty", note)]);
        let mut conn = host.db.connect();
        let id = text(&mut conn, "SELECT id FROM threadline.audit_transactions");
        assert_eq!(added.told(), (200, &*format!("{id} 1")));
        assert_eq!(host.notes(), ["1 text!", "2 41"]);
        let action = "SELECT concat_ws(' ', name, verb, category, comment) FROM threadline.audit_actions";
        assert_eq!(text(&mut conn, action), "note.added 40 notes text");
        // `?` has converted the error, and the application has answered.
        assert_eq!(bad.told(), (400, "the application's own"));
        assert_eq!(host.trail(), ["7 note.added ok 2"]);
    }
}

mod instrumented {
    use super::*;

    /// Remembers each span that is opened: its name and its fields.
    #[derive(Clone, Default)]
    struct Spans(Arc<Mutex<Vec<String>>>);

    impl tracing::Subscriber for Spans {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            metadata.target() == module_path!()
        }

        fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            let fields: Vec<&str> = span.metadata().fields().iter().map(|field| field.name()).collect();
            self.0.lock().unwrap().push(format!("{} {}", span.metadata().name(), fields.join(" ")));
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[post("/all/{id}")]
    #[audited(capture_only)]
    #[tracing::instrument]
    async fn all(conn: &mut PgConnection, id: Path<i64>) -> AppResult<&'static str> {
        insert(conn, *id, "all")?;
        Ok("")
    }

    #[audited(capture_only)]
    #[tracing::instrument(skip(conn), fields(note = *id))]
    #[post("/skipped/{id}")]
    async fn skipped(conn: &mut PgConnection, id: Path<i64>) -> AppResult<impl Responder> {
        insert(conn, *id, "skipped")?;
        Ok("")
    }

    fn routes(config: &mut ServiceConfig) {
        config.service(all).service(skipped);
    }

    #[test]
    fn instrument_below_sees_the_handler_with_its_parameters() {
        let host = Host::new();
        let spans = Spans::default();
        tracing::subscriber::with_default(spans.clone(), || {
            for path in ["/all/1", "/skipped/2"] {
                assert_eq!(host.answer(routes, path).status, 200);
            }
        });
        assert_eq!(*spans.0.lock().unwrap(), ["all conn id", "skipped id note"]);
        assert_eq!(host.notes(), ["1 all", "2 skipped"]);
    }
}

mod answers {
    use super::*;

    #[post("/json")]
    #[audited(capture_only)]
    async fn json(conn: &mut PgConnection) -> AppResult<Json<serde_json::Value>> {
        insert(conn, 1, "json")?;
        Ok(Json(json!({"id": 1})))
    }

    #[post("/created")]
    #[audited(capture_only)]
    async fn created(conn: &mut PgConnection) -> AppResult<(Json<i64>, StatusCode)> {
        insert(conn, 2, "created")?;
        Ok((Json(2), StatusCode::CREATED))
    }

    #[post("/responder")]
    #[audited(capture_only)]
    async fn responder(conn: &mut PgConnection) -> AppResult<impl Responder> {
        insert(conn, 3, "responder")?;
        Ok("responder".customize().with_status(StatusCode::ACCEPTED).insert_header(("x-own", "a")))
    }

    #[post("/nested")]
    #[audited(capture_only)]
    async fn nested(conn: &mut PgConnection) -> AppResult<(impl Responder, StatusCode)> {
        insert(conn, 4, "nested")?;
        Ok(("nested", StatusCode::ACCEPTED))
    }

    #[post("/text")]
    #[audited(capture_only)]
    async fn text(conn: &mut PgConnection) -> AppResult<String> {
        insert(conn, 5, "text")?;
        Ok("text".to_owned())
    }

    #[post("/library")]
    #[audited(capture_only)]
    async fn library(_: &mut PgConnection) -> Result<&'static str, threadline_actix::Error> {
        Ok("the library's own error")
    }

    fn routes(config: &mut ServiceConfig) {
        config
            .service(json)
            .service(created)
            .service(responder)
            .service(nested)
            .service(text)
            .service(library)
            .service(response)
            .service(bare)
            .service(streaming)
            .service(refused);
    }

    #[test]
    fn answers_of_every_kind_are_taken() {
        let host = Host::new();
        let paths = ["/json", "/created", "/responder", "/nested", "/text", "/library"];
        let replies = host.answers(routes, paths.map(|path| (path, "")));
        assert_eq!(
            replies.each_ref().map(Reply::told),
            [
                (200, r#"{"id":1}"#),
                (201, "2"),
                (202, "responder"),
                (202, "nested"),
                (200, "text"),
                (200, "the library's own error")
            ]
        );
        assert_eq!(replies[2].header("x-own"), ["a"]);
        assert_eq!(host.notes().len(), 5);
    }

    #[post("/response")]
    #[audited(capture_only)]
    async fn response(conn: &mut PgConnection) -> AppResult<HttpResponse> {
        insert(conn, 6, "response")?;
        let mut response = HttpResponse::Created()
            .content_type("text/x-own; charset=ascii")
            .append_header(("set-cookie", "a=1"))
            .append_header(("set-cookie", "b=2"))
            .insert_header(("location", "/notes/6"))
            .reason("Noted")
            .force_close()
            .body("made");
        response.headers_mut().append(header::SET_COOKIE, header::HeaderValue::from_static("c=3"));
        Ok(response)
    }

    #[post("/bare")]
    #[audited(capture_only)]
    async fn bare(_conn: &mut PgConnection) -> Result<HttpResponse, AppError> {
        Ok(HttpResponse::NoContent().finish())
    }

    #[test]
    fn response_keeps_status_headers_and_body_exactly() {
        let host = Host::new();
        let [made, empty] = host.answers(routes, [("/response", ""), ("/bare", "")]);
        assert_eq!(made.told(), (201, "made"));
        assert_eq!(made.header("content-type"), ["text/x-own; charset=ascii"]);
        assert_eq!(made.header("set-cookie"), ["a=1", "b=2", "c=3"]);
        assert_eq!(made.header("location"), ["/notes/6"]);
        assert_eq!(made.reason, "Noted");
        assert!(!made.keep_alive);
        assert_eq!(empty.told(), (204, ""));
        let names: Vec<&str> = empty.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["x-request-id"], "none is guessed, not even a content type");
    }

    #[post("/streaming")]
    #[audited(action = "note.streamed")]
    async fn streaming(conn: &mut PgConnection) -> AppResult<HttpResponse> {
        insert(conn, 7, "streaming")?;
        let part =
            futures_util::stream::iter([Ok::<_, threadline_actix::Error>(Bytes::from_static(b"part"))]);
        Ok(HttpResponse::Ok().body(BodyStream::new(part)))
    }

    #[test]
    fn stream_is_refused_and_rolled_back() {
        let host = Host::new();
        let reply = host.answer(routes, "/streaming");
        assert_eq!(
            reply.told(),
            (
                500,
                "an audited handler answered with a stream, which would outlive its transaction; everything is rolled back"
            )
        );
        assert!(host.notes().is_empty());
        assert!(host.trail().is_empty());
    }

    #[post("/refused")]
    #[audited(action = "note.refused")]
    async fn refused(conn: &mut PgConnection) -> AppResult<(String, StatusCode)> {
        insert(conn, 8, "kept")?;
        Ok(("no".to_owned(), StatusCode::CONFLICT))
    }

    #[test]
    fn ok_commits_whatever_its_status() {
        let host = Host::new();
        assert_eq!(host.answer(routes, "/refused").told(), (409, "no"));
        assert_eq!(host.notes(), ["8 kept"]);
        assert_eq!(host.trail(), ["7 note.refused ok 1"]);
    }
}

mod failures {
    use super::*;

    #[post("/{way}")]
    #[audited(action = "note.tried")]
    async fn tried(conn: &mut PgConnection, way: Path<String>) -> AppResult<&'static str> {
        insert(conn, 1, &way)?;
        fail(conn, &way)?;
        Ok("done")
    }

    #[post("/recorded/{way}")]
    #[audited(action = "note.tried", record_failures)]
    async fn recorded(conn: &mut PgConnection, way: Path<String>) -> AppResult<&'static str> {
        insert(conn, 1, &way)?;
        fail(conn, &way)?;
        Ok("done")
    }

    fn fail(conn: &mut PgConnection, way: &str) -> AppResult<()> {
        match way {
            "duplicate" => _ = insert(conn, 1, "again")?,
            "swallowed" => _ = insert(conn, 1, "again"),
            "panic" => panic!("the body of a test's handler"),
            _ => {}
        }
        Ok(())
    }

    fn routes(config: &mut ServiceConfig) {
        config.service(tried).service(recorded);
    }

    #[test]
    fn error_panic_and_swallowed_error_roll_back_and_the_pool_works_after() {
        let host = Host::new();
        let paths = ["/duplicate", "/panic", "/swallowed", "/nothing"];
        let [duplicate, panic, swallowed, nothing] = host.answers(routes, paths.map(|path| (path, "")));
        assert_eq!(duplicate.told(), (500, "the application's own"));
        assert_eq!(panic.told(), (500, "the body of an audited handler panicked; everything is rolled back"));
        assert_eq!(swallowed.status, 500);
        assert!(swallowed.body.starts_with("Aborted("), "{}", swallowed.body);
        assert_eq!(nothing.told(), (200, "done"));
        assert_eq!(host.notes(), ["1 nothing"]);
        assert_eq!(host.trail(), ["7 note.tried ok 1"]);
    }

    #[test]
    fn record_failures_keeps_the_action_of_what_was_rolled_back() {
        let host = Host::new();
        let paths = ["/recorded/duplicate", "/recorded/panic", "/recorded/nothing"];
        let replies = host.answers(routes, paths.map(|path| (path, "")));
        assert_eq!(replies.map(|reply| reply.status.as_u16()), [500, 500, 200]);
        assert_eq!(host.notes(), ["1 nothing"]);
        assert_eq!(host.trail(), ["7 note.tried error 0", "7 note.tried error 0", "7 note.tried ok 1"]);
        let reasons = "SELECT reason FROM threadline.audit_actions ORDER BY occurred_at";
        assert_eq!(
            texts(&mut host.db.connect(), reasons),
            ["the body returned an error", "the body panicked", "NULL"]
        );
    }
}

mod options {
    use super::*;

    #[post("/changes/{id}")]
    #[audited(action = "note.changed", require_changes)]
    async fn changes(conn: &mut PgConnection, id: Path<i64>) -> AppResult<&'static str> {
        diesel::update(notes::table.find(*id)).set(notes::body.eq("changed")).execute(conn)?;
        Ok("changed")
    }

    #[test]
    fn require_changes_is_an_error_when_nothing_was_changed() {
        let host = Host::new();
        run(&mut host.db.connect(), "INSERT INTO notes VALUES (1, '')");
        let [nothing, something] = host.answers(routes, [("/changes/2", ""), ("/changes/1", "")]);
        assert_eq!(nothing.told(), (409, "NoChanges"));
        assert_eq!(something.told(), (200, "changed"));
        assert_eq!(host.trail(), ["nobody - 1", "7 note.changed ok 1"]);
    }

    #[post("/captured")]
    #[audited(capture_only)]
    async fn captured(conn: &mut PgConnection, tx: &OpenTransaction) -> AppResult<String> {
        insert(conn, 1, "captured")?;
        Ok(format!("{:?}", tx.action_id()))
    }

    #[test]
    fn capture_only_has_a_context_and_no_action() {
        let host = Host::new();
        assert_eq!(host.answer(routes, "/captured").told(), (200, "None"));
        assert_eq!(host.trail(), ["7 - 1"]);
    }

    #[post("/nobody/refused")]
    #[audited(action = "note.added")]
    async fn refused(conn: &mut PgConnection) -> AppResult<&'static str> {
        insert(conn, 1, "refused")?;
        Ok("")
    }

    #[post("/nobody/allowed")]
    #[audited(action = "note.added", allow_missing_actor)]
    async fn allowed(conn: &mut PgConnection) -> AppResult<&'static str> {
        insert(conn, 2, "allowed")?;
        Ok("")
    }

    #[test]
    fn missing_actor_is_refused_unless_the_handler_allows_it() {
        let host = Host::new();
        let [without, with] = host.answers(routes, [("/nobody/refused", ""), ("/nobody/allowed", "")]);
        assert_eq!(without.told(), (401, ""));
        assert_eq!(with.told(), (200, ""));
        assert_eq!(host.trail(), ["nobody note.added ok 1"]);
    }

    fn level(conn: &mut PgConnection) -> AppResult<String> {
        use diesel::dsl::sql;
        Ok(diesel::select(sql::<diesel::sql_types::Text>("current_setting('transaction_isolation')"))
            .get_result(conn)?)
    }

    #[post("/read_committed")]
    #[audited(capture_only, isolation = "read_committed")]
    async fn read_committed(conn: &mut PgConnection) -> AppResult<String> {
        level(conn)
    }

    #[post("/repeatable_read")]
    #[audited(capture_only, isolation = "repeatable_read")]
    async fn repeatable_read(conn: &mut PgConnection) -> AppResult<String> {
        level(conn)
    }

    #[post("/serializable")]
    #[audited(capture_only, isolation = "serializable")]
    async fn serializable(conn: &mut PgConnection) -> AppResult<String> {
        level(conn)
    }

    #[post("/default")]
    #[audited(capture_only)]
    async fn default(conn: &mut PgConnection) -> AppResult<String> {
        level(conn)
    }

    #[test]
    fn isolation_is_the_transactions_and_by_default_the_servers() {
        let host = Host::new();
        // For the connections that are opened after it; the pool has one already.
        let name = host.db.name();
        host.db
            .connect()
            .batch_execute(&format!(
                "ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
            ))
            .expect("the database is the test's own");
        let pool = Pool::builder().max_size(1).build(ConnectionManager::new(host.db.url())).unwrap();
        let host = Host { pool: AuditedPool::new(pool), ..host };
        let paths = ["/read_committed", "/serializable", "/default", "/repeatable_read", "/default"];
        let levels = host.answers(routes, paths.map(|path| (path, ""))).map(|reply| reply.body);
        assert_eq!(
            levels,
            ["read committed", "serializable", "repeatable read", "repeatable read", "repeatable read"]
        );
    }

    #[post("/announced/{id}")]
    #[audited(action = "note.added", response_header)]
    async fn announced(conn: &mut PgConnection, id: Path<i64>) -> AppResult<HttpResponse> {
        insert(conn, *id, "announced")?;
        Ok(HttpResponse::Accepted().finish())
    }

    #[test]
    fn response_header_is_the_transaction_in_the_trail_and_only_of_one_that_is_committed() {
        let host = Host::new();
        let paths = ["/announced/2", "/announced/2", "/captured"];
        let [committed, rolled_back, silent] = host.answers(routes, paths.map(|path| (path, "")));
        let id = text(
            &mut host.db.connect(),
            "SELECT id FROM threadline.audit_transactions WHERE action_id IS NOT NULL",
        );
        assert_eq!(committed.header("x-audit-transaction-id"), [id]);
        assert_eq!(rolled_back.status, 500);
        assert!(rolled_back.header("x-audit-transaction-id").is_empty());
        assert!(silent.header("x-audit-transaction-id").is_empty());
    }

    fn routes(config: &mut ServiceConfig) {
        config
            .service(changes)
            .service(captured)
            .service(refused)
            .service(allowed)
            .service(read_committed)
            .service(repeatable_read)
            .service(serializable)
            .service(default)
            .service(announced);
    }
}
