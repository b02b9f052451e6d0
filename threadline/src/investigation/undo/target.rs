//! What is to be undone, and the captured changes that are it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Integer, Text, Timestamptz, Uuid as SqlUuid};
use serde::Serialize;
use uuid::Uuid;

use super::super::change::ChangeId;
use super::super::key::RowKey;
use super::super::log::StoredChange;
use crate::capture::TableName;
use crate::error::{Error, PastProblem};

/// What is to be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "undo", rename_all = "snake_case")]
#[non_exhaustive]
pub enum UndoTarget {
    /// Everything one transaction changed.
    Transaction {
        /// Its id in the trail.
        id: Uuid,
    },
    /// Everything changed by the transaction an action was recorded in, and by those whose context names the action.
    Action {
        /// Its id in the trail.
        id: Uuid,
    },
    /// Everything the transactions with this correlation id changed.
    Correlation {
        /// The id, as the application gave it.
        id: String,
    },
    /// One change of one row.
    Change {
        /// Its name in the trail.
        id: ChangeId,
    },
    /// Every change of one row after an instant: brings back the row that had this key then. As in
    /// [`Trail::row_as_of`](crate::Trail::row_as_of), a transaction that went on capturing after the instant is undone as a whole.
    Row {
        /// The table.
        table: TableName,
        /// The key the row had at the instant.
        key: RowKey,
        /// The instant; a change captured at it stays.
        to: DateTime<Utc>,
    },
}

impl UndoTarget {
    /// Everything one transaction changed.
    pub fn transaction(id: Uuid) -> Self {
        Self::Transaction { id }
    }

    /// Everything done under an action.
    pub fn action(id: Uuid) -> Self {
        Self::Action { id }
    }

    /// Everything done under a correlation id.
    pub fn correlation(id: impl Into<String>) -> Self {
        Self::Correlation { id: id.into() }
    }

    /// One change of one row.
    pub fn change(id: ChangeId) -> Self {
        Self::Change { id }
    }

    /// Every change of one row after an instant.
    pub fn row(table: TableName, key: RowKey, to: DateTime<Utc>) -> Self {
        Self::Row { table, key, to }
    }

    pub(super) fn unknown(&self) -> Error {
        Error::NothingToUndo {
            target: match self {
                Self::Transaction { id } => format!("transaction `{id}`"),
                Self::Action { id } => format!("action `{id}`"),
                Self::Correlation { id } => format!("correlation id `{id}`"),
                Self::Change { id } => format!("change `{id}`"),
                Self::Row { table, key, to } => format!("change of row {key} of table `{table}` after {to}"),
            },
        }
    }
}

/// The changes a target stands for, and what they belong to.
pub(super) struct Targeted {
    pub(super) transactions: Vec<Uuid>,
    pub(super) actions: Vec<Uuid>,
    pub(super) changes: Vec<StoredChange>,
}

#[derive(QueryableByName)]
struct Entry {
    #[diesel(sql_type = Text)]
    entry: String,
}

/// The order of the trail, and the payload as it was written: jsonb has no negative zero.
const ENTRIES: &str = "SELECT row_to_json(c)::text AS entry FROM threadline.audit_changes c WHERE ";
const IN_ORDER: &str = " ORDER BY c.captured_at, c.transaction_id, c.ordinal";

pub(super) fn read(conn: &mut PgConnection, target: &UndoTarget) -> Result<Targeted, Error> {
    let transactions = match target {
        UndoTarget::Transaction { id } => vec![*id],
        UndoTarget::Change { id } => vec![id.transaction_id],
        UndoTarget::Action { id } => ids(
            conn,
            // A transaction is not older than its action's id, which has the milliseconds of the one it was recorded in.
            diesel::sql_query(
                "SELECT a.transaction_id AS id FROM threadline.audit_actions a WHERE a.id = $1 AND a.transaction_id IS NOT NULL \
                 UNION SELECT t.id FROM threadline.audit_transactions t WHERE t.action_id = $1 \
                 AND t.id >= (left($1::text, 14) || '0000-0000-000000000000')::uuid ORDER BY id",
            )
            .bind::<SqlUuid, _>(*id),
        )?,
        UndoTarget::Correlation { id } => ids(
            conn,
            diesel::sql_query(
                "SELECT t.id FROM threadline.audit_transactions t WHERE t.correlation_id = $1 ORDER BY t.id",
            )
            .bind::<Text, _>(id.as_str()),
        )?,
        UndoTarget::Row { .. } => Vec::new(),
    };
    let changes = match target {
        UndoTarget::Row { table, key, to } => row_changes(conn, table, key, *to)?,
        UndoTarget::Change { id } => entries(
            conn,
            diesel::sql_query(format!("{ENTRIES} c.transaction_id = $1 AND c.ordinal = $2"))
                .bind::<SqlUuid, _>(id.transaction_id)
                .bind::<Integer, _>(id.ordinal),
        )?,
        _ => entries(
            conn,
            diesel::sql_query(format!("{ENTRIES} c.transaction_id = ANY ($1) {IN_ORDER}"))
                .bind::<Array<SqlUuid>, _>(&transactions),
        )?,
    };
    let transactions: BTreeSet<Uuid> = match target {
        UndoTarget::Row { .. } | UndoTarget::Change { .. } => {
            changes.iter().map(|change| change.transaction_id).collect()
        }
        _ => transactions.into_iter().collect(),
    };
    let actions = ids(
        conn,
        diesel::sql_query(
            "SELECT t.action_id AS id FROM threadline.audit_transactions t WHERE t.id = ANY ($1) AND t.action_id IS NOT NULL \
             UNION SELECT a.id FROM unnest($1) u (id) JOIN threadline.audit_actions a ON a.transaction_id = u.id \
             AND a.id BETWEEN (left(u.id::text, 14) || '0000-0000-000000000000')::uuid \
             AND (left(u.id::text, 14) || 'ffff-ffff-ffffffffffff')::uuid ORDER BY id",
        )
        .bind::<Array<SqlUuid>, _>(transactions.iter().copied().collect::<Vec<_>>()),
    )?;
    let known = !changes.is_empty() || !actions.is_empty() || is_known(conn, &transactions)?;
    if !known || (matches!(target, UndoTarget::Row { .. } | UndoTarget::Change { .. }) && changes.is_empty())
    {
        return Err(target.unknown());
    }
    refuse_purged(conn, target, &transactions, &changes)?;
    Ok(Targeted { transactions: transactions.into_iter().collect(), actions, changes })
}

/// Every change of the rows of a table with these keys since an instant (inclusive), whoever made it, with the table's
/// TRUNCATEs.
pub(super) fn changes_of(
    conn: &mut PgConnection,
    table_id: i32,
    keys: &[String],
    since: DateTime<Utc>,
) -> Result<Vec<StoredChange>, Error> {
    entries(
        conn,
        diesel::sql_query(format!(
            "{ENTRIES} c.table_id = $1 AND c.captured_at >= $3 AND (c.row_key = ANY ($2) OR (c.row_key = '' AND c.op = 'T')) \
             UNION ALL SELECT row_to_json(c)::text FROM threadline.audit_key_changes m CROSS JOIN LATERAL (SELECT c.* \
             FROM threadline.audit_changes c WHERE c.transaction_id = m.transaction_id AND c.ordinal = m.ordinal LIMIT 1) c WHERE m.table_id = $1 AND m.previous_row_key = ANY ($2) \
             AND c.captured_at >= $3 AND c.row_key <> ALL ($2)"
        ))
        .bind::<Integer, _>(table_id)
        .bind::<Array<Text>, _>(keys)
        .bind::<Timestamptz, _>(since),
    )
}

/// The changes of the row that had this key at the instant: the key's own, and where the row went on to another key, that
/// one's from then on.
fn row_changes(
    conn: &mut PgConnection,
    table: &TableName,
    key: &RowKey,
    to: DateTime<Utc>,
) -> Result<Vec<StoredChange>, Error> {
    #[derive(QueryableByName)]
    struct Keyed {
        #[diesel(sql_type = Integer)]
        table_id: i32,
        #[diesel(sql_type = Text)]
        row_key: String,
        #[diesel(sql_type = Timestamptz)]
        since: DateTime<Utc>,
    }
    let name = table.to_sql();
    // Changes are undone from the beginning of a transaction that spans the instant.
    let keyed: Keyed = diesel::sql_query(
        "WITH asked AS MATERIALIZED (SELECT threadline.find_table($1, to_regclass($1)) AS table_id), \
         keyed AS MATERIALIZED (SELECT a.table_id, threadline.row_key(a.table_id, $2::jsonb) AS row_key FROM asked a), \
         newest AS MATERIALIZED (SELECT c.transaction_id FROM keyed k JOIN threadline.audit_changes c \
         ON c.table_id = k.table_id AND c.row_key = k.row_key AND c.captured_at <= $3 \
         ORDER BY c.captured_at DESC, c.transaction_id DESC, c.ordinal DESC LIMIT 1), \
         spans AS (SELECT min(c.captured_at) AS began FROM threadline.audit_changes c \
         WHERE c.transaction_id = (SELECT transaction_id FROM newest) HAVING greatest(max(c.captured_at), \
         (SELECT t.purged_until FROM threadline.audit_transactions t WHERE t.id = (SELECT transaction_id FROM newest))) > $3) \
         SELECT k.table_id, k.row_key, coalesce((SELECT began FROM spans), $3 + interval '1 microsecond') AS since FROM keyed k \
         WHERE threadline.check_kept(k.table_id, $3)",
    )
    .bind::<Text, _>(&name)
    .bind::<Text, _>(key.as_json())
    .bind::<Timestamptz, _>(to)
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, &name, error))?;

    let mut found: BTreeMap<ChangeId, StoredChange> = BTreeMap::new();
    // A key and the instant from which on it is this row's.
    let mut pending = vec![(keyed.row_key, keyed.since)];
    while let Some((row_key, since)) = pending.pop() {
        let changes = changes_of(conn, keyed.table_id, std::slice::from_ref(&row_key), since)?;
        for change in changes {
            let id = ChangeId { transaction_id: change.transaction_id, ordinal: change.ordinal };
            if found.contains_key(&id) {
                continue;
            }
            if change.previous_row_key.as_deref() == Some(row_key.as_str()) {
                pending.push((change.row_key.clone(), change.captured_at));
            }
            found.insert(id, change);
        }
    }
    Ok(found.into_values().collect())
}

/// Fails where retention has removed part of what is to be undone, or may have removed later work on the same rows.
fn refuse_purged(
    conn: &mut PgConnection,
    target: &UndoTarget,
    transactions: &BTreeSet<Uuid>,
    changes: &[StoredChange],
) -> Result<(), Error> {
    let by_transaction = !matches!(target, UndoTarget::Row { .. } | UndoTarget::Change { .. });
    let partial = ids(
        conn,
        diesel::sql_query(
            "SELECT t.id FROM threadline.audit_transactions t WHERE t.id = ANY ($1) AND t.purged_until IS NOT NULL",
        )
        .bind::<Array<SqlUuid>, _>(transactions.iter().copied().collect::<Vec<_>>()),
    )?;
    if let Some(id) = partial.first().filter(|_| by_transaction) {
        return Err(Error::UnknownPast {
            reason: PastProblem::BeforeHorizon,
            message: format!("retention has removed part of transaction `{id}`"),
            hint: Some("undo what is left change by change".to_owned()),
        });
    }
    let mut earliest = BTreeMap::<i32, DateTime<Utc>>::new();
    for change in changes {
        let at = earliest.entry(change.table_id).or_insert(change.captured_at);
        *at = change.captured_at.min(*at);
    }
    for (table_id, at) in earliest {
        // What was captured at the horizon itself has had later neighbours removed.
        diesel::sql_query("SELECT threadline.check_kept($1, $2 - interval '1 microsecond')")
            .bind::<Integer, _>(table_id)
            .bind::<Timestamptz, _>(at)
            .execute(conn)
            .map_err(|error| Error::from_query(conn, "", error))?;
    }
    Ok(())
}

fn is_known(conn: &mut PgConnection, transactions: &BTreeSet<Uuid>) -> Result<bool, Error> {
    let known = ids(
        conn,
        diesel::sql_query("SELECT t.id FROM threadline.audit_transactions t WHERE t.id = ANY ($1)")
            .bind::<Array<SqlUuid>, _>(transactions.iter().copied().collect::<Vec<_>>()),
    )?;
    Ok(!known.is_empty())
}

fn ids<'q, Q>(conn: &mut PgConnection, query: Q) -> Result<Vec<Uuid>, Error>
where
    Q: diesel::query_dsl::LoadQuery<'q, PgConnection, Id>,
{
    let ids: Vec<Id> = query.load(conn).map_err(|error| Error::from_query(conn, "", error))?;
    Ok(ids.into_iter().map(|row| row.id).collect())
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

fn entries<'q, Q>(conn: &mut PgConnection, query: Q) -> Result<Vec<StoredChange>, Error>
where
    Q: diesel::query_dsl::LoadQuery<'q, PgConnection, Entry>,
{
    let entries: Vec<Entry> = query.load(conn).map_err(|error| Error::from_query(conn, "", error))?;
    let changes: Result<Vec<StoredChange>, _> =
        entries.iter().map(|entry| serde_json::from_str(&entry.entry)).collect();
    changes.map_err(Error::Payload)
}
