//! Threadline's background work: exports that were queued, the files they make, and upkeep that has to happen in time.
//!
//! A [`Worker`] runs on threads of its own, inside an application or as a program. Any number of them works on one database:
//! each export is made once, whoever dies meanwhile. The files are in a [`Storage`], a local directory or, with the feature
//! `s3`, a bucket; they are handed out through a route of the application's, or by a link that is good for one job and a short
//! time ([`DownloadKey`]).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use threadline_worker::{Connections, Storage, Worker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let worker = Worker::builder(Connections::to_url("postgres://localhost/blog"))
//!     .storage(Storage::from_url("file:///var/lib/threadline")?)
//!     .exports_keep(Duration::from_secs(7 * 86_400))
//!     .build()?;
//! let handle = worker.spawn()?;
//! // … serve requests; in the end
//! handle.stop();
//! # Ok(())
//! # }
//! ```
//!
//! What is to be done can also stand in `threadline.toml`: [`Worker::from_config`] does all that is asked for there, retention
//! and its archive included.
//!
//! # With actix-web
//!
//! Spawn the worker once, before `HttpServer::new`, not in its closure: that one runs once for each of the server's threads.

mod archive;
mod configured;
mod connections;
mod exports;
mod heartbeat;
mod link;
mod object;
mod place;
mod reader;
mod rounds;
mod stop;
mod storage;
mod task;
mod upload;
mod worker;

pub use bytes::Bytes;
pub use object_store::ObjectStore;
pub use url::Url;

pub use self::archive::StorageArchive;
pub use self::connections::{Connection, Connections};
pub use self::link::{DownloadKey, InvalidKey, InvalidToken};
pub use self::object::{InvalidObjectName, ObjectName};
pub use self::reader::StoredReader;
pub use self::stop::Stop;
pub use self::storage::{Storage, StorageError, Stored};
pub use self::task::{Done, Task, TaskError};
pub use self::upload::Upload;
pub use self::worker::{InvalidWorker, TaskFailure, TaskReport, Worker, WorkerBuilder, WorkerHandle};
