//! What the screens say when there is nothing to show, and why.

use std::time::Duration;

use actix_web::test::TestRequest;
use diesel::connection::SimpleConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use threadline::AuditedPool;
use threadline_devdb::TestDatabase;
use threadline_tests::run;

use super::site::{Site, Visitor};

#[test]
fn each_kind_of_nothing_says_which_it_is_and_what_to_do_next() {
    let site = Site::new();
    for (path, words) in [
        ("timeline?from=2999-01-01T00:00", "This time lies ahead"),
        ("timeline?table=notes&actor=user:99", "Nothing here answers to that."),
        ("timeline?table=nothing", "is not in the trail; choose a table that is"),
        ("rows?table=notes&key=12345", "Nothing of this row is in the trail."),
        ("nothing-of-ours", "There is nothing here to see."),
    ] {
        let answer = site.get(Visitor::Admin, path);
        assert!(answer.body.contains(words), "`{path}`: {}", answer.body);
    }
    // Support may not look at coverage, and is told how the question is answered without the page.
    let answer = site.get(Visitor::Support, "coverage");
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("<code>threadline coverage</code>"), "{}", answer.body);
}

#[test]
fn before_the_first_change_the_timeline_says_how_there_will_be_one() {
    let site = Site::new();
    run(
        &mut site.db.connect(),
        "TRUNCATE threadline.audit_changes, threadline.audit_transactions, threadline.audit_actions",
    );
    let answer = site.get(Visitor::Admin, "timeline");
    assert!(answer.body.contains("Nothing has been captured yet."), "{}", answer.body);
    assert!(answer.body.contains("diesel migration run"));
}

#[test]
fn a_database_that_takes_too_long_is_stopped_and_the_page_says_what_to_ask_instead() {
    let site = Site::new();
    let mut other = site.db.connect();
    other.batch_execute("BEGIN; LOCK TABLE threadline.audit_changes IN ACCESS EXCLUSIVE MODE").unwrap();
    let config = site.config().statement_timeout(Duration::from_millis(200));
    let request = TestRequest::get().uri("/audit/timeline");
    let answer = site.ask(config, Visitor::Admin, request);
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("This is taking too long."), "{}", answer.body);
    assert!(answer.body.contains("Ask for less"), "{}", answer.body);
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(site.get(Visitor::Admin, "timeline").status, 200);
}

#[test]
fn without_a_database_or_without_a_trail_in_it_the_page_says_so_and_not_where_it_is() {
    let mut site = Site::new();
    let empty = TestDatabase::empty();
    for (url, words) in [
        ("postgres://nobody:secret-password@127.0.0.1:1/nothing".to_owned(), "The database does not answer."),
        (empty.url(), "The trail is not installed."),
    ] {
        let manager = ConnectionManager::new(&url);
        let pool = Pool::builder()
            .max_size(1)
            .connection_timeout(Duration::from_millis(300))
            .build_unchecked(manager);
        site.pool = AuditedPool::new(pool);
        let answer = site.get(Visitor::Admin, "timeline");
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.body.contains(words), "{}", answer.body);
        for secret in ["secret-password", "127.0.0.1:1", "nobody:"] {
            assert!(!answer.body.contains(secret), "{secret}");
        }
    }
}
