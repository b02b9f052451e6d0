//! With a declared key it is that key, not the primary key, that must stay readable.

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
#[threadline(key(email), exclude(email))]
struct User {
    id: i64,
    email: String,
}

fn main() {}
