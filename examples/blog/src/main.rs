//! Migrates the database that `DATABASE_URL` names and serves it at `LISTEN`, by default 127.0.0.1:8080.

use std::env;
use std::error::Error;

use blog::{db, server};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    env_logger::init();
    let url =
        env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set; it names the database to use")?;
    let listen = env::var("LISTEN").unwrap_or_else(|_| String::from("127.0.0.1:8080"));

    let pool = db::pool(&url)?;
    db::migrate(&pool)?;
    let (server, address) = server::bind(pool, &listen)?;
    println!("listening on http://{address}");
    Ok(server.await?)
}
