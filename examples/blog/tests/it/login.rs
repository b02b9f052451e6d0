//! Who is let in, and what the trail says of who is not.

use blog::seed::SEEDED;
use serde_json::json;

use crate::app::{ANN, App, PASSWORD, Sql, log_in};

#[test]
fn without_a_session_nothing_is_served() {
    let app = App::start();
    let requests = [
        ("GET", "/api/posts", None),
        ("POST", "/api/posts", Some(json!({ "title": "Tides", "body": "…" }))),
        ("POST", "/api/posts/1/publish", None),
        ("GET", "/api/posts/1/history", None),
    ];
    for (method, path, body) in requests {
        let answer = app.send(&["cookie: blog_session=forged"], method, path, body);
        let expected = (401, json!({ "error": "log in first, with POST /api/login" }));
        assert_eq!((answer.status, answer.body), expected, "{method} {path}");
    }
}

#[test]
fn a_refused_login_is_recorded_and_does_not_say_what_was_wrong() {
    let app = App::start();
    let answers = [("nobody@harbour.example", PASSWORD), (SEEDED[0], "wrong"), (SEEDED[0], "")]
        .map(|(email, password)| log_in(app.address, email, password));
    for answer in answers {
        assert_eq!(
            (answer.status, answer.body),
            (401, json!({ "error": "wrong e-mail address or password" }))
        );
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    let refused = "session.refused error anonymous: wrong e-mail address or password";
    assert_eq!(app.actions(), [refused; 3]);
}

#[test]
fn a_user_without_a_password_cannot_log_in() {
    let app = App::start();
    app.db.run("UPDATE users SET password_hash = '!'");
    assert_eq!(log_in(app.address, SEEDED[0], "").status, 401);
    assert_eq!(log_in(app.address, SEEDED[0], "!").status, 401);
}

#[test]
fn a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get() {
    let app = App::start();
    let cookie = log_in(app.address, SEEDED[0], PASSWORD).headers["set-cookie"].clone();
    for attribute in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(cookie.split("; ").any(|part| part == attribute), "{attribute}: {cookie}");
    }
}

#[test]
fn sessions_begin_and_end_on_record() {
    let app = App::start();
    app.cookie(ANN);
    let answer = app.request(ANN, "POST", "/logout", None);
    assert_eq!(answer.status, 204);
    assert!(answer.headers["set-cookie"].contains("Max-Age=0"), "{:?}", answer.headers);
    let actions = "SELECT concat_ws(' ', name, category, actor_id) AS text FROM threadline.audit_actions \
        WHERE category = 'session' ORDER BY occurred_at, id";
    assert_eq!(app.db.texts(actions), ["session.started session 1", "session.ended session 1"]);
}

#[test]
fn a_user_who_is_gone_is_signed_in_no_more() {
    let app = App::start();
    app.cookie(ANN);
    app.db.run("UPDATE memberships SET user_id = 2; DELETE FROM users WHERE id = 1");
    assert_eq!(app.get(ANN, "/posts").status, 401);
}
