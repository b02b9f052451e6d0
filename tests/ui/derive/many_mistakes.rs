//! All mistakes of one model are reported at once.

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
#[threadline(pk(id), mask(email, email), exclude, schema = "")]
struct User {
    id: i64,
    email: String,
}

fn main() {}
