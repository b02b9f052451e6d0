//! Continuity: since when the trail knows a table, and what it can and cannot answer about the time before.
//!
//! Nothing is made up: what was in a table before capture began is what its first captured changes say of it, and otherwise
//! unknown.

mod baseline;
mod report;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz};

pub use self::baseline::{Baseline, BaselinePlan, plan_baseline, record_baseline};
pub use self::report::{Continuity, KnownGap, Missing, Period};
use crate::capture::TableName;
use crate::error::Error;
use crate::health::{self, CoverageStatus, Decisions, Finding, FindingCode, HealthOptions, Severity};
use crate::intent::Actor;
use crate::investigation::{ChangeId, Statement, in_one_snapshot};
use crate::operation::deployed::{Deployed, attempt, resolve};

/// Since when a table is known, and what is unknown of it. `table` may be gone: then it is found under its last name.
///
/// # Errors
///
/// [`Error::NotAudited`] for a table the trail does not know; [`Error::Query`] for a role that may not read the trail.
pub fn report(conn: &mut PgConnection, table: &TableName) -> Result<Continuity, Error> {
    in_one_snapshot(conn, |conn| read(conn, table))
}

fn read(conn: &mut PgConnection, table: &TableName) -> Result<Continuity, Error> {
    #[derive(QueryableByName)]
    struct Known {
        #[diesel(sql_type = Integer)]
        id: i32,
        #[diesel(sql_type = Text)]
        schema_name: String,
        #[diesel(sql_type = Text)]
        table_name: String,
        #[diesel(sql_type = Text)]
        on_truncate: String,
        #[diesel(sql_type = Bool)]
        is_redacted: bool,
        #[diesel(sql_type = Nullable<Timestamptz>)]
        kept_since: Option<DateTime<Utc>>,
        #[diesel(sql_type = Nullable<Timestamptz>)]
        first_change: Option<DateTime<Utc>>,
        #[diesel(sql_type = BigInt)]
        truncates: i64,
        #[diesel(sql_type = Nullable<Timestamptz>)]
        last_truncate: Option<DateTime<Utc>>,
    }
    let mut statement = Statement::new(
        "SELECT a.id, coalesce(n.nspname, a.schema_name)::text AS schema_name, coalesce(c.relname, a.table_name)::text AS table_name, a.on_truncate, \
             a.exclude || a.mask <> '{}' AS is_redacted, \
             greatest(threadline.purged_until(a.id), (SELECT threadline.instant_of(min((regexp_match(pg_get_expr(p.relpartbound, p.oid), 'FROM \\(''([0-9a-f-]{36})''\\)'))[1]::text)::uuid) \
                 FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhrelid WHERE i.inhparent = 'threadline.audit_changes'::regclass \
                 HAVING bool_and(pg_get_expr(p.relpartbound, p.oid) NOT LIKE '%FROM (MINVALUE)%'))) AS kept_since, \
             (SELECT min(f.captured_at) FROM threadline.audit_changes f WHERE f.table_id = a.id) AS first_change, \
             t.truncates, t.last_truncate \
         FROM (SELECT threadline.find_table(",
    );
    statement.bind(table.to_sql()).sql("::text, to_regclass(").bind(table.to_sql()).sql(
        ")) AS id) f JOIN threadline.audited_tables a ON a.id = f.id \
         LEFT JOIN pg_class c ON c.oid = threadline.audited_relation(a.id)::oid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL (SELECT count(*) AS truncates, max(m.captured_at) AS last_truncate FROM threadline.audit_changes m \
             WHERE m.table_id = a.id AND m.row_key = '' AND m.op = 'T') t",
    );
    let known: Vec<Known> = load(conn, table, &statement)?;
    let known = known.into_iter().next().ok_or_else(|| Error::NotAudited {
        table: table.to_plain(),
        renamed_to: None,
        nearest: None,
    })?;

    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        began_at: DateTime<Utc>,
        #[diesel(sql_type = Nullable<Timestamptz>)]
        ended_at: Option<DateTime<Utc>>,
    }
    let mut statement =
        Statement::new("SELECT p.began_at, p.ended_at FROM threadline.capture_periods p WHERE p.table_id = ");
    statement.bind(known.id).sql(" ORDER BY p.began_at");
    let periods: Vec<Row> = load(conn, table, &statement)?;
    let gaps = known_gaps(conn, known.id)?;
    let baselines = baseline::of_table(conn, known.id)?;
    let name = TableName::new(Some(&known.schema_name), &known.table_name);
    let problems = problems(conn, &name)?;
    Ok(Continuity {
        table: name,
        table_id: known.id,
        periods: periods
            .into_iter()
            .map(|row| Period { began_at: row.began_at, ended_at: row.ended_at })
            .collect(),
        kept_since: known.kept_since,
        first_change: known.first_change,
        gaps,
        baselines,
        truncates: if known.on_truncate == "keep" { 0 } else { known.truncates.unsigned_abs() },
        last_truncate: known.last_truncate,
        is_redacted: known.is_redacted,
        problems,
    })
}

fn load<T: QueryableByName<diesel::pg::Pg> + 'static>(
    conn: &mut PgConnection,
    table: &TableName,
    statement: &Statement,
) -> Result<Vec<T>, Error> {
    statement.clone().load(conn).map_err(|error| Error::from_query(conn, &table.to_plain(), error))
}

/// The gaps of a table that somebody has acknowledged, oldest first.
fn known_gaps(conn: &mut PgConnection, table_id: i32) -> Result<Vec<KnownGap>, Error> {
    let mut statement = Statement::new(
        "SELECT g.transaction_id, g.ordinal, c.captured_at AS after, g.acknowledged_at, \
             g.actor_type || coalesce(':' || g.actor_id, '') AS acknowledged_by, g.reason FROM threadline.known_gaps g \
         LEFT JOIN LATERAL (SELECT c.captured_at FROM threadline.audit_changes c \
             WHERE c.transaction_id = g.transaction_id AND c.ordinal = g.ordinal LIMIT 1) c ON true WHERE g.table_id = ",
    );
    statement.bind(table_id).sql(" ORDER BY g.transaction_id, g.ordinal LIMIT 1000");
    statement.load_from(conn)
}

/// What keeps the table from being captured wholly at this moment, in words, each with what mends it.
fn problems(conn: &mut PgConnection, table: &TableName) -> Result<Vec<Missing>, Error> {
    let options = HealthOptions::catalog_only();
    let decisions = Decisions::resolve(conn, &options.coverage)?;
    let deployed = Deployed::load(conn)?;
    let coverage = health::of_deployed(&deployed, &options.coverage, &decisions);
    let Some(covered) = coverage.into_iter().find(|covered| covered.table == *table) else {
        let what = "there is no such table".to_owned();
        return Ok(vec![Missing { what, fix: String::new() }]);
    };
    let findings = attempt(conn, Some(options.statement_timeout), |conn| {
        let of_tables = health::capture_findings(conn, &deployed, &options, &decisions)?;
        Ok((of_tables, health::trail_findings(conn, &deployed)?))
    })?;
    if covered.status == CoverageStatus::Covered {
        let (of_tables, of_trail) = findings.map_err(|unanswered| unanswered.error)?;
        let own = of_tables.into_iter().filter(|finding| finding.table_name().as_ref() == Some(table));
        return Ok(errors(table, own.chain(of_trail)).collect());
    }
    // The catalogs told what is missing; where they do not tell more, that is said without what mends it.
    let (findings, of_trail) = findings.unwrap_or_default();
    let fix = |member: &TableName, reason: &str| {
        let is_it = |finding: &&Finding| {
            finding.table_name().as_ref() == Some(member)
                && (matches!(finding.code, FindingCode::UncoveredTable | FindingCode::TableGone)
                    || finding.message.starts_with(reason))
        };
        findings.iter().find(is_it).map(|finding| finding.fix.clone()).unwrap_or_default()
    };
    // Those of the partitions come after those of the table.
    let of_partitions: usize = covered.partitions.iter().map(|partition| partition.reasons.len()).sum();
    let own = covered.reasons.len().saturating_sub(of_partitions);
    let mut missing: Vec<Missing> = covered.reasons[..own]
        .iter()
        .map(|reason| Missing { what: reason.clone(), fix: fix(table, reason) })
        .collect();
    for partition in &covered.partitions {
        let name = partition.table.to_plain();
        missing.extend(partition.reasons.iter().map(|reason| Missing {
            what: format!("partition `{name}`: {reason}"),
            fix: fix(&partition.table, reason),
        }));
    }
    missing.extend(errors(table, of_trail));
    Ok(missing)
}

/// What of these findings loses writes, each under the name of what it is about where that is not `table`.
fn errors(table: &TableName, findings: impl IntoIterator<Item = Finding>) -> impl Iterator<Item = Missing> {
    let errors = findings.into_iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| {
        let what = match finding.table_name() {
            Some(other) if other != *table => format!("`{}`: {}", other.to_plain(), finding.message),
            _ => finding.message,
        };
        Missing { what, fix: finding.fix }
    })
}

/// What keeps writes to the table, and to each of its partitions, from being captured from now on, each with what mends it;
/// empty when all are.
///
/// # Errors
///
/// [`Error::NoSuchTable`]; and as [`report`].
pub fn missing(conn: &mut PgConnection, table: &TableName) -> Result<Vec<Missing>, Error> {
    in_one_snapshot(conn, |conn| present(conn, table).map(|(_, missing)| missing))
}

fn present(conn: &mut PgConnection, table: &TableName) -> Result<(TableName, Vec<Missing>), Error> {
    let no_such_table = || Error::NoSuchTable { table: table.to_plain() };
    let oid = resolve(conn, std::slice::from_ref(table))?.remove(table).ok_or_else(no_such_table)?;
    let deployed = Deployed::load(conn)?;
    let name = deployed.table(oid).map(|table| table.name.clone()).ok_or_else(no_such_table)?;
    let problems = problems(conn, &name)?;
    Ok((name, problems))
}

/// Fails unless every write to the table, and to each of its partitions, is captured from now on: to be called before a
/// cut-over relies on it.
///
/// # Errors
///
/// [`Error::NoSuchTable`]; [`Error::NotReady`] with every reason, of which [`missing`] has what mends each; and as [`report`].
pub fn assert_ready(conn: &mut PgConnection, table: &TableName) -> Result<(), Error> {
    in_one_snapshot(conn, |conn| {
        let (name, missing) = present(conn, table)?;
        if missing.is_empty() {
            return Ok(());
        }
        let problems = missing.into_iter().map(|missing| missing.what).collect();
        Err(Error::NotReady { table: name.to_plain(), problems })
    })
}

/// Has the trail say that the gap after a change is known: who looked into it, and what is known of the write that escaped.
/// [`health::findings`] no longer tells of it, this module does. Replaces what was said before.
///
/// # Errors
///
/// [`Error::Refused`] when there is no such change or the reason is empty. The role has to own the audit schema.
pub fn acknowledge_gap(
    conn: &mut PgConnection,
    change: ChangeId,
    who: &Actor,
    reason: &str,
) -> Result<(), Error> {
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
