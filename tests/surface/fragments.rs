//! What the parts look like that people read most, as HTML: a change of it is to be looked at.

use insta::{Settings, assert_snapshot};
use threadline_tests::run;

use super::site::{Answer, Site, Visitor};

/// The first part of a page that begins with this, to its end.
fn part<'a>(page: &'a Answer, begin: &str, end: &str) -> &'a str {
    let (_, rest) = page.body.split_once(begin).unwrap_or_else(|| panic!("no {begin} in {}", page.body));
    let (part, _) = rest.split_once(end).unwrap_or_else(|| panic!("no {end} after {begin}"));
    part
}

#[test]
fn a_transaction_its_differences_and_a_plan_that_undoes_it_read_like_this() {
    let site = Site::new();
    run(
        &mut site.db.connect(),
        "CREATE TABLE tides (id integer PRIMARY KEY, title text, body text, meta jsonb, phone text, height numeric); \
         SELECT threadline.attach('tides', mask => '{phone}'); \
         INSERT INTO tides VALUES (1, 'Spring', 'The tide comes twice a day.', '{\"moon\": {\"phase\": \"new\"}, \"tags\": [1, 2]}', '0123', 1.50), \
            (2, 'Neap', NULL, '[]', NULL, 0)",
    );
    let id = site.write_as_part_of(
        "user:7",
        "ticket-1",
        "UPDATE tides SET title = '<b>High</b>', body = 'The tide comes four times a day.', \
            meta = '{\"moon\": {\"phase\": \"full\"}, \"tags\": [1, 3]}', phone = '4567', height = NULL WHERE id = 1; \
         DELETE FROM tides WHERE id = 2; INSERT INTO tides VALUES (3, '', 'e\u{202e}vil', NULL, NULL, 9007199254740993)",
    );
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID");
    settings.add_filter(r"\d{4}-\d\d-\d\d", "DATE");
    settings.add_filter(r"\d\d(:|%3A)\d\d(:|%3A)\d\d(\.\d+)?", "TIME");
    settings.add_filter(r"(\d+ (second|minute)s? ago|just now)", "AGO");
    settings.bind(|| {
        let timeline = site.get(Visitor::Admin, "timeline?table=tides&actor=user:7");
        assert_snapshot!("timeline", part(&timeline, "<ol class=\"thread", "</ol>"));
        let transaction = site.get(Visitor::Admin, &format!("transactions/{id}"));
        assert_snapshot!("transaction", part(&transaction, "<ol class=\"thread", "</ol>"));
        let undo = site.get(Visitor::Admin, &format!("undo?transaction={id}"));
        assert_snapshot!("undo", part(&undo, "<main", "</main>"));
        let row = site.get(Visitor::Admin, "rows?table=tides&key=1");
        assert_snapshot!("row", part(&row, "<main", "</main>"));
    });
}
