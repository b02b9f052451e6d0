//! actix's own error type, where its name does not say so.

use actix_web::{App, Error, post};
use diesel::PgConnection;
use threadline_actix::{audited};

#[post("/")]
#[audited(capture_only)]
async fn imported(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

fn main() {
    App::new().service(imported);
}
