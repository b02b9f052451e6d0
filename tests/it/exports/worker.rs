//! The worker's rounds: what fails is tried again, what is told to stop stops, nothing runs twice at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use threadline::ExportFormat;
use threadline::exports::{self, ExportState};
use threadline_tests::{audited_cluster, audited_database, run, text};
use threadline_worker::{Connections, Stop, Task, Worker};

use super::{Directory, alice, eager, eventually, everything, finished, notes};

#[test]
fn a_task_that_fails_or_panics_is_run_again_and_never_twice_at_once() {
    let db = audited_database();
    let (runs, inside) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, entered) = (Arc::clone(&runs), Arc::clone(&inside));
    let task = Task::new("odd", Duration::from_millis(1), move |conn| {
        assert!(!entered.swap(true, Ordering::SeqCst), "it runs already");
        let number = counted.fetch_add(1, Ordering::SeqCst);
        conn.batch_execute("BEGIN; SELECT pg_sleep(0.01)")?;
        entered.store(false, Ordering::SeqCst);
        match number {
            0 => Err("secret".into()),
            1 => panic!("secret"),
            // A transaction left open by the one before would make this fail.
            _ => Ok(conn.batch_execute("COMMIT")?),
        }
    });
    let worker =
        Worker::builder(Connections::to_url(db.url())).without_partitions().task(task).build().unwrap();
    let stop = Stop::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| worker.run_until(&stop).unwrap());
        eventually("it runs", || (runs.load(Ordering::SeqCst) > 5).then_some(()));
        stop.request();
        worker.join().unwrap();
    });
    let made = runs.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(runs.load(Ordering::SeqCst), made, "it has stopped");
}

#[test]
fn a_worker_waits_for_a_database_that_is_away() {
    let cluster = audited_cluster();
    let conn = &mut cluster.connect("app").unwrap();
    notes(conn, 3, 3);
    let directory = Directory::new();
    let away = Arc::new(AtomicBool::new(false));
    let (url, gone) = (cluster.url("app"), Arc::clone(&away));
    let connections = Connections::new(move || {
        if gone.load(Ordering::SeqCst) {
            return Err(diesel::ConnectionError::BadConnection("away".to_owned()));
        }
        diesel::Connection::establish(&url)
    });
    let worker = Worker::builder(connections)
        .storage(directory.storage())
        .exports_every(Duration::from_millis(20))
        .build()
        .unwrap()
        .spawn()
        .unwrap();
    let id = exports::enqueue(conn, &everything(ExportFormat::Csv), &alice()).unwrap().id;
    assert_eq!(finished(conn, id).state, ExportState::Completed);
    away.store(true, Ordering::SeqCst);
    run(
        conn,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'app' AND pid <> pg_backend_pid()",
    );
    let id = exports::enqueue(conn, &everything(ExportFormat::Csv), &alice()).unwrap().id;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(super::job(conn, id).state, ExportState::Queued);
    away.store(false, Ordering::SeqCst);
    assert_eq!(finished(conn, id).state, ExportState::Completed);
    let began = Instant::now();
    worker.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "an idle worker stops at once");
}

#[test]
fn partitions_are_kept_ahead() {
    let db = audited_database();
    let conn = &mut db.connect();
    let ahead = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'threadline.audit_changes'::regclass";
    let before = text(conn, ahead);
    // The last month before the tail is given up again.
    run(
        conn,
        "DO $$ DECLARE last record; BEGIN
            FOR last IN SELECT p.parent, (SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = ('threadline.' || p.parent)::regclass
                AND c.relname NOT LIKE '%tail' ORDER BY c.relname DESC LIMIT 1) AS child,
                (SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''([0-9a-f-]{36})''\\)'))[1] FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = ('threadline.' || p.parent)::regclass AND c.relname NOT LIKE '%tail' ORDER BY c.relname DESC LIMIT 1) AS begins
                FROM unnest(ARRAY['audit_transactions', 'audit_actions', 'audit_long_transactions', 'audit_changes', 'audit_key_changes', 'audit_departures']) p (parent)
            LOOP
                EXECUTE format('DROP TABLE threadline.%I', last.child);
                EXECUTE format('ALTER TABLE threadline.%I DETACH PARTITION threadline.%I', last.parent, last.parent || '_tail');
                EXECUTE format('ALTER TABLE threadline.%I ATTACH PARTITION threadline.%I FOR VALUES FROM (%L) TO (MAXVALUE)', last.parent, last.parent || '_tail', last.begins);
            END LOOP; END $$",
    );
    assert_ne!(text(conn, ahead), before);
    let workers: Vec<_> = (0..4)
        .map(|_| Worker::builder(Connections::to_url(db.url())).build().unwrap().spawn().unwrap())
        .collect();
    eventually("the month is there again", || (text(conn, ahead) == before).then_some(()));
    workers.into_iter().for_each(threadline_worker::WorkerHandle::stop);
}

#[test]
fn whatever_is_wrong_with_a_worker_is_said_at_once() {
    let db = audited_database();
    let builder = || Worker::builder(Connections::to_url(db.url()));
    let error = builder().without_partitions().build().unwrap_err();
    assert_eq!(error.problems(), ["there is nothing to do: give it a storage, or a task"]);
    let task = |name: &str| Task::new(name, Duration::ZERO, |_| Ok(()));
    let error = builder()
        .partitions_every(Duration::ZERO)
        .exports_every(Duration::ZERO)
        .exports_lease(Duration::from_millis(999))
        .task(task(""))
        .task(task("exports"))
        .build()
        .unwrap_err();
    assert_eq!(
        error.problems(),
        [
            "task: has no name",
            "task: there are two called `exports`",
            "exports_every: is no time at all",
            "partitions: is no time at all",
            ": is no time at all",
            "exports: is no time at all",
            "exports_lease: is shorter than a second"
        ]
    );
}

#[test]
fn a_pool_that_others_use_serves_a_worker_as_well() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 100, 100);
    let directory = Directory::new();
    let manager = diesel::r2d2::ConnectionManager::<diesel::PgConnection>::new(db.url());
    let pool = diesel::r2d2::Pool::builder().max_size(3).build(manager).unwrap();
    let worker = Worker::builder(pool.clone())
        .storage(directory.storage())
        .exports_every(Duration::from_millis(20))
        .build()
        .unwrap()
        .spawn()
        .unwrap();
    let id = exports::enqueue(conn, &everything(ExportFormat::Json), &alice()).unwrap().id;
    assert_eq!(finished(conn, id).state, ExportState::Completed);
    worker.stop();
    assert_eq!(pool.state().idle_connections, pool.state().connections, "all were given back");
    let _ = eager(&db, directory.storage());
}
