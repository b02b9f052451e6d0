//! What `#[audited]` stands on is no handler of actix.

use actix_web::{App, post};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

#[post("/")]
#[audited(capture_only)]
fn not_async(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

struct Handlers;

impl Handlers {
    #[audited(capture_only)]
    async fn method(&self, conn: &mut PgConnection) -> Result<&'static str, Error> {
        Ok("")
    }
}

#[audited(capture_only)]
struct Posts;

fn main() {
    App::new().service(not_async);
    let _ = (Handlers, Posts);
}
