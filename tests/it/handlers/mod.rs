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

mod answers;
mod failures;
mod instrumented;
mod options;
mod parameters;
mod placed;

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
