//! Recording a baseline: exact to the changes of a table that is being written, redacted, whole or not at all, and gone in time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use threadline::continuity;
use threadline::evidence::{self, Reference, Subject};
use threadline::holds::{self, Hold};
use threadline::retention::RetentionPolicy;
use threadline::{Actor, Error, RowState, Trail};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, clock, history, refused, run, table, text, texts};

use super::record;

/// Writers of a table, each with transactions of all kinds, until told to stop. Returns the longest that any write took.
fn write_meanwhile(db: &TestDatabase, body: impl FnOnce()) -> Duration {
    let (stop, longest) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|threads| {
        for writer in 0..6_i32 {
            let (stop, longest) = (&stop, &longest);
            threads.spawn(move || {
                let conn = &mut db.connect();
                let mut n = writer;
                while !stop.load(Ordering::Relaxed) {
                    n += 6;
                    let key = n % 97;
                    let began = Instant::now();
                    let write = match n % 5 {
                        0 => format!("INSERT INTO notes VALUES ({key}, {n}) ON CONFLICT (id) DO UPDATE SET v = {n}"),
                        1 => format!("DELETE FROM notes WHERE id = {key}"),
                        2 => format!("BEGIN; UPDATE notes SET v = {n} WHERE id = {key}; UPDATE other SET v = {n} WHERE id = {writer}; SELECT pg_sleep(0.002); UPDATE notes SET v = -v WHERE id = {key}; COMMIT"),
                        3 => format!("BEGIN; UPDATE other SET v = {n} WHERE id = {writer}; SELECT pg_sleep(0.005); UPDATE notes SET v = {n} WHERE id = {key}; COMMIT"),
                        _ => format!("BEGIN; UPDATE notes SET v = {n} WHERE id = {key}; SELECT pg_sleep(0.003); ROLLBACK"),
                    };
                    conn.batch_execute(&write).unwrap();
                    longest.fetch_max(u64::try_from(began.elapsed().as_micros()).unwrap(), Ordering::Relaxed);
                }
            });
        }
        body();
        stop.store(true, Ordering::Relaxed);
    });
    Duration::from_micros(longest.load(Ordering::Relaxed))
}

#[test]
fn no_change_is_lost_or_doubled_between_a_baseline_and_capture_however_much_is_written() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, v integer); CREATE TABLE other (id integer PRIMARY KEY, v integer);
        INSERT INTO other SELECT n, 0 FROM generate_series(0, 5) n; INSERT INTO notes SELECT n, 0 FROM generate_series(0, 50) n;
        SELECT threadline.attach('notes'), threadline.attach('other')",
    );
    let mut baselines = Vec::new();
    write_meanwhile(&db, || {
        for _ in 0..8 {
            thread::sleep(Duration::from_millis(60));
            baselines.push(record(conn, "notes"));
        }
        thread::sleep(Duration::from_millis(60));
    });
    let mut seen = 0;
    for baseline in &baselines {
        // What the changes say of that instant, with no look at the baseline, and what it has.
        let mut folded = BTreeMap::new();
        Trail::unscoped()
            .table_as_of(conn, &table("notes"), baseline.recorded.recorded_at, |row| {
                folded.insert(row.row_key, row.image.get("v").unwrap().as_str().to_owned());
                Ok(())
            })
            .unwrap();
        let rows = texts(
            conn,
            &format!(
                "SELECT row_key || ' ' || (row_data ->> 'v') FROM threadline.audit_baseline_rows WHERE baseline_id = '{}'",
                baseline.recorded.id
            ),
        );
        assert_eq!(baseline.rows, rows.len() as u64);
        let rows: BTreeMap<String, String> = rows
            .iter()
            .map(|row| row.split_once(' ').unwrap())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(rows, folded);
        seen += rows.len();
    }
    assert!(seen > 100);
    for key in 0..97 {
        let history = history(conn, "notes", &format!("id={key}"));
        assert_eq!(history.baselines.len(), 8);
        assert!(history.baselines.iter().all(|baseline| !baseline.gap), "{key}: {:?}", history.baselines);
        assert!(history.versions.iter().all(|version| !version.gap), "{key}");
        let live = texts(conn, &format!("SELECT v FROM notes WHERE id = {key}"));
        let newest = history.versions.first().map(|version| version.after.clone());
        let newest = newest.unwrap_or_else(|| history.baselines[0].state.clone());
        match newest {
            RowState::Present(image) => assert_eq!(live, [image.get("v").unwrap().as_str()]),
            state => assert_eq!((state, live), (RowState::Absent, Vec::new())),
        }
    }
}

#[test]
fn writers_go_on_while_rows_are_copied_and_one_that_stays_open_ends_the_attempt() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, v integer, body text); SELECT threadline.attach('notes');
        CREATE TABLE other (id integer PRIMARY KEY, v integer); INSERT INTO other SELECT n, 0 FROM generate_series(0, 5) n;
        SET session_replication_role = replica; INSERT INTO notes SELECT n, n, repeat('x', 200) FROM generate_series(1, 60000) n; RESET session_replication_role",
    );
    let mut took = Duration::ZERO;
    let longest = write_meanwhile(&db, || {
        let began = Instant::now();
        assert!(record(conn, "notes").rows > 59_000);
        took = began.elapsed();
    });
    eprintln!("baseline of 60,000 rows in {took:?}, longest write meanwhile {longest:?}");
    assert!(longest < took.max(Duration::from_millis(600)), "longest write {longest:?} of {took:?}");

    let (open, writer) = (&mut db.connect(), &mut db.connect());
    run(open, "BEGIN; UPDATE notes SET v = 0 WHERE id = 1");
    thread::scope(|threads| {
        let attempt =
            threads.spawn(|| continuity::record_baseline(conn, &table("notes"), &Actor::admin(7), "x"));
        let mut longest = Duration::ZERO;
        while !attempt.is_finished() {
            let began = Instant::now();
            run(writer, "UPDATE notes SET v = v + 1 WHERE id = 2");
            longest = longest.max(began.elapsed());
            thread::sleep(Duration::from_millis(5));
        }
        assert!(longest < Duration::from_millis(900), "{longest:?}");
        let refused = attempt.join().unwrap().unwrap_err().to_string();
        assert!(refused.contains("did not let its baseline begin"), "{refused}");
    });
    run(open, "ROLLBACK");
    assert_eq!(text(writer, "SELECT count(*) FROM threadline.audit_baselines"), "1");
}

#[test]
fn a_baseline_that_is_cut_short_leaves_nothing() {
    let db = audited_database();
    let (conn, other, blocker) = (&mut db.connect(), &mut db.connect(), &mut db.connect());
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, v integer); SELECT threadline.attach('notes'); INSERT INTO notes VALUES (1, 1)",
    );
    let pid = text(conn, "SELECT pg_backend_pid()");
    // Its rows are copied before it says that it is there.
    run(blocker, "BEGIN; LOCK TABLE threadline.audit_baselines IN EXCLUSIVE MODE");
    thread::scope(|threads| {
        let attempt =
            threads.spawn(|| continuity::record_baseline(conn, &table("notes"), &Actor::admin(7), "x"));
        let waits = format!(
            "SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted AND relation = 'threadline.audit_baselines'::regclass"
        );
        while text(other, &waits) == "0" && !attempt.is_finished() {
            thread::sleep(Duration::from_millis(10));
        }
        run(other, &format!("SELECT pg_terminate_backend({pid})"));
        assert!(matches!(attempt.join().unwrap(), Err(Error::ConnectionLost(..) | Error::Query(..))));
    });
    run(blocker, "ROLLBACK");
    let left = "SELECT (SELECT count(*) FROM threadline.audit_baselines) + (SELECT count(*) FROM threadline.audit_baseline_rows)";
    assert_eq!(text(other, left), "0");
    assert_eq!(text(other, "SELECT count(*) FROM threadline.evidence_records"), "0");
    assert_eq!(record(other, "notes").rows, 1);
}

#[test]
fn a_baseline_has_no_value_that_capture_would_not_have() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, title text, secret text, token text, amount numeric, at timestamptz);
        INSERT INTO notes VALUES (1, 'seen', 'planted-secret', 'planted-token', 1.50, '2026-01-01 00:00+05');
        SELECT threadline.attach('notes', exclude => ARRAY['secret'], mask => ARRAY['token'])",
    );
    run(conn, "SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German, DMY'; SET extra_float_digits = -15");
    let baseline = record(conn, "notes");
    run(conn, "RESET ALL; DELETE FROM notes");
    let stored = text(conn, "SELECT row_data FROM threadline.audit_baseline_rows");
    assert!(stored.contains("seen") && !stored.contains("planted"), "{stored}");
    let captured = text(conn, "SELECT row_data FROM threadline.audit_changes WHERE op = 'D'");
    assert_eq!(stored, captured, "what capture has of the same row");

    // A column that came later, of which no policy says anything yet, is not copied: nor would capture store it.
    run(
        conn,
        "INSERT INTO notes VALUES (2, 'seen', 's', 't', 1); ALTER TABLE notes ADD COLUMN added text DEFAULT 'planted-later'",
    );
    let stale = continuity::record_baseline(conn, &table("notes"), &Actor::admin(7), "x");
    assert!(
        matches!(&stale, Err(error) if error.to_string().contains("has changed since its capture function was compiled")),
        "{stale:?}"
    );
    let by_hand = r#"BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT threadline.record_baseline('notes', clock_timestamp(), '{"type": "admin", "id": "7"}', 'x')"#;
    assert!(refused(conn, by_hand).contains("has changed since its capture function was compiled"));
    run(conn, "ROLLBACK");

    // What is masked later is hidden in a baseline from before.
    run(
        conn,
        "SELECT threadline.attach('notes', exclude => ARRAY['secret'], mask => ARRAY['token', 'title', 'added'])",
    );
    let seen = history(conn, "notes", "id=1");
    assert_eq!(seen.baselines[0].baseline, baseline.recorded);
    let said = format!("{seen:?}");
    assert!(!said.contains("seen\\") && !said.contains("planted"), "{said}");
}

#[test]
fn a_baseline_knows_partitions_renamed_columns_and_composite_keys() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (org text, id integer, v integer, PRIMARY KEY (org, id)) PARTITION BY RANGE (id);
        CREATE TABLE notes_1 PARTITION OF notes FOR VALUES FROM (0) TO (10); CREATE TABLE notes_2 PARTITION OF notes FOR VALUES FROM (10) TO (20);
        INSERT INTO notes VALUES ('a', 1, 1), ('b', 11, 2); SELECT threadline.attach('notes')",
    );
    let at = record(conn, "notes").recorded.recorded_at;
    run(conn, "TRUNCATE notes; ALTER TABLE notes RENAME COLUMN v TO w; SELECT threadline.refresh('notes')");
    for (key, value) in [("org=a;id=1", "1"), ("org=b;id=11", "2")] {
        let past = threadline_tests::as_of(conn, "notes", key, at).present().unwrap();
        assert_eq!(past.get("w").unwrap().as_str(), value, "{key}: {past:?}");
    }
}

fn retain(conn: &mut PgConnection, keep: Duration) {
    let policy =
        RetentionPolicy::new().keep(keep).minimum(Duration::ZERO).pause(Duration::ZERO).batch_rows(2);
    threadline::retention::run(conn, &policy, &Actor::admin(1), None, &mut |_| {
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
}

#[test]
fn a_baseline_goes_when_its_window_has_passed_unless_it_is_held() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, v integer); SELECT threadline.attach('notes'); INSERT INTO notes SELECT n, n FROM generate_series(1, 9) n",
    );
    let old = record(conn, "notes");
    let held_until = clock(conn);
    thread::sleep(Duration::from_millis(300));
    let kept = |conn: &mut PgConnection| {
        texts(
            conn,
            "SELECT b.row_count || ' ' || count(r.*) FROM threadline.audit_baselines b LEFT JOIN threadline.audit_baseline_rows r ON r.baseline_id = b.id GROUP BY b.id, b.row_count ORDER BY b.id",
        )
    };
    retain(conn, Duration::from_secs(60));
    assert_eq!(kept(conn), ["9 9"]);
    let hold =
        holds::place(conn, &Hold::new("case 12").table(table("notes")).to(held_until), &Actor::admin(1))
            .unwrap();
    retain(conn, Duration::from_millis(200));
    assert_eq!(kept(conn), ["9 9"], "it is held");
    holds::release(conn, hold.hold.id, &Actor::admin(1), "settled").unwrap();
    record(conn, "notes");
    retain(conn, Duration::from_millis(200));
    assert_eq!(kept(conn), ["9 9"], "the new one");
    assert_ne!(text(conn, "SELECT id FROM threadline.audit_baselines"), old.recorded.id.to_string());
    assert_eq!(continuity::report(conn, &table("notes")).unwrap().baselines.len(), 1);

    // What was recorded stays on record.
    let of_old =
        evidence::latest_of(conn, Subject::RecordedBaseline, &Reference::new("baseline", old.recorded.id))
            .unwrap()
            .unwrap();
    assert_eq!(of_old.detail.to_value().unwrap()["rows"], 9);
    assert_eq!(
        of_old.detail.to_value().unwrap()["tables"],
        serde_json::json!(["public.notes"]),
        "with the schema, as other records have it"
    );
    assert!(!format!("{of_old:?}").contains("after the restore"), "a reason is people's own words");
}
