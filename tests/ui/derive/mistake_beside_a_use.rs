//! A mistake in the attribute is one message, even where the model is used.

use diesel::prelude::*;
use threadline::Audited;

diesel::table! {
    users (id) {
        id -> BigInt,
        org_id -> BigInt,
        email -> Text,
        password_hash -> Text,
    }
}

#[derive(Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = users)]
#[threadline(pk(id))]
struct User {
    id: i64,
    email: String,
}

fn main() {
    let mut conn = PgConnection::establish("").unwrap();
    let _ = User::history(&mut conn, 1_i64);
}
