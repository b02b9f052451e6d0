//! Under which action, in whose name: what handlers and jobs say beside what the triggers see.

use serde_json::{Value, json};

use crate::app::{ANN, App, SAM, Sql};

#[test]
fn what_a_failing_handler_wrote_is_undone_and_its_action_recorded_as_failed() {
    let app = App::start();
    let post = json!({ "title": "Ebb", "body": " " });
    let id = app.done(ANN, "POST", "/posts", post)["id"].as_i64().expect("a post has an id");

    let refused = app.request(ANN, "POST", &format!("/posts/{id}/publish"), None);
    assert_eq!(
        (refused.status, refused.body),
        (400, json!({ "error": "a post without a text cannot be published" }))
    );
    assert_eq!(app.get(ANN, &format!("/posts/{id}")).body["status"], "draft");
    assert!(!app.work(), "the job was not scheduled either");
    assert_eq!(
        app.actions(),
        ["post.created ok user 1", "post.published error user 1: the body returned an error"]
    );
}

#[test]
fn publishing_twice_is_a_conflict() {
    let app = App::start();
    let route = format!("/posts/{}/publish", app.post(ANN, "Tides"));
    app.done(ANN, "POST", &route, Value::Null);
    let again = app.request(ANN, "POST", &route, None);
    assert_eq!((again.status, again.body), (409, json!({ "error": "nothing to change" })));
}

#[test]
fn a_job_writes_as_itself_and_under_the_request_that_scheduled_it() {
    let app = App::start();
    let account = json!({ "name": "bob", "email": "bob@harbour.example", "password": "correct horse" });
    let bob = app.done(ANN, "POST", "/users", account)["id"].clone();
    let route = format!("/posts/{}/publish", app.post(ANN, "Tides"));
    let cookie = format!("cookie: {}", app.cookie(ANN));
    let published = app.send(
        &[&cookie, "x-request-id: req-8", "x-correlation-id: issue-12"],
        "POST",
        &format!("/api{route}"),
        None,
    );
    assert_eq!(published.status, 200);
    assert!(app.work() && !app.work(), "there is one job");

    let written = "SELECT concat_ws(' ', t.actor_type, t.actor_id = t.job_id, t.request_id, t.correlation_id, a.name, a.status) AS text \
        FROM threadline.audit_transactions t JOIN threadline.audit_actions a ON a.id = t.action_id \
        WHERE t.job_id IS NOT NULL";
    assert_eq!(app.db.texts(written), ["job t req-8 issue-12 members.notified ok"]);
    assert_eq!(app.db.texts("SELECT user_id::text AS text FROM notifications"), [bob.to_string()]);
    assert!(app.db.texts("SELECT payload::text AS text FROM jobs").is_empty(), "it is done");
}

#[test]
fn a_request_without_a_correlation_id_is_given_one_that_its_job_shares() {
    let app = App::start();
    let account = json!({ "name": "bob", "email": "bob@harbour.example", "password": "correct horse" });
    app.done(ANN, "POST", "/users", account);
    app.done(ANN, "POST", &format!("/posts/{}/publish", app.post(ANN, "Tides")), Value::Null);
    app.work();
    let shared = "SELECT count(*)::text AS text FROM threadline.audit_transactions GROUP BY correlation_id \
        HAVING bool_or(job_id IS NOT NULL) AND bool_or(job_id IS NULL)";
    assert_eq!(app.db.texts(shared), ["2"]);
}

#[test]
fn a_job_that_fails_is_recorded_and_stays_for_somebody_to_look_at() {
    let app = App::start();
    app.done(ANN, "POST", &format!("/posts/{}/publish", app.post(ANN, "Tides")), Value::Null);
    app.db.run("ALTER TABLE memberships RENAME TO gone");
    assert!(app.try_work().is_err());
    app.db.run("ALTER TABLE gone RENAME TO memberships");
    assert!(!app.work(), "it is not tried again");
    assert_eq!(app.db.texts("SELECT (claimed_at IS NOT NULL)::text AS text FROM jobs"), ["true"]);
    assert_eq!(
        app.actions().pop().as_deref(),
        Some("members.notified error job 1: the body returned an error")
    );
}

#[test]
fn the_reason_for_a_role_is_the_clients_and_held_to_the_rules() {
    let app = App::start();
    let role = |reason: &str| json!({ "role": "writer", "reason": reason });
    app.done(ANN, "PUT", "/members/1", role("back to writing"));
    assert_eq!(app.actions(), ["member.role_changed ok user 1: back to writing"]);
    let refused = app.request(ANN, "PUT", "/members/1", Some(role(&"x".repeat(5000))));
    assert_eq!(
        (refused.status, refused.body["error"].as_str()),
        (400, Some("invalid context: action reason: is longer than 4096 bytes"))
    );
}

#[test]
fn reading_is_no_action() {
    let app = App::start();
    let id = app.post(SAM, "The ridge");
    app.get(SAM, &format!("/posts/{id}"));
    app.get(SAM, "/posts");
    assert_eq!(app.actions(), ["post.created ok user 2"]);
}
