//! What lists say of each change: what names the row first, instants on the reader's clock, and not all of a bulk.

use actix_web::test::TestRequest;

use super::site::{Site, Visitor};

fn posts(site: &Site) {
    threadline_tests::run(
        &mut site.db.connect(),
        "CREATE TABLE posts (id bigint PRIMARY KEY, author_id bigint, body text, meta jsonb, title text, display_name text, \
         updated_at timestamptz); SELECT threadline.attach('posts', mask => ARRAY['display_name'])",
    );
}

/// The columns that the first change of a timeline names.
fn named(body: &str) -> Vec<&str> {
    let change = body.split("class=\"change\"").nth(1).unwrap();
    let names = change.split("<span class=\"name mono\">").skip(1);
    names.map(|rest| rest.split('<').next().unwrap()).collect()
}

#[test]
fn of_a_whole_row_what_names_it_to_people_comes_first_and_what_is_masked_never() {
    let site = Site::new();
    posts(&site);
    site.write("user:7", "INSERT INTO posts VALUES (1, 1, 'They say.', '{}', 'Tides', 'Ann', now())");
    let body = site.get(Visitor::Admin, "timeline?table=posts").body;
    assert_eq!(named(&body), ["title", "body", "author_id"]);
    site.write("user:7", "DELETE FROM posts");
    let body = site.get(Visitor::Admin, "timeline?table=posts&op=delete").body;
    assert_eq!(named(&body), ["title", "body", "author_id"]);
    assert!(body.contains("Tides"), "{body}");
}

#[test]
fn of_a_bulk_a_few_changes_are_shown_and_the_rest_is_folded_but_there() {
    let site = Site::new();
    site.write("user:7", "INSERT INTO notes SELECT n, 7, 'note ' || n FROM generate_series(101, 140) n");
    site.write("user:7", "INSERT INTO notes SELECT n, 7, 'note ' || n FROM generate_series(201, 208) n");
    let body = site.get(Visitor::Admin, "timeline").body;
    assert_eq!(body.matches("class=\"change\"").count(), 50);
    let parts: Vec<&str> = body.split("class=\"transaction\"").collect();
    assert!(!parts[1].contains("<details"), "8 are shown at once");
    let (at_once, folded) = parts[2].split_once("<details").unwrap();
    let changes = |part: &str| part.matches("class=\"change\"").count();
    assert_eq!((changes(at_once), changes(folded)), (5, 35));
    assert!(folded.contains("<summary>35 more of this transaction on this page</summary>"), "{folded}");
}

#[test]
fn a_stored_instant_is_on_the_readers_clock_and_told_from_another_of_the_same_second() {
    let site = Site::new();
    posts(&site);
    site.write(
        "user:7",
        "INSERT INTO posts (id, title, updated_at) VALUES (1, 'a', '2026-11-11 20:05:00.25+00')",
    );
    site.write(
        "user:7",
        "UPDATE posts SET updated_at = '2026-11-11 20:05:00.75+00', title = '2026-11-11T20:05:00'",
    );
    let see = |path: &str| {
        let request = TestRequest::get()
            .uri(&format!("/audit/{path}"))
            .insert_header(("cookie", "threadline_zone=Europe~Berlin"));
        site.ask(site.config(), Visitor::Admin, request).body
    };
    let transaction = site.text(
        "SELECT transaction_id FROM threadline.audit_changes WHERE op = 'U' ORDER BY captured_at DESC LIMIT 1",
    );
    for path in
        ["timeline".to_owned(), "rows?table=posts&key=1".to_owned(), format!("transactions/{transaction}")]
    {
        let body = see(&path);
        let plain: String = body.replace("<span class=\"only\">", "").replace("</span>", "");
        for clock in ["2026-11-11 21:05:00.250 +01:00", "2026-11-11 21:05:00.750 +01:00"] {
            assert!(plain.contains(clock), "{path}: {clock}: {body}");
        }
        // As it is stored, for who points at it; and nowhere else.
        assert!(body.contains("title=\"2026-11-11T20:05:00.75+00:00\""), "{path}: {body}");
        assert!(!body.contains(">2026-11-11T20:05:00."), "{path}: {body}");
        // A text that is no full instant is left as it is.
        assert!(body.contains("2026-11-11T20:05:00<"), "{path}: {body}");
    }
    // Where the seconds differ, they are enough for a line.
    site.write("user:7", "UPDATE posts SET updated_at = '2026-11-11 20:06:01.5+00'");
    assert!(see("timeline").contains("<bdi>2026-11-11 21:06:01 +01:00</bdi>"));
    assert!(site.get(Visitor::Admin, "timeline").body.contains("<bdi>2026-11-11 20:06:01 UTC</bdi>"));
}

#[test]
fn versions_of_one_second_are_told_apart() {
    let site = Site::new();
    for n in 1..=4 {
        site.write("user:7", &format!("UPDATE notes SET title = 'v{n}' WHERE id = 7"));
    }
    let body = site.get(Visitor::Admin, "rows?table=notes&key=7").body;
    let times = body.split("<span class=\"time\">").skip(1).map(|rest| rest.split('<').next().unwrap());
    let times: Vec<&str> = times.collect();
    let apart: std::collections::BTreeSet<&str> = times.iter().copied().collect();
    assert_eq!((times.len(), apart.len()), (5, 5), "{times:?}");
}
