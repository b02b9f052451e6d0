//! Something a worker does again and again.

use std::fmt;
use std::time::Duration;

use diesel::prelude::*;

use crate::stop::Stop;

/// Whatever went wrong. It is not logged, because it may quote a value.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) type Run = dyn FnMut(&mut PgConnection, &Stop) -> Result<(), TaskError> + Send;

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
        run: impl FnMut(&mut PgConnection, &Stop) -> Result<(), TaskError> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), every, run: Box::new(run) }
    }
}
