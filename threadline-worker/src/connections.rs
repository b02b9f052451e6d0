//! Where a worker's connections come from.

use std::fmt;
use std::ops::DerefMut;
use std::sync::Arc;

use diesel::r2d2::{ConnectionManager, Pool};
use diesel::{Connection as _, PgConnection};

use crate::task::TaskError;

/// A connection, whoever owns it.
pub type Connection = Box<dyn DerefMut<Target = PgConnection> + Send>;

type Make = dyn Fn() -> Result<Connection, TaskError> + Send + Sync;

/// Where a worker's connections come from. It takes one for each of its tasks, while that runs, and a second one while it
/// makes an export: a pool needs at least two to spare.
#[derive(Clone)]
pub struct Connections {
    make: Arc<Make>,
    /// Whether a connection that is not used is to be given back.
    is_pool: bool,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("is_pool", &self.is_pool).finish_non_exhaustive()
    }
}

impl Connections {
    /// Connections of the worker's own, kept open between rounds.
    pub fn to_url(url: impl Into<String>) -> Self {
        let url = url.into();
        Self::new(move || PgConnection::establish(&url).map_err(TaskError::from))
    }

    /// As [`to_url`](Self::to_url), made in another way.
    pub fn new<E: Into<TaskError>>(
        make: impl Fn() -> Result<PgConnection, E> + Send + Sync + 'static,
    ) -> Self {
        let make =
            move || -> Result<Connection, TaskError> { Ok(Box::new(Box::new(make().map_err(Into::into)?))) };
        Self { make: Arc::new(make), is_pool: false }
    }

    /// Connections of a pool that others use as well.
    pub fn of_pool(pool: Pool<ConnectionManager<PgConnection>>) -> Self {
        let make = move || -> Result<Connection, TaskError> { Ok(Box::new(pool.get()?)) };
        Self { make: Arc::new(make), is_pool: true }
    }

    pub(crate) fn get(&self) -> Result<Connection, TaskError> {
        (self.make)()
    }

    pub(crate) fn are_pooled(&self) -> bool {
        self.is_pool
    }
}

impl From<Pool<ConnectionManager<PgConnection>>> for Connections {
    fn from(pool: Pool<ConnectionManager<PgConnection>>) -> Self {
        Self::of_pool(pool)
    }
}
