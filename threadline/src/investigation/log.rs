//! What the database says about one row: the row as it is now, and its changes. Read it in one snapshot.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Nullable, Text, Timestamptz};
use serde::Deserialize;
use uuid::Uuid;

use super::baseline::RecordedBaseline;
use super::change::Op;
use super::image::{Columns, Json};
use super::key::WalkKey;
use super::scan::{COLUMNS, ChangeRow, order_by};
use super::scope::ResolvedScope;
use super::statement::Statement;
use crate::error::Error;

/// Which changes are read.
#[derive(Clone, Copy)]
pub(crate) enum Reach {
    /// The newest ones, at most so many; `None` for all.
    Newest(Option<u32>),
    /// All that have to be undone to see the row at this instant, then those of the transaction before them.
    Since(DateTime<Utc>),
    /// As `Since` the first of them, and all others captured after the second.
    SinceAndAfter(DateTime<Utc>, DateTime<Utc>),
}

/// One row's part of the trail.
pub(crate) struct RowLog {
    pub(crate) anchor: Anchor,
    /// Newest first.
    pub(crate) changes: Vec<StoredChange>,
    /// The newest baseline that was recorded by the instant asked for, and has all changes since then;
    /// also when its place lies beyond the changes that were read.
    pub(crate) behind: Option<DateTime<Utc>>,
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
    /// Retention may have removed changes that were captured before this.
    pub(crate) purged_until: Option<DateTime<Utc>>,
    /// How older layouts relate to today's columns, for those that differ from them.
    pub(crate) layouts: Option<BTreeMap<i32, SinceLayout>>,
    /// What the table's recorded baselines say of the row, newest first: those whose place among the changes is known.
    baselines: Option<Vec<StoredBaseline>>,
    /// Read when a change has no layout.
    #[serde(skip)]
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
    /// Columns that are gone, by the name they had, which no column has today.
    pub(crate) gone: BTreeMap<String, GoneColumn>,
}

/// A column that is gone. Relation and attribute number tell it from others of its name.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct GoneColumn {
    relation: u32,
    attribute: i32,
    /// How it was redacted when it went, and stays redacted.
    pub(crate) rule: Option<Redaction>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Redaction {
    Mask,
    Exclude,
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

/// A recorded baseline, and what it says of the row.
#[derive(Deserialize)]
pub(crate) struct StoredBaseline {
    #[serde(flatten)]
    pub(crate) baseline: RecordedBaseline,
    pub(crate) layout: i32,
    pub(crate) masked: Option<Vec<String>>,
    /// The tenant the row belonged to.
    pub(crate) scope: Option<String>,
    /// `None` when there was no such row.
    pub(crate) row: Option<Columns>,
    /// Whether it is another tenant's: that it does not fit may be told, and nothing of what it says.
    #[serde(skip)]
    pub(crate) hidden: bool,
}

/// What became of columns, by relation and attribute number.
#[derive(Default, Deserialize)]
pub(crate) struct TodaysColumns {
    /// Their names and types today.
    today: BTreeMap<u32, BTreeMap<i32, (String, String)>>,
    /// How those that are gone are redacted.
    gone: BTreeMap<u32, BTreeMap<i32, Option<Redaction>>>,
    /// How a column is redacted of which nobody knows what it was.
    untraced: Option<Redaction>,
}

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
        let columns = today.today.get(&self.relation);
        let gone = today.gone.get(&self.relation);
        let is_taken =
            |was: &String| today.today.values().any(|columns| columns.values().any(|(name, _)| name == was));
        for (was, (attribute, old_type)) in &self.columns {
            match columns.and_then(|columns| columns.get(attribute)) {
                Some((name, new_type)) => {
                    if name != was {
                        since.renamed.insert(was.clone(), Some(name.clone()));
                    }
                    if old_type.as_ref() != Some(new_type) {
                        since.retyped.push(name.clone());
                    }
                }
                None if is_taken(was) => {
                    // Of a relation that is not known, its columns are those of their names.
                    if columns.is_some() {
                        since.renamed.insert(was.clone(), None);
                    }
                }
                None => {
                    let known = gone.and_then(|columns| columns.get(attribute));
                    let rule = known.copied().unwrap_or(today.untraced);
                    let column = GoneColumn { relation: self.relation, attribute: *attribute, rule };
                    since.gone.insert(was.clone(), column);
                }
            }
        }
        since
    }
}

impl Anchor {
    /// Hands over what is known of baselines.
    pub(crate) fn take_baselines(&mut self) -> Vec<StoredBaseline> {
        self.baselines.take().unwrap_or_default()
    }

    fn keep_baselines(&mut self, keep: impl FnMut(&StoredBaseline) -> bool) {
        if let Some(baselines) = &mut self.baselines {
            baselines.retain(keep);
        }
    }
}

impl RowLog {
    /// Leaves the baselines out: what is told then comes from changes and the row as it is now alone.
    pub(crate) fn of_changes(mut self) -> Self {
        self.anchor.baselines = None;
        self
    }

    /// Leaves out the row as it is now where that may not be seen: it is another tenant's by now, and what only it says of
    /// earlier states is not to be told.
    pub(crate) fn seen_through(mut self, scope: Option<&ResolvedScope>) -> Self {
        let Anchor { table_id, present, .. } = &mut self.anchor;
        let is_visible = scope.is_none_or(|scope| scope.sees_row(*table_id, present.scope.as_deref()));
        if !is_visible && matches!(present.state, PresentState::Present) {
            present.state = PresentState::Unknown;
            present.image = None;
        }
        // So it is with what a baseline says of another tenant's row; but a hole that it shows is one.
        let table_id = self.anchor.table_id;
        for baseline in self.anchor.baselines.iter_mut().flatten() {
            baseline.hidden = baseline.row.is_some()
                && scope.is_some_and(|scope| !scope.sees_row(table_id, baseline.scope.as_deref()));
        }
        self
    }
}

/// Reads the log of the row of `table` (a name as SQL takes it) with this key.
pub(crate) fn read(
    conn: &mut PgConnection,
    table: &str,
    key: &impl WalkKey,
    reach: Reach,
) -> Result<RowLog, Error> {
    let anchor: Entry =
        ReadAnchor { table, key }.get_result(conn).map_err(|error| Error::from_query(conn, table, error))?;
    let mut anchor: Anchor = serde_json::from_str(&anchor.entry).map_err(Error::Payload)?;
    // Before the oldest change that was read there may be others, unless all of them were: a baseline has no place there.
    let (changes, reaches_to) = match reach {
        Reach::Newest(limit) => {
            let changes = changes(conn, &anchor, None, None, limit)?;
            let is_all = limit.is_none_or(|limit| changes.len() < limit as usize);
            let oldest = changes.last().filter(|_| !is_all).map(|oldest| oldest.captured_at);
            (changes, oldest)
        }
        Reach::Since(at) => {
            let changes = since(conn, &anchor, at)?;
            let oldest = changes.last().filter(|oldest| oldest.settled).map(|oldest| oldest.captured_at);
            (changes, oldest)
        }
        Reach::SinceAndAfter(at, after) => {
            let mut changes = since(conn, &anchor, at)?;
            let read: BTreeSet<_> =
                changes.iter().map(|change| (change.transaction_id, change.ordinal)).collect();
            let between = self::changes(conn, &anchor, Some(after), Some(at), None)?;
            let others = between
                .into_iter()
                .filter(|change| !read.contains(&(change.transaction_id, change.ordinal)))
                .map(|change| StoredChange { settled: true, ..change });
            changes.extend(others);
            changes
                .sort_by_key(|change| Reverse((change.captured_at, change.transaction_id, change.ordinal)));
            (changes, Some(after))
        }
    };
    if !matches!(reach, Reach::Newest(_)) {
        // In a transaction of the caller's that is no snapshot, retention may have come in between.
        anchor.purged_until = purged_until(conn, anchor.table_id)?;
        let purged_until = anchor.purged_until;
        anchor.keep_baselines(|baseline| {
            purged_until.is_none_or(|until| baseline.baseline.recorded_at > until)
        });
    }
    let behind = match reach {
        Reach::Since(at) | Reach::SinceAndAfter(at, _) => {
            let recorded = anchor.baselines.iter().flatten().map(|baseline| baseline.baseline.recorded_at);
            recorded.filter(|recorded_at| *recorded_at <= at).max()
        }
        Reach::Newest(_) => None,
    };
    anchor.keep_baselines(|baseline| reaches_to.is_none_or(|oldest| baseline.baseline.recorded_at >= oldest));
    if changes.iter().any(|change| change.attributes.is_some()) {
        let mut statement = Statement::kept("SELECT threadline.since_attributes(");
        statement.bind(anchor.table_id).sql(")::text AS entry");
        let attributes: Entry =
            statement.get_result(conn).map_err(|error| Error::from_query(conn, table, error))?;
        anchor.attributes = Some(serde_json::from_str(&attributes.entry).map_err(Error::Payload)?);
    }
    Ok(RowLog { anchor, changes, behind })
}

/// What has to be undone to see the row at this instant, and the transaction before that, as `settled`.
///
/// A transaction counts as a whole: one that went on capturing after the instant is undone entirely. It can only be the
/// newest of those that had changed the row by then, since writers of a row wait for each other. Of the transaction before
/// the instant all changes are read: one statement may have moved a row here and another one away, and either can have been
/// captured first. The TRUNCATE of a partition may not concern the row.
fn since(conn: &mut PgConnection, anchor: &Anchor, at: DateTime<Utc>) -> Result<Vec<StoredChange>, Error> {
    let mut limit = 32;
    // Most rows have so few changes that one statement reads both sides of the instant.
    let mut found = changes(conn, anchor, None, None, Some(limit))?;
    let mut is_all = found.len() < limit as usize;
    let mut older = found.split_off(found.partition_point(|change| change.captured_at > at));
    if older.is_empty() && !is_all {
        found = changes(conn, anchor, Some(at), None, None)?;
        older = changes(conn, anchor, None, Some(at), Some(limit))?;
        is_all = older.len() < limit as usize;
    }
    loop {
        let newest = older.first().map(|newest| newest.transaction_id);
        let is_done = match newest {
            Some(newest) => ended_at(conn, newest)? <= Some(at),
            None => true,
        };
        let undone =
            older.iter().take_while(|change| !is_done && Some(change.transaction_id) == newest).count();
        let rest = &older[undone..];
        let concerns = |change: &&StoredChange| change.op != Op::Truncate || change.partition.is_none();
        let settled = rest.iter().find(concerns).or(rest.first()).map(|settled| settled.transaction_id);
        let last = rest.iter().rposition(|change| Some(change.transaction_id) == settled);
        // Beyond what was read there may be more of it.
        if is_all
            || last.is_some_and(|last| last + 1 < rest.len() && rest.iter().any(|change| concerns(&change)))
        {
            let keep = undone + last.map_or(0, |last| last + 1);
            found.extend(
                older
                    .into_iter()
                    .take(keep)
                    .enumerate()
                    .map(|(place, change)| StoredChange { settled: place >= undone, ..change }),
            );
            return Ok(found);
        }
        limit *= 8;
        older = changes(conn, anchor, None, Some(at), Some(limit))?;
        is_all = older.len() < limit as usize;
    }
}

/// The instant from which on retention has left the table's past whole.
fn purged_until(conn: &mut PgConnection, table_id: i32) -> Result<Option<DateTime<Utc>>, Error> {
    #[derive(QueryableByName)]
    struct Purged {
        #[diesel(sql_type = Nullable<Timestamptz>)]
        until: Option<DateTime<Utc>>,
    }
    let mut statement = Statement::kept("SELECT threadline.purged_until(");
    statement.bind(table_id).sql(") AS until");
    let purged: Purged = statement.get_result(conn).map_err(|error| Error::from_query(conn, "", error))?;
    Ok(purged.until)
}

/// When a transaction captured its last change.
fn ended_at(conn: &mut PgConnection, id: Uuid) -> Result<Option<DateTime<Utc>>, Error> {
    #[derive(QueryableByName)]
    struct Ended {
        #[diesel(sql_type = Nullable<Timestamptz>)]
        at: Option<DateTime<Utc>>,
    }
    // Its last changes may have gone.
    let mut statement = Statement::kept(
        "SELECT greatest((SELECT c.captured_at FROM threadline.audit_changes c WHERE c.transaction_id = ",
    );
    statement
        .bind(id)
        .sql(" ORDER BY c.ordinal DESC LIMIT 1), (SELECT t.purged_until FROM threadline.audit_transactions t WHERE t.id = ")
        .bind(id)
        .sql(")) AS at");
    let ended: Ended = statement.get_result(conn).map_err(|error| Error::from_query(conn, "", error))?;
    Ok(ended.at)
}

/// Changes of the row, newest first: captured after one instant and until another, at most so many.
fn changes(
    conn: &mut PgConnection,
    anchor: &Anchor,
    after: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    limit: Option<u32>,
) -> Result<Vec<StoredChange>, Error> {
    let mut statement = Statement::kept(&format!("SELECT {COLUMNS} FROM threadline.changes_of_row("));
    statement.bind(anchor.table_id).sql(", ").bind(&anchor.row_key);
    for instant in [after, until] {
        match instant {
            Some(instant) => statement.sql(", ").bind(instant),
            None => statement.sql(", NULL"),
        };
    }
    match limit.and_then(|limit| i32::try_from(limit).ok()) {
        Some(limit) => statement.sql(", ").bind(limit),
        None => statement.sql(", NULL"),
    };
    statement.sql(") AS c").sql(&order_by("DESC"));
    statement.load_from::<ChangeRow>(conn)?.into_iter().map(ChangeRow::read).collect()
}

#[derive(QueryableByName)]
struct Entry {
    #[diesel(sql_type = Text)]
    entry: String,
}

struct ReadAnchor<'a, K> {
    table: &'a str,
    key: &'a K,
}

impl<K: WalkKey> QueryFragment<Pg> for ReadAnchor<'_, K> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for piece in include_str!("sql/row_anchor.sql").lines().filter(|line| !line.starts_with("--")) {
            let mut rest = piece;
            while let Some((before, after)) = rest.split_once('{') {
                let (hole, after) = after.split_once('}').expect("row_anchor.sql closes its holes");
                out.push_sql(before);
                match hole {
                    "table" => out.push_bind_param::<Text, str>(self.table)?,
                    _ => self.key.walk_key(out.reborrow())?,
                }
                rest = after;
            }
            out.push_sql(rest);
            out.push_sql("\n");
        }
        Ok(())
    }
}

impl<K> Query for ReadAnchor<'_, K> {
    type SqlType = diesel::sql_types::Untyped;
}

impl<K> RunQueryDsl<PgConnection> for ReadAnchor<'_, K> {}

impl<K> QueryId for ReadAnchor<'_, K> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
