//! Exports in the background: each is made once and whole, of what its requester may see, and handed to nobody else.

mod copies;
mod download;
mod faults;
mod faulty;
mod filters;
mod model;
mod queue;
mod scope;
mod takeover;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diesel::PgConnection;
use sha2::{Digest, Sha256};
use threadline::exports::{self, ExportJob, ExportRequest, ExportState};
use threadline::{Actor, ExportFormat, ExportOptions, Filter, Trail};
use threadline_devdb::TestDatabase;
use threadline_tests::run;
use threadline_worker::{Connections, Storage, Worker, WorkerBuilder};
use uuid::Uuid;

/// A directory of a test's own, removed after it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("threadline-exports-{}", Uuid::new_v4().simple())))
    }

    fn storage(&self) -> Storage {
        Storage::create(&format!("file://{}", self.0.display())).unwrap()
    }

    /// The files in it, unfinished ones too, with their contents.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let exports = fs::read_dir(self.0.join("exports")).into_iter().flatten();
        let mut files: Vec<_> = exports
            .map(|entry| {
                let path = entry.unwrap().path();
                (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn alice() -> Actor {
    Actor::user(1)
}

/// A worker that does nothing but exports, at once.
fn eager(db: &TestDatabase, storage: Storage) -> WorkerBuilder {
    Worker::builder(Connections::to_url(db.url()))
        .storage(storage)
        .without_partitions()
        .exports_every(Duration::from_millis(20))
        .expiry_every(Duration::from_millis(20))
        .exports_lease(Duration::from_secs(10))
        .grace(Duration::ZERO)
}

/// An audited table with `rows` rows of `bytes` bytes each.
fn notes(conn: &mut PgConnection, rows: u32, bytes: u32) {
    run(
        conn,
        &format!(
            "CREATE TABLE notes (id integer PRIMARY KEY, body text); SELECT threadline.attach('notes');
            INSERT INTO notes SELECT n, repeat('x', {bytes}) FROM generate_series(1, {rows}) n"
        ),
    );
}

fn everything(format: ExportFormat) -> ExportRequest {
    ExportRequest::unscoped(ExportOptions::new(format).unlimited())
}

fn job(conn: &mut PgConnection, id: Uuid) -> ExportJob {
    exports::find(conn, id).unwrap().unwrap()
}

/// Waits until the job is over, and returns it.
fn finished(conn: &mut PgConnection, id: Uuid) -> ExportJob {
    eventually("the job is over", || {
        let job = job(conn, id);
        (!matches!(job.state, ExportState::Queued | ExportState::Running)).then_some(job)
    })
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "a minute has passed, and not yet: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a host would get that exports by itself.
fn direct(conn: &mut PgConnection, trail: &Trail, filter: &Filter, options: &ExportOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    trail.export(conn, filter, options, &mut bytes).unwrap();
    bytes
}

/// The one file there is, which is the job's, whole.
fn the_file(directory: &Directory, job: &ExportJob) -> Vec<u8> {
    let files = directory.files();
    let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
    let name = job.object_name.as_deref().unwrap().strip_prefix("exports/").unwrap();
    assert_eq!(names, [name]);
    let (_, bytes) = files.into_iter().next().unwrap();
    assert_whole(job, &bytes);
    bytes
}

fn assert_whole(job: &ExportJob, bytes: &[u8]) {
    let summary = job.summary.as_ref().unwrap();
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((summary.bytes, &summary.sha256), (bytes.len() as u64, &digest));
    assert_eq!((job.rows_written, job.bytes_written), (summary.rows, summary.bytes));
}
