//! Migrates the database that `DATABASE_URL` names and serves it at `LISTEN`, by default 127.0.0.1:8080.
//!
//! `SESSION_KEY` is the secret of the sessions; `DEMO_PASSWORD` lets the seeded users log in, and adds staff
//! who may see the audit pages; `METRICS_LISTEN`, such as
//! 127.0.0.1:9090, is where Prometheus finds the metrics.

use std::error::Error;
use std::{env, thread};

use actix_web::rt;
use blog::{audit, db, jobs, metrics, seed, server, session};
use threadline::AuditedPool;
use threadline::config::Config;
use threadline_worker::{Connections, Worker};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let url =
        env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set; it names the database to use")?;
    let listen = env::var("LISTEN").unwrap_or_else(|_| String::from("127.0.0.1:8080"));
    let key = session::key(env::var("SESSION_KEY").ok().as_deref())?;

    let pool = db::pool(&url)?;
    db::migrate(&pool)?;
    let pool = AuditedPool::new(pool);
    if let Ok(password) = env::var("DEMO_PASSWORD") {
        seed::passwords(&pool, &password)?;
        seed::staff(&pool, &password)?;
    }
    // Partitions, retention, exports and health, as threadline.toml has them.
    let config = Config::discover(env::current_dir()?)?;
    let worker = Worker::from_config(&config, Connections::to_url(&url));
    let worker = worker.build()?.spawn()?;
    if let Ok(listen) = env::var("METRICS_LISTEN") {
        let (metrics, address) = metrics::bind(&listen)?;
        rt::spawn(metrics);
        println!("metrics on http://{address}/metrics");
    }
    let (server, address) = server::bind(pool.clone(), key, audit::pages(&pool, config, &url)?, &listen)?;
    thread::spawn(move || jobs::work(&pool));
    println!("listening on http://{address}");
    server.await?;
    worker.stop();
    Ok(())
}
