//! What cannot be answered, and how that is said.

use std::time::Duration;

use actix_web::test::TestRequest;
use diesel::PgConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use threadline::AuditedPool;
use threadline_actix::surface::SurfaceConfig;

use super::{ask, problem, reads};
use crate::site::{Site, Visitor};

/// The fields that the answer to a question names as wrong.
fn fields(site: &Site, question: &str) -> Vec<String> {
    let answer = ask(site, Visitor::Admin, question);
    assert_eq!(answer.status, 400, "{question}: {}", answer.body);
    let problem = problem(&answer);
    assert_eq!((&problem["code"], &problem["type"]), (&"invalid".into(), &"about:blank".into()));
    let errors = problem["errors"].as_array().unwrap().iter();
    errors.map(|error| error["field"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn everything_that_is_wrong_with_a_question_is_named_at_once() {
    let site = Site::new();
    for (question, wrong) in [
        ("timeline?actor=robot&from=yesterday&colour=red&limit=0&order=up", "actor colour from limit order"),
        ("timeline?after=x", "after"),
        ("timeline?table=", "table"),
        ("timeline?from=2020-01-02&to=2020-01-01", "from"),
        ("timeline?from=12020-01-01", "from"),
        ("timeline?status=ok&status=error", "status"),
        ("timeline?limit=1&limit=2", "limit"),
        ("timeline?limit=1001", "limit"),
        ("timeline?limit=%2B5", "limit"),
        ("timeline?request_id=%00", "request_id"),
        ("timeline?%00=", "\0"),
        ("timeline?table=nothing_of_that_name", "table"),
        ("timeline?table=notes&key=colour%3D1", "key"),
        ("rows/history", "key table"),
        ("rows/as-of?table=notes&key=7", "at"),
        ("rows/as-of?table=notes&key=x&at=2001-01-01", "key"),
        ("rows/diff?table=notes&key=7&from=2020-01-02&to=2020-01-01", "from"),
        ("actors/changes", "actor"),
        ("actors/transactions?actor=nobody", "actor"),
        ("correlations", "id"),
        ("correlations?id=", "id"),
        ("undo", "transaction"),
        ("undo?transaction=x", "transaction"),
        ("undo?change=x", "change"),
        ("undo?transaction=00000000-0000-0000-0000-000000000000&action=x", "transaction"),
        ("undo?correlation=x&table=notes", "correlation"),
        ("undo?table=notes&key=7", "to"),
        ("undo?key=7&to=2020-01-01", "table"),
        ("evidence?subject=weather&mode=loud&reference=x", "mode reference subject"),
        ("retention/holds?released=perhaps", "released"),
        ("me?x=1&y=2", "x y"),
    ] {
        let mut named = fields(&site, question);
        named.sort();
        named.dedup();
        assert_eq!(named.join(" "), wrong, "{question}");
    }
}

#[test]
fn a_cursor_of_another_list_or_order_is_refused() {
    let site = Site::new();
    let cursor =
        super::told(&site, Visitor::Admin, "timeline?limit=1")["cursor"].as_str().unwrap().to_owned();
    for question in [
        format!("actions?after={cursor}"),
        format!("evidence?after={cursor}"),
        format!("timeline?order=oldest_first&after={cursor}"),
    ] {
        assert_eq!(fields(&site, &question), ["after"], "{question}");
    }
}

#[test]
fn a_database_that_cannot_be_reached_or_takes_too_long_is_told_apart_from_a_mistake() {
    let site = Site::new();
    let dead = ConnectionManager::<PgConnection>::new("postgres://nobody:secret@127.0.0.1:1/none");
    let pool =
        Pool::builder().max_size(1).connection_timeout(Duration::from_millis(100)).build_unchecked(dead);
    let config = SurfaceConfig::new(AuditedPool::new(pool)).allow_unauthenticated_i_understand();
    let config = config.statement_timeout(Duration::from_millis(100));
    let uri = |question: &str| TestRequest::get().uri(&format!("/audit/api/{question}"));
    for config in [config.clone(), config.access_log(false)] {
        let answer = site.ask(config, Visitor::Stranger, uri("timeline"));
        assert_eq!((answer.status, &problem(&answer)["code"]), (503, &"unreachable".into()));
        assert!(!answer.body.contains("secret") && !answer.body.contains("127.0.0.1"), "{}", answer.body);
    }

    let mut other = site.db.connect();
    threadline_tests::run(&mut other, "BEGIN; LOCK TABLE threadline.audit_changes IN ACCESS EXCLUSIVE MODE");
    let config = site.config().access_log(false).statement_timeout(Duration::from_millis(100));
    let answer = site.ask(config, Visitor::Admin, uri("timeline"));
    assert_eq!((answer.status, &problem(&answer)["code"]), (503, &"took_too_long".into()));
}

#[test]
fn a_failure_says_nothing_of_its_cause() {
    let site = Site::new();
    let mut owner = site.db.connect();
    threadline_tests::run(
        &mut owner,
        "ALTER TABLE threadline.audit_changes RENAME COLUMN diff TO secret_of_the_database",
    );
    let answer = ask(&site, Visitor::Admin, "timeline");
    assert_eq!((answer.status, &problem(&answer)["code"]), (500, &"failed".into()));
    for word in ["column", "diff", "secret", "SELECT"] {
        assert!(!answer.body.contains(word), "{word}: {}", answer.body);
    }
}

#[test]
fn a_read_that_was_never_there_is_not_found() {
    let site = Site::new();
    for read in reads(&site) {
        let bare = read.question.split('?').next().unwrap_or_default();
        let answer = ask(&site, Visitor::Admin, &format!("{bare}/more"));
        assert_eq!((answer.status, &problem(&answer)["code"]), (404, &"not_found".into()), "{bare}");
    }
}
