//! The HTTP server.

use std::io;
use std::net::SocketAddr;

use actix_web::cookie::Key;
use actix_web::dev::Server;
use actix_web::middleware::{Logger, from_fn};
use actix_web::{App, HttpServer, web};
use threadline_actix::surface::{SurfaceConfig, surface};
use threadline_actix::{AuditMiddleware, AuditedPool};

use crate::{origin, pages, routes, session};

/// Binds `listen`, such as `127.0.0.1:8080`; port 0 is any free one. `audit` is what is mounted at
/// `/audit`, as [`audit::pages`](crate::audit::pages) makes it. Returns the server, to be awaited, and its address.
///
/// # Errors
///
/// When the address cannot be bound.
pub fn bind(
    pool: AuditedPool,
    key: Key,
    audit: SurfaceConfig,
    listen: &str,
) -> io::Result<(Server, SocketAddr)> {
    let server = HttpServer::new(move || {
        App::new()
            // The audited pool and no other: no handler can write without saying for whom.
            .app_data(web::Data::new(pool.clone()))
            .configure(routes::configure)
            .configure(pages::configure)
            .service(surface(audit.clone()).mount("/audit"))
            // The last one here is the first to see a request: the session is there when its user is asked for.
            .wrap(AuditMiddleware::new(session::actor).correlate_requests())
            .wrap(session::middleware(key.clone()))
            .wrap(from_fn(origin::refuse_foreign_writes))
            .wrap(Logger::default())
    })
    .workers(2)
    .bind(listen)?;
    let address = *server.addrs().first().expect("`bind` fails when there is nothing to bind");
    Ok((server.run(), address))
}
