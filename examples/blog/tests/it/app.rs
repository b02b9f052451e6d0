//! The application on an ephemeral port, with a database of its own, and a client for it.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread;

use actix_web::rt::System;
use blog::seed::{self, SEEDED};
use blog::{audit, db, jobs, server, session};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use serde_json::{Value, json};
use threadline::AuditedPool;
use threadline::config::Config;
use threadline_devdb::TestDatabase;

/// The user of the first organization that the seed migration adds, and the one of the second.
pub(crate) const ANN: i64 = 1;
pub(crate) const SAM: i64 = 2;

/// What lets both of them in.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

pub(crate) struct App {
    pub(crate) db: TestDatabase,
    pub(crate) address: SocketAddr,
    pool: AuditedPool,
    handle: actix_web::dev::ServerHandle,
    /// The cookie of each user who has logged in.
    cookies: Mutex<HashMap<i64, String>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) text: String,
    /// The text as JSON; null if it is none.
    pub(crate) body: Value,
}

/// A database with all migrations of the example, whose users can log in.
pub(crate) fn migrated_database() -> TestDatabase {
    TestDatabase::from_template("blog", |url| {
        let pool = db::pool(url).expect("the new database accepts connections");
        db::migrate(&pool).expect("the example's migrations run");
        let pool = AuditedPool::new(pool);
        seed::passwords(&pool, PASSWORD).expect("the users are there");
    })
}

impl App {
    pub(crate) fn start() -> Self {
        let db = migrated_database();
        let pool = AuditedPool::new(db::pool(&db.url()).expect("the new database accepts connections"));
        let key = session::key(None).expect("one is made up");
        let (started, server) = std::sync::mpsc::channel();
        let served = pool.clone();
        let config = Config::parse(include_str!("../../threadline.toml")).expect("it is in order");
        let audit = audit::pages(&pool, config, &db.url()).expect("no storage is configured");
        thread::spawn(move || {
            System::new().block_on(async move {
                let (server, address) =
                    server::bind(served, key, audit, "127.0.0.1:0").expect("some port is free");
                started.send((server.handle(), address)).expect("the test waits for it");
                server.await
            })
        });
        let (handle, address) = server.recv().expect("the server starts");
        Self { db, address, pool, handle, cookies: Mutex::default() }
    }

    /// Sends a request of the user's, who logs in first if need be; `route` is what follows `/api`.
    pub(crate) fn request(&self, user: i64, method: &str, route: &str, body: Option<Value>) -> Answer {
        self.send(&[&format!("cookie: {}", self.cookie(user))], method, &format!("/api{route}"), body)
    }

    /// Sends a request of anybody's, with these header lines.
    pub(crate) fn send(&self, headers: &[&str], method: &str, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        send(self.address, headers, method, path, &body).expect("the server answers")
    }

    /// The user's session.
    pub(crate) fn cookie(&self, user: i64) -> String {
        let mut cookies = self.cookies.lock().expect("no test panics with it");
        let email = SEEDED[usize::try_from(user - 1).expect("an id")];
        cookies.entry(user).or_insert_with(|| log_in(self.address, email, PASSWORD).cookie()).clone()
    }

    pub(crate) fn get(&self, user: i64, route: &str) -> Answer {
        self.request(user, "GET", route, None)
    }

    /// As [`request`](Self::request), which must succeed; the body.
    pub(crate) fn done(&self, user: i64, method: &str, route: &str, body: Value) -> Value {
        let answer = self.request(user, method, route, Some(body));
        assert!(answer.status < 300, "{method} {route}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// A post of the user's; its id.
    pub(crate) fn post(&self, user: i64, title: &str) -> i64 {
        let post = json!({ "title": title, "body": "…", "tags": ["sea"], "price": "4.50" });
        self.done(user, "POST", "/posts", post)["id"].as_i64().expect("a post has an id")
    }

    /// Runs the next job, which must succeed; whether there was one.
    pub(crate) fn work(&self) -> bool {
        self.try_work().expect("the job is done")
    }

    pub(crate) fn try_work(&self) -> Result<bool, Box<dyn Error + Send + Sync>> {
        jobs::run_next(&self.pool)
    }

    /// The actions in the trail, oldest first, each as `name status actor: reason`; logins left out.
    pub(crate) fn actions(&self) -> Vec<String> {
        self.db.texts(
            "SELECT concat_ws(' ', name, status, actor_type, actor_id) || coalesce(': ' || reason, '') AS text \
             FROM threadline.audit_actions WHERE name NOT IN ('session.started', 'user.password_set') ORDER BY occurred_at, id",
        )
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Returns at once; what is left of the server goes with the process.
        drop(self.handle.stop(false));
    }
}

impl Answer {
    /// The session it begins.
    pub(crate) fn cookie(&self) -> String {
        let cookie =
            self.headers.get("set-cookie").unwrap_or_else(|| panic!("{} {}", self.status, self.text));
        cookie.split(';').next().expect("there is a first part").to_owned()
    }
}

/// The database, past the application.
pub(crate) trait Sql {
    /// What a query says, in its column `text`.
    fn texts(&self, query: &str) -> Vec<String>;

    /// Runs statements.
    fn run(&self, statements: &str);
}

impl Sql for TestDatabase {
    fn texts(&self, query: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Text)]
            text: String,
        }
        let rows: Vec<Row> = diesel::sql_query(query).load(&mut self.connect()).expect("the query runs");
        rows.into_iter().map(|row| row.text).collect()
    }

    fn run(&self, statements: &str) {
        self.connect().batch_execute(statements).expect("the statements run");
    }
}

pub(crate) fn log_in(address: SocketAddr, email: &str, password: &str) -> Answer {
    let credentials = json!({ "email": email, "password": password }).to_string();
    send(address, &[], "POST", "/api/login", &credentials).expect("the server answers")
}

/// One request on a connection of its own: HTTP as plain as it comes. The body is JSON, unless a header says otherwise.
pub(crate) fn send(
    address: SocketAddr,
    headers: &[&str],
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<Answer> {
    let mut head = headers.join("\r\n");
    if !head.contains("content-type") {
        head.push_str("\r\ncontent-type: application/json");
    }
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        head.trim_start(),
        body.len()
    )?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next().transpose()?.unwrap_or_default();
    let status =
        status.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an HTTP status line");
    let mut headers = HashMap::new();
    for line in lines.by_ref() {
        match line?.split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let text = lines.collect::<std::io::Result<Vec<_>>>()?.join("\n");
    Ok(Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null), text })
}
