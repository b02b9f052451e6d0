//! The addresses of pages: what they mean does not depend on who opens them.

use actix_web::http::header::COOKIE;
use actix_web::test::TestRequest;

use super::site::{Answer, Site, Visitor};

/// What somebody whose clock is in this zone is answered.
fn in_zone(site: &Site, zone: &str, path: &str) -> Answer {
    let request = TestRequest::post()
        .uri("/audit/preferences")
        .insert_header(("sec-fetch-site", "same-origin"))
        .set_payload(format!("zone={}", zone.replace('/', "%2F")));
    let chosen = site.ask(site.config(), Visitor::Admin, request);
    let cookies = chosen
        .headers
        .get_all("set-cookie")
        .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned());
    let cookies = cookies.collect::<Vec<_>>().join("; ");
    let request = TestRequest::get().uri(&format!("/audit/{path}")).insert_header((COOKIE, cookies));
    site.ask(site.config(), Visitor::Admin, request)
}

#[test]
fn a_time_that_was_filled_in_means_the_same_to_whoever_is_sent_the_address() {
    let site = Site::new();
    for (page, field) in [
        ("timeline?table=notes&op=&request_id=&", "from"),
        ("timeline?", "to"),
        ("actions?", "from"),
        ("exports?table=notes&", "to"),
        ("actors?actor=user:7&", "from"),
        ("access-log?", "from"),
        ("rows?table=notes&key=7&", "at"),
        ("rows?table=notes&key=7&", "from"),
        ("rows?table=notes&key=7&from=2020-01-01T00:00:00Z&", "to"),
    ] {
        let sent = in_zone(&site, "Europe/Berlin", &format!("{page}{field}=2026-11-20T08:00"));
        let to = sent.header("location").trim_start_matches("./").to_owned();
        assert_eq!(sent.status, 303, "{page}{field}");
        assert!(to.ends_with(&format!("{field}=2026-11-20T07%3A00%3A00Z")), "{to}");
        assert!(!to.contains("=&"), "{to}");
        for (zone, shown) in [("Europe/Berlin", "T08:00:00"), ("America/New_York", "T02:00:00")] {
            let answer = in_zone(&site, zone, &to);
            assert_eq!(answer.status, 200, "{to}: {}", answer.body);
            let has_field = answer.body.contains(&format!("name=\"{field}\""));
            let is_shown = answer.body.contains(&format!("name=\"{field}\" value=\"2026-11-20{shown}\""));
            assert_eq!(has_field && !page.starts_with("exports"), is_shown, "{to} in {zone}");
        }
    }
}

#[test]
fn the_way_to_the_canonical_address_is_no_look_and_what_comes_of_it_is_one() {
    let site = Site::new();
    let logged = || {
        site.text(
            "SELECT coalesce(string_agg(comment, ', ' ORDER BY id), '') FROM threadline.audit_actions \
             WHERE category = 'threadline.access'",
        )
    };
    let answer = site.see(site.config(), Visitor::Support, "timeline?table=notes&to=&op=&window=");
    assert_eq!(
        (answer.status, answer.header("location"), logged().as_str()),
        (303, "./timeline?table=notes", "")
    );
    assert!(answer.body.is_empty());
    site.get(Visitor::Support, "timeline?table=notes&to=&op=&window=");
    assert_eq!(logged(), "timeline?table=notes");
    // Below the mount by a step more, and with nothing left to ask.
    let id = "00000000-0000-7000-8000-000000000000";
    let answer = site.see(site.config(), Visitor::Support, &format!("transactions/{id}?x="));
    assert_eq!(answer.header("location"), format!("../transactions/{id}"));
    assert_eq!(site.see(site.config(), Visitor::Support, "?find=").header("location"), "./");
    // Who is not let in is told nothing else than before.
    let refused = |path: &str| {
        let answer = site.see(site.config(), Visitor::Denied, path);
        (answer.status, answer.body)
    };
    assert_eq!(refused("timeline?op="), refused("timeline"));
    // What cannot be read as a time stays as it is, to be mended.
    let wrong = site.see(site.config(), Visitor::Admin, "timeline?from=yesterday");
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("name=\"from\" value=\"yesterday\""), "{}", wrong.body);
}
