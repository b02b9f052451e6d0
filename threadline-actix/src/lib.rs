//! Threadline for actix-web: who is asking, and handlers whose every change says so.
//!
//! [`AuditMiddleware`] finds out who makes a request and gives it an id. [`audited`] runs a handler's body in an audited
//! transaction on actix's blocking pool; what it is sugar for is the extractor [`Audit`], for handlers that need more room.
//!
//! ```no_run
//! use actix_web::dev::ServiceRequest;
//! use actix_web::{App, HttpServer, post, web};
//! use diesel::prelude::*;
//! use diesel::r2d2::{ConnectionManager, Pool};
//! use threadline_actix::{Actor, AuditMiddleware, AuditedPool, audited};
//!
//! diesel::table! { posts (id) { id -> BigInt, status -> Text } }
//!
//! #[derive(Debug, thiserror::Error)]
//! enum AppError {
//!     #[error("the database refused")]
//!     Query(#[from] diesel::result::Error),
//!     #[error(transparent)]
//!     Audit(#[from] threadline_actix::Error),
//! }
//!
//! impl actix_web::ResponseError for AppError {}
//!
//! #[post("/posts/{id}/publish")]
//! #[audited(action = "post.published", require_changes)]
//! async fn publish(conn: &mut PgConnection, id: web::Path<i64>) -> Result<&'static str, AppError> {
//!     diesel::update(posts::table.find(*id)).set(posts::status.eq("published")).execute(conn)?;
//!     Ok("published")
//! }
//!
//! async fn whoever(request: &ServiceRequest) -> actix_web::Result<Option<Actor>> {
//!     let id = request.headers().get("x-user").and_then(|id| id.to_str().ok()?.parse::<i64>().ok());
//!     Ok(id.map(Actor::user))
//! }
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = AuditedPool::new(Pool::new(ConnectionManager::new("postgres://localhost/blog"))?);
//! HttpServer::new(move || {
//!     App::new()
//!         .app_data(web::Data::new(pool.clone()))
//!         .wrap(AuditMiddleware::new(whoever))
//!         .service(publish)
//! })
//! .bind("127.0.0.1:8080")?
//! .run()
//! .await?;
//! # Ok(())
//! # }
//! ```

mod error;
#[cfg(feature = "exports")]
mod exports;
mod extractor;
mod handler;
mod middleware;
mod proxies;
mod request_ids;
mod response;
#[cfg(feature = "surface")]
pub mod surface;

pub use ipnet::IpNet;
pub use threadline::{
    Action, Actor, ActorId, ActorType, AuditContext, AuditedPool, Isolation, OpenTransaction,
    TransactionBuilder,
};

pub use threadline_macros::audited;

pub use crate::error::Error;
#[cfg(feature = "exports")]
pub use crate::exports::{export_download, export_download_by_token};
pub use crate::extractor::Audit;
pub use crate::middleware::{AuditMiddleware, MissingActor, RequestIds};
pub use crate::proxies::ForwardedHeader;
#[cfg(feature = "surface")]
pub use crate::surface::surface;

/// What the code of our macros names; no part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use ::actix_web::HttpResponse;
    pub use ::diesel::PgConnection;
    pub use ::threadline::{Action, Isolation, OpenTransaction, TransactionBuilder};

    pub use crate::handler::{Answer, AuditedRequest, HandlerError};
}
