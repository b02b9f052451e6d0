//! The shapes of the answers: the schemas of the command line's documents, which are the same, and a few of our own.
//!
//! They are written rather than derived: the core's types know nothing of web pages, half of them serialize by hand so that
//! numbers keep every digit, and tests hold each document, here and there, against these very files.

use serde_json::{Map, Value};

/// The name of each in our document, and its text.
const SCHEMAS: [(&str, &str); 28] = [
    (COMMON, include_str!("../../../schemas/common.json")),
    ("problem", include_str!("problem.json")),
    ("me", include_str!("me.json")),
    ("openapi", include_str!("openapi.json")),
    ("views", include_str!("views.json")),
    ("windows", include_str!("windows.json")),
    ("timeline", include_str!("../../../schemas/timeline.json")),
    ("count", include_str!("../../../schemas/count.json")),
    ("incident", include_str!("../../../schemas/incident.json")),
    ("row_history", include_str!("../../../schemas/history.json")),
    ("row_as_of", include_str!("../../../schemas/as-of.json")),
    ("row_diff", include_str!("../../../schemas/diff.json")),
    ("transactions", include_str!("../../../schemas/transactions.json")),
    ("actions", include_str!("../../../schemas/actions.json")),
    ("undo", include_str!("../../../schemas/undo.json")),
    ("coverage", include_str!("../../../schemas/coverage.json")),
    ("findings", include_str!("../../../schemas/doctor.json")),
    ("redaction", include_str!("../../../schemas/policy.json")),
    ("holds", include_str!("../../../schemas/retention-holds.json")),
    ("months", include_str!("../../../schemas/partitions.json")),
    ("runs", include_str!("../../../schemas/retention-runs.json")),
    ("continuity", include_str!("../../../schemas/continuity.json")),
    ("exports", include_str!("../../../schemas/exports.json")),
    ("export", include_str!("../../../schemas/export.json")),
    ("export_job", include_str!("../../../schemas/exports-job.json")),
    ("evidence", include_str!("../../../schemas/evidence.json")),
    ("evidence_overview", include_str!("../../../schemas/evidence-overview.json")),
    ("evidence_proof", include_str!("../../../schemas/evidence-proof.json")),
];

/// The one whose definitions stand for themselves.
const COMMON: &str = "common";

/// All of them, as components of an OpenAPI document.
pub(super) fn components() -> Map<String, Value> {
    let mut components = Map::new();
    for (name, text) in SCHEMAS {
        let mut schema: Map<String, Value> = serde_json::from_str(text).expect("a file of ours, under test");
        for of_a_file in ["$schema", "$id", "title"] {
            schema.remove(of_a_file);
        }
        let definitions = schema
            .remove("$defs")
            .and_then(|mut definitions| definitions.as_object_mut().map(std::mem::take));
        for (definition, mut schema) in definitions.into_iter().flatten() {
            refer(&mut schema, name);
            components.insert(component(name, &definition), schema);
        }
        if name != COMMON {
            let mut schema = Value::Object(schema);
            refer(&mut schema, name);
            components.insert(name.to_owned(), schema);
        }
    }
    components
}

/// What a definition of a file is called among the components.
fn component(file: &str, definition: &str) -> String {
    if file == COMMON { definition.to_owned() } else { format!("{file}_{definition}") }
}

/// Leads references from files to components.
fn refer(schema: &mut Value, file: &str) {
    match schema {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(to) if name == "$ref" => {
                        let component = match to.split_once("#/$defs/") {
                            Some(("common.json", definition)) => component(COMMON, definition),
                            Some(("", definition)) => component(file, definition),
                            Some((other, definition)) => {
                                component(other.trim_end_matches(".json"), definition)
                            }
                            None => to.trim_end_matches(".json").to_owned(),
                        };
                        *to = format!("#/components/schemas/{component}");
                    }
                    value => refer(value, file),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| refer(value, file)),
        _ => {}
    }
}
