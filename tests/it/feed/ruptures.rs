//! A trail that was purged, restored, upgraded or set back.

use super::*;

#[test]
fn purge_behind_the_cursor_is_said_and_the_feed_goes_on_with_what_is_left() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    for n in 1..=3 {
        run(conn, &format!("INSERT INTO notes VALUES ({n}, 'a')"));
    }
    let behind = read(conn, &FeedCursor::beginning(), 1).cursor;
    assert!(!read(conn, &behind, 10).purged);
    // The month up to now is dropped, and what is left of it has a partition of its own.
    let now = clock(conn);
    for (table, partition, bound) in texts(
        conn,
        "SELECT p.relname || ' ' || c.relname || ' ' || (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''([0-9a-f-]+)'))[1]
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
        WHERE p.relnamespace = 'threadline'::regnamespace AND p.relkind = 'p' AND pg_get_expr(c.relpartbound, c.oid) LIKE '%(MINVALUE)%'",
    )
    .iter()
    .map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[0].to_owned(), words[1].to_owned(), words[2].to_owned())
    }) {
        run(
            conn,
            &format!("DROP TABLE threadline.{partition}; CREATE TABLE threadline.{partition} PARTITION OF threadline.{table} FOR VALUES FROM (threadline.first_id_at('{now}')) TO ('{bound}')"),
        );
    }
    let batch = read(conn, &behind, 10);
    assert_eq!((shown(&batch), batch.purged, batch.caught_up), (vec![], true, true));
    for n in 4..=5 {
        run(conn, &format!("INSERT INTO notes VALUES ({n}, 'a')"));
    }
    let batch = read(conn, &behind, 1);
    assert_eq!((shown(&batch), batch.purged), (vec!["4".to_owned()], true));
    let batch = read(conn, &batch.cursor, 1);
    assert_eq!((shown(&batch), batch.purged), (vec!["5".to_owned()], false));
    assert_eq!(drained(conn, &mut FeedCursor::beginning(), 10), ["4", "5"]);
}

#[test]
fn after_a_restore_into_another_cluster_the_feed_goes_on_where_it_was() {
    let old = audited_cluster();
    let conn = &mut old.connect("app").unwrap();
    run(conn, NOTES);
    burn(conn, 3_000);
    for n in 1..=4 {
        run(conn, &format!("INSERT INTO notes VALUES ({n}, 'old')"));
    }
    let mut cursor = read(conn, &FeedCursor::beginning(), 2).cursor;

    let new = restored(&old);
    let fresh = &mut new.connect("app").unwrap();
    assert!(
        text(fresh, "SELECT (SELECT max(xid::text::bigint) FROM threadline.audit_transactions) - pg_current_xact_id()::text::bigint")
            .parse::<i64>()
            .unwrap()
            > 1_000,
        "restored numbers lie in the future"
    );
    for cursor in [&cursor, &FeedCursor::beginning()] {
        let error = Trail::unscoped().read_feed(fresh, cursor, 10).unwrap_err();
        assert!(matches!(error, Error::TrailMoved { .. }), "{error:?}");
        assert!(error.to_string().contains("SELECT threadline.adopt_restored_trail()"), "{error}");
    }
    assert!(matches!(FeedCursor::now(fresh), Err(Error::TrailMoved { .. })));
    assert!(
        refused(fresh, "SELECT threadline.adopt_upgraded_cluster()").contains("Call adopt_restored_trail")
    );

    run(fresh, "SELECT threadline.adopt_restored_trail(); SELECT threadline.adopt_restored_trail()");
    let mut now = FeedCursor::now(fresh).unwrap();
    let mut beginning = FeedCursor::beginning();
    assert_eq!(drained(fresh, &mut beginning, 1), ["1", "2", "3", "4"]);
    run(fresh, "INSERT INTO notes VALUES (5, 'new')");
    assert_eq!(drained(fresh, &mut cursor, 1), ["3", "4", "5"]);
    assert_eq!(drained(fresh, &mut beginning, 10), ["5"]);
    // The restored numbers come round, and are nobody's news.
    burn(fresh, 4_000);
    run(fresh, "INSERT INTO notes VALUES (6, 'new')");
    for cursor in [&mut cursor, &mut beginning] {
        assert_eq!(drained(fresh, cursor, 10), ["6"]);
    }
    assert_eq!(drained(fresh, &mut now, 10), ["5", "6"]);
    assert_eq!(drained(fresh, &mut FeedCursor::beginning(), 3), ["1", "2", "3", "4", "5", "6"]);
    let last_hour = chrono::Utc::now() - chrono::TimeDelta::hours(1);
    assert_eq!(drained(fresh, &mut FeedCursor::since(last_hour), 10), ["1", "2", "3", "4", "5", "6"]);

    // The other way: a cursor of the new cluster says nothing in the old one.
    let error = Trail::unscoped().read_feed(conn, &cursor, 10).unwrap_err();
    assert!(matches!(error, Error::FeedElsewhere { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("`{cursor}`")), "{error}");
}

#[test]
fn restored_trail_that_was_written_to_is_adopted_with_an_instant() {
    let old = audited_cluster();
    let conn = &mut old.connect("app").unwrap();
    run(conn, NOTES);
    burn(conn, 3_000);
    run(conn, "INSERT INTO notes VALUES (1, 'old')");
    run(conn, "INSERT INTO notes VALUES (2, 'old')");
    let new = restored(&old);
    let fresh = &mut new.connect("app").unwrap();
    let between = clock(fresh);
    run(fresh, "INSERT INTO notes VALUES (3, 'new')");
    let said = refused(fresh, "SELECT threadline.adopt_restored_trail()");
    assert!(
        said.contains("captured in this cluster") && said.contains("an instant between the dump and"),
        "{said}"
    );
    run(fresh, &format!("SELECT threadline.adopt_restored_trail('{between}')"));
    assert_eq!(drained(fresh, &mut FeedCursor::beginning(), 10), ["1", "2", "3"]);
}

#[test]
fn upgraded_cluster_keeps_its_numbers_under_another_identifier() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    run(conn, "INSERT INTO notes VALUES (2, 'a')");
    let mut cursor = read(conn, &FeedCursor::beginning(), 1).cursor;
    // What the trail and the cursor would say if pg_upgrade had just run.
    let here = text(conn, "SELECT system_identifier FROM pg_control_system()");
    run(conn, "UPDATE threadline.trail_clusters SET cluster = 1");
    let before: FeedCursor = recode(&cursor.to_string().replace(&here, "1"));
    assert!(matches!(Trail::unscoped().read_feed(conn, &before, 10), Err(Error::TrailMoved { .. })));
    assert!(refused(conn, "SELECT threadline.adopt_restored_trail()").contains("adopt_upgraded_cluster"));
    run(conn, "SELECT threadline.adopt_upgraded_cluster()");
    run(conn, "INSERT INTO notes VALUES (3, 'a')");
    assert_eq!(drained(conn, &mut before.clone(), 10), ["2", "3"]);
    assert_eq!(drained(conn, &mut cursor, 10), ["2", "3"]);
    assert_eq!(drained(conn, &mut FeedCursor::beginning(), 10), ["1", "2", "3"]);
}

/// A cursor whose fields were changed, with the checksum it needs for that.
fn recode(text: &str) -> FeedCursor {
    let (fields, _) = text.rsplit_once('.').unwrap();
    let sum =
        fields.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{fields}.{sum:08x}").parse().unwrap()
}

#[test]
fn database_that_was_set_back_is_noticed_before_numbers_given_out_again_are_skipped() {
    let cluster = audited_cluster();
    let conn = &mut cluster.connect("app").unwrap();
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    let kept = read(conn, &FeedCursor::beginning(), 10).cursor;
    // The dump is the point it is set back to; the cluster is the same one, as after a restore to a point in time.
    cluster.create_database("earlier").unwrap();
    pipe(
        cluster.command("pg_dump", "app").arg("-Fc"),
        cluster.command("pg_restore", "earlier").args(["--exit-on-error", "-d", "earlier"]),
    );
    run(conn, "INSERT INTO notes VALUES (2, 'lost')");
    let ahead = read(conn, &kept, 10).cursor;
    let earlier = &mut cluster.connect("earlier").unwrap();
    run(earlier, "INSERT INTO notes VALUES (2, 'other')");
    let error = Trail::unscoped().read_feed(earlier, &ahead, 10).unwrap_err();
    assert!(matches!(error, Error::FeedRewound { .. }), "{error:?}");
    assert!(
        error.to_string().contains("set back") && error.to_string().contains(&ahead.to_string()),
        "{error}"
    );
    // A cursor from before that point goes on.
    assert_eq!(drained(earlier, &mut kept.clone(), 10), ["2"]);
    // Numbers that have not been reached, as of a cursor taken with nothing delivered.
    let fields = FeedCursor::now(conn).unwrap().to_string();
    let mut fields: Vec<&str> = fields.split('.').collect();
    fields[4] = "999999999";
    assert!(matches!(
        Trail::unscoped().read_feed(conn, &recode(&fields.join(".")), 10),
        Err(Error::FeedRewound { .. })
    ));
}
