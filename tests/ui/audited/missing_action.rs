//! What is done is not said.

use actix_web::{App, post};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

#[post("/")]
#[audited]
async fn bare(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited()]
async fn empty(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(require_changes)]
async fn flag_only(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(verb = "create")]
async fn verb_only(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

fn main() {
    App::new().service(bare).service(empty).service(flag_only).service(verb_only);
}
