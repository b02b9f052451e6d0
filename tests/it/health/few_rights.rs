//! Health as a role with few rights sees it, and through PgBouncer: what cannot be seen is said.

use threadline::health::{CoverageStatus, FindingCode as Code, HealthOptions, coverage};
use threadline_tests::{TestRole, audited_database, pooled_behind, run};

use super::{codes, found, mend};

#[test]
fn a_role_with_few_rights_is_told_what_it_could_not_see_and_how_to_see_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    let watcher = TestRole::new(&db, "watcher");
    run(
        conn,
        "CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts'); INSERT INTO posts VALUES (1);
        CREATE TABLE undecided (id integer PRIMARY KEY)",
    );
    let host = &mut watcher.connect();
    let seen = coverage(host, &Default::default()).unwrap();
    let statuses: Vec<CoverageStatus> = seen.iter().map(|table| table.status).collect();
    assert_eq!(statuses, [CoverageStatus::Ignored, CoverageStatus::Covered, CoverageStatus::Uncovered]);

    let options = HealthOptions::default();
    let mut findings = found(host, &options);
    let unseen = |findings: &[threadline::health::Finding]| -> Vec<String> {
        let unseen = findings.iter().filter(|finding| finding.code == Code::CouldNotCheck);
        unseen.map(|finding| finding.details["check"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(unseen(&findings), ["actors", "cluster", "gaps", "orphans", "policies", "transactions"]);
    assert!(codes(&findings).contains(&"uncovered_table public.undecided".to_owned()));
    // The fixes come one after the other, as more is seen.
    for _ in 0..3 {
        mend(conn, &findings, Code::CouldNotCheck);
        findings = found(host, &options);
    }
    assert_eq!(unseen(&findings), [""; 0], "{findings:#?}");
    assert_eq!(codes(&findings), ["actorless_changes public.posts", "uncovered_table public.undecided"]);
}

#[test]
fn rows_that_security_hides_are_not_taken_for_gone() {
    let db = audited_database();
    let conn = &mut db.connect();
    let watcher = TestRole::new(&db, "watcher");
    run(
        conn,
        "CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts'); INSERT INTO posts VALUES (1);
        ALTER TABLE posts ENABLE ROW LEVEL SECURITY",
    );
    run(
        conn,
        &format!(
            "GRANT SELECT ON posts TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA threadline TO {0}",
            watcher.name()
        ),
    );
    let findings = found(&mut watcher.connect(), &HealthOptions::default());
    let gaps: Vec<_> = findings.iter().filter(|finding| finding.details["check"] == "gaps").collect();
    assert_eq!(gaps.len(), 1, "{findings:#?}");
    assert!(gaps[0].message.contains("row-level security"), "{gaps:#?}");
    assert!(!findings.iter().any(|finding| finding.code == Code::Gap));
}

#[test]
fn health_is_the_same_through_a_pooler() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id integer PRIMARY KEY); SELECT threadline.attach('posts'); INSERT INTO posts VALUES (1);
        BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM posts; COMMIT; CREATE TABLE undecided (id integer PRIMARY KEY)",
    );
    let (_pooler, pool) = pooled_behind(&db, 1, 2);
    let (pooled, next) = (&mut *pool.get().unwrap(), &mut *pool.get().unwrap());
    let direct = found(conn, &HealthOptions::default());
    assert_eq!(
        codes(&direct),
        ["gap public.posts", "actorless_changes public.posts", "uncovered_table public.undecided"]
    );
    for _ in 0..3 {
        assert_eq!(found(pooled, &HealthOptions::default()), direct);
        assert_eq!(threadline_tests::text(next, "SELECT current_setting('statement_timeout')"), "0");
    }
}
