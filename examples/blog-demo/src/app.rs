//! The example application, in this process: whatever ends the demo ends it too.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use anyhow::{Context, Result, anyhow};
use blog::{audit, db, jobs, seed, server, session};
use tempfile::TempDir;
use threadline::config::{Config, Storage};
use threadline::{AuditedPool, TableName};
use threadline_worker::{Connections, Worker, WorkerHandle};

use crate::history;
use crate::outside::Database;

/// What the seeded users log in with, and those who are invited.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct App {
    url: String,
    handle: ServerHandle,
    thread: JoinHandle<std::io::Result<()>>,
    /// Writes the files of exports, among other things.
    worker: WorkerHandle,
    /// Where they lie until the demo is over.
    exports: TempDir,
}

impl App {
    /// Starts as the example's own `main` does: migrates, then listens, here on any free port. Before it listens, the database
    /// gets a history.
    pub(crate) fn start(database: &Database) -> Result<Self> {
        let pool = db::pool(database.url()).context("cannot connect to the database")?;
        db::migrate(&pool).map_err(|error| anyhow!("the migrations failed: {error}"))?;
        let pool = AuditedPool::new(pool);
        seed::passwords(&pool, PASSWORD).map_err(|error| anyhow!("no passwords could be given: {error}"))?;
        seed::staff(&pool, PASSWORD).map_err(|error| anyhow!("no staff could be hired: {error}"))?;
        history::write(&pool, database.connect()?)?;
        let key = session::key(None).map_err(anyhow::Error::msg)?;

        let exports = tempfile::tempdir().context("no folder for exports")?;
        let mut config = Config::parse(include_str!("../../blog/threadline.toml"))?;
        config.storage = Storage::new().url(format!("file://{}", exports.path().display()));
        let worker = Worker::from_config(&config, Connections::to_url(database.url()));
        let worker = worker.build()?.spawn()?;
        // The history is younger than what the platform keeps at least; on the pages something is due all the same, which only
        // who types it out has removed: the worker goes by what it was given above.
        config.retention = config
            .retention
            .minimum(14 * DAY)
            .table(TableName::new(Some("public"), "notifications"), 14 * DAY);
        let audit = audit::pages(&pool, config, database.url())?;

        let queue = pool.clone();
        thread::spawn(move || jobs::work(&queue));
        let (started, outcome) = mpsc::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async {
                let (server, address) = server::bind(pool, key, audit, "127.0.0.1:0")?;
                started.send((server.handle(), address)).expect("the starter waits for this");
                server.await
            })
        });
        let (handle, address) = outcome.recv().context("no port could be bound")?;
        Ok(Self { url: format!("http://{address}"), handle, thread, worker, exports })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits for Ctrl-C or SIGTERM, which the server handles.
    pub(crate) fn wait(self) -> Result<()> {
        let ended = self.thread.join().map_err(|_| anyhow!("the server panicked"))?;
        self.worker.stop();
        drop(self.exports);
        ended.context("the server failed")
    }

    pub(crate) fn stop(self) -> Result<()> {
        // The command is sent at once; what it returns only waits for the end, as does the join.
        drop(self.handle.stop(false));
        self.wait()
    }
}
