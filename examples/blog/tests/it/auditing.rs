//! What the application does is in the trail, and the trail is in the application's answers.

use std::path::Path;

use diesel::prelude::*;
use serde_json::{Value, json};
use threadline::config::Config;
use threadline::verify::{self, Expected};

use crate::app::{ANN, App, SAM, Sql, migrated_database};

/// A table that a migration adds fails here until somebody has decided about it.
#[test]
fn every_table_is_audited_as_its_model_says_or_ignored_for_a_reason() {
    let db = migrated_database();
    let conn = &mut PgConnection::establish(&db.url()).expect("the new database accepts connections");
    let config =
        Config::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("threadline.toml")).expect("it is in order");
    let expected =
        config.tables.ignored.iter().fold(Expected::new(), |expected, ignored| {
            expected.ignore(ignored.table.clone(), &ignored.reason)
        });
    verify::assert_expected(conn, &expected);
}

#[test]
fn a_change_carries_the_user_who_made_it() {
    let app = App::start();
    let id = app.post(ANN, "Tides");
    app.done(ANN, "PATCH", &format!("/posts/{id}"), json!({ "title": "High tides", "price": "5" }));

    let history = app.get(ANN, &format!("/posts/{id}/history")).body;
    let [update, insert] = history["versions"].as_array().expect("a list").as_slice() else {
        panic!("{history}");
    };
    assert_eq!((&insert["op"], &update["op"]), (&json!("insert"), &json!("update")));
    assert_eq!(update["actor"], json!({ "type": "user", "id": "1" }));
    assert_eq!(
        update["changed"],
        json!({ "price": { "before": 4.50, "after": 5.00, "masked": false },
            "title": { "before": "Tides", "after": "High tides", "masked": false } })
    );
    assert_eq!(update["row"]["title"], "High tides");
    assert_eq!(history["has_more"], false);

    let newest = app.get(ANN, &format!("/posts/{id}/history?limit=1")).body;
    assert_eq!((newest["versions"].as_array().map(Vec::len), &newest["has_more"]), (Some(1), &json!(true)));
}

#[test]
fn a_refused_change_leaves_no_trace() {
    let app = App::start();
    let id = app.post(ANN, "Tides");
    let refused = app.request(ANN, "PATCH", &format!("/posts/{id}"), Some(json!({ "title": "" })));
    assert_eq!((refused.status, refused.body), (400, json!({ "error": "a value is not allowed" })));
    let versions = app.get(ANN, &format!("/posts/{id}/history")).body["versions"].clone();
    assert_eq!(versions.as_array().map(Vec::len), Some(1));
}

#[test]
fn being_read_is_counted_and_not_recorded() {
    let app = App::start();
    let id = app.post(ANN, "Tides");
    app.get(ANN, &format!("/posts/{id}"));
    assert_eq!(app.get(ANN, &format!("/posts/{id}")).body["views"], 2);
    let versions = app.get(ANN, &format!("/posts/{id}/history")).body["versions"].clone();
    assert_eq!(versions.as_array().map(Vec::len), Some(1));
}

#[test]
fn as_of_tells_what_a_post_was() {
    let app = App::start();
    let id = app.post(ANN, "Tides");
    app.done(ANN, "PATCH", &format!("/posts/{id}"), json!({ "title": "High tides" }));
    app.done(ANN, "DELETE", &format!("/posts/{id}"), Value::Null);
    let history = app.get(ANN, &format!("/posts/{id}/history")).body;
    let as_of = |at: &str| app.get(ANN, &format!("/posts/{id}/as-of?at={at}")).body["post"].clone();

    let answers: Vec<Value> = history["versions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|version| as_of(version["captured_at"].as_str().expect("a time")))
        .collect();
    assert_eq!(answers[0]["answer"], "deleted");
    assert_eq!((&answers[1]["answer"], &answers[1]["title"]), (&json!("present"), &json!("High tides")));
    assert_eq!((&answers[2]["title"], &answers[2]["price"]), (&json!("Tides"), &json!("4.50")));
    assert_eq!(as_of("2020-01-01T00:00:00Z")["answer"], "before_horizon");
}

#[test]
fn the_password_is_not_in_the_trail_and_the_address_is_masked() {
    let app = App::start();
    let account = json!({ "name": "bob", "email": "bob@harbour.example", "password": "correct horse" });
    let id = app.done(ANN, "POST", "/users", account)["id"].as_i64().expect("a user has an id");
    app.done(ANN, "PATCH", &format!("/users/{id}"), json!({ "email": "robert@harbour.example" }));

    let update = app.get(ANN, &format!("/users/{id}/history")).body["versions"][0].clone();
    assert_eq!(
        update["changed"],
        json!({ "email": { "before": "[REDACTED]", "after": "[REDACTED]", "masked": true } })
    );
    assert_eq!(update["row"]["email"], "[REDACTED]");
    // The membership was added in the same transaction; its key is composite.
    let membership = app.get(ANN, &format!("/members/{id}/history")).body["versions"][0].clone();
    assert_eq!(membership["row"], json!({ "organization_id": 1, "user_id": id, "role": "writer" }));

    let dump = app.db.command("pg_dump").args(["-n", "threadline"]).output().expect("pg_dump is installed");
    let dump = String::from_utf8(dump.stdout).expect("UTF-8");
    assert!(dump.contains("writer"), "the trail itself is in the dump");
    for secret in ["harbour.example", "argon2", "correct horse"] {
        assert!(!dump.contains(secret), "{secret}");
    }
}

#[test]
fn other_organizations_see_nothing_of_a_post_even_when_it_is_gone() {
    let app = App::start();
    let id = app.post(ANN, "Tides");
    let now = "2100-01-01T00:00:00Z";
    let routes =
        [format!("/posts/{id}"), format!("/posts/{id}/history"), format!("/posts/{id}/as-of?at={now}")];
    for route in &routes {
        assert_eq!(app.get(SAM, route).status, 404, "{route}");
    }
    app.done(ANN, "DELETE", &routes[0], Value::Null);
    for route in &routes[1..] {
        assert_eq!((app.get(SAM, route).status, app.get(ANN, route).status), (404, 200), "{route}");
    }
}

#[test]
fn a_change_made_behind_the_applications_back_is_in_the_history_too() {
    let app = App::start();
    let id = app.post(ANN, "Tides");
    app.db.run("UPDATE posts SET price = price * 2");
    let update = app.get(ANN, &format!("/posts/{id}/history")).body["versions"][0].clone();
    assert_eq!((&update["actor"], &update["changed"]["price"]["after"]), (&Value::Null, &json!(9.00)));
}

#[test]
fn an_unknown_parameter_is_refused_by_name() {
    let app = App::start();
    let id = app.post(ANN, "Tides");
    let routes = [
        ("GET", String::from("/posts?colour=red")),
        ("GET", format!("/posts/{id}?colour=red")),
        ("GET", format!("/posts/{id}/history?colour=red")),
        ("GET", format!("/posts/{id}/as-of?at=2100-01-01T00:00:00Z&colour=red")),
        ("POST", format!("/posts/{id}/publish?colour=red")),
        ("DELETE", format!("/posts/{id}?colour=red")),
    ];
    for (method, route) in routes {
        let answer = app.request(ANN, method, &route, None);
        let error = answer.body["error"].as_str().unwrap_or_default();
        assert!(answer.status == 400 && error.contains("`colour`"), "{method} {route}: {}", answer.body);
    }
    let answer = app.get(ANN, &format!("/posts/{id}/as-of?at=yesterday"));
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (400, &json!("`at` is not a time such as 2026-01-31T12:00:00Z"))
    );
    assert_eq!(app.get(ANN, &format!("/posts/{id}/as-of")).status, 400);
}

#[test]
fn the_response_names_the_transaction_in_the_history() {
    let app = App::start();
    let created = app.request(ANN, "POST", "/posts", Some(json!({ "title": "Tides", "body": "…" })));
    let history = app.get(ANN, &format!("/posts/{}/history", created.body["id"])).body;
    let transaction = &history["versions"][0]["transaction_id"];
    assert_eq!(&created.body["audit_transaction_id"], transaction);
    assert_eq!(created.headers.get("x-audit-transaction-id").map(String::as_str), transaction.as_str());
}

#[test]
fn the_bundle_of_a_transaction_says_who_why_and_what() {
    let app = App::start();
    let cookie = format!("cookie: {}", app.cookie(ANN));
    let post = json!({ "title": "Tides", "body": "…" });
    let created = app.send(&[&cookie, "x-request-id: req-7"], "POST", "/api/posts", Some(post)).body;

    let route =
        format!("/audit_transactions/{}/changes", created["audit_transaction_id"].as_str().expect("an id"));
    let bundle = app.get(ANN, &route).body;
    assert_eq!(bundle["transaction"]["actor"], json!({ "type": "user", "id": "1" }));
    assert_eq!(bundle["transaction"]["request_id"], "req-7");
    let action = json!({ "name": "post.created", "status": "ok", "category": "content", "reason": null });
    assert_eq!(bundle["actions"], json!([action]));
    let changes = bundle["changes"].as_array().expect("a list");
    assert_eq!(
        (changes.len(), &changes[0]["table"], &changes[0]["op"]),
        (1, &json!("posts"), &json!("insert"))
    );
    assert_eq!(changes[0]["row"]["columns"]["title"], "Tides");
    assert_eq!(app.get(SAM, &route).status, 404);
}

/// Of several organizations, of none, of nobody, and not there at all: one answer for all of them.
#[test]
fn a_bundle_is_for_the_one_organization_that_all_of_it_belongs_to() {
    let app = App::start();
    app.post(ANN, "Tides");
    app.post(SAM, "The ridge");
    let newest =
        "SELECT transaction_id::text AS text FROM threadline.audit_changes ORDER BY captured_at DESC LIMIT 1";
    let password_set = "SELECT transaction_id::text AS text FROM threadline.audit_actions WHERE name = 'user.password_set' LIMIT 1";
    let status = |query: &str| {
        let id = app.db.texts(query).pop().expect("there is one");
        app.get(ANN, &format!("/audit_transactions/{id}/changes"))
    };
    app.db.run("UPDATE posts SET price = 1");
    let both = status(newest);
    app.db.run("UPDATE posts SET organization_id = 1 WHERE organization_id = 2");
    let moved = status(newest);
    let no_changes = status(password_set);
    let unknown = app.get(ANN, "/audit_transactions/0199c0de-0000-7000-8000-000000000000/changes");
    let not_found = (404, json!({ "error": "not found" }));
    for answer in [both, moved, no_changes, unknown] {
        assert_eq!((answer.status, answer.body), not_found);
    }
    let nobody =
        app.send(&[], "GET", "/api/audit_transactions/0199c0de-0000-7000-8000-000000000000/changes", None);
    assert_eq!(nobody.status, 401);
}

#[test]
fn errors_are_opaque() {
    let app = App::start();
    let id = app.post(ANN, "Tides");
    app.db.run("DROP SCHEMA threadline CASCADE");
    let answer = app.get(ANN, &format!("/posts/{id}/history"));
    assert_eq!((answer.status, answer.body), (500, json!({ "error": "internal error" })));
}
