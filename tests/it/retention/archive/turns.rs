//! Restoring and releasing: one at a time, against no hold, and saying what became of the month.

use std::fs;
use std::thread;
use std::time::Duration;

use diesel::PgConnection;
use threadline::Error;
use threadline::holds;
use threadline::partitions::{self, PartitionState};
use threadline::retention::{self, Release, RestoredMonth};
use threadline_tests::{audited_database, run, text};

use super::super::{count, operator, policy};
use super::{Directory, HeldUp, everything, fill, hold, restore_all, retain_to};

#[test]
fn a_restored_month_is_not_let_go_against_a_hold_or_without_its_archive() {
    let db = audited_database();
    let (conn, reader) = (&mut db.connect(), &mut db.connect());
    let dir = Directory::new("release");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let before = everything(conn);
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    restore_all(conn, &mut dir.archive());
    let month = text(
        conn,
        "SELECT replace(tableoid::regclass::text, 'threadline.audit_changes_', '') FROM threadline.audit_changes WHERE row_key = '3' LIMIT 1",
    );
    let release = |conn: &mut PgConnection| retention::release_archive(conn, &mut dir.archive(), &month);
    let held = hold(conn, 3);
    let refused = release(conn);
    let named = format!("by hold {}", held.id);
    assert!(
        matches!(&refused, Err(Error::Refused { message, .. }) if message.ends_with(&named)),
        "{refused:?}"
    );
    holds::release(conn, held.id, &operator(), "over").unwrap();

    let object = dir.month(&month).join("audit_changes.ndjson.gz");
    let whole = fs::read(&object).unwrap();
    fs::remove_file(&object).unwrap();
    assert!(matches!(release(conn), Err(Error::Archive { .. })));
    fs::copy(dir.month(&month).join("audit_transactions.ndjson.gz"), &object).unwrap();
    assert!(matches!(release(conn), Err(Error::ArchiveUnsound { .. })));
    assert_eq!(everything(conn), before, "nothing has gone");
    fs::write(&object, whole).unwrap();

    // A hold that is placed while the month waits for a reader brings it back.
    run(reader, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM threadline.audit_changes");
    let patient = thread::scope(|scope| {
        let released = scope.spawn(|| {
            let conn = &mut db.connect();
            retention::release_archive(conn, &mut dir.archive(), &month)
        });
        while text(conn, "SELECT count(*) FROM threadline.retention_months WHERE state = 'released'") == "0" {
            thread::sleep(Duration::from_millis(5));
        }
        let held = hold(conn, 3);
        run(reader, "COMMIT");
        (released.join().unwrap(), held)
    });
    let (released, held) = patient;
    assert!(
        matches!(&released, Err(Error::Refused { message, .. }) if message.contains("hold")),
        "{released:?}"
    );
    assert_eq!(everything(conn), before);
    assert_eq!(retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap().months, 0);
    holds::release(conn, held.id, &operator(), "over").unwrap();
    assert!(matches!(release(conn).unwrap(), Release::Gone { .. }));
}

fn refused_with<T: std::fmt::Debug>(result: Result<T, Error>, said: &str) {
    assert!(matches!(&result, Err(Error::Refused { message, .. }) if message.contains(said)), "{result:?}");
}

#[test]
fn a_month_is_restored_by_one_at_a_time_and_another_hears_so() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    let dir = Directory::new("at-once");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let before = everything(conn);
    hold(conn, 0);
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    // One that has left as a whole, and one that got parts back.
    for month in ["2001_02", "2001_01"] {
        let (mut archive, is_reached, go_on) = HeldUp::of(dir.archive());
        let now = everything(other);
        let restored: Result<RestoredMonth, Error> = thread::scope(|scope| {
            let first = scope.spawn(|| retention::restore_archive(conn, &mut archive, month));
            is_reached.recv().unwrap();
            let second = retention::restore_archive(other, &mut dir.archive(), month);
            refused_with(second, "is being restored by another session");
            assert_eq!(everything(other), now, "nothing was changed");
            drop(go_on);
            first.join().unwrap()
        });
        assert_eq!(restored.unwrap().month, month);
        refused_with(retention::restore_archive(other, &mut dir.archive(), month), "is restored already");
    }
    retention::restore_archive(conn, &mut dir.archive(), "2001_03").unwrap();
    assert_eq!(everything(conn), before);
}

fn is_leaving(conn: &mut PgConnection) -> bool {
    let months = partitions::list(conn).unwrap().partitions;
    months.iter().any(|month| month.state == PartitionState::Leaving)
}

#[test]
fn retention_and_a_restore_keep_out_of_each_others_month() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    let dir = Directory::new("keep-out");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let (before, whole) = (everything(conn), count(conn, "audit_changes_2001_01"));
    let [first, second] = [0, 1].map(|id| hold(conn, id).id);
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    // One that somebody was still reading is on its way out until the next run.
    while is_leaving(conn) {
        retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    }
    // A part of it is due first, then all of it.
    for released in [first, second] {
        holds::release(conn, released, &operator(), "over").unwrap();
        let (mut archive, is_reached, go_on) = HeldUp::of(dir.archive());
        let now = everything(other);
        thread::scope(|scope| {
            let restoring = scope.spawn(|| retention::restore_archive(conn, &mut archive, "2001_01"));
            is_reached.recv().unwrap();
            let done = retain_to(other, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
            assert_eq!((done.months, done.changes), (0, 0), "it leaves the month alone");
            assert_eq!(done.left_for_later, ["2001_01"], "and says so");
            assert_eq!(done.looks, 1, "it is not one of those that found nothing due");
            assert_eq!(everything(other), now);
            drop(go_on);
            restoring.join().unwrap().unwrap();
        });
        assert_eq!(count(conn, "audit_changes_2001_01"), whole);
        retention::release_archive(conn, &mut dir.archive(), "2001_01").unwrap();
        if released == second {
            break;
        }
        let (mut archive, is_reached, go_on) = HeldUp::of(dir.archive());
        thread::scope(|scope| {
            let removing = scope.spawn(|| retain_to(conn, &policy(Duration::ZERO), &mut archive));
            is_reached.recv().unwrap();
            let meanwhile = retention::restore_archive(other, &mut dir.archive(), "2001_01");
            drop(go_on);
            assert!(removing.join().unwrap().unwrap().changes > 0);
            refused_with(meanwhile, "retention is at work on it");
        });
    }
    for month in ["2001_02", "2001_03"] {
        retention::restore_archive(conn, &mut dir.archive(), month).unwrap();
    }
    assert_eq!(everything(conn), before);
}

#[test]
fn a_month_left_to_retention_says_what_stays_and_for_which_hold() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("stays");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let (first, month) = (hold(conn, 0), "2001_01");
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    retention::restore_archive(conn, &mut dir.archive(), month).unwrap();
    let second = hold(conn, 1);
    let whole = count(conn, "audit_changes_2001_01");
    let released = retention::release_archive(conn, &mut dir.archive(), month).unwrap();
    let Release::LeftToRetention { changes, held_changes, holds } = released else { panic!("{released:?}") };
    assert_eq!((changes, holds), (whole, vec![first.id, second.id]));
    assert_eq!(count(conn, "audit_changes_2001_01"), whole, "nothing has gone");
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    assert!(held_changes > 0 && held_changes < whole, "{held_changes} of {whole}");
    assert_eq!(count(conn, "audit_changes_2001_01"), held_changes);

    // Without a hold everything may go, and is not said to stay.
    retention::restore_archive(conn, &mut dir.archive(), month).unwrap();
    for hold in [first, second] {
        holds::release(conn, hold.id, &operator(), "over").unwrap();
    }
    let released = retention::release_archive(conn, &mut dir.archive(), month).unwrap();
    assert_eq!(released, Release::LeftToRetention { changes: whole, held_changes: 0, holds: Vec::new() });
}

#[test]
fn a_restored_month_is_let_go_by_one_at_a_time_and_others_hear_so() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    let dir = Directory::new("let-go");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let before = everything(conn);
    hold(conn, 0);
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    // One that was attached, and one that got parts back.
    for month in ["2001_02", "2001_01"] {
        retention::restore_archive(conn, &mut dir.archive(), month).unwrap();
        let state =
            "SELECT string_agg(concat_ws(' ', label, state, since), ' ') FROM threadline.retention_months";
        let (restored, states) = (everything(conn), text(conn, state));
        run(other, &format!("BEGIN; SELECT threadline.take_month('_{month}')"));
        let refused = retention::release_archive(conn, &mut dir.archive(), month);
        refused_with(refused, "is being restored or removed by another session; nothing was changed");
        run(other, "COMMIT");
        assert_eq!((everything(conn), text(conn, state)), (restored, states));
        retention::release_archive(conn, &mut dir.archive(), month).unwrap();
        let again = retention::release_archive(conn, &mut dir.archive(), month);
        refused_with(again, "was released before");
    }
    for month in ["2001_03", "2001_02"] {
        retention::restore_archive(conn, &mut dir.archive(), month).unwrap();
    }
    assert_eq!(everything(conn), before);
}

#[test]
fn releases_and_a_run_that_meet_on_a_month_let_it_go_once() {
    let db = audited_database();
    let (conn, reader) = (&mut db.connect(), &mut db.connect());
    let dir = Directory::new("meet");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let before = everything(conn);
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    restore_all(conn, &mut dir.archive());
    for round in 0..3 {
        // All of them wait for the reader, and go on at once.
        run(reader, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM threadline.audit_changes");
        let (releases, ran) = thread::scope(|scope| {
            let release = || retention::release_archive(&mut db.connect(), &mut dir.archive(), "2001_02");
            let releases = [0, 1, 2].map(|_| scope.spawn(release));
            while text(conn, "SELECT count(*) FROM threadline.retention_months WHERE state = 'released'")
                == "0"
            {
                thread::sleep(Duration::from_millis(5));
            }
            let ran =
                scope.spawn(|| retain_to(&mut db.connect(), &policy(Duration::ZERO), &mut dir.archive()));
            thread::sleep(Duration::from_millis(400));
            run(reader, "COMMIT");
            (releases.map(|release| release.join().unwrap()), ran.join().unwrap())
        });
        let ran = ran.unwrap();
        let gone =
            releases.iter().filter(|release| matches!(release, Ok(Release::Gone { .. }))).count() as u64;
        assert_eq!(gone + ran.months, 1, "round {round}: {releases:?}, {ran:?}");
        for release in releases {
            match release {
                Ok(Release::Gone { .. }) => {}
                Err(Error::Refused { message, .. }) => assert!(
                    ["by another session", "was released before"].iter().any(|said| message.contains(said)),
                    "{message}"
                ),
                other => panic!("{other:?}"),
            }
        }
        retention::restore_archive(conn, &mut dir.archive(), "2001_02").unwrap();
        assert_eq!(everything(conn), before);
    }
}

#[test]
fn a_run_leaves_a_month_that_another_lets_go_for_later_and_says_so() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    let dir = Directory::new("later");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    restore_all(conn, &mut dir.archive());
    run(conn, "UPDATE threadline.retention_months SET state = 'released' WHERE label = '_2001_02'");
    run(other, "BEGIN; SELECT threadline.take_month('_2001_02')");
    for looks in [1, 1] {
        let done = retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
        assert_eq!((done.months, done.looks, done.left_for_later), (0, looks, vec!["2001_02".to_owned()]));
    }
    run(other, "COMMIT");
    let done = retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    assert_eq!((done.months, done.left_for_later), (1, Vec::new()));
}
