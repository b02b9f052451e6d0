//! `threadline-devdb exec --keep`.

use std::process::Command;

use crate::running::{OpenDir, Running, devdb, stdout_of};

fn keep(dir: &OpenDir) -> Command {
    let mut command = devdb();
    command.arg(format!("--keep={}", dir.0.display()));
    command
}

fn psql(dir: &OpenDir, sql: &str) -> String {
    stdout_of(keep(dir).args(["--", "psql", "-AXqtc", sql]))
}

#[test]
fn data_is_there_in_the_next_run() {
    let dir = OpenDir::new("next-run");
    psql(&dir, "CREATE TABLE kept (body text)");
    psql(&dir, "INSERT INTO kept VALUES ('still here')");
    assert_eq!(psql(&dir, "SELECT body FROM kept"), "still here");
    assert_eq!(psql(&dir, "SHOW fsync"), "on");
}

#[test]
fn data_is_there_after_sigkill_and_the_socket_is_not() {
    let dir = OpenDir::new("sigkill");
    psql(&dir, "CREATE TABLE kept (body text)");
    let mut running =
        Running::start(keep(&dir), "psql -qc \"INSERT INTO kept VALUES ('committed')\"; exec sleep 60");
    // Its statement is done when another run sees it.
    assert!(crate::running::eventually(|| psql(&dir, "SELECT body FROM kept") == "committed"));
    running.kill();
    assert!(running.server_goes());
    assert_eq!(psql(&dir, "SELECT body FROM kept"), "committed");
}

#[test]
fn second_run_joins_the_first_ones_server() {
    let dir = OpenDir::new("join");
    let first = Running::start(keep(&dir), "exec sleep 60");
    let host =
        stdout_of(keep(&dir).args(["--", "sh", "-c", "psql -AXqtc 'SELECT 1' >/dev/null; echo $PGHOST"]));
    assert_eq!(host, first.socket_dir.to_string_lossy());
    assert!(first.server_is_there(), "a run that joined does not stop the server");
    first.interrupt();
    assert!(first.server_goes());
}

#[test]
fn server_outlives_the_run_that_started_it_while_another_uses_it() {
    let dir = OpenDir::new("outlive");
    let mut first = Running::start(keep(&dir), "exec sleep 60");
    let mut second = Running::start(keep(&dir), "exec sleep 60");
    assert_eq!(first.socket_dir, second.socket_dir);
    first.interrupt();
    assert_eq!(first.child.wait().expect("it is our child").code(), Some(130));
    assert!(second.server_is_there());
    assert_eq!(psql(&dir, "SELECT 'answers'"), "answers");
    second.kill();
    assert!(second.server_goes());
}

#[test]
fn runs_that_start_together_share_one_server() {
    let dir = OpenDir::new("together");
    let start = || Running::start(keep(&dir), "exec sleep 60");
    let runs: Vec<_> = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(start));
        threads.into_iter().map(|thread| thread.join().expect("the run starts")).collect()
    });
    assert!(runs.iter().all(|run| run.socket_dir == runs[0].socket_dir));
    for run in &runs {
        run.interrupt();
    }
    assert!(runs[0].server_goes());
}

#[test]
fn runs_one_right_after_the_other_wait_for_the_server_to_stop() {
    let dir = OpenDir::new("in-a-row");
    for run in 0..5 {
        let mut running = Running::start(keep(&dir), "exec sleep 60");
        running.kill();
        // The server of the killed run is still stopping now and then.
        assert_eq!(psql(&dir, &format!("SELECT {run}")), run.to_string());
    }
}
