//! An option is given once, over all attributes.

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
#[threadline(mask(email))]
#[threadline(mask(password_hash))]
struct User {
    id: i64,
    email: String,
}

fn main() {}
