//! A placeholder alone suggests a mask that is not there.

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
#[threadline(mask_placeholder = "[HIDDEN]")]
struct User {
    id: i64,
    email: String,
}

fn main() {}
