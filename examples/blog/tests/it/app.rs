//! The application on an ephemeral port, with a database of its own, and a client for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use actix_web::rt::System;
use blog::{db, server};
use serde_json::Value;
use threadline_devdb::TestDatabase;

/// The user of the first organization that the seed migration adds, and the one of the second.
pub(crate) const ANN: i64 = 1;
pub(crate) const SAM: i64 = 2;

pub(crate) struct App {
    pub(crate) db: TestDatabase,
    address: SocketAddr,
    handle: actix_web::dev::ServerHandle,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// A database with all migrations of the example.
pub(crate) fn migrated_database() -> TestDatabase {
    TestDatabase::from_template("blog", |url| {
        db::migrate(&db::pool(url).expect("the new database accepts connections"))
            .expect("the example's migrations run");
    })
}

impl App {
    pub(crate) fn start() -> Self {
        let db = migrated_database();
        let pool = db::pool(&db.url()).expect("the new database accepts connections");
        let (started, server) = std::sync::mpsc::channel();
        thread::spawn(move || {
            System::new().block_on(async move {
                let (server, address) = server::bind(pool, "127.0.0.1:0").expect("some port is free");
                started.send((server.handle(), address)).expect("the test waits for it");
                server.await
            })
        });
        let (handle, address) = server.recv().expect("the server starts");
        Self { db, address, handle }
    }

    /// Sends a request of the user's; `route` is what follows `/api`.
    pub(crate) fn request(&self, user: i64, method: &str, route: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        send(self.address, user, method, route, &body).expect("the server answers")
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
        let post = serde_json::json!({ "title": title, "body": "…", "tags": ["sea"], "price": "4.50" });
        self.done(user, "POST", "/posts", post)["id"].as_i64().expect("a post has an id")
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Returns at once; what is left of the server goes with the process.
        drop(self.handle.stop(false));
    }
}

/// One request on a connection of its own: HTTP as plain as it comes.
pub(crate) fn send(
    address: SocketAddr,
    user: i64,
    method: &str,
    route: &str,
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "{method} /api{route} HTTP/1.1\r\nhost: {address}\r\nx-demo-user: {user}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an HTTP status line");
    let mut body = String::new();
    reader.read_to_string(&mut body)?;
    Ok(Answer { status, body: serde_json::from_str(&body).unwrap_or(Value::Null) })
}
