//! `threadline install`: puts the audit schema's own migrations among the host's.

use std::env;
use std::path::PathBuf;

use anyhow::Result;
use threadline::CORE_MIGRATIONS;

use crate::capture::is_capture;
use crate::migrations::{Migration, Migrations, core_name, locate};
use crate::output::{say, warn};
use crate::{Outcome, shown};

/// Copy the audit schema's migrations into your migrations directory.
///
/// They are sorted after what is there. Those installed already are left alone, so after an upgrade of threadline the
/// same command adds what is new.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where your migrations are, if not where diesel.toml says
    #[arg(long, value_name = "DIR", env = "MIGRATION_DIRECTORY", hide_env_values = true)]
    migrations_dir: Option<PathBuf>,

    /// Print what would be written
    #[arg(long)]
    dry_run: bool,

    /// Write nothing; exit with 1 when a migration is missing or was edited
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let directory = args.migrations_dir.clone().map_or_else(|| locate(&env::current_dir()?), Ok)?;
    let mut migrations = Migrations::read(directory)?;
    if let Some(early) = migrations.iter().find(|migration| is_capture(migration))
        && !migrations.iter().any(Migration::is_core)
    {
        let path = shown(&early.path);
        warn(&format!(
            "{path} runs before the audit schema exists; delete it and run `threadline generate` again"
        ));
    }
    let (mut added, mut edited) = (0, 0);
    for core in CORE_MIGRATIONS {
        let name = core_name(core);
        if let Some(installed) = migrations.iter().find(|migration| migration.name == name) {
            if differs(installed, "up.sql", core.up) || differs(installed, "down.sql", core.down) {
                let path = shown(&installed.path);
                warn(&format!(
                    "{path} is not what this version ships; restore it, and change things in a migration \
                     of your own"
                ));
                edited += 1;
            }
            continue;
        }
        added += 1;
        if args.check {
            say(format_args!("missing {name}"))?;
            continue;
        }
        let migration = migrations.append(&name)?;
        if args.dry_run {
            say(format_args!("would write {}", shown(&migration.path)))?;
        } else {
            migration.write(core.up, core.down)?;
            say(format_args!("wrote {}", shown(&migration.path)))?;
        }
    }
    if args.check {
        if added + edited > 0 {
            return Ok(Outcome::FoundSomething);
        }
        say(format_args!(
            "all {} migrations of the audit schema are installed, as shipped",
            CORE_MIGRATIONS.len()
        ))?;
        return Ok(Outcome::Done);
    }
    match added {
        0 => say(format_args!(
            "nothing to do: all {} migrations of the audit schema are installed",
            CORE_MIGRATIONS.len()
        ))?,
        _ if args.dry_run => {}
        _ => say(format_args!("next: diesel migration run"))?,
    }
    Ok(Outcome::Done)
}

fn differs(installed: &Migration, file: &str, shipped: &str) -> bool {
    installed.sql(file).ok().as_deref() != Some(shipped)
}
