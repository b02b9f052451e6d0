//! `threadline.toml`: which file is in force, and what it asks of the verbs that look after the trail.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use threadline::TableName;
use threadline::config::{Config, ConfigError};
use threadline::health::CoverageOptions;

use crate::shown;

/// Where the configuration is.
#[derive(clap::Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigArgs {
    /// The configuration, if not the one THREADLINE_CONFIG names, or the `threadline.toml` here or above
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
}

/// What is in force, and the file that says so; `None` where there is none, and the defaults are in force.
pub(crate) struct Configuration {
    pub(crate) config: Config,
    pub(crate) file: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file that counts.
    ///
    /// # Errors
    ///
    /// A directory that cannot be looked into.
    pub(crate) fn file(&self) -> Result<Option<PathBuf>> {
        if let Some(path) = &self.config {
            return Ok(Some(path.clone()));
        }
        let current = env::current_dir().context("cannot tell the working directory")?;
        Ok(Config::find(current)?)
    }

    /// That the file is right, where one was given: for verbs that need nothing of it, and take the option as their siblings do.
    /// One that was only found is not looked into, lest it keep somebody from placing a hold.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub(crate) fn check(&self) -> Result<()> {
        self.config.as_ref().map_or(Ok(()), |_| self.load().map(drop))
    }

    /// What is in force.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with all that is wrong with the file.
    pub(crate) fn load(&self) -> Result<Configuration> {
        let file = self.file()?;
        let config = file.as_ref().map_or_else(|| Ok::<_, ConfigError>(Config::default()), Config::load)?;
        Ok(Configuration { config, file })
    }
}

impl Configuration {
    /// What the file is called, seen from here.
    pub(crate) fn name(&self) -> Option<String> {
        self.file.as_deref().map(name)
    }

    /// Tables that are named elsewhere than in `[tables]`, each with where, as the checks of names take it.
    pub(crate) fn named(&self) -> impl Iterator<Item = (TableName, &'static str)> {
        let windows = self.config.retention.tables.keys();
        windows.map(|table| (table.clone(), "`[retention] tables` has a window for it"))
    }

    /// Actions that are named, each with where, as the check of names takes it.
    pub(crate) fn named_actions(&self) -> impl Iterator<Item = (&String, &'static str)> {
        self.config.retention.actions.keys().map(|name| (name, "`[retention] actions` has a window for it"))
    }

    /// Which tables are to be looked at, and which of them need not be audited.
    pub(crate) fn coverage(&self, schemas: &[String]) -> CoverageOptions {
        let ignored = self.config.tables.ignored.iter();
        let options = ignored.fold(CoverageOptions::new(), |options, ignored| {
            options.ignore(ignored.table.clone(), &ignored.reason)
        });
        schemas.iter().fold(options, CoverageOptions::schema)
    }
}

/// What a file is called, seen from here.
pub(crate) fn name(path: &Path) -> String {
    shown(path).to_string()
}
