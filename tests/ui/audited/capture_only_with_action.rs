//! Nothing can be said about an action that there is none of.

use actix_web::{App, post};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

#[post("/")]
#[audited(capture_only, action = "post.created")]
async fn with_action(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(record_failures, capture_only)]
async fn with_failures(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only, category = "content", reason = "asked")]
async fn with_details(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

fn main() {
    App::new().service(with_action).service(with_failures).service(with_details);
}
