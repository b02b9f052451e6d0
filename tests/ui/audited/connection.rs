//! The connection is the one `&mut` parameter, under a plain name.

use actix_web::{App, post};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

#[post("/")]
#[audited(capture_only)]
async fn missing() -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn by_value(conn: PgConnection, body: String) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn two(conn: &mut PgConnection, other: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn named_lifetime<'a>(conn: &'a mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

fn main() {
    App::new().service(missing).service(two).service(by_value).service(named_lifetime);
}
