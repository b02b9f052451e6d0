//! Exports in the background: jobs in a queue, made by workers, each with the part of the trail its requester may see.
//!
//! A host enqueues an [`ExportRequest`] on behalf of an actor, who owns the job: nobody else is told that it exists. What the
//! requester may see is stored with the job and applied when it runs; a job whose scope cannot be read fails. Workers
//! ([`claim`] and what follows it) are the business of the crate `threadline-worker`, which also has the storage.
//!
//! ```no_run
//! use std::time::Duration;
//! # use diesel::prelude::*;
//! use threadline::exports::{self, ExportRequest};
//! use threadline::{Actor, ExportFormat, ExportOptions, Filter, Scope, TableName};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let conn = &mut PgConnection::establish("postgres://localhost/blog")?;
//! // Every day the changes of the day before, for as long as nobody cancels it.
//! let request = ExportRequest::scoped(Scope::tenant("7"), ExportOptions::new(ExportFormat::Csv).unlimited())
//!     .filter(Filter::new().table(TableName::new(None, "posts")))
//!     .every(Duration::from_secs(86_400))
//!     .window(Duration::from_secs(86_400));
//! let job = exports::enqueue(conn, &request, &Actor::user(42))?;
//! println!("{} is {}", job.id, job.state);
//! # Ok(())
//! # }
//! ```
//!
//! # Rights
//!
//! All of it runs with the rights of the caller. Whoever enqueues, lists and downloads needs SELECT, INSERT and UPDATE on
//! `threadline.export_jobs`; a worker the same, and what reading the trail takes. Whoever may write that table decides what
//! is exported, so no one else may.

mod claim;
mod delivery;
mod download;
mod job;
mod owned;
mod request;
mod run;
mod stored;
mod sweep;

pub use self::claim::{Claim, claim, complete, fail, hand_back, heartbeat};
pub use self::delivery::record_delivery;
pub use self::download::{Download, ReadyExport, download, download_granted};
pub use self::job::{ExportFailure, ExportJob, ExportState};
pub use self::owned::{cancel, cancel_all, due, find, get, get_under, list, list_all, list_under};
pub use self::request::{ExportRequest, InvalidExportRequest, enqueue};
pub use self::sweep::{Leftovers, cleaned, sweep};
