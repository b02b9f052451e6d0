//! What readers reply.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde::Serialize;
use threadline::Audited;

use crate::schema::comments;

/// A comment. It goes with its post (`ON DELETE CASCADE`), which the audit trail records as well.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = comments)]
#[threadline(scope(organization_id))]
pub struct Comment {
    /// Its key.
    pub id: i64,
    /// The organization of the post.
    pub organization_id: i64,
    /// The post.
    pub post_id: i64,
    /// Who wrote it.
    pub author_id: i64,
    /// The text.
    pub body: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// A comment to be added.
#[derive(Insertable)]
#[diesel(table_name = comments)]
pub struct NewComment {
    /// The organization of the post.
    pub organization_id: i64,
    /// The post.
    pub post_id: i64,
    /// Who writes it.
    pub author_id: i64,
    /// The text.
    pub body: String,
}
