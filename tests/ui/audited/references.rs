//! Only the connection and the open transaction are taken by reference.

use actix_web::{App, post};
use diesel::PgConnection;
use threadline_actix::{Error, OpenTransaction, audited};

#[post("/")]
#[audited(capture_only)]
async fn two(conn: &mut PgConnection, transaction: &OpenTransaction, other: &OpenTransaction) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn extractor(conn: &mut PgConnection, body: &String) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn text(conn: &mut PgConnection, body: &str) -> Result<&'static str, Error> {
    Ok("")
}

#[audited(action = "note.kept")]
async fn kept(conn: &mut PgConnection, transaction: OpenTransaction) -> Result<&'static str, Error> {
    Ok("kept")
}

fn main() {
    App::new().service(two).service(extractor).service(text);
}
