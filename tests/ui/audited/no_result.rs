//! Without a `Result` it is not known what to commit and what to roll back.

use actix_web::{App, Responder, post};
use diesel::PgConnection;
use threadline_actix::{audited};

// Above the route's attribute, which has a message of its own for this.
#[audited(capture_only)]
#[post("/")]
async fn nothing(conn: &mut PgConnection) {}

#[post("/")]
#[audited(capture_only)]
async fn text(conn: &mut PgConnection) -> &'static str {
    ""
}

#[post("/")]
#[audited(capture_only)]
async fn responder(conn: &mut PgConnection) -> impl Responder {
    ""
}

#[post("/")]
#[audited(capture_only)]
async fn number(conn: &mut PgConnection) -> u64 {
    7
}

fn main() {
    App::new().service(nothing).service(text).service(responder).service(number);
}
