//! `bench`: what Threadline costs, measured. `scripts/bench` builds it and gives it a private server.
//!
//! Each benchmark is one file in `benchmarks/`; the rest is what they share.

mod benchmarks;
mod figures;
mod loaded_trail;
mod machine;
mod memory;
mod rounds;
mod table;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::figures::Report;
use crate::machine::Machine;

/// Measure what Threadline costs, beside other ways to do the same
///
/// It takes the server from DATABASE_URL, where it creates databases of its own and drops them; without one it starts a
/// server.
#[derive(Parser)]
#[command(name = "bench", override_usage = "bench <NAME> [--quick] [--json]")]
struct Cli {
    /// What to measure
    name: Benchmark,
    /// Fewer and smaller rounds, under a minute; the figures are less exact
    #[arg(long, conflicts_with = "smoke")]
    quick: bool,
    /// Print `{"machine": …, "figures": [{"name", "value", "unit", "goal", "better"}]}` instead of tables
    #[arg(long)]
    json: bool,
    /// The smallest sizes there are, for tests of this program: the figures mean nothing.
    #[arg(long, hide = true)]
    smoke: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Benchmark {
    /// What capture adds to writes, and what it stores
    Capture,
    /// What an export takes that a worker makes, beside one written to a file directly
    Exports,
    /// What coverage, findings and verify take on 1,000 tables
    Health,
    /// How fast the trail is read, and whether it stays so as it grows
    Read,
    /// What an audited handler takes beside the same one without audit
    Request,
    /// What the removal of a month takes, as a partition and in batches
    Retention,
    /// What the pages for operators take on a trail of ten million changes
    Surface,
}

/// How much to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    Full,
    Quick,
    Smoke,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<String> {
    let effort = match (cli.smoke, cli.quick) {
        (true, _) => Effort::Smoke,
        (false, true) => Effort::Quick,
        (false, false) => Effort::Full,
    };
    let outcome = match cli.name {
        Benchmark::Capture => benchmarks::capture::run(effort)?,
        Benchmark::Exports => benchmarks::exports::run(effort)?,
        Benchmark::Health => benchmarks::health::run(effort)?,
        Benchmark::Read => benchmarks::read::run(effort)?,
        Benchmark::Request => benchmarks::request::run(effort)?,
        Benchmark::Retention => benchmarks::retention::run(effort)?,
        Benchmark::Surface => benchmarks::surface::run(effort)?,
    };
    Ok(if cli.json {
        serde_json::to_string_pretty(&Report { machine: outcome.machine, figures: outcome.figures })?
    } else {
        format!("{}\n\n{}", outcome.machine, outcome.tables)
    })
}

/// What a benchmark hands back.
pub(crate) struct Outcome {
    pub(crate) machine: Machine,
    pub(crate) figures: Vec<figures::Figure>,
    /// The same for a reader, with what the figures are made of.
    pub(crate) tables: String,
}
