//! All mistakes of one handler are told at once.

use actix_web::{App, HttpRequest, post};
use diesel::PgConnection;
use threadline_actix::{audited};

#[post("/")]
#[audited(action = "", isolation = "none", retries)]
async fn create(request: HttpRequest, other: &mut PgConnection, conn: &mut PgConnection) -> String {
    notify().await;
    String::new()
}

fn main() {
    App::new().service(create);
}
