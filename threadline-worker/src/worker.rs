//! The worker: what it does, how often, and on which threads.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use diesel::prelude::*;
use threadline::partitions::{self, MaintainOptions};
use uuid::Uuid;

use crate::connections::Connections;
use crate::exports::{Exports, Made};
use crate::place::StoragePlace;
use crate::reader::runtime;
use crate::rounds;
use crate::stop::Stop;
use crate::storage::Storage;
use crate::task::{Done, Task, TaskError};

/// Does what has to be done beside the application: makes queued exports, removes them when their time is over, keeps partitions
/// ahead of time, and whatever [`Task`]s it is given.
///
/// Each of these has a thread of its own, and none ever runs twice at once in it. Any number of workers may run on one
/// database. While the database is away, all of them wait, and go on when it is back.
#[derive(Debug)]
pub struct Worker {
    connections: Connections,
    exports: Option<(Duration, Exports)>,
    tasks: Vec<Task>,
    expiry_every: Duration,
}

/// A worker to be. The names of its options are those of `[worker]` in `threadline.toml`, or of the section they begin with.
#[derive(Debug)]
#[must_use]
pub struct WorkerBuilder {
    connections: Connections,
    storage: Option<StoragePlace>,
    /// What is done in the place of exports where there is no storage.
    without_storage: Option<Task>,
    instance: Option<String>,
    exports_every: Duration,
    exports_keep: Duration,
    exports_max_rows: Option<u64>,
    exports_lease: Duration,
    expiry_every: Duration,
    partitions_every: Option<Duration>,
    grace: Duration,
    tasks: Vec<Task>,
}

impl WorkerBuilder {
    /// Where the files of exports are. Without it, the worker makes none.
    pub fn storage(self, storage: Storage) -> Self {
        Self { storage: Some(StoragePlace::of(storage)), ..self }
    }

    pub(crate) fn storage_at(self, place: StoragePlace) -> Self {
        Self { storage: Some(place), ..self }
    }

    pub(crate) fn without_storage(self, task: Task) -> Self {
        Self { without_storage: Some(task), ..self }
    }

    /// What the instance is called in the queue, for people; a random name if left out.
    pub fn instance(self, name: impl Into<String>) -> Self {
        Self { instance: Some(name.into()), ..self }
    }

    /// How often to look for a queued export; 5 seconds if left out. After one, the next is looked for at once.
    pub fn exports_every(self, every: Duration) -> Self {
        Self { exports_every: every, ..self }
    }

    /// How long files are kept, where their request does not say; 7 days if left out.
    pub fn exports_keep(self, keep: Duration) -> Self {
        Self { exports_keep: keep, ..self }
    }

    /// The most changes in a file, whatever its request says; a million if left out.
    pub fn exports_max_rows(self, rows: u64) -> Self {
        Self { exports_max_rows: Some(rows), ..self }
    }

    /// For how long a job stays this worker's when nothing is heard of it, a minute if left out, a second at least. It says so
    /// three times in that.
    pub fn exports_lease(self, lease: Duration) -> Self {
        Self { exports_lease: lease, ..self }
    }

    /// How often to remove files whose time is over; a minute if left out. They cannot be downloaded from the instant on.
    pub fn expiry_every(self, every: Duration) -> Self {
        Self { expiry_every: every, ..self }
    }

    /// How often to see that there are partitions ahead; a day if left out.
    pub fn partitions_every(self, every: Duration) -> Self {
        Self { partitions_every: Some(every), ..self }
    }

    /// Leaves partitions to somebody else, as where the worker's role does not own the trail.
    pub fn without_partitions(self) -> Self {
        Self { partitions_every: None, ..self }
    }

    /// How long an export may go on after the worker is told to stop, before it is handed back to the queue; 10 seconds if left
    /// out.
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Something more to do.
    pub fn task(mut self, task: Task) -> Self {
        self.tasks.push(task);
        self
    }

    /// The worker.
    ///
    /// # Errors
    ///
    /// [`InvalidWorker`] with everything that is wrong.
    pub fn build(mut self) -> Result<Worker, InvalidWorker> {
        if let Some(every) = self.partitions_every {
            let maintain = |conn: &mut PgConnection, _: &Stop| {
                let months = partitions::maintain(conn, &MaintainOptions::default())?;
                let done = match months {
                    0 => Done::nothing("there are months ahead"),
                    1 => Done::something("added 1 month"),
                    more => Done::something(format!("added {more} months")),
                };
                Ok(done.count("months_added", months.into()))
            };
            self.tasks.insert(0, Task::reporting("partitions", every, maintain));
        }
        let mut problems = Vec::new();
        let mut names = BTreeSet::from(["exports", "expiry"]);
        for task in &self.tasks {
            if task.name.is_empty() {
                problems.push("task: has no name".to_owned());
            } else if !names.insert(&task.name) {
                problems.push(format!("task: there are two called `{}`", task.name));
            }
        }
        let intervals = [
            ("exports_every", self.exports_every),
            ("exports_keep", self.exports_keep),
            ("expiry_every", self.expiry_every),
        ];
        let of_tasks = self.tasks.iter().map(|task| (task.name.as_str(), task.every));
        for (name, interval) in intervals.into_iter().chain(of_tasks) {
            if interval.is_zero() {
                problems.push(format!("{name}: is no time at all"));
            }
        }
        if self.exports_lease < Duration::from_secs(1) {
            problems.push("exports_lease: is shorter than a second".to_owned());
        }
        if self.storage.is_none() && self.tasks.is_empty() {
            problems.push("there is nothing to do: give it a storage, or a task".to_owned());
        }
        if !problems.is_empty() {
            return Err(InvalidWorker { problems });
        }
        self.tasks.extend(self.without_storage.filter(|_| self.storage.is_none()));
        let exports = self.storage.map(|storage| Exports {
            connections: self.connections.clone(),
            storage,
            instance: self.instance.unwrap_or_else(|| format!("worker-{}", Uuid::new_v4().simple())),
            lease: self.exports_lease,
            keep: self.exports_keep,
            max_rows: self.exports_max_rows,
            grace: self.grace,
        });
        // What expires takes the storage too, and a runtime on its thread.
        Ok(Worker {
            connections: self.connections,
            exports: exports.map(|exports| (self.exports_every, exports)),
            tasks: self.tasks,
            expiry_every: self.expiry_every,
        })
    }
}

impl Worker {
    /// A worker with connections of this kind.
    pub fn builder(connections: impl Into<Connections>) -> WorkerBuilder {
        WorkerBuilder {
            connections: connections.into(),
            storage: None,
            without_storage: None,
            instance: None,
            exports_every: Duration::from_secs(5),
            exports_keep: Duration::from_secs(7 * 86_400),
            exports_max_rows: Some(1_000_000),
            exports_lease: Duration::from_secs(60),
            expiry_every: Duration::from_secs(60),
            partitions_every: Some(Duration::from_secs(86_400)),
            grace: Duration::from_secs(10),
            tasks: Vec::new(),
        }
    }

    /// Works here until it is told to stop, and then until what is running has ended or was handed back.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub fn run_until(self, stop: &Stop) -> io::Result<()> {
        let Self { connections, exports, tasks, expiry_every } = self;
        let connections = &connections;
        let mut rounds: Vec<(String, Box<dyn FnOnce() + Send + '_>)> = Vec::new();
        if let Some((every, exports)) = &exports {
            let (making, removing) = (runtime()?, runtime()?);
            let make = move || {
                let next = |conn: &mut PgConnection| {
                    let made = exports.make_next(conn, &making, stop)?;
                    Ok((made.unwrap_or_default().done(), made.is_some()))
                };
                rounds::run("exports", *every, connections, stop, next);
            };
            let remove = move || {
                let sweep =
                    |conn: &mut PgConnection| exports.sweep(conn, &removing, stop).map(|done| (done, false));
                rounds::run("expiry", expiry_every, connections, stop, sweep);
            };
            rounds.push(("exports".to_owned(), Box::new(make)));
            rounds.push(("expiry".to_owned(), Box::new(remove)));
        }
        for Task { name, every, mut run } in tasks {
            let thread = name.clone();
            let body = move || {
                rounds::run(&name, every, connections, stop, |conn| {
                    run(conn, stop).map(|done| (done, false))
                });
            };
            rounds.push((thread, Box::new(body)));
        }
        // One that cannot be started takes the others along; a panic is that of the scope.
        thread::scope(|scope| {
            rounds.into_iter().try_for_each(|(name, body)| {
                let thread = thread::Builder::new().name(format!("threadline-{name}"));
                thread.spawn_scoped(scope, body).map(drop).inspect_err(|_| stop.request())
            })
        })
    }

    /// Does everything once, here, one after the other, and all exports that are queued: for a scheduler of the system's, which
    /// starts a program instead of leaving it running. What fails does not keep the rest from being done.
    ///
    /// # Errors
    ///
    /// Everything that failed, exports that could not be made included.
    pub fn run_once(self, stop: &Stop) -> Result<(), Vec<TaskFailure>> {
        let mut failures = Vec::new();
        self.run_once_telling(stop, |TaskReport { task, outcome }| {
            let error = match outcome {
                Ok(done) => done.has_failures().then(|| done.text().into()),
                Err(error) => Some(error),
            };
            failures.extend(error.map(|error| TaskFailure { task, error }));
        });
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }

    /// As [`run_once`](Self::run_once), and tells of each task when it has ended. Tasks that were not begun when the worker was
    /// told to stop are not told of.
    pub fn run_once_telling(self, stop: &Stop, mut tell: impl FnMut(TaskReport)) {
        let Self { connections, exports, tasks, .. } = self;
        let mut attempt =
            |task: &str, round: &mut dyn FnMut(&mut PgConnection) -> Result<Done, TaskError>| {
                if !stop.is_requested() {
                    let outcome = connections.get().and_then(|mut conn| round(&mut conn));
                    tell(TaskReport { task: task.to_owned(), outcome });
                }
            };
        for Task { name, mut run, .. } in tasks {
            attempt(&name, &mut |conn| run(conn, stop));
        }
        if let Some((_, exports)) = &exports {
            attempt("exports", &mut |conn| {
                let (runtime, mut all) = (runtime()?, Made::default());
                while !stop.is_requested()
                    && let Some(made) = exports.make_next(conn, &runtime, stop)?
                {
                    all.add(made);
                }
                Ok(all.done())
            });
            attempt("expiry", &mut |conn| exports.sweep(conn, &runtime()?, stop));
        }
    }

    /// Works on threads of its own until the handle is told to stop, or dropped.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub fn spawn(self) -> io::Result<WorkerHandle> {
        let stop = Stop::new();
        let told = stop.clone();
        let thread = thread::Builder::new()
            .name("threadline-worker".to_owned())
            .spawn(move || self.run_until(&told))?;
        Ok(WorkerHandle { stop, thread: Some(thread) })
    }
}

/// A worker that runs. Dropped, it tells the worker to stop and does not wait for it.
#[derive(Debug)]
#[must_use = "a worker whose handle is dropped stops"]
pub struct WorkerHandle {
    stop: Stop,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl WorkerHandle {
    /// Has the worker stop, and waits until it has: until an export is made, or after the grace handed back to the queue.
    pub fn stop(mut self) {
        self.stop.request();
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => resume_unwind(panic),
            Some(Ok(Err(_))) => tracing::error!("threadline: the worker could not start its threads"),
            _ => {}
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.stop.request();
    }
}

/// How a task has ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct TaskReport {
    /// Its name: `exports`, `expiry`, or that of a [`Task`].
    pub task: String,
    /// What was done, some of which may have failed, or why it failed, which may quote a value.
    pub outcome: Result<Done, TaskError>,
}

/// A task that failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct TaskFailure {
    /// Its name: `exports`, `expiry`, or that of a [`Task`].
    pub task: String,
    /// Why. It may quote a value.
    pub error: TaskError,
}

/// What is wrong with a worker, each problem with the name of its option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidWorker {
    problems: Vec<String>,
}

impl InvalidWorker {
    /// Each problem.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for InvalidWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid worker: {}", self.problems.join("; "))
    }
}

impl std::error::Error for InvalidWorker {}
