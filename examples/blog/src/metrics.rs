//! What Prometheus scrapes, on a port of its own that the public cannot reach.

use std::error::Error;
use std::net::SocketAddr;

use actix_web::dev::Server;
use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use threadline::telemetry;

/// Collects the metrics of this process, once, and binds `listen` to answer `GET /metrics`. Returns the server, to be awaited,
/// and its address.
///
/// # Errors
///
/// When the address cannot be bound, or metrics are collected already.
pub fn bind(listen: &str) -> Result<(Server, SocketAddr), Box<dyn Error + Send + Sync>> {
    let collected = PrometheusBuilder::new().install_recorder()?;
    telemetry::describe();
    let server = HttpServer::new(move || {
        App::new().app_data(web::Data::new(collected.clone())).route("/metrics", web::get().to(show))
    })
    .workers(1)
    .disable_signals()
    .bind(listen)?;
    let address = *server.addrs().first().expect("`bind` fails when there is nothing to bind");
    Ok((server.run(), address))
}

async fn show(collected: web::Data<PrometheusHandle>) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body(collected.render())
}
