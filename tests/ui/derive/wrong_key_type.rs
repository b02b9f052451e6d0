//! A key of another type than the column's does not compile.

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
struct User {
    id: i64,
    email: String,
}

fn main() {
    let mut conn = PgConnection::establish("").unwrap();
    let _ = User::history(&mut conn, "x");
}
