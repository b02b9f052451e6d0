//! Whether the trail has partitions for the time to come.

use chrono::{DateTime, Months, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Text, Timestamptz};
use serde_json::json;

use super::finding::{Finding, FindingCode as Code, Severity};
use crate::capture::{TableName, quote_literal};
use crate::error::Error;
use crate::investigation::Statement;

#[derive(Debug, QueryableByName)]
struct Parent {
    #[diesel(sql_type = Text)]
    parent: String,
    /// `FOR VALUES FROM ('…') TO ('…')` of each partition.
    #[diesel(sql_type = Array<Text>)]
    bounds: Vec<String>,
    /// Names of tables in the schema that are no partitions, such as detached ones.
    #[diesel(sql_type = Array<Text>)]
    loose: Vec<String>,
    #[diesel(sql_type = Timestamptz)]
    now: DateTime<Utc>,
}

/// A stretch of ids; `None` is unbounded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    from: Option<String>,
    to: Option<String>,
}

/// Missing partitions from now on, and a short runway.
pub(super) fn findings(conn: &mut PgConnection) -> Result<Vec<Finding>, Error> {
    let parents: Vec<Parent> = Statement::new(
        "SELECT p.relname::text AS parent, now() AS now, \
             array_remove(array_agg(pg_get_expr(c.relpartbound, c.oid)), NULL) AS bounds, \
             (SELECT coalesce(array_agg(l.relname::text), '{}') FROM pg_class l \
                 WHERE l.relnamespace = p.relnamespace AND l.relkind = 'r' AND NOT l.relispartition) AS loose \
         FROM pg_class p JOIN pg_partitioned_table t ON t.partrelid = p.oid AND t.partstrat = 'r' AND t.partnatts = 1 \
         JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum = t.partattrs[0] AND a.atttypid = 'uuid'::regtype \
         LEFT JOIN pg_inherits i ON i.inhparent = p.oid AND NOT i.inhdetachpending LEFT JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE p.relnamespace = 'threadline'::regnamespace GROUP BY p.oid, p.relname, p.relnamespace ORDER BY p.relname",
    )
    .load_from(conn)?;
    Ok(parents.iter().flat_map(of_parent).collect())
}

fn of_parent(parent: &Parent) -> Vec<Finding> {
    let table = TableName::new(Some("threadline"), &parent.parent);
    let mut stretches: Vec<Stretch> = parent.bounds.iter().filter_map(|bound| stretch(bound)).collect();
    stretches.sort();
    let now = first_id(parent.now);
    let mut findings = Vec::new();
    for missing in missing_from(&stretches, &now) {
        findings.push(partition_missing(&table, &missing, &parent.loose));
    }
    // The last one takes what is beyond the runway; once rows are in it, splitting it moves them.
    let tail = stretches.iter().find(|stretch| stretch.to.is_none()).and_then(|stretch| stretch.from.clone());
    let month_ahead = parent.now.checked_add_months(Months::new(1)).map(first_id);
    if let (Some(tail), Some(month_ahead)) = (tail, month_ahead)
        && tail < month_ahead
    {
        let severity = if tail <= now { Severity::Error } else { Severity::Warning };
        findings.push(
            Finding::new(
                Code::PartitionRunwayShort,
                severity,
                "partitions are made for less than a month ahead; have `threadline.maintain` run at least monthly",
            )
            .on(&table)
            .fix("SELECT threadline.maintain();")
            .details(json!({ "tail_from": tail })),
        );
    }
    findings
}

/// What no partition takes of the ids from `now` on.
fn missing_from(stretches: &[Stretch], now: &str) -> Vec<Stretch> {
    let mut missing = Vec::new();
    let mut covered_to = Some(now.to_owned());
    for stretch in stretches {
        let Some(to) = &covered_to else { break };
        if stretch.to.as_ref().is_some_and(|end| end <= to) {
            continue;
        }
        if let Some(from) = stretch.from.as_ref().filter(|from| *from > to) {
            // It begins where the last partition before it ended, which may be before now.
            missing.push(Stretch { from: begin_before(stretches, from), to: Some(from.clone()) });
        }
        covered_to.clone_from(&stretch.to);
    }
    if let Some(to) = covered_to {
        let from = stretches.iter().filter_map(|stretch| stretch.to.clone()).max();
        missing.push(Stretch { from: from.or(Some(to)), to: None });
    }
    missing
}

/// Where the stretch before `end` that nothing takes begins.
fn begin_before(stretches: &[Stretch], end: &str) -> Option<String> {
    stretches.iter().filter_map(|stretch| stretch.to.clone()).filter(|to| to.as_str() <= end).max()
}

fn partition_missing(table: &TableName, missing: &Stretch, loose: &[String]) -> Finding {
    let month = |id: &str| instant(id).map(|instant| instant.format("%Y_%m").to_string());
    let name = match (&missing.from, &missing.to) {
        (_, None) => format!("{}_tail", table.name()),
        (Some(from), Some(_)) => format!("{}_{}", table.name(), month(from).unwrap_or_default()),
        (None, Some(to)) => format!("{}_before_{}", table.name(), month(to).unwrap_or_default()),
    };
    let partition = TableName::new(Some("threadline"), &name);
    let bound = |id: &Option<String>, open: &str| id.as_deref().map_or(open.to_owned(), quote_literal);
    let values =
        format!("FROM ({}) TO ({})", bound(&missing.from, "MINVALUE"), bound(&missing.to, "MAXVALUE"));
    // One that was detached by hand goes back to its place, with what it holds.
    let fix = if loose.contains(&name) {
        format!("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES {values};", table.to_sql(), partition.to_sql())
    } else {
        format!("CREATE TABLE {} PARTITION OF {} FOR VALUES {values};", partition.to_sql(), table.to_sql())
    };
    let since = |id: &Option<String>| id.as_deref().and_then(instant);
    Finding::new(
        Code::PartitionMissing,
        Severity::Error,
        format!(
            "there is no partition from {} to {}: audited writes of that time fail",
            since(&missing.from).map_or("the beginning".to_owned(), |from| from.to_rfc3339()),
            since(&missing.to).map_or("the end".to_owned(), |to| to.to_rfc3339())
        ),
    )
    .on(table)
    .fix(fix)
    .details(json!({ "from": missing.from, "to": missing.to }))
}

/// The bounds of a partition, if it is one of ids.
fn stretch(bound: &str) -> Option<Stretch> {
    let (from, to) = bound.strip_prefix("FOR VALUES FROM (")?.strip_suffix(')')?.split_once(") TO (")?;
    let id = |text: &str| text.trim_matches('\'').to_owned();
    Some(Stretch { from: (from != "MINVALUE").then(|| id(from)), to: (to != "MAXVALUE").then(|| id(to)) })
}

/// `threadline.first_id_at`. Texts of ids are ordered as the ids are.
fn first_id(instant: DateTime<Utc>) -> String {
    let milliseconds = format!("{:012x}", instant.timestamp_millis());
    format!("{}-{}-0000-0000-000000000000", &milliseconds[..8], &milliseconds[8..])
}

/// When a transaction with this id began.
fn instant(id: &str) -> Option<DateTime<Utc>> {
    let milliseconds: String = id.chars().filter(|c| *c != '-').take(12).collect();
    DateTime::from_timestamp_millis(i64::from_str_radix(&milliseconds, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_partition_takes_is_found_wherever_it_lies() {
        let all = |bounds: &[(&str, &str)]| -> Vec<Stretch> {
            let open = |text: &str, end: &str| (text != end).then(|| text.to_owned());
            let mut all: Vec<Stretch> = bounds
                .iter()
                .map(|(from, to)| Stretch { from: open(from, "-"), to: open(to, "+") })
                .collect();
            all.sort();
            all
        };
        assert_eq!(missing_from(&all(&[("-", "3"), ("3", "5"), ("5", "+")]), "4"), all(&[]));
        assert_eq!(missing_from(&all(&[("-", "3"), ("5", "+")]), "4"), all(&[("3", "5")]));
        assert_eq!(missing_from(&all(&[("-", "3"), ("5", "+")]), "2"), all(&[("3", "5")]));
        assert_eq!(missing_from(&all(&[("-", "3"), ("5", "+")]), "6"), all(&[]));
        assert_eq!(missing_from(&all(&[("-", "3"), ("3", "5")]), "4"), all(&[("5", "+")]));
        assert_eq!(missing_from(&all(&[("3", "5"), ("7", "8")]), "4"), all(&[("5", "7"), ("8", "+")]));
        assert_eq!(missing_from(&all(&[("5", "+")]), "4"), all(&[("-", "5")]));
    }

    #[test]
    fn ids_and_instants_are_told_from_each_other() {
        let bound = "FOR VALUES FROM ('0197291a-3000-0000-0000-000000000000') TO (MAXVALUE)";
        let stretch = stretch(bound).expect("it is a bound of ids");
        let from = stretch.from.expect("it has a beginning");
        assert_eq!(first_id(instant(&from).expect("it is an id")), from);
        assert_eq!(stretch.to, None);
    }
}
