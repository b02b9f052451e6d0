//! `threadline-devdb exec` with a throwaway server.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use threadline_devdb::Programs;

use crate::running::{OpenDir, Running, devdb, eventually, stdout_of, traces_of, without_server};

const NO_TRACES: [PathBuf; 0] = [];

#[test]
fn exit_code_is_the_commands() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)] {
        let status = devdb().args(["--", "sh", "-c", script]).status().expect("the binary runs");
        assert_eq!(status.code(), Some(code), "{script}");
    }
}

#[test]
fn exit_code_of_a_command_that_is_not_there_is_the_shells() {
    let output = devdb().args(["--", "/nonexistent/command"]).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`/nonexistent/command`"));
}

#[test]
fn command_finds_the_database_in_the_url_and_in_the_environment() {
    let script = r#"psql -AXtc "SELECT current_database(), current_user"
        psql "$DATABASE_URL" -AXtc "SELECT current_database(), current_user"
        dirname "$(command -v postgres)""#;
    // Inherited variables that would lead elsewhere.
    let elsewhere = [
        ("PGPORT", "1"),
        ("PGHOST", "192.0.2.1"),
        ("PGUSER", "me"),
        ("PGDATABASE", "mine"),
        ("DATABASE_URL", ""),
    ];
    let output = stdout_of(devdb().envs(elsewhere).args(["--", "sh", "-c", script]));
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[..2], ["app|postgres", "app|postgres"]);
    let programs = Programs::find().expect("the command found them");
    assert_eq!(lines[2], programs.dir().to_string_lossy());
}

#[test]
fn server_has_the_settings_given() {
    let show = ["psql", "-AXtc", "SELECT current_setting('shared_buffers'), current_setting('autovacuum')"];
    let settings = ["-c", "shared_buffers=48MB", "-c", "autovacuum=off", "--"];
    assert_eq!(stdout_of(devdb().args(settings).args(show)).trim_end(), "48MB|off");
}

#[test]
fn nothing_is_left_after_normal_exit() {
    let mut child =
        devdb().args(["--", "sh", "-c", "psql -qc 'SELECT 1' >/dev/null; exit 3"]).spawn().expect("it runs");
    let pid = child.id();
    assert_eq!(child.wait().expect("it is our child").code(), Some(3));
    // At once: the binary has waited for it.
    assert_eq!(traces_of(pid), NO_TRACES);
}

#[test]
fn nothing_is_left_after_ctrl_c() {
    let mut running = Running::start(devdb(), "exec sleep 60");
    running.interrupt();
    assert_eq!(running.child.wait().expect("it is our child").code(), Some(130));
    assert!(running.server_goes());
    assert_eq!(traces_of(running.child.id()), NO_TRACES);
}

#[test]
fn command_still_has_its_server_while_it_handles_ctrl_c() {
    let script =
        r#"trap 'psql -AXtc "SELECT 40 + 2"; exit 5' INT; echo trapped; while :; do sleep 0.05; done"#;
    let running = Running::start(devdb(), script);
    // The trap is set before the script's first loop; half a second is ten of them.
    thread::sleep(Duration::from_millis(500));
    running.interrupt();
    assert_eq!(running.finish(), (Some(5), "trapped\n42".to_owned()));
}

#[test]
fn sigterm_is_passed_on_and_nothing_is_left() {
    let mut running = Running::start(devdb(), "exec sleep 60");
    kill_process(Pid::from_child(&running.child), Signal::TERM).expect("it is there");
    assert_eq!(running.child.wait().expect("it is our child").code(), Some(143));
    assert!(running.server_goes());
}

#[test]
fn nothing_is_left_after_sigkill() {
    let mut running = Running::start(devdb(), "exec sleep 60");
    running.kill();
    assert!(running.server_goes());
    assert!(eventually(|| traces_of(running.child.id()).is_empty()));
}

#[test]
fn nothing_is_left_after_sigkill_while_starting() {
    // The steps it dies in differ from machine to machine; on a slow one all are in initdb.
    for milliseconds in [0, 2, 5, 50, 300, 400, 500] {
        let mut child = devdb().args(["--", "sleep", "1"]).process_group(0).spawn().expect("the binary runs");
        thread::sleep(Duration::from_millis(milliseconds));
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
        let goes = eventually(|| traces_of(child.id()).is_empty());
        assert!(goes, "after {milliseconds} ms: {:?}", traces_of(child.id()));
    }
}

#[test]
fn works_for_a_user_who_is_not_root() {
    let dir = OpenDir::new("not-root");
    let binary = dir.0.join("threadline-devdb");
    // The build directory may be closed to others.
    fs::copy(env!("CARGO_BIN_EXE_threadline-devdb"), &binary).expect("the binary is there");
    let mut command = if rustix::process::geteuid().is_root() {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]).arg(&binary);
        without_server(setpriv)
    } else {
        without_server(Command::new(&binary))
    };
    let script = r#"psql -AXtc "SELECT current_user"; id -u; stat -c "%u %a" "$PGHOST""#;
    let output = stdout_of(command.args(["--", "sh", "-c", script]));
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[0], "postgres");
    assert_ne!(lines[1], "0");
    assert_eq!(lines[2], format!("{} 700", lines[1]), "the server's directory is the user's own");
}

#[test]
fn missing_server_is_told_with_the_line_that_installs_it() {
    let output =
        devdb().env("PG_BINDIR", "/nonexistent").args(["--", "true"]).output().expect("the binary runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("`/nonexistent` (`PG_BINDIR`)"), "{stderr}");
    assert!(stderr.contains("apt-get install --yes postgresql\n"), "{stderr}");
}

#[test]
fn database_url_that_is_set_wins() {
    let url = "postgres://me@db.example/mine";
    let mut command = devdb();
    // Not even looked for.
    command.env("PG_BINDIR", "/nonexistent").env("DATABASE_URL", url);
    assert_eq!(stdout_of(command.args(["--", "sh", "-c", "echo $DATABASE_URL"])), url);
}

#[test]
fn unknown_flags_and_a_missing_command_are_refused() {
    for (args, expected) in
        [(&["--kep", "--", "true"][..], "--kep"), (&["--keep"], "<COMMAND>"), (&["true"], "--")]
    {
        let output = devdb().args(args).output().expect("the binary runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn output_ends_with_the_command() {
    // Whoever reads our output to its end does not wait for the watchdog, or for a server it started.
    let mut child =
        devdb().args(["--", "echo", "done"]).stdout(Stdio::piped()).spawn().expect("the binary runs");
    let mut output = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut output).expect("it is UTF-8");
    assert_eq!(output, "done\n");
    assert!(child.wait().expect("it is our child").success());
}
