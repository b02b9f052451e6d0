//! The attribute is given twice.

use actix_web::{App, post};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

#[post("/")]
#[audited(action = "post.created")]
#[audited(action = "post.updated")]
async fn twice(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

fn main() {
    App::new().service(twice);
}
