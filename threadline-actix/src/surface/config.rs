//! What the host decides about its surface.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::uri::PathAndQuery;
use actix_web::{Error, HttpRequest};
use diesel::PgConnection;
use threadline::config::Config;
use threadline::{Actor, AuditedPool};
use threadline_worker::Storage;
use url::form_urlencoded::Serializer;

use super::access::{Access, Gates, kept};
use super::lately::Lately;
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
    /// Who was refused of late.
    pub(super) refusals: Lately,
    /// What was looked at of late, of pages that ask again for themselves.
    pub(super) looks: Lately,
    pub(super) login: Option<Login>,
    pub(super) home: Option<Place>,
}

/// A page of the host's.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) href: Arc<str>,
    pub(super) label: Arc<str>,
}

/// Where the host has people sign in.
#[derive(Clone, Debug)]
pub(super) struct Login {
    href: Arc<str>,
    /// The parameter by which it is told where to lead back to.
    returning: Option<Arc<str>>,
}

impl Login {
    /// The way there from a page that was asked for.
    pub(super) fn href(&self, request: &HttpRequest) -> String {
        // What was sent cannot be led back to.
        let here = request.uri().path_and_query().map(PathAndQuery::as_str);
        let here =
            here.filter(|here| request.method().is_safe() && !here.starts_with("//") && here.len() <= 2_000);
        match self.returning.as_deref().zip(here) {
            None => self.href.to_string(),
            Some((name, here)) => {
                let joint = if self.href.contains('?') { '&' } else { '?' };
                let question = Serializer::new(String::new()).append_pair(name, here).finish();
                format!("{}{joint}{question}", self.href)
            }
        }
    }
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
            refusals: Lately::new(Duration::from_secs(60)),
            looks: Lately::new(Duration::from_secs(300)),
            login: None,
            home: None,
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

    /// Where people sign in, as the host's own address, such as `/login`: who is not let in is led there. Without it they are
    /// told to sign in, and not where.
    pub fn login(self, href: impl Into<Arc<str>>) -> Self {
        Self { login: Some(Login { href: href.into(), returning: None }), ..self }
    }

    /// As [`login`](Self::login), with the page that was asked for in this parameter of its query, as `/audit/timeline?op=delete`:
    /// the path the application was asked by, without what a proxy has taken off it. The login is to lead to nothing but its
    /// own pages, whatever the parameter says. What a refused visitor is answered then has the address they asked for in it,
    /// and is otherwise the same at every address.
    pub fn login_returning(self, href: impl Into<Arc<str>>, parameter: impl Into<Arc<str>>) -> Self {
        Self { login: Some(Login { href: href.into(), returning: Some(parameter.into()) }), ..self }
    }

    /// The way back to the application: its own address, such as `/`, and what it is called, such as `Blog`. It begins the
    /// breadcrumbs of each page.
    pub fn home(self, href: impl Into<Arc<str>>, label: impl Into<Arc<str>>) -> Self {
        Self { home: Some(Place { href: href.into(), label: label.into() }), ..self }
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
