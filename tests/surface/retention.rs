//! Retention: what is due is told to whom the host lets see it, and goes only once that is typed out.

use std::thread;
use std::time::{Duration, Instant};

use actix_web::test::TestRequest;
use diesel::{Connection, PgConnection};
use threadline::config::Config;
use threadline::retention::RetentionPolicy;
use threadline_actix::surface::SurfaceConfig;

use super::site::{Site, Visitor};

/// Everything is due, as soon as it is a moment old.
fn everything_is_due(site: &Site) -> SurfaceConfig {
    let mut config = Config::default();
    config.retention =
        RetentionPolicy::new().keep(Duration::ZERO).minimum(Duration::ZERO).pause(Duration::ZERO);
    let url = site.db.url();
    site.config().operation(config).maintenance(move || PgConnection::establish(&url))
}

fn changes(site: &Site) -> String {
    site.text("SELECT count(*) FROM threadline.audit_changes")
}

/// How the runs there were have ended, once none goes on.
fn runs(site: &Site) -> String {
    let started = Instant::now();
    loop {
        let states = site
            .text("SELECT coalesce(string_agg(state, ' ' ORDER BY id), '') FROM threadline.retention_runs");
        if !states.is_empty() && !states.contains("running") {
            return states;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{states}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn without_connections_of_the_owner_the_page_has_the_command_and_nothing_goes() {
    let site = Site::new();
    let page = site.get(Visitor::Admin, "retention").body;
    assert!(page.contains("threadline retention run --execute") && !page.contains("<form class=\"confirm\""));
    let answer = site.post(site.config(), Visitor::Admin, "retention/run", "confirm=remove+what+is+due");
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert_eq!(changes(&site), "2");
}

#[test]
fn what_is_due_goes_once_that_is_typed_out_and_the_run_is_listed() {
    let site = Site::new();
    let due = site.see(everything_is_due(&site), Visitor::Admin, "retention?due=yes").body;
    assert!(due.contains("in part") && due.contains("<code>remove what is due</code>"), "{due}");
    for typed in
        ["", "confirm=", "confirm=remove", "confirm=Remove+what+is+due", "confirm=remove+what+is+due&all=yes"]
    {
        let answer = site.post(everything_is_due(&site), Visitor::Admin, "retention/run", typed);
        assert_eq!(answer.status, 400, "`{typed}`");
        assert!(answer.body.contains("Nothing was removed."), "`{typed}`");
    }
    for visitor in [Visitor::Support, Visitor::Denied, Visitor::Stranger] {
        let answer =
            site.post(everything_is_due(&site), visitor, "retention/run", "confirm=remove+what+is+due");
        assert_eq!(answer.status, 403, "{visitor:?}");
    }
    assert_eq!(site.text("SELECT count(*) FROM threadline.retention_runs"), "0");
    assert_eq!(changes(&site), "2");

    // On record before it begins, whether or not looks are.
    let config = everything_is_due(&site).access_log(false);
    let answer = site.post(config, Visitor::Admin, "retention/run", "confirm=remove+what+is+due");
    assert_eq!((answer.status, answer.header("location")), (303, "../retention?since=0"));
    assert_eq!(runs(&site), "completed");
    assert_eq!(changes(&site), "0");
    let asked = "SELECT (asked_by ->> 'type') || ':' || (asked_by ->> 'id') FROM threadline.retention_runs";
    assert_eq!(site.text(asked), "user:1");
    assert!(site.get(Visitor::Admin, "retention").body.contains("completed"));
    let said = site.get(Visitor::Admin, "retention?since=0").body;
    assert!(said.contains("<p class=\"verdict good\" role=\"status\">Run 1 was over at "), "{said}");
    assert!(said.contains(" 2 changes, 2 transactions") && said.contains(" went"), "{said}");
    let said = site.get(Visitor::Admin, "retention?since=1").body;
    assert!(said.contains("The run has not begun yet.") && said.contains("Look again"), "{said}");
}

#[test]
fn nobody_can_have_anything_removed_without_a_name_or_by_another_sites_form() {
    let site = Site::new();
    let nobody = || everything_is_due(&site).actor(async |_| Ok(None));
    let answer = site.post(nobody(), Visitor::Admin, "retention/run", "confirm=remove+what+is+due");
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body.contains("somebody has to answer for it"), "{}", answer.body);
    let request = TestRequest::post()
        .uri("/audit/retention/run")
        .insert_header(("sec-fetch-site", "cross-site"))
        .set_payload("confirm=remove+what+is+due");
    assert_eq!(site.ask(everything_is_due(&site), Visitor::Admin, request).status, 403);
    assert_eq!(changes(&site), "2");
}
