//! What one actor did, transaction by transaction.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use chrono::{DateTime, Utc};
use threadline::{Actor, Filter, LinkedChange, PageRequest};

use crate::surface::entry::{Badge, Group, table_text};
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::query::Problem;
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;
use crate::surface::window::{Preset, Span, Window};

/// What is shown unless somebody asks for another time.
const USUAL: Window = Window::Last(Span::Week);

/// Changes on a page.
const SIZE: u32 = 100;

#[derive(Template)]
#[template(path = "surface/actor.html")]
struct ActorPage {
    shell: Shell,
    actor: String,
    presets: Vec<Preset>,
    words: String,
    sums: Vec<Sum>,
    /// Whether the sums are of the page alone.
    of_page: bool,
    groups: Vec<Group>,
    older: Option<String>,
    last: Option<Moment>,
    widest: String,
    timeline: String,
}

#[derive(Template)]
#[template(path = "surface/actor_lookup.html")]
struct LookupPage {
    shell: Shell,
    actor: String,
    problems: Vec<Problem>,
}

/// How often something was done to a table.
pub(in crate::surface) struct Sum {
    pub(in crate::surface) badge: Badge,
    pub(in crate::surface) table: String,
    pub(in crate::surface) count: usize,
}

/// An actor, or the form to find one.
pub(in crate::surface) async fn actor(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let written = query.rest().iter().find(|(name, _)| name == "actor").map(|(_, value)| value.clone());
    let written = written.unwrap_or_default();
    let lookup = |problems: Vec<Problem>| {
        let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        visit.page_with(status, &LookupPage { shell: visit.shell(), actor: written.clone(), problems })
    };
    if query.rest().is_empty() {
        return lookup(Vec::new());
    }
    let mut problems = Vec::new();
    let asked = query.take("actor").and_then(|text| actor_named(text.as_deref()));
    let window = Window::take(&mut query, visit.preferences.zone, USUAL);
    let after = query.take_cursor();
    problems.extend(query.unknown(&["actor", "window", "from", "to", "after"]));
    let (asked, window, after) = match (asked, window, after) {
        (Ok(asked), Ok(window), Ok(after)) if problems.is_empty() => (asked, window, after),
        (asked, window, after) => {
            problems.extend(asked.err());
            problems.extend(window.err().unwrap_or_default());
            problems.extend(after.err());
            return lookup(problems);
        }
    };
    let filter = window.narrow(Filter::new().actor(asked.clone()), visit.now);
    let request = PageRequest::new().size(SIZE)?;
    let request = match after {
        Some(after) => request.order(after.order()).after(after),
        None => request,
    };
    let everything = Filter::new().actor(asked.clone());
    let (page, last) = visit
        .read(move |conn, trail| {
            let page = trail.timeline_page(conn, &filter, &request)?;
            let last: Option<DateTime<Utc>> = match page.entries.first() {
                Some(_) => None,
                None => {
                    let newest = trail.timeline_page(conn, &everything, &PageRequest::new().size(1)?)?;
                    newest.entries.first().map(|change| change.change.captured_at)
                }
            };
            Ok((page, last))
        })
        .await?;
    let here =
        |window: Window| Link::to("actors").with("actor", asked.to_string()).with_all(window.pairs(USUAL));
    let name = shown(&asked.to_string());
    visit.page(&ActorPage {
        shell: visit.shell().about(&name),
        actor: name,
        presets: Preset::all(visit, window, here),
        words: window.words(visit.preferences.zone),
        sums: Sum::of(&page.entries),
        of_page: page.has_more || after.is_some(),
        groups: Group::all(visit, &page.entries),
        older: page.cursor.map(|cursor| visit.href(&here(window).with("after", cursor.to_string()))),
        last: last.map(|last| visit.moment(last)),
        widest: visit.href(&here(Window::All)),
        timeline: visit.href(
            &Link::to("timeline")
                .with("actor", asked.to_string())
                .with_all(window.pairs(Window::Last(Span::Day))),
        ),
    })
}

/// The actor of this text, as `user:42`.
pub(in crate::surface) fn actor_named(text: Option<&str>) -> Result<Actor, Problem> {
    const WANTED: &str = "is not an actor such as user:42, admin:7, service_account:billing, job:nightly, system:cron or anonymous";
    let text =
        text.ok_or_else(|| Problem::new("actor", "is missing; name who is asked about, such as user:42"))?;
    let (kind, id) = match text.split_once(':') {
        Some((kind, id)) => (kind, Some(id.to_owned())),
        None => (text, None),
    };
    let known = || {
        let id = id.map(threadline::ActorId::try_from).transpose().ok()?;
        Actor::new(kind.parse().ok()?, id).ok()
    };
    known().ok_or_else(|| Problem::of_value("actor", text, WANTED))
}

impl Sum {
    /// What was done how often, most often first.
    pub(in crate::surface) fn of(changes: &[LinkedChange]) -> Vec<Self> {
        let mut counts = BTreeMap::new();
        for linked in changes {
            let badge = Badge::of(linked.change.op);
            counts.entry((table_text(&linked.table), badge.word)).or_insert((badge, 0)).1 += 1;
        }
        let mut sums: Vec<Self> =
            counts.into_iter().map(|((table, _), (badge, count))| Self { badge, table, count }).collect();
        sums.sort_by_key(|sum| std::cmp::Reverse(sum.count));
        sums
    }
}
