//! A value that cannot go to the thread the body runs on, in a type the macro does not know by name.

use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::{App, FromRequest, HttpRequest, post};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

struct Cart(Rc<String>);

impl FromRequest for Cart {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(Rc::default())))
    }
}

#[post("/")]
#[audited(capture_only)]
async fn taken(conn: &mut PgConnection, cart: Cart) -> Result<String, Error> {
    Ok(cart.0.to_string())
}

fn main() {
    App::new().service(taken);
}
