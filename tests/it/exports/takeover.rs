//! A worker that dies or stops while it makes an export: another one makes it, and there is one file, whole.

use std::env;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use threadline::exports::{self, ExportState};
use threadline::{ExportFormat, ExportOptions, Filter, Trail};
use threadline_tests::{audited_database, run, text};
use threadline_worker::{Connections, Storage, Worker};

use super::faulty::Faulty;
use super::{Directory, alice, direct, eager, eventually, everything, finished, job, notes, the_file};

/// What [`a_worker_killed_while_it_writes_is_replaced`] runs as a process of its own, and nothing otherwise.
#[test]
fn worker_of_another_process() {
    let (Ok(url), Ok(directory)) = (env::var("EXPORT_TEST_URL"), env::var("EXPORT_TEST_DIRECTORY")) else {
        return;
    };
    let worker = Worker::builder(Connections::to_url(url))
        .storage(Storage::create_directory(directory).unwrap())
        .without_partitions()
        .exports_lease(Duration::from_secs(2))
        .build()
        .unwrap();
    let _handle = worker.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_worker_killed_while_it_writes_is_replaced() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 100, 500_000);
    let directory = Directory::new();
    let storage = directory.storage();
    let id = exports::enqueue(conn, &everything(ExportFormat::Ndjson), &alice()).unwrap().id;
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["exports::takeover::worker_of_another_process", "--exact"])
        .env("EXPORT_TEST_URL", db.url())
        .env("EXPORT_TEST_DIRECTORY", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it writes", || {
        directory.files().iter().any(|(_, bytes)| bytes.len() > 8 << 20).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let left = directory.files();
    let name = text(conn, "SELECT attempt_objects[1] FROM threadline.export_jobs");
    let unfinished = format!("{}#1", name.strip_prefix("exports/").unwrap());
    assert_eq!(left.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), [unfinished]);
    assert_eq!(job(conn, id).state, ExportState::Running);

    let worker = eager(&db, storage).build().unwrap().spawn().unwrap();
    let made = finished(conn, id);
    worker.stop();
    assert_eq!((made.state, made.attempt, made.failures), (ExportState::Completed, 2, 1));
    let options = ExportOptions::new(ExportFormat::Ndjson).unlimited();
    let bytes = the_file(&directory, &made);
    assert!(bytes == direct(conn, &Trail::unscoped(), &Filter::new(), &options), "it is another export");
}

#[test]
fn a_worker_whose_connection_is_ended_while_it_writes_makes_the_export_again() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 60, 500_000);
    let id = exports::enqueue(conn, &everything(ExportFormat::Ndjson), &alice()).unwrap().id;
    let store = Faulty::at(&[]);
    let (url, parts) = (db.url(), std::sync::atomic::AtomicU32::new(0));
    store.at_part(move || {
        if parts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            let conn = &mut diesel::Connection::establish(&url).unwrap();
            let killed = text(conn, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction' OR query ILIKE '%c.captured_at%' AND pid <> pg_backend_pid()");
            assert_ne!(killed, "0");
        }
    });
    let worker = eager(&db, store.storage()).build().unwrap().spawn().unwrap();
    eventually("it fails", || (job(conn, id).failures == 1).then_some(()));
    run(conn, "UPDATE threadline.export_jobs SET due_at = now() WHERE state = 'queued'");
    let made = finished(conn, id);
    worker.stop();
    assert_eq!((made.state, made.attempt), (ExportState::Completed, 2));
    assert_eq!(store.names(), [made.object_name.unwrap()]);
}

/// A worker that is held up in the middle of a file, and what lets it go on.
fn held_up(store: &Faulty) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (reached, at_part) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    store.at_part(move || {
        let _ = reached.send(());
        let _ = may_go_on.lock().unwrap().recv_timeout(Duration::from_secs(60));
    });
    (at_part, go_on)
}

#[test]
fn a_worker_given_up_for_dead_that_goes_on_writing_harms_nothing() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 60, 500_000);
    let id = exports::enqueue(conn, &everything(ExportFormat::Ndjson), &alice()).unwrap().id;
    let store = Faulty::at(&[]);
    let (at_part, go_on) = held_up(&store);
    // So long that it says nothing of its own accord here.
    let lease = Duration::from_secs(120);
    let slow =
        eager(&db, store.storage()).instance("slow").exports_lease(lease).build().unwrap().spawn().unwrap();
    at_part.recv().unwrap();
    // As if it had not been heard of: the lease is over.
    run(conn, "UPDATE threadline.export_jobs SET due_at = now() - interval '1 second'");
    let files = std::sync::Arc::clone(&store.files);
    let other = eager(&db, Storage::of(files)).instance("quick").build().unwrap().spawn().unwrap();
    let made = finished(conn, id);
    assert_eq!(
        (made.state, made.attempt, made.worker.as_deref()),
        (ExportState::Completed, 2, Some("quick"))
    );
    drop(go_on);
    slow.stop();
    other.stop();
    assert_eq!(job(conn, id), made, "what it did afterwards changed nothing");
    assert_eq!(store.names(), [made.object_name.unwrap()]);
}

#[test]
fn a_worker_that_is_told_to_stop_hands_the_job_back_or_finishes_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 60, 500_000);
    for (grace, expected) in
        [(Duration::ZERO, ExportState::Queued), (Duration::from_secs(60), ExportState::Completed)]
    {
        let id = exports::enqueue(conn, &everything(ExportFormat::Ndjson), &alice()).unwrap().id;
        let store = Faulty::at(&[]);
        let (at_part, go_on) = held_up(&store);
        let worker = eager(&db, store.storage()).grace(grace).build().unwrap().spawn().unwrap();
        at_part.recv().unwrap();
        let stopping = std::thread::spawn(move || worker.stop());
        std::thread::sleep(Duration::from_millis(100));
        drop(go_on);
        stopping.join().unwrap();
        let left = job(conn, id);
        assert_eq!((left.state, left.failures, left.attempt), (expected, 0, 1));
        let names: Vec<String> = left.object_name.into_iter().collect();
        assert_eq!(store.names(), names);
        run(conn, "DELETE FROM threadline.export_jobs");
    }
}

#[test]
fn a_job_cancelled_while_it_is_made_ends_and_leaves_nothing() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 60, 500_000);
    let id = exports::enqueue(conn, &everything(ExportFormat::Ndjson), &alice()).unwrap().id;
    let store = Faulty::at(&[]);
    let (at_part, go_on) = held_up(&store);
    let worker =
        eager(&db, store.storage()).exports_lease(Duration::from_secs(1)).build().unwrap().spawn().unwrap();
    at_part.recv().unwrap();
    assert_eq!(exports::cancel(conn, id, &alice()).unwrap(), 1);
    std::thread::sleep(Duration::from_secs(1));
    drop(go_on);
    let cleaned = "SELECT count(*) FROM threadline.export_jobs WHERE cleaned_at IS NOT NULL";
    eventually("it is cleaned up after", || (text(conn, cleaned) == "1").then_some(()));
    worker.stop();
    let cancelled = job(conn, id);
    assert_eq!((cancelled.state, cancelled.summary), (ExportState::Cancelled, None));
    assert_eq!(store.names(), [""; 0]);
}
