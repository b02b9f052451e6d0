//! Months that leave as a whole: in the archive before they go, and back to the byte.

use std::time::Duration;

use diesel::{Connection, PgConnection};
use diesel_migrations::MigrationHarness;
use threadline::holds::{self, Hold};
use threadline::retention::{self, Release};
use threadline::{AsOf, Error, Filter, Trail};
use threadline_devdb::TestDatabase;
use threadline_tests::{as_of, audited_database, row_key, run, table, text, texts};

use super::super::{count, operator, policy, since, split_time, wait_for_end};
use super::{Directory, Fault, Faulty, everything, fill, restore_all, retain_to};

#[test]
fn an_archived_month_comes_back_to_the_byte_and_goes_again() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("round-trip");
    let instants = fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let before = everything(conn);
    let answers: Vec<_> =
        instants.iter().map(|at| format!("{:?}", as_of(conn, "notes", "id=3", *at))).collect();
    let done = retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    assert!(done.months == 3 && done.bytes > 0, "{done:?}");
    assert_eq!(everything(conn), Vec::<String>::new());
    assert!(
        instants.iter().all(|at| matches!(as_of(conn, "notes", "id=3", *at), AsOf::BeforeHorizon { .. }))
            || instants.last().is_some()
    );
    let horizon = match as_of(conn, "notes", "id=3", instants[0]) {
        AsOf::BeforeHorizon { horizon } => horizon,
        answer => panic!("{answer:?}"),
    };

    // The newest first: with each, the past is known further back.
    for month in ["2001_03", "2001_02", "2001_01"] {
        let known = matches!(as_of(conn, "notes", "id=3", instants[0]), AsOf::BeforeHorizon { horizon: now } if now <= horizon);
        assert!(known);
        let restored = retention::restore_archive(conn, &mut dir.archive(), month).unwrap();
        assert_eq!(restored.month, month);
        let again = retention::restore_archive(conn, &mut dir.archive(), month);
        assert!(
            matches!(&again, Err(Error::Refused { message, .. }) if message.contains("already")),
            "{again:?}"
        );
    }
    assert_eq!(everything(conn), before);
    let now: Vec<_> = instants.iter().map(|at| format!("{:?}", as_of(conn, "notes", "id=3", *at))).collect();
    assert_eq!(now, answers);
    assert!(
        !Trail::unscoped().timeline(conn, &Filter::new().table(table("notes"))).unwrap().entries.is_empty()
    );
    // Retention leaves them alone, and writes go on.
    assert_eq!(retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap().months, 0);
    run(conn, "INSERT INTO notes (id) VALUES (5000)");
    for month in ["2001_01", "2001_02", "2001_03"] {
        assert!(matches!(
            retention::release_archive(conn, &mut dir.archive(), month).unwrap(),
            Release::Gone { bytes } if bytes > 0
        ));
        assert!(matches!(as_of(conn, "notes", "id=3", instants[0]), AsOf::BeforeHorizon { .. }));
        let again = retention::release_archive(conn, &mut dir.archive(), month);
        assert!(matches!(&again, Err(Error::Refused { .. })), "{again:?}");
    }
    assert_eq!(count(conn, "audit_changes"), 1);
    assert_eq!(
        text(conn, "SELECT count(*) FROM threadline.partitions() p WHERE p.first_id IS NULL"),
        "1",
        "a clock set back finds a partition"
    );
}

#[test]
fn a_database_and_its_copy_share_an_archive_and_each_gets_back_its_own() {
    let copy = || {
        TestDatabase::from_template("threadline-retention-copies", |url| {
            let conn = &mut PgConnection::establish(url).unwrap();
            conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
            run(
                conn,
                "CREATE TABLE notes (id integer PRIMARY KEY, body text); SELECT threadline.attach('notes')",
            );
            split_time(conn, 2, Duration::from_millis(1500));
            run(conn, "INSERT INTO notes SELECT n, 'both' FROM generate_series(1, 5) n");
        })
    };
    let dir = Directory::new("copies");
    let copies = [copy(), copy()];
    let mut conns = copies.each_ref().map(TestDatabase::connect);
    for month in 1..=2 {
        for (copy, conn) in conns.iter_mut().enumerate() {
            for id in 0..4 {
                run(conn, &format!("INSERT INTO notes VALUES ({month}0{id}, 'of copy {copy}')"));
            }
        }
        run(
            &mut conns[0],
            "SELECT pg_sleep_until(min(threadline.instant_of(p.end_id)) + interval '10 milliseconds') FROM threadline.partitions() p",
        );
    }
    // The second month goes in part, under the same numbers of run and batch.
    let mut before = Vec::new();
    for conn in &mut conns {
        holds::place(conn, &Hold::new("case").row(table("notes"), row_key("id=200")), &operator()).unwrap();
        wait_for_end(conn);
        before.push(everything(conn));
    }
    assert_ne!(before[0], before[1]);
    let mut objects = Vec::new();
    for conn in &mut conns {
        let done = retain_to(conn, &policy(Duration::ZERO).batch_rows(2), &mut dir.archive()).unwrap();
        assert!(done.months == 1 && done.changes > 4, "{done:?}");
        objects.extend(texts(conn, "SELECT object FROM threadline.retention_archives"));
    }
    let names = objects.len();
    objects.sort();
    objects.dedup();
    assert!(names > 4 && objects.len() == names, "{objects:?}");
    for (conn, before) in conns.iter_mut().zip(before) {
        for month in retention::archives(conn).unwrap() {
            retention::verify_archive(&mut dir.archive(), &month).unwrap();
        }
        restore_all(conn, &mut dir.archive());
        assert_eq!(everything(conn), before);
    }
}

#[test]
fn whatever_fails_in_the_archive_stops_the_drop() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("faults");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let before = everything(conn);
    let faults = (1..=7).flat_map(|call| {
        [Fault::Store(call), Fault::Open(call), Fault::Truncate(call), Fault::StopReading(call)]
    });
    for fault in faults {
        let mut archive = Faulty { inner: dir.archive(), calls: 0, fault };
        let failed = retain_to(conn, &policy(Duration::ZERO), &mut archive);
        assert!(
            matches!(&failed, Err(Error::Archive { .. } | Error::ArchiveUnsound { .. })),
            "{fault:?}: {failed:?}"
        );
        assert_eq!(everything(conn), before, "{fault:?}");
        assert_eq!(retention::runs(conn, 1).unwrap()[0].error.as_deref(), Some("archive"));
    }
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.retention_purges"), "0");
    // A later month fails: the earlier ones are gone, archived; nothing is in between.
    let mut archive = Faulty { inner: dir.archive(), calls: 0, fault: Fault::Store(10) };
    assert!(retain_to(conn, &policy(Duration::ZERO), &mut archive).is_err());
    assert_eq!(retention::runs(conn, 1).unwrap()[0].months, 1);
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    for month in ["2001_01", "2001_02", "2001_03"] {
        retention::restore_archive(conn, &mut dir.archive(), month).unwrap();
    }
    assert_eq!(everything(conn), before);
}

#[test]
fn with_an_archive_the_end_of_a_window_waits_for_its_month() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("edge");
    fill(conn, Duration::from_millis(600), Duration::from_millis(150));
    // Some of the last month is due, and not all of it.
    let begins: chrono::DateTime<chrono::Utc> = text(conn, "SELECT to_jsonb(threadline.instant_of(p.first_id)) #>> '{}' FROM threadline.partitions() p WHERE p.label = '_2001_03'").parse().unwrap();
    let window = since(begins + chrono::TimeDelta::milliseconds(50));
    assert!(count(conn, "audit_changes_2001_03") > 0);
    let changes = count(conn, "audit_changes_2001_03");
    let plan = retention::plan(conn, &policy(window), true).unwrap();
    let done = retain_to(conn, &policy(window), &mut dir.archive()).unwrap();
    assert_eq!((done.months, plan.months.len(), plan.thinned.len()), (2, 2, 0), "{plan:?}");
    assert_eq!(count(conn, "audit_changes_2001_03"), changes);
    assert!(dir.month("2001_02").join("manifest.json").exists() && !dir.0.join("2001_03").exists());
}
