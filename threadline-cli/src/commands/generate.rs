//! `threadline generate`: one migration for whatever the models ask for and the migrations do not bring about yet.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::capture::{Plan, audits, deployed};
use crate::migrations::{Migration, Migrations, locate};
use crate::models::{Places, SourceArgs};
use crate::output::{say, warn};
use crate::sources::scan;
use crate::{Outcome, shown};

/// Write one migration for the audited models that changed since the last one.
///
/// Reads every struct that derives `Audited`, and every `table!`, from the sources of the package and of the workspace
/// members it depends on, or of all members when called at the root of the workspace. Nothing is compiled. A second run
/// writes nothing.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: SourceArgs,

    /// Where your migrations are, if not where diesel.toml says
    #[arg(long, value_name = "DIR", env = "MIGRATION_DIRECTORY", hide_env_values = true)]
    migrations_dir: Option<PathBuf>,

    /// Write nothing; exit with 1 and name the models when the migrations are behind
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,

    /// Print the SQL instead of writing it
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let current = env::current_dir().context("cannot tell the working directory")?;
    let Places { directories, start, .. } = args.sources.find(&current)?.context(
        "no Cargo.toml here or above; name one with `--manifest-path`, or sources with `--source`",
    )?;
    let sources = scan(&directories)?;
    let wanted = audits(&sources)?;
    let mut migrations = Migrations::read(args.migrations_dir.clone().map_or_else(|| locate(&start), Ok)?)?;
    let deployed = deployed(&migrations)?;

    if wanted.is_empty() {
        warn("no struct derives `Audited` in the sources read");
    }
    for audit in wanted.values().filter(|audit| audit.attach.columns.is_empty()) {
        warn(&format!("no `table!` found for {}; its identifiers are taken for names", audit.model));
    }
    if !migrations.iter().any(Migration::is_core) {
        warn("the audit schema is not among your migrations; run `threadline install` first");
    }

    let plan = Plan::between(&deployed, &wanted);
    if plan.is_empty() {
        say(format_args!(
            "nothing to do: {} audited models, all migrations up to date",
            sources.models.len()
        ))?;
        return Ok(Outcome::Done);
    }
    if args.check {
        plan.describe().try_for_each(say)?;
        say(format_args!("the migrations are behind; run `threadline generate`"))?;
        return Ok(Outcome::FoundSomething);
    }
    let migration = migrations.append(&plan.name())?;
    plan.describe().try_for_each(say)?;
    for (table, column) in plan.irreversible() {
        warn(&format!(
            "down.sql turns capture of {table} off: its earlier policy names {column:?}, which is gone"
        ));
    }
    if args.dry_run {
        for (file, sql) in [("up.sql", plan.up_sql()), ("down.sql", plan.down_sql())] {
            say(format_args!("\n-- {}\n{sql}", shown(&migration.path.join(file))))?;
        }
        return Ok(Outcome::Done);
    }
    migration.write(&plan.up_sql(), &plan.down_sql())?;
    say(format_args!("wrote {}", shown(&migration.path)))?;
    say(format_args!("next: diesel migration run"))?;
    Ok(Outcome::Done)
}
