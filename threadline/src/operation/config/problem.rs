//! What is wrong with a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// One thing that is wrong: where, what, and what would be right. It quotes no value but names of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(super) line: Option<usize>,
    pub(super) key: String,
    pub(super) wrong: String,
    pub(super) allowed: String,
}

impl Problem {
    /// The line of the file, from 1; `None` for a configuration made in code.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The key as a path, such as `retention.tables."public.posts"`; empty for what belongs to no key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong with it, such as `is zero`.
    pub fn wrong(&self) -> &str {
        &self.wrong
    }

    /// What is allowed, or what to do.
    pub fn allowed(&self) -> &str {
        &self.allowed
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.wrong, self.allowed)
    }
}

/// A configuration that cannot be in force, with all that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConfig {
    problems: Vec<Problem>,
}

impl InvalidConfig {
    pub(super) fn unless_none(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// Each problem, in the order of the file's lines.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// One line for each problem, after one that counts them.
impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("the configuration has a problem")?,
            number => write!(f, "the configuration has {number} problems")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for InvalidConfig {}

/// Why there is no configuration to go by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read, or is not there though it was named.
    #[error("configuration `{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The file says what cannot be in force.
    #[error("`{}` is no configuration", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it.
        #[source]
        error: InvalidConfig,
    },
}
