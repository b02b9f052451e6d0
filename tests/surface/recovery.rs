//! From what happened to a row to the plan that takes it back, and what the plan says.

use super::site::{Site, Visitor};

/// The addresses in a page that have this in them, from the mount on.
fn links(body: &str, part: &str) -> Vec<String> {
    let links = body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let links = links.map(|href| href.replace("&#38;", "&").trim_start_matches("./").to_owned());
    links.filter(|href| href.contains(part)).collect()
}

fn change(site: &Site, op: char) -> String {
    site.text(&format!(
        "SELECT transaction_id || '#' || ordinal FROM threadline.audit_changes WHERE op = '{op}' ORDER BY captured_at DESC LIMIT 1"
    ))
}

#[test]
fn a_deleted_row_is_shown_as_it_was_with_the_way_back() {
    let site = Site::new();
    site.write("user:7", "UPDATE notes SET body = 'the last words' WHERE id = 7");
    let deleted = site.write("user:7", "DELETE FROM notes WHERE id = 7");
    let (gone, version) = ("rows?table=notes&key=7", change(&site, 'D').replace('#', "%23"));
    for path in [gone.to_owned(), format!("{gone}&version={version}"), format!("{gone}&at=2099-01-01")] {
        let body = site.get(Visitor::Admin, &path).body;
        let snapshot = body.split("id=\"snapshot\"").nth(1).unwrap();
        assert!(snapshot.contains("This is what it was just before"), "{path}: {snapshot}");
        assert!(snapshot.contains("the last words"), "{path}");
        assert_eq!(links(&body, "undo?transaction="), [format!("undo?transaction={deleted}")], "{path}");
        let back = links(&body, "undo?table=");
        assert_eq!(back.len(), 1, "{path}: {back:?}");
        let plan = site.get(Visitor::Admin, &back[0]).body;
        assert!(plan.contains("What bringing this row back would take"), "{plan}");
        assert!(plan.contains("comes back") && plan.contains("the last words"), "{plan}");
    }
}

#[test]
fn where_there_was_no_row_nothing_leads_to_taking_it_away() {
    let site = Site::new();
    site.write("user:7", "UPDATE notes SET body = 'b' WHERE id = 7");
    for at in ["2001-01-01", "1999-12-31T23:59"] {
        let answer = site.get(Visitor::Admin, &format!("rows?table=notes&key=7&at={at}"));
        assert_eq!(answer.status, 200);
        assert_eq!(links(&answer.body, "undo?"), Vec::<String>::new(), "{at}");
    }
    // At the newest version there is nothing to go back to; at an older one there is.
    let newest = site.get(Visitor::Admin, "rows?table=notes&key=7").body;
    assert_eq!(links(&newest, "undo?table="), Vec::<String>::new());
    let update = links(&newest, "undo?change=");
    assert!(site.get(Visitor::Admin, &update[0]).body.contains("What undoing this change would take"));
    let first = site.text(
        "SELECT transaction_id || '%23' || ordinal FROM threadline.audit_changes WHERE op = 'I' AND row_key = '7'",
    );
    let older = site.get(Visitor::Admin, &format!("rows?table=notes&key=7&version={first}")).body;
    let back = links(&older, "undo?table=");
    let plan = site.get(Visitor::Admin, &back[0]).body;
    assert!(plan.contains("is set back") && plan.contains("marker-7"), "{plan}");
}

#[test]
fn of_work_that_was_taken_back_already_the_plan_says_that_nothing_is_left() {
    let site = Site::new();
    // Capture ignores a column, which moves on by itself.
    threadline_tests::run(
        &mut site.db.connect(),
        "CREATE TABLE posts (id bigint PRIMARY KEY, title text, updated_at timestamptz); \
         SELECT threadline.attach('posts', ignore => ARRAY['updated_at']); \
         INSERT INTO posts SELECT n, 'post ' || n, '2026-01-01' FROM generate_series(1, 6) n",
    );
    let again = "INSERT INTO posts SELECT n, 'post ' || n, now() FROM generate_series(1, 6) n";
    // Once under the correlation it was done under, and once by anybody, as a script is run.
    site.write_as_part_of("user:7", "ticket-1", "DELETE FROM posts");
    site.write_as_part_of("user:7", "ticket-1", again);
    site.write_as_part_of("user:7", "ticket-2", "DELETE FROM posts");
    let body = site.get(Visitor::Admin, "undo?correlation=ticket-2").body;
    assert!(body.contains("It can be undone whole") && body.contains("class=\"fix\""), "{body}");
    site.write("user:8", again);
    for ticket in ["ticket-1", "ticket-2"] {
        let body = site.get(Visitor::Admin, &format!("undo?correlation={ticket}")).body;
        assert!(
            body.contains("class=\"verdict good\">Nothing is left to undo: the rows are as they were."),
            "{body}"
        );
        assert!(body.contains("<code>updated_at</code> of 6 rows of <code>posts</code>"), "{body}");
        for not_said in ["0 rows", "BEGIN", "What cannot be undone", "another row has its key", "psql"] {
            assert!(!body.contains(not_said), "{ticket}: {not_said}");
        }
    }
}

#[test]
fn a_plan_names_what_it_undoes_and_shows_what_each_row_becomes() {
    let site = Site::new();
    threadline_tests::run(
        &mut site.db.connect(),
        "SELECT threadline.attach('notes', scope => 'tenant', mask => ARRAY['body'])",
    );
    let sql = "UPDATE notes SET title = 'another title', body = 'hidden words' WHERE id = 7";
    let id = site.write_as_part_of("user:7", "it's one", sql);
    let body = site.get(Visitor::Admin, &format!("undo?transaction={id}")).body;
    assert_eq!(links(&body, &format!("transactions/{id}")).len(), 2, "{body}");
    assert!(body.contains("actors?actor=user%3A7"), "who did it");
    assert_eq!(links(&body, &format!("key=id%3D7&version={id}%231")).len(), 1, "{body}");
    let title = body.split(">title</dt>").nth(1).expect("the title").split("</div>").next().unwrap();
    assert!(title.contains("another") && title.contains("tenant"), "{title}");
    assert!(!body.contains("hidden words") && !body.contains("marker-7"), "{body}");
    assert!(
        body.contains(&format!("<code>threadline undo --transaction {id} --conflicts skip</code>")),
        "{body}"
    );
    let body = site.get(Visitor::Admin, "undo?correlation=it%27s%20one").body;
    let command = r"threadline undo --correlation &#39;it&#39;\&#39;&#39;s one&#39;";
    assert!(body.contains(command) && body.contains("correlations?id=it%27s+one"), "{body}");
}
