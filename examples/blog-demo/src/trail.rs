//! The trail as the application answers it: a row's history, and what one transaction did.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
pub(crate) struct History {
    /// Newest first.
    pub(crate) versions: Vec<Version>,
}

#[derive(Deserialize)]
pub(crate) struct Version {
    pub(crate) transaction_id: String,
    pub(crate) captured_at: String,
    pub(crate) op: String,
    actor: Option<Actor>,
    application_name: Option<String>,
    changed: BTreeMap<String, Change>,
}

/// Everything a transaction did.
#[derive(Deserialize)]
pub(crate) struct Bundle {
    pub(crate) transaction: Transaction,
    pub(crate) actions: Vec<Action>,
    pub(crate) changes: Vec<TableChange>,
}

#[derive(Deserialize)]
pub(crate) struct Transaction {
    pub(crate) occurred_at: String,
    actor: Option<Actor>,
    pub(crate) request_id: Option<String>,
    pub(crate) correlation_id: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Action {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct TableChange {
    pub(crate) table: String,
    pub(crate) op: String,
    pub(crate) row_key: String,
    changed: BTreeMap<String, Change>,
    row: Option<Row>,
}

#[derive(Deserialize)]
struct Row {
    columns: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct Actor {
    r#type: String,
    id: Option<String>,
}

/// Values stay text: a number of Rust's would drop the last digit of `4.50`.
#[derive(Deserialize)]
struct Change {
    before: Box<RawValue>,
    after: Box<RawValue>,
}

impl History {
    pub(crate) fn ops(&self) -> Vec<&str> {
        self.versions.iter().map(|version| version.op.as_str()).collect()
    }
}

impl Version {
    /// Who answers for it, or what connected to the database.
    pub(crate) fn by(&self) -> String {
        match (&self.actor, &self.application_name) {
            (Some(actor), _) => actor.name(),
            (None, Some(program)) => format!("nobody named, by {program}"),
            (None, None) => "nobody named".to_owned(),
        }
    }

    /// A line for each changed column.
    pub(crate) fn changes(&self) -> Vec<String> {
        lines(&self.changed)
    }

    pub(crate) fn has_changed(&self, column: &str) -> bool {
        self.changed.contains_key(column)
    }
}

impl Transaction {
    /// Who answers for it.
    pub(crate) fn by(&self) -> String {
        self.actor.as_ref().map_or_else(|| "nobody named".to_owned(), Actor::name)
    }
}

impl TableChange {
    /// A line for each changed column; for a row that came or went, one for each of its columns.
    pub(crate) fn lines(&self) -> Vec<String> {
        let row = self.row.iter().flat_map(|row| &row.columns);
        let row = row.map(|(column, value)| format!("{column}: {value}"));
        lines(&self.changed).into_iter().chain(row).collect()
    }
}

impl Actor {
    fn name(&self) -> String {
        [Some(self.r#type.as_str()), self.id.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

fn lines(changed: &BTreeMap<String, Change>) -> Vec<String> {
    let changed = changed.iter();
    changed.map(|(column, Change { before, after })| format!("{column}: {before} -> {after}")).collect()
}
