//! The access log: who looked at what of the trail, and when, also where they were not let in.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use threadline::{ActionStatus, AuditAction, Filter, Order, PageRequest};

use super::choose::is_below;
use crate::surface::asked::Asked;
use crate::surface::entry::{Correlation, Who};
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::query::Problem;
use crate::surface::screen::{Deed, Screen};
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::{ACCESS, Visit};
use crate::surface::window::{Preset, Span, Window};

/// What is shown unless somebody asks for another time.
const USUAL: Window = Window::Last(Span::Week);

/// Looks on a page.
const SIZE: u32 = 50;

/// What a filter can ask of looks here.
const NAMES: [&str; 2] = ["actor", "status"];

#[derive(Template)]
#[template(path = "surface/access_log.html")]
struct AccessLogPage {
    shell: Shell,
    presets: Vec<Preset>,
    window: &'static str,
    /// As it was written.
    actor: String,
    failed_only: bool,
    problems: Vec<Problem>,
    words: String,
    is_kept: bool,
    days: Vec<DayOfLooks>,
    older: Option<String>,
    widest: Option<String>,
}

/// The looks of one day on the reader's clock.
struct DayOfLooks {
    day: String,
    looks: Vec<Look>,
}

struct Look {
    when: Moment,
    who: Who,
    /// `viewed`, `downloaded`.
    did: String,
    /// Of what is more than a look: what it was to be, such as `download`.
    deed: Option<String>,
    /// The screen, as the pages call it.
    screen: String,
    /// What of it, as the URL has it.
    what: Option<String>,
    href: Option<String>,
    /// Why they were not let in.
    refused: Option<String>,
    correlation: Option<Correlation>,
}

/// Who looked at what.
pub(in crate::surface) async fn access_log(visit: &Visit) -> Result<HttpResponse, Failure> {
    let query = visit.query();
    let written = query.rest().to_vec();
    let Asked { window, after, filter, problems } = Asked::of(visit, query, &NAMES, USUAL);
    let given = |name: &str| written.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
    let page = |problems: Vec<Problem>, days: Vec<DayOfLooks>, older, widest| AccessLogPage {
        shell: visit.shell(),
        presets: Preset::all(visit, window, |window| link(&filter, window)),
        window: if window == USUAL { "" } else { window.name() },
        actor: given("actor").unwrap_or_default(),
        failed_only: given("status").as_deref() == Some("error"),
        problems,
        words: window.words(visit.preferences.zone),
        is_kept: visit.config.access_log,
        days,
        older,
        widest,
    };
    if !problems.is_empty() {
        return visit.page_with(StatusCode::BAD_REQUEST, &page(problems, Vec::new(), None, None));
    }
    let asked = window.narrow(filter.clone(), visit.now).category(ACCESS);
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
    let older =
        found.cursor.map(|cursor| visit.href(&link(&filter, window).with("after", cursor.to_string())));
    let looks: Vec<Look> = found.entries.iter().map(|action| Look::new(visit, action)).collect();
    let widest = (looks.is_empty() && window != Window::All).then(|| visit.href(&link(&filter, Window::All)));
    visit.page(&page(Vec::new(), DayOfLooks::all(looks), older, widest))
}

fn link(filter: &Filter, window: Window) -> Link {
    Link::to("access-log").with_all(filter.pairs()).with_all(window.pairs(USUAL))
}

impl DayOfLooks {
    fn all(looks: Vec<Look>) -> Vec<Self> {
        let mut days: Vec<Self> = Vec::new();
        for look in looks {
            match days.last_mut() {
                Some(last) if last.day == look.when.day() => last.looks.push(look),
                _ => days.push(Self { day: look.when.day().to_owned(), looks: vec![look] }),
            }
        }
        days
    }
}

impl Look {
    fn new(visit: &Visit, action: &AuditAction) -> Self {
        let (screen, did) = named(&action.name);
        // Home has nothing below the mount to be told by.
        let is_home = action.comment.is_none() && screen == Screen::Home.label();
        let what = action.comment.as_deref().or(is_home.then_some(""));
        // Whatever is on record, a link leads to one of these pages.
        let href = what.filter(|what| is_below(what)).map(|what| visit.href(&Link::to(what)));
        Self {
            when: visit.moment(action.occurred_at),
            who: Who::new(visit, action.actor(), None),
            did,
            deed: action.verb.as_deref().filter(|verb| *verb != "view").map(shown),
            screen,
            what: what.and_then(asked),
            href,
            refused: (action.status == ActionStatus::Error)
                .then(|| shown(action.reason.as_deref().unwrap_or("for no reason on record"))),
            correlation: action.correlation_id.as_deref().map(|id| Correlation::new(visit, id)),
        }
    }
}

/// The screen and what was done at it, from the name of an action such as `threadline.timeline.viewed`.
fn named(name: &str) -> (String, String) {
    let ours = || {
        let (screen, past) = name.strip_prefix("threadline.")?.rsplit_once('.')?;
        let screen = Screen::ALL.into_iter().find(|known| known.name() == screen)?;
        let deed = Deed::ALL.into_iter().map(|deed| deed.name().0).find(|known| *known == past);
        Some((screen.label().to_owned(), deed.unwrap_or("viewed").to_owned()))
    };
    ours().unwrap_or_else(|| (shown(name), "recorded".to_owned()))
}

/// What of its screen an address asks for, as people read it: its query, or what stands below the screen.
fn asked(address: &str) -> Option<String> {
    let Some((_, query)) = address.split_once('?') else {
        return address.split_once('/').map(|(_, below)| shown(below));
    };
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let parts: Vec<String> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
    Some(shown(&parts.join("  ")))
}
