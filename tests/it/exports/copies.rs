//! A database and its copy in one storage: each has its own files.

use threadline::ExportFormat;
use threadline::exports::{self, ExportState};
use threadline_devdb::TestDatabase;
use threadline_tests::run;

use super::{Directory, alice, assert_whole, eager, eventually, everything, finished, job, notes};

#[test]
fn a_copy_of_a_database_neither_replaces_nor_removes_the_files_of_its_original() {
    let copy = || {
        TestDatabase::from_template("threadline-exports-copies", |url| {
            let conn = &mut diesel::Connection::establish(url).unwrap();
            diesel_migrations::MigrationHarness::run_pending_migrations(conn, threadline::MIGRATIONS)
                .unwrap();
            notes(conn, 3, 10);
            exports::enqueue(conn, &everything(ExportFormat::Ndjson), &alice()).unwrap();
        })
    };
    let directory = Directory::new();
    let copies = [copy(), copy()];
    let storage = || directory.storage();
    let mut made = Vec::new();
    for (place, db) in copies.iter().enumerate() {
        let conn = &mut db.connect();
        // What each has to tell since.
        run(
            conn,
            &format!(
                "INSERT INTO notes SELECT n, 'of copy {place}' FROM generate_series(100, 101 + {place}) n"
            ),
        );
        let id = exports::list(conn, &alice(), None, 1).unwrap()[0].id;
        let worker = eager(db, storage()).build().unwrap().spawn().unwrap();
        made.push(finished(conn, id));
        worker.stop();
    }
    assert_eq!(made[0].id, made[1].id);
    assert_eq!(made[0].file_name(), made[1].file_name(), "a person is offered the name of the job");
    let read =
        |place: usize| std::fs::read(directory.path().join(made[place].object_name.as_deref().unwrap()));
    for place in [0, 1] {
        assert_eq!(made[place].state, ExportState::Completed);
        assert_whole(&made[place], &read(place).unwrap());
    }

    // The copy's time is over, and the original's file is still there.
    let conn = &mut copies[1].connect();
    run(conn, "UPDATE threadline.export_jobs SET expires_at = now() WHERE state = 'completed'");
    let worker = eager(&copies[1], storage()).build().unwrap().spawn().unwrap();
    eventually("it is removed", || read(1).is_err().then_some(()));
    worker.stop();
    assert_eq!(job(conn, made[1].id).state, ExportState::Expired);
    assert_whole(&made[0], &read(0).unwrap());
}
