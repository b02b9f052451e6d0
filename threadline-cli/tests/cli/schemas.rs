//! The documents of `--json` against the schemas that document them.

use std::fs;
use std::path::Path;

use jsonschema::{Resource, Validator};
use serde_json::{Value, json};

const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas");

/// Fails unless the document is as the schema says, with nothing in it that the schema does not name.
pub(crate) fn assert_documented(schema: &str, document: &Value) {
    let validator = validator(schema);
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{schema}: {}\n{document:#}", errors.join("\n"));
}

fn validator(name: &str) -> Validator {
    let mut options = jsonschema::options();
    for entry in fs::read_dir(SCHEMAS).expect("is there") {
        let schema = closed(&entry.expect("readable").path());
        let id = schema["$id"].as_str().expect("has an id").to_owned();
        options = options.with_resource(id, Resource::from_contents(schema));
    }
    options.build(&closed(&Path::new(SCHEMAS).join(format!("{name}.json")))).expect("a schema")
}

/// The schema, taking no property that it does not name. As published it does: programs must expect more of them.
fn closed(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    close(&mut schema);
    schema
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            if object.get("type") == Some(&json!("object")) && object.contains_key("properties") {
                object.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(array) => array.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn a_document_with_a_field_too_many_or_too_few_is_told() {
    let validator = validator("count");
    assert!(validator.is_valid(&json!({"format_version": 1, "counted": 3, "capped": false, "removed": []})));
    assert!(!validator.is_valid(&json!({"format_version": 1, "counted": 3, "capped": false})));
    assert!(
        !validator
            .is_valid(&json!({"format_version": 1, "counted": 3, "capped": false, "removed": [], "more": 1}))
    );
    assert!(!validator.is_valid(&json!({"format_version": 2, "counted": 3, "capped": false, "removed": []})));
}
