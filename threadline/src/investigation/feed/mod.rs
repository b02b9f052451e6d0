//! The feed: every committed transaction once, in an order that can be resumed, for shipping to a queue or a SIEM.
//!
//! The order is that of transaction numbers, and a batch ends below the oldest transaction that is still running: whatever
//! commits late has a number that has not been read past. (Times do not do: a transaction's time is that of its start, a
//! change's that of its capture, and both are long past when a slow transaction commits.)
//!
//! It is not quite the order of commits, which PostgreSQL does not record. A transaction has its number from its first write;
//! one that waited for a row after that depends on a transaction whose number may be higher. Changes of one row are in their
//! true order by `captured_at`, `transaction_id`, `ordinal`, as everywhere in the trail.

mod cursor;
mod hold;
mod wait;

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use serde::Serialize;
use uuid::Uuid;

pub use self::cursor::{FeedCursor, InvalidFeedCursor};
pub use self::hold::{FeedHold, feed_hold};
pub use self::wait::{listen_for_feed, wait_for_feed};

use self::cursor::{Place, Position};
use super::change::{AuditAction, AuditTransaction};
use super::log::StoredChange;
use super::scan::{COLUMNS, ChangeRow};
use super::scope::{ResolvedScope, Surface};
use super::statement::Statement;
use super::tables::{TableChange, Tables};
use super::timeline::Who;
use super::trail::Trail;
use super::transaction::actions_of;
use crate::error::Error;
use crate::telemetry;

/// What the feed has after a cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FeedBatch {
    /// What was committed, in order.
    pub entries: Vec<FeedEntry>,
    /// Where to read on. Store it once the entries are safe where they go.
    pub cursor: FeedCursor,
    /// Whether nothing is left to read now: what comes next has not been committed, or is held back ([`feed_hold`]).
    pub caught_up: bool,
    /// Whether the trail was purged past the place read from, so that transactions may be missing before these entries.
    ///
    /// Retention leaves on record what it has removed. Of partitions that were dropped by hand it is known by what was delivered
    /// last: that is gone, and so is everything older.
    pub purged: bool,
}

/// One thing the feed delivers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FeedEntry {
    /// A transaction that changed audited tables, or recorded an action.
    Transaction(FeedTransaction),
    /// An action recorded on its own, as for an attempt that was refused.
    Action(FeedAction),
}

/// A transaction in the feed, whole unless it is more than a batch by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FeedTransaction {
    /// Its transaction number, which grows along the feed, and begins anew when the trail is restored into another cluster.
    pub number: u64,
    /// Whether an earlier batch had its first changes.
    pub continued: bool,
    /// Whether these are its last changes.
    pub complete: bool,
    /// The transaction.
    pub transaction: AuditTransaction,
    /// The actions recorded in it, in order; the one it was begun with comes first.
    pub actions: Vec<AuditAction>,
    /// Its changes, or those that are on this batch, in the order they were captured.
    pub changes: Vec<TableChange>,
}

/// An action in the feed that was recorded on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FeedAction {
    /// As in [`FeedTransaction`].
    pub number: u64,
    /// The action.
    pub action: AuditAction,
}

/// The most changes a batch can have.
const MAX_CHANGES: u32 = 10_000;

/// A batch ends before its payloads exceed this, as the JSON text they are stored as, unless it would be empty.
const MAX_BYTES: i64 = 8 * 1024 * 1024;

#[derive(QueryableByName)]
struct Page {
    #[diesel(sql_type = Nullable<Text>)]
    problem: Option<String>,
    #[diesel(sql_type = BigInt)]
    cluster: i64,
    #[diesel(sql_type = Nullable<Integer>)]
    numbering: Option<i32>,
    #[diesel(sql_type = Nullable<Text>)]
    number: Option<String>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Integer>)]
    ordinal: Option<i32>,
    #[diesel(sql_type = Array<SqlUuid>)]
    ids: Vec<Uuid>,
    #[diesel(sql_type = Array<Text>)]
    numbers: Vec<String>,
    #[diesel(sql_type = Array<Bool>)]
    are_actions: Vec<bool>,
    #[diesel(sql_type = Array<Integer>)]
    after_ordinals: Vec<i32>,
    #[diesel(sql_type = Array<Integer>)]
    upto_ordinals: Vec<i32>,
    #[diesel(sql_type = Bool)]
    caught_up: bool,
    #[diesel(sql_type = Bool)]
    purged: bool,
}

impl Trail {
    /// The next batch after `cursor`: transactions in the order of their numbers, and with them the actions recorded on their own.
    ///
    /// Everything with a number below that of the oldest running transaction is delivered, and nothing else, so one that commits late
    /// is never skipped. Read, ship, store `batch.cursor`, and go on; whoever stops in between gets the same entries again, so
    /// delivery is at least once. Ids tell a receiver what it has: a transaction's, or for a part of one its id and its first ordinal.
    ///
    /// A transaction has its number from its first write, and comes after all whose changes it could see before that. Under READ
    /// COMMITTED it can wait for a row later on, and then comes before the transaction it waited for, if that one began to write
    /// later: a receiver that keeps the newest state of a row compares `captured_at`, `transaction_id`, `ordinal` of its changes.
    ///
    /// A batch has at most `limit` changes (0 counts as 1, and more than 10,000 as 10,000; a transaction or action without changes
    /// counts as one), and at most 8 MB of their payloads or one change. A transaction that is more than that by itself comes in
    /// parts, each with its actions and each the first of its batch, told by `continued` and `complete`; no other is split. So memory
    /// does not grow with a transaction. An empty batch has a cursor too; an idle feed costs one statement, which looks into one
    /// index a partition.
    ///
    /// Redacted as the tables are today, like [`Trail::transaction_context`]. It only reads: `SELECT` on the tables
    /// of schema `threadline` is enough, and a hot standby will do, also with a cursor it has not caught up with. Read outside a
    /// transaction that writes: your own holds the feed back as any other does.
    ///
    /// Not in it: changes without a transaction row, which only a session that forged Threadline's settings leaves behind, and
    /// actions recorded on their own before the feed was installed.
    ///
    /// # Errors
    ///
    /// [`Error::FeedElsewhere`] for a cursor of another trail, [`Error::FeedRewound`] when the database was set back to before the cursor,
    /// [`Error::TrailMoved`] when the trail was restored or upgraded into another cluster and that has not been said to it; those of
    /// [`Trail::transaction_context`].
    pub fn read_feed(
        &self,
        conn: &mut PgConnection,
        cursor: &FeedCursor,
        limit: u32,
    ) -> Result<FeedBatch, Error> {
        Surface::Feed.observed(telemetry::outcome, || self.read_unobserved(conn, cursor, limit))
    }

    fn read_unobserved(
        &self,
        conn: &mut PgConnection,
        cursor: &FeedCursor,
        limit: u32,
    ) -> Result<FeedBatch, Error> {
        let scope = self.scope(conn, Surface::Feed)?;
        let page = read_page(conn, cursor, limit.clamp(1, MAX_CHANGES))?;
        let next = match page.problem.as_deref() {
            None => FeedCursor(Place::After(Position {
                cluster: page.cluster,
                numbering: page.numbering.unwrap_or_default(),
                number: number(page.number.as_deref().unwrap_or_default())?,
                id: page.id,
                ordinal: page.ordinal,
            })),
            Some("moved") => return Err(Error::TrailMoved { cluster: page.cluster }),
            Some("rewound") => return Err(Error::FeedRewound { cursor: cursor.clone() }),
            Some(_) => return Err(Error::FeedElsewhere { cursor: cursor.clone(), cluster: page.cluster }),
        };
        Ok(FeedBatch {
            entries: read_entries(conn, &page, scope.as_ref())?,
            cursor: next,
            caught_up: page.caught_up,
            purged: page.purged,
        })
    }
}

fn read_page(conn: &mut PgConnection, cursor: &FeedCursor, limit: u32) -> Result<Page, Error> {
    let (since, after) = match &cursor.0 {
        Place::Beginning => (None, None),
        Place::Since(at) => (Some(*at), None),
        Place::After(position) => (None, Some(position)),
    };
    diesel::sql_query(
        "SELECT problem, cluster, numbering, xid::text AS number, id, ordinal, ids, xids::text[] AS numbers, are_actions, \
         after_ordinals, upto_ordinals, caught_up, purged \
         FROM threadline.feed_page($1, $2, $3, $4, $5, $6::text::xid8, $7, $8)",
    )
    .bind::<Nullable<BigInt>, _>(after.map(|position| position.cluster))
    .bind::<Nullable<Timestamptz>, _>(since)
    .bind::<Integer, _>(i32::try_from(limit).unwrap_or(i32::MAX))
    .bind::<BigInt, _>(MAX_BYTES)
    .bind::<Nullable<Integer>, _>(after.map(|position| position.numbering))
    .bind::<Nullable<Text>, _>(after.map(|position| position.number.to_string()))
    .bind::<Nullable<SqlUuid>, _>(after.and_then(|position| position.id))
    .bind::<Nullable<Integer>, _>(after.and_then(|position| position.ordinal))
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, "", error))
}

/// What is on the page, read by further statements. All of it is committed, so a later snapshot shows it too, but for what is
/// purged in between: that is left out.
fn read_entries(
    conn: &mut PgConnection,
    page: &Page,
    scope: Option<&ResolvedScope>,
) -> Result<Vec<FeedEntry>, Error> {
    let ids: BTreeSet<Uuid> = page.ids.iter().copied().collect();
    let who = Who::of(conn, ids.clone())?;
    let mut actions = actions_of(conn, &page.ids)?;
    let mut alone = Who::actions_by_id(conn, ids)?;
    let mut changes = read_changes(conn, page, scope)?;
    let mut entries = Vec::with_capacity(page.ids.len());
    for (place, &id) in page.ids.iter().enumerate() {
        let number = number(&page.numbers[place])?;
        if page.are_actions[place] {
            // Whose it is, no scope can say.
            let action = alone.remove(&id).filter(|_| scope.is_none());
            entries.extend(action.map(|action| FeedEntry::Action(FeedAction { number, action })));
            continue;
        }
        let (Some(transaction), _) = who.why(id) else { continue };
        let changes = changes.remove(&id).unwrap_or_default();
        if scope.is_none_or(|scope| !changes.is_empty() || scope.sees_transaction(&transaction)) {
            entries.push(FeedEntry::Transaction(FeedTransaction {
                number,
                continued: page.after_ordinals[place] != i32::MIN,
                complete: page.upto_ordinals[place] == i32::MAX,
                transaction,
                actions: actions.remove(&id).unwrap_or_default(),
                changes,
            }));
        }
    }
    Ok(entries)
}

/// The changes on the page, by transaction.
fn read_changes(
    conn: &mut PgConnection,
    page: &Page,
    scope: Option<&ResolvedScope>,
) -> Result<BTreeMap<Uuid, Vec<TableChange>>, Error> {
    // OFFSET 0 has them fetched transaction by transaction, however many there are.
    let mut statement = Statement::new(&format!("SELECT {COLUMNS} FROM unnest("));
    statement
        .bind(&page.ids[..])
        .sql(", ")
        .bind(page.after_ordinals.clone())
        .sql(", ")
        .bind(page.upto_ordinals.clone());
    statement.sql(
        ") AS asked (id, after_ordinal, upto_ordinal) CROSS JOIN LATERAL (SELECT c.* FROM threadline.audit_changes c \
         WHERE c.transaction_id = asked.id AND c.ordinal > asked.after_ordinal AND c.ordinal <= asked.upto_ordinal OFFSET 0) c",
    );
    if let Some(scope) = scope {
        statement.sql(" WHERE ");
        scope.of_change(&mut statement);
    }
    statement.sql(" ORDER BY c.transaction_id, c.ordinal");
    let stored: Vec<StoredChange> =
        statement.load_from::<ChangeRow>(conn)?.into_iter().map(ChangeRow::read).collect::<Result<_, _>>()?;
    let mut tables = Tables::default();
    tables.learn(conn, &stored)?;
    let mut changes = BTreeMap::<Uuid, Vec<TableChange>>::new();
    for change in stored {
        changes.entry(change.transaction_id).or_default().push(tables.shown(change)?);
    }
    Ok(changes)
}

fn number(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::Payload(serde::de::Error::custom("not a transaction number")))
}
