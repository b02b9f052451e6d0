//! What the screens show, and how one gets from one to the next.

use actix_web::test::{self as app, TestRequest};
use actix_web::{App, rt};
use threadline_actix::surface::surface;

use super::site::{Site, Visitor};

/// The first link in a page that has this in its address, from the mount on.
fn link(body: &str, part: &str) -> String {
    let links = body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let found = links.into_iter().find(|href| href.contains(part));
    let found = found.unwrap_or_else(|| panic!("no link with `{part}`"));
    found.replace("&#38;", "&").trim_start_matches("./").to_owned()
}

#[test]
fn pages_of_the_timeline_put_together_are_the_whole_and_lead_back() {
    let site = Site::new();
    for _ in 0..130 {
        site.write("user:7", "UPDATE notes SET title = title || '.' WHERE id = 7");
    }
    let changes = |body: &str| body.matches("class=\"change\"").count();
    let first = site.get(Visitor::Admin, "timeline").body;
    assert!(first.contains("132 changes in the last 24 hours"), "{first}");
    let second = site.get(Visitor::Admin, &link(&first, "after=v1.d")).body;
    let third = site.get(Visitor::Admin, &link(&second, "after=v1.d")).body;
    assert_eq!([&first, &second, &third].map(|body| changes(body.as_str())), [50, 50, 32]);
    assert!(!third.contains(">Older<"));
    let back = site.get(Visitor::Admin, &link(&third, "after=v1.a")).body;
    let ids = |body: &str| {
        body.split("transactions/").skip(1).map(|rest| rest[..36].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&back), ids(&second));

    // From the newest page on, what happens later is found without what was seen already.
    let later = link(&first, "seen=v1.a");
    let body = site.get(Visitor::Admin, &later).body;
    assert!(body.contains("Nothing newer has been captured<"), "{body}");
    assert_eq!(ids(&body), ids(&first), "what was being read is still there");
    let id = site.write("user:7", "UPDATE notes SET body = 'later' WHERE id = 7");
    let body = site.get(Visitor::Admin, &later).body;
    assert!(body.contains("1 change is new since you looked") && body.contains("Seen before"), "{body}");
    let (new, seen) = body.split_once("Seen before").unwrap();
    assert_eq!((changes(new), ids(new)[0].as_str(), changes(seen)), (1, id.as_str(), 49));
    for _ in 0..50 {
        site.write("user:7", "UPDATE notes SET title = title || '.' WHERE id = 7");
    }
    let body = site.get(Visitor::Admin, &later).body;
    assert!(body.contains("All of this page is new") && !body.contains("Seen before"), "{body}");
    let both = format!("{later}&after=v1.d.c.1796000000000000.00000000-0000-7000-8000-000000000000.0");
    assert_eq!(site.get(Visitor::Admin, &both).status, 400);
}

#[test]
fn what_is_wrong_with_a_filter_is_named_and_the_rest_of_it_is_kept() {
    let site = Site::new();
    let answer = site.get(Visitor::Admin, "timeline?actor=robot&table=notes&from=yesterday&colour=red");
    assert_eq!(answer.status, 400);
    for named in [
        "<code>actor</code>",
        "<code>from</code>",
        "<code>colour</code>",
        "value=\"notes\"",
        "value=\"robot\"",
    ] {
        assert!(answer.body.contains(named), "{named}");
    }
}

#[test]
fn home_finds_what_is_pasted() {
    let site = Site::new();
    for (pasted, place) in [
        ("01a1ffab-f039-72a0-a2c0-000000000001", "./transactions/01a1ffab-f039-72a0-a2c0-000000000001"),
        ("notes:7", "./rows?table=notes&key=7"),
        ("user:7", "./actors?actor=user%3A7"),
        ("req-42", "./correlations?id=req-42"),
    ] {
        let answer = site.get(Visitor::Admin, &format!("?find={pasted}"));
        assert_eq!((answer.status, answer.header("location")), (303, place), "{pasted}");
    }
}

#[test]
fn under_any_mount_a_link_leads_to_where_it_says() {
    let site = Site::new();
    let config = site.config();
    rt::System::new().block_on(async {
        let other = site.config().title("Second");
        let service = app::init_service(
            App::new()
                .service(surface(config).mount("/audit"))
                .service(surface(other).mount("/deep/in/here/")),
        )
        .await;
        for (mount, title) in [("/audit", "Threadline"), ("/deep/in/here", "Second")] {
            let get = async |path: String| {
                let request =
                    TestRequest::get().uri(&path).insert_header(("x-visitor", "admin")).to_request();
                let response = app::call_service(&service, request).await;
                let location = response.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
                let body = String::from_utf8(app::read_body(response).await.to_vec()).unwrap();
                (location, body)
            };
            let (to, _) = get(mount.to_owned()).await;
            assert_eq!(to.unwrap(), format!("{}/", mount.rsplit('/').next().unwrap()));
            let (_, timeline) = get(format!("{mount}/timeline")).await;
            assert!(timeline.contains(title));
            let (_, transaction) = get(format!("{mount}/{}", link(&timeline, "transactions/"))).await;
            let home = link(&transaction, "../");
            assert!(home.starts_with("../") && !home.contains("audit"), "{home}");
        }
    });
}

#[test]
fn a_row_shows_its_versions_and_what_it_was_after_each_and_at_any_instant() {
    let site = Site::new();
    site.write("user:7", "UPDATE notes SET title = 'second' WHERE id = 7");
    let between =
        site.text("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.USZ')");
    site.write("user:7", "DELETE FROM notes WHERE id = 7");
    let newest = site.get(Visitor::Admin, "rows?table=notes&key=7").body;
    assert!(newest.contains("3 versions") && newest.contains("The row was gone after this."));
    let first = link(&newest, "version=");
    assert!(first.contains("%23"), "{first}");
    let at = site.get(Visitor::Admin, &format!("rows?table=notes&key=7&at={between}")).body;
    assert!(at.contains("<bdi>second</bdi>") && !at.contains("class=\"notice"), "{at}");
    let before = site.get(Visitor::Admin, "rows?table=notes&key=7&at=2001-01-01").body;
    assert!(before.contains("does not reach back that far"), "{before}");
}

#[test]
fn what_no_database_can_hold_is_refused_by_name_and_is_no_failure() {
    let site = Site::new();
    for (path, field) in [
        ("timeline?request_id=%00", "request_id"),
        ("rows?table=notes&key=%00", "key"),
        ("undo?correlation=%00", "correlation"),
        ("correlations?id=%00", "id"),
        ("rows?table=notes&key=7&at=-262000-01-01", "at"),
        ("timeline?from=%2B262000-01-01", "from"),
    ] {
        let answer = site.get(Visitor::Admin, path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains(&format!("<code>{field}</code>")), "{path}: {}", answer.body);
    }
}

#[test]
fn what_somebody_did_is_told_with_what_they_failed_to_do() {
    let site = Site::new();
    site.record_a_bit_of_everything();
    for _ in 0..120 {
        site.write("user:7", "UPDATE notes SET title = title || '.' WHERE id = 7");
    }
    let page = site.get(Visitor::Admin, "actors?actor=user:7").body;
    assert!(page.contains("Tried in vain") && page.contains("the printer is out of paper"), "{page}");
    assert!(page.contains("122 changes in the last 7 days; of those on this page"), "{page}");
    let actions = site.get(Visitor::Admin, &link(&page, "actions?actor=user%3A7")).body;
    assert!(actions.contains("note.printed") && actions.contains("note.shared"), "{actions}");
}

#[test]
fn who_acted_of_late_is_listed_as_far_as_one_may_see_it() {
    let site = Site::new();
    let all = site.get(Visitor::Admin, "actors").body;
    assert!(all.contains("actor=user%3A7") && all.contains("actor=user%3A8"), "{all}");
    let own = site.get(Visitor::Support, "actors").body;
    assert!(own.contains("actor=user%3A7") && !own.contains("user%3A8") && !own.contains("user:8"), "{own}");
}

#[test]
fn what_has_no_actor_is_asked_for_like_an_actor_and_found_from_the_finding() {
    let site = Site::new();
    threadline_tests::run(&mut site.db.connect(), "UPDATE notes SET title = 'by nobody' WHERE id = 7");
    let page = site.get(Visitor::Admin, "actors?actor=nobody");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("1 change in the last 7 days") && page.body.contains("by nobody"));
    let coverage = site.get(Visitor::Admin, "coverage").body;
    assert!(coverage.contains("(changes: 1, transactions: 1"), "{coverage}");
    let found = site.get(Visitor::Admin, &link(&coverage, "actor=nobody")).body;
    assert!(found.contains("1 change in the last 24 hours") && found.contains("by nobody"), "{found}");
}

#[test]
fn nothing_is_said_of_all_there_is_to_who_sees_a_part() {
    let site = Site::new();
    site.get(Visitor::Support, "");
    for (path, whole, part) in [
        ("actors?actor=user:8", "that is in the trail.", "that is in the trail and that you may see."),
        ("correlations?id=none", "has this correlation id.", "has this correlation id that you may see."),
        ("actions?action=none", "that answers to this.", "that answers to this and that you may see."),
        (
            "timeline?table=notes&actor=user:99",
            "Nothing here answers to that.",
            "Nothing that you may see answers to that.",
        ),
    ] {
        let admin = site.get(Visitor::Admin, &path.replace("user:8", "user:98")).body;
        let support = site.get(Visitor::Support, path).body;
        assert!(admin.contains(whole), "{path}: {admin}");
        assert!(support.contains(part) && !support.contains(whole), "{path}: {support}");
    }
}

#[test]
fn an_action_without_a_change_is_found_by_its_correlation() {
    let site = Site::new();
    let context = threadline::AuditContext::new(threadline::Actor::user(7)).with_correlation_id("lone");
    site.pool.record_action(&context, &threadline::Action::new("note.read")).unwrap();
    let page = site.get(Visitor::Admin, "correlations?id=lone").body;
    assert!(page.contains("note.read") && !page.contains("etention has removed"), "{page}");
    assert!(site.get(Visitor::Admin, "correlations?id=none").body.contains("retention has removed"));
}
