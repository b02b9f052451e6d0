//! Something a worker does again and again.

use std::fmt;
use std::time::Duration;

use diesel::prelude::*;

use crate::stop::Stop;

/// Whatever went wrong. Of the host's own it is not logged what, because it may quote a value.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) type Run = dyn FnMut(&mut PgConnection, &Stop) -> Result<Done, TaskError> + Send;

/// What a task has done in one round, for the log and for `threadline worker --once`. No value of a row belongs into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Done {
    pub(crate) text: String,
    pub(crate) counts: Vec<(&'static str, u64)>,
    /// Whether it is worth a line of the log.
    pub(crate) is_news: bool,
}

impl Done {
    /// Something was done, or found: `text` says what, as `added 2 months`.
    pub fn something(text: impl Into<String>) -> Self {
        Self { text: text.into(), counts: Vec::new(), is_news: true }
    }

    /// There was nothing to do: `text` says why.
    pub fn nothing(text: impl Into<String>) -> Self {
        Self { is_news: false, ..Self::something(text) }
    }

    /// With a number, for programs.
    pub fn count(mut self, name: &'static str, number: u64) -> Self {
        self.counts.push((name, number));
        self
    }

    /// What was done; empty for a task that does not say.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a part of it failed: whether it counts any `failed`.
    pub fn has_failures(&self) -> bool {
        self.counts.iter().any(|(name, number)| *name == "failed" && *number > 0)
    }

    /// The numbers, by name.
    pub fn counts(&self) -> &[(&'static str, u64)] {
        &self.counts
    }
}

/// Something a worker does again and again, each time on a connection that is in no transaction.
///
/// It never runs twice at once in one worker; other instances may run theirs meanwhile, which is for the task to bear.
pub struct Task {
    pub(crate) name: String,
    pub(crate) every: Duration,
    pub(crate) run: Box<Run>,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("name", &self.name).field("every", &self.every).finish_non_exhaustive()
    }
}

impl Task {
    /// `run`, so long after it last ended, give or take a tenth; after an error sooner or later than that, depending on how
    /// often it failed. The name is for the log.
    pub fn new(
        name: impl Into<String>,
        every: Duration,
        mut run: impl FnMut(&mut PgConnection) -> Result<(), TaskError> + Send + 'static,
    ) -> Self {
        Self::stoppable(name, every, move |conn, _| run(conn))
    }

    /// As [`new`](Self::new), for something that takes long: it can ask whether the worker is to stop, and ends with `Ok` then.
    pub fn stoppable(
        name: impl Into<String>,
        every: Duration,
        mut run: impl FnMut(&mut PgConnection, &Stop) -> Result<(), TaskError> + Send + 'static,
    ) -> Self {
        Self::reporting(name, every, move |conn, stop| run(conn, stop).map(|()| Done::default()))
    }

    /// As [`stoppable`](Self::stoppable), for something that says what it has done.
    pub fn reporting(
        name: impl Into<String>,
        every: Duration,
        run: impl FnMut(&mut PgConnection, &Stop) -> Result<Done, TaskError> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), every, run: Box::new(run) }
    }
}
