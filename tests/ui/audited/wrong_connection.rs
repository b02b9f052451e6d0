//! The connection is another one than Threadline gives.

use actix_web::{App, post};
use diesel::PgConnection;
use diesel::r2d2::{ConnectionManager, PooledConnection};
use threadline_actix::{Error, audited};

type Pooled = PooledConnection<ConnectionManager<PgConnection>>;

#[post("/")]
#[audited(capture_only)]
async fn pooled(conn: &mut Pooled) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn text(conn: &mut String) -> Result<&'static str, Error> {
    Ok("")
}

fn main() {
    App::new().service(pooled).service(text);
}
