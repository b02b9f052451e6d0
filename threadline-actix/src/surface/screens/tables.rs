//! The tables there are, for who has to name one.

use std::collections::BTreeSet;

use threadline::{RowKey, TableName};

use crate::surface::entry::table_text;
use crate::surface::failure::Failure;
use crate::surface::query::Problem;
use crate::surface::visit::Visit;

/// Tables that are looked up to say what is wrong with their names.
const LOOKED_UP: usize = 5;

/// Tables that are named to who has named one that is not there.
const NAMED: usize = 8;

/// The tables of the linked models, and those that are to be audited beside them.
pub(super) fn offered(visit: &Visit) -> Vec<String> {
    let models = threadline::audited_models().into_iter().filter_map(|model| model.table().ok());
    let expected = visit.config.operation.tables.expected.iter().cloned();
    let names: BTreeSet<String> = models.chain(expected).map(|table| table_text(&table)).collect();
    names.into_iter().collect()
}

/// A problem for each of the tables of a filter that the trail does not know, with those that may be meant.
pub(super) async fn unknown(visit: &Visit, written: &[(String, String)]) -> Result<Vec<Problem>, Failure> {
    let given = |name| written.iter().filter(move |(field, _)| field == name).map(|(_, value)| value);
    let schema = given("schema").next();
    let names = given("table").filter_map(|text| text.parse::<TableName>().ok());
    let names: BTreeSet<TableName> = names
        .map(|table| TableName::new(table.schema().or(schema.map(String::as_str)), table.name()))
        .collect();
    let mut problems = Vec::new();
    for table in names.into_iter().take(LOOKED_UP) {
        problems.extend(problem(visit, table).await?);
    }
    Ok(problems)
}

/// What is wrong with the name of a table; nothing where the trail knows it.
pub(super) async fn problem(visit: &Visit, table: TableName) -> Result<Option<Problem>, Failure> {
    match visit.read(move |conn, _| RowKey::columns(conn, &table)).await {
        Ok(_) => Ok(None),
        Err(Failure::Invalid(problems)) => Ok(problems.into_iter().next().map(|problem| {
            let is_helpless = problem.text.ends_with(CHOOSE);
            let offered = if is_helpless { among(&offered(visit)) } else { String::new() };
            Problem { text: problem.text + &offered, ..problem }
        })),
        Err(failure) => Err(failure),
    }
}

/// How it ends what is said of a table when no name is near.
pub(in crate::surface) const CHOOSE: &str = "choose a table that is";

fn among(tables: &[String]) -> String {
    match tables {
        [] => String::new(),
        tables if tables.len() > NAMED => {
            format!(", such as {} or {} more", tables[..NAMED].join(", "), tables.len() - NAMED)
        }
        tables => format!(", such as {}", tables.join(", ")),
    }
}
