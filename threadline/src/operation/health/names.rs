//! Names in a configuration that mean no table: what is said of a misspelt one is of none.

use diesel::prelude::*;
use diesel::sql_types::{Array, Text};
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
    for Unknown { table, place, renamed_to } in unknown_to_the_trail(conn, &options.named)? {
        findings.push(match renamed_to {
            None => unknown(deployed, table, Severity::Warning, place),
            Some(name) => Finding::new(
                FindingCode::UnknownTable,
                Severity::Warning,
                format!("there is no such table, though {place}; it was renamed to `{name}`"),
            )
            .on(table)
            .fix(format!("-- in the configuration: write `{name}` for `{}`", table.to_plain()))
            .details(json!({ "nearest": name })),
        });
    }
    Ok(findings)
}

/// A name that means no table.
pub(crate) struct Unknown<'a> {
    pub(crate) table: &'a TableName,
    /// Where it is named.
    pub(crate) place: &'a str,
    /// What the table the trail knew by this name is called now.
    pub(crate) renamed_to: Option<String>,
}

/// Of tables that are named somewhere those that neither are there nor were ever audited, and those that are called otherwise now.
pub(crate) fn unknown_to_the_trail<'a>(
    conn: &mut PgConnection,
    named: &'a [(TableName, String)],
) -> Result<Vec<Unknown<'a>>, Error> {
    #[derive(QueryableByName)]
    struct Known {
        #[diesel(sql_type = Array<Text>)]
        renamed_to: Vec<String>,
    }
    let names: Vec<TableName> = named.iter().map(|(table, _)| table.clone()).collect();
    let there = resolve(conn, &names)?;
    let mut unknown = Vec::new();
    for (table, place) in named.iter().filter(|(table, _)| !there.contains_key(table)) {
        // What was audited and is no more is still in the trail, and kept or removed by its name. A role that may not read the
        // policies is told so, and cannot tell.
        let answers = attempt(conn, None, |conn| {
            let mut statement = Statement::new(
                "SELECT CASE WHEN c.oid IS NULL OR (n.nspname, c.relname) = (a.schema_name, a.table_name) THEN '{}' ELSE ARRAY[n.nspname, c.relname]::text[] END AS renamed_to \
                 FROM threadline.audited_tables a LEFT JOIN pg_catalog.pg_class c ON c.oid = threadline.audited_relation(a.id)::oid \
                 LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE a.table_name = ",
            );
            statement.bind(table.name()).sql(" AND ").bind(table.schema().unwrap_or_default());
            statement.sql(" IN ('', a.schema_name) ORDER BY a.id");
            statement.load_from::<Known>(conn)
        })?;
        let Ok(known) = answers else { continue };
        let renamed_to = known.iter().find_map(|known| match known.renamed_to.as_slice() {
            [schema, name] => Some(TableName::new(Some(schema), name).to_plain()),
            _ => None,
        });
        // One that is gone, or that the search path does not find, is meant rather than one of another name.
        let is_gone = known.iter().any(|known| known.renamed_to.is_empty());
        if known.is_empty() || (renamed_to.is_some() && !is_gone) {
            unknown.push(Unknown { table, place, renamed_to });
        }
    }
    Ok(unknown)
}

fn unknown(deployed: &Deployed, table: &TableName, severity: Severity, place: &str) -> Finding {
    let nearest = nearest_table(deployed, table).map(TableName::to_plain);
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
pub(crate) fn nearest_table<'a>(deployed: &'a Deployed, table: &TableName) -> Option<&'a TableName> {
    nearest(deployed.roots().map(|table| &table.name), table)
}

/// Of these the one whose name is nearest, if one is near.
pub(crate) fn nearest<'a>(
    candidates: impl IntoIterator<Item = &'a TableName>,
    table: &TableName,
) -> Option<&'a TableName> {
    let written = |candidate: &TableName| match table.schema() {
        Some(_) => candidate.to_plain(),
        None => candidate.name().to_owned(),
    };
    let name = written(table);
    let candidates = candidates.into_iter();
    candidates
        .filter_map(|candidate| Some((distance(&written(candidate), &name)?, candidate)))
        .min()
        .map(|(_, near)| near)
}

/// Of these the one that is nearest to a name, if one is near.
pub(crate) fn nearest_name<'a>(
    candidates: impl IntoIterator<Item = &'a String>,
    name: &str,
) -> Option<&'a String> {
    let candidates = candidates.into_iter();
    candidates
        .filter_map(|candidate| Some((distance(candidate, name)?, candidate)))
        .min()
        .map(|(_, near)| near)
}

/// How far a name is from one that is written, unless that is too far for a slip.
fn distance(candidate: &str, name: &str) -> Option<usize> {
    let furthest = (name.chars().count() / 3).clamp(1, 4);
    Some(strsim::damerau_levenshtein(candidate, name)).filter(|distance| *distance <= furthest)
}

/// Names of actions that are looked through for the one that may be meant.
const ACTIONS_READ: u32 = 1_000;

/// Actions that are named somewhere and are not on record.
pub(super) fn unknown_actions(
    conn: &mut PgConnection,
    options: &HealthOptions,
) -> Result<Vec<Finding>, Error> {
    #[derive(QueryableByName)]
    struct Action {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let names: Vec<String> = options.named_actions.iter().map(|(name, _)| name.clone()).collect();
    let mut statement = Statement::new("SELECT n.name FROM unnest(");
    statement.bind(names).sql(
        "::text[]) n (name) WHERE NOT EXISTS (SELECT FROM threadline.audit_actions a WHERE a.name = n.name COLLATE \"C\")",
    );
    let unknown: Vec<Action> = statement.load_from(conn)?;
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    // From name to name by the index, not through all that were recorded.
    let recorded: Vec<Action> = Statement::new(&format!(
        "WITH RECURSIVE known (name) AS ((SELECT a.name FROM threadline.audit_actions a ORDER BY a.name LIMIT 1) UNION ALL \
         SELECT (SELECT a.name FROM threadline.audit_actions a WHERE a.name > k.name ORDER BY a.name LIMIT 1) FROM known k WHERE k.name IS NOT NULL) \
         SELECT k.name FROM known k WHERE k.name IS NOT NULL LIMIT {ACTIONS_READ}"
    ))
    .load_from(conn)?;
    let recorded: Vec<String> = recorded.into_iter().map(|action| action.name).collect();
    let named =
        options.named_actions.iter().filter(|(name, _)| unknown.iter().any(|action| action.name == *name));
    let finding = |(name, place): &(String, String)| {
        let nearest = nearest_name(&recorded, name);
        let (severity, question, fix) = match nearest {
            Some(near) => (
                Severity::Warning,
                format!("; did you mean `{near}`?"),
                format!("-- in the configuration: write `{near}` for `{name}`, if that is meant"),
            ),
            None => (
                Severity::Info,
                String::new(),
                "-- in the configuration: correct the name, unless it is one that will be recorded"
                    .to_owned(),
            ),
        };
        Finding::new(
            FindingCode::UnknownAction,
            severity,
            format!("no action `{name}` is on record, though {place}{question}"),
        )
        .fix(fix)
        .details(json!({ "action": name, "nearest": nearest }))
    };
    Ok(named.map(finding).collect())
}
