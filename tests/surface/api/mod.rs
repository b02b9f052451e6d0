//! The API, asked as programs ask.

mod agreement;
mod described;
mod fuzzed;
mod gates;
mod pages;
mod refusals;
mod scopes;

use serde_json::Value;

use super::site::{Answer, Site, Visitor};

/// A read: its path in the document, a question below `api/` that it answers, and whether it takes what only admins have.
pub(super) struct Read {
    pub(super) path: &'static str,
    pub(super) question: String,
    pub(super) schema: &'static str,
    pub(super) for_admins: bool,
}

/// All of them, asked about what belongs to tenant 7.
pub(super) fn reads(site: &Site) -> Vec<Read> {
    let id = transaction_of(site, 7);
    let read = |path: &'static str, query: &str, schema, for_admins| Read {
        path,
        question: format!("{}{query}", path.trim_start_matches('/').replace("{id}", &id)),
        schema,
        for_admins,
    };
    vec![
        read("/me", "", "me", false),
        read("/openapi.json", "", "openapi", false),
        read("/timeline", "", "timeline", false),
        read("/timeline/count", "", "count", false),
        read("/transactions/{id}", "", "incident", false),
        read("/rows/history", "?table=notes&key=7", "row_history", false),
        read("/rows/as-of", "?table=notes&key=7&at=2099-01-01T00:00:00Z", "row_as_of", false),
        read("/rows/diff", "?table=notes&key=id%3D7&from=2001-01-01", "row_diff", false),
        read("/actors/changes", "?actor=user:7", "timeline", false),
        read("/actors/transactions", "?actor=user:7", "transactions", false),
        read("/correlations", "?id=import-7", "timeline", false),
        read("/actions", "", "actions", false),
        read("/undo", &format!("?transaction={id}"), "undo", false),
        read("/views", "", "views", false),
        read("/coverage", "", "coverage", true),
        read("/findings", "", "findings", true),
        read("/redaction", "", "redaction", true),
        read("/retention/windows", "", "windows", true),
        read("/retention/holds", "", "holds", true),
        read("/retention/months", "", "months", true),
        read("/retention/runs", "", "runs", true),
        read("/evidence", "", "evidence", true),
        read("/evidence/overview", "", "evidence_overview", true),
        read("/evidence/proof", "", "evidence_proof", true),
        read("/gaps", "?table=notes", "continuity", true),
        read("/exports", "", "exports", false),
        read("/access-log", "", "actions", true),
    ]
}

/// The transaction that wrote this tenant's note.
pub(super) fn transaction_of(site: &Site, tenant: i64) -> String {
    site.text(&format!(
        "SELECT transaction_id::text FROM threadline.audit_changes WHERE scope = '{tenant}' ORDER BY transaction_id LIMIT 1"
    ))
}

/// What the API says to a question.
pub(super) fn ask(site: &Site, visitor: Visitor, question: &str) -> Answer {
    site.get(visitor, &format!("api/{question}"))
}

/// The document it answers with.
pub(super) fn told(site: &Site, visitor: Visitor, question: &str) -> Value {
    let answer = ask(site, visitor, question);
    assert_eq!(answer.status, 200, "{question}: {}", answer.body);
    assert_eq!(answer.header("content-type"), "application/json", "{question}");
    json(&answer)
}

/// The problem it answers with.
pub(super) fn problem(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.body);
    let problem = json(answer);
    assert_eq!(problem["status"], answer.status);
    problem
}

pub(super) fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

/// The texts at this place in each entry of a list.
pub(super) fn each(list: &Value, pointer: &str) -> Vec<String> {
    let entries = list["entries"].as_array().expect("a list");
    entries.iter().map(|entry| entry.pointer(pointer).unwrap_or(&Value::Null).to_string()).collect()
}
