//! Whether the audit schema is as this library ships it.

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Nullable, Text};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::finding::{Finding, FindingCode as Code, Severity};
use super::properties::Properties;
use super::shipped::{Kind, Shipped, callable_by_all, shipped, signatures};
use super::tables;
use crate::error::Error;
use crate::investigation::Statement;
use crate::operation::deployed::Deployed;

/// `install_capture` makes it with the first table that declares a scope.
const SCOPE_INDEX: &str = "CREATE INDEX audit_changes_scope_idx ON threadline.audit_changes (scope, captured_at) WHERE scope IS NOT NULL;";

#[derive(Debug, QueryableByName)]
struct Object {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    signature: String,
    #[diesel(sql_type = Nullable<Text>)]
    digest: Option<String>,
    #[diesel(sql_type = Text)]
    language: String,
    #[diesel(sql_type = Text)]
    flags: String,
    #[diesel(sql_type = Array<Text>)]
    settings: Vec<String>,
    #[diesel(sql_type = Bool)]
    is_sound: bool,
}

/// Missing migrations, functions altered by hand, missing indexes.
pub(super) fn findings(conn: &mut PgConnection, deployed: &Deployed) -> Result<Vec<Finding>, Error> {
    let objects: Vec<Object> = Statement::new(include_str!("sql/objects.sql")).load_from(conn)?;
    let mut by_name = HashMap::<(&str, &str), Vec<&Object>>::new();
    for object in &objects {
        by_name.entry((&object.kind, &object.name)).or_default().push(object);
    }
    let shipped = shipped();
    let is_there = |shipped: &Shipped| by_name.contains_key(&(kind_name(shipped.kind), shipped.name));

    let mut per_migration = BTreeMap::<&str, (usize, usize)>::new();
    for shipped in shipped.iter().filter(|shipped| !shipped.is_remade) {
        let (total, missing) = per_migration.entry(shipped.migration).or_default();
        *total += 1;
        *missing += usize::from(!is_there(shipped));
    }
    let behind: Vec<&str> = crate::migrations::CORE_MIGRATIONS
        .iter()
        .map(|migration| migration.name)
        .filter(|name| per_migration.get(name).is_some_and(|(total, missing)| total == missing))
        .collect();
    let mut findings: Vec<Finding> = schema_behind(&behind).into_iter().collect();

    let (all, signatures) = (callable_by_all(), signatures());
    for shipped in shipped.iter().filter(|shipped| !behind.contains(&shipped.migration)) {
        let found = by_name.get(&(kind_name(shipped.kind), shipped.name)).map_or(&[][..], Vec::as_slice);
        let finding = match shipped.kind {
            Kind::Function { body, header } => {
                let signature = signatures.get(shipped.name).map(String::as_str).unwrap_or_default();
                let (own, others): (Vec<&Object>, Vec<&Object>) =
                    found.iter().copied().partition(|object| object.signature == signature);
                findings.extend(others.into_iter().map(overload));
                let differs = own.first().map(|object| differences(object, body, header));
                (differs.as_ref().is_none_or(|differs| !differs.is_empty()))
                    .then(|| function_altered(shipped, signature, differs, all.contains(&shipped.name)))
            }
            Kind::Table | Kind::Type => found.is_empty().then(|| {
                let kind = kind_name(shipped.kind);
                Finding::new(
                    Code::SchemaAltered,
                    Severity::Error,
                    format!("{kind} `threadline.{}` is missing, with all that it held", shipped.name),
                )
                .fix(shipped.statement)
                .details(json!({ "missing": true, kind: shipped.name }))
            }),
            Kind::Index => index(shipped.name, found, shipped.statement),
        };
        findings.extend(finding);
    }
    if deployed.attached().any(|(audited, _)| audited.scope_column.is_some()) {
        let found = by_name.get(&("index", "audit_changes_scope_idx")).map_or(&[][..], Vec::as_slice);
        findings.extend(index("audit_changes_scope_idx", found, SCOPE_INDEX));
    }
    findings.extend(primary_keys(conn, &shipped, &objects)?);
    findings.extend(tables::findings(conn, &behind)?);
    Ok(findings)
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Function { .. } => "function",
        Kind::Table => "table",
        Kind::Type => "type",
        Kind::Index => "index",
    }
}

fn schema_behind(behind: &[&str]) -> Option<Finding> {
    let names: Vec<String> = behind.iter().map(|name| format!("`{name}`")).collect();
    (!behind.is_empty()).then(|| {
        Finding::new(
            Code::SchemaBehind,
            Severity::Error,
            format!(
                "migrations of the audit schema have not run: {}; hosts that migrate in code run \
                 `threadline::MIGRATIONS`",
                names.join(", ")
            ),
        )
        .fix("threadline install && diesel migration run")
        .details(json!({ "migrations": behind }))
    })
}

/// What is not as shipped of a function, in words.
fn differences(object: &Object, body: &str, header: &str) -> Vec<&'static str> {
    let mut differs = Vec::new();
    if object.digest.as_deref() != Some(&hex(&Sha256::digest(body))) {
        differs.push("its text");
    }
    let deployed = Properties::deployed(&object.language, &object.flags, &object.settings);
    differs.extend(deployed.differences(&Properties::declared(header)));
    if !object.is_sound {
        differs.push("its owner");
    }
    differs
}

/// `differs`: what is not as shipped; `None` when it is missing.
fn function_altered(
    shipped: &Shipped,
    signature: &str,
    differs: Option<Vec<&'static str>>,
    is_for_all: bool,
) -> Finding {
    let name = shipped.name;
    let what = match &differs {
        None => "is missing".to_owned(),
        Some(differs) => format!("is not as shipped; it differs in {}", differs.join(", ")),
    };
    // A function that is made anew can be called by everybody.
    let mut fix = format!("{}\nREVOKE ALL ON FUNCTION {signature} FROM PUBLIC;", shipped.statement);
    if is_for_all {
        fix.push_str(&format!("\nGRANT EXECUTE ON FUNCTION {signature} TO PUBLIC;"));
    }
    fix.push_str(&format!(
        "\nDO $$ BEGIN EXECUTE format('ALTER FUNCTION {signature} OWNER TO %s', \
         (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'threadline')); END $$;"
    ));
    let missing = differs.is_none();
    Finding::new(Code::SchemaAltered, Severity::Error, format!("function `threadline.{name}` {what}"))
        .fix(fix)
        .details(json!({ "function": name, "missing": missing, "differs": differs, "migration": shipped.migration }))
}

/// A function under the name of a shipped one: calls that mean that one may go to it.
fn overload(object: &Object) -> Finding {
    Finding::new(
        Code::SchemaAltered,
        Severity::Error,
        format!(
            "function `{}` is none that ships, and may be called instead of the one of its name",
            object.signature
        ),
    )
    .fix(format!("DROP FUNCTION {};", object.signature))
    .details(json!({ "function": object.name, "signature": object.signature }))
}

fn index(name: &str, found: &[&Object], statement: &str) -> Option<Finding> {
    if found.iter().any(|object| object.is_sound) {
        return None;
    }
    let (what, fix) = if found.is_empty() {
        ("is missing", statement.to_owned())
    } else {
        ("is invalid", format!("DROP INDEX threadline.{name};\n{statement}"))
    };
    Some(
        Finding::new(
            Code::MissingIndex,
            Severity::Warning,
            format!(
                "index `threadline.{name}` {what}: reading the trail is slow; making it holds off writers"
            ),
        )
        .fix(fix)
        .details(json!({ "index": name })),
    )
}

/// The primary keys written in the CREATE TABLE statements.
fn primary_keys(
    conn: &mut PgConnection,
    shipped: &[Shipped],
    objects: &[Object],
) -> Result<Vec<Finding>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let keyed: Vec<Row> = Statement::new(
        "SELECT c.relname::text AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
         WHERE c.relnamespace = 'threadline'::regnamespace AND i.indisprimary AND i.indisvalid",
    )
    .load_from(conn)?;
    let keyed: HashSet<&str> = keyed.iter().map(|row| row.name.as_str()).collect();
    let lacking = shipped.iter().filter(|shipped| {
        shipped.kind == Kind::Table
            && !keyed.contains(shipped.name)
            && objects.iter().any(|object| object.kind == "table" && object.name == shipped.name)
    });
    let findings = lacking.filter_map(|shipped| {
        let columns = primary_key(shipped.statement)?;
        Some(
            Finding::new(
                Code::MissingIndex,
                Severity::Error,
                format!("the primary key of `threadline.{}` is missing", shipped.name),
            )
            .fix(format!("ALTER TABLE threadline.{} ADD PRIMARY KEY ({columns});", shipped.name))
            .details(json!({ "table": shipped.name })),
        )
    });
    Ok(findings.collect())
}

/// The columns after PRIMARY KEY, or the one column that is declared as it.
fn primary_key(statement: &str) -> Option<&str> {
    let line = statement.lines().find(|line| line.contains("PRIMARY KEY"))?.trim();
    match line.strip_prefix("PRIMARY KEY (") {
        Some(columns) => columns.split(')').next(),
        None => line.split(' ').next(),
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations::CORE_MIGRATIONS;

    #[test]
    fn the_index_for_scopes_is_the_one_attach_makes() {
        let statement = SCOPE_INDEX.trim_end_matches(';');
        assert!(CORE_MIGRATIONS.iter().any(|migration| migration.up.contains(statement)));
    }

    #[test]
    fn primary_keys_are_read_from_either_form() {
        assert_eq!(primary_key("CREATE TABLE t (\n    id integer PRIMARY KEY,\n    b text\n);"), Some("id"));
        assert_eq!(primary_key("CREATE TABLE t (\n    a text,\n    PRIMARY KEY (a, b)\n);"), Some("a, b"));
        assert_eq!(primary_key("CREATE TABLE t (\n    a text\n);"), None);
    }
}
