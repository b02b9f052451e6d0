//! A row's history as the application answers it.

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
    pub(crate) captured_at: String,
    pub(crate) op: String,
    actor: Option<Actor>,
    application_name: Option<String>,
    changed: BTreeMap<String, Change>,
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
            (Some(Actor { r#type, id }), _) => format!("{type} {}", id.as_deref().unwrap_or_default()),
            (None, Some(program)) => format!("nobody named, by {program}"),
            (None, None) => "nobody named".to_owned(),
        }
    }

    /// A line for each changed column.
    pub(crate) fn changes(&self) -> Vec<String> {
        let changed = self.changed.iter();
        changed.map(|(column, Change { before, after })| format!("{column}: {before} -> {after}")).collect()
    }

    pub(crate) fn has_changed(&self, column: &str) -> bool {
        self.changed.contains_key(column)
    }
}
