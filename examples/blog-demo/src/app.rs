//! The example application, in this process: whatever ends the demo ends it too.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use anyhow::{Context, Result, anyhow};
use blog::{db, jobs, seed, server, session};
use threadline::AuditedPool;

/// What the seeded users log in with, and those who are invited.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

pub(crate) struct App {
    url: String,
    handle: ServerHandle,
    thread: JoinHandle<std::io::Result<()>>,
}

impl App {
    /// Starts as the example's own `main` does: migrates, then listens, here on any free port.
    pub(crate) fn start(database_url: &str) -> Result<Self> {
        let pool = db::pool(database_url).context("cannot connect to the database")?;
        db::migrate(&pool).map_err(|error| anyhow!("the migrations failed: {error}"))?;
        let pool = AuditedPool::new(pool);
        seed::passwords(&pool, PASSWORD).map_err(|error| anyhow!("no passwords could be given: {error}"))?;
        let key = session::key(None).map_err(anyhow::Error::msg)?;

        let worker = pool.clone();
        thread::spawn(move || jobs::work(&worker));
        let (started, outcome) = mpsc::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async {
                let (server, address) = server::bind(pool, key, "127.0.0.1:0")?;
                started.send((server.handle(), address)).expect("the starter waits for this");
                server.await
            })
        });
        let (handle, address) = outcome.recv().context("no port could be bound")?;
        Ok(Self { url: format!("http://{address}"), handle, thread })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits for Ctrl-C or SIGTERM, which the server handles.
    pub(crate) fn wait(self) -> Result<()> {
        self.thread.join().map_err(|_| anyhow!("the server panicked"))?.context("the server failed")
    }

    pub(crate) fn stop(self) -> Result<()> {
        // The command is sent at once; what it returns only waits for the end, as does the join.
        drop(self.handle.stop(false));
        self.wait()
    }
}
