//! The pages for people who investigate: timelines, transactions, rows and their past, and whether the trail is complete.
//!
//! ```no_run
//! use actix_web::{App, HttpRequest, HttpServer};
//! use diesel::PgConnection;
//! use diesel::r2d2::{ConnectionManager, Pool};
//! use threadline_actix::AuditedPool;
//! use threadline_actix::surface::{Access, SurfaceConfig, surface};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::new(ConnectionManager::<PgConnection>::new("postgres://localhost/blog"))?;
//! let config = SurfaceConfig::new(AuditedPool::new(pool))
//!     .authorize(async |request: &HttpRequest| Ok(Access::from(request.headers().contains_key("x-operator"))));
//! HttpServer::new(move || App::new().service(surface(config.clone()).mount("/audit")))
//!     .bind("127.0.0.1:8080")?
//!     .run()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Without [`authorize`](Unguarded::authorize) there is no [`SurfaceConfig`], and so nothing to mount. What concerns the whole
//! database rather than rows, coverage, redaction policy, retention and evidence, is denied until it is opened by its own
//! callback. A callback that fails or panics denies.
//!
//! Below `api/` programs are given the same as JSON, in the shapes of the command line's documents, by the same decisions and
//! recorded in the same access log; `api/openapi.json` describes it.

mod access;
mod api;
mod asked;
mod assets;
mod canonical;
mod command;
mod config;
mod cross_origin;
mod diff;
mod entry;
mod failure;
mod lately;
mod link;
mod moment;
mod mount;
mod preferences;
mod prose;
mod pulse;
mod query;
mod screen;
mod screens;
mod shell;
mod value;
mod visit;
mod window;

pub use self::access::Access;
pub use self::config::{Fonts, SurfaceConfig, Unguarded};
pub use self::mount::{Surface, surface};
pub use self::preferences::Theme;
