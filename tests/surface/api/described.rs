//! The description of the API against the API.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use serde_json::{Value, json};
use threadline::Actor;
use threadline::exports::{self, ExportRequest};

use super::{Read, ask, problem, reads, told};
use crate::site::{Site, Visitor};

/// Takes what the document says of this component, and nothing that it does not name.
fn validator(document: &Value, component: &str) -> Validator {
    let mut components = document["components"].clone();
    close(&mut components);
    let schema = json!({ "$ref": format!("#/components/schemas/{component}"), "components": components });
    jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema")
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

fn assert_described(document: &Value, component: &str, answer: &Value) {
    // An OpenAPI document has more in it than our schema of one says.
    if component == "openapi" {
        return;
    }
    let validator = validator(document, component);
    let errors: Vec<String> =
        validator.iter_errors(answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{component}: {}\n{answer:#}", errors.join("\n"));
}

/// The parameters in the query of a path.
fn parameters(document: &Value, path: &str) -> Vec<Value> {
    let all = document["paths"][path]["get"]["parameters"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|parameter| parameter["in"] == "query").collect()
}

#[test]
fn the_document_lists_what_is_answered_and_nothing_else() {
    let site = Site::new();
    let document = told(&site, Visitor::Admin, "openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    let listed: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let reads = reads(&site);
    // It takes an export of one's own, which has a test of its own.
    let answered = reads.iter().map(|read| read.path).chain(["/exports/{id}"]);
    assert_eq!(listed, answered.collect());
    let ids: BTreeSet<String> =
        listed.iter().map(|path| document["paths"][path]["get"]["operationId"].to_string()).collect();
    assert_eq!(ids.len(), listed.len(), "two operations have one id");
    for read in reads {
        let schema =
            document["paths"][read.path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
                ["$ref"]
                .clone();
        assert_eq!(schema, format!("#/components/schemas/{}", read.schema), "{}", read.path);
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere_and_no_component_is_left_over() {
    let site = Site::new();
    let document = told(&site, Visitor::Admin, "openapi.json");
    let mut found = BTreeSet::new();
    let mut open: Vec<&Value> = vec![&document["paths"]];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(object) => open.extend(object.values()),
            Value::Array(array) => open.extend(array),
            Value::String(text) if text.starts_with("#/") => {
                let target = document.pointer(&text[1..]);
                let target = target.unwrap_or_else(|| panic!("{text} leads nowhere"));
                if found.insert(text.clone()) {
                    open.push(target);
                }
            }
            _ => {}
        }
    }
    let used: BTreeSet<&str> = found.iter().filter_map(|to| to.rsplit('/').next()).collect();
    let text = document.to_string();
    assert!(!text.contains("common.json") && !text.contains("$defs"), "{text}");
    // Of the definitions that the command line's documents share, some are of documents that are not answered here.
    for own in ["problem", "me", "windows", "windows_time", "undo_step", "holds_hold", "runs_run"] {
        assert!(used.contains(own), "{own} is never used");
    }
}

#[test]
fn live_answers_are_as_described() {
    let site = Site::new();
    site.write("user:7", "UPDATE notes SET title = 'second', data = '{\"a\": [1]}' WHERE id = 7");
    site.write("user:7", "DELETE FROM notes WHERE id = 7");
    site.record_a_bit_of_everything();
    let document = told(&site, Visitor::Admin, "openapi.json");
    for Read { question, schema, .. } in reads(&site) {
        assert_described(&document, schema, &told(&site, Visitor::Admin, &question));
    }
    let id = super::transaction_of(&site, 8);
    for (question, schema) in [
        ("rows/as-of?table=notes&key=8&at=2099-01-01T00:00:00Z".to_owned(), "row_as_of"),
        ("rows/as-of?table=notes&key=8&at=2001-01-01".to_owned(), "row_as_of"),
        ("rows/history?table=notes&key=8".to_owned(), "row_history"),
        ("rows/diff?table=notes&key=8&from=2001-01-01".to_owned(), "row_diff"),
        (format!("undo?transaction={id}"), "undo"),
        ("undo?table=notes&key=8&to=2099-01-01T00:00:00Z".to_owned(), "undo"),
        (format!("undo?change={id}%231"), "undo"),
        ("timeline?limit=1".to_owned(), "timeline"),
        ("actions?category=threadline.access".to_owned(), "actions"),
        ("evidence?mode=history".to_owned(), "evidence"),
        ("retention/holds?released=true".to_owned(), "holds"),
    ] {
        let answer = ask(&site, Visitor::Admin, &question);
        match answer.status {
            // Nothing was changed after the instant, so that there is nothing to undo.
            404 if question.contains("to=2099") => assert_described(&document, "problem", &problem(&answer)),
            _ => assert_described(&document, schema, &told(&site, Visitor::Admin, &question)),
        }
    }
    for question in ["timeline?x=1", "transactions/x", "nothing", "rows/history"] {
        assert_described(&document, "problem", &problem(&ask(&site, Visitor::Admin, question)));
    }
    assert_described(&document, "problem", &problem(&ask(&site, Visitor::Denied, "timeline")));
}

#[test]
fn an_export_is_answered_to_whom_it_belongs_and_to_nobody_else() {
    let site = Site::new();
    let document = told(&site, Visitor::Admin, "openapi.json");
    let conn = &mut site.db.connect();
    let request = ExportRequest::unscoped(threadline::ExportOptions::new(threadline::ExportFormat::Csv));
    let job = exports::enqueue(conn, &request, &Actor::user(1)).unwrap();
    let own = format!("exports/{}", job.id);
    let listed = told(&site, Visitor::Admin, "exports");
    assert_described(&document, "exports", &listed);
    assert_eq!(listed["jobs"][0]["id"], job.id.to_string());
    let one = told(&site, Visitor::Admin, &own);
    assert_described(&document, "export_job", &one);
    assert_eq!(one["job"], listed["jobs"][0]);
    assert_eq!(told(&site, Visitor::Admin, &format!("exports?before={}", job.id))["jobs"], json!([]));
    let (hidden, missing) = (
        ask(&site, Visitor::Support, &own),
        ask(&site, Visitor::Support, "exports/00000000-0000-7000-8000-000000000000"),
    );
    assert_eq!((hidden.status, &hidden.body), (404, &missing.body));
    assert_eq!(told(&site, Visitor::Support, "exports")["jobs"], json!([]));
}

#[test]
fn a_schema_tells_an_answer_that_is_not_as_described() {
    let site = Site::new();
    let document = told(&site, Visitor::Admin, "openapi.json");
    let mut timeline = told(&site, Visitor::Admin, "timeline");
    let validator = validator(&document, "timeline");
    assert!(validator.is_valid(&timeline));
    let id = timeline["entries"][0]["change"]["transaction_id"].take();
    assert!(!validator.is_valid(&timeline));
    timeline["entries"][0]["change"]["transaction_id"] = id;
    timeline["entries"][0]["more"] = json!(1);
    assert!(!validator.is_valid(&timeline));
}

/// A value of each parameter that its endpoint takes.
fn sample(name: &str, id: &str, cursors: &BTreeMap<&str, String>, path: &str) -> String {
    match name {
        "from" => "2001-01-01T00:00:00Z".to_owned(),
        "to" | "at" => "2099-01-01T00:00:00%2B01:00".to_owned(),
        "window" => "7d".to_owned(),
        "after" => cursors.get(path).cloned().unwrap_or_else(|| panic!("no cursor of {path}")),
        "limit" | "most" => "3".to_owned(),
        "order" => "oldest_first".to_owned(),
        "table" => "notes".to_owned(),
        "key" => "id%3D7".to_owned(),
        "actor" => "user:7".to_owned(),
        "status" => "ok".to_owned(),
        "op" => "insert".to_owned(),
        "column" => "title".to_owned(),
        "schema" => "public".to_owned(),
        "released" => "true".to_owned(),
        "subject" => "trigger_coverage".to_owned(),
        "mode" => "history".to_owned(),
        "reference" => "table%3Dpublic.notes".to_owned(),
        "transaction" | "before" => id.to_owned(),
        "change" => format!("{id}%231"),
        "action" if path == "/undo" => id.to_owned(),
        _ => "something".to_owned(),
    }
}

#[test]
fn every_parameter_that_is_described_is_taken_and_any_other_refused() {
    let site = Site::new();
    site.record_a_bit_of_everything();
    let document = told(&site, Visitor::Admin, "openapi.json");
    let id = super::transaction_of(&site, 7);
    let mut everywhere = BTreeSet::from(["colour".to_owned()]);
    for path in document["paths"].as_object().unwrap().keys() {
        let names = parameters(&document, path).into_iter();
        everywhere.extend(names.map(|parameter| parameter["name"].as_str().unwrap().to_owned()));
    }
    // Each list's own cursor; oldest first where that is not usual, so that it goes with any other parameter.
    let mut cursors = BTreeMap::new();
    for (path, question) in [
        ("/timeline", "timeline?limit=1"),
        ("/actors/changes", "timeline?limit=1"),
        ("/correlations", "timeline?limit=1&order=oldest_first"),
        ("/actors/transactions", "actions?limit=1&category=threadline.access"),
        ("/actions", "actions?limit=1&category=threadline.access"),
        ("/access-log", "access-log?limit=1"),
        ("/evidence", "evidence?limit=1&mode=history"),
    ] {
        let cursor = told(&site, Visitor::Admin, question)["cursor"].as_str().map(str::to_owned);
        cursors.insert(path, cursor.unwrap_or_else(|| panic!("{question} has one page")));
    }
    for Read { path, question, .. } in reads(&site) {
        let parameters = parameters(&document, path);
        let names: BTreeSet<&str> =
            parameters.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
        let (bare, query) = question.split_once('?').unwrap_or((&question, ""));
        let given: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
        for &name in &names {
            // The ways to name what is to be undone exclude each other.
            let kept: Vec<&str> = match path {
                "/undo" => Vec::new(),
                _ => given.iter().copied().filter(|pair| pair.split('=').next() != Some(name)).collect(),
            };
            let mut pairs: Vec<String> = kept.into_iter().map(str::to_owned).collect();
            pairs.push(format!("{name}={}", sample(name, &id, &cursors, path)));
            if path == "/undo" && matches!(name, "table" | "key" | "to") {
                pairs = ["table", "key", "to"]
                    .map(|name| format!("{name}={}", sample(name, &id, &cursors, path)))
                    .to_vec();
            } else if name == "key" && !pairs.iter().any(|pair| pair.starts_with("table=")) {
                pairs.push("table=notes".to_owned());
            }
            let asked = format!("{bare}?{}", pairs.join("&"));
            let answer = ask(&site, Visitor::Admin, &asked);
            let found_nothing = path == "/undo" && answer.status == 404;
            assert!(answer.status == 200 || found_nothing, "{asked}: {}", answer.body);
        }
        for other in everywhere.iter().filter(|other| !names.contains(other.as_str())) {
            for value in ["", "1"] {
                let asked = format!("{bare}?{}", [given.join("&"), format!("{other}={value}")].join("&"));
                let answer = ask(&site, Visitor::Admin, &asked);
                assert_eq!(answer.status, 400, "{asked}");
                let named = problem(&answer)["errors"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|error| error["field"] == **other);
                assert!(named, "{asked}: {}", answer.body);
            }
        }
    }
}

#[test]
fn the_filter_is_described_under_the_names_it_has_everywhere() {
    let site = Site::new();
    let document = told(&site, Visitor::Admin, "openapi.json");
    for path in ["/timeline", "/timeline/count"] {
        let parameters = parameters(&document, path);
        for name in threadline::Filter::NAMES {
            let described = parameters.iter().find(|parameter| parameter["name"] == name);
            let described = described.unwrap_or_else(|| panic!("{path} says nothing of `{name}`"));
            let is_list = described["schema"]["type"] == "array";
            assert_eq!(is_list, threadline::Filter::REPEATABLE.contains(&name), "{path} `{name}`");
        }
    }
}

#[test]
fn the_document_says_that_the_login_is_the_applications() {
    let site = Site::new();
    let document = told(&site, Visitor::Support, "openapi.json");
    let named: Vec<&String> =
        document["security"][0].as_object().expect("a way to be let in").keys().collect();
    assert_eq!(named, ["application"]);
    let scheme = &document["components"]["securitySchemes"]["application"];
    assert_eq!(scheme["type"], "apiKey");
    assert!(scheme["description"].as_str().unwrap().contains("The application's own login"), "{scheme}");
}

#[test]
fn a_table_is_answered_with_its_schema_however_it_was_asked_for() {
    let site = Site::new();
    for table in ["notes", "public.notes"] {
        for question in ["rows/history?", "rows/as-of?at=2001-01-01&", "rows/diff?from=2001-01-01&"] {
            let answer = told(&site, Visitor::Support, &format!("{question}table={table}&key=7"));
            assert_eq!(answer["table"], json!({ "schema": "public", "name": "notes" }), "{question}{table}");
        }
    }
}
