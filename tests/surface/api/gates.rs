//! Who is answered, and that it is on record.

use actix_web::http::Method;
use actix_web::test::TestRequest;

use super::{ask, json, problem, reads, told};
use crate::site::{Site, Visitor};

#[test]
fn every_read_is_answered_to_whom_the_host_lets_in_and_to_nobody_else() {
    let site = Site::new();
    for read in reads(&site) {
        for visitor in Visitor::ALL {
            let answer = ask(&site, visitor, &read.question);
            let (wanted, code) = match visitor {
                Visitor::Admin => (200, None),
                Visitor::Support if !read.for_admins => (200, None),
                Visitor::Support => (403, Some("denied")),
                _ => (403, Some("not_let_in")),
            };
            assert_eq!(answer.status, wanted, "{visitor:?} at {}: {}", read.question, answer.body);
            if let Some(code) = code {
                let problem = problem(&answer);
                assert_eq!(problem["code"], code, "{visitor:?} at {}", read.question);
                // With the command that answers the same, to who is let in.
                let says_how =
                    problem["command"].as_str().is_some_and(|text| text.starts_with("threadline "));
                assert_eq!(says_how, code == "denied", "{visitor:?} at {}", read.question);
            }
            assert!(!answer.body.contains("secret-of-the-host"), "{visitor:?} at {}", read.question);
        }
    }
}

#[test]
fn who_is_not_let_in_is_told_the_same_whatever_is_asked() {
    let site = Site::new();
    let there = ask(&site, Visitor::Denied, "timeline");
    assert_eq!(there.status, 403);
    let mut questions: Vec<String> = reads(&site).into_iter().map(|read| read.question).collect();
    questions.extend(["", "nothing", "transactions/x", "timeline?x=y", "rows/history"].map(str::to_owned));
    for visitor in [Visitor::Stranger, Visitor::Denied, Visitor::Failing, Visitor::Panicking] {
        for question in &questions {
            let answer = ask(&site, visitor, question);
            assert_eq!((answer.status, &answer.body), (there.status, &there.body), "{visitor:?} {question}");
        }
        let post = TestRequest::post().uri("/audit/api/timeline");
        let answer = site.ask(site.config(), visitor, post);
        assert_eq!((answer.status, &answer.body), (there.status, &there.body), "{visitor:?} POST");
    }
}

#[test]
fn only_reading_is_allowed() {
    let site = Site::new();
    for read in reads(&site) {
        let uri = format!("/audit/api/{}", read.question);
        for method in
            [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, Method::TRACE]
        {
            let request = TestRequest::default().method(method.clone()).uri(&uri);
            let answer = site.ask(site.config(), Visitor::Admin, request);
            assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{method} {uri}");
            assert_eq!(problem(&answer)["code"], "only_reads");
        }
        let head = TestRequest::default().method(Method::HEAD).uri(&uri);
        assert_eq!(site.ask(site.config(), Visitor::Admin, head).status, 200, "HEAD {uri}");
    }
}

#[test]
fn every_read_is_on_record_with_its_question_and_none_is_answered_that_is_not() {
    let site = Site::new();
    let reads = reads(&site);
    let newest = "SELECT name || ' ' || status || ' ' || actor_id || ' ' || comment FROM threadline.audit_actions \
         WHERE category = 'threadline.access' ORDER BY id DESC LIMIT 1";
    for read in &reads {
        ask(&site, Visitor::Support, &read.question);
        // As a browser writes an address.
        let logged = site.text(newest).replace("%3A", ":").replace("%3D", "=");
        let outcome = if read.for_admins { "error" } else { "ok" };
        assert!(logged.starts_with("threadline.") && logged.contains(".viewed "), "{logged}");
        assert!(
            logged.ends_with(&format!(" {outcome} 2 api/{}", read.question.replace("%3D", "="))),
            "{logged}"
        );
    }
    // What pages ask again for themselves is not recorded twice, which no program can pretend to be.
    let again = TestRequest::get().uri("/audit/api/coverage").insert_header(("x-threadline-refresh", "1"));
    let looks =
        "SELECT count(*)::text FROM threadline.audit_actions WHERE name = 'threadline.coverage.viewed'";
    let before: i64 = site.text(looks).parse().unwrap();
    assert_eq!(site.ask(site.config(), Visitor::Admin, again).status, 200);
    assert_eq!(site.text(looks), (before + 1).to_string());
    threadline_tests::run(
        &mut site.db.connect(),
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON threadline.audit_actions FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    for read in &reads {
        let answer = ask(&site, Visitor::Admin, &read.question);
        assert_eq!(answer.status, 500, "{}", read.question);
        assert_eq!(problem(&answer)["code"], "failed");
    }
}

#[test]
fn an_answer_is_neither_kept_nor_taken_for_anything_else() {
    let site = Site::new();
    for (visitor, question) in [
        (Visitor::Admin, "timeline"),
        (Visitor::Admin, "nothing"),
        (Visitor::Admin, "timeline?x=1"),
        (Visitor::Denied, "timeline"),
    ] {
        let answer = ask(&site, visitor, question);
        assert_eq!(answer.header("cache-control"), "no-store", "{question}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{question}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{question}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{question}");
    }
}

#[test]
fn a_program_learns_who_it_is_taken_for_and_what_is_open_to_it() {
    let site = Site::new();
    let me = told(&site, Visitor::Support, "me");
    assert_eq!(
        me,
        serde_json::json!({
            "format_version": 1,
            "actor": { "type": "user", "id": "2" },
            "scope": "tenant 7",
            "capabilities": {
                "trail": true, "exports": true, "coverage": false, "policy": false, "retention": false, "evidence": false
            }
        })
    );
    let me = told(&site, Visitor::Admin, "me");
    assert_eq!((&me["scope"], &me["capabilities"]["evidence"]), (&serde_json::Value::Null, &true.into()));
}

#[test]
fn the_api_is_below_any_mount_and_beside_other_pages() {
    let site = Site::new();
    let request = TestRequest::get().uri("/audit/apiary");
    let answer = site.ask(site.config(), Visitor::Admin, request);
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("<html"), "what only begins like the API is a page");
    assert_eq!(json(&ask(&site, Visitor::Admin, ""))["code"], "not_found");
    assert_eq!(json(&ask(&site, Visitor::Admin, "timeline/"))["code"], "not_found");
}
