//! `threadline.toml`: how the trail of one application is to be operated, in one file that is checked as a whole.
//!
//! ```
//! use std::time::Duration;
//! use threadline::config::Config;
//! use threadline::retention::RetentionPolicy;
//!
//! let file = Config::parse("[retention]\nkeep = \"400 days\"\n")?;
//! let built = Config::builder().retention(RetentionPolicy::new().keep(Duration::from_secs(400 * 86_400))).build()?;
//! assert_eq!(file, built);
//!
//! let wrong = Config::parse("[retention]\nkep = \"400 days\"\n").unwrap_err();
//! assert_eq!(
//!     wrong.problems()[0].to_string(),
//!     "line 2: retention.kep: is not a key of this section; did you mean `keep`?"
//! );
//! # Ok::<_, threadline::config::InvalidConfig>(())
//! ```
//!
//! The file holds nothing secret: what looks like a credential is refused, and belongs into the environment.

mod check;
mod discover;
mod duration;
mod names;
mod print;
mod problem;
mod read;
mod secrets;
mod sections;
mod source;
mod values;

pub use self::discover::{CONFIG_FILE, CONFIG_VARIABLE};
pub use self::problem::{ConfigError, InvalidConfig, Problem};
pub use self::sections::{Exports, IgnoredTable, Storage, Tables, Worker};
use crate::operation::retention::RetentionPolicy;

/// How the trail of one application is operated. The default is what is in force without a file.
///
/// Its values are plain, for whatever runs the operations to hand on. [`parse`](Self::parse), [`load`](Self::load),
/// [`discover`](Self::discover) and the [`builder`](Self::builder) give none that contradicts itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// `[tables]`: what has to be audited, and what need not be.
    pub tables: Tables,
    /// `[retention]`: how long what is kept.
    pub retention: RetentionPolicy,
    /// `[retention] archive`: whether what leaves the trail is archived to the storage first.
    pub archive: bool,
    /// `[exports]`: export jobs.
    pub exports: Exports,
    /// `[storage]`: where files go.
    pub storage: Storage,
    /// `[worker]`: how often the worker does what.
    pub worker: Worker,
}

impl Config {
    /// The configuration a program makes itself, with the names of the file.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// The configuration in a file's text. What is not set has its default.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] with every problem, in the order of the lines. A text that is no TOML yields its syntax errors
    /// alone: what was meant by the rest cannot be told.
    pub fn parse(text: &str) -> Result<Self, InvalidConfig> {
        read::parse(text)
    }

    /// Fails with everything that cannot be in force, as [`parse`](Self::parse) does for a file. For values that were changed
    /// by hand.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`], whose problems have no lines.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        InvalidConfig::unless_none(check::problems(self))
    }

    /// What is in force, defaults included, as a file that [`parse`](Self::parse) reads back as the same configuration.
    pub fn to_toml(&self) -> String {
        print::to_toml(self)
    }
}

/// Makes a [`Config`] in code, section by section.
///
/// ```
/// use threadline::TableName;
/// use threadline::config::{Config, Storage, Tables};
///
/// let posts = TableName::new(Some("public"), "posts");
/// let config = Config::builder()
///     .tables(Tables::new().expected(posts.clone()))
///     .storage(Storage::new().url("file:///var/lib/threadline"))
///     .build()?;
/// assert_eq!(config.tables.expected, [posts]);
/// # Ok::<_, threadline::config::InvalidConfig>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ConfigBuilder {
    config: Config,
}

impl ConfigBuilder {
    /// `[tables]`.
    pub fn tables(mut self, tables: Tables) -> Self {
        self.config.tables = tables;
        self
    }

    /// `[retention]`, but for `archive`.
    pub fn retention(mut self, retention: RetentionPolicy) -> Self {
        self.config.retention = retention;
        self
    }

    /// `[retention] archive`.
    pub fn archive(mut self, archive: bool) -> Self {
        self.config.archive = archive;
        self
    }

    /// `[exports]`.
    pub fn exports(mut self, exports: Exports) -> Self {
        self.config.exports = exports;
        self
    }

    /// `[storage]`.
    pub fn storage(mut self, storage: Storage) -> Self {
        self.config.storage = storage;
        self
    }

    /// `[worker]`.
    pub fn worker(mut self, worker: Worker) -> Self {
        self.config.worker = worker;
        self
    }

    /// The configuration, checked as a whole.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] with every problem.
    pub fn build(self) -> Result<Config, InvalidConfig> {
        self.config.check()?;
        Ok(self.config)
    }
}
