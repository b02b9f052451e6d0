//! A key has as many parts as the table's.

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
#[threadline(key(org_id, email))]
struct User {
    id: i64,
    email: String,
}

fn main() {
    let mut conn = PgConnection::establish("").unwrap();
    let _ = User::history(&mut conn, (1_i64, "x", 2_i64));
}
