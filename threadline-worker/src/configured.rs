//! The worker that `threadline.toml` describes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use diesel::prelude::*;
use threadline::config::{Config, Tables};
use threadline::exports;
use threadline::health::{self, CoverageOptions, HealthOptions, Severity};
use threadline::retention::{self, Archive, RetentionPolicy};
use threadline::{Actor, ActorId, Error, audited_models};

use crate::archive::StorageArchive;
use crate::connections::Connections;
use crate::place::StoragePlace;
use crate::stop::Stop;
use crate::task::{Done, Task, TaskError};
use crate::worker::{Worker, WorkerBuilder};

const NO_STORAGE: &str = "this worker has no storage; set `url` in `[storage]` of `threadline.toml`";

const WORKER: ActorId = ActorId::from_static("threadline-worker");

impl Worker {
    /// The worker a configuration asks for, which can still be given an instance's name, or more tasks:
    ///
    /// - exports, and the removal of their files, where `storage.url` is set; without it, the log says when exports wait for one;
    /// - `partitions`, ahead of time;
    /// - `retention`, as `service_account:threadline-worker`, with an archive in the storage if `retention.archive` is set. It is
    ///   left out when no window is set, and there are no exports that could expire;
    /// - `health`, of the tables in `[tables]` and of the models linked into the program: when there are errors, their codes are
    ///   logged. Which tables are covered is recorded as evidence, where the role may do so, when it changes and once a day.
    ///
    /// The storage is opened when it is needed. While it cannot be used, what needs it is tried again and the log says why, and
    /// everything else is done.
    pub fn from_config(config: &Config, connections: impl Into<Connections>) -> WorkerBuilder {
        let storage = config.storage.url.clone().map(StoragePlace::at);
        let intervals = &config.worker;
        let mut worker = Self::builder(connections)
            .exports_every(intervals.exports_every)
            .exports_keep(config.retention.exports)
            .exports_max_rows(config.exports.max_rows)
            .partitions_every(intervals.partitions_every);
        let section = &config.retention;
        let policy = section.clone();
        let windows = [section.evidence, section.access_log, section.runs];
        if !policy.keeps_trail_for_ever() || windows.iter().any(Option::is_some) || storage.is_some() {
            let archive = storage.clone().filter(|_| config.archive);
            let retain =
                move |conn: &mut PgConnection, stop: &Stop| retain(conn, &policy, archive.as_ref(), stop);
            worker = worker.task(Task::reporting("retention", intervals.retention_every, retain));
        }
        let options = HealthOptions::from(&config.tables);
        let coverage = section_coverage(&config.tables);
        let look = move |conn: &mut PgConnection, _: &Stop| look(conn, &options, &coverage);
        worker = worker.task(Task::reporting("health", intervals.health_every, look));
        match storage {
            Some(storage) => worker.storage_at(storage),
            None => worker.without_storage(Task::reporting("exports", intervals.exports_every, waiting())),
        }
    }
}

/// One run, unless another worker has one under way.
fn retain(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    storage: Option<&StoragePlace>,
    stop: &Stop,
) -> Result<Done, TaskError> {
    let storage = storage.map(StoragePlace::get).transpose()?;
    let mut archive = storage.map(StorageArchive::new).transpose()?;
    let archive = archive.as_mut().map(|archive| archive as &mut dyn Archive);
    let mut go_on = |_: &retention::Progress| match stop.is_requested() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    match retention::run(conn, policy, &Actor::service_account(WORKER), archive, &mut go_on) {
        Ok(run) => {
            let counts = [
                ("changes", run.changes),
                ("transactions", run.transactions),
                ("actions", run.actions),
                ("months", run.months),
                ("bytes", run.bytes),
                ("exports", run.exports),
                ("evidence", run.evidence),
                ("access_log", run.access_log),
                ("baseline_rows", run.baseline_rows),
                ("runs", run.runs),
                ("left_for_later", run.left_for_later.len() as u64),
            ];
            let gone = counts.iter().filter(|(name, number)| *number > 0 && *name != "left_for_later");
            let gone: Vec<String> =
                gone.map(|(name, number)| format!("{number} {}", name.replace('_', " "))).collect();
            let removed = format!("removed {}", gone.join(", "));
            let later = format!(
                "left {} for a later run: another session was at work there, or transactions may still read it",
                run.left_for_later.join(", ")
            );
            let done = match (gone.is_empty(), run.left_for_later.is_empty()) {
                (true, true) => Done::nothing(format!("nothing was due (run {})", run.id)),
                (false, true) => Done::something(format!("{removed} (run {})", run.id)),
                (true, false) => Done::nothing(format!("{later} (run {})", run.id)),
                (false, false) => Done::something(format!("{removed}; {later} (run {})", run.id)),
            };
            Ok(counts.iter().fold(done, |done, (name, number)| done.count(name, *number)))
        }
        Err(Error::RetentionRunning) => Ok(Done::nothing("another run is under way")),
        Err(Error::RetentionStopped) if stop.is_requested() => Ok(Done::nothing("stopped")),
        Err(error) => Err(error.into()),
    }
}

/// Coverage with what `[tables]` decides.
fn section_coverage(tables: &Tables) -> CoverageOptions {
    tables.ignored.iter().fold(CoverageOptions::new(), |options, ignored| {
        options.ignore(ignored.table.clone(), &ignored.reason)
    })
}

/// What is wrong with the audit, by its codes; `threadline doctor` says where, and what mends it.
fn look(
    conn: &mut PgConnection,
    options: &HealthOptions,
    covered: &CoverageOptions,
) -> Result<Done, TaskError> {
    let mut options = options.clone();
    for model in audited_models() {
        options = options.expect(model.table()?);
    }
    let findings = health::findings(conn, &options)?;
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings, infos) = (count(Severity::Error), count(Severity::Warning), count(Severity::Info));
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.severity != Severity::Info) {
        *codes.entry(finding.code.as_str()).or_default() += 1;
    }
    let codes: Vec<String> = codes
        .into_iter()
        .map(|(code, times)| if times > 1 { format!("{code} ({times} times)") } else { code.to_owned() })
        .collect();
    let text = match (errors + warnings, codes.join(", ")) {
        (0, _) => "nothing is wrong".to_owned(),
        (_, codes) => {
            let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
            format!("found {errors} and {warnings}: {codes}; `threadline doctor` says what mends them")
        }
    };
    if errors > 0 {
        tracing::warn!(errors, warnings, infos, "threadline: health has {text}");
    }
    let coverage = health::coverage(conn, covered)?;
    health::record_evidence(conn, &coverage, "threadline::worker", Some(&Actor::service_account(WORKER)))?;
    // What is an error has been told just now, and a warning every quarter of an hour would be noise.
    let done = Done::nothing(text).count("errors", errors as u64).count("warnings", warnings as u64);
    Ok(done.count("infos", infos as u64))
}

fn counted(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// Tells, when it changes, how many exports wait for a worker that has a storage.
fn waiting() -> impl FnMut(&mut PgConnection, &Stop) -> Result<Done, TaskError> {
    let mut told = 0;
    move |conn, _| {
        let queued = exports::due(conn)?;
        let text = match queued {
            0 => "no storage is configured, and no export waits for one".to_owned(),
            1 => format!("1 export waits: {NO_STORAGE}"),
            more => format!("{more} exports wait: {NO_STORAGE}"),
        };
        if queued > told {
            tracing::warn!(queued, "threadline: {text}");
        }
        told = queued;
        Ok(Done::nothing(text).count("queued", queued))
    }
}
