//! Whatever the storage does, a job ends cleanly: no file without a job, no job without its whole file.

use std::time::Duration;

use diesel::prelude::*;
use threadline::ExportFormat;
use threadline::exports::{self, ExportFailure, ExportState};
use threadline_tests::{audited_database, run, text};

use super::faulty::{Faulty, Step};
use super::{alice, eager, eventually, everything, finished, job, notes};

/// Of more than one part.
fn large(conn: &mut PgConnection) {
    notes(conn, 40, 500_000);
}

#[test]
fn a_storage_that_fails_at_any_step_fails_the_job_and_leaves_nothing_behind() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 50, 100);
    for step in [Step::Put, Step::AfterPut, Step::Get, Step::GetEnds, Step::GetOther] {
        fails_cleanly_at(&db, conn, step);
    }
    run(conn, "DROP TABLE notes CASCADE");
    large(conn);
    for step in [
        Step::Begin,
        Step::Part,
        Step::Complete,
        Step::AfterComplete,
        Step::Get,
        Step::GetEnds,
        Step::GetOther,
    ] {
        fails_cleanly_at(&db, conn, step);
    }
}

fn fails_cleanly_at(db: &threadline_devdb::TestDatabase, conn: &mut PgConnection, step: Step) {
    let store = Faulty::at(&[step]);
    let request = everything(ExportFormat::Ndjson).max_failures(1);
    let id = exports::enqueue(conn, &request, &alice()).unwrap().id;
    let worker = eager(db, store.storage()).build().unwrap().spawn().unwrap();
    let failed = finished(conn, id);
    let expected = match step {
        Step::GetEnds | Step::GetOther => ExportFailure::Verification,
        _ => ExportFailure::Storage,
    };
    assert_eq!((failed.state, failed.error), (ExportState::Failed, Some(expected)), "{step:?}");
    assert_eq!((failed.object_name, failed.summary), (None, None), "{step:?}");
    let cleaned = "SELECT count(*) FROM threadline.export_jobs WHERE cleaned_at IS NULL";
    eventually("it is cleaned up after", || (text(conn, cleaned) == "0").then_some(()));
    assert_eq!(store.names(), [""; 0], "{step:?}");
    assert_eq!(exports::download(conn, id, &alice()).unwrap(), exports::Download::NotFound);
    worker.stop();
}

#[test]
fn a_job_that_failed_for_the_storage_is_tried_again_and_made_when_it_works() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 10, 10);
    let store = Faulty::at(&[Step::AfterPut]);
    let id = exports::enqueue(conn, &everything(ExportFormat::Csv), &alice()).unwrap().id;
    let worker = eager(&db, store.storage()).build().unwrap().spawn().unwrap();
    let queued = eventually("it is queued again", || Some(job(conn, id)).filter(|job| job.failures == 1));
    assert_eq!((queued.state, queued.error), (ExportState::Queued, Some(ExportFailure::Storage)));
    assert!(queued.due_at > queued.heartbeat_at.unwrap() + Duration::from_secs(25), "not at once");
    eventually("its file is removed", || store.names().is_empty().then_some(()));
    assert_eq!(job(conn, id).attempt, 1, "by the worker that wrote it, not by the next one");
    store.repair();
    run(conn, "UPDATE threadline.export_jobs SET due_at = now()");
    let made = finished(conn, id);
    assert_eq!((made.state, made.attempt, made.error), (ExportState::Completed, 2, None));
    let name = made.object_name.unwrap();
    assert!(name.starts_with(&format!("exports/{id}.2.")) && name.ends_with(".csv"), "{name}");
    assert_eq!(store.names(), [name]);
    worker.stop();
}

#[test]
fn a_file_that_cannot_be_removed_keeps_its_job_until_it_can() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 10, 10);
    let store = Faulty::at(&[Step::Delete]);
    let id = exports::enqueue(conn, &everything(ExportFormat::Csv), &alice()).unwrap().id;
    let worker = eager(&db, store.storage()).build().unwrap().spawn().unwrap();
    assert_eq!(finished(conn, id).state, ExportState::Completed);
    run(
        conn,
        "UPDATE threadline.export_jobs SET expires_at = now(), finished_at = now() - interval '9 days'",
    );
    assert_eq!(exports::download(conn, id, &alice()).unwrap(), exports::Download::Gone);
    eventually("it expires", || (job(conn, id).state == ExportState::Expired).then_some(()));
    let expire = "SELECT threadline.expire_exports(now() - interval '1 day', 100)";
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(text(conn, expire), "0", "or nobody would know of the file");
    assert_eq!(store.names().len(), 1);
    store.repair();
    let cleaned = "SELECT count(*) FROM threadline.export_jobs WHERE cleaned_at IS NOT NULL";
    eventually("it is removed", || (text(conn, cleaned) == "1").then_some(()));
    assert_eq!(store.names(), [""; 0]);
    assert_eq!(exports::download(conn, id, &alice()).unwrap(), exports::Download::Gone);
    assert_eq!(text(conn, expire), "1");
    assert_eq!(exports::download(conn, id, &alice()).unwrap(), exports::Download::NotFound);
    worker.stop();
}

#[test]
fn a_file_the_database_does_not_take_note_of_is_removed() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 10, 10);
    run(
        conn,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.state = 'completed' THEN RAISE EXCEPTION 'not today'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON threadline.export_jobs FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let store = Faulty::at(&[]);
    let request = everything(ExportFormat::Csv).max_failures(1);
    let id = exports::enqueue(conn, &request, &alice()).unwrap().id;
    let worker = eager(&db, store.storage()).build().unwrap().spawn().unwrap();
    let failed = finished(conn, id);
    assert_eq!((failed.state, failed.error), (ExportState::Failed, Some(ExportFailure::Database)));
    eventually("the file is removed", || store.names().is_empty().then_some(()));
    worker.stop();
}

#[test]
fn a_connection_lost_while_the_job_is_completed_loses_no_file() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 10, 10);
    // Strikes at the COMMIT, as often as it is tried, until the trigger goes.
    run(
        conn,
        "CREATE SEQUENCE strikes;
        CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.state = 'completed' THEN PERFORM nextval('strikes'), pg_terminate_backend(pg_backend_pid()); END IF; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER vanish AFTER UPDATE ON threadline.export_jobs DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION vanish()",
    );
    let store = Faulty::at(&[]);
    let id = exports::enqueue(conn, &everything(ExportFormat::Csv), &alice()).unwrap().id;
    let worker = eager(&db, store.storage()).build().unwrap().spawn().unwrap();
    let strikes = "SELECT last_value FROM strikes WHERE is_called";
    eventually("it has struck", || (!threadline_tests::texts(conn, strikes).is_empty()).then_some(()));
    run(conn, "DROP TRIGGER vanish ON threadline.export_jobs");
    let made = eventually("it is made", || {
        run(conn, "UPDATE threadline.export_jobs SET due_at = now() WHERE state = 'queued'");
        Some(job(conn, id)).filter(|job| job.state == ExportState::Completed)
    });
    worker.stop();
    assert_eq!(store.names(), [made.object_name.unwrap()]);
}
