//! Saved views: of whom they are, and what is kept.

use threadline::{Actor, views};

use super::site::{Answer, Site, Visitor};

/// The only thing of its kind on a page, between two texts.
fn between<'a>(answer: &'a Answer, before: &str, after: &str) -> &'a str {
    let parts: Vec<&str> = answer.body.split(before).collect();
    assert_eq!(parts.len(), 2, "{before} in {}", answer.body);
    parts[1].split(after).next().unwrap()
}

#[test]
fn a_question_saved_from_its_page_is_asked_again_by_its_owner_alone() {
    let site = Site::new();
    let page = site.get(Visitor::Support, "timeline?op=insert&table=notes&window=7d&schema=&actor=user%3A7");
    let question =
        between(&page, "name=\"question\" value=\"", "\"").replace("&#38;", "&").replace("&amp;", "&");
    let form = format!(
        "name=+Notes+of+seven+&page=timeline&question={}",
        question.replace('%', "%25").replace('&', "%26").replace('=', "%3D")
    );
    let saved = site.post(site.config(), Visitor::Support, "views/save", &form);
    assert_eq!((saved.status, saved.header("location")), (303, "../views"));

    for path in ["views", ""] {
        let list = site.get(Visitor::Support, path);
        assert!(list.body.contains("<bdi>Notes of seven</bdi>"), "{path}: {}", list.body);
        let href = between(&list, "<a href=\"./timeline?", "\"").replace("&#38;", "&").replace("&amp;", "&");
        assert_eq!(href, question, "{path}");
        let again = site.get(Visitor::Support, &format!("timeline?{href}"));
        assert!(again.body.contains("1 change in the last 7 days"), "{}", again.body);
        assert!(!site.get(Visitor::Admin, path).body.contains("Notes of seven"), "{path}");
    }
    assert!(site.get(Visitor::Support, "api/views").body.contains("Notes of seven"));
    assert!(!site.get(Visitor::Admin, "api/views").body.contains("Notes of seven"));

    // Nobody else forgets it, and nobody learns that it is there.
    let id = site.text("SELECT id::text FROM threadline.saved_views");
    let forget = |visitor, id: &str| site.post(site.config(), visitor, "views/forget", &format!("view={id}"));
    let (theirs, nothing) =
        (forget(Visitor::Admin, &id), forget(Visitor::Admin, "00000000-0000-4000-8000-000000000000"));
    assert_eq!(theirs.status, 404);
    assert_eq!(
        theirs.body.replace(&id, "ID"),
        nothing.body.replace("00000000-0000-4000-8000-000000000000", "ID")
    );
    assert_eq!(forget(Visitor::Support, &id).status, 303);
    assert!(site.get(Visitor::Support, "views").body.contains("You have saved none"));
}

#[test]
fn what_cannot_be_kept_is_named_and_nothing_is_saved() {
    let site = Site::new();
    let long = "x".repeat(81);
    for (form, field) in [
        ("page=timeline&question=".to_owned(), "name"),
        (format!("name={long}&page=timeline&question="), "name"),
        ("name=a%07b&page=timeline&question=".to_owned(), "name"),
        ("name=a&page=coverage&question=".to_owned(), "page"),
        ("name=a&question=".to_owned(), "page"),
        ("name=a&page=timeline&question=colour%3Dred".to_owned(), "colour"),
        ("name=a&page=timeline&question=op%3Dnothing".to_owned(), "op"),
        ("name=a&page=actions&question=table%3Dnotes".to_owned(), "table"),
        ("name=a&page=timeline&question=&share=all".to_owned(), "share"),
        ("name=a&name=b&page=timeline&question=".to_owned(), "name"),
    ] {
        let answer = site.post(site.config(), Visitor::Admin, "views/save", &form);
        assert_eq!(answer.status, 400, "{form}");
        assert!(answer.body.contains(&format!("<code>{field}</code>")), "{form}: {}", answer.body);
    }
    assert_eq!(site.text("SELECT count(*)::text FROM threadline.saved_views"), "0");
}

#[test]
fn nobody_in_particular_keeps_nothing_and_is_offered_nothing() {
    let site = Site::new();
    for actor in [None, Some(Actor::anonymous())] {
        let config = || {
            let actor = actor.clone();
            site.config().actor(async move |_| Ok(actor.clone()))
        };
        assert!(!site.see(config(), Visitor::Admin, "timeline").body.contains("views/save"));
        assert!(
            site.see(config(), Visitor::Admin, "views").body.contains("nobody is signed in here by name")
        );
        let answer = site.post(config(), Visitor::Admin, "views/save", "name=a&page=timeline&question=");
        assert_eq!(answer.status, 403);
    }
    assert_eq!(site.text("SELECT count(*)::text FROM threadline.saved_views"), "0");
}

#[test]
fn a_name_is_saved_once_a_hundred_are_the_most_and_all_of_one_leave_together() {
    let site = Site::new();
    let conn = &mut site.db.connect();
    let (owner, other) = (Actor::user(1), Actor::user(2));
    let first = views::save(conn, &owner, "b", "timeline", "op=insert").unwrap();
    let again = views::save(conn, &owner, " b ", "actions", "status=error").unwrap();
    assert_eq!((again.id, again.page.as_str()), (first.id, "actions"));
    for n in 1..views::MOST {
        views::save(conn, &owner, &format!("n{n}"), "timeline", "").unwrap();
    }
    let error = views::save(conn, &owner, "one more", "timeline", "").unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid view: name: is one more than the 100 views somebody can have; forget one first"
    );
    // What is there already can be saved again, and another's do not count.
    views::save(conn, &owner, "b", "timeline", "").unwrap();
    views::save(conn, &other, "b", "timeline", "").unwrap();
    assert_eq!(views::list(conn, &owner).unwrap()[0].name, "b");
    assert_eq!(views::forget_all(conn, &owner).unwrap(), 100);
    assert_eq!(views::list(conn, &other).unwrap().len(), 1);
    let error = views::save(conn, &Actor::anonymous(), "b", "timeline", "").unwrap_err().to_string();
    assert_eq!(error, "invalid view: owner: is anonymous or has no id, and a view belongs to somebody");
}

#[test]
fn a_view_of_a_later_version_is_listed_without_a_link() {
    let site = Site::new();
    views::save(&mut site.db.connect(), &Actor::user(1), "<b>later</b>", "constellation", "a=1").unwrap();
    let list = site.get(Visitor::Admin, "views");
    assert!(list.body.contains("A page this version does not have"), "{}", list.body);
    assert!(!list.body.contains("<b>later") && !list.body.contains("constellation"), "{}", list.body);
    assert_eq!(site.get(Visitor::Admin, "").status, 200);
}
