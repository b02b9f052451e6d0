//! What lies where an archived month goes is told truly, and can be made to go.

use std::fs;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use threadline::Error;
use threadline::retention::{self, LocalArchive};
use threadline_tests::{audited_database, run, text};

use super::{operator, policy, retain, split_time};

#[test]
fn rows_written_where_a_month_was_are_named_and_can_go_before_it_comes_back() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id integer PRIMARY KEY); SELECT threadline.attach('notes')");
    split_time(conn, 2, Duration::from_millis(100));
    run(conn, "INSERT INTO notes VALUES (1)");
    thread::sleep(Duration::from_millis(300));
    let dir = std::env::temp_dir().join(format!("threadline-fillers-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    let mut archive = LocalArchive::new(&dir);
    let done = retention::run(conn, &policy(Duration::ZERO), &operator(), Some(&mut archive), &mut |_| {
        ControlFlow::Continue(())
    });
    assert_eq!(done.unwrap().months, 2);
    // As a server writes whose clock was set back.
    run(
        conn,
        "WITH forged (id) AS (VALUES (threadline.first_id_at('2020-01-01'))), t AS (INSERT INTO threadline.audit_transactions (id, occurred_at, xid, db_role)
            SELECT id, '2020-01-01', '3', 'app' FROM forged)
        INSERT INTO threadline.audit_changes (captured_at, transaction_id, ordinal, table_id, op, row_key, row_data)
            SELECT '2020-01-01', id, n, 1, 'I', n, '{}' FROM forged, generate_series(1, 2) n",
    );
    let filler = text(conn, "SELECT 'audit_changes' || label FROM threadline.partitions() WHERE filler");
    let refused = retention::restore_archive(conn, &mut archive, "2001_01");
    let Err(Error::Refused { message, .. }) = &refused else { panic!("{refused:?}") };
    assert!(
        message.contains(&format!("`{filler}`")) && message.contains("(3 in all six tables)"),
        "{message}"
    );
    // What it says to do does it.
    retain(conn, &policy(Duration::ZERO));
    assert_eq!(retention::restore_archive(conn, &mut archive, "2001_01").unwrap().month, "2001_01");
    let _ = fs::remove_dir_all(&dir);
}
