//! Whatever is stored, and whatever is asked, a page is a page.

use proptest::prelude::*;

use super::site::{Site, Visitor};

#[test]
fn stored_markup_and_characters_that_turn_the_writing_are_shown_and_not_obeyed() {
    let site = Site::new();
    site.write(
        "user:1",
        "UPDATE notes SET title = '<script>alert(1)</script><img src=x onerror=alert(1)>', \
         body = E'a\\u202Eb\\u0007c', data = '{\"<b>\": \"</dd><script>\"}' WHERE id = 7",
    );
    let transaction = site.text("SELECT transaction_id::text FROM threadline.audit_changes WHERE op = 'U'");
    for path in
        ["timeline".to_owned(), "rows?table=notes&key=7".to_owned(), format!("transactions/{transaction}")]
    {
        let body = site.get(Visitor::Admin, &path).body;
        assert!(!body.contains("<script>") && !body.contains("<img") && !body.contains("<b>"), "{path}");
        assert!(!body.contains('\u{202e}') && !body.contains('\u{7}'), "{path}");
        assert!(body.contains("U+202E") && body.contains("\u{2039}U+0007\u{203a}"), "{path}");
    }
}

#[test]
fn a_value_of_megabytes_deep_json_and_200_columns_leave_the_page_small() {
    let site = Site::new();
    let columns: String = (0..200).map(|n| format!(", c{n} text DEFAULT repeat('x', 100)")).collect();
    threadline_tests::run(
        &mut site.db.connect(),
        &format!("CREATE TABLE wide (id bigint PRIMARY KEY{columns}); SELECT threadline.attach('wide')"),
    );
    site.write(
        "user:1",
        "INSERT INTO wide DEFAULT VALUES".replace("DEFAULT VALUES", "(id) VALUES (1)").as_str(),
    );
    site.write("user:1", "UPDATE notes SET body = repeat('long text ', 500000) WHERE id = 7");
    site.write(
        "user:1",
        "UPDATE notes SET data = (repeat('[', 120) || repeat(']', 120))::jsonb, body = 'short' WHERE id = 7",
    );
    for path in ["timeline", "rows?table=notes&key=7", "rows?table=wide&key=1"] {
        let answer = site.get(Visitor::Admin, path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.len() < 400_000, "{path}: {}", answer.body.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn no_query_makes_a_page_fail_or_panic(
        screen in prop::sample::select(vec!["", "timeline", "rows", "transactions/x", "actors", "exports", "exports/file", "access-log", "gaps", "nothing"]),
        pairs in prop::collection::vec(
            (
                prop::sample::select(vec!["table", "key", "from", "to", "at", "version", "after", "window", "op", "actor", "find", "job", "before", "format", "status", "skip", "x"]),
                prop_oneof![
                    "\\PC{0,20}",
                    prop::sample::select(vec![
                        "notes", "7", "id=7", "user:7", "2026-11-21", "all", "update", "v1.d.c.0.0.0", "'; DROP TABLE notes", "\u{0}",
                    ]).prop_map(String::from),
                ],
            ),
            0..4,
        ),
    ) {
        thread_local!(static SITE: Site = Site::new());
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let status = SITE.with(|site| site.get(Visitor::Admin, &format!("{screen}?{query}")).status);
        prop_assert!(status < 500, "{screen}?{query}: {status}");
    }
}
