//! The body runs on a blocking thread, where nothing can be awaited.

use actix_web::{App, Responder, post};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

async fn notify() {}

#[post("/")]
#[audited(capture_only)]
async fn awaits(conn: &mut PgConnection) -> Result<impl Responder, Error> {
    if true {
        notify().await;
    }
    // Neither of these is the body's own.
    let _later = async { notify().await };
    let _closure = async || notify().await;
    Ok("")
}

#[post("/")]
#[tracing::instrument(skip(conn))]
#[audited(capture_only)]
async fn instrumented_above(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
#[tracing::instrument(skip(conn, body))]
async fn instrumented_below(conn: &mut PgConnection, body: String) -> Result<&'static str, Error> {
    notify().await;
    Ok("")
}

fn main() {
    App::new().service(awaits).service(instrumented_above).service(instrumented_below);
}
