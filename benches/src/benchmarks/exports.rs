//! `exports`: what an export takes that a worker makes, from the queue into a checked file, beside one written to a file directly.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use diesel::prelude::*;
use threadline::exports::{self, ExportRequest, ExportState};
use threadline::{Actor, ExportFormat, ExportOptions, Filter, Trail};
use threadline_worker::{Connections, Storage, Worker};

use crate::figures::Figure;
use crate::loaded_trail::LoadedTrail;
use crate::machine::Machine;
use crate::memory::PeakMemory;
use crate::rounds::Samples;
use crate::table::Table;
use crate::{Effort, Outcome};

/// In the order of what they take: one does not show the memory that one before it has left to the process.
const WAYS: [&str; 2] = ["direct", "worker"];

/// A directory for the files, removed in the end.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Measures exports of a whole trail.
///
/// # Errors
///
/// When the server refuses a statement, or an export has not all there is; panics as [`LoadedTrail::new`] does.
pub(crate) fn run(effort: Effort) -> anyhow::Result<Outcome> {
    let (changes, rounds) = match effort {
        Effort::Full => (1_000_000, 5),
        Effort::Quick => (200_000, 3),
        Effort::Smoke => (3_000, 1),
    };
    let mut trail = LoadedTrail::new(changes)?;
    let directory = Directory(std::env::temp_dir().join(format!("threadline-bench-{}", std::process::id())));
    fs::create_dir_all(&directory.0)?;
    let mut rows_per_s = [Samples::default(), Samples::default()];
    let mut peak_mib = Vec::new();
    for round in 0..rounds {
        eprintln!("exports: round {} of {rounds}", round + 1);
        for (place, way) in WAYS.into_iter().enumerate() {
            let memory = PeakMemory::watch()?;
            let started = Instant::now();
            let rows = match way {
                "direct" => direct(&mut trail.conn, &directory)?,
                _ => worker(&mut trail, &directory)?,
            };
            let seconds = started.elapsed().as_secs_f64();
            ensure!(i64::try_from(rows)? >= changes, "{way}: {rows} changes of {changes}");
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
            rows_per_s[place].push(rows as f64 / seconds);
            if round == 0 {
                peak_mib.push(memory.grown_mib()?);
            }
        }
    }
    let mut figures = Vec::new();
    let mut table = Table::new(&["export", "changes/s", "peak MiB"]);
    for (place, way) in WAYS.into_iter().enumerate() {
        let (rate, peak) = (rows_per_s[place].quantile(0.5), peak_mib[place]);
        let goal = (way == "worker").then_some(64.0);
        figures
            .push(Figure::new(format!("exports.{way}.rows_per_s"), rate, 0, "rows/s", None).more_is_better());
        figures.push(Figure::new(format!("exports.{way}.peak_mib"), peak, 1, "MiB", goal));
        table.push(vec![way.to_owned(), format!("{rate:.0}"), format!("{peak:.1}")]);
    }
    let tables = format!(
        "NDJSON of {} changes, the typical of {rounds} rounds; the worker's file is synced to disk and read back\n\n{}",
        trail.changes,
        table.render()
    );
    Ok(Outcome { machine: Machine::of(&mut trail.conn)?, figures, tables })
}

fn options() -> ExportOptions {
    ExportOptions::new(ExportFormat::Ndjson).unlimited()
}

fn direct(conn: &mut PgConnection, directory: &Directory) -> anyhow::Result<u64> {
    let file = File::create(directory.0.join("direct.ndjson"))?;
    Ok(Trail::unscoped().export(conn, &Filter::new(), &options(), file)?.rows)
}

fn worker(trail: &mut LoadedTrail, directory: &Directory) -> anyhow::Result<u64> {
    let job = exports::enqueue(&mut trail.conn, &ExportRequest::unscoped(options()), &Actor::system(1))?;
    let handle = Worker::builder(Connections::to_url(trail.url()))
        .storage(Storage::create_directory(&directory.0)?)
        .without_partitions()
        .exports_max_rows(u64::MAX)
        .build()?
        .spawn()?;
    let made = loop {
        let job = exports::find(&mut trail.conn, job.id)?.context("the job is gone")?;
        match job.state {
            ExportState::Queued | ExportState::Running => std::thread::sleep(Duration::from_millis(5)),
            ExportState::Completed => break job,
            other => bail!("the job is {other}: {:?}", job.error),
        }
    };
    handle.stop();
    fs::remove_file(directory.0.join(made.object_name.context("it has no file")?))?;
    Ok(made.rows_written)
}
