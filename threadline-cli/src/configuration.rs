//! `threadline.toml`: which file is in force.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use threadline::config::{Config, ConfigError};

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
