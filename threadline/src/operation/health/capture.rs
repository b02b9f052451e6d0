//! What is wrong with the capture of the host's tables.

use std::collections::HashSet;

use diesel::prelude::*;
use diesel::sql_types::{Array, Integer, Text};
use serde_json::json;

use super::coverage::Decisions;
use super::finding::{Finding, FindingCode as Code, Severity};
use super::{HealthOptions, triggers};
use crate::capture::{AuditSpec, TableName, quote_ident};
use crate::error::Error;
use crate::investigation::Statement;
use crate::operation::deployed::{AuditedTable, Deployed, HostTable, regclass};

/// Everything the triggers, functions and policies tell. `expected` are relations that have to be audited.
pub(super) fn findings(
    conn: &mut PgConnection,
    deployed: &Deployed,
    options: &HealthOptions,
    decisions: &Decisions<'_>,
    expected: &HashSet<i64>,
) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let seen = |table: &HostTable| options.coverage.sees(&table.name);
    for table in deployed.roots().filter(|table| seen(table)) {
        match deployed.id(table) {
            None => findings.extend(uncovered(deployed, table, decisions, expected.contains(&table.oid))),
            Some(id) => {
                for member in std::iter::once(table).chain(deployed.partitions(table)) {
                    findings.extend(triggers::holes(member, table, id));
                    findings.extend(triggers::renamed(member, id));
                    findings.extend(triggers::needless(member, id));
                }
                if let Some(audited) = deployed.policy(table) {
                    findings.extend(function(table, audited));
                    findings.extend(relation_changed(table, audited));
                }
            }
        }
    }
    let attached = || deployed.attached().filter(|(audited, _)| options.coverage.sees(&audited.name()));
    for (audited, _) in attached().filter(|(_, table)| table.is_none()) {
        findings.push(gone(audited));
    }
    let stale: Vec<(&AuditedTable, &HostTable)> = attached()
        .filter_map(|(audited, table)| Some((audited, table.filter(|t| is_stale(t, audited))?)))
        .collect();
    let columns = known_columns(conn, &stale)?;
    for (audited, table) in attached().filter_map(|(audited, table)| Some((audited, table?))) {
        let known: Option<Vec<&KnownColumn>> = is_stale(table, audited)
            .then(|| columns.iter().filter(|column| column.table_id == audited.id).collect());
        if let Some(known) = &known {
            findings.push(stale_function(table));
            findings.extend(columns_gone(table, audited, known));
        }
        findings.extend(key_drift(table, audited, known.as_deref()));
    }
    findings.extend(pending_detaches(conn, options)?);
    Ok(findings)
}

pub(crate) fn refresh(table: &TableName) -> String {
    format!("SELECT threadline.refresh({});", regclass(table))
}

/// The statement that attaches a table nobody has declared a policy for: with the policy it had before it was detached, so that
/// what was kept out of the trail still is.
pub(crate) fn attach_undeclared(deployed: &Deployed, table: &HostTable, scope: Option<&str>) -> String {
    let key = table.keys.first();
    let declared: Vec<&str> = key
        .filter(|key| !key.is_primary)
        .map(|key| key.columns.iter().map(String::as_str).collect())
        .unwrap_or_default();
    let mut attach = match deployed.former(table) {
        Some(former) => former.attach_sql(&table.name, scope),
        None => AuditSpec { key: &declared, scope, ..AuditSpec::default() }.attach_sql(&table.name),
    };
    if deployed.audited.is_err() {
        attach.insert_str(0, "-- the role may not read threadline.audited_tables: look there first for what it excluded and masked\n");
    }
    if key.is_none() {
        attach.insert_str(
            0,
            "-- first give it a primary key, or a unique index over columns that are NOT NULL\n",
        );
    }
    attach
}

fn uncovered(
    deployed: &Deployed,
    table: &HostTable,
    decisions: &Decisions<'_>,
    is_expected: bool,
) -> Option<Finding> {
    if !is_expected && decisions.reason(table).is_some() {
        return None;
    }
    let (severity, message) = if is_expected {
        (Severity::Error, "it is expected to be audited and is not")
    } else {
        (
            Severity::Warning,
            "nobody has decided whether it is audited: attach it, or list it as ignored with a reason",
        )
    };
    let former = deployed.former(table);
    let message = match former {
        Some(former) => format!(
            "{message}; it was audited until it was detached at {}, and is attached again with the policy it had",
            detached_at(former)
        ),
        None => message.to_owned(),
    };
    let fix = attach_undeclared(deployed, table, None);
    Some(
        Finding::new(Code::UncoveredTable, severity, message)
            .on(&table.name)
            .fix(fix)
            .details(json!({ "detached_at": former.map(detached_at) })),
    )
}

/// When a table was detached, as it is written.
pub(super) fn detached_at(former: &AuditedTable) -> String {
    former.changed_at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn function(table: &HostTable, audited: &AuditedTable) -> Option<Finding> {
    let function = format!("threadline.capture_{}()", audited.id);
    if audited.function_digest.as_deref() == Some(&audited.recorded_digest) {
        return (audited.is_ours == Some(false)).then(|| {
            Finding::new(
                Code::FunctionAltered,
                Severity::Error,
                format!(
                    "capture function `{function}` was given to another owner, with whose rights it runs"
                ),
            )
            .on(&table.name)
            .fix(format!(
                "DO $$ BEGIN EXECUTE format('ALTER FUNCTION {function} OWNER TO %s', \
                 (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'threadline')); END $$;"
            ))
        });
    }
    // Without the function there is no trigger either, and that is said already.
    let digest = audited.function_digest.as_ref()?;
    Some(
        Finding::new(
            Code::FunctionAltered,
            Severity::Error,
            format!("capture function `{function}` was altered by hand"),
        )
        .on(&table.name)
        .fix(refresh(&table.name))
        .details(json!({ "recorded": audited.recorded_digest, "deployed": digest })),
    )
}

fn is_stale(table: &HostTable, audited: &AuditedTable) -> bool {
    // As `threadline.layout_differs`, which a thousand calls would make slow.
    let is_renumbered =
        || audited.layout_relation == Some(table.oid) && table.numbers != audited.layout_numbers;
    table.digest.is_some() && (table.digest != audited.layout_digest || is_renumbered())
}

fn stale_function(table: &HostTable) -> Finding {
    Finding::new(
        Code::StaleFunction,
        Severity::Warning,
        "its columns have changed since its capture function was compiled: each write is captured by the slower path",
    )
    .on(&table.name)
    .fix(refresh(&table.name))
}

fn relation_changed(table: &HostTable, audited: &AuditedTable) -> Option<Finding> {
    (audited.layout_relation.is_some_and(|relation| relation != table.oid)
        && table.triggers.iter().any(|trigger| trigger.captures() == Some(audited.id)))
    .then(|| {
        Finding::new(
            Code::RelationChanged,
            Severity::Warning,
            "the table is another relation than its capture was compiled for, as after a restore",
        )
        .on(&table.name)
        .fix(refresh(&table.name))
        .details(json!({ "compiled_for": audited.layout_relation, "relation": table.oid }))
    })
}

fn gone(audited: &AuditedTable) -> Finding {
    Finding::new(
        Code::TableGone,
        Severity::Warning,
        "it is attached, and there is no such table any more; its history stays",
    )
    .on(&audited.name())
    .fix(format!("SELECT threadline.detach_gone({});", audited.id))
    .details(json!({ "table_id": audited.id }))
}

#[derive(Debug, QueryableByName)]
struct KnownColumn {
    #[diesel(sql_type = Integer)]
    table_id: i32,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    known_name: String,
}

/// The columns of stale tables under the names their policies know them by. A renamed column has not gone.
fn known_columns(
    conn: &mut PgConnection,
    stale: &[(&AuditedTable, &HostTable)],
) -> Result<Vec<KnownColumn>, Error> {
    if stale.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i32> = stale.iter().map(|(audited, _)| audited.id).collect();
    let relations: Vec<String> = stale.iter().map(|(_, table)| table.oid.to_string()).collect();
    let mut statement = Statement::new("SELECT s.id AS table_id, c.name, c.known_name FROM (SELECT unnest(");
    statement.bind(ids).sql(") AS id, unnest(").bind(relations).sql(
        "::text[])::oid AS relation) s JOIN threadline.audited_tables a ON a.id = s.id \
         CROSS JOIN LATERAL threadline.known_columns(s.relation, threadline.recorded_layout(a.id, a.layout)) c \
         WHERE c.known_name IS NOT NULL ORDER BY s.id, c.attnum",
    );
    statement.load_from(conn)
}

fn columns_gone(table: &HostTable, audited: &AuditedTable, known: &[&KnownColumn]) -> Option<Finding> {
    let options = [
        ("exclude", audited.exclude.as_slice()),
        ("mask", audited.mask.as_slice()),
        ("ignore", audited.ignore.as_slice()),
        ("scope", audited.scope_column.as_slice()),
    ];
    let gone: Vec<(&str, &String)> = options
        .iter()
        .flat_map(|(option, columns)| columns.iter().map(move |column| (*option, column)))
        .filter(|(_, column)| !known.iter().any(|known| known.known_name == **column))
        .collect();
    let named: Vec<String> = gone.iter().map(|(option, column)| format!("{option} `{column}`")).collect();
    (!gone.is_empty()).then(|| {
        Finding::new(
            Code::PolicyColumnGone,
            Severity::Warning,
            format!("its policy names columns it no longer has: {}", named.join(", ")),
        )
        .on(&table.name)
        .fix(refresh(&table.name))
        .details(json!({ "columns": gone.iter().map(|(_, column)| column).collect::<Vec<_>>() }))
    })
}

/// The columns of the row key under today's names still have to be a key.
fn key_drift(table: &HostTable, audited: &AuditedTable, known: Option<&[&KnownColumn]>) -> Option<Finding> {
    let today: Vec<Option<&str>> = audited
        .key_columns
        .iter()
        .map(|column| match known {
            None => Some(column.as_str()),
            Some(known) => {
                known.iter().find(|known| known.known_name == *column).map(|known| known.name.as_str())
            }
        })
        .collect();
    let columns: Option<Vec<&str>> = today.iter().copied().collect();
    let is_declared = !audited.declared_key.is_empty();
    let primary = table.keys.iter().find(|key| key.is_primary);
    if let Some(columns) = &columns {
        let as_set = |columns: &mut Vec<&str>| columns.sort_unstable();
        let same = |key: &[String]| {
            let (mut mine, mut its) = (columns.clone(), key.iter().map(String::as_str).collect::<Vec<_>>());
            if is_declared {
                as_set(&mut mine);
                as_set(&mut its);
            }
            mine == its
        };
        let holds = if is_declared {
            table.keys.iter().any(|key| same(&key.columns))
        } else {
            primary.is_some_and(|key| same(&key.columns))
        };
        if holds {
            return None;
        }
    }
    let was = audited.key_columns.join(", ");
    let (message, fix) = match (&columns, primary) {
        (_, Some(primary)) if !is_declared => (
            format!(
                "rows are told apart by ({was}), and its primary key is ({}) now",
                primary.columns.join(", ")
            ),
            refresh(&table.name),
        ),
        (Some(columns), _) => {
            let quoted: Vec<String> = columns.iter().map(|column| quote_ident(column)).collect();
            let list = quoted.join(", ");
            let fix = if is_declared {
                let not_null: Vec<String> =
                    quoted.iter().map(|column| format!("ALTER COLUMN {column} SET NOT NULL, ")).collect();
                format!("ALTER TABLE {} {}ADD UNIQUE ({list});", table.name.to_sql(), not_null.concat())
            } else {
                format!("ALTER TABLE {} ADD PRIMARY KEY ({list});", table.name.to_sql())
            };
            (format!("rows are told apart by ({was}), which no constraint makes a key any more"), fix)
        }
        (None, _) => (
            format!("rows are told apart by ({was}), of which a column is gone"),
            format!(
                "-- first give it a primary key, or attach it with another key => ARRAY[…]\n{}",
                refresh(&table.name)
            ),
        ),
    };
    Some(
        Finding::new(Code::KeyDrift, Severity::Error, message)
            .on(&table.name)
            .fix(fix)
            .details(json!({ "key": audited.key_columns, "declared": is_declared })),
    )
}

/// Partitions whose `DETACH … CONCURRENTLY` was interrupted: of the host's audited tables, and of the trail itself.
fn pending_detaches(conn: &mut PgConnection, options: &HealthOptions) -> Result<Vec<Finding>, Error> {
    #[derive(QueryableByName)]
    struct Pending {
        #[diesel(sql_type = Array<Text>)]
        parent: Vec<String>,
        #[diesel(sql_type = Array<Text>)]
        partition: Vec<String>,
    }
    let pending: Vec<Pending> = Statement::new(
        "SELECT ARRAY[pn.nspname, p.relname]::text[] AS parent, ARRAY[cn.nspname, c.relname]::text[] AS partition \
         FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace \
         JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace \
         WHERE i.inhdetachpending ORDER BY 1, 2",
    )
    .load_from(conn)?;
    let name = |parts: &[String]| TableName::new(Some(&parts[0]), &parts[1]);
    let findings = pending.iter().filter_map(|pending| {
        let (parent, partition) = (name(&pending.parent), name(&pending.partition));
        let is_ours = parent.schema() == Some("threadline");
        (is_ours || options.coverage.sees(&parent)).then(|| {
            Finding::new(
                Code::DetachPending,
                Severity::Warning,
                format!(
                    "detaching its partition `{}` was interrupted: its rows are unseen through the table, and no other \
                     partition can be detached",
                    partition.to_plain()
                ),
            )
            .on(&parent)
            .fix(format!(
                "ALTER TABLE {} DETACH PARTITION {} FINALIZE;",
                parent.to_sql(),
                partition.to_sql()
            ))
            .details(json!({ "partition": partition.to_plain() }))
        })
    });
    Ok(findings.collect())
}
