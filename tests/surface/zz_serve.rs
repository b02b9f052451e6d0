use actix_web::{App, HttpServer, HttpRequest, rt};
use threadline::config::Config;
use threadline::exports::{self, ExportRequest};
use threadline::{Actor, ExportFormat, ExportOptions, Filter, Scope, TableName};
use threadline_actix::surface::{Access, SurfaceConfig, surface};
use threadline_worker::{Connections, Stop, Storage, Worker};
use threadline_tests::run;
use super::site::{Site, Visitor};

#[test]
#[ignore]
fn serve() {
    let site = Site::new();
    let conn = &mut site.db.connect();
    run(conn, "CREATE TABLE posts (id bigint PRIMARY KEY, tenant bigint, title text, status text); SELECT threadline.attach('posts', scope => 'tenant'); CREATE TABLE comments (id bigint PRIMARY KEY); SELECT threadline.attach('comments'); CREATE TABLE invoices (id bigint PRIMARY KEY, iban text); SELECT threadline.attach('invoices', mask => ARRAY['iban'])");
    for n in 1..30 {
        site.write(&format!("user:{}", n % 5 + 1), &format!("INSERT INTO posts VALUES ({n}, 7, 'Title {n}', 'draft')"));
        site.write(&format!("user:{}", n % 5 + 1), &format!("UPDATE posts SET status = 'published' WHERE id = {n}"));
    }
    run(conn, "SELECT threadline.detach('comments')");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    run(conn, "SELECT threadline.attach('comments')");
    threadline::continuity::record_baseline(conn, &TableName::new(None, "notes"), &Actor::admin(5), "before the move to the new cluster").unwrap();
    if std::env::var("GAP").is_ok() {
        run(conn, "ALTER TABLE posts DISABLE TRIGGER USER; UPDATE posts SET title = 'x' WHERE id IN (3, 4); UPDATE notes SET title = title; ALTER TABLE posts ENABLE ALWAYS TRIGGER ALL");
        run(conn, "ALTER TABLE invoices DISABLE TRIGGER USER");
    }
    let place = "/tmp/se-storage";
    let storage = Storage::create(&format!("file://{place}")).unwrap();
    let queue = |conn: &mut _, request: ExportRequest| exports::enqueue(conn, &request, &Actor::user(1)).unwrap().id;
    let all = |f| ExportRequest::unscoped(ExportOptions::new(f).unlimited());
    let failed = queue(conn, all(ExportFormat::Csv).filter(Filter::new().table(TableName::new(None, "posts"))));
    queue(conn, all(ExportFormat::Csv).filter(Filter::new().table(TableName::new(None, "posts")).actor(Actor::user(3))));
    queue(conn, all(ExportFormat::Ndjson));
    Worker::builder(Connections::to_url(site.db.url())).storage(storage.clone()).without_partitions().build().unwrap().run_once(&Stop::new()).unwrap();
    run(conn, &format!("UPDATE threadline.export_jobs SET state = 'failed', error = 'storage', failures = 3, finished_at = now(), manifest = NULL, object_name = NULL, expires_at = NULL WHERE id = '{failed}'"));
    let running = queue(conn, all(ExportFormat::Json).filter(Filter::new().action("post.published")));
    run(conn, &format!("UPDATE threadline.export_jobs SET state = 'running', attempt = 1, worker = 'w', heartbeat_at = now(), rows_written = 123456, bytes_written = 98765432 WHERE id = '{running}'"));
    let waiting = queue(conn, all(ExportFormat::Csv));
    run(conn, &format!("UPDATE threadline.export_jobs SET due_at = now() - interval '5 minutes' WHERE id = '{waiting}'"));
    for n in 0..12 { site.get(Visitor::Support, &format!("rows?table=posts&key={n}")); }
    site.get(Visitor::Support, "coverage"); site.get(Visitor::Support, "retention");
    site.get(Visitor::Support, "timeline?table=posts&window=7d&actor=user:3");
    let pool = site.pool.clone();
    let who = |request: &HttpRequest| request.uri().path().split('/').nth(1).unwrap_or_default().to_owned();
    let config = SurfaceConfig::new(pool)
        .authorize(async move |r: &HttpRequest| Ok(if who(r) == "support" { Access::within(Scope::tenant("7"), "organization 7") } else { Access::allow() }))
        .actor(async move |r: &HttpRequest| Ok(Some(if who(r) == "support" { Actor::user(2) } else { Actor::user(1) })))
        .authorize_coverage(async move |r: &HttpRequest| Ok(who(r) != "support"))
        .authorize_policy(async |_| Ok(true)).authorize_retention(async move |r: &HttpRequest| Ok(who(r) != "support")).authorize_evidence(async |_| Ok(true))
        .operation(Config::parse("[retention]\nkeep = \"90d\"\n").unwrap());
    let stored = config.clone().storage(storage);
    rt::System::new().block_on(async move {
        HttpServer::new(move || App::new()
            .service(surface(stored.clone()).mount("/audit"))
            .service(surface(stored.clone()).mount("/support"))
            .service(surface(config.clone()).mount("/plain")))
            .workers(2).bind(("127.0.0.1", std::env::var("PORT").unwrap().parse::<u16>().unwrap())).unwrap().run().await.unwrap();
    });
}
