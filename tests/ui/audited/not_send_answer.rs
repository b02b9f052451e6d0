//! An answer that cannot come back from the thread the body runs on.

use actix_web::{App, HttpResponse, Responder, post};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

#[post("/")]
#[audited(capture_only)]
async fn hidden_response(conn: &mut PgConnection) -> Result<impl Responder, Error> {
    Ok(HttpResponse::Ok().finish())
}

fn main() {
    App::new().service(hidden_response);
}
