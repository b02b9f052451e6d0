//! An attribute on a field would be ignored, and the column recorded in clear.

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
    #[threadline(mask)]
    email: String,
}

fn main() {}
