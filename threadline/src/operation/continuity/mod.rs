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
use crate::health::{
    self, CoverageStatus, Decisions, Finding, FindingCode, HealthOptions, Severity, TableCoverage,
};
use crate::investigation::{Statement, in_one_snapshot};
use crate::operation::deployed::{Deployed, Unanswered, attempt, resolve};

/// Since when a table is known, and what is unknown of it. `table` may be gone: then it is found under its last name.
///
/// # Errors
///
/// [`Error::NotAudited`] for a table the trail does not know; [`Error::Query`] for a role that may not read the trail.
pub fn report(conn: &mut PgConnection, table: &TableName) -> Result<Continuity, Error> {
    in_one_snapshot(conn, |conn| {
        let mut which = Statement::new("threadline.find_table(");
        which.bind(table.to_sql()).sql("::text, to_regclass(").bind(table.to_sql()).sql("))");
        let known = read(conn, &table.to_plain(), which)?.ok_or_else(|| Error::NotAudited {
            table: table.to_plain(),
            renamed_to: None,
            nearest: None,
        })?;
        let problems = problems(conn, &known.table)?;
        Ok(Continuity { problems, ..known })
    })
}

/// As [`report`], of all tables the trail knows, in the order of their names: `limit` of them, after the first `skip`.
///
/// The catalogs are asked once for all of them. Where they could not be asked whether a table is captured, that is among its
/// `problems`.
///
/// # Errors
///
/// [`Error::Query`] for a role that may not read the trail.
pub fn overview(conn: &mut PgConnection, skip: u32, limit: u32) -> Result<Vec<Continuity>, Error> {
    #[derive(QueryableByName)]
    struct Known {
        #[diesel(sql_type = Integer)]
        id: i32,
    }
    in_one_snapshot(conn, |conn| {
        let known: Vec<Known> = Statement::new(&format!(
            "SELECT a.id FROM threadline.audited_tables a LEFT JOIN pg_class c ON c.oid = threadline.audited_relation(a.id)::oid \
             LEFT JOIN pg_namespace n ON n.oid = c.relnamespace \
             ORDER BY coalesce(n.nspname, a.schema_name), coalesce(c.relname, a.table_name), a.id LIMIT {limit} OFFSET {skip}"
        ))
        .load_from(conn)?;
        let state = State::load(conn)?;
        let mut tables = Vec::with_capacity(known.len());
        for Known { id } in known {
            let mut which = Statement::new("");
            which.bind(id);
            if let Some(known) = read(conn, "", which)? {
                let problems = state.problems(&known.table).unwrap_or_else(|unanswered| {
                    let what =
                        format!("whether each write is captured could not be checked: {}", unanswered.reason);
                    vec![Missing { what, fix: String::new() }]
                });
                tables.push(Continuity { problems, ..known });
            }
        }
        Ok(tables)
    })
}

/// What is known of the table whose identity `which` says, without what is wrong with it at present.
fn read(conn: &mut PgConnection, name: &str, which: Statement) -> Result<Option<Continuity>, Error> {
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
    let mut statement = Statement::kept(
        "SELECT a.id, coalesce(n.nspname, a.schema_name)::text AS schema_name, coalesce(c.relname, a.table_name)::text AS table_name, a.on_truncate, \
             a.exclude || a.mask <> '{}' AS is_redacted, \
             greatest(threadline.purged_until(a.id), (SELECT threadline.instant_of(min((regexp_match(pg_get_expr(p.relpartbound, p.oid), 'FROM \\(''([0-9a-f-]{36})''\\)'))[1]::text)::uuid) \
                 FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhrelid WHERE i.inhparent = 'threadline.audit_changes'::regclass \
                 HAVING bool_and(pg_get_expr(p.relpartbound, p.oid) NOT LIKE '%FROM (MINVALUE)%'))) AS kept_since, \
             (SELECT min(f.captured_at) FROM threadline.audit_changes f WHERE f.table_id = a.id) AS first_change, \
             t.truncates, t.last_truncate \
         FROM (SELECT ",
    );
    statement.append(&which).sql(
        " AS id) f JOIN threadline.audited_tables a ON a.id = f.id \
         LEFT JOIN pg_class c ON c.oid = threadline.audited_relation(a.id)::oid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL (SELECT count(*) AS truncates, max(m.captured_at) AS last_truncate FROM threadline.audit_changes m \
             WHERE m.table_id = a.id AND m.row_key = '' AND m.op = 'T') t",
    );
    let known: Vec<Known> = load(conn, name, &statement)?;
    let Some(known) = known.into_iter().next() else { return Ok(None) };

    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        began_at: DateTime<Utc>,
        #[diesel(sql_type = Nullable<Timestamptz>)]
        ended_at: Option<DateTime<Utc>>,
    }
    let mut statement = Statement::kept(
        "SELECT p.began_at, p.ended_at FROM threadline.capture_periods p WHERE p.table_id = ",
    );
    statement.bind(known.id).sql(" ORDER BY p.began_at");
    let periods: Vec<Row> = load(conn, name, &statement)?;
    let gaps = gaps::of_table(conn, known.id)?;
    let baselines = baseline::of_table(conn, known.id)?;
    Ok(Some(Continuity {
        table: TableName::new(Some(&known.schema_name), &known.table_name),
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
        problems: Vec::new(),
    }))
}

fn load<T: QueryableByName<diesel::pg::Pg> + 'static>(
    conn: &mut PgConnection,
    name: &str,
    statement: &Statement,
) -> Result<Vec<T>, Error> {
    statement.clone().load(conn).map_err(|error| Error::from_query(conn, name, error))
}

/// What keeps the table from being captured wholly at this moment, in words, each with what mends it.
fn problems(conn: &mut PgConnection, table: &TableName) -> Result<Vec<Missing>, Error> {
    let state = State::load(conn)?;
    if let Ok(problems) = state.problems(table) {
        return Ok(problems);
    }
    state.findings.map(|_| Vec::new()).map_err(|unanswered| unanswered.error)
}

/// How all tables are captured at this moment.
struct State {
    coverage: Vec<TableCoverage>,
    /// Of the tables, and of the trail.
    findings: Result<(Vec<Finding>, Vec<Finding>), Unanswered>,
}

impl State {
    fn load(conn: &mut PgConnection) -> Result<Self, Error> {
        let options = HealthOptions::catalog_only();
        let decisions = Decisions::resolve(conn, &options.coverage)?;
        let deployed = Deployed::load(conn)?;
        let coverage = health::of_deployed(&deployed, &options.coverage, &decisions);
        let findings = attempt(conn, Some(options.statement_timeout), |conn| {
            let of_tables = health::capture_findings(conn, &deployed, &options, &decisions)?;
            Ok((of_tables, health::trail_findings(conn, &deployed)?))
        })?;
        Ok(Self { coverage, findings })
    }

    /// What keeps the table from being captured wholly; `Err` when that was not answered.
    fn problems(&self, table: &TableName) -> Result<Vec<Missing>, &Unanswered> {
        let Some(covered) = self.coverage.iter().find(|covered| covered.table == *table) else {
            let what = "there is no such table".to_owned();
            return Ok(vec![Missing { what, fix: String::new() }]);
        };
        if covered.status == CoverageStatus::Covered {
            let (of_tables, of_trail) = self.findings.as_ref()?;
            let own = of_tables.iter().filter(|finding| finding.table_name().as_ref() == Some(table));
            return Ok(errors(table, own.chain(of_trail)).collect());
        }
        // The catalogs told what is missing; where they do not tell more, that is said without what mends it.
        let (findings, of_trail) = match &self.findings {
            Ok((of_tables, of_trail)) => (&of_tables[..], &of_trail[..]),
            Err(_) => (&[][..], &[][..]),
        };
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
}

/// What of these findings loses writes, each under the name of what it is about where that is not `table`.
fn errors<'a>(
    table: &TableName,
    findings: impl IntoIterator<Item = &'a Finding>,
) -> impl Iterator<Item = Missing> {
    let errors = findings.into_iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| {
        let what = match finding.table_name() {
            Some(other) if other != *table => format!("`{}`: {}", other.to_plain(), finding.message),
            _ => finding.message.clone(),
        };
        Missing { what, fix: finding.fix.clone() }
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
