//! Extractors that cannot go to the thread the body runs on.

use actix_web::{App, HttpRequest, post, web};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

// They are what the extractors of actix-session and actix-identity are called.
type Session = HttpRequest;
type Identity = HttpRequest;

#[post("/")]
#[audited(capture_only)]
async fn bare(conn: &mut PgConnection, request: HttpRequest) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn qualified(conn: &mut PgConnection, request: actix_web::HttpRequest) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn payload(conn: &mut PgConnection, body: web::Payload) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn session(conn: &mut PgConnection, session: Session) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn identity(identity: Option<Identity>, conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn tuple(_conn: &mut PgConnection, (_request, _body): (HttpRequest, String)) -> Result<&'static str, Error> {
    Ok("")
}

fn main() {
    App::new().service(bare).service(qualified).service(payload).service(session).service(identity).service(tuple);
}
