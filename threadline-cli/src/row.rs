//! A table and a row of it, as arguments.

use std::collections::BTreeMap;

use anyhow::Result;
use diesel::prelude::*;
use threadline::{RowKey, TableName};

use crate::output::key_text;

/// How a key is written, for the help of arguments.
pub(crate) const KEY_HELP: &str = "The row's key: its value, or COLUMN=VALUE for each key column";

/// Keys of rows as the trail stores them, in the spelling that arguments take.
#[derive(Default)]
pub(crate) struct StoredKeys(BTreeMap<TableName, Vec<String>>);

impl StoredKeys {
    /// Of rows of these tables. Of a table that is not audited any more, keys are shown as they are stored.
    pub(crate) fn of<'a>(conn: &mut PgConnection, tables: impl IntoIterator<Item = &'a TableName>) -> Self {
        let mut all = BTreeMap::new();
        for table in tables {
            if !all.contains_key(table) {
                all.insert(table.clone(), RowKey::columns(conn, table).unwrap_or_default());
            }
        }
        Self(all)
    }

    /// The key with its columns, where they are known.
    pub(crate) fn key(&self, table: &TableName, stored: &str) -> Option<RowKey> {
        self.0.get(table).and_then(|columns| RowKey::stored(columns, stored))
    }

    pub(crate) fn text(&self, table: &TableName, stored: &str) -> String {
        key_text(self.key(table, stored).as_ref(), stored)
    }
}

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
