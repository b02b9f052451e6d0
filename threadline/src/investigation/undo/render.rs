//! Steps as SQL: parameterised statements, and a script for psql.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::plan::{UndoOp, UndoStep};
use super::table::{Shape, TypedValue};
use crate::capture::{quote_ident, quote_literal};

/// One statement. The parameters are bound as texts; the casts in the statement make values of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Statement {
    /// Such as `UPDATE "public"."posts" SET "title" = $1::text WHERE "id" = $2::bigint`.
    pub sql: String,
    /// `$1` first.
    pub parameters: Vec<TypedValue>,
    /// How many rows it has to write; `None` when it writes none.
    pub rows: Option<usize>,
    /// The table and the row's key, for messages.
    #[serde(skip)]
    pub(super) about: Option<(String, String)>,
}

/// What some types read differently under another setting: they are pinned to how capture wrote the texts.
pub(super) const SETTINGS: &[&str] =
    &["array_nulls = on", "IntervalStyle = 'postgres'", "lc_monetary = 'C'", "xmloption = content"];

/// Puts off the checks of these constraints, which are quoted.
pub(super) fn defer(constraints: &BTreeSet<String>) -> Statement {
    let names: Vec<&str> = constraints.iter().map(String::as_str).collect();
    Statement {
        sql: format!("SET CONSTRAINTS {} DEFERRED", names.join(", ")),
        parameters: Vec::new(),
        rows: None,
        about: None,
    }
}

/// The statement of a step. `rekeyed` are key columns that hold something else by then.
pub(super) fn step(shape: &Shape, step: &UndoStep, rekeyed: Option<&BTreeMap<String, String>>) -> Statement {
    let values: Vec<(&str, &TypedValue)> =
        step.columns.iter().map(|column| (column.column.as_str(), &column.to)).collect();
    match step.op {
        UndoOp::Update => update(shape, step, &values, rekeyed),
        UndoOp::Insert => insert(shape, step, &values),
        UndoOp::Delete => {
            let mut parameters = Vec::new();
            let condition = condition(shape, step, rekeyed, &mut parameters);
            statement(shape, step, format!("DELETE FROM {} WHERE {condition}", shape.to_sql()), parameters)
        }
    }
}

/// Sets columns of a step's row.
pub(super) fn update<N: AsRef<str>>(
    shape: &Shape,
    step: &UndoStep,
    values: &[(N, &TypedValue)],
    rekeyed: Option<&BTreeMap<String, String>>,
) -> Statement {
    let mut parameters = Vec::new();
    let pairs: Vec<String> = values
        .iter()
        .map(|(name, value)| format!("{} = {}", quote_ident(name.as_ref()), place(&mut parameters, value)))
        .collect();
    let condition = condition(shape, step, rekeyed, &mut parameters);
    let sql = format!("UPDATE {} SET {} WHERE {condition}", shape.to_sql(), pairs.join(", "));
    statement(shape, step, sql, parameters)
}

fn insert(shape: &Shape, step: &UndoStep, values: &[(&str, &TypedValue)]) -> Statement {
    let mut parameters = Vec::new();
    let (names, places): (Vec<String>, Vec<String>) =
        values.iter().map(|(name, value)| (quote_ident(name), place(&mut parameters, value))).unzip();
    let is_identity = |name: &str| shape.column(name).is_some_and(|column| column.always_identity);
    let overriding =
        if values.iter().any(|(name, _)| is_identity(name)) { " OVERRIDING SYSTEM VALUE" } else { "" };
    // An INSERT knows no ONLY.
    let table = format!("{}.{}", quote_ident(&shape.schema), quote_ident(&shape.name));
    let sql =
        format!("INSERT INTO {table} ({}){overriding} VALUES ({})", names.join(", "), places.join(", "));
    statement(shape, step, sql, parameters)
}

fn statement(shape: &Shape, step: &UndoStep, sql: String, parameters: Vec<TypedValue>) -> Statement {
    let about = Some((shape.to_sql(), step.row_key.clone()));
    Statement { sql, parameters, rows: Some(1), about }
}

/// The row by its key.
pub(super) fn condition(
    shape: &Shape,
    step: &UndoStep,
    rekeyed: Option<&BTreeMap<String, String>>,
    parameters: &mut Vec<TypedValue>,
) -> String {
    let columns = shape.key.as_deref().unwrap_or_default().iter().zip(&step.row.key);
    let terms: Vec<String> = columns
        .map(|(name, text)| {
            let text = rekeyed.and_then(|rekeyed| rekeyed.get(name)).unwrap_or(text);
            let sql_type = shape.column(name).map(|column| column.sql_type.clone()).unwrap_or_default();
            let value = TypedValue { sql_type, text: Some(text.clone()) };
            format!("{} = {}", quote_ident(name), place(parameters, &value))
        })
        .collect();
    terms.join(" AND ")
}

fn place(parameters: &mut Vec<TypedValue>, value: &TypedValue) -> String {
    parameters.push(value.clone());
    format!("${}::{}", parameters.len(), value.sql_type)
}

/// The statements as a script. Prepared, so that the statements stand in it as they are executed by the library.
pub(super) fn script(statements: &[Statement]) -> String {
    let mut script = String::from("BEGIN;\n");
    for setting in SETTINGS {
        script.push_str(&format!("SET LOCAL {setting};\n"));
    }
    for Statement { sql, parameters, .. } in statements {
        if parameters.is_empty() {
            script.push_str(&format!("{sql};\n"));
            continue;
        }
        let types = vec!["text"; parameters.len()].join(", ");
        let literals: Vec<String> = parameters
            .iter()
            .map(|value| value.text.as_deref().map_or("NULL".to_owned(), quote_literal))
            .collect();
        script.push_str(&format!(
            "PREPARE threadline_undo ({types}) AS {sql};\nEXECUTE threadline_undo ({});\nDEALLOCATE threadline_undo;\n",
            literals.join(", ")
        ));
    }
    script.push_str("COMMIT;\n");
    script
}
