//! What the host decides about its surface.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{Error, HttpRequest};
use diesel::PgConnection;
use threadline::config::Config;
use threadline::{Actor, AuditedPool};
use threadline_worker::Storage;

use super::access::{Access, Gates, kept};
use super::preferences::Theme;
use super::pulse::Pulse;

/// A surface nobody is kept out of yet: all it can do is to be told who is let in.
#[derive(Clone, Debug)]
#[must_use = "a surface is mounted only once it knows whom to let in"]
pub struct Unguarded {
    pool: AuditedPool,
}

/// A surface as it is to be mounted. Clones are the same surface; give each of the server's workers one.
#[derive(Clone)]
#[must_use]
pub struct SurfaceConfig {
    pub(super) pool: AuditedPool,
    pub(super) gates: Gates,
    pub(super) title: Arc<str>,
    pub(super) theme: Theme,
    pub(super) fonts: Fonts,
    pub(super) limit: Duration,
    pub(super) access_log: bool,
    pub(super) operation: Arc<Config>,
    pub(super) storage: Option<Storage>,
    pub(super) maintenance: Option<Maintenance>,
    pub(super) pulse: Pulse,
}

/// Makes a connection of the trail's owner.
pub(super) type Maintenance =
    Arc<dyn Fn() -> Result<PgConnection, Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// Where the pages' letters come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fonts {
    /// The surface serves its own: Geist for text, IBM Plex Mono for ids, keys and values.
    #[default]
    Own,
    /// The reader's system has them; 44 kB less to load at the first visit.
    System,
}

impl SurfaceConfig {
    /// One that reads the trail, and writes its access log, by the connections of this pool.
    #[expect(clippy::new_ret_no_self, reason = "there is none before somebody is let in")]
    pub fn new(pool: AuditedPool) -> Unguarded {
        Unguarded { pool }
    }
}

impl Unguarded {
    /// Asked at each request whether it is let in, and to how much of the trail.
    pub fn authorize(
        self,
        authorize: impl AsyncFn(&HttpRequest) -> Result<Access, Error> + Send + Sync + 'static,
    ) -> SurfaceConfig {
        SurfaceConfig {
            pool: self.pool,
            gates: Gates::new(kept(authorize)),
            title: "Threadline".into(),
            theme: Theme::default(),
            fonts: Fonts::default(),
            limit: Duration::from_secs(5),
            access_log: true,
            operation: Arc::default(),
            storage: None,
            maintenance: None,
            pulse: Pulse::default(),
        }
    }

    /// Lets everybody in to the whole trail: for a laptop, or behind a proxy that does the asking. The log warns of it.
    pub fn allow_unauthenticated_i_understand(self) -> SurfaceConfig {
        tracing::warn!(
            "threadline: the surface is open to everybody who can reach it; `authorize` is not set, by \
             `allow_unauthenticated_i_understand`"
        );
        self.authorize(async |_| Ok(Access::allow()))
    }
}

impl SurfaceConfig {
    /// Names who makes a request, for the access log and for what is theirs: saved views and exports. If left out, whom
    /// [`AuditMiddleware`](crate::AuditMiddleware) names.
    pub fn actor(
        mut self,
        actor: impl AsyncFn(&HttpRequest) -> Result<Option<Actor>, Error> + Send + Sync + 'static,
    ) -> Self {
        self.gates.actor = Some(kept(actor));
        self
    }

    /// Asked whether a request may export, and what. It can only narrow what `authorize` lets it see, which also decides when
    /// this is left out.
    pub fn authorize_export(
        mut self,
        authorize: impl AsyncFn(&HttpRequest) -> Result<Access, Error> + Send + Sync + 'static,
    ) -> Self {
        self.gates.export = Some(kept(authorize));
        self
    }

    /// Asked whether a request may see which tables are captured, and what is wrong with it. Nobody may if left out.
    pub fn authorize_coverage(
        mut self,
        authorize: impl AsyncFn(&HttpRequest) -> Result<bool, Error> + Send + Sync + 'static,
    ) -> Self {
        self.gates.coverage = Some(kept(authorize));
        self
    }

    /// Asked whether a request may see what is redacted. Nobody may if left out.
    pub fn authorize_policy(
        mut self,
        authorize: impl AsyncFn(&HttpRequest) -> Result<bool, Error> + Send + Sync + 'static,
    ) -> Self {
        self.gates.policy = Some(kept(authorize));
        self
    }

    /// Asked whether a request may see what is kept for how long, and have what is due removed. Nobody may if left out.
    pub fn authorize_retention(
        mut self,
        authorize: impl AsyncFn(&HttpRequest) -> Result<bool, Error> + Send + Sync + 'static,
    ) -> Self {
        self.gates.retention = Some(kept(authorize));
        self
    }

    /// Asked whether a request may see the evidence. Nobody may if left out.
    pub fn authorize_evidence(
        mut self,
        authorize: impl AsyncFn(&HttpRequest) -> Result<bool, Error> + Send + Sync + 'static,
    ) -> Self {
        self.gates.evidence = Some(kept(authorize));
        self
    }

    /// The name in the header of each page; `Threadline` if left out.
    pub fn title(self, title: impl Into<Arc<str>>) -> Self {
        Self { title: title.into(), ..self }
    }

    /// How pages look to who has not chosen; as their system does, if left out.
    pub fn theme(self, theme: Theme) -> Self {
        Self { theme, ..self }
    }

    /// Where the pages' letters come from.
    pub fn fonts(self, fonts: Fonts) -> Self {
        Self { fonts, ..self }
    }

    /// How long a page waits for a connection, and for any one statement, before it says that it takes too long. 5 s if left
    /// out.
    pub fn statement_timeout(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Whether each look at the trail is recorded in it, as an action of the category `threadline.access`: who looked at what,
    /// with which filter, and nothing of what was shown. It is, unless this says `false`. A look that cannot be recorded shows
    /// nothing. What is more than a look, an export or the removal of what is due, is recorded in any case.
    pub fn access_log(self, kept: bool) -> Self {
        Self { access_log: kept, ..self }
    }

    /// The operation as it is configured: the tables that are to be audited, and what retention keeps.
    pub fn operation(self, config: Config) -> Self {
        Self { operation: Arc::new(config), ..self }
    }

    /// Connections of the owner of schema `threadline`, by which the retention page counts what is due and, once that is typed
    /// out, removes it. Without them the page has the command that does it. The pool's own role is to have no right to.
    pub fn maintenance<E>(self, connect: impl Fn() -> Result<PgConnection, E> + Send + Sync + 'static) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self { maintenance: Some(Arc::new(move || connect().map_err(Into::into))), ..self }
    }

    /// Where the files of queued exports lie: the same place as the [worker](threadline_worker)'s. With it exports can be asked
    /// for and downloaded here, each by who asked; without it the page has the command that exports the same.
    pub fn storage(self, storage: Storage) -> Self {
        Self { storage: Some(storage), ..self }
    }
}

impl std::fmt::Debug for SurfaceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SurfaceConfig")
            .field("title", &self.title)
            .field("theme", &self.theme)
            .finish_non_exhaustive()
    }
}
