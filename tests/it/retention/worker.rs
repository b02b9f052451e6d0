//! Retention by the worker, as a configuration asks for it, with the archive in its storage.

use std::fs;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use diesel::PgConnection;
use threadline::config::{Config, Storage as Place, Tables, Worker as Intervals};
use threadline::retention::{self, Archive, LocalArchive, RetentionPolicy, RunState};
use threadline::{AsOf, TableName};
use threadline_devdb::TestDatabase;
use threadline_tests::{as_of, audited_database, clock, run, text};
use threadline_worker::{Connections, Stop, Storage, StorageArchive, Worker, WorkerBuilder};
use uuid::Uuid;

use super::{count, operator, policy, split_time};

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("threadline-archive-{}", Uuid::new_v4().simple())))
    }

    fn url(&self) -> String {
        format!("file://{}", self.0.display())
    }

    fn archive(&self) -> StorageArchive {
        StorageArchive::new(Storage::create(&self.url()).unwrap()).unwrap()
    }

    /// Names of files, those that are unfinished too.
    fn names(&self, below: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(below)).into_iter().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything older than a second goes.
fn short() -> RetentionPolicy {
    RetentionPolicy::new().keep(Duration::from_secs(1)).minimum(Duration::ZERO).pause(Duration::ZERO)
}

fn configured(db: &TestDatabase, retention: RetentionPolicy, place: Place) -> WorkerBuilder {
    let intervals = Intervals::new().retention_every(Duration::from_secs(1));
    // Where there is a storage, what leaves is archived.
    let archive = place.url.is_some();
    let config = Config::builder()
        .retention(retention)
        .archive(archive)
        .storage(place)
        .worker(intervals)
        .build()
        .unwrap();
    Worker::from_config(&config, Connections::to_url(db.url()))
}

fn notes(conn: &mut PgConnection) {
    run(conn, "CREATE TABLE notes (id integer PRIMARY KEY, body text); SELECT threadline.attach('notes')");
}

#[test]
fn a_month_leaves_by_the_worker_and_comes_back_from_its_storage() {
    let db = audited_database();
    let conn = &mut db.connect();
    let directory = Directory::new();
    notes(conn);
    split_time(conn, 2, Duration::from_millis(700));
    run(conn, "INSERT INTO notes VALUES (1, 'first')");
    let then = clock(conn);
    run(conn, "UPDATE notes SET body = 'second' WHERE id = 1");
    thread::sleep(Duration::from_millis(2700));
    let captured = count(conn, "audit_changes");
    let told = |conn: &mut PgConnection| format!("{:?}", as_of(conn, "notes", "id=1", then));
    let before = told(conn);

    directory.archive();
    let worker = configured(&db, short(), Place::new().url(directory.url()));
    let worker = worker.build().unwrap().spawn().unwrap();
    let began = Instant::now();
    while retention::runs(conn, 1).unwrap().iter().all(|run| run.months < 2 || run.ended_at.is_none()) {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", retention::runs(conn, 3));
        thread::sleep(Duration::from_millis(20));
    }
    worker.stop();

    let last = retention::runs(conn, 100).unwrap().pop().unwrap();
    assert_eq!((last.state, last.months, last.changes), (RunState::Completed, 2, captured));
    assert_eq!(last.asked_by.to_string(), "service_account:threadline-worker");
    let gone = as_of(conn, "notes", "id=1", then);
    assert!(matches!(gone, AsOf::BeforeHorizon { .. }), "{gone:?} at {then}");
    assert_eq!(directory.names("archive"), ["2001_01", "2001_02"]);
    let attempts = directory.names("archive/2001_01");
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!(directory.names(&format!("archive/2001_01/{}", attempts[0])).len(), 7);

    for month in ["2001_02", "2001_01"] {
        retention::restore_archive(conn, &mut directory.archive(), month).unwrap();
    }
    assert_eq!((told(conn), count(conn, "audit_changes")), (before, captured));
    // The storage's files are those of an archive in the directory.
    assert!(matches!(
        retention::release_archive(conn, &mut directory.archive(), "2001_01").unwrap(),
        retention::Release::Gone { .. }
    ));
    let mut local = LocalArchive::new(directory.0.join("archive"));
    assert_eq!(retention::restore_archive(conn, &mut local, "2001_01").unwrap().changes, captured);
}

#[test]
fn a_worker_that_is_stopped_stops_a_run_between_two_batches() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn);
    for id in 0..200 {
        run(conn, &format!("INSERT INTO notes VALUES ({id}, 'x')"));
    }
    thread::sleep(Duration::from_millis(1100));
    let slow = short().batch_rows(1).pause(Duration::from_millis(20));
    let stop = Stop::new();
    thread::scope(|scope| {
        let working = scope.spawn(|| {
            configured(&db, slow, Place::new()).build().unwrap().run_once(&stop).unwrap();
        });
        while count(conn, "audit_changes") == 200 {
            thread::sleep(Duration::from_millis(5));
        }
        stop.request();
        let told = Instant::now();
        working.join().unwrap();
        assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    });
    let left = count(conn, "audit_changes");
    assert!((1..200).contains(&left), "{left}");
    let runs = retention::runs(conn, 2).unwrap();
    assert_eq!((runs[0].state, runs[0].error.as_deref()), (RunState::Failed, Some("stopped")));

    configured(&db, short(), Place::new()).build().unwrap().run_once(&Stop::new()).unwrap();
    assert_eq!(count(conn, "audit_changes"), 0);
    assert_eq!(retention::runs(conn, 1).unwrap()[0].changes, left);
}

#[test]
fn a_worker_leaves_a_run_of_another_alone_and_without_a_window_makes_none() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn);
    run(conn, "INSERT INTO notes VALUES (1, 'x')");
    let once = |retention| {
        let worker = configured(&db, retention, Place::new()).build().unwrap();
        worker.run_once(&Stop::new()).map_err(|failures| format!("{failures:?}"))
    };
    assert_eq!(once(RetentionPolicy::new()), Ok(()));
    assert_eq!(retention::runs(conn, 1).unwrap(), []);
    let mut tried = false;
    retention::run(conn, &policy(Duration::ZERO), &operator(), None, &mut |_| {
        tried = true;
        assert_eq!(once(short()), Ok(()));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(tried);
    assert_eq!(retention::runs(conn, 9).unwrap().len(), 1);
    // What is really wrong is said.
    let unknown = short().table(TableName::new(None, "nowhere"), Duration::from_secs(5));
    let failed = once(unknown).unwrap_err();
    assert!(failed.contains("retention") && failed.contains("nowhere"), "{failed}");
}

#[test]
fn what_cannot_be_stored_whole_is_not_there() {
    struct Torn(usize);
    impl Read for Torn {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.min(buffer.len()) {
                0 => Err(io::Error::other("torn")),
                taken => {
                    self.0 -= taken;
                    Ok(taken)
                }
            }
        }
    }
    let directory = Directory::new();
    let archive = &mut directory.archive();
    let missing = archive.open("2025_01/manifest.json").map(drop).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    // Less than a part, and more than two.
    for length in [1_000, 20 << 20] {
        let error = archive.store("2025_01/torn.gz", &mut Torn(length)).unwrap_err();
        assert_eq!(error.to_string(), "torn");
        assert_eq!(directory.names("archive/2025_01"), Vec::<String>::new(), "{length}");
    }
    let big: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    archive.store("2025_01/big.gz", &mut &big[..]).unwrap();
    // What is there is never replaced, by something that goes in one piece or in several.
    for other in [&b"other"[..], &big[1..]] {
        let mut other = other;
        let refused = archive.store("2025_01/big.gz", &mut other).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists, "{refused}");
    }
    let mut read = Vec::new();
    archive.open("2025_01/big.gz").unwrap().read_to_end(&mut read).unwrap();
    assert!(read == big);
    assert_eq!(directory.names("archive/2025_01"), ["big.gz"]);
    for name in ["../a", "a/../b", "/a", "", "a//b", "a\\b", ".a"] {
        let refused = archive.store(name, &mut &b"x"[..]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{name}");
    }
}

#[test]
fn errors_that_health_finds_are_logged_by_number_until_they_are_mended() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id integer PRIMARY KEY, body text)");
    let table: TableName = text(conn, "SELECT current_schema() || '.notes'").parse().unwrap();
    let config = Config::builder().tables(Tables::new().expected(table)).build().unwrap();
    let logged = || {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let worker = Worker::from_config(&config, Connections::to_url(db.url()));
            worker.build().unwrap().run_once(&Stop::new()).unwrap();
        });
        String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
    };
    let log = logged();
    assert!(log.contains("WARN") && log.contains("health has found"), "{log}");
    let errors = |log: &str| {
        let (_, rest) = log.split_once("health has found ").expect("errors are found");
        rest.split(' ').next().unwrap().parse::<u32>().unwrap()
    };
    let before = errors(&log);
    run(conn, "SELECT threadline.attach('notes')");
    let log = logged();
    let after = if log.contains("health has found") { errors(&log) } else { 0 };
    assert_eq!(after + 1, before, "{log}");
    // What was looked at is on record: once as it was, and once as it is now, however often it is looked at.
    logged();
    let recorded = "SELECT string_agg(status || ' ' || actor_id, ',' ORDER BY recorded_at) FROM threadline.evidence_records \
         WHERE subject = 'trigger_coverage' AND reference ->> 'table' LIKE '%notes'";
    assert_eq!(text(conn, recorded), "finding threadline-worker,ok threadline-worker");
}

#[test]
fn a_connection_on_which_a_round_failed_serves_no_other() {
    let db = audited_database();
    let (seen, rounds) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let (told, counted) = (Arc::clone(&seen), Arc::clone(&rounds));
    // What a round left half-done is not the next one's: its transaction, its settings.
    let task = threadline_worker::Task::new("odd", Duration::from_millis(10), move |conn| {
        told.lock().unwrap().push(text(
            conn,
            "SELECT pg_backend_pid() || ' ' || coalesce(current_setting('threadline.odd', true), '')",
        ));
        let mut round = counted.lock().unwrap();
        *round += 1;
        if *round == 2 {
            run(conn, "SELECT set_config('threadline.odd', 'left behind', false)");
            return Err("odd".into());
        }
        Ok(())
    });
    let worker = Worker::builder(Connections::to_url(db.url())).task(task).build().unwrap().spawn().unwrap();
    let began = Instant::now();
    while *rounds.lock().unwrap() < 4 {
        assert!(began.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(10));
    }
    worker.stop();
    let seen = seen.lock().unwrap();
    assert_eq!((seen[0] == seen[1], seen[1] == seen[2], seen[2] == seen[3]), (true, false, true), "{seen:?}");
    assert!(!seen.iter().any(|round| round.contains("left behind")), "{seen:?}");
}
