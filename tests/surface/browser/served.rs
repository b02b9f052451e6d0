//! The surface on a port of this machine, over a database with something of everything, as three visitors get it.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use diesel::PgConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use tempfile::TempDir;
use threadline::exports::{self, ExportRequest};
use threadline::views;
use threadline::{Action, Actor, ActorId, AuditContext, AuditedPool, ExportFormat, ExportOptions, Scope};
use threadline_actix::surface::{Access, SurfaceConfig, surface};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, run, text};
use threadline_worker::{Connections, Stop, Storage, Worker};

/// Two tables of two tenants, with a key of two columns, masked and excluded columns, and values of every kind.
const TABLES: &str = "\
CREATE TABLE posts (id bigint PRIMARY KEY, tenant bigint, title text, body text, tags text[], price numeric, meta jsonb, contact text, token text);
CREATE TABLE members (tenant bigint, person text, role text, PRIMARY KEY (tenant, person));
CREATE TABLE drafts (id bigint PRIMARY KEY, body text);
CREATE TABLE settings (name text PRIMARY KEY, value text);
SELECT threadline.attach('posts', mask => ARRAY['contact'], exclude => ARRAY['token'], scope => 'tenant');
SELECT threadline.attach('members', scope => 'tenant');
SELECT threadline.attach('drafts');";

/// A page of no surface's, which has in it what a page must not have; see `mod.rs`.
const BROKEN: &str = "<!doctype html><html lang=\"en\"><title>Broken</title><main><h1>Broken</h1>\
<script>document.title = 'ran'</script><img src=\"data:,\"><p style=\"width: 3000px\">wide</p>\
<table><tr><td>a table that is far too wide for a telephone because of this_word_that_never_ends_and_goes_on_and_on_and_on_and_on_and_on</td></tr></table></main></html>";

pub(super) struct Served {
    pub(super) address: SocketAddr,
    /// The transaction with the most in it.
    pub(super) transaction: String,
    handle: ServerHandle,
    _databases: [TestDatabase; 2],
    _files: TempDir,
}

impl Served {
    /// Mounted four times: `/admin` sees everything, `/support` tenant 7, `/empty` a database in which nothing happened, and
    /// `/nobody` lets nobody in.
    pub(super) fn start() -> Self {
        let (filled, empty) = (audited_database(), audited_database());
        let (pool, nothing) = (pool(&filled), pool(&empty));
        let transaction = fill(&pool, &filled);
        let files = tempfile::tempdir().expect("there is room for the files of exports");
        let storage = Storage::create_directory(files.path()).expect("it is a folder");
        let [ready, queued] = [ExportFormat::Csv, ExportFormat::Json]
            .map(|format| ExportRequest::unscoped(ExportOptions::new(format)));
        for (name, page, question) in [
            ("Failed, of late", "actions", "status=error"),
            ("Members of seven <i>by hand</i>", "timeline", "table=members&actor=user%3A7&window=7d"),
            ("Everything", "timeline", ""),
        ] {
            views::save(&mut filled.connect(), &Actor::user(1), name, page, question).expect("it is saved");
        }
        exports::enqueue(&mut filled.connect(), &ready, &Actor::user(1)).expect("it is queued");
        let worker = Worker::builder(Connections::to_url(filled.url())).storage(storage.clone());
        let worker = worker.without_partitions().build().expect("it has all it needs");
        worker.run_once(&Stop::new()).expect("it makes what is queued");
        exports::enqueue(&mut filled.connect(), &queued, &Actor::user(1)).expect("it is queued");
        let admin = everything(pool.clone()).storage(storage.clone()).home("/", "Blog");
        let nobodys = SurfaceConfig::new(pool.clone()).authorize(async |_: &HttpRequest| Ok(Access::deny()));
        let nobodys = nobodys.login("/login").home("/", "Blog");
        let support = SurfaceConfig::new(pool)
            .authorize(async |_: &HttpRequest| {
                Ok(Access::within(Scope::tenant("7"), "organization Harbour Weekly"))
            })
            .actor(async |_: &HttpRequest| Ok(Some(Actor::user(2))))
            .storage(storage);
        let empty_one = everything(nothing);
        let (started, server) = mpsc::channel();
        thread::spawn(move || {
            System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    App::new()
                        .service(surface(admin.clone()).mount("/admin"))
                        .service(surface(support.clone()).mount("/support"))
                        .service(surface(empty_one.clone()).mount("/empty"))
                        .service(surface(nobodys.clone()).mount("/nobody"))
                        .route("/broken", web::get().to(broken))
                })
                .workers(2)
                .disable_signals()
                .bind("127.0.0.1:0")
                .expect("some port is free");
                let address = server.addrs()[0];
                let server = server.run();
                started.send((address, server.handle())).expect("the test waits for it");
                server.await
            })
        });
        let (address, handle) = server.recv().expect("the server starts");
        Self { address, transaction, handle, _databases: [filled, empty], _files: files }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn broken() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("content-type", "text/html"))
        .insert_header(("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"))
        .body(BROKEN)
}

fn pool(db: &TestDatabase) -> AuditedPool {
    let manager = ConnectionManager::<PgConnection>::new(db.url());
    AuditedPool::new(Pool::builder().max_size(4).build(manager).unwrap())
}

fn everything(pool: AuditedPool) -> SurfaceConfig {
    SurfaceConfig::new(pool)
        .authorize(async |_: &HttpRequest| Ok(Access::allow()))
        .actor(async |_: &HttpRequest| Ok(Some(Actor::user(1))))
        .authorize_coverage(async |_: &HttpRequest| Ok(true))
        .authorize_policy(async |_: &HttpRequest| Ok(true))
        .authorize_retention(async |_: &HttpRequest| Ok(true))
        .authorize_evidence(async |_: &HttpRequest| Ok(true))
}

/// Something of everything; the id of the transaction with the most in it.
fn fill(pool: &AuditedPool, db: &TestDatabase) -> String {
    let conn = &mut db.connect();
    run(conn, TABLES);
    let write = |context: &AuditContext, action: Action, sql: &str| {
        let written = pool.write(context.transaction().action(action), |conn, open| {
            run(conn, sql);
            Ok::<_, threadline::Error>(open.id())
        });
        written.unwrap().to_string()
    };
    let ann = AuditContext::new(Actor::user(7)).with_request_id("req-1").with_correlation_id("ticket-4711");
    let word = "unbreakable".repeat(30);
    for id in 1..=40 {
        let (tenant, body) = (7 + id % 2, LONG.repeat(if id == 3 { 40 } else { 1 }));
        write(
            &AuditContext::new(Actor::user(id % 5)).with_request_id(format!("req-{id}")),
            Action::new("post.created").category("content"),
            &format!(
                "INSERT INTO posts VALUES ({id}, {tenant}, 'Tides {id}', '{body}', '{{sea,salt}}', 4.50, '{{\"a\": {{\"b\": [1, 2]}}}}', 'ann@example.com', 'secret')"
            ),
        );
    }
    write(
        &AuditContext::new(Actor::service_account(ActorId::from_static("importer"))).with_job_id("import-7"),
        Action::new("members.imported").category("import").reason("the list of 1998"),
        "INSERT INTO members SELECT 7 + n % 2, 'person ' || n, 'reader' FROM generate_series(1, 120) n",
    );
    let edit = write(
        &ann.clone().with_meta("route", "/posts/{id}"),
        Action::new("post.edited").category("content").reason("asked for by its author").comment("twice"),
        &format!(
            "UPDATE posts SET title = 'High tides', body = replace(body, 'twice', 'four times'), tags = '{{sea,moon}}', price = NULL, meta = '{{\"a\": {{\"b\": [1, 3]}}, \"c\": null}}', contact = 'new@example.com' WHERE id = 1; \
             UPDATE posts SET body = body || ' More.', title = '' WHERE id = 3; UPDATE posts SET title = '{word}' WHERE id = 5; \
             UPDATE posts SET title = E'right \\u202Eto left\\u0007 \\U0001F30A' WHERE id = 7; UPDATE members SET person = 'somebody else' WHERE tenant = 7 AND person = 'person 2'; \
             INSERT INTO drafts VALUES (1, NULL), (2, ''); DELETE FROM posts WHERE id = 39"
        ),
    );
    let job = ann.clone().with_actor(Actor::job(81)).with_job_id("81");
    write(
        &job,
        Action::new("members.notified"),
        "UPDATE members SET role = 'writer' WHERE tenant = 8 AND person < 'person 2'",
    );
    let failed =
        Action::new("post.published").category("content").failed("a post without a text cannot be published");
    pool.record_action(&ann, &failed).unwrap();
    // Past the application: a row nobody answers for, a table that is emptied, and a write that escapes capture.
    run(conn, "UPDATE posts SET price = 5 WHERE id = 1; TRUNCATE drafts");
    run(
        conn,
        "BEGIN; SET LOCAL session_replication_role = replica; UPDATE posts SET price = 99 WHERE id = 1; COMMIT",
    );
    write(&ann, Action::new("post.edited"), "UPDATE posts SET price = 6 WHERE id = 1");
    assert_eq!(text(conn, "SELECT count(DISTINCT op) FROM threadline.audit_changes"), "4");
    edit
}

const LONG: &str = "The tide comes twice a day, and nobody is surprised. ";
