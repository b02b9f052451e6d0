//! Findings about recent changes.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use threadline::health::{FindingCode as Code, HealthOptions};
use threadline::{Actor, continuity};
use threadline_tests::{audited_database, run, table, text};

use super::{codes, found, mend};

const POSTS: &str =
    "CREATE TABLE posts (id integer, org text, body text, secret text, views integer, PRIMARY KEY (id, org));
    SELECT threadline.attach('posts', exclude => ARRAY['secret'], ignore => ARRAY['views'], scope => 'org')";
const AS_ANN: &str = r#"BEGIN; SELECT threadline.set_context('{"actor": {"type": "user", "id": "ann"}}');"#;

fn by_ann(conn: &mut PgConnection, sql: &str) {
    run(conn, &format!("{AS_ANN} {sql}; COMMIT"));
}

#[test]
fn changes_nobody_answers_for_are_counted_and_mended_by_no_statement_that_fails_writes() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    by_ann(conn, "INSERT INTO posts VALUES (1, 'a')");
    assert_eq!(codes(&found(conn, &HealthOptions::default())), [""; 0]);
    run(conn, "INSERT INTO posts VALUES (2, 'a'), (3, 'a')");
    run(
        conn,
        "SET threadline.actor_ref = 'not json'; INSERT INTO posts VALUES (4, 'a'); RESET threadline.actor_ref",
    );
    let findings = found(conn, &HealthOptions::default());
    assert_eq!(codes(&findings), ["actorless_changes public.posts"]);
    assert_eq!(findings[0].details, serde_json::json!({ "changes": 3, "transactions": 2, "refused": 1 }));
    assert_eq!(codes(&found(conn, &HealthOptions::default().check_actors(false))), [""; 0]);
    // Past the window, and past the newest rows, nothing is counted.
    assert_eq!(codes(&found(conn, &HealthOptions::default().recent(Duration::ZERO))), [""; 0]);
    by_ann(conn, "INSERT INTO posts VALUES (5, 'a')");
    assert_eq!(codes(&found(conn, &HealthOptions::default().recent_rows(1))), [""; 0]);
    // What is printed has no statement: it takes whoever writes to say who acts, and only then is it required.
    let fix = &findings[0].fix;
    assert!(fix.lines().all(|line| line.starts_with("--")), "{fix}");
    assert!(fix.find("AuditContext") < fix.find("actor_policy = \"require\""), "{fix}");
    // A table that requires one is past that.
    run(
        conn,
        "SELECT threadline.attach('posts', exclude => ARRAY['secret'], ignore => ARRAY['views'], scope => 'org', actor_policy => 'require')",
    );
    assert_eq!(codes(&found(conn, &HealthOptions::default())), [""; 0]);
    assert!(conn.batch_execute("INSERT INTO posts VALUES (7, 'a')").is_err());
}

#[test]
fn changes_without_a_transaction_are_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    by_ann(conn, "INSERT INTO posts VALUES (1, 'a')");
    // Capture knows its own transaction by the digits of its number, which anybody can put there.
    run(
        conn,
        "BEGIN; SELECT set_config('threadline.ordinal', '0', true), set_config('threadline.transaction', left(threadline.first_id_at(now())::text, 14)
            || '7000-8000-' || lpad(pg_current_xact_id()::text, 12, '0'), true); INSERT INTO posts VALUES (2, 'a'); COMMIT",
    );
    let findings = found(conn, &HealthOptions::default());
    assert_eq!(codes(&findings), ["orphan_changes"], "{findings:#?}");
    assert_eq!(codes(&found(conn, &HealthOptions::default().check_orphans(false))), [""; 0]);
    mend(conn, &findings, Code::OrphanChanges);
    assert_eq!(codes(&found(conn, &HealthOptions::default().check_actors(false))), [""; 0]);
    // The row that was added says what it is.
    let added = text(
        conn,
        "SELECT concat_ws(' ', actor_type, db_role, context_error) FROM threadline.audit_transactions WHERE db_role = 'unknown'",
    );
    assert!(added.starts_with("unknown transaction: its row was missing"), "{added}");
}

#[test]
fn a_write_that_escaped_capture_is_found_and_can_be_explained() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    let options = HealthOptions::default().check_actors(false);
    run(conn, "INSERT INTO posts VALUES (1, 'a', 'x'), (2, 'b', 'planted-value'), (3, 'c', 'x')");
    run(conn, "DELETE FROM posts WHERE id = 3");
    assert_eq!(codes(&found(conn, &options)), [""; 0]);
    run(
        conn,
        "BEGIN; SET LOCAL session_replication_role = replica; UPDATE posts SET body = 'planted-value 2' WHERE id = 1; DELETE FROM posts WHERE id = 2; COMMIT",
    );
    let findings = found(conn, &options);
    assert_eq!(codes(&findings), ["gap public.posts"], "{findings:#?}");
    assert_eq!(findings[0].details["changes"].as_array().unwrap().len(), 2);
    assert!(!format!("{findings:?}").contains("planted-value"));
    assert_eq!(codes(&found(conn, &options.clone().check_gaps(false))), [""; 0]);
    assert_eq!(codes(&found(conn, &options.clone().gap_rows(0))), [""; 0]);
    // Each gap says of which row it is, and since when; what is known of it nobody has said yet, so that it cannot be run as it is.
    let gaps = findings[0].details["gaps"].as_array().unwrap();
    let keys: Vec<_> = gaps.iter().map(|gap| gap["key"].as_str().unwrap()).collect();
    assert_eq!(keys, [r#"["2", "b"]"#, r#"["1", "a"]"#]);
    for gap in gaps {
        let at = text(
            conn,
            &format!(
                "SELECT threadline.instant_of('{}') <= '{}'",
                gap["change"]["transaction_id"].as_str().unwrap(),
                gap["after"].as_str().unwrap()
            ),
        );
        assert_eq!(at, "true");
    }
    let fix = &findings[0].fix;
    assert!(fix.starts_with("-- public.posts, key (id, org) "), "{fix}");
    for statement in fix.lines().filter(|line| !line.starts_with("--")) {
        assert!(conn.batch_execute(statement).is_err(), "{statement}");
    }
    assert_eq!(codes(&found(conn, &options)), ["gap public.posts"]);
    run(
        conn,
        &fix.replace("<WHAT IS KNOWN OF THE WRITE, AS 'TEXT'>", "'a repair, ticket 7'").replace('…', "7"),
    );
    assert_eq!(codes(&found(conn, &options)), [""; 0]);

    // The next one is told again, and continuity knows them all.
    run(
        conn,
        "BEGIN; SET LOCAL session_replication_role = replica; UPDATE posts SET org = 'z' WHERE id = 1; COMMIT",
    );
    run(conn, "INSERT INTO posts VALUES (4, 'd', 'x')");
    run(conn, "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM posts WHERE id = 4; COMMIT");
    let findings = found(conn, &options);
    assert_eq!(codes(&findings), ["gap public.posts"]);
    let change = &findings[0].details["changes"][0];
    let change = threadline::ChangeId {
        transaction_id: change["transaction_id"].as_str().unwrap().parse().unwrap(),
        ordinal: change["ordinal"].as_i64().unwrap().try_into().unwrap(),
    };
    continuity::acknowledge_gap(conn, change, &Actor::admin(7), "restored from a backup").unwrap();
    assert_eq!(codes(&found(conn, &options)), [""; 0]);
    let known = continuity::report(conn, &table("posts")).unwrap().gaps;
    assert_eq!(known.len(), 3);
    assert_eq!(
        (known[2].acknowledged_by.as_str(), known[2].reason.as_str()),
        ("admin:7", "restored from a backup")
    );
    assert!(continuity::acknowledge_gap(conn, change, &Actor::admin(7), " ").is_err());
}

#[test]
fn gaps_are_not_looked_for_where_two_statements_see_different_rows() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    let options = HealthOptions::default();
    conn.transaction(|conn| {
        assert_eq!(codes(&found(conn, &options)), ["could_not_check"]);
        diesel::result::QueryResult::Ok(())
    })
    .unwrap();
    conn.build_transaction()
        .repeatable_read()
        .run(|conn| {
            assert_eq!(codes(&found(conn, &options)), [""; 0]);
            // Nothing of it stays: neither its settings nor a savepoint.
            assert_eq!(
                text(conn, "SELECT current_setting('statement_timeout') || current_setting('search_path')"),
                "0\"$user\", public"
            );
            diesel::result::QueryResult::Ok(())
        })
        .unwrap();
}

#[test]
fn a_check_that_takes_too_long_is_reported_as_not_made() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(conn, "INSERT INTO posts SELECT n, 'a' FROM generate_series(1, 30000) n");
    let options = HealthOptions::default()
        .check_gaps(false)
        .recent_rows(1_000_000)
        .statement_timeout(Duration::from_millis(1));
    let findings = found(conn, &options);
    let timed_out: Vec<_> = findings.iter().filter(|finding| finding.code == Code::CouldNotCheck).collect();
    assert!(timed_out.iter().any(|finding| finding.details["check"] == "orphans"), "{findings:#?}");
    assert!(timed_out.iter().all(|finding| finding.message.contains("statement timeout")), "{timed_out:#?}");
    // Asked again with more time, it is made.
    let findings = found(conn, &options.statement_timeout(Duration::from_secs(60)));
    assert_eq!(codes(&findings), ["actorless_changes public.posts"]);
}
