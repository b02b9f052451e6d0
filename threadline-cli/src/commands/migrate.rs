//! `threadline migrate`: runs the audit schema's own migrations, for hosts that do not keep them as files.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, bail};
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_migrations::MigrationHarness;
use serde::Serialize;
use threadline::MIGRATIONS;

use crate::Outcome;
use crate::database::DatabaseArgs;
use crate::output::{DIM, GOOD, Line, NOTE, OutputArgs, Table};

/// Install or upgrade the audit schema, without migration files
///
/// Runs the migrations this version has and the database lacks, each in a transaction of its own. Where they are kept as files, put
/// there by `threadline install`, use `diesel migration run` instead; this command then refuses.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline migrate --dry-run
  threadline migrate
  threadline migrate --check --json")]
pub(crate) struct Args {
    /// Write nothing; say what has been run and what would be
    #[arg(long)]
    dry_run: bool,

    /// Write nothing; exit with 1 when a migration has not been run
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,

    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Serialize)]
struct Document {
    migrations: Vec<State>,
}

#[derive(Serialize)]
struct State {
    name: String,
    state: &'static str,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let mut conn = args.database.connect()?;
    let applied = applied(&mut conn)?;
    let migrations = MigrationSource::<Pg>::migrations(&MIGRATIONS).map_err(|error| anyhow!("{error}"))?;
    let is_applied =
        |migration: &dyn Migration<Pg>| applied.contains(&migration.name().version().to_string());
    let is_installed: bool =
        diesel::select(diesel::dsl::sql::<Bool>("to_regnamespace('threadline') IS NOT NULL"))
            .get_result(&mut conn)
            .context("cannot read the catalog")?;
    if is_installed && !migrations.iter().any(|migration| is_applied(migration.as_ref())) {
        bail!(
            "the audit schema was installed from files; run `threadline install` and `diesel migration run`"
        );
    }
    let writes = !args.dry_run && !args.check;
    if writes {
        // Makes Diesel's table where there is none.
        MigrationHarness::<Pg>::applied_migrations(&mut conn)
            .map_err(|error| anyhow!("cannot note migrations: {error}"))?;
    }
    let (mut states, mut pending) = (Vec::new(), 0);
    for migration in &migrations {
        let name = migration.name().to_string();
        let state = if is_applied(migration.as_ref()) {
            "applied"
        } else if writes {
            conn.run_migration(migration.as_ref())
                .map_err(|error| anyhow!("{error}"))
                .with_context(|| format!("migration `{name}` could not be run; those before it stay"))?;
            "run"
        } else {
            pending += 1;
            "pending"
        };
        states.push(State { name, state });
    }
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Document { migrations: states })?;
    } else {
        let mut table = Table::new(&["MIGRATION", "STATE"]);
        for State { name, state } in states {
            let style = match state {
                "applied" => DIM,
                "run" => GOOD,
                _ => NOTE,
            };
            table.row([Line::from(name), Line::new().styled(style, state)]);
        }
        table.print(&mut output)?;
    }
    output.flush()?;
    Ok(if args.check && pending > 0 { Outcome::FoundSomething } else { Outcome::Done })
}

/// The versions Diesel has noted; its table is not made for the asking.
fn applied(conn: &mut PgConnection) -> Result<BTreeSet<String>> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let exists: bool =
        diesel::select(diesel::dsl::sql::<Bool>("to_regclass('__diesel_schema_migrations') IS NOT NULL"))
            .get_result(conn)
            .context("cannot read the catalog")?;
    if !exists {
        return Ok(BTreeSet::new());
    }
    let versions: Vec<Version> =
        diesel::sql_query("SELECT version::text AS version FROM __diesel_schema_migrations")
            .load(conn)
            .context("cannot read which migrations have been run")?;
    Ok(versions.into_iter().map(|row| row.version).collect())
}
