//! The people who write.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde::Serialize;
use threadline::Audited;

use crate::schema::users;

/// A user as the application reads one: without the password.
///
/// `exclude` keeps `password_hash` out of the audit trail altogether, so a past version of a row has none. A model with
/// a field for it could not be read back from the trail; leaving the column to [`NewUser`] is the way out.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = users)]
#[threadline(exclude(password_hash), mask(email), scope(organization_id))]
pub struct User {
    /// Their key.
    pub id: i64,
    /// The organization they belong to.
    pub organization_id: i64,
    /// What they are called.
    pub name: String,
    /// Where they are reached. The audit trail shows that it changed, and never what it was.
    pub email: String,
    /// Since when they are here.
    pub created_at: DateTime<Utc>,
}

/// A user to be added.
#[derive(Insertable)]
#[diesel(table_name = users)]
pub struct NewUser {
    /// The organization they will belong to.
    pub organization_id: i64,
    /// What they are called.
    pub name: String,
    /// Where they are reached; no two users share one.
    pub email: String,
    /// An Argon2 hash.
    pub password_hash: String,
}
