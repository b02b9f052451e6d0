//! Names in a configuration that mean no table: what is said of a misspelt one is of none.

use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde_json::json;

use super::HealthOptions;
use super::coverage::Decisions;
use super::finding::{Finding, FindingCode, Severity};
use crate::capture::TableName;
use crate::error::Error;
use crate::investigation::Statement;
use crate::operation::deployed::{Deployed, attempt, resolve};

/// Tables that are expected, ignored or named otherwise, and that there are none of.
pub(super) fn findings(
    conn: &mut PgConnection,
    deployed: &Deployed,
    options: &HealthOptions,
    decisions: &Decisions<'_>,
) -> Result<Vec<Finding>, Error> {
    let expected = resolve(conn, &options.expected)?;
    let mut findings = Vec::new();
    for table in options.expected.iter().filter(|table| !expected.contains_key(table)) {
        findings.push(unknown(deployed, table, Severity::Error, "it is expected to be audited"));
    }
    for ignored in &decisions.nameless {
        findings.push(unknown(deployed, &ignored.table, Severity::Warning, "it is ignored"));
    }
    for (table, place) in unknown_to_the_trail(conn, &options.named)? {
        findings.push(unknown(deployed, table, Severity::Warning, place));
    }
    Ok(findings)
}

/// Of tables that are named somewhere those that neither are there nor were ever audited.
pub(crate) fn unknown_to_the_trail<'a>(
    conn: &mut PgConnection,
    named: &'a [(TableName, String)],
) -> Result<Vec<(&'a TableName, &'a str)>, Error> {
    #[derive(QueryableByName)]
    struct Answer {
        #[diesel(sql_type = Bool)]
        is_known: bool,
    }
    let names: Vec<TableName> = named.iter().map(|(table, _)| table.clone()).collect();
    let there = resolve(conn, &names)?;
    let mut unknown = Vec::new();
    for (table, place) in named.iter().filter(|(table, _)| !there.contains_key(table)) {
        // What was audited and is no more is still in the trail, and kept or removed by its name. A role that may not read the
        // policies is told so, and cannot tell.
        let answers = attempt(conn, None, |conn| {
            let mut statement = Statement::new(
                "SELECT EXISTS (SELECT FROM threadline.audited_tables a WHERE a.table_name = ",
            );
            statement.bind(table.name()).sql(" AND ").bind(table.schema().unwrap_or_default());
            statement.sql(" IN ('', a.schema_name)) AS is_known");
            statement.load_from::<Answer>(conn)
        })?;
        if answers.is_ok_and(|answers| !answers.iter().any(|answer| answer.is_known)) {
            unknown.push((table, place.as_str()));
        }
    }
    Ok(unknown)
}

fn unknown(deployed: &Deployed, table: &TableName, severity: Severity, place: &str) -> Finding {
    let nearest = nearest(deployed, table).map(TableName::to_plain);
    let (question, fix) = match &nearest {
        Some(near) => (
            format!("; did you mean `{near}`?"),
            format!("-- in the configuration: write `{near}` for `{}`, if that is meant", table.to_plain()),
        ),
        None => (String::new(), "-- in the configuration: correct the name, or take it out".to_owned()),
    };
    Finding::new(
        FindingCode::UnknownTable,
        severity,
        format!("there is no such table, though {place}{question}"),
    )
    .on(table)
    .fix(fix)
    .details(json!({ "nearest": nearest }))
}

/// The host's table whose name is nearest to one that means none, if one is near.
pub(crate) fn nearest<'a>(deployed: &'a Deployed, table: &TableName) -> Option<&'a TableName> {
    let written = |candidate: &TableName| match table.schema() {
        Some(_) => candidate.to_plain(),
        None => candidate.name().to_owned(),
    };
    let name = written(table);
    let furthest = (name.chars().count() / 3).clamp(1, 4);
    deployed
        .roots()
        .map(|candidate| (strsim::damerau_levenshtein(&written(&candidate.name), &name), &candidate.name))
        .filter(|(distance, _)| *distance <= furthest)
        .min()
        .map(|(_, near)| near)
}
