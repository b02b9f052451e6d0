//! What the screens show, and how one gets from one to the next.

use actix_web::test::{self as app, TestRequest};
use actix_web::{App, rt};
use threadline::{Actor, AuditContext};
use threadline_actix::surface::surface;
use threadline_tests::run;

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
        "“robot” is not an actor; write",
        "“yesterday” is not a time such as",
    ] {
        assert!(answer.body.contains(named), "{named}");
    }
    // What only the database knows to be wrong is named beside the rest, with the name that may be meant.
    let answer = site.get(Visitor::Admin, "timeline?table=nots&actor=mira&actor=user:7&table=.&op=explode");
    assert_eq!(answer.status, 400);
    for named in [
        "<code>table</code> “nots” is not in the trail; did you mean `notes`?",
        "<code>table</code> “.” is not the name of a table",
        "<code>actor</code> “mira” is not an actor",
        "<code>op</code> “explode” is not one of insert, update, delete, truncate",
    ] {
        assert!(answer.body.contains(named), "{named}: {}", answer.body);
    }
    assert_eq!(answer.body.matches("<li><code>table</code>").count(), 2, "{}", answer.body);
}

#[test]
fn home_finds_what_is_pasted() {
    let site = Site::new();
    site.record_a_bit_of_everything();
    let [correlation, request, job] =
        [1, 2, 3].map(|number| format!("0b5e8f4c-3a52-4d39-9d7e-00000000000{number}"));
    let context = AuditContext::new(Actor::user(7)).with_correlation_id(&*correlation);
    let context = context.with_request_id(&*request).with_job_id(&*job);
    let id = site.write_in(context, "UPDATE notes SET body = 'found' WHERE id = 7");
    let members = "CREATE TABLE members (tenant bigint, person text, PRIMARY KEY (tenant, person)); \
         SELECT threadline.attach('members', scope => 'tenant')";
    threadline_tests::run(&mut site.db.connect(), members);
    for (pasted, place) in [
        (id.as_str(), format!("./transactions/{id}")),
        (&correlation, format!("./correlations?id={correlation}")),
        (&request, format!("./timeline?request_id={request}&window=all")),
        (&job, format!("./timeline?job_id={job}&window=all")),
        ("import-7", "./correlations?id=import-7".to_owned()),
        ("notes:7", "./rows?table=notes&key=7".to_owned()),
        ("nodes:7", "./rows?table=nodes&key=7".to_owned()),
        (
            "members:tenant%3D7%20person%3Da%20b",
            "./rows?table=members&key=tenant%3D7+person%3Da+b".to_owned(),
        ),
        ("user:7", "./actors?actor=user%3A7".to_owned()),
        ("nobody", "./timeline?actor=nobody&window=all".to_owned()),
        ("public.notes", "./timeline?table=public.notes&window=all".to_owned()),
        ("note.shared", "./actions?action=note.shared&window=all".to_owned()),
        ("https://blog.example/x/audit/rows?table=notes%26key=7", "./rows?table=notes&key=7".to_owned()),
    ] {
        let answer = site.get(Visitor::Admin, &format!("?find={pasted}"));
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, place.as_str()),
            "{pasted}: {}",
            answer.body
        );
        let page = site.get(Visitor::Admin, place.trim_start_matches("./"));
        assert_eq!(page.status, if pasted == "nodes:7" { 400 } else { 200 }, "{pasted}");
    }
    assert!(
        site.get(Visitor::Admin, &format!("timeline?request_id={request}&window=all"))
            .body
            .contains("1 change of this request")
    );
    for pasted in ["606", "mira@pressroom.example", "two%20words", "threadline.home.viewed", "%F0%9F%98%80"] {
        let answer = site.get(Visitor::Admin, &format!("?find={pasted}"));
        assert_eq!(answer.status, 200, "{pasted}");
        assert!(
            answer.body.contains("Nothing goes by “") && answer.body.contains("a row as "),
            "{}",
            answer.body
        );
    }
}

#[test]
fn what_may_not_be_seen_is_found_as_little_as_what_is_not_there() {
    let site = Site::new();
    let ids = ["0b5e8f4c-3a52-4d39-9d7e-000000000001", "req-8", "job-8"];
    let context = AuditContext::new(Actor::user(8)).with_correlation_id(ids[0]);
    let context = context.with_request_id(ids[1]).with_job_id(ids[2]);
    let id = site.write_in(context, "UPDATE notes SET body = 'marker-8, again' WHERE id = 8");
    let find = |visitor, pasted: &str| site.get(visitor, &format!("?find={pasted}"));
    for hidden in ids.into_iter().chain([id.as_str()]) {
        assert_eq!(find(Visitor::Admin, hidden).status, 303, "{hidden}");
        let (hidden_body, missing) =
            (find(Visitor::Support, hidden), find(Visitor::Support, "nothing-of-ours"));
        assert_eq!((hidden_body.status, missing.status), (200, 200));
        assert_eq!(hidden_body.body.replace(hidden, "ID"), missing.body.replace("nothing-of-ours", "ID"));
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

    // What lies ahead is not told as if it were known, and what is not there is told once.
    let ahead = site.get(Visitor::Admin, "rows?table=notes&key=8&at=2999-01-01").body;
    assert!(ahead.contains("This time lies ahead.") && ahead.contains("<bdi>of tenant 8</bdi>"), "{ahead}");
    let none = site.get(Visitor::Admin, "rows?table=notes&key=99999").body;
    assert!(
        none.contains("Nothing of this row is in the trail") && !none.contains("This version is not"),
        "{none}"
    );

    // A time that is not understood is to be mended on the page of the row.
    let wrong = site.get(Visitor::Admin, "rows?table=notes&key=7&at=tomorrow");
    assert_eq!(wrong.status, 400);
    for kept in
        ["3 versions", "<code>at</code> “tomorrow” is not a time such as", "name=\"at\" value=\"tomorrow\""]
    {
        assert!(wrong.body.contains(kept), "{kept}: {}", wrong.body);
    }
}

#[test]
fn a_row_is_found_by_its_name_as_the_pages_write_it() {
    let site = Site::new();
    threadline_tests::run(
        &mut site.db.connect(),
        "CREATE TABLE members (tenant bigint, person text, PRIMARY KEY (tenant, person)); \
         SELECT threadline.attach('members', scope => 'tenant')",
    );
    for person in ["somebody else", "a=b", " x ", "person = y", "tenant=9"] {
        site.write("user:7", &format!("INSERT INTO members VALUES (7, '{person}')"));
    }
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    for name in ["person=somebody else tenant=7", "tenant=7 person=somebody else", "person=a=b tenant=7"] {
        for page in
            ["rows?table=members&key=", "api/rows/history?table=members&key=", "timeline?table=members&key="]
        {
            let answer = site.get(Visitor::Admin, &format!("{page}{}", encoded(name)));
            assert_eq!(answer.status, 200, "{page}{name}: {}", answer.body);
            let found = ["1 version", "\"versions\":[{", "1 change of"]
                .iter()
                .any(|found| answer.body.contains(found));
            assert!(found || answer.body.contains("1 change "), "{page}{name}: {}", answer.body);
        }
    }
    let listed = site.get(Visitor::Admin, "timeline?table=members").body;
    assert!(listed.contains("members:person=somebody else tenant=7"), "{listed}");
    // Which can be read in two ways is refused, by words that say what would do.
    let wrong = site.get(
        Visitor::Admin,
        &format!("rows?table=members&key={}", encoded("person=tenant=9 tenant=7 tenant=7")),
    );
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("`tenant=VALUE person=VALUE`"), "{}", wrong.body);
}

#[test]
fn sending_the_form_of_a_page_asks_what_the_page_was_asked() {
    let site = Site::new();
    for asked in [
        "timeline?table=notes&actor=user%3A7&actor=user%3A8&actor=nobody&op=insert&op=delete",
        "timeline?window=7d&action=a&action=b&category=c&category=d&status=ok",
        "timeline?table=notes&table=public.notes&from=2026-01-01T00%3A00%3A00Z",
        "actions?action=a&action=b&actor=user%3A7&actor=user%3A8&status=ok&job_id=j&window=30d",
        "timeline?op=explode&actor=robot&actor=user%3A7",
    ] {
        let (page, question) = asked.split_once('?').unwrap();
        let answer = site.get(Visitor::Admin, asked);
        let sent =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields(&answer.body)).finish();
        let again = site.see(site.config(), Visitor::Admin, &format!("{page}?{sent}"));
        let canonical = again.header("location").split_once('?').unwrap().1.to_owned();
        let sorted = |question: &str| {
            let mut pairs: Vec<(String, String)> =
                url::form_urlencoded::parse(question.as_bytes()).into_owned().collect();
            pairs.sort();
            pairs
        };
        assert_eq!(sorted(&canonical), sorted(question), "{}", answer.body);
    }
}

/// What the filter's form on a page would send.
fn fields(body: &str) -> Vec<(String, String)> {
    let form = body.split("<form class=\"filter\"").nth(1).unwrap().split("</form>").next().unwrap();
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.replace("&#38;", "&"))
    };
    let mut fields = Vec::new();
    for tag in form.split('<').skip(1) {
        let tag = tag.split('>').collect::<Vec<_>>();
        if tag[0].starts_with("input") {
            fields.push((attribute(tag[0], "name").unwrap(), attribute(tag[0], "value").unwrap_or_default()));
        } else if tag[0].starts_with("select") {
            fields.push((attribute(tag[0], "name").unwrap(), String::new()));
        } else if tag[0].starts_with("option") && tag[0].contains(" selected") {
            fields.last_mut().unwrap().1 = attribute(tag[0], "value").unwrap_or_else(|| tag[1].to_owned());
        }
    }
    fields
}

#[test]
fn a_window_says_by_its_title_what_it_is_about() {
    let site = Site::new();
    site.record_a_bit_of_everything();
    let id = site.text("SELECT transaction_id::text FROM threadline.audit_changes WHERE op = 'U'");
    for (path, title) in [
        ("rows?table=notes&key=7".to_owned(), "notes:7 · Rows · Threadline"),
        ("actors?actor=user:7".to_owned(), "user:7 · Actors · Threadline"),
        ("correlations?id=import-7".to_owned(), "import-7 · Correlation · Threadline"),
        (format!("transactions/{id}"), &format!("{id} · Transaction · Threadline")),
        ("timeline".to_owned(), "Timeline · Threadline"),
        ("rows".to_owned(), "Rows · Threadline"),
        ("actors?actor=robot".to_owned(), "Actors · Threadline"),
    ] {
        let body = site.get(Visitor::Admin, &path).body;
        assert!(body.contains(&format!("<title>{title}</title>")), "{path}: {}", &body[..600]);
    }
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
fn a_key_that_ends_in_a_space_is_another_row() {
    let site = Site::new();
    run(
        &mut site.db.connect(),
        "CREATE TABLE names (k text PRIMARY KEY, v text); SELECT threadline.attach('names'); \
         INSERT INTO names VALUES ('a', 'row-a'), ('a ', 'row-a-space'); UPDATE names SET v = v || '-2'",
    );
    let timeline = site.get(Visitor::Admin, "timeline?table=names").body;
    for (href, own, other) in
        [("key=k%3Da+", "row-a-space", "row-a-2"), ("key=k%3Da\"", "row-a-2", "row-a-space")]
    {
        assert!(timeline.contains(href), "{href}: {timeline}");
        let row = site.get(Visitor::Admin, &format!("rows?table=names&{}", href.trim_end_matches('"'))).body;
        assert!(row.contains(own) && !row.contains(other), "{href}: {row}");
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
