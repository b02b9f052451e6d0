//! What members are told.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde::Serialize;
use threadline::Audited;

use crate::schema::notifications;

/// Tells a member that a post was published. Written by a job, and audited like anything else.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = notifications)]
#[threadline(scope(organization_id))]
pub struct Notification {
    /// Its key.
    pub id: i64,
    /// The organization of the post.
    pub organization_id: i64,
    /// Who is told.
    pub user_id: i64,
    /// The post.
    pub post_id: i64,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// A notification to be added.
#[derive(Insertable)]
#[diesel(table_name = notifications)]
pub struct NewNotification {
    /// The organization of the post.
    pub organization_id: i64,
    /// Who is told.
    pub user_id: i64,
    /// The post.
    pub post_id: i64,
}
