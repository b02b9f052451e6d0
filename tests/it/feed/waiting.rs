//! What holds a reader back, wakes it, and what it costs.

use super::*;

#[test]
fn prepared_transaction_holds_the_feed_back_and_is_named() {
    let cluster = Cluster::start_with(&[("max_prepared_transactions", "2")]).unwrap();
    let conn = &mut cluster.connect("postgres").unwrap();
    for migration in threadline::CORE_MIGRATIONS {
        run(conn, migration.up);
    }
    run(conn, NOTES);
    run(conn, "BEGIN; INSERT INTO notes VALUES (1, 'a'); PREPARE TRANSACTION 'half'");
    run(conn, "INSERT INTO notes VALUES (2, 'a')");
    let mut cursor = FeedCursor::beginning();
    assert_eq!(drained(conn, &mut cursor, 10), [""; 0]);
    let hold = feed_hold(conn).unwrap().unwrap();
    assert_eq!((hold.prepared.as_deref(), hold.pid), (Some("half"), None));
    assert!(hold.since.is_some());
    run(conn, "COMMIT PREPARED 'half'");
    assert_eq!(drained(conn, &mut cursor, 10), ["1", "2"]);
}

#[test]
fn commits_notify_only_when_asked_to() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    let listener = &mut db.connect();
    listen_for_feed(listener).unwrap();
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    assert!(!wait_for_feed(listener, Duration::from_millis(60)).unwrap());

    run(conn, "SELECT threadline.enable_feed_notify(); SELECT threadline.enable_feed_notify()");
    run(conn, "BEGIN; INSERT INTO notes VALUES (2, 'a')");
    assert!(!wait_for_feed(listener, Duration::from_millis(60)).unwrap(), "not before the commit");
    run(conn, "COMMIT");
    let began = Instant::now();
    assert!(wait_for_feed(listener, Duration::from_secs(20)).unwrap());
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!wait_for_feed(listener, Duration::ZERO).unwrap(), "a transaction notifies once");
    run(conn, "BEGIN; INSERT INTO notes VALUES (3, 'a'); ROLLBACK");
    assert!(!wait_for_feed(listener, Duration::from_millis(60)).unwrap());
    AuditContext::new(Actor::user(7)).record_action(conn, &Action::new("login.refused")).unwrap();
    assert!(wait_for_feed(listener, Duration::from_secs(20)).unwrap());

    run(conn, "SELECT threadline.disable_feed_notify(); SELECT threadline.disable_feed_notify()");
    run(conn, "INSERT INTO notes VALUES (4, 'a')");
    assert!(!wait_for_feed(listener, Duration::from_millis(60)).unwrap());
    // A role of the application's own can write while it is on, and cannot switch it.
    run(conn, "SELECT threadline.enable_feed_notify()");
    let app = TestRole::new(&db, "app");
    run(conn, &format!("GRANT INSERT ON notes TO {}", app.name()));
    let app = &mut app.connect();
    run(app, "INSERT INTO public.notes VALUES (5, 'a')");
    assert!(wait_for_feed(listener, Duration::from_secs(20)).unwrap());
    for function in ["disable_feed_notify", "adopt_restored_trail", "adopt_upgraded_cluster"] {
        assert!(refused(app, &format!("SELECT threadline.{function}()")).contains("permission denied"));
    }
}

#[test]
fn reading_takes_select_and_nothing_else() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    AuditContext::new(Actor::user(7)).record_action(conn, &Action::new("login.refused")).unwrap();
    run(conn, "CREATE ROLE siem");
    let reader = &mut app(&db);
    run(reader, "SET SESSION AUTHORIZATION siem");
    assert!(Trail::unscoped().read_feed(reader, &FeedCursor::beginning(), 10).is_err(), "not without SELECT");
    run(conn, "GRANT SELECT ON ALL TABLES IN SCHEMA threadline TO siem");
    run(reader, "SET default_transaction_read_only = on");
    let mut cursor = FeedCursor::beginning();
    assert_eq!(drained(reader, &mut cursor, 10), ["1", "alone: login.refused"]);
    assert_eq!(drained(reader, &mut cursor, 10), [""; 0]);
    let mut now = FeedCursor::now(reader).unwrap();
    assert_eq!(drained(reader, &mut now, 10), [""; 0]);
    // It sees what holds the feed back, and not since when.
    let slow = &mut app(&db);
    run(slow, "BEGIN; INSERT INTO notes VALUES (2, 'a')");
    assert_eq!(feed_hold(reader).unwrap(), None, "nothing waits for it");
    run(conn, "INSERT INTO notes VALUES (3, 'a')");
    let hold = feed_hold(reader).unwrap().unwrap();
    assert_eq!(hold.pid, Some(text(slow, "SELECT pg_backend_pid()").parse().unwrap()));
    assert_eq!((hold.since, hold.prepared), (None, None));
}

#[test]
fn reading_walks_indexes_and_scans_nothing() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    run(
        conn,
        "DO $$ BEGIN FOR n IN 1..2000 LOOP INSERT INTO notes VALUES (n, 'a'), (-n, 'b');
            PERFORM threadline.record_action('{\"actor\": {\"type\": \"system\", \"id\": \"s\"}}', '{\"name\": \"x\"}'); COMMIT; END LOOP; END $$",
    );
    run(conn, "INSERT INTO notes SELECT n, 'c' FROM generate_series(10001, 22000) n");
    run(conn, "ANALYZE threadline.audit_transactions, threadline.audit_changes, threadline.audit_actions");
    let scans = "SELECT concat_ws(' ', sum(seq_scan), sum(idx_scan) > 0) FROM pg_stat_xact_all_tables
        WHERE schemaname = 'threadline' AND relname ~ '^audit_(transactions|changes|actions)'
            AND pg_relation_size(relid) > 0";
    let fetched = "SELECT sum(idx_tup_fetch) FROM pg_stat_xact_all_tables WHERE schemaname = 'threadline' AND relname ~ '^audit_changes'";
    let mut cursor = FeedCursor::beginning();
    let mut entries = 0;
    loop {
        run(conn, "BEGIN");
        let before: i64 = text(conn, fetched).parse().unwrap();
        let batch = read(conn, &cursor, 500);
        assert_eq!(text(conn, scans), "0 t", "{cursor}");
        let read = text(conn, fetched).parse::<i64>().unwrap() - before;
        assert!(read <= 1_100, "{read} changes were fetched for a batch of 500");
        run(conn, "COMMIT");
        entries += batch.entries.len();
        cursor = batch.cursor;
        if batch.caught_up {
            break;
        }
    }
    assert_eq!(entries, 2_000 + 24);
    // In two minutes, so that all of it lies more than one minute before.
    for cursor in [cursor, FeedCursor::since(chrono::Utc::now() + chrono::TimeDelta::minutes(2))] {
        run(conn, "BEGIN");
        let batch = read(conn, &cursor, 500);
        assert!(batch.caught_up);
        assert_eq!(text(conn, scans), "0 t", "{cursor}");
        run(conn, "COMMIT");
    }
}
