//! Who is let in, and to what: the host's word at each request, and nothing without it.

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::test::TestRequest;
use threadline::Actor;
use threadline_actix::surface::SurfaceConfig;

use super::site::{Site, Visitor};

/// Each screen, and whether it takes a capability that support has not.
const SCREENS: [(&str, bool); 18] = [
    ("", false),
    ("timeline", false),
    ("actions", false),
    ("transactions/ID", false),
    ("rows", false),
    ("rows?table=notes&key=7", false),
    ("actors", false),
    ("actors?actor=user:7", false),
    ("correlations", false),
    ("undo?transaction=ID", false),
    ("views", false),
    ("coverage", true),
    ("redaction", true),
    ("retention", true),
    ("gaps", true),
    ("evidence", true),
    ("access-log", true),
    ("exports", false),
];

#[test]
fn every_screen_is_shown_to_whom_the_host_lets_in_and_to_nobody_else() {
    let site = Site::new();
    let own = site.text("SELECT transaction_id::text FROM threadline.audit_changes WHERE scope = '7'");
    for (screen, is_for_admins) in SCREENS {
        let screen = screen.replace("ID", &own);
        for visitor in Visitor::ALL {
            let answer = site.get(visitor, &screen);
            let wanted = match visitor {
                Visitor::Admin => 200,
                Visitor::Support if !is_for_admins => 200,
                _ => 403,
            };
            assert_eq!(answer.status, wanted, "{visitor:?} at `{screen}`");
            assert!(!answer.body.contains("secret-of-the-host"), "{visitor:?} at `{screen}`");
        }
    }
}

#[test]
fn who_is_not_let_in_cannot_tell_what_there_is_from_what_there_is_not() {
    let site = Site::new();
    let there = site.get(Visitor::Denied, "timeline");
    for path in [
        "nothing",
        "transactions/00000000-0000-0000-0000-000000000000",
        "rows?table=notes&key=7",
        "timeline?x=y",
    ] {
        let answer = site.get(Visitor::Denied, path);
        assert_eq!((answer.status, &answer.body), (there.status, &there.body), "{path}");
    }
}

#[test]
fn another_tenants_transaction_row_and_changes_look_as_if_they_were_not_there() {
    let site = Site::new();
    let other = site.text("SELECT transaction_id::text FROM threadline.audit_changes WHERE scope = '8'");
    let missing = "00000000-0000-7000-8000-000000000000";
    let (hidden, none) = (
        site.get(Visitor::Support, &format!("transactions/{other}")),
        site.get(Visitor::Support, &format!("transactions/{missing}")),
    );
    assert_eq!(hidden.status, 404);
    assert_eq!(hidden.body.replace(&other, "ID"), none.body.replace(missing, "ID"));
    let (hidden, none) = (
        site.get(Visitor::Support, "rows?table=notes&key=8"),
        site.get(Visitor::Support, "rows?table=notes&key=9"),
    );
    assert_eq!(hidden.status, 200);
    assert_eq!(
        hidden.body.replace("=8", "=KEY").replace("notes:8", "ROW").replace("id%3D8", "KEY"),
        none.body.replace("=9", "=KEY").replace("notes:9", "ROW").replace("id%3D9", "KEY")
    );
    for path in ["", "timeline", "timeline?window=all", "timeline?actor=user:8"] {
        assert!(!site.get(Visitor::Support, path).body.contains("marker-8"), "{path}");
    }
    assert!(site.get(Visitor::Support, "timeline").body.contains("marker-7"));
    assert!(site.get(Visitor::Admin, "timeline").body.contains("marker-8"));
}

#[test]
fn a_look_is_on_record_with_its_filter_before_anything_is_shown() {
    let site = Site::new();
    site.get(Visitor::Support, "timeline?table=notes&window=all");
    let logged = site.text(
        "SELECT string_agg(name || ' ' || actor_type || ':' || actor_id || ' ' || comment, ', ') \
         FROM threadline.audit_actions WHERE category = 'threadline.access'",
    );
    assert_eq!(logged, "threadline.timeline.viewed user:2 timeline?table=notes&window=all");

    let mut owner = site.db.connect();
    threadline_tests::run(
        &mut owner,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON threadline.audit_actions FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let answer = site.get(Visitor::Admin, "timeline");
    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains("marker-"), "something was shown that is not on record");
    let config = site.config().access_log(false);
    let answer = site.ask(config, Visitor::Admin, TestRequest::get().uri("/audit/timeline"));
    assert_eq!(answer.status, 200);
}

#[test]
fn a_form_that_another_sites_page_sends_changes_nothing() {
    let site = Site::new();
    let post = || TestRequest::post().uri("/audit/preferences").set_payload("theme=dark&back=timeline");
    let from = |site_is: &str| post().insert_header(("sec-fetch-site", site_is.to_owned()));
    let ask = |request| site.ask(site.config(), Visitor::Admin, request);
    for foreign in ["cross-site", "same-site", "none", "same-origin, same-origin"] {
        assert_eq!(ask(from(foreign)).status, 403, "{foreign}");
    }
    assert_eq!(ask(post()).status, 403, "neither header");
    let origin = |origin: &str| {
        post().insert_header(("host", "app.example:8443")).insert_header(("origin", origin.to_owned()))
    };
    for foreign in
        ["https://evil.example", "https://app.example", "https://app.example:8443.evil.example", "null"]
    {
        assert_eq!(ask(origin(foreign)).status, 403, "{foreign}");
    }
    for own in [from("same-origin"), origin("https://app.example:8443")] {
        let answer = ask(own);
        assert_eq!((answer.status, answer.header("location")), (303, "./timeline"));
    }
}

#[test]
fn choosing_a_theme_leads_nowhere_but_to_a_page_below_the_mount() {
    let site = Site::new();
    for back in [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "../admin",
        "a/../../admin",
        "%2e%2e/admin",
        "javascript:alert(1)",
    ] {
        let form = format!("theme=dark&back={}", back.replace('%', "%25"));
        let request = TestRequest::post()
            .uri("/audit/preferences")
            .insert_header(("sec-fetch-site", "same-origin"))
            .set_payload(form);
        let answer = site.ask(site.config(), Visitor::Admin, request);
        assert_eq!((answer.status, answer.header("location")), (303, "./"), "{back}");
    }
}

#[test]
fn nothing_in_a_page_may_run_load_or_frame_but_what_the_surface_serves() {
    let site = Site::new();
    let answer = site.get(Visitor::Admin, "timeline");
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    for inline in ["<style", " style=", " onclick", "javascript:", "<script>", "http://", "https://"] {
        assert!(!answer.body.contains(inline), "{inline}");
    }
}

#[test]
fn without_a_callback_of_its_own_what_concerns_the_whole_database_is_denied() {
    let site = Site::new();
    let open = SurfaceConfig::new(site.pool.clone()).allow_unauthenticated_i_understand();
    let home = site.ask(open, Visitor::Stranger, TestRequest::get().uri("/audit/"));
    assert_eq!(home.status, 200);
    for screen in ["coverage", "redaction", "retention", "evidence"] {
        assert!(!home.body.contains(&format!("./{screen}\"")), "{screen}");
    }
    assert!(home.body.contains("./timeline\""));
}

#[test]
fn only_a_page_without_rows_asks_again_without_a_record() {
    let site = Site::new();
    let logged =
        || site.text("SELECT coalesce(string_agg(name, ' ' ORDER BY id), '') FROM threadline.audit_actions");
    let config = site.config();
    let again = |path: &str| {
        let request = TestRequest::get().uri(path).insert_header(("x-threadline-refresh", "1"));
        site.ask(config.clone(), Visitor::Admin, request).status
    };
    assert_eq!(site.see(config.clone(), Visitor::Admin, "coverage").status, 200);
    assert_eq!(again("/audit/coverage"), 200);
    for path in ["/audit/timeline", "/audit/rows?table=notes&key=7", "/audit/actions"] {
        assert_eq!(again(path), 200);
    }
    assert_eq!(
        logged(),
        "threadline.coverage.viewed threadline.timeline.viewed threadline.row.viewed threadline.actions.viewed"
    );
}

#[test]
fn who_may_not_read_the_access_log_does_not_find_it_among_the_actions() {
    let site = Site::new();
    let config = || site.config().authorize_evidence(async |_| Ok(false));
    for path in ["actions?category=threadline.access", "api/actions?category=threadline.access"] {
        assert_eq!(site.see(config(), Visitor::Admin, path).status, 403, "{path}");
        assert_eq!(site.see(site.config(), Visitor::Admin, path).status, 200, "{path}");
    }
    for path in ["actions?window=all", "api/actions", "api/actions?action=threadline.actions.viewed"] {
        assert!(!site.see(config(), Visitor::Admin, path).body.contains("actions.viewed\""), "{path}");
    }
}

/// The access log as it is stored: what was looked at, how that ended, and what the log says of it.
fn access_log(site: &Site) -> String {
    site.text(
        "SELECT coalesce(string_agg(concat_ws(' ', name, status, reason, comment), '; ' ORDER BY id), '') \
         FROM threadline.audit_actions WHERE category = 'threadline.access'",
    )
}

#[test]
fn a_question_that_takes_more_than_its_page_is_on_record_as_refused() {
    let site = Site::new();
    let wanted = "threadline.actions.viewed error not permitted";
    for path in
        ["actions?category=threadline.access", "api/actions?category=content&category=threadline.access"]
    {
        let answer = site.get(Visitor::Support, path);
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("You may not see who looked at the trail."), "{}", answer.body);
    }
    assert_eq!(
        access_log(&site),
        format!(
            "{wanted} actions?category=threadline.access; {wanted} api/actions?category=content&category=threadline.access"
        )
    );
}

#[test]
fn what_is_denied_is_named_as_what_was_asked_for() {
    let site = Site::new();
    for (path, said) in [
        ("coverage", "You may not see which tables are captured."),
        ("gaps", "You may not see where capture has gaps."),
        ("evidence", "You may not see the evidence."),
        ("access-log", "You may not see who looked at the trail."),
    ] {
        assert!(site.get(Visitor::Support, path).body.contains(&format!("<h1>{said}</h1>")), "{path}");
        let api = match path {
            "evidence" => "api/evidence/overview",
            "gaps" => "api/gaps?table=notes",
            path => &format!("api/{path}"),
        };
        assert!(site.get(Visitor::Support, api).body.contains(said), "{api}");
    }
}

/// The surface with a name for those who are let in nowhere, but for strangers.
fn naming_everybody(site: &Site) -> SurfaceConfig {
    site.config().actor(async |request: &HttpRequest| {
        Ok(match request.headers().get("x-visitor").and_then(|name| name.to_str().ok()) {
            Some("denied") => Some(Actor::user(66)),
            Some("failing") => Some(Actor::user(67)),
            Some("panicking") => Some(Actor::anonymous()),
            _ => None,
        })
    })
}

#[test]
fn who_is_let_in_nowhere_is_on_record_once_in_a_while_and_never_learns_of_it() {
    let site = Site::new();
    let config = naming_everybody(&site);
    let mut answers = Vec::new();
    for path in ["timeline?table=notes", "timeline", "rows?table=notes&key=7", "nothing", "exports"] {
        for visitor in [Visitor::Denied, Visitor::Failing, Visitor::Panicking, Visitor::Stranger] {
            let answer = site.see(config.clone(), visitor, path);
            answers.push((answer.status, answer.body));
        }
        assert_eq!(site.see(config.clone(), Visitor::Denied, "api/timeline").status, 403);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let refused = "threadline.timeline.viewed error not let in timeline?table=notes";
    assert_eq!(access_log(&site), format!("{refused}; {refused}"));
    let actors = "SELECT string_agg(actor_id, ' ' ORDER BY actor_id) FROM threadline.audit_actions";
    assert_eq!(site.text(actors), "66 67");

    // Another process has another memory; with the log switched off, or out of order, the answer is the same.
    site.see(naming_everybody(&site).access_log(false), Visitor::Denied, "timeline");
    assert_eq!(access_log(&site), format!("{refused}; {refused}"));
    threadline_tests::run(
        &mut site.db.connect(),
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON threadline.audit_actions FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let answer = site.see(naming_everybody(&site), Visitor::Denied, "timeline");
    assert_eq!((answer.status, answer.body), answers[0]);
}

#[test]
fn who_is_not_let_in_is_led_to_the_login_and_to_the_application() {
    let site = Site::new();
    let config = || site.config().login("/login").home("/posts", "Blog");
    let pages: Vec<String> =
        ["", "timeline?op=delete", "transactions/00000000-0000-0000-0000-000000000000", "a/b/c"]
            .into_iter()
            .map(|path| site.see(config(), Visitor::Stranger, path).body)
            .collect();
    assert!(pages.iter().all(|page| *page == pages[0]));
    assert!(pages[0].contains("href=\"/login\"") && pages[0].contains("href=\"/posts\""), "{}", pages[0]);
    // What it loads is found beside every address, by everybody.
    let css = pages[0].split("href=\"./").find(|rest| rest.starts_with("assets/threadline-")).unwrap();
    let css = css.split('"').next().unwrap();
    for beside in ["", "transactions/", "a/b/"] {
        let sheet = site.see(config(), Visitor::Stranger, &format!("{beside}{css}"));
        assert_eq!(
            (sheet.status, sheet.header("content-type")),
            (200, "text/css; charset=utf-8"),
            "{beside}"
        );
    }

    let returning = || site.config().login_returning("/login?as=staff", "next");
    let page = site.see(returning(), Visitor::Denied, "timeline?op=delete&actor=user:7").body;
    let login = "/login?as=staff&#38;next=%2Faudit%2Ftimeline%3Fop%3Ddelete%26actor%3Duser%3A7";
    assert!(page.contains(&format!("href=\"{login}\"")), "{page}");
    let posted = site.post(returning(), Visitor::Denied, "exports/start", "table=notes").body;
    assert!(posted.contains("href=\"/login?as=staff\""), "{posted}");
    let own = site.see(config(), Visitor::Support, "timeline").body;
    assert!(own.contains("<li><a href=\"/posts\">Blog</a></li>") && own.contains("Back to Blog"), "{own}");
}

#[test]
fn a_time_zone_there_is_not_is_named_beside_its_field_and_there_is_a_way_back() {
    let site = Site::new();
    let choose = |visitor, back: &str| {
        let form = format!("theme=dark&zone=Mars%2FBase&back={back}");
        site.post(site.config(), visitor, "preferences", &form)
    };
    let answer = choose(Visitor::Support, "rows%3Ftable%3Dnotes%26key%3D7");
    assert_eq!((answer.status, answer.header("set-cookie")), (400, ""));
    for part in [
        "value=\"Mars/Base\"",
        "id=\"problem-zone\"",
        "href=\"./rows?table=notes&#38;key=7\"",
        "<option value=\"dark\" selected",
    ] {
        assert!(answer.body.contains(part), "{part}: {}", answer.body);
    }
    let elsewhere = choose(Visitor::Support, "%2F%2Fevil.example");
    assert!(!elsewhere.body.contains("evil.example"));
    let refused = choose(Visitor::Denied, "timeline");
    assert_eq!(refused.body, site.get(Visitor::Denied, "timeline").body);
}

#[test]
fn who_is_not_let_in_cannot_tell_a_way_of_asking_from_another() {
    let site = Site::new();
    let own = |request: TestRequest| request.insert_header(("sec-fetch-site", "same-origin"));
    let there = site.get(Visitor::Denied, "timeline");
    let asked = [
        TestRequest::get().uri("/audit/exports/start"),
        TestRequest::default().method(Method::OPTIONS).uri("/audit/timeline"),
        own(TestRequest::post().uri("/audit/timeline")),
        own(TestRequest::post().uri("/audit/nowhere")),
        own(TestRequest::post().uri("/audit/exports/start")).set_payload("x".repeat(400_000)),
        own(TestRequest::post().uri("/audit/exports/start")).set_payload(vec![0xff_u8, 0xfe]),
        own(TestRequest::post().uri("/audit/retention/run")).insert_header(("content-type", "x")),
        TestRequest::get().uri("/audit/preferences"),
    ];
    for (place, request) in asked.into_iter().enumerate() {
        let answer = site.ask(site.config(), Visitor::Denied, request);
        assert_eq!((answer.status, &answer.body), (there.status, &there.body), "{place}");
        assert_eq!(answer.header("cache-control"), "no-store", "{place}");
    }
    // Who is let in is told.
    let long = own(TestRequest::post().uri("/audit/exports/start")).set_payload("x".repeat(400_000));
    assert_eq!(site.ask(site.config(), Visitor::Admin, long).status, 400);
    let wrong = site.ask(site.config(), Visitor::Admin, TestRequest::get().uri("/audit/exports/start"));
    assert_eq!((wrong.status, wrong.header("cache-control")), (405, "no-store"));
    let back = site.post(site.config(), Visitor::Stranger, "preferences", "theme=dark&back=timeline%3F%01");
    assert_eq!((back.status, back.header("location")), (303, "./"));
}
