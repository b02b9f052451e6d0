//! What one actor did, transaction by transaction.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use chrono::{DateTime, Utc};
use threadline::{ActionStatus, Actor, AuditTransaction, Filter, LinkedChange, PageRequest};

use super::actions::ActionRow;
use crate::surface::entry::{Badge, Group, Who, table_text};
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

/// Changes that are counted; beyond there is `+`.
const COUNTED: u32 = 1_000;

/// Failed actions on a page, and how many are read for them: refused looks are among them.
const FAILED: (usize, u32) = (20, 100);

/// The newest changes in which actors are looked for.
const NEWEST: u32 = 200;

#[derive(Template)]
#[template(path = "surface/actor.html")]
struct ActorPage {
    shell: Shell,
    actor: String,
    presets: Vec<Preset>,
    words: String,
    is_nobody: bool,
    /// How many changes there are.
    total: String,
    sums: Vec<Sum>,
    /// Whether the sums are of the page alone.
    of_page: bool,
    groups: Vec<Group>,
    older: Option<String>,
    last: Option<Moment>,
    widest: String,
    timeline: String,
    actions: String,
    failed: Vec<ActionRow>,
    /// Whether more of them failed.
    failed_more: bool,
}

#[derive(Template)]
#[template(path = "surface/actor_lookup.html")]
struct LookupPage {
    shell: Shell,
    actor: String,
    problems: Vec<Problem>,
    recent: Vec<Recent>,
}

/// Somebody who changed something of late.
struct Recent {
    who: Who,
    when: Moment,
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
    let lookup = |problems: Vec<Problem>, recent| {
        let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        visit
            .page_with(status, &LookupPage { shell: visit.shell(), actor: written.clone(), problems, recent })
    };
    if query.rest().is_empty() {
        return lookup(Vec::new(), recent(visit).await?);
    }
    let mut problems = Vec::new();
    let asked = query.take("actor").and_then(|text| whom(text.as_deref()));
    let window = Window::take(&mut query, visit.preferences.zone, USUAL);
    let after = query.take_cursor();
    problems.extend(query.unknown(&["actor", "window", "from", "to", "after"]));
    let (asked, window, after) = match (asked, window, after) {
        (Ok(asked), Ok(window), Ok(after)) if problems.is_empty() => (asked, window, after),
        (asked, window, after) => {
            problems.extend(asked.err());
            problems.extend(window.err().unwrap_or_default());
            problems.extend(after.err());
            return lookup(problems, Vec::new());
        }
    };
    let (name, everything) = asked;
    let filter = window.narrow(everything.clone(), visit.now);
    let tried = filter.clone().status(ActionStatus::Error);
    let request = PageRequest::new().size(SIZE)?;
    let request = match after {
        Some(after) => request.order(after.order()).after(after),
        None => request,
    };
    let (page, last, count, failed) = visit
        .read(move |conn, trail| {
            let page = trail.timeline_page(conn, &filter, &request)?;
            let last: Option<DateTime<Utc>> = match page.entries.first() {
                Some(_) => None,
                None => {
                    let newest = trail.timeline_page(conn, &everything, &PageRequest::new().size(1)?)?;
                    newest.entries.first().map(|change| change.change.captured_at)
                }
            };
            let count = trail.count(conn, &filter, COUNTED)?;
            let failed = trail.actions(conn, &tried, &PageRequest::new().size(FAILED.1)?)?;
            Ok((page, last, count, failed))
        })
        .await?;
    let here = |window: Window| Link::to("actors").with("actor", name.as_str()).with_all(window.pairs(USUAL));
    // Both lists show a day unless they are asked for another time.
    let elsewhere = |page: &str| {
        let link = Link::to(page).with("actor", name.as_str());
        visit.href(&link.with_all(window.pairs(Window::Last(Span::Day))))
    };
    let told: Vec<ActionRow> = failed.entries.iter().map(|action| ActionRow::new(visit, action)).collect();
    visit.page(&ActorPage {
        shell: visit.shell().about(&shown(&name)),
        actor: shown(&name),
        is_nobody: name == NOBODY,
        total: format!("{count} {}", if count.counted == 1 && !count.capped { "change" } else { "changes" }),
        presets: Preset::all(visit, window, here),
        words: window.words(visit.preferences.zone),
        sums: Sum::of(&page.entries),
        of_page: page.has_more || after.is_some(),
        groups: Group::all(visit, &page.entries),
        older: page.cursor.map(|cursor| visit.href(&here(window).with("after", cursor.to_string()))),
        last: last.map(|last| visit.moment(last)),
        widest: visit.href(&here(Window::All)),
        timeline: elsewhere("timeline"),
        actions: elsewhere("actions"),
        failed_more: told.len() > FAILED.0 || failed.has_more,
        failed: told.into_iter().take(FAILED.0).collect(),
    })
}

/// Who changed something among the newest changes there are, each once, whoever did last first.
async fn recent(visit: &Visit) -> Result<Vec<Recent>, Failure> {
    let newest = visit
        .read(|conn, trail| trail.timeline_page(conn, &Filter::new(), &PageRequest::new().size(NEWEST)?));
    let mut seen = BTreeSet::new();
    let mut recent = Vec::new();
    for change in newest.await?.entries {
        let actor = change.transaction.as_ref().and_then(AuditTransaction::actor);
        if let Some(actor) = actor.filter(|actor| seen.insert(actor.to_string())) {
            let when = visit.moment(change.change.captured_at);
            recent.push(Recent { who: Who::new(visit, Some(actor), None), when });
        }
    }
    Ok(recent)
}

/// What stands for changes nobody is named for.
const NOBODY: &str = "nobody";

/// Who is asked about, and what was done by them.
fn whom(text: Option<&str>) -> Result<(String, Filter), Problem> {
    match text {
        Some(NOBODY) => Ok((NOBODY.to_owned(), Filter::new().nobody())),
        _ => actor_named(text).map(|actor| (actor.to_string(), Filter::new().actor(actor))),
    }
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
