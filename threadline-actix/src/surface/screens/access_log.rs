//! The access log: who looked at what of the trail, and when, also where they were not let in.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use diesel::PgConnection;
use threadline::{ActionStatus, AuditAction, Cursor, Filter, Order, PageRequest, Trail};

use super::choose::is_below;
use crate::surface::asked::Asked;
use crate::surface::entry::Who;
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

/// Looks that are read at a time, and how often, for those at what is asked about: no index finds them.
const READ: (u32, u32) = (250, 8);

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
    looked_at: String,
    /// How many looks were read for those at what is asked about, and whether there are more.
    read: Option<(usize, bool)>,
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
    /// Whether it was not the first page of it.
    is_further: bool,
    /// Whether a program read it.
    is_api: bool,
    href: Option<String>,
    /// Why they were not let in.
    refused: Option<String>,
}

/// Who looked at what.
pub(in crate::surface) async fn access_log(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let written = query.rest().to_vec();
    let looked_at = query.take("looked_at");
    let Asked { window, after, filter, mut problems } = Asked::of(visit, query, &NAMES, USUAL);
    let looked_at = looked_at.unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let words: Vec<String> =
        looked_at.iter().flat_map(|text| text.split_whitespace()).map(str::to_lowercase).collect();
    let link = |window: Window| {
        let link = Link::to("access-log").with_all(filter.pairs());
        link.with_all(looked_at.iter().map(|text| ("looked_at", text.as_str()))).with_all(window.pairs(USUAL))
    };
    let given = |name: &str| written.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
    let page = |problems: Vec<Problem>, days: Vec<DayOfLooks>, older, widest, read| AccessLogPage {
        shell: visit.shell(),
        presets: Preset::all(visit, window, link),
        window: if window == USUAL { "" } else { window.name() },
        actor: given("actor").unwrap_or_default(),
        looked_at: given("looked_at").unwrap_or_default(),
        read,
        failed_only: given("status").as_deref() == Some("error"),
        problems,
        words: window.words(visit.preferences.zone),
        is_kept: visit.config.access_log,
        days,
        older,
        widest,
    };
    if !problems.is_empty() {
        return visit.page_with(StatusCode::BAD_REQUEST, &page(problems, Vec::new(), None, None, None));
    }
    let asked = window.narrow(filter.clone(), visit.now).category(ACCESS);
    let found = visit.read(move |conn, trail| Found::read(conn, trail, &asked, after, &words)).await;
    let found = match found {
        Ok(found) => found,
        Err(Failure::Invalid(problems)) => {
            return visit.page_with(StatusCode::BAD_REQUEST, &page(problems, Vec::new(), None, None, None));
        }
        Err(failure) => return Err(failure),
    };
    let older = found.cursor.map(|cursor| visit.href(&link(window).with("after", cursor.to_string())));
    let looks: Vec<Look> = found.looks.iter().map(|action| Look::new(visit, action)).collect();
    let is_all = window == Window::All || older.is_some();
    let widest = (looks.is_empty() && !is_all).then(|| visit.href(&link(Window::All)));
    let read = looked_at.is_some().then_some((found.read, older.is_some()));
    visit.page(&page(Vec::new(), DayOfLooks::all(looks), older, widest, read))
}

/// Looks that were found.
struct Found {
    looks: Vec<AuditAction>,
    /// How many were read for them.
    read: usize,
    /// Where the next ones begin.
    cursor: Option<Cursor>,
}

impl Found {
    /// A page of looks. Of those at something, a stretch of the log is read until there is about a page of them.
    fn read(
        conn: &mut PgConnection,
        trail: &Trail,
        filter: &Filter,
        mut after: Option<Cursor>,
        words: &[String],
    ) -> Result<Self, threadline::Error> {
        let (size, times) = if words.is_empty() { (SIZE, 1) } else { READ };
        let mut found = Self { looks: Vec::new(), read: 0, cursor: None };
        for _ in 0..times {
            let request = PageRequest::new().size(size)?.order(Order::NewestFirst);
            let page = trail.actions(conn, filter, &after.into_iter().fold(request, PageRequest::after))?;
            found.read += page.entries.len();
            found.looks.extend(page.entries.into_iter().filter(|look| is_at(look, words)));
            found.cursor = page.cursor;
            after = page.cursor;
            if after.is_none() || found.looks.len() >= SIZE as usize {
                break;
            }
        }
        Ok(found)
    }
}

/// Whether all these words are in what was looked at.
fn is_at(look: &AuditAction, words: &[String]) -> bool {
    let address = look.comment.as_deref().unwrap_or_default();
    let text =
        format!("{} {}", address.split('?').next().unwrap_or_default(), asked(address).text).to_lowercase();
    words.iter().all(|word| text.contains(word.as_str()))
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
        let Part { text, is_further } = what.map(asked).unwrap_or_default();
        Self {
            is_further,
            is_api: what.is_some_and(|what| what.starts_with("api/")),
            when: visit.moment(action.occurred_at),
            who: Who::new(visit, action.actor(), None),
            did,
            deed: action.verb.as_deref().filter(|verb| *verb != "view").map(shown),
            screen,
            what: Some(shown(&text)).filter(|text| !text.is_empty()),
            href,
            refused: (action.status == ActionStatus::Error)
                .then(|| shown(action.reason.as_deref().unwrap_or("for no reason on record"))),
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

/// What an address asks for.
#[derive(Default)]
struct Part {
    text: String,
    is_further: bool,
}

/// What of its screen an address asks for, as people read it: its query, or what stands below the screen. Where a page begins
/// says nothing to them.
fn asked(address: &str) -> Part {
    let path = address.strip_prefix("api/").unwrap_or(address);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let below = path.split_once('/').map(|(_, below)| below.to_owned());
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    let is_further = pairs.iter().any(|(name, _)| name == "after");
    let told = pairs.iter().filter(|(name, value)| name != "after" && !value.trim().is_empty());
    let parts: Vec<String> =
        below.into_iter().chain(told.map(|(name, value)| format!("{name}={value}"))).collect();
    Part { text: parts.join("  "), is_further }
}
