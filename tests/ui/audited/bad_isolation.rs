//! An isolation level that PostgreSQL has no name for, or none of its own.

use actix_web::{App, post};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

#[post("/")]
#[audited(capture_only, isolation = "snapshot")]
async fn invented(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only, isolation = threadline_actix::Isolation::Serializable)]
async fn path(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only, isolation)]
async fn bare(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

fn main() {
    App::new().service(invented).service(path).service(bare);
}
