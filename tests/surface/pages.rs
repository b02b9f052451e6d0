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
    let later = link(&first, "after=v1.a");
    assert!(site.get(Visitor::Admin, &later).body.contains("Nothing newer has been captured."));
    let id = site.write("user:7", "UPDATE notes SET body = 'later' WHERE id = 7");
    let body = site.get(Visitor::Admin, &later).body;
    assert_eq!((changes(&body), ids(&body)[0].as_str()), (1, id.as_str()));
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
