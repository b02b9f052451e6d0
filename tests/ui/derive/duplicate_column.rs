//! A column is named once in an option.

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
#[threadline(exclude(email, password_hash, email))]
struct User {
    id: i64,
    email: String,
}

fn main() {}
