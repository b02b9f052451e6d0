//! A table and a row of it, as arguments.

use anyhow::Result;
use diesel::prelude::*;
use threadline::{RowKey, TableName};

/// How a key is written, for the help of arguments.
pub(crate) const KEY_HELP: &str = "The row's key: its value, or COLUMN=VALUE for each key column";

/// Which row.
#[derive(clap::Args)]
pub(crate) struct RowArgs {
    /// The table, as `posts` or `blog.posts`
    pub(crate) table: TableName,

    #[arg(required = true, value_name = "KEY", help = KEY_HELP)]
    key: Vec<String>,
}

/// A table, or one row of it.
#[derive(clap::Args)]
pub(crate) struct TableOrRowArgs {
    /// The table, as `posts` or `blog.posts`
    pub(crate) table: TableName,

    #[arg(value_name = "KEY", help = format!("{KEY_HELP}; without it, all rows"))]
    key: Vec<String>,
}

impl RowArgs {
    /// The key, once the table has said what it is made of.
    pub(crate) fn key(&self, conn: &mut PgConnection) -> Result<RowKey> {
        Ok(RowKey::written(conn, &self.table, &self.key)?)
    }
}

impl TableOrRowArgs {
    /// The key, if one row is meant.
    pub(crate) fn key(&self, conn: &mut PgConnection) -> Result<Option<RowKey>> {
        if self.key.is_empty() {
            return Ok(None);
        }
        Ok(Some(RowKey::written(conn, &self.table, &self.key)?))
    }
}
