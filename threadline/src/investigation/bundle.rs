//! Everything one transaction left in the trail: who, why, and each change.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, Integer, Text, Uuid as SqlUuid};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::change::{AuditAction, AuditChange, AuditTransaction};
use super::fold;
use super::image::RowImage;
use super::log::{Present, SinceLayout, StoredChange, TodaysColumns};
use crate::capture::TableName;
use crate::error::Error;

/// Everything one transaction left in the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TransactionBundle {
    /// The transaction's id.
    pub id: Uuid,
    /// The transaction; `None` when a session that forged Threadline's settings wrote changes without one.
    pub transaction: Option<AuditTransaction>,
    /// The actions recorded in it, in order; the one it was begun with comes first.
    pub actions: Vec<AuditAction>,
    /// Its changes, in the order they were captured.
    pub changes: Vec<TableChange>,
}

/// A change, and the table it was made in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TableChange {
    /// The table, under the name it had when its capture was last compiled.
    pub table: TableName,
    /// The change; its columns have today's names.
    #[serde(flatten)]
    pub change: AuditChange,
    /// The whole row: the new one of an insert, the old one of a delete or of an update that changed the key.
    pub row: Option<RowImage>,
}

/// Which changes of a transaction are read: those after one ordinal, up to and including another.
pub(crate) struct Extract {
    pub(crate) id: Uuid,
    pub(crate) after_ordinal: i32,
    pub(crate) upto_ordinal: i32,
}

#[derive(Deserialize)]
struct Head {
    /// How many changes follow.
    changes: usize,
    transaction: Option<AuditTransaction>,
    actions: Vec<AuditAction>,
}

#[derive(Deserialize)]
struct Table {
    schema: String,
    name: String,
    present: Present,
    layouts: Option<BTreeMap<i32, SinceLayout>>,
    attributes: Option<TodaysColumns>,
}

/// What the transaction with this id did; `None` when the trail has nothing of it.
///
/// Redacted as the tables are today: what is excluded or masked now does not show, also where it was captured before.
///
/// # Errors
///
/// [`Error::SchemaMissing`] and [`Error::ConnectionLost`] and others of the database; [`Error::Payload`] when the trail
/// holds what this library did not write.
pub fn transaction_bundle(conn: &mut PgConnection, id: Uuid) -> Result<Option<TransactionBundle>, Error> {
    let whole = Extract { id, after_ordinal: i32::MIN, upto_ordinal: i32::MAX };
    Ok(read(conn, &[whole])?.pop().filter(|bundle| {
        bundle.transaction.is_some() || !bundle.actions.is_empty() || !bundle.changes.is_empty()
    }))
}

/// What these transactions did, in this order; empty of all for one the trail has nothing of.
pub(crate) fn read(conn: &mut PgConnection, wanted: &[Extract]) -> Result<Vec<TransactionBundle>, Error> {
    #[derive(QueryableByName)]
    struct Entry {
        #[diesel(sql_type = Text)]
        entry: String,
    }
    let ids: Vec<Uuid> = wanted.iter().map(|extract| extract.id).collect();
    let (Some(lowest), Some(highest)) = (ids.iter().min(), ids.iter().max()) else {
        return Ok(Vec::new());
    };
    let after: Vec<i32> = wanted.iter().map(|extract| extract.after_ordinal).collect();
    let upto: Vec<i32> = wanted.iter().map(|extract| extract.upto_ordinal).collect();
    let entries: Vec<Entry> = diesel::sql_query(include_str!("sql/bundle.sql"))
        .bind::<Array<SqlUuid>, _>(&ids)
        .bind::<Array<Integer>, _>(after)
        .bind::<Array<Integer>, _>(upto)
        .bind::<SqlUuid, _>(lowest)
        .bind::<SqlUuid, _>(highest)
        .load(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    // Each text is gone once it is read: a batch of the feed is in memory once.
    let mut entries = entries.into_iter().map(|entry| entry.entry);
    let mut next = || entries.next().ok_or(Error::Query(diesel::result::Error::NotFound));
    let tables: BTreeMap<i32, Table> = serde_json::from_str(&next()?).map_err(Error::Payload)?;
    ids.iter()
        .map(|&id| {
            let Head { changes, transaction, actions } =
                serde_json::from_str(&next()?).map_err(Error::Payload)?;
            let changes = (0..changes).map(|_| change(&next()?, &tables)).collect::<Result<_, _>>()?;
            Ok(TransactionBundle { id, transaction, actions, changes })
        })
        .collect()
}

fn change(entry: &str, tables: &BTreeMap<i32, Table>) -> Result<TableChange, Error> {
    let stored: StoredChange = serde_json::from_str(entry).map_err(Error::Payload)?;
    let table = tables.get(&stored.table_id).ok_or_else(|| {
        Error::Payload(serde::de::Error::custom("a change of a table that is not among the audited ones"))
    })?;
    let (layouts, attributes) = (BTreeMap::new(), BTreeMap::new());
    let (change, row) = fold::shown(
        stored,
        &table.present,
        table.layouts.as_ref().unwrap_or(&layouts),
        table.attributes.as_ref().unwrap_or(&attributes),
    );
    Ok(TableChange { table: TableName::new(Some(&table.schema), &table.name), change, row })
}
