//! The archive: what leaves is in it, whole, before it leaves, and comes back for reading.

mod parts;
mod turns;
mod unsound;
mod whole;

use std::fs;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use diesel::PgConnection;
use threadline::Error;
use threadline::holds::{self, Hold, LegalHold};
use threadline::retention::{self, Archive, LocalArchive, RetentionPolicy, RetentionRun};
use threadline_tests::{clock, row_key, run, table, texts};

use super::{operator, split_time, wait_for_end};

/// A directory of one test's own.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("threadline-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn archive(&self) -> LocalArchive {
        LocalArchive::new(&self.0)
    }

    /// Where the only attempt at a month has its files.
    fn month(&self, month: &str) -> PathBuf {
        let attempts: Vec<_> =
            fs::read_dir(self.0.join(month)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(attempts.len() == 1 && attempts[0].is_dir(), "{attempts:?}");
        attempts[0].clone()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn retain_to(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    archive: &mut dyn Archive,
) -> Result<RetentionRun, Error> {
    retention::run(conn, policy, &operator(), Some(archive), &mut |_| ControlFlow::Continue(()))
}

/// Rows with everything a payload can hold, over three months that have ended.
fn fill(conn: &mut PgConnection, each: Duration, step: Duration) -> Vec<chrono::DateTime<chrono::Utc>> {
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, body text, meta json, n numeric, at timestamptz, blob bytea, tags text[]);
        CREATE TABLE pins (id integer PRIMARY KEY);
        SELECT threadline.attach('notes', mask => '{tags}', scope => 'n'), threadline.attach('pins')",
    );
    split_time(conn, 3, each);
    let mut instants = Vec::new();
    for n in 0..9 {
        run(
            conn,
            &format!(
                "BEGIN; SELECT threadline.set_context('{{\"actor\": {{\"type\": \"user\", \"id\": \"{n}\"}}, \"meta\": {{\"k\": [1.50, null]}}}}');
                SELECT threadline.record_action('{{\"actor\": {{\"type\": \"user\", \"id\": \"{n}\"}}}}', '{{\"name\": \"note.written\", \"comment\": \"a\\nb\"}}');
                INSERT INTO notes VALUES ({n}, E'line\\nfeed \\\\ \"quote\" \\u2028 é', '{{\"a\":\n 1.0}}', 1.50, now(), '\\x00ff', '{{a,NULL}}');
                UPDATE notes SET body = body || '!', id = id + 100 WHERE id = {n} - 1; DELETE FROM notes WHERE id = 102; INSERT INTO pins VALUES ({n}); COMMIT"
            ),
        );
        instants.push(clock(conn));
        thread::sleep(step);
    }
    wait_for_end(conn);
    instants
}

fn everything(conn: &mut PgConnection) -> Vec<String> {
    let tables = texts(conn, "SELECT unnest(threadline.trail_tables())");
    let mut all = Vec::new();
    for table in tables {
        // Row by row as the database itself prints them: every byte counts.
        all.extend(texts(
            conn,
            &format!("SELECT '{table} ' || r::text FROM threadline.{table} r ORDER BY 1"),
        ));
    }
    all
}

/// Fails, or keeps something else, at one of its calls.
struct Faulty {
    inner: LocalArchive,
    calls: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Store(usize),
    Open(usize),
    Truncate(usize),
    StopReading(usize),
}

impl Archive for Faulty {
    fn store(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        self.calls += 1;
        match self.fault {
            Fault::Store(call) if call == self.calls => {
                let _ = content.read(&mut [0; 10]);
                Err(io::Error::other("no room"))
            }
            Fault::Truncate(call) if call == self.calls => {
                let mut whole = Vec::new();
                content.read_to_end(&mut whole)?;
                whole.pop();
                self.inner.store(name, &mut whole.as_slice())
            }
            Fault::StopReading(call) if call == self.calls => self.inner.store(name, &mut content.take(12)),
            _ => self.inner.store(name, content),
        }
    }

    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        match self.fault {
            Fault::Open(call) if call == self.calls => Err(io::Error::other("gone")),
            _ => self.inner.open(name),
        }
    }
}

fn months_known(conn: &mut PgConnection) -> Vec<String> {
    retention::archives(conn).unwrap().into_iter().map(|month| month.month).collect()
}

/// Everything an archive has, the newest month first.
fn restore_all(conn: &mut PgConnection, archive: &mut dyn Archive) {
    for month in months_known(conn).iter().rev() {
        retention::restore_archive(conn, archive, month).unwrap();
    }
}

/// Holds a row of `notes`.
fn hold(conn: &mut PgConnection, id: i32) -> LegalHold {
    let row = row_key(&format!("id={id}"));
    holds::place(conn, &Hold::new("case").row(table("notes"), row), &operator()).unwrap().hold
}

/// Says when it is first asked for something, and waits there until it may go on.
struct HeldUp {
    inner: LocalArchive,
    reached: Option<Sender<()>>,
    may_go_on: Receiver<()>,
}

impl HeldUp {
    /// With what tells that it was reached, and what lets it go on when it is dropped.
    fn of(inner: LocalArchive) -> (Self, Receiver<()>, Sender<()>) {
        let (reached, is_reached) = channel();
        let (go_on, may_go_on) = channel();
        (Self { inner, reached: Some(reached), may_go_on }, is_reached, go_on)
    }

    fn wait(&mut self) {
        if let Some(reached) = self.reached.take() {
            let _ = reached.send(());
            let _ = self.may_go_on.recv_timeout(Duration::from_secs(60));
        }
    }
}

impl Archive for HeldUp {
    fn store(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        self.wait();
        self.inner.store(name, content)
    }

    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        self.wait();
        self.inner.open(name)
    }
}
