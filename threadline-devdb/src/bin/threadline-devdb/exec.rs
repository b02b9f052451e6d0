//! `threadline-devdb exec`: one command with a database.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::iter;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use threadline_devdb::Cluster;

/// The database a command finds in `DATABASE_URL`.
const DATABASE: &str = "app";

/// Run a command with an empty PostgreSQL database, and remove the server when it ends
///
/// The command finds the database `app` in DATABASE_URL and in PGHOST, PGPORT, PGUSER and PGDATABASE, and the server's
/// programs first on PATH, so plain `psql` works. The exit code is the command's, 128 plus the signal when one ended
/// it, 126 or 127 when it could not be run or was not found, and 2 when there is no server.
///
/// Ctrl-C reaches the command; the server stops after it. SIGTERM is passed on to it.
///
/// When DATABASE_URL is set and not empty, no server is started: the command runs with that one.
///
/// PostgreSQL is looked for in PG_BINDIR, else in the newest /usr/lib/postgresql/*/bin, else along PATH. Run by root,
/// the server runs as `postgres`, or else as `nobody`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    threadline-devdb exec -- cargo test\n  \
    threadline-devdb exec --keep -- psql\n  \
    threadline-devdb exec --keep=/srv/demo -- sh -c 'diesel migration run && cargo run'")]
pub(crate) struct Args {
    /// Keep the data for the next run, in DIR, else in /var/lib/threadline-devdb (root) or
    /// ~/.local/state/threadline-devdb. A second run at the same time joins the first one's server.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    keep: Option<Option<PathBuf>>,
    /// A configuration parameter for the server, as in `-c shared_buffers=512MB`; can be given again.
    #[arg(short = 'c', value_name = "NAME=VALUE", value_parser = setting, conflicts_with = "keep")]
    settings: Vec<(String, String)>,
    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command and returns the exit code to end with.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let (program, rest) = args.command.split_first().expect("clap requires one value");
    let mut command = Command::new(program);
    command.args(rest);

    if env::var_os("DATABASE_URL").is_some_and(|url| !url.is_empty()) {
        eprintln!("threadline-devdb: DATABASE_URL is set; no server started");
        // Comes back only when it fails.
        return Ok(could_not_run(program, &command.exec()));
    }

    let cluster = match &args.keep {
        None => {
            let settings: Vec<_> =
                args.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            Cluster::start_with(&settings)?
        }
        Some(dir) => {
            let dir = dir.clone().map_or_else(default_dir, Ok)?;
            let cluster = Cluster::keep(&dir)?;
            eprintln!("threadline-devdb: data in {}", dir.display());
            cluster
        }
    };
    cluster.create_database(DATABASE)?;
    cluster.lead(&mut command, DATABASE);
    command.env("DATABASE_URL", cluster.url(DATABASE)).env("PATH", path_with(cluster.programs().dir())?);

    // Only now: until here Ctrl-C may end this process, and the watchdog cleans up. From here a signal waits for the
    // command, which has the defaults back: handlers do not survive `exec`. Before the spawn, or its end could be
    // missed.
    let mut signals =
        Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGCHLD]).context("could not handle signals")?;
    match command.spawn() {
        Ok(child) => Ok(exit_code(wait(child, &mut signals)?)),
        Err(error) => Ok(could_not_run(program, &error)),
    }
}

/// Splits `NAME=VALUE`; the server judges both.
fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Where the server's account can enter: root's home is closed to it.
fn default_dir() -> anyhow::Result<PathBuf> {
    let state = if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/lib")
    } else if let Some(dir) = env::var_os("XDG_STATE_HOME").filter(|dir| !dir.is_empty()) {
        PathBuf::from(dir)
    } else {
        env::home_dir()
            .context("no home directory to keep the data in; name one with `--keep=DIR`")?
            .join(".local/state")
    };
    Ok(state.join("threadline-devdb"))
}

fn path_with(first: &std::path::Path) -> anyhow::Result<OsString> {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let dirs = iter::once(first.to_owned()).chain(env::split_paths(&inherited));
    env::join_paths(dirs).with_context(|| format!("could not put `{}` on PATH", first.display()))
}

/// Waits for the command, passing SIGTERM on.
///
/// SIGINT and SIGQUIT are not: at a terminal the command, in the same process group, has had them already.
fn wait(mut child: Child, signals: &mut Signals) -> anyhow::Result<ExitStatus> {
    let pid = Pid::from_child(&child);
    for signal in signals.forever() {
        if signal == SIGTERM {
            // It is not reaped yet, so the pid is still its own; it may be a zombie, which is no error.
            kill_process(pid, Signal::TERM).context("could not pass SIGTERM on")?;
        }
        // On any signal: several SIGCHLD can come as one, and one can be the watchdog's.
        if let Some(status) = child.try_wait().context("could not wait for the command")? {
            return Ok(status);
        }
    }
    unreachable!("nobody closes the signal iterator");
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    // Exit codes are a byte, signals are below 65.
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Says why, and returns the code a shell would.
fn could_not_run(program: &OsStr, error: &io::Error) -> u8 {
    eprintln!("threadline-devdb: could not run `{}`: {error}", program.display());
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}
