//! What the application said it did: also what failed, and what changed nothing.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use threadline::{AuditAction, Filter, Order, PageRequest};

use super::views::Keepable;
use crate::surface::access::Capability;
use crate::surface::asked::Asked;
use crate::surface::entry::{ActionTag, Correlation, Who};
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::query::{Problem, Query};
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::{ACCESS, Visit};
use crate::surface::window::{Preset, Span, Window};

/// What is shown unless somebody asks for another time.
const USUAL: Window = Window::Last(Span::Day);

/// Actions on a page.
const SIZE: u32 = 50;

/// What a filter can ask of actions here.
const NAMES: [&str; 7] = ["action", "status", "category", "actor", "correlation_id", "request_id", "job_id"];

#[derive(Template)]
#[template(path = "surface/actions.html")]
struct ActionsPage {
    shell: Shell,
    presets: Vec<Preset>,
    window: &'static str,
    fields: Vec<FormField>,
    status: String,
    problems: Vec<Problem>,
    words: String,
    actions: Vec<ActionRow>,
    older: Option<String>,
    widest: Option<String>,
    keep: Option<Keepable>,
}

struct FormField {
    name: &'static str,
    label: String,
    hint: &'static str,
    value: String,
}

/// An action in a list.
pub(in crate::surface) struct ActionRow {
    pub(in crate::surface) tag: ActionTag,
    pub(in crate::surface) when: Moment,
    pub(in crate::surface) who: Who,
    pub(in crate::surface) reason: Option<String>,
    pub(in crate::surface) comment: Option<String>,
    pub(in crate::surface) category: Option<String>,
    pub(in crate::surface) correlation: Option<Correlation>,
    pub(in crate::surface) transaction: Option<String>,
}

/// The actions.
pub(in crate::surface) async fn actions(visit: &Visit) -> Result<HttpResponse, Failure> {
    let query = visit.query();
    let written = query.rest().to_vec();
    let Asked { window, after, filter, problems } = Asked::of(visit, query, &NAMES, USUAL);
    let page = |problems: Vec<Problem>, actions, older, widest| ActionsPage {
        shell: visit.shell(),
        presets: Preset::all(visit, window, |window| link(&filter, window)),
        window: if window == USUAL { "" } else { window.name() },
        fields: fields(&written),
        status: written
            .iter()
            .find(|(name, _)| name == "status")
            .map(|(_, value)| value.clone())
            .unwrap_or_default(),
        problems,
        words: window.words(visit.preferences.zone),
        actions,
        older,
        widest,
        keep: Keepable::new(visit, &link(&filter, window)),
    };
    if !problems.is_empty() {
        return visit.page_with(StatusCode::BAD_REQUEST, &page(problems, Vec::new(), None, None));
    }
    // Who looked at what has a screen of its own; here it would bury what was done.
    let asks_for_looks = filter.pairs().iter().any(|(name, value)| *name == "category" && value == ACCESS);
    let asks_for_looks = asks_for_looks && visit.permissions.has(Capability::Evidence);
    let mut asked = window.narrow(filter.clone(), visit.now);
    if window == Window::All {
        // Without a beginning all there is would be read for a filter that few answer to; the pages lead there.
        asked = filter.clone();
    }
    let mut request = PageRequest::new().size(SIZE)?;
    if let Some(after) = after {
        request = request.order(Order::NewestFirst).after(after);
    }
    let found = match visit.read(move |conn, trail| trail.actions(conn, &asked, &request)).await {
        Ok(found) => found,
        Err(Failure::Invalid(problems)) => {
            return visit.page_with(StatusCode::BAD_REQUEST, &page(problems, Vec::new(), None, None));
        }
        Err(failure) => return Err(failure),
    };
    let is_shown = |action: &&AuditAction| asks_for_looks || action.category.as_deref() != Some(ACCESS);
    let rows: Vec<ActionRow> =
        found.entries.iter().filter(is_shown).map(|action| ActionRow::new(visit, action)).collect();
    let older =
        found.cursor.map(|cursor| visit.href(&link(&filter, window).with("after", cursor.to_string())));
    let widest = (rows.is_empty() && window != Window::All).then(|| visit.href(&link(&filter, Window::All)));
    visit.page(&page(Vec::new(), rows, older, widest))
}

/// The one way to ask what a query asks of the list of actions.
pub(super) fn asked(visit: &Visit, query: Query) -> Result<Link, Vec<Problem>> {
    let Asked { window, filter, problems, .. } = Asked::of(visit, query, &NAMES, USUAL);
    if problems.is_empty() { Ok(link(&filter, window)) } else { Err(problems) }
}

fn link(filter: &Filter, window: Window) -> Link {
    Link::to("actions").with_all(filter.pairs()).with_all(window.pairs(USUAL))
}

fn fields(written: &[(String, String)]) -> Vec<FormField> {
    let labels = [
        ("action", "Action", "post.published"),
        ("actor", "Actor", "user:42"),
        ("category", "Category", "content"),
        ("correlation_id", "Correlation", "an id"),
        ("request_id", "Request", "an id"),
        ("job_id", "Job", "an id"),
    ];
    // Each value has a field of its own, so that sending the form asks the same.
    let fields = labels.into_iter().flat_map(|(name, label, hint)| {
        let mut values =
            written.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.clone());
        let first =
            FormField { name, label: label.to_owned(), hint, value: values.next().unwrap_or_default() };
        let further = values.map(move |value| {
            let label = format!("or {}", label.to_lowercase());
            FormField { name, label, hint: "", value }
        });
        std::iter::once(first).chain(further)
    });
    fields.collect()
}

impl ActionRow {
    pub(in crate::surface) fn new(visit: &Visit, action: &AuditAction) -> Self {
        let text = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(shown);
        Self {
            tag: ActionTag::new(action),
            when: visit.moment(action.occurred_at),
            who: Who::new(visit, action.actor(), None),
            reason: text(&action.reason),
            comment: text(&action.comment),
            category: text(&action.category),
            correlation: action.correlation_id.as_deref().map(|id| Correlation::new(visit, id)),
            transaction: action.transaction_id.map(|id| visit.href(&Link::to(format!("transactions/{id}")))),
        }
    }
}
