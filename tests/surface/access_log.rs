//! The access log: every look is in it, and it leads nowhere but to these pages.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::test::TestRequest;
use threadline::{Action, Actor, AuditContext};
use threadline_actix::surface::Access;
use threadline_tests::run;

use super::site::{Site, Visitor};

/// The looks on a page: who, what was done, at which screen.
fn looks(body: &str) -> Vec<String> {
    let looks = body.split("class=\"look-what\">").skip(1);
    looks
        .map(|look| {
            let look = look.split("</li>").next().unwrap();
            let text: String =
                look.split('<').map(|tag| tag.split_once('>').map_or(tag, |(_, text)| text)).collect();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[test]
fn a_look_is_listed_with_what_was_asked_and_a_refused_one_says_so() {
    let site = Site::new();
    site.get(Visitor::Support, "timeline?table=notes&window=all");
    site.get(Visitor::Support, "coverage");
    site.get(Visitor::Support, "rows?table=notes&key=7");
    let id = "00000000-0000-7000-8000-000000000000";
    site.get(Visitor::Support, &format!("transactions/{id}"));
    let closed = site.config().authorize_export(async |_: &HttpRequest| Ok(Access::deny()));
    site.post(closed, Visitor::Support, "exports/start", "table=notes");
    let body = site.get(Visitor::Admin, "access-log").body;
    assert_eq!(
        looks(&body),
        [
            "viewed Access log",
            "refused request at Exports table=notes: not permitted",
            &format!("viewed Transaction {id}"),
            "viewed Rows table=notes key=7",
            "refused Coverage: not permitted",
            "viewed Timeline table=notes window=all",
        ]
    );
    assert!(body.contains("href=\"./timeline?table=notes&#38;window=all\""), "{body}");
    assert!(body.contains("./actors?actor=user%3A2"));
    let refused = looks(&site.get(Visitor::Admin, "access-log?status=error").body);
    assert_eq!(
        refused,
        ["refused request at Exports table=notes: not permitted", "refused Coverage: not permitted"]
    );
    let own = looks(&site.get(Visitor::Admin, "access-log?actor=user:1").body);
    assert_eq!(own.len(), 3);
    let none = site.get(Visitor::Admin, "access-log?actor=user:77");
    assert!(looks(&none.body).is_empty() && none.body.contains("There is no look at the trail"));
    let wrong = site.get(Visitor::Admin, "access-log?actor=robot&colour=red");
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("<code>actor</code>") && wrong.body.contains("<code>colour</code>"));
}

#[test]
fn looks_at_something_are_found_whatever_page_of_it_and_by_whatever_way_it_was_looked_at() {
    let site = Site::new();
    for path in [
        "rows?table=notes&key=7",
        "timeline?table=notes&actor=user%3A7",
        "api/rows/history?table=notes&key=7",
        "timeline?table=notes&after=v1.d.c.1796000000000000.00000000-0000-7000-8000-000000000000.0",
    ] {
        site.get(Visitor::Support, path);
    }
    let at = |words: &str| {
        looks(&site.get(Visitor::Admin, &format!("access-log?actor=user:2&looked_at={words}")).body)
    };
    let (program, page) = ("viewed Rows API history table=notes key=7", "viewed Rows table=notes key=7");
    assert_eq!(at("NOTES+key%3D7"), [program, page]);
    assert_eq!(at("user:7"), ["viewed Timeline table=notes actor=user:7"]);
    assert_eq!(at("nowhere"), [""; 0]);
    let all = looks(&site.get(Visitor::Admin, "access-log?actor=user:2").body);
    assert_eq!(all[0], "viewed Timeline table=notes page 2 or later");
    for _ in 0..2_100 {
        let look = Action::new("threadline.home.viewed").category("threadline.access");
        site.pool.record_action(&AuditContext::new(Actor::user(3)), &look).unwrap();
    }
    let page = site.get(Visitor::Admin, "access-log?actor=user:3&looked_at=user:7").body;
    assert!(page.contains("of the newest 2000 looks") && page.contains("Look further back"), "{page}");
}

#[test]
fn a_look_leads_to_no_correlation_of_its_own() {
    let site = Site::new();
    let look = Action::new("threadline.timeline.viewed").category("threadline.access").comment("timeline");
    let context = AuditContext::new(Actor::user(9)).with_correlation_id("of-a-look");
    site.pool.record_action(&context, &look).unwrap();
    assert!(!site.get(Visitor::Admin, "access-log?actor=user:9").body.contains("correlations?id="));
    let page = site.get(Visitor::Admin, "correlations?id=of-a-look").body;
    assert!(page.contains("only for looks at the trail") && !page.contains("timeline.viewed"), "{page}");
}

#[test]
fn pages_of_looks_put_together_are_all_of_them() {
    let site = Site::new();
    for number in 0..120 {
        site.get(Visitor::Support, &format!("actors?actor=user:{number}"));
    }
    let mut path = "access-log?actor=user:2".to_owned();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let body = site.get(Visitor::Admin, &path).body;
        seen.extend(looks(&body));
        let links = body.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let Some(older) = links.into_iter().find(|href| href.contains("after=")) else { break };
        path = older.trim_start_matches("./").replace("&#38;", "&");
    }
    let expected: Vec<String> =
        (0..120).rev().map(|number| format!("viewed Actors actor=user:{number}")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn whatever_is_on_record_leads_nowhere_else() {
    let site = Site::new();
    for comment in [
        "//evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "../admin",
        "/admin",
        "a/%2e%2e/%2e%2e/admin",
    ] {
        let look = Action::new("threadline.timeline.viewed").category("threadline.access").comment(comment);
        site.pool.record_action(&AuditContext::new(Actor::user(9)), &look).unwrap();
    }
    let body = site.get(Visitor::Admin, "access-log?actor=user:9").body;
    assert_eq!(looks(&body).len(), 6);
    for bad in ["evil", "javascript", "admin\""] {
        assert!(
            !body.split("href=\"").skip(1).any(|rest| rest.split('"').next().unwrap().contains(bad)),
            "{bad}"
        );
    }
}

#[test]
fn a_view_that_is_limited_has_no_looks_in_it() {
    let site = Site::new();
    site.get(Visitor::Admin, "timeline?actor=user:8");
    let config = site.config().authorize_evidence(async |_: &HttpRequest| Ok(true));
    let answer = site.see(config, Visitor::Support, "access-log");
    assert_eq!(answer.status, 200);
    assert!(looks(&answer.body).is_empty() && answer.body.contains("limited to tenant 7"), "{}", answer.body);
}

#[test]
fn looks_do_not_bury_what_was_done() {
    let site = Site::new();
    site.record_a_bit_of_everything();
    for _ in 0..60 {
        let look = Action::new("threadline.timeline.viewed").category("threadline.access");
        site.pool.record_action(&AuditContext::new(Actor::user(1)), &look).unwrap();
    }
    let page = site.get(Visitor::Admin, "actions");
    assert!(page.body.contains("note.shared") && !page.body.contains("timeline.viewed"), "{}", page.body);
    let told = site.get(Visitor::Admin, "api/actions?limit=2").body;
    assert!(told.contains("note.printed") && told.contains("note.shared"), "{told}");
    let looks = site.get(Visitor::Admin, "actions?category=threadline.access");
    assert!(looks.body.contains("threadline.timeline.viewed"), "{}", looks.body);
}

/// What the trail says was asked for, the newest last.
fn asked(site: &Site) -> Vec<String> {
    let comments = site.text(
        "SELECT coalesce(string_agg(comment, E'\n' ORDER BY occurred_at, id), '') FROM threadline.audit_actions WHERE category = 'threadline.access'",
    );
    comments.lines().map(str::to_owned).collect()
}

#[test]
fn nothing_that_says_nothing_keeps_what_was_asked_out_of_the_record() {
    let site = Site::new();
    let padding = "&".repeat(1_100);
    for path in ["timeline", "api/timeline"] {
        let answer =
            site.see(site.config(), Visitor::Admin, &format!("{path}?{padding}window=all&table=notes"));
        assert_eq!(answer.status, 200);
    }
    let blanks = "a=&".repeat(400);
    let storage = tempfile::tempdir().unwrap();
    let place = threadline_worker::Storage::create(&format!("file://{}", storage.path().display())).unwrap();
    let form = format!("window=all&format=csv&op=insert&{blanks}op=delete");
    assert_eq!(site.post(site.config().storage(place), Visitor::Admin, "exports/start", &form).status, 303);
    assert_eq!(
        asked(&site),
        [
            "timeline?window=all&table=notes",
            "api/timeline?window=all&table=notes",
            "exports?window=all&format=csv&op=insert&op=delete"
        ]
    );
    // What does not fit is not answered, and is not cut.
    let long = format!("timeline?window=all{}", "&actor=user:7".repeat(100));
    let answer = site.get(Visitor::Admin, &long);
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("cannot be put on record") && !answer.body.contains("of tenant"),
        "{}",
        answer.body
    );
}

#[test]
fn a_header_keeps_no_look_out_of_the_record() {
    let site = Site::new();
    let config = site.config();
    let refresh = |path: &str| {
        let request =
            TestRequest::get().uri(&format!("/audit/{path}")).insert_header(("x-threadline-refresh", "1"));
        assert_eq!(site.ask(config.clone(), Visitor::Support, request).status, 200, "{path}");
        asked(&site).len()
    };
    assert_eq!(refresh("exports?window=all&actor=user:7"), 1);
    assert_eq!(refresh("exports?window=all&actor=user:7"), 1, "it was looked at of late");
    assert_eq!(refresh("exports?window=all&actor=user:8"), 2);
    assert_eq!(refresh("exports"), 3);
}

#[test]
fn a_look_waits_no_longer_for_its_record_than_for_an_answer() {
    let site = Site::new();
    let conn = &mut site.db.connect();
    run(conn, "BEGIN; LOCK TABLE threadline.audit_actions IN ACCESS EXCLUSIVE MODE");
    let config = site.config().statement_timeout(Duration::from_millis(300));
    assert_eq!(site.see(config, Visitor::Admin, "timeline").status, 503);
    run(conn, "ROLLBACK");
}
