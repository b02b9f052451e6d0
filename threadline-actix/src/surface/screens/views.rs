//! Saved views: questions that the visitor keeps, for themselves alone.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use askama::Template;
use threadline::views::{self, SavedView};
use uuid::Uuid;

use super::{actions, timeline};
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::query::{Problem, Query};
use crate::surface::screen::Screen;
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

#[derive(Template)]
#[template(path = "surface/views.html")]
struct ViewsPage {
    shell: Shell,
    problems: Vec<Problem>,
    /// Nobody who is named keeps nothing.
    is_somebody: bool,
    views: Vec<View>,
}

/// A view in a list.
pub(in crate::surface) struct View {
    pub(in crate::surface) name: String,
    /// Where it is asked; `None` for a page this version does not have.
    pub(in crate::surface) href: Option<String>,
    page: &'static str,
    parts: Vec<(String, String)>,
    saved: Moment,
    id: String,
}

/// What a page offers to keep of itself.
pub(in crate::surface) struct Keepable {
    pub(in crate::surface) page: &'static str,
    pub(in crate::surface) question: String,
}

impl Keepable {
    /// This question, for somebody who is named.
    pub(in crate::surface) fn new(visit: &Visit, link: &Link) -> Option<Self> {
        visit.somebody()?;
        Some(Self { page: visit.screen().name(), question: link.question() })
    }
}

/// The pages whose questions are kept, and the one way each has to write them.
fn canonical(visit: &Visit, page: &str, query: Query) -> Result<Link, Vec<Problem>> {
    if page == Screen::Timeline.name() {
        timeline::asked(visit, query)
    } else if page == Screen::Actions.name() {
        actions::asked(visit, query)
    } else {
        Err(vec![Problem::new("page", "is not timeline or actions")])
    }
}

/// The visitor's views.
pub(in crate::surface) async fn saved_views(visit: &Visit) -> Result<HttpResponse, Failure> {
    let unknown = visit.query().unknown(&[]);
    if !unknown.is_empty() {
        return Err(Failure::Invalid(unknown));
    }
    page(visit, StatusCode::OK, Vec::new()).await
}

async fn page(visit: &Visit, status: StatusCode, problems: Vec<Problem>) -> Result<HttpResponse, Failure> {
    let saved = list_views(visit).await?;
    visit.page_with(
        status,
        &ViewsPage {
            shell: visit.shell(),
            problems,
            is_somebody: visit.somebody().is_some(),
            views: saved.into_iter().map(|saved| View::new(visit, saved)).collect(),
        },
    )
}

/// The visitor's views, what was saved last first; none for nobody who is named.
pub(in crate::surface) async fn list_views(visit: &Visit) -> Result<Vec<SavedView>, Failure> {
    let Some(owner) = visit.somebody().cloned() else { return Ok(Vec::new()) };
    visit.read(move |conn, _| views::list(conn, &owner)).await
}

/// Keeps a question under a name.
pub(in crate::surface) async fn save_view(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut form = visit.query();
    let mut taken = |name: &str| form.take(name);
    let (name, of, question) = (taken("name")?, taken("page")?, taken("question")?);
    let mut problems = form.unknown(&["name", "page", "question"]);
    let of = of.unwrap_or_default();
    let asked = canonical(visit, &of, Query::parse(question.as_deref().unwrap_or_default()));
    let question = match asked {
        Ok(link) => link.question(),
        Err(wrong) => {
            problems.extend(wrong);
            String::new()
        }
    };
    if !problems.is_empty() {
        return page(visit, StatusCode::BAD_REQUEST, problems).await;
    }
    let Some(owner) = visit.somebody().cloned() else {
        return page(visit, StatusCode::FORBIDDEN, Vec::new()).await;
    };
    let (pool, limit, context) = (visit.config.pool.clone(), visit.config.limit, visit.context());
    let saved = web::block(move || {
        pool.write_within(limit, context.transaction(), |conn, _| {
            views::save(conn, &owner, &name.unwrap_or_default(), &of, &question)
        })
    });
    match saved.await.map_err(|_| Failure::Internal)?.map_err(Failure::from) {
        Ok(_) => Ok(visit.redirect(&Link::to("views"))),
        Err(Failure::Invalid(problems)) => page(visit, StatusCode::BAD_REQUEST, problems).await,
        Err(failure) => Err(failure),
    }
}

/// Forgets a view. What is not there and what is somebody else's look the same.
pub(in crate::surface) async fn forget_view(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut form = visit.query();
    let id = form.take("view")?.ok_or_else(|| Problem::new("view", "is missing"))?;
    let unknown = form.unknown(&["view"]);
    if !unknown.is_empty() {
        return Err(Failure::Invalid(unknown));
    }
    let id = Uuid::try_parse(&id).map_err(|_| Problem::new("view", "is not the id of a view"))?;
    let owner = visit.somebody().ok_or(Failure::NotFound)?.clone();
    let (pool, limit, context) = (visit.config.pool.clone(), visit.config.limit, visit.context());
    let forgotten = web::block(move || {
        pool.write_within(limit, context.transaction(), |conn, _| views::forget(conn, &owner, id))
    });
    match forgotten.await.map_err(|_| Failure::Internal)?? {
        true => Ok(visit.redirect(&Link::to("views"))),
        false => Err(Failure::NotFound),
    }
}

impl View {
    pub(in crate::surface) fn new(visit: &Visit, saved: SavedView) -> Self {
        let parts = Query::parse(&saved.question);
        let page = [Screen::Timeline, Screen::Actions].into_iter().find(|screen| screen.name() == saved.page);
        let link = page.map(|page| Link::to(page.route().trim_start_matches('/')));
        Self {
            href: link.map(|link| visit.href(&link.with_all(parts.rest().iter().cloned()))),
            page: page.map_or("A page this version does not have", Screen::label),
            parts: parts.rest().iter().map(|(name, value)| (name.replace('_', " "), shown(value))).collect(),
            saved: visit.moment(saved.saved_at),
            name: shown(&saved.name),
            id: saved.id.to_string(),
        }
    }
}
