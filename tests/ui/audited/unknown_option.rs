//! An option that does not exist, beside a route that is used.

use actix_web::{App, post};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

#[post("/")]
#[audited(acton = "post.created")]
async fn misspelt(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(capture_only, retry = 3)]
async fn invented(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

fn main() {
    App::new().service(misspelt).service(invented);
}
