//! The primary key tells rows apart, so it stays readable.

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
#[threadline(mask(email, id))]
struct User {
    id: i64,
    email: String,
}

fn main() {}
