//! A server whose data stays, shared by all processes that name its directory.
//!
//! What keeps it alive is a named pipe in its directory. The watchdog reads it; each process that uses the server
//! holds it open for writing, the one that started the server no more than one that joined later. When the last has
//! ended, in whatever way, the watchdog reads the end of the file and stops the server.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode as Bits, OFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::account::Account;
use crate::error::Error;
use crate::place;
use crate::programs::Programs;
use crate::watchdog::{DEADLINE, Mode, Order, ServerFile};

/// One process's share in a kept server; dropping it stops the server when no other process has one.
#[derive(Debug)]
pub(crate) struct Share {
    pipe: PathBuf,
    writer: Option<File>,
    /// The watchdog, in the process that started it.
    shell: Option<Child>,
    pub(crate) socket_dir: PathBuf,
}

impl Share {
    /// Joins the server that runs on `home`, or starts it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when `home` cannot be prepared, and those of [`Order::run`].
    pub(crate) fn take(programs: &Programs, home: &Path, settings: &[(&str, &str)]) -> Result<Self, Error> {
        let account = prepare(home)?;
        // One process at a time starts or joins. The lock is on the directory itself: a file for it would belong to
        // whoever came first, root perhaps. Its end, too, is the kernel's.
        let lock = File::open(home).map_err(Error::io(format!("open `{}`", home.display())))?;
        lock.lock().map_err(Error::io(format!("lock `{}`", home.display())))?;

        let pipe = home.join("alive");
        let asked = Instant::now();
        while let Some(writer) = open_writer(&pipe)? {
            if greet(&writer, home) {
                let file = ServerFile::read(home).ok_or_else(|| not_ready(home))?;
                return Ok(Self { pipe, writer: Some(writer), shell: None, socket_dir: file.socket_dir });
            }
            // It is stopping: its last process has just gone. Wait until the watchdog has closed the pipe.
            if asked.elapsed() > DEADLINE {
                return Err(not_ready(home));
            }
        }
        let socket_dir = place::new_run_dir();
        let order =
            Order { programs, account, run_dir: &socket_dir, home_dir: home, mode: Mode::Kept, settings };
        Self::start(pipe, &order)
    }

    fn start(pipe: PathBuf, order: &Order<'_>) -> Result<Self, Error> {
        let (reader, writer) =
            make_pipe(&pipe, order.account).map_err(Error::io(format!("make `{}`", pipe.display())))?;
        let shell = order.run(Stdio::from(reader))?;
        let socket_dir = order.run_dir.to_owned();
        Ok(Self { pipe, writer: Some(writer), shell: Some(shell), socket_dir })
    }

    /// Gives the share up and waits for the server to stop, unless others use it.
    fn leave(&mut self) -> io::Result<()> {
        while let Some(writer) = self.writer.take() {
            // A reader sees a hang-up only of writers that were there after it opened.
            let reader = rustix::fs::open(
                &self.pipe,
                OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
                Bits::empty(),
            )?;
            drop(writer);
            let mut ends = [PollFd::new(&reader, PollFlags::IN)];
            poll(&mut ends, Some(&Timespec::default()))?;
            if !ends[0].revents().contains(PollFlags::HUP) {
                return Ok(());
            }
            drop(reader);
            thread::sleep(Duration::from_millis(20));
            // While it stops, the watchdog still has the pipe open; no reader means it has ended.
            self.writer = open_writer(&self.pipe).map_err(io::Error::other)?;
        }
        if let Some(mut shell) = self.shell.take() {
            shell.wait()?;
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Nothing to tell anybody: the watchdog stops the server whether we see it or not.
        let _ = self.leave();
    }
}

/// Makes the directory, private to the account the server runs as, and says which account that is.
///
/// Root runs the server as the account that already owns the data; new data belongs to the usual one.
fn prepare(home: &Path) -> Result<Account, Error> {
    let shown = home.display();
    fs::create_dir_all(home).map_err(Error::io(format!("create `{shown}`")))?;
    let found = fs::metadata(home).map_err(Error::io(format!("read `{shown}`")))?;
    let account = Account::for_server()?;
    let Account(Some((uid, gid))) = account else {
        if found.uid() == rustix::process::geteuid().as_raw() {
            fs::set_permissions(home, Permissions::from_mode(0o700))
                .map_err(Error::io(format!("close `{shown}`")))?;
        }
        return Ok(account);
    };
    if found.uid() != 0 {
        return Ok(Account(Some((found.uid(), found.gid()))));
    }
    fs::set_permissions(home, Permissions::from_mode(0o700))
        .map_err(Error::io(format!("close `{shown}`")))?;
    chown(home, Some(uid), Some(gid)).map_err(Error::io(format!("give `{shown}` away")))?;
    Ok(account)
}

/// A new pipe in place of an old one: an end to block on, for the watchdog, and the first end to write to.
fn make_pipe(path: &Path, Account(ids): Account) -> io::Result<(File, File)> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Bits::RUSR | Bits::WUSR, 0)?;
    // So that the data's owner can join or take over from root.
    if let Some((uid, gid)) = ids {
        chown(path, Some(uid), Some(gid))?;
    }
    // Opening an end blocks until the other is open too, unless it is told not to. Non-blocking stays with the end
    // that was opened so, and a shell could not read from one, hence the second reader.
    let open = |flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Bits::empty());
    let first_reader = open(OFlags::RDONLY | OFlags::NONBLOCK)?;
    let writer = open(OFlags::WRONLY)?;
    let reader = open(OFlags::RDONLY)?;
    drop(first_reader);
    Ok((File::from(reader), File::from(writer)))
}

/// The end to write to, or `None` when nobody reads: there is no server on this directory.
fn open_writer(pipe: &Path) -> Result<Option<File>, Error> {
    match rustix::fs::open(pipe, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Bits::empty()) {
        Ok(end) => Ok(Some(File::from(end))),
        Err(Errno::NXIO | Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io(format!("open `{}`", pipe.display()))(errno.into())),
    }
}

/// Whether the watchdog still listens: it may have seen the end of the file just before we opened ours.
///
/// Once it has answered it cannot see that end again while `writer` is open.
fn greet(mut writer: &File, home: &Path) -> bool {
    static NEXT: AtomicU32 = AtomicU32::new(0);

    let word = format!("joined-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let answer = home.join(&word);
    let step = Timespec::try_from(Duration::from_millis(2)).expect("two milliseconds fit");
    let said = Instant::now();
    if writeln!(writer, "{word}").is_err() {
        return false;
    }
    while said.elapsed() < Duration::from_secs(1) {
        if fs::remove_file(&answer).is_ok() {
            return true;
        }
        // Waits, but not on once the watchdog has closed its end.
        let mut ends = [PollFd::new(&writer, PollFlags::empty())];
        if poll(&mut ends, Some(&step)).is_ok_and(|ready| ready > 0) {
            return false;
        }
    }
    false
}

fn not_ready(home: &Path) -> Error {
    Error::NotReady { seconds: DEADLINE.as_secs(), log: home.join("log") }
}
