//! That no question, however it is written, makes the API fail.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use url::form_urlencoded::byte_serialize;

use super::{ask, json, reads};
use crate::site::{Site, Visitor};

/// Names and values that endpoints take, to be put together in ways they do not.
const NAMES: [&str; 31] = [
    "table",
    "schema",
    "key",
    "actor",
    "action",
    "status",
    "category",
    "correlation_id",
    "transaction_correlation_id",
    "request_id",
    "job_id",
    "op",
    "column",
    "db_role",
    "window",
    "from",
    "to",
    "after",
    "limit",
    "order",
    "at",
    "id",
    "most",
    "transaction",
    "correlation",
    "change",
    "subject",
    "reference",
    "mode",
    "released",
    "colour",
];
const VALUES: [&str; 34] = [
    "notes",
    "public.notes",
    "\"notes\"",
    "pg_catalog.pg_class",
    "threadline.audit_changes",
    "id=7",
    "7",
    "id=x",
    "id=7 ",
    "user:7",
    "anonymous",
    "nobody",
    "user:",
    "ok",
    "error",
    "insert",
    "24h",
    "all",
    "2020-01-01",
    "2020-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "-0001-01-01",
    "1",
    "1000",
    "0",
    "-1",
    "99999999999999999999",
    "newest_first",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff#2147483647",
    "v1.d.x",
    "table=public.notes",
    "\u{0}\u{202e}'\";--",
];

fn part() -> impl Strategy<Value = (String, String)> {
    let known = |texts: &'static [&'static str]| prop::sample::select(texts).prop_map(str::to_owned);
    let name = prop_oneof![12 => known(&NAMES), 1 => any::<String>()];
    let value =
        prop_oneof![6 => known(&VALUES), 2 => any::<String>(), 1 => "[0-9]{1,30}", 1 => "\\PC{300,600}"];
    (name, value)
}

fn written(parts: &[(String, String)]) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    parts
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// What is no query at all.
fn mangled() -> impl Strategy<Value = String> {
    "[a-z=&%+;:/?0-9A-F.,!~*'()@$_-]{0,60}"
}

#[test]
fn whatever_is_asked_is_answered_or_refused_with_a_named_field() {
    let site = Site::new();
    let reads = reads(&site);
    let question = (
        prop::sample::select((0..reads.len()).collect::<Vec<_>>()),
        any::<bool>(),
        prop_oneof![4 => prop::collection::vec(part(), 0..6).prop_map(|parts| written(&parts)), 1 => mangled()],
    );
    let mut runner = TestRunner::new(Config { cases: 700, ..Config::default() });
    let asked = runner.run(&question, |(place, keeps, query)| {
        let read = &reads[place];
        // Half of them go on from what the endpoint answers, so that what is beside it is looked at.
        let (bare, given) = read.question.split_once('?').unwrap_or((&read.question, ""));
        let question = if keeps { format!("{bare}?{given}&{query}") } else { format!("{bare}?{query}") };
        let answer = ask(&site, Visitor::Admin, &question);
        prop_assert!(answer.status < 500, "{} {question}: {}", answer.status, answer.body);
        let document = json(&answer);
        if answer.status == 400 {
            prop_assert!(
                document["errors"].as_array().is_some_and(|errors| !errors.is_empty()),
                "{question}"
            );
        }
        Ok(())
    });
    asked.unwrap();
}

#[test]
fn whatever_stands_in_the_path_is_no_failure() {
    let site = Site::new();
    let mut runner = TestRunner::new(Config { cases: 150, ..Config::default() });
    let asked = runner.run(&prop_oneof![any::<String>(), "[a-z0-9./%-]{0,40}"], |path| {
        let path: String = byte_serialize(path.as_bytes()).collect::<String>().replace('+', "%20");
        for question in [format!("transactions/{path}"), path.clone(), format!("rows/{path}")] {
            let answer = ask(&site, Visitor::Admin, &question);
            prop_assert!(answer.status < 500, "{} {question}", answer.status);
        }
        Ok(())
    });
    asked.unwrap();
}
