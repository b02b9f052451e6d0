//! What holds the feed back, and whether it still knows which cluster it is in.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer, Nullable, Text, Timestamptz};
use serde_json::json;

use super::finding::{Finding, FindingCode as Code, Severity};
use crate::capture::quote_literal;
use crate::error::Error;
use crate::investigation::Statement;

/// Transactions that have written and been open for longer than `after`, and prepared ones nobody ends. And whether the role
/// could see them all.
pub(super) fn long_transactions(
    conn: &mut PgConnection,
    after: Duration,
) -> Result<(Vec<Finding>, bool), Error> {
    #[derive(QueryableByName)]
    struct Open {
        #[diesel(sql_type = Nullable<Integer>)]
        pid: Option<i32>,
        #[diesel(sql_type = Nullable<Text>)]
        prepared: Option<String>,
        #[diesel(sql_type = Nullable<Text>)]
        application: Option<String>,
        #[diesel(sql_type = Nullable<Text>)]
        database: Option<String>,
        #[diesel(sql_type = Timestamptz)]
        since: DateTime<Utc>,
    }
    #[derive(QueryableByName)]
    struct Sees {
        #[diesel(sql_type = Bool)]
        sees: bool,
    }
    let seconds = after.as_secs().min(i32::MAX as u64) as i32;
    let mut statement = Statement::new(
        "SELECT o.* FROM (SELECT a.pid, NULL::text AS prepared, a.application_name AS application, a.datname::text AS database, a.xact_start AS since \
             FROM pg_stat_activity a WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid() \
         UNION ALL SELECT NULL, p.gid, NULL, p.database::text, p.prepared FROM pg_prepared_xacts p) o \
         WHERE o.since < clock_timestamp() - make_interval(secs => ",
    );
    statement.bind(seconds).sql(") ORDER BY o.since, o.pid LIMIT 20");
    let open: Vec<Open> = statement.load_from(conn)?;
    let Sees { sees } =
        Statement::new("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees")
            .load_from::<Sees>(conn)?
            .pop()
            .unwrap_or(Sees { sees: false });
    let findings = open.into_iter().map(|open| {
        let since = open.since.format("%F %T UTC");
        let (message, fix) = match (&open.prepared, open.pid) {
            (Some(gid), _) => (
                format!("transaction `{gid}` has been prepared since {since} and holds the feed back until somebody ends it"),
                format!("ROLLBACK PREPARED {}; -- or COMMIT PREPARED", quote_literal(gid)),
            ),
            (None, pid) => {
                let pid = pid.unwrap_or_default();
                (
                    format!("the transaction of process {pid} has been open since {since} and holds the feed back"),
                    format!("SELECT pg_terminate_backend({pid});"),
                )
            }
        };
        Finding::new(Code::FeedHeldBack, Severity::Warning, message).fix(fix).details(json!({
            "pid": open.pid, "prepared": open.prepared, "application": open.application, "database": open.database,
            "since": open.since
        }))
    });
    Ok((findings.collect(), sees))
}

/// Whether the trail was moved into another cluster, where its transaction numbers mean something else.
pub(super) fn moved(conn: &mut PgConnection) -> Result<Option<Finding>, Error> {
    #[derive(QueryableByName)]
    struct Horizon {
        #[diesel(sql_type = Nullable<Text>)]
        problem: Option<String>,
    }
    let horizon: Vec<Horizon> =
        Statement::new("SELECT problem FROM threadline.feed_horizon()").load_from(conn)?;
    Ok(horizon.into_iter().find_map(|horizon| horizon.problem).map(|problem| {
        Finding::new(
            Code::TrailMoved,
            Severity::Warning,
            "the trail is in another cluster than the one that wrote it, and the feed does not know; after pg_upgrade run \
             `SELECT threadline.adopt_upgraded_cluster()` instead",
        )
        .fix("SELECT threadline.adopt_restored_trail();")
        .details(json!({ "problem": problem }))
    }))
}
