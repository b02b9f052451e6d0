//! The handler's error type does not take in the audit's.

use actix_web::{App, HttpResponse, post};
use diesel::PgConnection;
use threadline_actix::{audited};

#[derive(Debug)]
struct AppError;

impl std::fmt::Display for AppError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no")
    }
}

impl actix_web::ResponseError for AppError {}

#[post("/")]
#[audited(capture_only)]
async fn text(conn: &mut PgConnection) -> Result<&'static str, AppError> {
    Ok("")
}

#[post("/")]
#[audited(capture_only)]
async fn response(conn: &mut PgConnection) -> Result<HttpResponse, AppError> {
    Ok(HttpResponse::Ok().finish())
}

fn main() {
    App::new().service(text).service(response);
}
