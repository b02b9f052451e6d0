//! The worker that `threadline.toml` describes.

use std::ops::ControlFlow;

use diesel::prelude::*;
use threadline::config::{Config, Tables};
use threadline::health::{self, CoverageOptions, HealthOptions, Severity};
use threadline::retention::{self, Archive, RetentionPolicy};
use threadline::{Actor, ActorId, Error, audited_models};

use crate::archive::StorageArchive;
use crate::connections::Connections;
use crate::stop::Stop;
use crate::storage::{Storage, StorageError};
use crate::task::{Task, TaskError};
use crate::worker::{Worker, WorkerBuilder};

const WORKER: ActorId = ActorId::from_static("threadline-worker");

impl Worker {
    /// The worker a configuration asks for, which can still be given an instance's name, or more tasks:
    ///
    /// - exports, and the removal of their files, where `storage.url` is set;
    /// - `partitions`, ahead of time;
    /// - `retention`, as `service_account:threadline-worker`, with an archive in the storage if `retention.archive` is set. It is
    ///   left out when no window is set, and there are no exports that could expire;
    /// - `health`, of the tables in `[tables]` and of the models linked into the program: when there are errors, their number is
    ///   logged. Which tables are covered is recorded as evidence, where the role may do so, when it changes and once a day.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage cannot be used.
    pub fn from_config(
        config: &Config,
        connections: impl Into<Connections>,
    ) -> Result<WorkerBuilder, StorageError> {
        let storage = config.storage.url.as_deref().map(Storage::from_url).transpose()?;
        let intervals = &config.worker;
        let mut worker = Self::builder(connections)
            .exports_every(intervals.exports_every)
            .exports_keep(config.retention.exports)
            .exports_max_rows(config.exports.max_rows)
            .partitions_every(intervals.partitions_every);
        let section = &config.retention;
        let policy = RetentionPolicy::from(section);
        let windows = [section.evidence, section.access_log, section.runs];
        if !policy.keeps_trail_for_ever() || windows.iter().any(Option::is_some) || storage.is_some() {
            let archive = storage.clone().filter(|_| section.archive);
            let retain =
                move |conn: &mut PgConnection, stop: &Stop| retain(conn, &policy, archive.as_ref(), stop);
            worker = worker.task(Task::stoppable("retention", intervals.retention_every, retain));
        }
        let options = HealthOptions::from(&config.tables);
        let coverage = section_coverage(&config.tables);
        let look = move |conn: &mut PgConnection| look(conn, &options, &coverage);
        worker = worker.task(Task::new("health", intervals.health_every, look));
        Ok(match storage {
            Some(storage) => worker.storage(storage),
            None => worker,
        })
    }
}

/// One run, unless another worker has one under way.
fn retain(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    storage: Option<&Storage>,
    stop: &Stop,
) -> Result<(), TaskError> {
    let mut archive = storage.cloned().map(StorageArchive::new).transpose()?;
    let archive = archive.as_mut().map(|archive| archive as &mut dyn Archive);
    let mut go_on = |_: &retention::Progress| match stop.is_requested() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    match retention::run(conn, policy, &Actor::service_account(WORKER), archive, &mut go_on) {
        Ok(run) => {
            if run.changes + run.actions + run.months > 0 {
                tracing::info!(
                    changes = run.changes,
                    actions = run.actions,
                    months = run.months,
                    "threadline: retention run {} has ended",
                    run.id
                );
            }
            Ok(())
        }
        Err(Error::RetentionRunning) => Ok(()),
        Err(Error::RetentionStopped) if stop.is_requested() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Coverage with what `[tables]` decides.
fn section_coverage(tables: &Tables) -> CoverageOptions {
    tables.ignored.iter().fold(CoverageOptions::new(), |options, ignored| {
        options.ignore(ignored.table.clone(), &ignored.reason)
    })
}

/// What is wrong with the audit, by number; `threadline doctor` says what it is.
fn look(
    conn: &mut PgConnection,
    options: &HealthOptions,
    covered: &CoverageOptions,
) -> Result<(), TaskError> {
    let mut options = options.clone();
    for model in audited_models() {
        options = options.expect(model.table()?);
    }
    let findings = health::findings(conn, &options)?;
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings, infos) = (count(Severity::Error), count(Severity::Warning), count(Severity::Info));
    if errors > 0 {
        tracing::warn!(
            errors,
            warnings,
            infos,
            "threadline: health has found {errors} errors and {warnings} warnings"
        );
    }
    let coverage = health::coverage(conn, covered)?;
    health::record_evidence(conn, &coverage, "threadline::worker", Some(&Actor::service_account(WORKER)))?;
    Ok(())
}
