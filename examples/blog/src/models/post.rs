//! What is written.

use bigdecimal::BigDecimal;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use threadline::Audited;

use super::PostStatus;
use crate::schema::posts;

/// A post. Being read counts its `views` up, which alone is not worth a record in the audit trail.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = posts)]
#[threadline(scope(organization_id), ignore(views, updated_at))]
pub struct Post {
    /// Its key.
    pub id: i64,
    /// The organization that publishes it.
    pub organization_id: i64,
    /// Who wrote it.
    pub author_id: i64,
    /// What it is called.
    pub title: String,
    /// The text.
    pub body: String,
    /// Whether readers see it.
    pub status: PostStatus,
    /// What it is about. Diesel takes the elements of any array for nullable; a constraint of the table has them not be.
    pub tags: Vec<Option<String>>,
    /// What reading it costs; `None` when it is free.
    pub price: Option<BigDecimal>,
    /// Whatever else the editors note down.
    pub meta: Value,
    /// How often it was read.
    pub views: i32,
    /// When it was first saved.
    pub created_at: DateTime<Utc>,
    /// When it was last changed, in whatever column.
    pub updated_at: DateTime<Utc>,
}

/// A post to be added, as a client sends it; what is left out is the table's default.
#[derive(Deserialize, Insertable)]
#[diesel(table_name = posts)]
#[serde(deny_unknown_fields)]
pub struct NewPost {
    title: String,
    body: String,
    tags: Option<Vec<Option<String>>>,
    price: Option<BigDecimal>,
    meta: Option<Value>,
}

impl NewPost {
    /// A post of which no more is known.
    pub fn new(title: String, body: String) -> Self {
        Self { title, body, tags: None, price: None, meta: None }
    }
}

/// What of a post is to be changed, as a client sends it; what is left out stays.
#[derive(Deserialize, AsChangeset)]
#[diesel(table_name = posts)]
#[serde(deny_unknown_fields)]
pub struct PostChanges {
    title: Option<String>,
    body: Option<String>,
    tags: Option<Vec<Option<String>>>,
    price: Option<BigDecimal>,
    meta: Option<Value>,
}
