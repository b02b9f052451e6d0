//! The shell process that owns the server and outlives us just long enough to clean up.
//!
//! `Drop` alone cannot do it: statics are never dropped and a signal runs no destructor. The kernel's parent-death
//! signal cannot either: it fires when the thread that spawned the server ends, and tests run in threads.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::account::Account;
use crate::error::Error;
use crate::programs::Programs;

/// How long a start or a stop may take; a kept server may have to replay its log first.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What happens to the data at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing is synced to disk, and everything is removed.
    Throwaway,
    /// The data is safe against a crash, and stays.
    Kept,
}

/// What the watchdog is told to run.
pub(crate) struct Order<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) account: Account,
    /// Created by the watchdog, mode 0700: holds the socket, and is removed at the end.
    pub(crate) run_dir: &'a Path,
    /// Holds `data` and `log`.
    pub(crate) home_dir: &'a Path,
    pub(crate) mode: Mode,
    /// Configuration parameters of the server, by name.
    pub(crate) settings: &'a [(&'a str, &'a str)],
}

impl Order<'_> {
    /// Starts the watchdog on `alive`, whose end of file stops the server, and waits until the server answers.
    ///
    /// With `Stdio::piped()` the returned child's `stdin` is the other end.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when `initdb` or the server failed. Nothing is left running once `alive`'s other end is closed.
    pub(crate) fn run(&self, alive: Stdio) -> Result<Child, Error> {
        let mut shell = self.command().stdin(alive).spawn().map_err(Error::io("run /bin/sh"))?;
        let mut answers = shell.stdout.take().expect("the command pipes standard output");
        let server = read_server_pid(&mut answers).and_then(|pid| self.wait_until_ready(pid, &answers));
        if let Err(error) = server {
            // Closed first: the watchdog waits for it.
            drop(shell.stdin.take());
            // Not waited for when others could hold `alive` too; it is reaped when we end.
            if self.mode == Mode::Throwaway {
                let _ = shell.wait();
            }
            return Err(error);
        }
        Ok(shell)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", include_str!("watchdog.sh"), "threadline-watchdog"]);
        command.args([self.programs.dir(), self.run_dir, self.home_dir]);
        command.arg(match self.mode {
            Mode::Throwaway => "throwaway",
            Mode::Kept => "kept",
        });
        for (name, value) in self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        remove_libpq_variables(&mut command);
        command
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env_remove("LANGUAGE")
            // The account may not be allowed where we are.
            .current_dir("/")
            // A group of its own: Ctrl-C at the terminal is for the command, which still needs its server.
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        self.account.apply(&mut command);
        command
    }

    /// `answers` reaches its end when the server does. Its pid would not tell: an ended child of the shell stays a
    /// zombie until the shell looks.
    fn wait_until_ready(&self, pid: i32, answers: &ChildStdout) -> Result<(), Error> {
        let log = self.home_dir.join("log");
        let step = Timespec::try_from(Duration::from_millis(2)).expect("two milliseconds fit");
        let started = Instant::now();
        loop {
            // A kept directory can hold a file of before a crash, hence the pid.
            if ServerFile::read(self.home_dir).is_some_and(|file| file.is_ready && file.pid == pid) {
                return Ok(());
            }
            if started.elapsed() > DEADLINE {
                return Err(Error::NotReady { seconds: DEADLINE.as_secs(), log });
            }
            let mut ends = [PollFd::new(answers, PollFlags::IN)];
            match poll(&mut ends, Some(&step)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Err(Error::Start { output: tail(&log) }),
                Err(errno) => return Err(Error::io("wait for the server")(errno.into())),
            }
        }
    }
}

/// What a running server says about itself in `postmaster.pid`; the lines are fixed in `src/include/utils/pidfile.h`.
pub(crate) struct ServerFile {
    pid: i32,
    pub(crate) socket_dir: PathBuf,
    is_ready: bool,
}

impl ServerFile {
    /// `None` when there is no such file, or it is not completely written yet.
    pub(crate) fn read(home_dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(home_dir.join("data/postmaster.pid")).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        Some(Self {
            pid: lines.first()?.parse().ok()?,
            socket_dir: PathBuf::from(lines.get(4)?),
            is_ready: lines.get(7)?.trim_end() == "ready",
        })
    }
}

/// Takes from `command` the `PG…` variables that would send libpq to another server.
///
/// Those that begin with `PG_` stay: they are this crate's or only about looks (`PG_BINDIR`, `PG_COLOR`).
pub(crate) fn remove_libpq_variables(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG") && !name.starts_with("PG_")) {
            command.env_remove(name);
        }
    }
}

/// The server's pid from the line "started PID"; all that was written before the end of the output is the error.
fn read_server_pid(answers: &mut ChildStdout) -> Result<i32, Error> {
    let mut output = String::new();
    for line in BufReader::new(answers).lines() {
        let line = line.map_err(Error::io("read from the watchdog"))?;
        if let Some(pid) = line.strip_prefix("started ").and_then(|pid| pid.parse().ok()) {
            return Ok(pid);
        }
        output.push_str(&line);
        output.push('\n');
    }
    Err(Error::Start { output: output.trim_end().to_owned() })
}

/// The last lines of a log; empty when it cannot be read.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
