//! A list is written as a list: a string would leave the column in clear.

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
#[threadline(exclude = "password_hash")]
struct User {
    id: i64,
    email: String,
}

fn main() {}
