//! Where the configuration of the project at hand is.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError};

/// The name of the file.
pub const CONFIG_FILE: &str = "threadline.toml";

/// The environment variable that names another file.
pub const CONFIG_VARIABLE: &str = "THREADLINE_CONFIG";

impl Config {
    /// The configuration in a file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unreadable`] when it cannot be read, [`ConfigError::Invalid`] with all that is wrong with it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
        Self::parse(&text).map_err(|error| ConfigError::Invalid { path: path.to_owned(), error })
    }

    /// The configuration [`find`](Self::find) finds, or the default one when there is none.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find) and [`load`](Self::load).
    pub fn discover(start_dir: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::find(start_dir)?.map_or_else(|| Ok(Self::default()), Self::load)
    }

    /// The file that [`CONFIG_VARIABLE`] names, unless that is empty or not set; else the nearest [`CONFIG_FILE`] in
    /// `start_dir` and the directories above it. `None` when there is no such file; whether the named one is there, loading
    /// it will say.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unreadable`] when a directory cannot be looked into, for the file may be there.
    pub fn find(start_dir: impl AsRef<Path>) -> Result<Option<PathBuf>, ConfigError> {
        if let Some(named) = env::var_os(CONFIG_VARIABLE).filter(|named| !named.is_empty()) {
            return Ok(Some(named.into()));
        }
        let start_dir = start_dir.as_ref();
        // A path with `..` in it has ancestors that are none of the directory's.
        let start_dir = start_dir.canonicalize().map_err(|error| unreadable(start_dir, error))?;
        for directory in start_dir.ancestors() {
            let file = directory.join(CONFIG_FILE);
            // A link that leads nowhere is there: loading it fails, where passing it by would end at another project's file.
            match fs::symlink_metadata(&file) {
                Ok(_) => return Ok(Some(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(&file, error)),
            }
        }
        Ok(None)
    }
}

fn unreadable(path: &Path, error: io::Error) -> ConfigError {
    ConfigError::Unreadable { path: path.to_owned(), error }
}
