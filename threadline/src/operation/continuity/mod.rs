//! Continuity: since when the trail knows a table, and what it can and cannot answer about the time before.
//!
//! Nothing is made up: what was in a table before capture began is what its first captured changes say of it, and otherwise
//! unknown.

mod baseline;
mod gaps;
mod report;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz};

pub use self::baseline::{Baseline, BaselinePlan, plan_baseline, record_baseline};
pub use self::gaps::acknowledge_gap;
pub use self::report::{Continuity, KnownGap, Missing, Period};
use crate::capture::TableName;
use crate::error::Error;
use crate::health::{self, CoverageStatus, Decisions, Finding, FindingCode, HealthOptions, Severity};
use crate::investigation::{Statement, in_one_snapshot};
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
    let gaps = gaps::of_table(conn, known.id)?;
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
