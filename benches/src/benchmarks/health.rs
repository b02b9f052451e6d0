//! `health`: coverage, findings and verify on many tables.

use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel_migrations::MigrationHarness;
use threadline::health::{self, CoverageOptions, HealthOptions};
use threadline::verify::{self, Expected};
use threadline_devdb::TestDatabase;

use crate::figures::Figure;
use crate::machine::Machine;
use crate::rounds::Samples;
use crate::table::Table;
use crate::{Effort, Outcome};

const ASKED: [&str; 3] = ["coverage", "findings", "verify"];

/// Measures what each takes of a database with so many audited tables, every tenth with three partitions.
///
/// # Errors
///
/// When the server refuses a statement; panics as [`TestDatabase`] does when it cannot be used.
pub(crate) fn run(effort: Effort) -> anyhow::Result<Outcome> {
    let (tables, rounds) = match effort {
        Effort::Full => (1_000, 9),
        Effort::Quick => (200, 5),
        Effort::Smoke => (20, 1),
    };
    let database = TestDatabase::empty();
    let mut conn = database.connect();
    conn.run_pending_migrations(threadline::MIGRATIONS).map_err(anyhow::Error::from_boxed)?;
    // In transactions of their own: each attach takes locks that all tables together would not have room for.
    for number in 0..tables {
        let partitions = if number % 10 == 0 { " PARTITION BY HASH (id)" } else { "" };
        conn.batch_execute(&format!(
            "CREATE TABLE host_{number} (id bigint PRIMARY KEY, title text, views integer, organization_id bigint, at timestamptz){partitions}"
        ))?;
        if number % 10 == 0 {
            for part in 0..3 {
                conn.batch_execute(&format!(
                    "CREATE TABLE host_{number}_{part} PARTITION OF host_{number} FOR VALUES WITH (MODULUS 3, REMAINDER {part})"
                ))?;
            }
        }
        conn.batch_execute(&format!(
            "SELECT threadline.attach('host_{number}', scope => 'organization_id'); INSERT INTO host_{number} VALUES (1, 'a', 1, 1, now())"
        ))?;
    }
    conn.batch_execute("VACUUM ANALYZE")?;
    let mut samples = [Samples::default(), Samples::default(), Samples::default()];
    for _ in 0..rounds {
        for (place, asked) in ASKED.into_iter().enumerate() {
            let started = Instant::now();
            match asked {
                "coverage" => drop(health::coverage(&mut conn, &CoverageOptions::new())?),
                "findings" => drop(health::findings(&mut conn, &HealthOptions::default())?),
                _ => drop(verify::verify(&mut conn, &Expected::new().declared(Vec::new()))?),
            }
            samples[place].push(started.elapsed().as_secs_f64());
        }
    }
    let mut figures = Vec::new();
    let mut table = Table::new(&["asked", "typical s", "slowest s"]);
    for (place, asked) in ASKED.into_iter().enumerate() {
        let (typical, slowest) = (samples[place].median(), samples[place].max());
        figures.push(Figure::new(format!("health.{asked}.s"), typical, 3, "s", Some(2.0)));
        table.push(vec![asked.to_owned(), format!("{typical:.3}"), format!("{slowest:.3}")]);
    }
    let tables =
        format!("{tables} audited tables, every tenth partitioned; {rounds} rounds\n\n{}", table.render());
    Ok(Outcome { machine: Machine::of(&mut conn)?, figures, tables })
}
