//! What batches take from months that stay: in the archive before it goes, and back to the byte.

use std::fs;
use std::thread;
use std::time::Duration;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use threadline::Error;
use threadline::holds::{self, Hold};
use threadline::retention::{self, ArchivedKind, ArchivedObject, Release};
use threadline_tests::{as_of, audited_database, run, table, text, texts};

use super::super::{operator, policy};
use super::{Directory, Fault, Faulty, everything, fill, hold, restore_all, retain_to};

#[test]
fn what_batches_take_is_archived_first_and_comes_back_to_the_byte() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("parts");
    let instants = fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let before = everything(conn);
    let answers = |conn: &mut PgConnection| -> Vec<_> {
        instants.iter().map(|at| format!("{:?}", as_of(conn, "notes", "id=7", *at))).collect()
    };
    let known = answers(conn);
    let (first, _) = (hold(conn, 0), hold(conn, 8));
    let small = policy(Duration::ZERO).batch_rows(2);

    let done = retain_to(conn, &small, &mut dir.archive()).unwrap();
    let stay: Vec<String> = texts(
        conn,
        "SELECT DISTINCT replace(tableoid::regclass::text, 'threadline.audit_changes_', '') FROM threadline.audit_changes ORDER BY 1",
    );
    assert_eq!(stay.len() as u64 + done.months, 3, "{done:?}");
    let archived = retention::archives(conn).unwrap();
    assert_eq!(archived.len(), 3);
    for month in &archived {
        let stays = stay.contains(&month.month);
        let kind = if stays { ArchivedKind::Part } else { ArchivedKind::Month };
        assert!(
            month.objects.iter().all(|object| object.kind == kind) && month.in_database == stays,
            "{month:?}"
        );
    }
    assert!(archived.iter().any(|month| month.objects.len() > 1), "in more than one batch");
    let in_archive: u64 = archived.iter().flat_map(|month| &month.objects).map(ArchivedObject::rows).sum();
    assert_eq!(in_archive as usize + everything(conn).len(), before.len(), "each row is in one place");

    // Put back into months that have stayed, and attached; the answers are those of before.
    restore_all(conn, &mut dir.archive());
    assert_eq!((everything(conn), answers(conn)), (before.clone(), known.clone()));
    for month in ["2001_01", "2001_02", "2001_03"] {
        let again = retention::restore_archive(conn, &mut dir.archive(), month);
        assert!(
            matches!(&again, Err(Error::Refused { message, .. }) if message.contains("already")),
            "{again:?}"
        );
    }
    // Retention leaves them alone until they are released; then they go again, into objects of their own.
    assert_eq!(retain_to(conn, &small, &mut dir.archive()).unwrap().changes, 0);
    for month in ["2001-01", "2001-02", "2001-03"] {
        let stayed = stay.contains(&month.replace('-', "_"));
        let known = retention::archives(conn).unwrap();
        let known = known.iter().find(|known| known.month == month.replace('-', "_")).unwrap();
        if stayed {
            // What was put back is verified like the rest, and not let go of without the archive.
            let object = dir.0.join(&known.objects[0].object);
            let aside = object.with_extension("aside");
            fs::rename(&object, &aside).unwrap();
            assert!(retention::verify_archive(&mut dir.archive(), known).is_err());
            assert!(retention::release_archive(conn, &mut dir.archive(), month).is_err());
            fs::rename(&aside, &object).unwrap();
        }
        retention::verify_archive(&mut dir.archive(), known).unwrap();
        let released = retention::release_archive(conn, &mut dir.archive(), month).unwrap();
        assert_eq!(matches!(released, Release::LeftToRetention { .. }), stayed, "{month}: {released:?}");
    }
    holds::release(conn, first.id, &operator(), "over").unwrap();
    let done = retain_to(conn, &small, &mut dir.archive()).unwrap();
    assert!(done.changes > 0 && done.months > 0, "{done:?}");
    restore_all(conn, &mut dir.archive());
    assert_eq!((everything(conn), answers(conn)), (before, known));
}

#[test]
fn a_month_that_leaves_after_its_parts_comes_back_with_them() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("after-parts");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let before = everything(conn);
    let hold = holds::place(conn, &Hold::new("case").table(table("pins")), &operator()).unwrap().hold;
    let small = policy(Duration::ZERO).batch_rows(2);
    retain_to(conn, &small, &mut dir.archive()).unwrap();
    assert_eq!(
        text(conn, "SELECT count(*) FROM threadline.audit_transactions WHERE purged_until IS NOT NULL"),
        "9",
        "of each a part has gone"
    );
    holds::release(conn, hold.id, &operator(), "over").unwrap();
    retain_to(conn, &small, &mut dir.archive()).unwrap();
    assert_eq!(everything(conn), Vec::<String>::new());
    let archived = retention::archives(conn).unwrap();
    let last = |month: &retention::ArchivedMonth| month.objects.last().map(|object| object.kind);
    assert!(archived.iter().all(|month| last(month) == Some(ArchivedKind::Month)), "{archived:?}");
    assert!(archived.iter().any(|month| month.objects.len() > 2), "{archived:?}");
    restore_all(conn, &mut dir.archive());
    assert_eq!(everything(conn), before);
}

#[test]
fn whatever_fails_in_the_archive_stops_the_batch() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("part-faults");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    // One month, so that the first call is that of a batch.
    for id in [0, 3, 5, 8] {
        hold(conn, id);
    }
    let before = everything(conn);
    let small = policy(Duration::ZERO).batch_rows(3);
    for fault in [Fault::Store(1), Fault::Open(1), Fault::Truncate(1), Fault::StopReading(1)] {
        let mut archive = Faulty { inner: dir.archive(), calls: 0, fault };
        let failed = retain_to(conn, &small, &mut archive);
        assert!(
            matches!(&failed, Err(Error::Archive { .. } | Error::ArchiveUnsound { .. })),
            "{fault:?}: {failed:?}"
        );
        assert_eq!(everything(conn), before, "{fault:?}");
        assert_eq!(retention::archives(conn).unwrap(), []);
    }
    // A later one fails: what had gone is archived, and what the failure left in the archive is not counted.
    let mut archive = Faulty { inner: dir.archive(), calls: 0, fault: Fault::Open(2) };
    assert!(retain_to(conn, &small, &mut archive).is_err());
    assert!(everything(conn).len() < before.len());
    retain_to(conn, &small, &mut dir.archive()).unwrap();
    restore_all(conn, &mut dir.archive());
    assert_eq!(everything(conn), before);
}

#[test]
fn killed_at_any_statement_nothing_is_lost_and_nothing_doubled() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("killed");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    for id in [0, 8] {
        hold(conn, id);
    }
    let before = everything(conn);
    let mut killed = 0;
    for round in 0_u64.. {
        let outcome = thread::scope(|scope| {
            let runner = scope.spawn(|| {
                let conn = &mut db.connect();
                conn.batch_execute("SET application_name = 'victim'").unwrap();
                retain_to(conn, &policy(Duration::ZERO).batch_rows(1), &mut dir.archive())
            });
            thread::sleep(Duration::from_millis(20 + 17 * round));
            run(
                &mut db.connect(),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'",
            );
            runner.join().unwrap()
        });
        match outcome {
            Ok(_) => break,
            Err(Error::ConnectionLost(_) | Error::Query(_)) => killed += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(killed > 2, "killed {killed} times");
    assert!(everything(conn).len() < before.len());
    restore_all(conn, &mut dir.archive());
    assert_eq!(everything(conn), before);
}
