//! What stands between the trail and its rows: triggers, rules, policies and owners that the migrations do not make.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, Nullable, Text};
use serde_json::json;

use super::definition::definitions;
use super::finding::{Finding, FindingCode as Code, Severity};
use super::shipped::{Kind, ShippedTrigger, shipped, triggers};
use crate::capture::{TableName, quote_ident};
use crate::error::Error;
use crate::investigation::Statement;

/// Something on a table of the trail, or in its schema.
#[derive(Debug, QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<Text>)]
    schema_name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    table_name: Option<String>,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Array<Text>)]
    info: Vec<String>,
}

impl Found {
    fn table(&self) -> TableName {
        TableName::new(self.schema_name.as_deref(), self.table_name.as_deref().unwrap_or_default())
    }

    fn is_of(&self, trigger: &ShippedTrigger) -> bool {
        self.schema_name.as_deref() == Some("threadline")
            && self.table_name.as_deref() == Some(trigger.table)
            && self.name == trigger.name
    }
}

/// All of it, by one query of the catalog.
pub(super) fn findings(conn: &mut PgConnection) -> Result<Vec<Finding>, Error> {
    let found: Vec<Found> = Statement::new(include_str!("sql/trail.sql")).load_from(conn)?;
    let mut by_kind = HashMap::<&str, Vec<&Found>>::new();
    for found in &found {
        by_kind.entry(&found.kind).or_default().push(found);
    }
    let of = |kind: &str| by_kind.get(kind).map(Vec::as_slice).unwrap_or_default();
    let mut findings = guards(of("trigger"), of("table"));
    findings.extend(of("rule").iter().map(|found| rule(found)));
    findings.extend(of("row_security").iter().map(|found| row_security(found)));
    findings.extend(of("unlogged").iter().map(|found| unlogged(found)));
    let indexes: Vec<&str> =
        shipped().iter().filter(|made| made.kind == Kind::Index).map(|made| made.name).collect();
    findings.extend(
        of("unique")
            .iter()
            .filter(|found| !indexes.contains(&found.name.as_str()))
            .map(|found| unique(found)),
    );
    findings.extend(of("foreign_key").iter().map(|found| foreign_key(found)));
    findings
        .extend(["child", "foreign", "moved"].iter().flat_map(|kind| of(kind)).map(|found| misplaced(found)));
    findings.extend(strangers(of("table")));
    findings.extend(of("owner").iter().filter_map(|found| owner(found)));
    Ok(findings)
}

/// Triggers that ship and do not guard, and those that do not ship.
fn guards(found: &[&Found], tables: &[&Found]) -> Vec<Finding> {
    let shipped = triggers();
    let mut findings = Vec::new();
    for trigger in &shipped {
        // Of a table that is missing it is told elsewhere.
        if !tables.iter().any(|table| table.table_name.as_deref() == Some(trigger.table)) {
            continue;
        }
        let (what, fix) = match found.iter().find(|found| found.is_of(trigger)) {
            None => ("is missing", format!("{}\n{}", trigger.statement, trigger.enable())),
            Some(found) => match found.info.as_slice() {
                [function, _, kind, plain]
                    if function != trigger.function
                        || *kind != trigger.kind.to_string()
                        || plain != "true" =>
                {
                    (
                        "was altered",
                        format!(
                            "BEGIN;\nDROP TRIGGER {} ON threadline.{};\n{}\n{}\nCOMMIT;",
                            trigger.name,
                            trigger.table,
                            trigger.statement,
                            trigger.enable()
                        ),
                    )
                }
                [_, enabled, ..] if enabled == "D" => ("is disabled", trigger.enable()),
                [_, enabled, ..] if enabled == "R" => ("fires on replicas only", trigger.enable()),
                [_, enabled, ..] if enabled == "O" && trigger.is_always => {
                    ("does not fire for sessions in replica mode", trigger.enable())
                }
                _ => continue,
            },
        };
        findings.push(
            Finding::new(
                Code::TrailTrigger,
                Severity::Error,
                format!("trigger `{}`, which keeps its rows from being changed, {what}", trigger.name),
            )
            .on(&TableName::new(Some("threadline"), trigger.table))
            .fix(fix)
            .details(json!({ "trigger": trigger.name, "shipped": true })),
        );
    }
    let strange = found.iter().filter(|found| !shipped.iter().any(|trigger| found.is_of(trigger)));
    findings.extend(strange.map(|found| {
        Finding::new(
            Code::TrailTrigger,
            Severity::Error,
            format!(
                "trigger `{}`, which is none that ships, calls `{}`: it may drop, change or add to what is recorded",
                found.name,
                found.info.first().map_or("", String::as_str)
            ),
        )
        .on(&found.table())
        .fix(format!("DROP TRIGGER {} ON {};", quote_ident(&found.name), found.table().to_sql()))
        .details(json!({ "trigger": found.name, "shipped": false, "function": found.info.first() }))
    }));
    findings
}

fn rule(found: &Found) -> Finding {
    Finding::new(
        Code::TrailRule,
        Severity::Error,
        format!(
            "rule `{}` makes something else of statements on it: what is recorded may be dropped or changed",
            found.name
        ),
    )
    .on(&found.table())
    .fix(format!("DROP RULE {} ON {};", quote_ident(&found.name), found.table().to_sql()))
    .details(json!({ "rule": found.name }))
}

fn row_security(found: &Found) -> Finding {
    let table = found.table().to_sql();
    let policies: Vec<String> = found
        .info
        .iter()
        .map(|policy| format!("\nDROP POLICY {} ON {table};", quote_ident(policy)))
        .collect();
    Finding::new(
        Code::TrailRowSecurity,
        Severity::Error,
        "it has row-level security or policies: readers do not see all there is, nor retention or holds; the trail is narrowed by scopes",
    )
    .on(&found.table())
    .fix(format!(
        "ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;{}",
        policies.concat()
    ))
    .details(json!({ "policies": found.info }))
}

fn unlogged(found: &Found) -> Finding {
    Finding::new(
        Code::TrailUnlogged,
        Severity::Error,
        "it is unlogged: a crash empties it, and neither replicas nor backups by log have it; making it logged rewrites it",
    )
    .on(&found.table())
    .fix(format!("ALTER TABLE {} SET LOGGED;", found.table().to_sql()))
}

fn unique(found: &Found) -> Finding {
    let table = found.table();
    let fix = match found.info.first() {
        Some(constraint) => {
            format!("ALTER TABLE {} DROP CONSTRAINT {};", table.to_sql(), quote_ident(constraint))
        }
        None => format!("DROP INDEX {};", TableName::new(table.schema(), &found.name).to_sql()),
    };
    Finding::new(
        Code::TrailConstraint,
        Severity::Error,
        format!(
            "unique index `{}` is none it ships with: rows that are alike by it are refused or left out",
            found.name
        ),
    )
    .on(&table)
    .fix(fix)
    .details(json!({ "index": found.name }))
}

fn foreign_key(found: &Found) -> Finding {
    Finding::new(
        Code::TrailConstraint,
        Severity::Error,
        format!(
            "foreign key `{}` has it depend on another table, which may refuse its rows or take them along",
            found.name
        ),
    )
    .on(&found.table())
    .fix(format!("ALTER TABLE {} DROP CONSTRAINT {};", found.table().to_sql(), quote_ident(&found.name)))
    .details(json!({ "foreign_key": found.name }))
}

/// `child`, `foreign` or `moved`.
fn misplaced(found: &Found) -> Finding {
    let parent = match found.info.as_slice() {
        [schema, table] => TableName::new(Some(schema), table),
        _ => TableName::new(None, ""),
    };
    let table = found.table();
    let (message, fix) = match found.kind.as_str() {
        "child" => (
            "it inherits from a table of the trail: its rows, which anybody may have written, are read as recorded",
            format!("ALTER TABLE {} NO INHERIT {};", table.to_sql(), parent.to_sql()),
        ),
        "foreign" => (
            "it is a partition of the trail that is a foreign table: what is recorded goes elsewhere; before detaching it, keep its rows",
            format!("ALTER TABLE {} DETACH PARTITION {};", parent.to_sql(), table.to_sql()),
        ),
        _ => (
            "it is a partition of the trail and lies in another schema, where maintenance and retention do not find it",
            format!("ALTER TABLE {} SET SCHEMA threadline;", table.to_sql()),
        ),
    };
    Finding::new(Code::TrailMisplaced, Severity::Error, message)
        .on(&table)
        .fix(fix)
        .details(json!({ "parent": parent.to_plain() }))
}

/// Tables in the trail's schema that are none of it: coverage does not look there.
fn strangers(tables: &[&Found]) -> Vec<Finding> {
    let definitions = definitions();
    let is_ours = |name: &str| {
        definitions.iter().any(|definition| {
            // A month of an archive, or one on its way out, has the name of its table and a label.
            name == definition.table
                || definition.is_partitioned
                    && name.strip_prefix(&definition.table).is_some_and(|label| label.starts_with('_'))
        })
    };
    let strange = tables.iter().filter(|found| {
        !is_ours(found.table_name.as_deref().unwrap_or_default())
            && !found.info.iter().any(|parent| parent.starts_with("threadline."))
    });
    let findings = strange.map(|found| {
        Finding::new(
            Code::TrailMisplaced,
            Severity::Warning,
            "it lies in the trail's schema and is none of the trail: whether it is audited is not looked at; move it to a schema of yours",
        )
        .on(&found.table())
        .fix(format!("ALTER TABLE {} SET SCHEMA public;", found.table().to_sql()))
        .details(json!({ "inherits": found.info }))
    });
    findings.collect()
}

/// `info`: the right owner, quoted; whether this one could write the trail anyway; and what is to be given to that one.
fn owner(found: &Found) -> Option<Finding> {
    let (right, is_trusted, objects) = match found.info.as_slice() {
        [right, trusted, objects @ ..] => (right.as_str(), trusted == "true", objects),
        _ => return None,
    };
    // A type in trusted hands hinders nobody.
    let objects: Vec<&String> =
        objects.iter().filter(|object| !is_trusted || object.starts_with("TABLE ")).collect();
    if objects.is_empty() {
        return None;
    }
    let names: Vec<&str> = objects.iter().filter_map(|object| Some(object.split_once(' ')?.1)).collect();
    let shown = names.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    let (severity, consequence) = if is_trusted {
        (Severity::Warning, "maintenance and retention by the trail's owner fail there")
    } else {
        (Severity::Error, "it may change what was recorded there, and grant that to others")
    };
    let fix: Vec<String> = objects.iter().map(|object| format!("ALTER {object} OWNER TO {right};")).collect();
    Some(
        Finding::new(
            Code::TrailOwner,
            severity,
            format!(
                "role `{}` and not the owner of schema `threadline` owns {shown}{more}: {consequence}",
                found.name
            ),
        )
        .fix(fix.join("\n"))
        .details(json!({ "role": found.name, "objects": names })),
    )
}
