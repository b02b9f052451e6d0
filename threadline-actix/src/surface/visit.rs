//! One look of somebody at one screen: who, at what, and what they may see of it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use askama::Template;
use chrono::{DateTime, Utc};
use diesel::PgConnection;
use threadline::{Action, Actor, ActorType, AuditContext, Trail};

use super::access::{Access, Permissions};
use super::canonical::canonical;
use super::config::SurfaceConfig;
use super::diff::Reading;
use super::failure::{Failure, refusal};
use super::link::Link;
use super::moment::Moment;
use super::preferences::Preferences;
use super::pulse::Health;
use super::query::{Problem, Query};
use super::screen::{Deed, Screen};
use super::shell::Shell;
use crate::extractor::context_of;

/// The category of the actions the access log is made of.
pub(super) const ACCESS: &str = "threadline.access";

/// The header by which an open page asks again for itself. That somebody looks at it is on record already.
const REFRESH: &str = "x-threadline-refresh";

/// What the access log says of a refusal by who was let in.
const NOT_PERMITTED: &str = "not permitted";

/// What is done at a screen unless something else is, and its verb.
const VIEWED: (&str, &str) = ("viewed", "view");

/// Characters of an address that is recorded; one that is longer is not answered.
const MOST: usize = 1_000;

/// Bytes of a form.
const FORM: usize = 64 * 1024;

/// How long who is refused waits for that to be on record.
const PATIENCE: Duration = Duration::from_millis(500);

/// A request that has been let in.
pub(super) struct Visit {
    pub(super) config: web::Data<SurfaceConfig>,
    pub(super) permissions: Permissions,
    pub(super) actor: Option<Actor>,
    pub(super) preferences: Preferences,
    pub(super) now: DateTime<Utc>,
    /// How capture is, for who may know.
    pub(super) health: Option<Health>,
    screen: Screen,
    deed: Option<Deed>,
    request: HttpRequest,
    /// What is asked for: the URL's query, or the form that was sent.
    asked: String,
    root: String,
    here: String,
    /// What comparing values for the page has taken so far.
    compared: Cell<Duration>,
}

impl Visit {
    /// Asks the host's callbacks; `Err` is the answer to who is not let in.
    pub(super) async fn begin(
        config: web::Data<SurfaceConfig>,
        request: HttpRequest,
        screen: Screen,
        depth: usize,
    ) -> Result<Self, HttpResponse> {
        Ok(Self::enter(config, request, screen, depth).await?.feel().await)
    }

    /// The same for a look at a screen; `Err` is also the way to its canonical address. That comes before anything is read, and
    /// before the access log: it is looked at when the browser has followed.
    pub(super) async fn look(
        config: web::Data<SurfaceConfig>,
        request: HttpRequest,
        screen: Screen,
        depth: usize,
    ) -> Result<Self, HttpResponse> {
        let visit = Self::enter(config, request, screen, depth).await?;
        match canonical(&visit.asked, screen.instants(), visit.preferences.zone) {
            Some(pairs) => {
                let path = visit.here.split('?').next().unwrap_or_default();
                Err(visit.redirect(&Link::to(path).with_all(pairs)))
            }
            None => Ok(visit.feel().await),
        }
    }

    /// With a look at how capture is, for who may know.
    async fn feel(self) -> Self {
        let SurfaceConfig { pulse, pool, limit, operation, .. } = &**self.config;
        let health = match self.permissions.coverage {
            true => pulse.feel(pool, *limit, &operation.tables).await,
            false => None,
        };
        Self { health, ..self }
    }

    /// The same without a look at how capture is: for programs, which ask for that.
    pub(super) async fn enter(
        config: web::Data<SurfaceConfig>,
        request: HttpRequest,
        screen: Screen,
        depth: usize,
    ) -> Result<Self, HttpResponse> {
        let path: Vec<&str> = request.path().rsplit('/').take(depth + 1).collect();
        let mut here = path.into_iter().rev().collect::<Vec<_>>().join("/");
        let asked = request.query_string().to_owned();
        if !asked.is_empty() {
            here = format!("{here}?{asked}");
        }
        let Some(permissions) = config.gates.permissions(&request).await else {
            record_refusal(&config, &request, screen, &here).await;
            return Err(refusal(&config, &request));
        };
        let Some(actor) = config.gates.actor(&request).await else {
            return Err(refusal(&config, &request));
        };
        Ok(Self {
            health: None,
            deed: None,
            asked,
            permissions,
            actor,
            preferences: Preferences::of(&request, config.theme),
            now: Utc::now(),
            screen,
            root: if depth == 0 { "./".to_owned() } else { "../".repeat(depth) },
            here,
            request,
            config,
            compared: Cell::default(),
        })
    }

    /// The same for what is done at a screen. To the access log, and for the way back, it is that screen with what the form
    /// or the link says.
    pub(super) async fn begin_deed(
        config: web::Data<SurfaceConfig>,
        request: HttpRequest,
        deed: Deed,
        body: web::Payload,
    ) -> Result<Self, HttpResponse> {
        let depth = deed.route().matches('/').count() - 1;
        let visit = Self::begin(config, request, deed.screen(), depth).await?;
        // Of who is not let in nothing is read.
        let asked = if deed.takes_form() { visit.form(body).await? } else { visit.asked };
        let here = deed.screen().route().trim_start_matches('/');
        let here = if asked.is_empty() { here.to_owned() } else { format!("{here}?{asked}") };
        Ok(Self { deed: Some(deed), asked, here, ..visit })
    }

    /// The form that was sent; `Err` says what is wrong with it.
    async fn form(&self, body: web::Payload) -> Result<String, HttpResponse> {
        let refused = |text: String| Failure::from(Problem::new("form", text)).page(self);
        let bytes = match body.to_bytes_limited(FORM).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(refused("did not arrive whole; send it again".to_owned())),
            Err(_) => return Err(refused(format!("is longer than {FORM} bytes"))),
        };
        String::from_utf8(bytes.into()).map_err(|_| refused("is not in UTF-8".to_owned()))
    }

    /// Shows the screen, or the page that says why not.
    pub(super) async fn show<F>(&self, show: F) -> HttpResponse
    where
        F: AsyncFn(&Self) -> Result<HttpResponse, Failure>,
    {
        // A header alone is nobody's word that they have been looking.
        let is_refresh = self.deed.is_none()
            && self.screen.refreshes_after().is_some()
            && self.request.headers().contains_key(REFRESH)
            && self.config.looks.knows(&self.looker(), Instant::now());
        self.seen(show, is_refresh).await.unwrap_or_else(|failure| failure.page(self))
    }

    /// What is shown of the screen to who may see it, once that they look is on record, which it may be already.
    pub(super) async fn seen<F>(&self, show: F, is_on_record: bool) -> Result<HttpResponse, Failure>
    where
        F: AsyncFnOnce(&Self) -> Result<HttpResponse, Failure>,
    {
        for screen in [self.screen, self.screen.answering(&self.query())] {
            if !self.permissions.has(screen.capability()) {
                self.log(Err(NOT_PERMITTED)).await?;
                return Err(Failure::Denied(screen));
            }
        }
        if !is_on_record {
            self.log(Ok(())).await?;
        }
        let answer = match self.query().impossible() {
            problems if problems.is_empty() => show(self).await,
            problems => Err(Failure::Invalid(problems)),
        };
        // A screen that decides for itself has let nobody in, whatever is on record by now.
        if let Err(Failure::Denied(_)) = answer {
            self.log(Err(NOT_PERMITTED)).await?;
        }
        answer
    }

    /// Records the look in the trail; nothing is shown where that fails.
    async fn log(&self, outcome: Result<(), &'static str>) -> Result<(), Failure> {
        // What is done, and not merely looked at, is on record in any case.
        if !self.config.access_log && self.deed.is_none() {
            return Ok(());
        }
        let context = self.context();
        let address = self.address();
        if address.chars().count() > MOST {
            let text = format!(
                "is longer than {MOST} characters, which cannot be put on record; ask for less at once"
            );
            return Err(Problem::new("address", text).into());
        }
        let action = look(self.screen, self.deed.map_or(VIEWED, Deed::name), &address);
        let action = match outcome {
            Ok(()) => action,
            Err(reason) => action.failed(reason),
        };
        let (pool, limit) = (self.config.pool.clone(), self.config.limit);
        let recorded = web::block(move || pool.record_action_within(limit, &context, &action)).await;
        recorded.map_err(|_| Failure::Internal)??;
        if outcome.is_ok() && self.deed.is_none() && self.screen.refreshes_after().is_some() {
            self.config.looks.note(&self.looker(), Instant::now());
        }
        Ok(())
    }

    /// What is asked for as it is recorded: nothing of it that says nothing, so that nothing can hide behind that.
    fn address(&self) -> String {
        let (path, _) = self.here.split_once('?').unwrap_or((&self.here, ""));
        Link::to(path).with_all(self.query().rest().iter().cloned()).from("")
    }

    /// Who looks at what.
    fn looker(&self) -> String {
        let actor = self.actor.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
        format!("{actor} {}", self.address())
    }

    /// Who is asking, when they are somebody: whom something can belong to.
    pub(super) fn somebody(&self) -> Option<&Actor> {
        self.actor.as_ref().filter(|actor| is_somebody(actor))
    }

    /// Who is asking, by which request.
    pub(super) fn context(&self) -> AuditContext {
        context_as(&self.request, self.actor.clone().unwrap_or_else(Actor::anonymous))
    }

    /// Reads the trail as far as the visitor may see it, in one snapshot.
    pub(super) async fn read<T, F>(&self, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut PgConnection, &Trail) -> Result<T, threadline::Error> + Send + 'static,
    {
        self.read_as(&self.permissions.access, read).await
    }

    /// As [`read`](Self::read), as far as the visitor may export.
    pub(super) async fn read_for_export<T, F>(&self, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut PgConnection, &Trail) -> Result<T, threadline::Error> + Send + 'static,
    {
        self.read_as(&self.permissions.export, read).await
    }

    async fn read_as<T, F>(&self, access: &Access, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut PgConnection, &Trail) -> Result<T, threadline::Error> + Send + 'static,
    {
        let trail = access.trail().ok_or(Failure::Denied(self.screen))?;
        let (pool, limit) = (self.config.pool.clone(), self.config.limit);
        let answer = web::block(move || pool.snapshot(limit, |conn| read(conn, &trail))).await;
        Ok(answer.map_err(|_| Failure::Internal)??)
    }

    /// What the URL asks for, or the form.
    pub(super) fn query(&self) -> Query {
        Query::parse(&self.asked)
    }

    /// The same, with what is blank as it is written: a program sends no fields that nobody has filled in.
    pub(super) fn written_query(&self) -> Query {
        Query::written(self.request.query_string())
    }

    /// A part of the path.
    pub(super) fn segment(&self, name: &str) -> &str {
        self.request.match_info().query(name)
    }

    /// How values are read for this page.
    pub(super) fn reading(&self) -> Reading<'_> {
        Reading::new(self.preferences.zone, &self.compared)
    }

    pub(super) fn moment(&self, at: DateTime<Utc>) -> Moment {
        Moment::new(at, self.preferences.zone, self.now)
    }

    /// The link as this page writes it.
    pub(super) fn href(&self, link: &Link) -> String {
        link.from(&self.root)
    }

    pub(super) fn screen(&self) -> Screen {
        self.screen
    }

    /// What is around the page, under the screen's own heading.
    pub(super) fn shell(&self) -> Shell {
        let shell = Shell::new(
            &self.config,
            &self.permissions,
            self.actor.as_ref(),
            self.preferences,
            self.screen,
            &self.root,
            &self.here,
            self.health,
        );
        // What is done is not asked for again.
        Shell { refresh: shell.refresh.filter(|_| self.deed.is_none()), ..shell }
    }

    /// The page.
    pub(super) fn page(&self, template: &impl Template) -> Result<HttpResponse, Failure> {
        self.page_with(StatusCode::OK, template)
    }

    /// The page, with a status that says what became of the request.
    pub(super) fn page_with(
        &self,
        status: StatusCode,
        template: &impl Template,
    ) -> Result<HttpResponse, Failure> {
        let html = template.render().map_err(|error| {
            tracing::error!(%error, "threadline: a page could not be rendered");
            Failure::Internal
        })?;
        Ok(HttpResponse::build(status)
            .content_type(ContentType::html())
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(html))
    }

    /// Sends the browser to the page of this link.
    pub(super) fn redirect(&self, link: &Link) -> HttpResponse {
        see_other(&self.href(link))
    }
}

fn context_as(request: &HttpRequest, actor: Actor) -> AuditContext {
    context_of(request).unwrap_or_else(AuditContext::without_actor).with_actor(actor)
}

fn is_somebody(actor: &Actor) -> bool {
    actor.actor_type() != ActorType::Anonymous && actor.id().is_some_and(|id| !id.trim().is_empty())
}

/// A look as it is recorded: at which screen, what was done there, and what was asked for, as the URL has it.
fn look(screen: Screen, (past, verb): (&str, &str), address: &str) -> Action {
    let action = Action::new(format!("threadline.{}.{past}", screen.name())).verb(verb).category(ACCESS);
    let readable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let text: String = address.chars().map(readable).collect();
    if text.trim().is_empty() { action } else { action.comment(text) }
}

/// Records that somebody was let in nowhere, once in a while: nobody is to fill the trail by asking. Nothing of it is told to
/// who asks: neither that it failed, nor, for long, that it is being done.
async fn record_refusal(config: &SurfaceConfig, request: &HttpRequest, screen: Screen, here: &str) {
    if !config.access_log {
        return;
    }
    let Some(actor) = config.gates.actor(request).await.flatten().filter(is_somebody) else { return };
    if !config.refusals.note(&actor.to_string(), Instant::now()) {
        return;
    }
    let context = context_as(request, actor);
    let cut: String = here.chars().take(MOST).collect();
    let action = look(screen, VIEWED, &cut).failed("not let in");
    let (pool, limit) = (config.pool.clone(), config.limit);
    let recorded = web::block(move || {
        if let Err(error) = pool.record_action_within(limit, &context, &action) {
            tracing::error!(cause = error.kind(), "threadline: that somebody was refused is not on record");
        }
    });
    // It goes on without the answer.
    let _ = rt::time::timeout(PATIENCE, recorded).await;
}

/// Sends the browser to another page of ours.
pub(super) fn see_other(href: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((actix_web::http::header::LOCATION, href))
        .insert_header((CACHE_CONTROL, "no-store"))
        .finish()
}
