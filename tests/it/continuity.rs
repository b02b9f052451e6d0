//! Continuity: since when a table is known, and what is not.

use threadline::{Actor, ChangeId, Error, continuity};
use threadline_tests::{audited_database, clock, run, table, text};

#[test]
fn the_report_says_since_when_a_table_is_known_and_what_is_not() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id integer PRIMARY KEY, body text, secret text); INSERT INTO posts VALUES (1, 'planted', 's')",
    );
    assert!(matches!(continuity::report(conn, &table("posts")), Err(Error::NotAudited { .. })));
    let before = clock(conn);
    run(conn, "SELECT threadline.attach('posts', exclude => ARRAY['secret'])");
    run(conn, "INSERT INTO posts VALUES (2, 'planted')");
    let report = continuity::report(conn, &table("posts")).unwrap();
    let since = report.known_since().unwrap();
    assert!(before < since && since < clock(conn));
    assert!(report.first_change.unwrap() > since);
    assert_eq!((report.interruptions().len(), report.truncates, report.is_redacted), (0, 0, true));
    assert!(report.problems.is_empty(), "{report}");
    continuity::assert_ready(conn, &table("posts")).unwrap();

    run(conn, "TRUNCATE posts; SELECT threadline.detach('posts')");
    let ended = continuity::report(conn, &table("posts")).unwrap();
    assert_eq!((ended.known_since(), ended.truncates), (None, 1));
    assert!(ended.to_string().contains("Its capture ended at"), "{ended}");
    run(conn, "INSERT INTO posts VALUES (3, 'unseen'); SELECT threadline.attach('posts')");
    let again = continuity::report(conn, &table("posts")).unwrap();
    assert_eq!(again.interruptions().len(), 1);
    assert!(again.known_since().unwrap() > since);
    let text = again.to_string();
    assert!(
        text.contains("nothing was captured")
            && text.contains("truncated without its rows being kept, last at")
            && !text.contains("planted"),
        "{text}"
    );

    // What retention has removed is not known any more, though it was captured.
    let conn = &mut db.connect();
    let oldest = threadline_tests::text(
        conn,
        "SELECT inhrelid::regclass FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'threadline.audit_changes'::regclass
        AND pg_get_expr(c.relpartbound, c.oid) LIKE '%MINVALUE%'",
    );
    run(conn, &format!("DROP TABLE {oldest}"));
    let cut = continuity::report(conn, &table("posts")).unwrap();
    assert_eq!(cut.known_since(), cut.kept_since);
    assert!(cut.kept_since.unwrap() > clock(conn));
    run(conn, "DROP TABLE posts");
    let gone = continuity::report(conn, &table("posts")).unwrap();
    assert_eq!(gone.problems[0].what, "it is attached, and there is no such table");
    assert!(gone.problems[0].fix.starts_with("SELECT threadline.detach_gone("), "{gone}");
    assert_eq!(continuity::report(conn, &table("posts")).unwrap().table, table("public.posts"));
}

#[test]
fn a_table_is_ready_only_when_every_write_to_it_is_captured() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id integer PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE posts_1 PARTITION OF posts FOR VALUES FROM (0) TO (9);
        CREATE TABLE other (id integer PRIMARY KEY)",
    );
    let problems = |conn: &mut diesel::PgConnection| match continuity::assert_ready(conn, &table("posts")) {
        Ok(()) => Vec::new(),
        Err(Error::NotReady { table, problems }) => {
            assert_eq!(table, "public.posts");
            problems
        }
        Err(error) => panic!("{error}"),
    };
    assert!(matches!(continuity::assert_ready(conn, &table("nothing")), Err(Error::NoSuchTable { .. })));
    assert_eq!(problems(conn), ["it is not attached"]);
    run(conn, "SELECT threadline.attach('posts')");
    assert_eq!(problems(conn), [""; 0]);
    run(
        conn,
        "CREATE TABLE posts_2 PARTITION OF posts FOR VALUES FROM (9) TO (20); ALTER TABLE posts_1 DISABLE TRIGGER ALL",
    );
    assert_eq!(problems(conn).len(), 3);
    run(conn, "SELECT threadline.refresh('posts')");
    assert_eq!(problems(conn), [""; 0]);
    run(conn, "ALTER FUNCTION threadline.capture_1() SECURITY INVOKER");
    assert_eq!(problems(conn), ["capture function `threadline.capture_1()` was altered by hand"]);
    let error = continuity::assert_ready(conn, &table("posts")).unwrap_err().to_string();
    assert!(error.contains("table `public.posts` is not ready: capture function"), "{error}");
    assert_eq!(text(conn, "SELECT threadline.refresh('posts')"), "true");
    assert_eq!(problems(conn), [""; 0]);
}

#[test]
fn what_is_not_captured_comes_first_each_with_what_mends_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id integer PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE posts_1 PARTITION OF posts FOR VALUES FROM (0) TO (9)",
    );
    let missing = continuity::missing(conn, &table("posts")).unwrap();
    assert_eq!(missing.len(), 1);
    run(conn, &missing[0].fix);
    let ready = continuity::report(conn, &table("posts")).unwrap();
    assert!(
        ready.to_string().starts_with(
            "public.posts\n  Ready: every write to it is captured from now on.\n  Writes since "
        ),
        "{ready}"
    );
    run(
        conn,
        "ALTER TABLE posts DISABLE TRIGGER ALL; CREATE TABLE posts_2 PARTITION OF posts FOR VALUES FROM (9) TO (20); DROP TRIGGER \"!threadline_truncate\" ON posts_1",
    );
    let report = continuity::report(conn, &table("posts")).unwrap();
    assert_eq!(report.problems, continuity::missing(conn, &table("posts")).unwrap());
    assert!(
        report.problems.len() >= 3 && report.problems.iter().all(|missing| !missing.fix.is_empty()),
        "{report:#?}"
    );
    let text = report.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().rposition(|line| line.starts_with("  NOT CAPTURED: ")).unwrap();
    let said = lines.iter().position(|line| line.starts_with("  It is known since ")).unwrap();
    assert!(lines[1].starts_with("  NOT CAPTURED: ") && last < said, "{text}");
    for missing in &report.problems {
        assert!(text.contains(&missing.what), "{text}");
        run(conn, &missing.fix);
    }
    continuity::assert_ready(conn, &table("posts")).unwrap();
}

#[test]
fn only_a_gap_that_is_there_can_be_acknowledged() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE posts (id integer PRIMARY KEY, body text); SELECT threadline.attach('posts')");
    for statement in [
        "INSERT INTO posts VALUES (1, 'a')",
        "UPDATE posts SET body = 'b' WHERE id = 1",
        "BEGIN; SET LOCAL session_replication_role = replica; UPDATE posts SET body = 'unseen' WHERE id = 1; COMMIT",
        "UPDATE posts SET body = 'c' WHERE id = 1",
    ] {
        run(conn, statement);
    }
    let changes: Vec<ChangeId> = threadline_tests::texts(
        conn,
        "SELECT transaction_id || ' ' || ordinal FROM threadline.audit_changes ORDER BY captured_at, ordinal",
    )
    .iter()
    .map(|change| change.split_once(' ').unwrap())
    .map(|(transaction, ordinal)| ChangeId {
        transaction_id: transaction.parse().unwrap(),
        ordinal: ordinal.parse().unwrap(),
    })
    .collect();
    let acknowledge = |conn: &mut diesel::PgConnection, place: usize| {
        continuity::acknowledge_gap(conn, changes[place], &Actor::admin(7), "a repair")
    };
    for place in [0, 2] {
        let refused = acknowledge(conn, place).unwrap_err();
        assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
        assert!(refused.to_string().starts_with("no write escaped after change `"), "{refused}");
    }
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.known_gaps"), "0");
    acknowledge(conn, 1).unwrap();
    // After the last change, to the row as it is now; and it can be said better.
    run(conn, "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM posts WHERE id = 1; COMMIT");
    acknowledge(conn, 2).unwrap();
    acknowledge(conn, 1).unwrap();
    assert!(acknowledge(conn, 0).is_err());
    // Also of a table that is not audited any more.
    run(conn, "SELECT threadline.detach('posts')");
    assert!(acknowledge(conn, 0).is_err());
    let nowhere = ChangeId { ordinal: 99, ..changes[0] };
    let refused = continuity::acknowledge_gap(conn, nowhere, &Actor::admin(7), "x").unwrap_err();
    assert!(refused.to_string().contains("has no change 99"), "{refused}");
    assert_eq!(continuity::report(conn, &table("posts")).unwrap().gaps.len(), 2);
}
