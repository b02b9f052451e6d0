//! Gaps: writes to a row that escaped capture, and what is known of them.

use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Text};

use super::KnownGap;
use crate::capture::TableName;
use crate::error::Error;
use crate::health;
use crate::intent::Actor;
use crate::investigation::{ChangeId, HistoryLimit, Statement, Trail};

/// Has the trail say that the gap after a change is known: who looked into it, and what is known of the write that escaped.
/// [`health::findings`] no longer tells of it, [`report`](super::report) does. Replaces what was said before.
///
/// The row is folded to see that there is a gap: what is noted of one that is none would stay in the trail. Of a row whose key is
/// recorded as a digest that cannot be seen.
///
/// # Errors
///
/// [`Error::Refused`] when there is no such change, when no write escaped between it and the next one to the row (or the row as
/// it is now), and when the reason is empty. The role has to own the audit schema, and to be allowed to read the table.
pub fn acknowledge_gap(
    conn: &mut PgConnection,
    change: ChangeId,
    who: &Actor,
    reason: &str,
) -> Result<(), Error> {
    if !has_gap(conn, change)? {
        return Err(Error::Refused {
            message: format!(
                "no write escaped after change `{change}`: the next change to its row, or the row as it is now, begins where it ended"
            ),
            hint: Some("take the change from the finding `gap` of `threadline doctor`".to_owned()),
        });
    }
    let actor = serde_json::json!({ "type": who.actor_type().as_str(), "id": who.id() });
    let mut statement = Statement::new("SELECT threadline.acknowledge_gap(");
    statement.bind(change.transaction_id).sql(", ").bind(change.ordinal).sql(", ").bind(actor.to_string());
    statement.sql("::jsonb, ").bind(reason).sql(") AS is_new");
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        #[expect(dead_code, reason = "a function's result has to be read")]
        is_new: bool,
    }
    statement.load_from::<Row>(conn).map(drop)
}

/// Whether a write escaped after a change, as far as can be seen; true of a change there is none of, which is refused elsewhere.
fn has_gap(conn: &mut PgConnection, change: ChangeId) -> Result<bool, Error> {
    #[derive(QueryableByName)]
    struct Changed {
        #[diesel(sql_type = Text)]
        schema_name: String,
        #[diesel(sql_type = Text)]
        table_name: String,
        #[diesel(sql_type = Array<Text>)]
        key_columns: Vec<String>,
        #[diesel(sql_type = Text)]
        row_key: String,
        #[diesel(sql_type = Bool)]
        is_known: bool,
    }
    let mut statement = Statement::new(
        "SELECT coalesce(n.nspname, a.schema_name)::text AS schema_name, coalesce(c.relname, a.table_name)::text AS table_name, \
             a.key_columns, f.row_key, EXISTS (SELECT FROM threadline.known_gaps g \
                 WHERE g.transaction_id = f.transaction_id AND g.ordinal = f.ordinal) AS is_known \
         FROM threadline.audit_changes f JOIN threadline.audited_tables a ON a.id = f.table_id \
         LEFT JOIN pg_class c ON c.oid = threadline.audited_relation(a.id)::oid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE f.transaction_id = ",
    );
    statement.bind(change.transaction_id).sql(" AND f.ordinal = ").bind(change.ordinal);
    let changed: Vec<Changed> = statement.load_from(conn)?;
    let Some(changed) = changed.into_iter().next() else { return Ok(true) };
    if changed.is_known || changed.row_key.starts_with("sha256:") {
        return Ok(true);
    }
    // A TRUNCATE is a change to no row.
    let key =
        (!changed.row_key.is_empty()).then(|| health::stored_key(&changed.key_columns, &changed.row_key));
    let Some(key) = key.flatten() else { return Ok(false) };
    let table = TableName::new(Some(&changed.schema_name), &changed.table_name);
    for limit in [HistoryLimit::default(), HistoryLimit::All] {
        let history = Trail::unscoped().row_history(conn, &table, &key, limit)?;
        if let Some(version) = history.versions.iter().find(|version| version.change.id == change) {
            return Ok(version.gap);
        }
        if !history.has_more {
            break;
        }
    }
    Ok(false)
}

/// The gaps of a table that somebody has acknowledged, oldest first.
pub(super) fn of_table(conn: &mut PgConnection, table_id: i32) -> Result<Vec<KnownGap>, Error> {
    let mut statement = Statement::kept(
        "SELECT g.transaction_id, g.ordinal, c.captured_at AS after, g.acknowledged_at, \
             g.actor_type || coalesce(':' || g.actor_id, '') AS acknowledged_by, g.reason FROM threadline.known_gaps g \
         LEFT JOIN LATERAL (SELECT c.captured_at FROM threadline.audit_changes c \
             WHERE c.transaction_id = g.transaction_id AND c.ordinal = g.ordinal LIMIT 1) c ON true WHERE g.table_id = ",
    );
    statement.bind(table_id).sql(" ORDER BY g.transaction_id, g.ordinal LIMIT 1000");
    statement.load_from(conn)
}
