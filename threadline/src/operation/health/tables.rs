//! Whether the tables of the trail are defined as shipped: their columns, and what holds for their rows.

use std::collections::HashMap;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};
use serde_json::json;

use super::definition::{Check, Column, Definition, definitions};
use super::expression::meaning;
use super::finding::{Finding, FindingCode as Code, Severity};
use crate::capture::{TableName, quote_ident};
use crate::error::Error;
use crate::investigation::Statement;

#[derive(Debug, QueryableByName)]
struct Part {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    is_partitioned: bool,
    /// A column is NOT NULL; a constraint is valid.
    #[diesel(sql_type = Bool)]
    holds: bool,
    #[diesel(sql_type = Text)]
    data_type: String,
    #[diesel(sql_type = Nullable<Text>)]
    collation: Option<String>,
    #[diesel(sql_type = Text)]
    identity: String,
    #[diesel(sql_type = Text)]
    generated: String,
    #[diesel(sql_type = Nullable<Text>)]
    expression: Option<String>,
}

/// What differs at one table, and the actions of the one ALTER TABLE that mends it.
#[derive(Debug, Default)]
struct Differences {
    told: Vec<String>,
    actions: Vec<String>,
    is_harmful: bool,
}

impl Differences {
    fn push(&mut self, told: String, action: String) {
        self.told.push(told);
        self.actions.push(action);
        self.is_harmful = true;
    }
}

/// Tables that are not defined as shipped; of migrations that are `behind`, and of tables that are missing, it is told elsewhere.
pub(super) fn findings(conn: &mut PgConnection, behind: &[&str]) -> Result<Vec<Finding>, Error> {
    // Constants are written out by these.
    conn.batch_execute(
        "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'",
    )?;
    let parts: Vec<Part> = Statement::new(include_str!("sql/definitions.sql")).load_from(conn)?;
    let mut by_table = HashMap::<&str, Vec<&Part>>::new();
    for part in &parts {
        by_table.entry(&part.table_name).or_default().push(part);
    }
    let mut findings = Vec::new();
    for definition in definitions() {
        let Some(parts) = by_table.get(definition.table.as_str()) else { continue };
        if parts[0].is_partitioned != definition.is_partitioned {
            findings.push(other_kind(&definition));
        }
        let (columns, checks): (Vec<&Part>, Vec<&Part>) =
            parts.iter().copied().partition(|part| part.kind == "column");
        let mut differences = Differences::default();
        compare_columns(&definition, &columns, behind, &mut differences);
        compare_checks(&definition, &checks, &mut differences);
        findings.extend(finding(&definition, differences));
    }
    Ok(findings)
}

fn other_kind(definition: &Definition) -> Finding {
    let (is, ships) =
        if definition.is_partitioned { ("one table", "partitioned") } else { ("partitioned", "one table") };
    Finding::new(
        Code::SchemaAltered,
        Severity::Error,
        format!(
            "it is {is} and ships {ships}: another table stands in its place, and what it held is elsewhere or gone; rename that one \
             back, or restore it from a backup"
        ),
    )
    .on(&TableName::new(Some("threadline"), &definition.table))
    .fix(format!("-- name the tables that could be it\nSELECT c.oid::regclass, c.relkind FROM pg_class c WHERE c.relkind IN ('r', 'p') AND starts_with(c.relname, '{}');", definition.table))
    .details(json!({ "partitioned": !definition.is_partitioned }))
}

fn finding(definition: &Definition, differences: Differences) -> Option<Finding> {
    let Differences { told, actions, is_harmful } = differences;
    let table = TableName::new(Some("threadline"), &definition.table);
    (!told.is_empty()).then(|| {
        let severity = if is_harmful { Severity::Error } else { Severity::Warning };
        Finding::new(
            Code::SchemaAltered,
            severity,
            format!("it is not defined as shipped: {}", told.join(", ")),
        )
        .on(&table)
        .fix(format!("ALTER TABLE {}\n    {};", table.to_sql(), actions.join(",\n    ")))
        .details(json!({ "table": definition.table, "differences": told }))
    })
}

fn compare_columns(definition: &Definition, found: &[&Part], behind: &[&str], differences: &mut Differences) {
    let shipped = || definition.columns.iter().filter(|column| !behind.contains(&column.migration));
    for column in shipped() {
        match found.iter().find(|part| part.name == column.name) {
            Some(part) => compare_column(column, part, differences),
            None => differences.push(
                format!("column `{}` is missing, with all that it held", column.name),
                format!("ADD COLUMN {}", declaration(column)),
            ),
        }
    }
    for part in found.iter().filter(|part| definition.columns.iter().all(|column| column.name != part.name)) {
        let fills_itself = part.expression.is_some() || !part.identity.is_empty();
        differences.told.push(format!("column `{}` is none it ships with", part.name));
        differences.actions.push(format!("DROP COLUMN {}", quote_ident(&part.name)));
        // What a default calls runs with each row, and with the rights of the trail's owner.
        differences.is_harmful |= fills_itself || part.holds;
    }
}

fn compare_column(column: &Column, part: &Part, differences: &mut Differences) {
    let name = quote_ident(&column.name);
    let collation =
        column.collation.as_ref().map_or(String::new(), |collation| format!(" COLLATE {collation}"));
    if part.data_type != column.data_type || part.collation != column.collation {
        differences.push(
            format!("column `{}` is of type {}", column.name, part.data_type),
            format!(
                "ALTER COLUMN {name} TYPE {type_name}{collation} USING {name}::{type_name}",
                type_name = column.data_type
            ),
        );
    }
    if part.holds != column.not_null {
        let (told, action) = if column.not_null { ("takes NULL", "SET") } else { ("is NOT NULL", "DROP") };
        differences.push(
            format!("column `{}` {told}", column.name),
            format!("ALTER COLUMN {name} {action} NOT NULL"),
        );
    }
    match (column.is_identity, part.identity.as_str()) {
        (true, "a") | (false, "") => {}
        (true, "") => differences.push(
            format!("column `{}` is no identity", column.name),
            format!("ALTER COLUMN {name} ADD GENERATED ALWAYS AS IDENTITY"),
        ),
        (true, _) => differences.push(
            format!("column `{}` takes any number", column.name),
            format!("ALTER COLUMN {name} SET GENERATED ALWAYS"),
        ),
        (false, _) => differences.push(
            format!("column `{}` is an identity", column.name),
            format!("ALTER COLUMN {name} DROP IDENTITY"),
        ),
    }
    if !part.generated.is_empty() {
        differences.push(
            format!("column `{}` is generated", column.name),
            format!("ALTER COLUMN {name} DROP EXPRESSION"),
        );
    } else if part.expression.as_deref().map(meaning) != column.default.as_deref().map(meaning) {
        let action = column
            .default
            .as_ref()
            .map_or("DROP DEFAULT".to_owned(), |default| format!("SET DEFAULT {default}"));
        differences.push(
            format!("the default of column `{}` is another", column.name),
            format!("ALTER COLUMN {name} {action}"),
        );
    }
}

fn declaration(column: &Column) -> String {
    let mut declared = format!("{} {}", quote_ident(&column.name), column.data_type);
    if let Some(collation) = &column.collation {
        declared.push_str(&format!(" COLLATE {collation}"));
    }
    if column.is_identity {
        declared.push_str(" GENERATED ALWAYS AS IDENTITY");
    } else if column.not_null {
        declared.push_str(" NOT NULL");
    }
    if let Some(default) = &column.default {
        declared.push_str(&format!(" DEFAULT {default}"));
    }
    declared
}

/// Constraints are found by what they say: the names PostgreSQL gives are its own.
fn compare_checks(definition: &Definition, found: &[&Part], differences: &mut Differences) {
    let says = |part: &Part, check: &Check| {
        part.expression.as_deref().map(meaning) == Some(meaning(&check.expression))
    };
    // First what goes: it may have the name of what comes.
    for part in found.iter().filter(|part| definition.checks.iter().all(|check| !says(part, check))) {
        differences.push(
            format!("constraint `{}` is none it ships with", part.name),
            format!("DROP CONSTRAINT {}", quote_ident(&part.name)),
        );
    }
    for check in &definition.checks {
        let alike = || found.iter().filter(|part| says(part, check));
        if alike().any(|part| part.holds) {
            continue;
        }
        match alike().next() {
            Some(part) => differences.push(
                format!("constraint `{}` was never validated", part.name),
                format!("VALIDATE CONSTRAINT {}", quote_ident(&part.name)),
            ),
            None => {
                let named = check.name.as_ref().map_or(String::new(), |name| format!("CONSTRAINT {name} "));
                let expression = check.expression.split_whitespace().collect::<Vec<_>>().join(" ");
                differences.push(
                    format!("it lacks CHECK ({expression})"),
                    format!("ADD {named}CHECK ({expression})"),
                );
            }
        }
    }
}
