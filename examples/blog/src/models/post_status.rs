//! The enum of the database as one of Rust.

use std::io::Write;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use serde::{Deserialize, Serialize};

use crate::schema::sql_types;

/// Whether readers see a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, AsExpression, FromSqlRow)]
#[diesel(sql_type = sql_types::PostStatus)]
#[serde(rename_all = "lowercase")]
pub enum PostStatus {
    /// Only its organization does.
    Draft,
    /// Everybody does.
    Published,
}

impl ToSql<sql_types::PostStatus, Pg> for PostStatus {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(match self {
            Self::Draft => b"draft",
            Self::Published => b"published",
        })?;
        Ok(IsNull::No)
    }
}

impl FromSql<sql_types::PostStatus, Pg> for PostStatus {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        match value.as_bytes() {
            b"draft" => Ok(Self::Draft),
            b"published" => Ok(Self::Published),
            other => Err(format!("unknown post status `{}`", String::from_utf8_lossy(other)).into()),
        }
    }
}
