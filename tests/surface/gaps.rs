//! Gaps: what escaped capture is found and shown, and so is what is known of each table.

use threadline::{Actor, TableName, continuity};
use threadline_tests::run;

use super::site::{Site, Visitor};

#[test]
fn a_write_that_escaped_is_shown_with_its_row_until_somebody_says_what_it_was() {
    let site = Site::new();
    let page = site.get(Visitor::Admin, "gaps").body;
    assert!(
        page.contains("No write escaped capture among the 100 rows changed last in the past 24 hours.")
            && page.contains("None was found"),
        "{page}"
    );
    run(
        &mut site.db.connect(),
        "ALTER TABLE notes DISABLE TRIGGER USER; UPDATE notes SET title = 'unseen' WHERE id = 7; ALTER TABLE notes ENABLE TRIGGER USER",
    );
    let page = site.get(Visitor::Admin, "gaps").body;
    assert!(page.contains("A write to a row escaped capture"), "{page}");
    assert!(page.contains("./rows?table=public.notes&#38;key=7"), "{page}");
    let fix = page.split("acknowledge_gap(").nth(1).expect("what is to be said of it");
    assert!(fix.contains("./") || fix.contains("admin"));
    assert!(!page.contains("unseen<"), "no value of the row");

    let change =
        site.text("SELECT transaction_id || '#' || ordinal FROM threadline.audit_changes WHERE scope = '7'");
    let (transaction, ordinal) = change.split_once('#').unwrap();
    let change = threadline::ChangeId {
        transaction_id: transaction.parse().unwrap(),
        ordinal: ordinal.parse().unwrap(),
    };
    let conn = &mut site.db.connect();
    continuity::acknowledge_gap(conn, change, &Actor::admin(5), "a fix by hand <b>").unwrap();
    let page = site.get(Visitor::Admin, "gaps").body;
    assert!(page.contains("None was found"), "{page}");
    assert!(page.contains("a fix by hand &#60;b&#62;") && page.contains("admin:5"), "{page}");
}

#[test]
fn a_deeper_look_finds_what_escaped_before_the_usual_one_begins() {
    let site = Site::new();
    run(
        &mut site.db.connect(),
        "ALTER TABLE notes DISABLE TRIGGER USER; UPDATE notes SET title = 'unseen' WHERE id = 7; ALTER TABLE notes ENABLE TRIGGER USER; \
         INSERT INTO notes SELECT number, 9, 'n', 'b', '{}' FROM generate_series(100, 299) number",
    );
    let page = site.get(Visitor::Admin, "gaps").body;
    assert!(page.contains("among the 100 rows changed last in the past 24 hours"), "{page}");
    assert!(page.contains("href=\"./gaps?deeper=yes\""), "{page}");
    let deeper = site.get(Visitor::Admin, "gaps?deeper=yes").body;
    assert!(deeper.contains("A write to a row escaped capture") && deeper.contains("key=7"), "{deeper}");
    let again = site.get(Visitor::Admin, "gaps").body;
    assert!(again.contains("No write escaped capture among"), "a deeper look is not what the header tells");
}

#[test]
fn a_table_is_shown_with_since_when_it_is_known_and_what_has_no_answer() {
    let site = Site::new();
    let conn = &mut site.db.connect();
    run(
        conn,
        "CREATE TABLE gone (id bigint PRIMARY KEY); SELECT threadline.attach('gone'); INSERT INTO gone VALUES (1); DROP TABLE gone",
    );
    run(
        conn,
        "CREATE TABLE paused (id bigint PRIMARY KEY); SELECT threadline.attach('paused'); INSERT INTO paused VALUES (1)",
    );
    run(conn, "SELECT threadline.detach('paused')");
    run(conn, "SELECT threadline.attach('paused')");
    continuity::record_baseline(conn, &TableName::new(None, "notes"), &Actor::admin(5), "before the move")
        .unwrap();
    let page = site.get(Visitor::Admin, "gaps").body;
    let table = |name: &str| {
        let of = page.split("known-table ").find(|part| part.contains(&format!(">{name}</a>")));
        of.unwrap_or_else(|| panic!("{name}: {page}")).to_owned()
    };
    assert!(table("notes").contains("Snapshot of 2 rows") && table("notes").contains("before the move"));
    assert!(table("notes").starts_with("good"));
    assert!(table("paused").contains("nothing was captured."), "{}", table("paused"));
    assert!(!table("gone").starts_with("good"), "{}", table("gone"));
    assert!(table("gone").contains("there is no such table"), "{}", table("gone"));
    let wrong = site.get(Visitor::Admin, "gaps?table=notes");
    assert_eq!(wrong.status, 400);
}

#[test]
fn an_overview_says_of_each_table_what_its_own_report_says() {
    let site = Site::new();
    let conn = &mut site.db.connect();
    for name in ["b", "a", "c"] {
        run(
            conn,
            &format!(
                "CREATE TABLE {name} (id bigint PRIMARY KEY); SELECT threadline.attach('{name}'); INSERT INTO {name} VALUES (1)"
            ),
        );
    }
    run(conn, "SELECT threadline.detach('b'); ALTER TABLE c DISABLE TRIGGER USER; TRUNCATE a");
    let all = continuity::overview(conn, 0, 100).unwrap();
    let names: Vec<&str> = all.iter().map(|known| known.table.name()).collect();
    assert_eq!(names, ["a", "b", "c", "notes"]);
    for known in &all {
        assert_eq!(*known, continuity::report(conn, &known.table).unwrap());
    }
    assert!(!all[1].problems.is_empty() && !all[2].problems.is_empty() && all[3].problems.is_empty());
    assert_eq!(continuity::overview(conn, 1, 2).unwrap(), all[1..3]);
}
