//! What the database says about one row: the row as it is now, and its changes, in one statement and so in one snapshot.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Text, Timestamptz};
use serde::Deserialize;
use uuid::Uuid;

use super::change::Op;
use super::image::{Columns, Json};
use super::key::WalkKey;
use crate::error::Error;

/// Which changes are read.
#[derive(Clone, Copy)]
pub(crate) enum Reach {
    /// The newest ones, at most so many; `None` for all.
    Newest(Option<u32>),
    /// All that have to be undone to see the row at this instant, then those of the transaction before them.
    Since(DateTime<Utc>),
}

/// One row's part of the trail.
pub(crate) struct RowLog {
    pub(crate) anchor: Anchor,
    /// Newest first.
    pub(crate) changes: Vec<StoredChange>,
}

/// The row as it is now, and what is needed to read its changes.
#[derive(Deserialize)]
pub(crate) struct Anchor {
    pub(crate) table_id: i32,
    pub(crate) row_key: String,
    pub(crate) present: Present,
    /// The period of capture that goes on, or the last one.
    pub(crate) began_at: Option<DateTime<Utc>>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    /// How older layouts relate to today's columns, for those that differ from them.
    pub(crate) layouts: Option<BTreeMap<i32, SinceLayout>>,
    /// There when a change has no layout.
    pub(crate) attributes: Option<TodaysColumns>,
}

#[derive(Deserialize)]
pub(crate) struct Present {
    pub(crate) state: PresentState,
    pub(crate) image: Option<Columns>,
    pub(crate) exclude: Vec<String>,
    pub(crate) mask: Vec<String>,
    pub(crate) mask_placeholder: Json,
    pub(crate) ignore: Vec<String>,
    /// The tenant the row belongs to.
    #[serde(default)]
    pub(crate) scope: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PresentState {
    Present,
    Absent,
    Unknown,
}

#[derive(Default, Deserialize)]
pub(crate) struct SinceLayout {
    /// Old name to today's; `None` for a name that means another column today.
    pub(crate) renamed: BTreeMap<String, Option<String>>,
    /// Columns, by today's names, whose type was another one.
    pub(crate) retyped: Vec<String>,
}

/// A row of `audit_changes`, as stored.
#[derive(Deserialize)]
pub(crate) struct StoredChange {
    pub(crate) captured_at: DateTime<Utc>,
    pub(crate) transaction_id: Uuid,
    pub(crate) ordinal: i32,
    pub(crate) table_id: i32,
    pub(crate) layout: Option<i32>,
    pub(crate) op: Op,
    pub(crate) row_key: String,
    pub(crate) previous_row_key: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) previous_scope: Option<String>,
    pub(crate) partition: Option<String>,
    pub(crate) masked: Option<Vec<String>>,
    pub(crate) row_data: Option<Columns>,
    pub(crate) diff: Option<BTreeMap<String, (Json, Json)>>,
    /// What explains the payload when it has no layout.
    pub(crate) attributes: Option<Attributes>,
    /// Whether it lies at or before the instant asked for.
    #[serde(default)]
    pub(crate) settled: bool,
}

/// By relation and attribute number, the columns' names and types today.
pub(crate) type TodaysColumns = BTreeMap<u32, BTreeMap<i32, (String, String)>>;

/// The columns of a payload without a layout.
#[derive(Deserialize)]
pub(crate) struct Attributes {
    relation: u32,
    /// Attribute number and type; no type when the writer's snapshot did not know it.
    columns: BTreeMap<String, (i32, Option<String>)>,
}

impl Attributes {
    /// How these columns relate to those of `today`.
    pub(crate) fn since(&self, today: &TodaysColumns) -> SinceLayout {
        let mut since = SinceLayout::default();
        let Some(columns) = today.get(&self.relation) else {
            return since;
        };
        for (was, (attribute, old_type)) in &self.columns {
            match columns.get(attribute) {
                Some((name, new_type)) => {
                    if name != was {
                        since.renamed.insert(was.clone(), Some(name.clone()));
                    }
                    if old_type.as_ref() != Some(new_type) {
                        since.retyped.push(name.clone());
                    }
                }
                None if columns.values().any(|(name, _)| name == was) => {
                    since.renamed.insert(was.clone(), None);
                }
                None => {}
            }
        }
        since
    }
}

/// Reads the log of the row of `table` (a name as SQL takes it) with this key.
pub(crate) fn read(
    conn: &mut PgConnection,
    table: &str,
    key: &impl WalkKey,
    reach: Reach,
) -> Result<RowLog, Error> {
    let entries: Vec<Entry> =
        ReadLog { table, key, reach }.load(conn).map_err(|error| Error::from_query(conn, table, error))?;
    let mut entries = entries.iter();
    let anchor = entries.next().ok_or(Error::Query(diesel::result::Error::NotFound))?;
    Ok(RowLog {
        anchor: serde_json::from_str(&anchor.entry).map_err(Error::Payload)?,
        changes: entries
            .map(|entry| serde_json::from_str(&entry.entry))
            .collect::<Result<_, _>>()
            .map_err(Error::Payload)?,
    })
}

#[derive(QueryableByName)]
struct Entry {
    #[diesel(sql_type = Text)]
    entry: String,
}

struct ReadLog<'a, K> {
    table: &'a str,
    key: &'a K,
    reach: Reach,
}

const NEWEST_ORDER: &str = "ORDER BY captured_at DESC, transaction_id DESC, ordinal DESC";

impl<K: WalkKey> QueryFragment<Pg> for ReadLog<'_, K> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        for piece in include_str!("sql/row_log.sql").lines().filter(|line| !line.starts_with("--")) {
            let mut rest = piece;
            while let Some((before, after)) = rest.split_once('{') {
                let (hole, after) = after.split_once('}').expect("row_log.sql closes its holes");
                out.push_sql(before);
                match hole {
                    "table" => out.push_bind_param::<Text, str>(self.table)?,
                    "key" => self.key.walk_key(out.reborrow())?,
                    _ => self.walk_choice(out.reborrow())?,
                }
                rest = after;
            }
            out.push_sql(rest);
            out.push_sql("\n");
        }
        Ok(())
    }
}

impl<K> ReadLog<'_, K> {
    /// A limit is written out: as a parameter it would hide from the planner how little is wanted.
    fn walk_choice<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        match &self.reach {
            Reach::Newest(limit) => {
                out.push_sql(&format!(", chosen AS (SELECT * FROM touched {NEWEST_ORDER}"));
                if let Some(limit) = limit {
                    out.push_sql(&format!(" LIMIT {limit}"));
                }
                out.push_sql(")");
            }
            Reach::Since(at) => {
                // A transaction counts as a whole: one that went on capturing after the instant is undone entirely.
                out.push_sql(
                    ", newest AS MATERIALIZED (SELECT transaction_id FROM touched WHERE captured_at <= ",
                );
                out.push_bind_param::<Timestamptz, _>(at)?;
                out.push_sql(&format!(
                    " {NEWEST_ORDER} LIMIT 1), cutoff AS MATERIALIZED (SELECT CASE WHEN (SELECT last.captured_at \
                     FROM threadline.audit_changes last WHERE last.transaction_id = (SELECT transaction_id FROM newest) \
                     ORDER BY last.ordinal DESC LIMIT 1) > "
                ));
                out.push_bind_param::<Timestamptz, _>(at)?;
                out.push_sql(
                    " THEN (SELECT min(captured_at) FROM touched WHERE transaction_id = (SELECT transaction_id FROM newest)) \
                     - interval '1 microsecond' ELSE ",
                );
                out.push_bind_param::<Timestamptz, _>(at)?;
                // From the transaction before the instant on all changes are read: one statement may have moved a row
                // here and another one away, and either can have been captured first. The TRUNCATE of a partition may not
                // concern the row.
                out.push_sql(&format!(
                    " END AS instant), settled AS MATERIALIZED (SELECT coalesce(\
                     (SELECT transaction_id FROM touched WHERE captured_at <= (SELECT instant FROM cutoff) \
                     AND (op <> 'T' OR partition IS NULL) {NEWEST_ORDER} LIMIT 1), \
                     (SELECT transaction_id FROM touched WHERE captured_at <= (SELECT instant FROM cutoff) {NEWEST_ORDER} LIMIT 1)) AS transaction_id), \
                     chosen AS (SELECT *, false AS settled FROM touched WHERE captured_at > (SELECT instant FROM cutoff) \
                     UNION ALL SELECT *, true FROM touched \
                     WHERE captured_at BETWEEN (SELECT threadline.instant_of(transaction_id) FROM settled) AND (SELECT instant FROM cutoff))"
                ));
            }
        }
        Ok(())
    }
}

impl<K> Query for ReadLog<'_, K> {
    type SqlType = diesel::sql_types::Untyped;
}

impl<K> RunQueryDsl<PgConnection> for ReadLog<'_, K> {}

impl<K> QueryId for ReadLog<'_, K> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
