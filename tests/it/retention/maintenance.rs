//! Partitions: ahead of time, without gaps, and made good after years.

use std::time::Duration;

use diesel::PgConnection;
use threadline::partitions::{self, MaintainOptions, PartitionState};
use threadline::{AsOf, Error};
use threadline_tests::{as_of, audited_database, clock, run, text, texts};

use super::{count, operator, policy, retain, split_time};

const NOTES: &str =
    "CREATE TABLE notes (id integer PRIMARY KEY, v integer); SELECT threadline.attach('notes')";

const UNEQUAL: &str = "SELECT count(DISTINCT bounds) FROM (SELECT i.inhparent, string_agg(pg_get_expr(c.relpartbound, c.oid), ',' ORDER BY pg_get_expr(c.relpartbound, c.oid)) AS bounds
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent WHERE p.relnamespace = 'threadline'::regnamespace AND p.relkind = 'p' GROUP BY 1) b";

/// Every id has a partition: they follow on each other from the first to the last.
fn assert_whole(conn: &mut PgConnection) {
    assert_eq!(text(conn, UNEQUAL), "1");
    assert_eq!(
        texts(conn, "SELECT p.label FROM (SELECT p.label, p.first_id, lag(p.end_id) OVER (ORDER BY p.first_id NULLS FIRST) AS after, row_number() OVER (ORDER BY p.first_id NULLS FIRST) AS n FROM threadline.partitions() p) p
            WHERE p.first_id IS DISTINCT FROM p.after OR (p.n > 1 AND p.first_id IS NULL)"),
        Vec::<String>::new()
    );
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.partitions() p WHERE p.end_id IS NULL"), "1");
}

#[test]
fn what_was_dropped_leaves_no_gap_for_a_clock_that_is_set_back() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    split_time(conn, 4, Duration::from_millis(30));
    run(conn, "INSERT INTO notes VALUES (1, 1)");
    std::thread::sleep(Duration::from_millis(150));
    for _ in 0..2 {
        let done = retain(conn, &policy(Duration::ZERO));
        assert_eq!(done.error, None);
        assert_whole(conn);
    }
    // What such a clock wrote is kept and goes as all else does.
    run(
        conn,
        "INSERT INTO threadline.audit_transactions (id, occurred_at, xid, db_role) VALUES (threadline.first_id_at('1999-01-01'), '1999-01-01', '1', 'x');
        INSERT INTO threadline.audit_changes (captured_at, transaction_id, ordinal, table_id, op, row_key) SELECT '1999-01-01', threadline.first_id_at('1999-01-01'), 1, threadline.table_id('notes'::regclass), 'U', '9'",
    );
    partitions::maintain(conn, &MaintainOptions::default()).unwrap();
    assert_eq!(count(conn, "audit_changes"), 1);
    assert_eq!(retain(conn, &policy(Duration::ZERO)).changes, 1);
    assert_whole(conn);
}

#[test]
fn ten_years_of_neglect_are_made_good() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 1)");
    let before = clock(conn);
    run(conn, "UPDATE notes SET v = 2");
    let later = |conn: &mut PgConnection, years: i32| {
        let definition = text(conn, "SELECT pg_get_functiondef('threadline.maintain'::regproc)");
        run(conn, &definition.replace("now()", &format!("(now() + interval '{years} years')")));
    };
    let pristine = text(conn, "SELECT pg_get_functiondef('threadline.maintain'::regproc)");
    // Nobody wrote anything.
    later(conn, 10);
    let began = std::time::Instant::now();
    let made = partitions::maintain(conn, &MaintainOptions::default()).unwrap();
    assert!(made <= 6, "{made} partitions");
    println!("ten years without rows: {:?}", began.elapsed());
    assert_whole(conn);
    assert!(matches!(as_of(conn, "notes", "id=1", before), AsOf::Present(_)));
    // Somebody did, each month.
    run(conn, &pristine);
    later(conn, 20);
    for months in 121..240 {
        run(
            conn,
            &format!(
                "INSERT INTO threadline.audit_transactions (id, occurred_at, xid, db_role) SELECT threadline.first_id_at(now() + interval '{months} months'), now() + interval '{months} months', '9', 'x';
                INSERT INTO threadline.audit_changes (captured_at, transaction_id, ordinal, table_id, op, row_key) SELECT now() + interval '{months} months', threadline.first_id_at(now() + interval '{months} months'), 1, threadline.table_id('notes'::regclass), 'T', ''"
            ),
        );
    }
    let rows = count(conn, "audit_changes");
    partitions::maintain(conn, &MaintainOptions::default()).unwrap();
    assert_whole(conn);
    assert_eq!(
        (rows, text(conn, "SELECT count(*) FROM ONLY threadline.audit_changes_tail")),
        (count(conn, "audit_changes"), "0".to_owned())
    );
    assert!(partitions::list(conn).unwrap().runway > Duration::from_secs(86_400 * 365 * 19));
}

#[test]
fn maintenance_tries_again_while_others_use_the_trail_and_then_says_so() {
    let db = audited_database();
    let (conn, reader) = (&mut db.connect(), &mut db.connect());
    run(conn, NOTES);
    let definition = text(conn, "SELECT pg_get_functiondef('threadline.maintain'::regproc)");
    run(conn, &definition.replace("now()", "(now() + interval '2 months')"));
    run(reader, "BEGIN; INSERT INTO notes VALUES (1, 1)");
    let options = MaintainOptions::default().attempts(2).backoff(Duration::from_millis(10));
    assert!(matches!(partitions::maintain(conn, &options), Err(Error::Query(_))));
    let made = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            run(reader, "COMMIT");
        });
        partitions::maintain(conn, &MaintainOptions::default()).unwrap()
    });
    assert_eq!(made, 2);
    assert_whole(conn);
}

#[test]
fn the_list_says_where_each_partition_ends_and_how_long_the_runway_is() {
    let db = audited_database();
    let conn = &mut db.connect();
    let list = partitions::list(conn).unwrap();
    assert!(list.runway >= Duration::from_secs(86_400 * 59), "{:?}", list.runway);
    let (first, last) = (list.partitions.first().unwrap(), list.partitions.last().unwrap());
    assert_eq!((first.from, last.to, last.name.as_str()), (None, None, "tail"));
    assert!(list.partitions.windows(2).all(|pair| pair[0].to.is_some() && pair[0].to == pair[1].from));
    assert!(
        list.partitions
            .iter()
            .all(|partition| partition.bytes > 0 && partition.state == PartitionState::Attached)
    );
    run(
        conn,
        &format!(
            "SELECT threadline.retention_leave(NULL, '_{}', jsonb_build_object('keep', now() + interval '1 year', 'tables', '{{}}'::jsonb, 'actions', '{{}}'::jsonb, 'newest', now() + interval '1 year'))",
            first.name
        ),
    );
    assert_eq!(partitions::list(conn).unwrap().partitions[0].state, PartitionState::Leaving);
    // It was not due by any policy: the next run leaves it where it is.
    assert_eq!(
        threadline::retention::run(conn, &policy(Duration::from_secs(1)), &operator(), None, &mut |_| {
            std::ops::ControlFlow::Continue(())
        })
        .unwrap()
        .months,
        0
    );
    assert_eq!(partitions::list(conn).unwrap().partitions[0].state, PartitionState::Attached);
    assert_whole(conn);
}
