//! The HTTP server.

use std::io;
use std::net::SocketAddr;

use actix_web::dev::Server;
use actix_web::middleware::Logger;
use actix_web::{App, HttpServer, web};

use crate::db::Pool;
use crate::routes;

/// Binds `listen`, such as `127.0.0.1:8080`; port 0 is any free one. Returns the server, to be awaited, and its address.
///
/// # Errors
///
/// When the address cannot be bound.
pub fn bind(pool: Pool, listen: &str) -> io::Result<(Server, SocketAddr)> {
    let server = HttpServer::new(move || {
        App::new().app_data(web::Data::new(pool.clone())).wrap(Logger::default()).configure(routes::configure)
    })
    .workers(2)
    .bind(listen)?;
    let address = *server.addrs().first().expect("`bind` fails when there is nothing to bind");
    Ok((server.run(), address))
}
