//! The demo: starts the example on the database of `DATABASE_URL`, drives traffic through it, and asks the trail about it.
//!
//! `scripts/demo` builds this and runs it with a private PostgreSQL around it.

mod app;
mod check;
mod client;
mod history;
mod incident;
mod outside;
mod report;
mod story;
mod surface;
mod trail;

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::app::App;
use crate::client::Client;
use crate::incident::Incident;
use crate::outside::Database;

/// The example application, with traffic; stays up until Ctrl-C.
#[derive(Parser)]
#[command(name = "blog-demo")]
struct Cli {
    /// Do not stay up: check what the trail says, and exit with 0 or 1
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// Whether everything that was checked holds.
fn run(cli: &Cli) -> Result<bool> {
    let url = env::var("DATABASE_URL").context("DATABASE_URL is not set; run `scripts/demo`")?;
    let database = Database::new(url);
    report::database(&database)?;
    let app = App::start(&database)?;
    println!("  application  {}", app.url());
    let client = Client::new(app.url());

    let told = story::tell(&client, &database)?;
    report::history(&client, &told)?;
    report::as_of(&client, &told)?;
    report::cascade(&database, &told)?;
    let incident = Incident::of(&client, &database, &told)?;
    incident.print(&told);

    if cli.check {
        let holds = check::everything(&client, &database, &told, &incident)?;
        app.stop()?;
        return Ok(holds);
    }
    surface::print(&app, &database)?;
    report::next_steps(&app, &database, &told, &incident);
    app.wait()?;
    Ok(true)
}
