//! The forms, as a browser sends them.

use blog::seed::SEEDED;

use crate::app::{ANN, Answer, App, PASSWORD, send};

const FORM: &str = "content-type: application/x-www-form-urlencoded";

impl App {
    /// Sends a form of one of our own pages.
    fn form(&self, cookie: &str, path: &str, fields: &str) -> Answer {
        let origin = format!("origin: http://{}", self.address);
        let cookie = format!("cookie: {cookie}");
        send(self.address, &[FORM, &origin, &cookie], "POST", path, fields).expect("the server answers")
    }

    fn page(&self, cookie: &str, path: &str) -> Answer {
        send(self.address, &[&format!("cookie: {cookie}")], "GET", path, "").expect("the server answers")
    }
}

fn goes_to(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.headers.get("location").map_or("", String::as_str))
}

#[test]
fn who_is_not_signed_in_is_sent_to_the_login() {
    let app = App::start();
    assert_eq!(goes_to(&app.page("", "/")), (303, "/posts"));
    assert_eq!(goes_to(&app.page("", "/posts")), (303, "/login"));
    assert_eq!(goes_to(&app.form("", "/posts", "title=Tides&body=.")), (303, "/login"));
    let login = app.page("", "/login");
    assert!(login.status == 200 && login.text.contains("<form method=\"post\" action=\"/login\">"));
    assert!(!login.text.contains("<script"));
    assert!(login.headers["content-security-policy"].starts_with("default-src 'none'"));

    let wrong = app.form("", "/login", &format!("email={}&password=wrong", SEEDED[0]));
    assert!(wrong.status == 401 && wrong.text.contains("wrong e-mail address or password"), "{}", wrong.text);
}

#[test]
fn a_post_is_written_and_published_by_form_and_audited_as_by_the_api() {
    let app = App::start();
    let login =
        app.form("", "/login", &format!("email={}&password={}", SEEDED[0], PASSWORD.replace(' ', "+")));
    assert_eq!(goes_to(&login), (303, "/posts"));
    let cookie = login.cookie();
    let fields = "title=Tides+%3Cscript%3E+%26+%22ebb%22&body=Twice+a+day.";
    assert_eq!(goes_to(&app.form(&cookie, "/posts", fields)), (303, "/posts"));
    let id = app.get(ANN, "/posts").body[0]["id"].clone();

    let page = app.page(&cookie, "/posts").text;
    assert!(page.contains("Tides &#60;script&#62; &#38; &#34;ebb&#34;"), "{page}");
    let publish = format!("/posts/{id}/publish");
    assert!(page.contains(&format!("action=\"{publish}\"")), "{page}");
    assert_eq!(goes_to(&app.form(&cookie, &publish, "")), (303, "/posts"));
    assert!(!app.page(&cookie, "/posts").text.contains("Publish"), "it is published");
    assert_eq!(app.actions(), ["post.created ok user 1", "post.published ok user 1"]);
    assert!(app.work(), "the job is scheduled");
}

#[test]
fn what_fails_is_told_on_a_page_and_recorded() {
    let app = App::start();
    let cookie = app.cookie(ANN);
    let refused = app.form(&cookie, "/posts", "title=&body=.");
    assert!(refused.status == 400 && refused.text.contains("a value is not allowed"), "{}", refused.text);
    assert_eq!(app.actions(), ["post.created error user 1: the body returned an error"]);
    let unreadable = app.form(&cookie, "/posts", "titel=Tides");
    assert!(unreadable.status == 400 && unreadable.text.contains("<h1>Sorry</h1>"), "{}", unreadable.text);
}

#[test]
fn what_another_site_sends_is_refused() {
    let app = App::start();
    let cookie = format!("cookie: {}", app.cookie(ANN));
    let post = |headers: &[&str], path: &str| {
        send(app.address, headers, "POST", path, "title=Tides&body=.").expect("the server answers").status
    };
    assert_eq!(post(&[FORM, &cookie, "origin: https://evil.example"], "/posts"), 403);
    assert_eq!(post(&[FORM, &cookie, "origin: null"], "/posts"), 403);
    assert_eq!(post(&[FORM, &cookie], "/posts"), 403, "a browser says where a form comes from");
    assert_eq!(post(&[FORM, &cookie, "origin: https://evil.example"], "/api/posts/1/publish"), 403);
    assert!(app.actions().is_empty());
}
