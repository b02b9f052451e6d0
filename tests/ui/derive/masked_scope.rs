//! The scope is stored beside each change, so it is not secret.

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
#[threadline(scope(org_id), mask(org_id))]
struct User {
    id: i64,
    email: String,
}

fn main() {}
