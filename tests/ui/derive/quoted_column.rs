//! Columns are identifiers, checked by the compiler.

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
#[threadline(mask("email"))]
struct User {
    id: i64,
    email: String,
}

fn main() {}
