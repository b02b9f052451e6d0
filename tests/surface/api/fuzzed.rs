//! That no question, however it is written, makes the API fail.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use super::{ask, json, reads, told};
use crate::site::{Site, Visitor};

/// What is written for a parameter: what may be right for one or the other, and what is right for none.
const VALUES: [&str; 42] = [
    "notes",
    "public.notes",
    "\"notes\"",
    "pg_catalog.pg_class",
    "threadline.audit_changes",
    "gone",
    "id=7",
    "7",
    "id=x",
    "id=7 ",
    "id=7\u{0}",
    "id=99999999999999999999",
    "colour=1",
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
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "-262000-01-01",
    "+262000-01-01T00:00",
    "-0001-01-01",
    "1",
    "1000",
    "0",
    "-1",
    "newest_first",
    "history",
    "true",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff#2147483647",
    "v1.d.c.1795305873390639.01a200919fdf7e56a8e9000000000863.1",
    "table=public.notes",
    "\u{0}\u{202e}'\";--",
];

/// One part of a query: a name of the endpoint's own, mostly, by its place; and a value.
fn part() -> impl Strategy<Value = (prop::sample::Index, Option<String>, String)> {
    let known = prop::sample::select(&VALUES[..]).prop_map(str::to_owned);
    let value = prop_oneof![8 => known, 2 => any::<String>(), 1 => "[0-9]{1,30}", 1 => "\\PC{300,600}"];
    (any::<prop::sample::Index>(), prop::option::weighted(0.05, any::<String>()), value)
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
    site.record_a_bit_of_everything();
    let document = told(&site, Visitor::Admin, "openapi.json");
    let reads: Vec<(String, Vec<String>)> =
        reads(&site).into_iter().map(|read| (read.question, names(&document, read.path))).collect();
    let taking: Vec<&(String, Vec<String>)> = reads.iter().filter(|(_, names)| !names.is_empty()).collect();
    let question = (
        any::<prop::sample::Index>(),
        0..3_u8,
        prop_oneof![9 => prop::collection::vec(part(), 0..4).prop_map(Ok), 1 => mangled().prop_map(Err)],
    );
    let statuses = RefCell::new(BTreeMap::<u16, u32>::new());
    let mut runner = TestRunner::new(Config { cases: 1_500, ..Config::default() });
    let asked = runner.run(&question, |(place, keeps, asked)| {
        let (question, names) = place.get(&taking);
        // Most go on from what the endpoint answers, so that what is beside it is looked at.
        let (bare, given) = question.split_once('?').unwrap_or((question, ""));
        let query = asked.map_or_else(
            |mangled| mangled,
            |parts| {
                let named = |(name, other, value): (prop::sample::Index, Option<String>, String)| {
                    (other.unwrap_or_else(|| name.get(names).clone()), value)
                };
                written(&parts.into_iter().map(named).collect::<Vec<_>>())
            },
        );
        // What is asked anew takes the place of what was asked.
        let kept = given.split('&').filter(|pair| {
            keeps > 0 && pair.split_once('=').is_some_and(|(name, _)| !query.contains(&format!("{name}=")))
        });
        let question = format!("{bare}?{}&{query}", kept.collect::<Vec<_>>().join("&"));
        let question = question.replace("?&", "?");
        let question = question.trim_end_matches(['&', '?']);
        let answer = ask(&site, Visitor::Admin, question);
        *statuses.borrow_mut().entry(answer.status).or_default() += 1;
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
    let statuses = statuses.into_inner();
    for status in [200, 400] {
        assert!(
            statuses.get(&status).is_some_and(|count| *count > 200),
            "it looks at one side alone: {statuses:?}"
        );
    }
}

/// What the endpoint's query takes.
fn names(document: &Value, path: &str) -> Vec<String> {
    let parameters = document["paths"][path]["get"]["parameters"].as_array().into_iter().flatten();
    let in_query = parameters.filter(|parameter| parameter["in"] == "query");
    in_query.filter_map(|parameter| Some(parameter["name"].as_str()?.to_owned())).collect()
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
