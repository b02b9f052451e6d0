//! The binary under test, and what it leaves behind.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};

/// `threadline-devdb exec`, blind to a server the test run itself may have been given.
pub(crate) fn devdb() -> Command {
    without_server(Command::new(env!("CARGO_BIN_EXE_threadline-devdb")))
}

pub(crate) fn without_server(mut command: Command) -> Command {
    for variable in ["DATABASE_URL", "TEST_DATABASE_URL"] {
        command.env_remove(variable);
    }
    command.arg("exec");
    command
}

/// The command's standard output, without the newline at its end.
pub(crate) fn stdout_of(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).expect("the output is UTF-8").trim_end().to_owned()
}

/// Polls for up to ten seconds.
pub(crate) fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(10) {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}

/// The binary around a shell that has said where its server is and now runs a script.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) socket_dir: PathBuf,
    server: Pid,
    shell: Pid,
    rest: BufReader<ChildStdout>,
}

impl Running {
    /// Starts it as the leader of a process group, as a terminal would, and waits for the script to run.
    pub(crate) fn start(mut devdb: Command, script: &str) -> Self {
        // The socket's lock file begins with the server's pid.
        let report = r#"echo "$PGHOST"; head -n 1 "$PGHOST/.s.PGSQL.5432.lock"; echo $$;"#;
        devdb.args(["--", "sh", "-c", &format!("{report} {script}")]);
        let mut child = devdb.process_group(0).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut rest = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = || {
            let mut line = String::new();
            rest.read_line(&mut line).expect("the output is UTF-8");
            line.trim_end().to_owned()
        };
        let socket_dir = PathBuf::from(line());
        let mut pid = || Pid::from_raw(line().parse().expect("it is a number")).expect("it is a pid");
        let (server, shell) = (pid(), pid());
        let running = Self { child, socket_dir, server, shell, rest };
        assert!(running.server_is_there(), "the server runs while the command does");
        running
    }

    /// As Ctrl-C: to the whole foreground group.
    pub(crate) fn interrupt(&self) {
        kill_process_group(Pid::from_child(&self.child), Signal::INT).expect("the group is there");
    }

    /// SIGKILL to the binary alone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Waits for the binary; its exit code and what the script wrote.
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        let lines: Vec<_> = (&mut self.rest).lines().map(|line| line.expect("the output is UTF-8")).collect();
        (self.child.wait().expect("it is our child").code(), lines.join("\n"))
    }

    pub(crate) fn server_is_there(&self) -> bool {
        self.socket_dir.exists() && test_kill_process(self.server).is_ok()
    }

    /// Whether server and directory vanish.
    pub(crate) fn server_goes(&self) -> bool {
        eventually(|| !self.socket_dir.exists() && test_kill_process(self.server).is_err())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A killed binary leaves its command behind. It is still a sleeping shell, or gone: its pid is young.
        let _ = rustix::process::kill_process(self.shell, Signal::KILL);
    }
}

/// Directories and processes that carry the name of a server the process `pid` has started.
pub(crate) fn traces_of(pid: u32) -> Vec<PathBuf> {
    let name = format!("threadline-{pid}-");
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let bases = [Path::new("/dev/shm"), Path::new("/tmp"), &env::temp_dir()];
    let dirs = bases.into_iter().flat_map(entries).filter(|path| path.to_string_lossy().contains(&name));
    let is_ours = |path: &PathBuf| {
        let arguments = fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(&name)
    };
    let processes = entries(Path::new("/proc")).filter(is_ours);
    dirs.chain(processes).collect()
}

/// A directory that every account can enter, as the server's has to.
pub(crate) struct OpenDir(pub(crate) PathBuf);

impl OpenDir {
    pub(crate) fn new(name: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;

        let dir = env::temp_dir().join(format!("devdb-test-{}-{name}", std::process::id()));
        fs::create_dir(&dir).expect("the name is new");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self(dir)
    }
}

impl Drop for OpenDir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("nobody writes to it any more");
    }
}
