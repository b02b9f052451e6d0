//! actix's own error type is bound to its thread.

use actix_web::{App, post};
use diesel::PgConnection;
use threadline_actix::{audited};

#[post("/")]
#[audited(capture_only)]
async fn spelt_out(conn: &mut PgConnection) -> Result<&'static str, actix_web::Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn defaulted(conn: &mut PgConnection) -> actix_web::Result<&'static str> {
    Ok("")
}

fn main() {
    App::new().service(spelt_out).service(defaulted);
}
