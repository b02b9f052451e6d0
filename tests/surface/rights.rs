//! The rights the guide gives the role of the pages: they are enough for all of them.

use diesel::PgConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use threadline::AuditedPool;
use threadline_tests::{TestRole, run};

use super::site::{Site, Visitor};

const GUIDE: &str = include_str!("../../guides/production.md");

#[test]
fn the_rights_of_the_guide_are_enough_for_every_page() {
    let mut site = Site::new();
    site.record_a_bit_of_everything();
    let role = TestRole::new(&site.db, "pages");
    let grants = GUIDE.lines().filter(|line| line.starts_with("GRANT ") && line.ends_with(" TO blog_pages;"));
    let grants: Vec<&str> = grants.collect();
    assert_eq!(grants.len(), 4, "{grants:?}");
    for grant in grants {
        run(
            &mut site.db.connect(),
            &grant.replace("posts, users", "notes").replace("blog_pages", role.name()),
        );
    }
    let manager = ConnectionManager::<PgConnection>::new(site.db.url_as(role.name()));
    site.pool = AuditedPool::new(Pool::builder().max_size(4).build(manager).unwrap());
    let id = site.text("SELECT transaction_id::text FROM threadline.audit_changes WHERE scope = '7' LIMIT 1");
    for path in [
        "",
        "timeline",
        "actions",
        &format!("transactions/{id}"),
        "rows?table=notes&key=7",
        "actors",
        "actors?actor=user:7",
        "correlations?id=import-7",
        &format!("undo?transaction={id}"),
        "views",
        "coverage",
        "redaction",
        "retention",
        "gaps?deeper=yes",
        "evidence",
        "exports",
        "access-log?looked_at=notes",
    ] {
        let answer = site.get(Visitor::Admin, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    let form = "page=timeline&question=table%3Dnotes&name=notes";
    let saved = site.post(site.config(), Visitor::Admin, "views/save", form);
    assert_eq!(saved.status, 303, "{}", saved.body);
    let looks = site.text(
        "SELECT count(DISTINCT name) FROM threadline.audit_actions WHERE category = 'threadline.access'",
    );
    assert_eq!(looks, "17");
}
