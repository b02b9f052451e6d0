//! Recorded baselines: what they make known, whom they tell it, and that nothing takes them for a change.

mod property;
mod recording;

use diesel::PgConnection;
use threadline::continuity::{self, Baseline};
use threadline::{
    Actor, AsOf, Error, ExportFormat, ExportOptions, FeedCursor, Filter, HistoryLimit, RowState, Scope,
    Trail, UndoTarget,
};
use threadline_tests::{as_of, audited_database, clock, history, refused, row_key, run, table, text};

/// Writes that nothing captures.
fn unseen(conn: &mut PgConnection, sql: &str) {
    run(conn, &format!("SET session_replication_role = replica; {sql}; RESET session_replication_role"));
}

fn record(conn: &mut PgConnection, name: &str) -> Baseline {
    continuity::record_baseline(conn, &table(name), &Actor::admin(7), "after the restore")
        .unwrap_or_else(|error| panic!("{error:?}"))
}

/// A row's one value column, `-` when it was not there, or the kind of refusal.
fn told(conn: &mut PgConnection, key: i32, at: chrono::DateTime<chrono::Utc>) -> String {
    match as_of(conn, "notes", &format!("id={key}"), at) {
        AsOf::Present(image) => image.get("v").map_or("?".to_owned(), ToString::to_string),
        AsOf::Deleted { .. } => "deleted".to_owned(),
        AsOf::NotCreated => "-".to_owned(),
        AsOf::Gap { older, newer, .. } => format!("gap {} {}", older.is_some(), newer.is_some()),
        AsOf::CrossedTruncate { .. } => "truncated".to_owned(),
        AsOf::BeforeHorizon { .. } => "before".to_owned(),
        other => format!("{other:?}"),
    }
}

const NOTES: &str = "CREATE TABLE notes (id integer PRIMARY KEY, v integer, w integer); INSERT INTO notes VALUES (1, 10), (2, 20), (3, 30);
    SELECT threadline.attach('notes');";

#[test]
fn from_a_baseline_on_rows_are_known_again_and_before_it_they_are_not() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(conn, "UPDATE notes SET v = v + 1");
    let whole = clock(conn);
    unseen(
        conn,
        "UPDATE notes SET v = 100 WHERE id = 1; DELETE FROM notes WHERE id = 2; INSERT INTO notes VALUES (4, 40)",
    );
    let broken = clock(conn);
    assert_eq!(told(conn, 1, broken), "gap true false");
    let baseline = record(conn, "notes");
    assert_eq!((baseline.rows, baseline.recorded.recorded_by.as_str()), (3, "admin:7"));
    let at = baseline.recorded.recorded_at;
    assert!(broken < at && at < clock(conn));
    run(conn, "UPDATE notes SET v = v + 1");
    let later = clock(conn);

    assert_eq!([1, 2, 3, 4].map(|id| told(conn, id, at)), ["100", "-", "31", "40"]);
    assert_eq!([1, 2, 3, 4].map(|id| told(conn, id, later)), ["101", "-", "32", "41"]);
    for instant in [whole, broken] {
        assert_eq!(
            told(conn, 1, instant),
            "gap true false",
            "to where the baseline has it something escaped"
        );
        assert_eq!(told(conn, 2, instant), "gap true false");
        assert_eq!(told(conn, 3, instant), "31");
    }
    let seen = history(conn, "notes", "id=1");
    assert_eq!(seen.versions.iter().map(|version| version.gap).collect::<Vec<_>>(), [false, true]);
    assert_eq!((seen.baselines.len(), seen.baselines[0].place, seen.baselines[0].gap), (1, 1, false));
    assert_eq!(seen.baselines[0].baseline, baseline.recorded);
    assert_eq!(seen.baselines[0].state, seen.versions[0].before);
    assert_eq!(history(conn, "notes", "id=2").baselines[0].state, RowState::Absent);
    let newest =
        Trail::unscoped().row_history(conn, &table("notes"), &row_key("id=1"), HistoryLimit::Newest(1));
    assert!(newest.unwrap().baselines.is_empty(), "it comes after what was asked for");
}

#[test]
fn what_is_lost_after_a_baseline_is_told_forwards_from_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    let before = clock(conn);
    let at = record(conn, "notes").recorded.recorded_at;
    run(
        conn,
        "UPDATE notes SET v = v + 1 WHERE id <= 2; DELETE FROM notes WHERE id = 2; INSERT INTO notes VALUES (5, 50, 5)",
    );
    let changed = clock(conn);
    run(conn, "UPDATE notes SET id = 6 WHERE id = 5");
    let moved = clock(conn);
    run(conn, "UPDATE notes SET v = v + 1 WHERE id IN (1, 6)");
    let last = clock(conn);
    run(conn, "TRUNCATE notes");
    let gone = clock(conn);
    run(conn, "INSERT INTO notes VALUES (1, 7)");

    for instant in [before, at] {
        assert_eq!([1, 2, 3, 5, 6].map(|id| told(conn, id, instant)), ["10", "20", "30", "-", "-"]);
    }
    assert_eq!([1, 5, 6].map(|id| told(conn, id, changed)), ["11", "50", "-"]);
    assert_eq!([1, 6].map(|id| told(conn, id, moved)), ["11", "50"]);
    let past = as_of(conn, "notes", "id=6", moved).present().unwrap();
    assert_eq!(past.get("w").unwrap().as_str(), "5", "also what no change since has named");
    // A TRUNCATE does not say what it found, and nobody else whether that was still so.
    assert_eq!([1, 2, 3, 6].map(|id| told(conn, id, last)), ["truncated"; 4]);
    assert_eq!([1, 3, 6].map(|id| told(conn, id, gone)), ["deleted"; 3]);
    // So history, of which the part before a TRUNCATE had been known by what changes name alone.
    let seen = history(conn, "notes", "id=1");
    let whole = |state: &RowState| state.present().map(|image| image.get("v").unwrap().to_string());
    assert_eq!(
        seen.versions
            .iter()
            .map(|version| (whole(&version.before), whole(&version.after)))
            .collect::<Vec<_>>()[2..],
        [(Some("11".to_owned()), Some("12".to_owned())), (Some("10".to_owned()), Some("11".to_owned()))]
    );
    assert_eq!(seen.baselines[0].place, 4);

    // Without it, that is all there is.
    run(conn, "DELETE FROM threadline.audit_baselines");
    assert_eq!([3, 1].map(|id| told(conn, id, changed)), ["truncated", "truncated"]);
}

#[test]
fn after_an_interruption_a_baseline_says_what_was_not_seen() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(
        conn,
        "UPDATE notes SET v = 11 WHERE id = 1; SELECT threadline.detach('notes'); UPDATE notes SET v = 12 WHERE id = 1",
    );
    let refused = continuity::record_baseline(conn, &table("notes"), &Actor::admin(7), "too early");
    assert!(matches!(refused, Err(Error::NotReady { .. })), "{refused:?}");
    run(conn, "SELECT threadline.attach('notes')");
    let unsure = clock(conn);
    assert_eq!(told(conn, 1, unsure), "gap true false");
    let at = record(conn, "notes").recorded.recorded_at;
    assert_eq!((told(conn, 1, unsure), told(conn, 1, at)), ("gap true false".to_owned(), "12".to_owned()));

    let report = continuity::report(conn, &table("notes")).unwrap();
    assert_eq!(report.baselines.len(), 1);
    let text = report.to_string();
    assert!(
        text.contains("A snapshot of 3 rows was recorded at")
            && text.contains("is not a change: after the restore (admin:7)."),
        "{text}"
    );
}

#[test]
fn nothing_takes_a_baseline_for_a_change() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(conn, "UPDATE notes SET v = v + 1; DELETE FROM notes WHERE id = 2; INSERT INTO notes VALUES (8, 80)");
    let trail = Trail::unscoped();
    let instant = clock(conn);
    run(conn, "UPDATE notes SET v = v + 1");
    let everything = |conn: &mut PgConnection| {
        let recorded = "SELECT count(*) FROM threadline.audit_transactions";
        let transactions: usize = text(conn, recorded).parse().unwrap();
        // Other tests' transactions hold it back for a while.
        let mut feed = trail.read_feed(conn, &FeedCursor::beginning(), 100).unwrap();
        while feed.entries.len() < transactions {
            std::thread::sleep(std::time::Duration::from_millis(20));
            feed = trail.read_feed(conn, &FeedCursor::beginning(), 100).unwrap();
        }
        let mut exported = Vec::new();
        trail.export(conn, &Filter::new(), &ExportOptions::new(ExportFormat::Csv), &mut exported).unwrap();
        let target = UndoTarget::Row { table: table("notes"), key: row_key("id=1"), to: instant };
        let seen = history(conn, "notes", "id=1").versions;
        (
            trail.timeline(conn, &Filter::new()).unwrap(),
            String::from_utf8(exported).unwrap(),
            format!("{:?}", trail.undo_plan(conn, &target).unwrap()),
            format!("{:?}", feed.entries),
            seen,
            text(
                conn,
                "SELECT (SELECT count(*) FROM threadline.audit_transactions) || ' ' || (SELECT count(*) FROM threadline.audit_changes)",
            ),
        )
    };
    let before = everything(conn);
    record(conn, "notes");
    let after = everything(conn);
    assert_eq!(after, before);

    // Nor does it make an undo possible that goes past a write nobody saw.
    unseen(conn, "UPDATE notes SET v = 99 WHERE id = 1");
    record(conn, "notes");
    assert_eq!(told(conn, 1, instant), "11");
    let target = UndoTarget::Row { table: table("notes"), key: row_key("id=1"), to: instant };
    let plan = trail.undo_plan(conn, &target).unwrap();
    assert!(!plan.limits.is_empty(), "{plan:?}");
}

#[test]
fn a_baseline_tells_a_tenant_of_its_own_rows_alone() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, org text, v text); SELECT threadline.attach('notes', scope => 'org', on_truncate => 'record');
        INSERT INTO notes VALUES (1, 'a', '\"of a\"'), (2, 'b', '\"b-only\"'), (3, 'b', '\"b-only\"')",
    );
    let baseline = record(conn, "notes");
    let at = baseline.recorded.recorded_at;
    // A row that becomes a's tells a nothing of when it was b's.
    run(conn, "UPDATE notes SET org = 'a', v = 'now of a' WHERE id = 3; TRUNCATE notes");
    let trail = Trail::scoped(|_| Ok(Scope::tenant("a")));
    let mut asked = |id: i32| {
        let key = row_key(&format!("id={id}"));
        let seen = trail.row_history(conn, &table("notes"), &key, HistoryLimit::All).unwrap();
        (trail.row_as_of(conn, &table("notes"), &key, at).unwrap(), seen)
    };
    let (own, seen) = asked(1);
    assert_eq!(own.present().unwrap().get("org").unwrap().as_str(), "\"a\"");
    assert_eq!(seen.baselines.len(), 1);
    for id in [2, 3, 4] {
        let (answer, seen) = asked(id);
        assert!(!format!("{answer:?} {seen:?}").contains("b-only"), "{id}: {answer:?} {seen:?}");
        assert!(
            seen.baselines.is_empty() && !matches!(answer, AsOf::Present(_)),
            "{id}: {answer:?} {seen:?}"
        );
    }
}

#[test]
fn whose_a_row_was_is_said_from_both_sides_and_where_they_differ_nobody_sees_the_other_one() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, org text, v text); SELECT threadline.attach('notes', scope => 'org');
        INSERT INTO notes VALUES (1, 'a', 'of-a'), (2, 'a', 'of-a')",
    );
    record(conn, "notes");
    let at = clock(conn);
    // What escapes gives both rows away; the one is deleted by its new owner, the other one kept.
    run(
        conn,
        "BEGIN; SET LOCAL session_replication_role = replica; UPDATE notes SET org = 'b', v = 'of-b'; COMMIT; DELETE FROM notes WHERE id = 1",
    );
    for id in [1, 2] {
        let key = row_key(&format!("id={id}"));
        let unscoped = Trail::unscoped().row_as_of(conn, &table("notes"), &key, at).unwrap();
        assert!(matches!(unscoped, AsOf::Gap { .. }), "{id}: {unscoped:?}");
        for (tenant, other) in [("a", "of-b"), ("b", "of-a")] {
            let trail = Trail::scoped(move |_| Ok(Scope::tenant(tenant)));
            let answer = trail.row_as_of(conn, &table("notes"), &key, at).unwrap();
            assert_eq!(answer, AsOf::Unknown, "{id} for {tenant}");
            let seen = trail.row_history(conn, &table("notes"), &key, HistoryLimit::All).unwrap();
            assert!(!format!("{seen:?}").contains(other), "{id} for {tenant}: {seen:?}");
        }
    }
}

#[test]
fn a_baseline_is_refused_with_the_reason() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(conn, "CREATE TABLE other (id integer PRIMARY KEY)");
    let mut attempt = |name: &str, reason: &str| {
        continuity::record_baseline(conn, &table(name), &Actor::admin(7), reason).unwrap_err().to_string()
    };
    assert!(attempt("notes", " ").contains("reason: empty"));
    assert!(attempt("other", "x").contains("is not ready"));
    assert!(attempt("nowhere", "x").contains("nowhere"));
    // The function alone cannot have taken its snapshot when nobody wrote.
    let by_hand = r#"SELECT threadline.record_baseline('notes', clock_timestamp(), '{"type": "admin", "id": "7"}', 'x')"#;
    assert!(refused(conn, by_hand).contains("REPEATABLE READ"));
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.audit_baselines"), "0");
    run(conn, "BEGIN");
    let inside = diesel::Connection::transaction(conn, |conn| {
        continuity::record_baseline(conn, &table("notes"), &Actor::admin(7), "x").map(drop)
    });
    assert!(inside.unwrap_err().to_string().contains("inside an open transaction"));
}

#[test]
fn a_plan_counts_a_table_that_is_small_and_does_not_guess_at_one_that_is_not() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE wide (id integer PRIMARY KEY, v text) WITH (autovacuum_enabled = off); SELECT threadline.attach('wide');
        INSERT INTO wide VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    );
    let mut planned = || continuity::plan_baseline(conn, &table("wide")).unwrap().rows_estimate;
    assert_eq!(planned(), Some(3));
    run(
        &mut db.connect(),
        "ALTER TABLE wide ALTER v SET STORAGE PLAIN; SET session_replication_role = replica;
        INSERT INTO wide SELECT i, repeat('x', 7000) FROM generate_series(4, 2500) i",
    );
    assert_eq!(planned(), None);
    run(&mut db.connect(), "ANALYZE wide");
    assert_eq!(planned(), Some(2500));
}
