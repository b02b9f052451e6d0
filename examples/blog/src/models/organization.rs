//! The tenants, and who is what in them.

use diesel::prelude::*;
use serde::Serialize;
use threadline::Audited;

use crate::schema::{memberships, organizations};

/// A tenant. Users see and change only rows of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = organizations)]
#[threadline(scope(id))]
pub struct Organization {
    /// Its key.
    pub id: i64,
    /// What it is called.
    pub name: String,
}

/// What a user may do in an organization. The key is composite, and so is that of its history.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable, Identifiable, Insertable, Audited)]
#[diesel(table_name = memberships, primary_key(organization_id, user_id))]
#[threadline(scope(organization_id))]
pub struct Membership {
    /// Where.
    pub organization_id: i64,
    /// Who.
    pub user_id: i64,
    /// `reader`, `writer` or `owner`.
    pub role: String,
}
