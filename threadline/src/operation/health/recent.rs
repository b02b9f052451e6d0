//! What recent changes tell: nobody to answer for them, no transaction to belong to, writes between them that were not captured.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Text, Uuid as SqlUuid};
use serde_json::{Value, json};
use uuid::Uuid;

use super::HealthOptions;
use super::finding::{Finding, FindingCode as Code, Severity};
use crate::capture::{ActorPolicy, TableName, quote_literal};
use crate::error::Error;
use crate::investigation::{ChangeId, HistoryLimit, RowKey, Statement, Trail};
use crate::operation::deployed::{AuditedTable, Deployed, HostTable, attempt};

/// Changes a transaction is looked at for; one that changed more is not counted to its end.
const CHANGES_COUNTED: u32 = 1_000;
/// Versions of a row that are folded.
const VERSIONS_FOLDED: u32 = 20;

/// What has to be done where it cannot be mended by a statement: one that refused such writes would fail the host's.
const NAME_THE_ACTOR: &str = "\
-- 1. In requests: wrap the app in AuditMiddleware, and write through the handler's AuditContext.
-- 2. In jobs, scripts and other clients: write in threadline::transaction(…), or call threadline.set_context(…) first.
-- 3. When this is found no more: declare actor_policy = \"require\" on the model; writes without an actor fail from then on.";

/// Recent changes without an actor, by table. A table that requires one by now is past that.
pub(super) fn actorless(
    conn: &mut PgConnection,
    deployed: &Deployed,
    options: &HealthOptions,
) -> Result<Vec<Finding>, Error> {
    #[derive(QueryableByName)]
    struct Actorless {
        #[diesel(sql_type = Integer)]
        table_id: i32,
        #[diesel(sql_type = BigInt)]
        changes: i64,
        #[diesel(sql_type = BigInt)]
        transactions: i64,
        #[diesel(sql_type = BigInt)]
        refused: i64,
    }
    // The newest transactions, then the changes of each by its own key: joined freely, all changes might be read.
    let mut statement = Statement::new(
        "SELECT c.table_id, count(*) AS changes, count(DISTINCT r.id) AS transactions, \
             count(DISTINCT r.id) FILTER (WHERE r.context_error IS NOT NULL) AS refused \
         FROM (SELECT t.id, t.actor_type, t.context_error FROM threadline.audit_transactions t \
             WHERE t.id >= threadline.first_id_at(now() - make_interval(secs => ",
    );
    statement.bind(options.recent_seconds()).sql(&format!(
        ")) ORDER BY t.id DESC LIMIT {}) r CROSS JOIN LATERAL (SELECT c.table_id FROM threadline.audit_changes c \
         WHERE c.transaction_id = r.id LIMIT {CHANGES_COUNTED}) c WHERE r.actor_type IS NULL GROUP BY c.table_id ORDER BY c.table_id",
        options.recent_rows
    ));
    let counts: Vec<Actorless> = statement.load_from(conn)?;
    let findings = counts.into_iter().filter_map(|count| {
        let (audited, table) = by_id(deployed, options, count.table_id)?;
        if audited.actor_policy == ActorPolicy::Require.as_str() {
            return None;
        }
        let refused = match count.refused {
            0 => String::new(),
            refused => format!(", of which handed over a context that was refused: {refused}"),
        };
        Some(
            Finding::new(
                Code::ActorlessChanges,
                Severity::Warning,
                format!(
                    "recent changes have no actor, so nobody answers for them (changes: {}, transactions: {}{refused}); find who writes \
                     them by `db_role` and `application_name` of their transactions, and have it say who acts",
                    count.changes, count.transactions
                ),
            )
            .on(&table.name)
            .fix(NAME_THE_ACTOR)
            .details(json!({ "changes": count.changes, "transactions": count.transactions, "refused": count.refused })),
        )
    });
    Ok(findings.collect())
}

/// Recent changes whose transaction has no row: capture believed a setting that was forged.
pub(super) fn orphans(conn: &mut PgConnection, options: &HealthOptions) -> Result<Vec<Finding>, Error> {
    #[derive(QueryableByName)]
    struct Orphan {
        #[diesel(sql_type = SqlUuid)]
        transaction_id: Uuid,
        #[diesel(sql_type = BigInt)]
        changes: i64,
        #[diesel(sql_type = Array<Integer>)]
        tables: Vec<i32>,
    }
    let mut statement = Statement::new(
        "SELECT r.transaction_id, count(*) AS changes, array_agg(DISTINCT r.table_id) AS tables FROM (SELECT c.transaction_id, c.table_id \
         FROM threadline.audit_changes c WHERE c.captured_at >= now() - make_interval(secs => ",
    );
    statement.bind(options.recent_seconds()).sql(&format!(
        ") ORDER BY c.captured_at DESC LIMIT {}) r WHERE NOT EXISTS (SELECT FROM threadline.audit_transactions t \
         WHERE t.id = r.transaction_id) GROUP BY r.transaction_id ORDER BY r.transaction_id LIMIT 100",
        options.recent_rows
    ));
    let orphans: Vec<Orphan> = statement.load_from(conn)?;
    if orphans.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = orphans.iter().map(|orphan| orphan.transaction_id.to_string()).collect();
    let changes: i64 = orphans.iter().map(|orphan| orphan.changes).sum();
    let tables: BTreeSet<i32> = orphans.iter().flat_map(|orphan| orphan.tables.iter().copied()).collect();
    let quoted: Vec<String> = ids.iter().map(|id| quote_literal(id)).collect();
    // The row says of itself that it was added, and names nobody.
    let fix = format!(
        "INSERT INTO threadline.audit_transactions (id, occurred_at, xid, db_role, context_error)\n\
         SELECT o.id, threadline.instant_of(o.id), CASE WHEN right(o.id::text, 12) ~ '^[0-9]+$' THEN right(o.id::text, 12) ELSE '0' END::xid8,\n    \
         'unknown', 'transaction: its row was missing, so its settings were forged; added ' || now()\n\
         FROM unnest(ARRAY[{}]::uuid[]) o (id) ON CONFLICT DO NOTHING;",
        quoted.join(", ")
    );
    Ok(vec![
        Finding::new(
            Code::OrphanChanges,
            Severity::Error,
            format!(
                "{changes} recent changes belong to no transaction: whoever wrote them forged the settings capture keeps; look \
                 into them first, then have the trail say so"
            ),
        )
        .fix(fix)
        .details(json!({ "changes": changes, "transactions": ids, "table_ids": tables })),
    ])
}

/// A table whose rows could not be folded.
pub(super) struct Unseen {
    pub(super) table: TableName,
    pub(super) reason: String,
}

/// Rows changed lately, folded: tables with writes that escaped capture, and tables that could not be looked at.
pub(super) fn gaps(
    conn: &mut PgConnection,
    deployed: &Deployed,
    options: &HealthOptions,
) -> Result<(Vec<Finding>, Vec<Unseen>), Error> {
    let mut findings = Vec::new();
    let mut unseen = Vec::new();
    let deadline = Instant::now() + options.gap_time;
    for (table_id, row_keys) in sample(conn, options)? {
        let Some((audited, table)) = by_id(deployed, options, table_id) else { continue };
        if Instant::now() >= deadline {
            break;
        }
        let keys: Vec<RowKey> =
            row_keys.iter().filter_map(|key| stored_key(&audited.key_columns, key)).collect();
        if !table.is_readable {
            unseen.push(Unseen {
                table: table.name.clone(),
                reason: "its rows are not the role's to read".to_owned(),
            });
            continue;
        }
        match attempt(conn, Some(options.statement_timeout), |conn| gaps_of(conn, table, &keys, deadline))? {
            Ok((found, looked_at)) => findings.extend(gap(audited, table, &found, looked_at)),
            Err(why) => unseen.push(Unseen { table: table.name.clone(), reason: why.reason }),
        }
    }
    Ok((findings, unseen))
}

/// Keys of the rows changed last, by table.
fn sample(conn: &mut PgConnection, options: &HealthOptions) -> Result<BTreeMap<i32, Vec<String>>, Error> {
    #[derive(QueryableByName)]
    struct Changed {
        #[diesel(sql_type = Integer)]
        table_id: i32,
        #[diesel(sql_type = Text)]
        row_key: String,
    }
    let mut statement = Statement::new(
        "SELECT r.table_id, r.row_key FROM (SELECT c.table_id, c.row_key, c.captured_at FROM threadline.audit_changes c \
         WHERE c.captured_at >= now() - make_interval(secs => ",
    );
    statement.bind(options.recent_seconds()).sql(&format!(
        ") ORDER BY c.captured_at DESC LIMIT {}) r WHERE r.row_key <> '' AND NOT starts_with(r.row_key, 'sha256:') \
         GROUP BY r.table_id, r.row_key ORDER BY max(r.captured_at) DESC, r.table_id, r.row_key LIMIT {}",
        options.recent_rows, options.gap_rows
    ));
    let mut keys = BTreeMap::<i32, Vec<String>>::new();
    for Changed { table_id, row_key } in statement.load_from(conn)? {
        keys.entry(table_id).or_default().push(row_key);
    }
    Ok(keys)
}

/// The last change to a row before a write to it escaped capture.
struct Gap {
    change: ChangeId,
    captured_at: DateTime<Utc>,
    /// The row's, as it is stored with the change.
    row_key: String,
}

/// Changes after which a write escaped that nobody has acknowledged, and how many rows were folded.
fn gaps_of(
    conn: &mut PgConnection,
    table: &HostTable,
    keys: &[RowKey],
    deadline: Instant,
) -> Result<(Vec<Gap>, usize), Error> {
    #[derive(QueryableByName)]
    struct Known {
        #[diesel(sql_type = SqlUuid)]
        transaction_id: Uuid,
        #[diesel(sql_type = Integer)]
        ordinal: i32,
    }
    let trail = Trail::unscoped();
    let mut found = Vec::<Gap>::new();
    let mut looked_at = 0;
    for key in keys {
        if Instant::now() >= deadline {
            break;
        }
        let history = trail.row_history(conn, &table.name, key, HistoryLimit::Newest(VERSIONS_FOLDED))?;
        found.extend(history.versions.into_iter().filter(|version| version.gap).map(|version| Gap {
            change: version.change.id,
            captured_at: version.change.captured_at,
            row_key: version.change.row_key,
        }));
        looked_at += 1;
    }
    if !found.is_empty() {
        let mut statement = Statement::new(
            "SELECT g.transaction_id, g.ordinal FROM threadline.known_gaps g WHERE g.transaction_id = ANY (",
        );
        statement.bind(found.iter().map(|gap| gap.change.transaction_id).collect::<Vec<_>>()).sql(")");
        let known: HashSet<(Uuid, i32)> = statement
            .load_from::<Known>(conn)?
            .into_iter()
            .map(|known| (known.transaction_id, known.ordinal))
            .collect();
        found.retain(|gap| !known.contains(&(gap.change.transaction_id, gap.change.ordinal)));
    }
    Ok((found, looked_at))
}

/// Says of each gap which row it is of and when the last change before it was captured. What is known of the write, and who says
/// so, is for the reader to fill in: as it is printed PostgreSQL refuses it.
fn gap(audited: &AuditedTable, table: &HostTable, found: &[Gap], looked_at: usize) -> Option<Finding> {
    let instant = |gap: &Gap| gap.captured_at.format("%Y-%m-%d %H:%M:%S%.6fZ").to_string();
    let acknowledge = |gap: &Gap| {
        // As JSON it has no line break, and stays in the comment.
        let key = Value::from(gap.row_key.as_str());
        format!(
            "-- {}, key ({}) {key}: after the change of {}\n\
             SELECT threadline.acknowledge_gap('{}', {}, '{{\"type\": \"admin\", \"id\": \"…\"}}', <WHAT IS KNOWN OF THE WRITE, AS 'TEXT'>);",
            table.name.to_plain().escape_debug(),
            audited.key_columns.join(", ").escape_debug(),
            instant(gap),
            gap.change.transaction_id,
            gap.change.ordinal
        )
    };
    let first = found.iter().map(|gap| gap.captured_at).min()?;
    let last = found.iter().map(|gap| gap.captured_at).max()?;
    let when = match (first, last) {
        (first, last) if first == last => format!("after the change of {}", instant(&found[0])),
        (first, last) => {
            let [first, last] = [first, last].map(|at| at.format("%Y-%m-%d %H:%M:%S%.6fZ"));
            format!("after {} changes between {first} and {last}", found.len())
        }
    };
    let changes: Vec<ChangeId> = found.iter().map(|gap| gap.change).collect();
    let rows: Vec<Value> = found
        .iter()
        .map(|gap| json!({ "change": gap.change, "key": gap.row_key, "after": instant(gap) }))
        .collect();
    Some(
        Finding::new(
            Code::Gap,
            Severity::Error,
            format!(
                "{when} a write to the row escaped capture ({looked_at} rows looked at); `threadline history` shows the row on both \
                 sides: find out what wrote, then have the trail say so in your own words"
            ),
        )
        .on(&table.name)
        .fix(found.iter().map(acknowledge).collect::<Vec<_>>().join("\n"))
        .details(json!({ "changes": changes, "gaps": rows, "rows": looked_at })),
    )
}

/// A stored key as the trail takes it.
pub(crate) fn stored_key(columns: &[String], stored: &str) -> Option<RowKey> {
    let parts = match columns.len() {
        1 => vec![stored.to_owned()],
        _ => serde_json::from_str(stored).ok()?,
    };
    (parts.len() == columns.len()).then(|| RowKey::new(columns.iter().cloned().zip(parts)).ok())?
}

fn by_id<'a>(
    deployed: &'a Deployed,
    options: &HealthOptions,
    id: i32,
) -> Option<(&'a AuditedTable, &'a HostTable)> {
    deployed
        .attached()
        .find(|(audited, _)| audited.id == id)
        .and_then(|(audited, table)| Some((audited, table?)))
        .filter(|(_, table)| options.coverage.sees(&table.name))
}
