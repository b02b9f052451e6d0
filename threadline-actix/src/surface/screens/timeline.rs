//! The timeline: what changed, newest first, for any question a filter can ask.

use std::collections::BTreeSet;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use threadline::{AuditAction, Count, Cursor, Filter, LinkedChange, Order, PageRequest};

use super::tables;
use super::views::Keepable;
use crate::surface::access::Capability;
use crate::surface::entry::Group;
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::for_field;
use crate::surface::query::{Problem, Query};
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;
use crate::surface::window::{Preset, Span, Window};

/// What is shown unless somebody asks for another time.
const USUAL: Window = Window::Last(Span::Day);

/// The kinds of changes.
const OPS: [&str; 4] = ["insert", "update", "delete", "truncate"];

/// Changes on a page.
const SIZE: u32 = 50;

/// Actions whose names are offered while one is being typed.
const RECENT: u32 = 100;

/// Changes that are counted; beyond there is `+`.
const COUNTED: u32 = 1_000;

#[derive(Template)]
#[template(path = "surface/timeline.html")]
struct TimelinePage {
    shell: Shell,
    form: FilterForm,
    sentence: String,
    groups: Vec<Group>,
    /// What has come since somebody looked last, in words.
    since: Option<String>,
    /// What of the page they have seen.
    seen: Vec<Group>,
    older: Option<String>,
    newer: Option<Newer>,
    empty: Option<Empty>,
    /// Where these can be had as a file, for who may.
    export: Option<String>,
    keep: Option<Keepable>,
}

/// The way to what is newer than the page, which may not have happened yet.
struct Newer {
    href: String,
    label: &'static str,
}

/// Why there is nothing to see.
enum Empty {
    /// Nothing has ever been captured that may be seen.
    FirstRun,
    /// The time begins after now.
    Ahead,
    /// Nothing has happened since the page one comes from; with the way to ask once more, and to the newest there is.
    NothingNewer { again: String, newest: String },
    /// Nothing answers to the filter; with what would find more.
    Filtered { wider: Option<(String, &'static str)>, bare: String },
}

/// The filter as people fill it in.
pub(in crate::surface) struct FilterForm {
    pub(in crate::surface) presets: Vec<Preset>,
    pub(in crate::surface) window: &'static str,
    pub(in crate::surface) from: String,
    pub(in crate::surface) to: String,
    pub(in crate::surface) chips: Vec<Chip>,
    pub(in crate::surface) problems: Vec<Problem>,
    /// What may be meant by what is being typed.
    pub(in crate::surface) tables: Vec<String>,
    pub(in crate::surface) actions: Vec<String>,
    written: Vec<(String, String)>,
}

/// A part of the filter that can be taken away.
pub(in crate::surface) struct Chip {
    pub(in crate::surface) name: String,
    pub(in crate::surface) value: String,
    pub(in crate::surface) without: String,
}

impl FilterForm {
    /// What was written in a field.
    pub(in crate::surface) fn value(&self, name: &str) -> &str {
        self.written.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// What else was written in a field that takes several: each has a field of its own, so that sending the form asks the same.
    pub(in crate::surface) fn further(&self, name: &str) -> Vec<&str> {
        let values = self.written.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        values.skip(1).collect()
    }

    /// What is wrong with a field; what would be right is told below, where there is room for it.
    pub(in crate::surface) fn problem(&self, name: &str) -> Option<&str> {
        let problem = self.problems.iter().find(|problem| problem.field == name)?;
        problem.text.split("; ").next()
    }

    /// Whether one of the fields that are folded away has something in it.
    pub(in crate::surface) fn is_unfolded(&self) -> bool {
        const FOLDED: [&str; 10] = [
            "correlation_id",
            "schema",
            "category",
            "status",
            "transaction_correlation_id",
            "request_id",
            "job_id",
            "db_role",
            "column",
            "key",
        ];
        FOLDED.iter().any(|name| !self.value(name).is_empty() || self.problem(name).is_some())
    }

    pub(in crate::surface) fn is(&self, name: &str, value: &str) -> bool {
        self.value(name) == value
    }

    /// Whether a kind of change can be chosen; another one is kept as it was written.
    pub(in crate::surface) fn is_op(&self, value: &str) -> bool {
        value.is_empty() || OPS.contains(&value)
    }

    pub(in crate::surface) fn ops(&self) -> [&'static str; 4] {
        OPS
    }
}

/// What the URL asks for.
struct Question {
    window: Window,
    filter: Filter,
    after: Option<Cursor>,
    /// The newest change that was seen at the last look.
    seen: Option<Cursor>,
}

impl Question {
    /// `Err` with what was written and everything that is wrong with it.
    fn of(visit: &Visit, mut query: Query) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let window = Window::take(&mut query, visit.preferences.zone, USUAL).unwrap_or_else(|wrong| {
            problems.extend(wrong);
            USUAL
        });
        let after = query.take_cursor();
        let after = after.unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        let seen = query.take("seen").and_then(|text| {
            let cursor = text.map(|text| text.parse()).transpose();
            cursor.map_err(|error: threadline::Error| Problem::new("seen", error.to_string()))
        });
        let seen = seen.unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        if seen.is_some() && after.is_some() {
            problems.push(Problem::new("seen", "is about the newest page and goes with no `after`"));
        }
        let filter = query.take_filter(&Filter::NAMES).unwrap_or_else(|wrong| {
            problems.extend(wrong);
            Filter::new()
        });
        let known: Vec<&str> = Filter::NAMES.into_iter().chain(["window", "after", "seen"]).collect();
        problems.extend(query.unknown(&known));
        if problems.is_empty() { Ok(Self { window, filter, after, seen }) } else { Err(problems) }
    }

    /// The one way to write it.
    fn link(&self) -> Link {
        Self::written(&self.filter, self.window)
    }

    fn written(filter: &Filter, window: Window) -> Link {
        Link::to("timeline").with_all(filter.pairs()).with_all(window.pairs(USUAL))
    }
}

/// The one way to ask what a query asks of the timeline.
pub(super) fn asked(visit: &Visit, query: Query) -> Result<Link, Vec<Problem>> {
    Question::of(visit, query).map(|question| question.link())
}

/// The timeline.
pub(in crate::surface) async fn timeline(visit: &Visit) -> Result<HttpResponse, Failure> {
    let query = visit.query();
    let written = query.rest().to_vec();
    let question = match Question::of(visit, query) {
        Ok(question) => question,
        Err(problems) => return invalid(visit, written, problems).await,
    };
    let filter = question.window.narrow(question.filter.clone(), visit.now);
    let backwards = question.after.is_some_and(|after| after.order() == Order::OldestFirst);
    let mut request = PageRequest::new().size(SIZE)?;
    if let Some(after) = question.after {
        request = request.order(after.order()).after(after);
    }
    let asked = filter.clone();
    let read = visit.read(move |conn, trail| {
        let page = trail.timeline_page(conn, &asked, &request)?;
        let count = trail.count(conn, &asked, COUNTED)?;
        let recent = trail.actions(conn, &Filter::new(), &PageRequest::new().size(RECENT)?)?.entries;
        let first_run = page.entries.is_empty() && trail.count(conn, &Filter::new(), 1)?.counted == 0;
        Ok((page, count, first_run, recent))
    });
    let (page, count, first_run, recent) = match read.await {
        Ok(answer) => answer,
        Err(Failure::Invalid(problems)) => return invalid(visit, written, problems).await,
        Err(failure) => return Err(failure),
    };
    let mut changes = page.entries;
    if backwards {
        changes.reverse();
    }
    let at = |change: &LinkedChange, order| {
        visit.href(&question.link().with("after", change.cursor(order).to_string()))
    };
    let older = (backwards || page.has_more).then(|| Some(at(changes.last()?, Order::NewestFirst))).flatten();
    let is_newest = if backwards { !page.has_more } else { question.after.is_none() };
    // At the newest page one looks for newer without leaving what one has seen: it is marked on the page that is found.
    let anew = |change: &LinkedChange| {
        visit.href(&question.link().with("seen", change.cursor(Order::OldestFirst).to_string()))
    };
    let newer = changes.first().map(|newest| match is_newest {
        true => Newer { href: anew(newest), label: "Look for newer" },
        false => Newer { href: at(newest, Order::OldestFirst), label: "Newer" },
    });
    let (new, known, since) = match question.seen {
        None => (&changes[..], &[][..], None),
        Some(seen) => {
            let place = changes.iter().position(|change| change.cursor(Order::OldestFirst) == seen);
            let (new, known) = changes.split_at(place.unwrap_or(changes.len()));
            let words = match (new.len(), place) {
                (0, _) => format!("Nothing newer has been captured{}", seen_by(visit)),
                // Whatever was seen has gone down to a later page, or out of the time that is asked about.
                (_, None) => "All of this page is new since you looked".to_owned(),
                (1, Some(_)) => "1 change is new since you looked".to_owned(),
                (count, Some(_)) => format!("{count} changes are new since you looked"),
            };
            (new, known, Some(words))
        }
    };
    let empty = changes.is_empty().then(|| {
        if let Some(after) = question.after.filter(|_| backwards) {
            let again = visit.href(&question.link().with("after", after.to_string()));
            Empty::NothingNewer { again, newest: visit.href(&question.link()) }
        } else if first_run {
            Empty::FirstRun
        } else if question.window.is_ahead(visit.now) {
            Empty::Ahead
        } else {
            let wider = question
                .window
                .wider()
                .map(|wider| (visit.href(&Question::written(&question.filter, wider)), wider.label()));
            Empty::Filtered { wider, bare: visit.href(&Link::to("timeline").with("window", "all")) }
        }
    });
    visit.page(&TimelinePage {
        shell: visit.shell(),
        sentence: sentence(visit, count, &question),
        form: FilterForm { actions: names(&recent), ..form(visit, &question, written) },
        groups: Group::all(visit, new),
        since,
        seen: Group::all(visit, known),
        older,
        newer,
        empty,
        export: visit
            .permissions
            .has(Capability::Exports)
            .then(|| visit.href(&question.link().under("exports"))),
        keep: Keepable::new(visit, &question.link()),
    })
}

/// What a sentence about all there is leaves out for who does not see all of it.
fn seen_by(visit: &Visit) -> &'static str {
    if visit.permissions.access.scope().is_some() { " that you may see" } else { "" }
}

/// What was found, in words. Where one thing alone is asked for, the words name it: it may have been found by its id.
fn sentence(visit: &Visit, count: Count, question: &Question) -> String {
    let changes = if count.counted == 1 && !count.capped { "change" } else { "changes" };
    let of = match &question.filter.pairs()[..] {
        [("request_id", _)] => " of this request",
        [("job_id", _)] => " of this job",
        [("table", _)] => " of this table",
        _ => "",
    };
    let zone = visit.preferences.zone;
    format!("{count} {changes}{of} {}, {}", question.window.words(zone), zone.name())
}

fn form(visit: &Visit, question: &Question, written: Vec<(String, String)>) -> FilterForm {
    let (from, to) = question.window.bounds();
    let field = |at: Option<_>| at.map(|at| for_field(at, visit.preferences.zone)).unwrap_or_default();
    let pairs = question.filter.pairs();
    let chips = pairs.iter().enumerate().map(|(place, (name, value))| {
        let rest =
            pairs.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, pair)| pair.clone());
        Chip {
            name: name.replace('_', " "),
            value: shown(value),
            without: visit.href(&Link::to("timeline").with_all(rest).with_all(question.window.pairs(USUAL))),
        }
    });
    FilterForm {
        presets: Preset::all(visit, question.window, |window| Question::written(&question.filter, window)),
        window: if question.window == USUAL { "" } else { question.window.name() },
        from: field(from),
        to: field(to),
        chips: chips.collect(),
        problems: Vec::new(),
        tables: tables::offered(visit),
        actions: Vec::new(),
        written,
    }
}

/// The names of what was done of late.
fn names(recent: &[AuditAction]) -> Vec<String> {
    let names: BTreeSet<String> = recent.iter().map(|action| action.name.clone()).collect();
    names.into_iter().collect()
}

/// The page with what is wrong, and everything else as it was written.
async fn invalid(
    visit: &Visit,
    written: Vec<(String, String)>,
    mut problems: Vec<Problem>,
) -> Result<HttpResponse, Failure> {
    let given = |name: &str| written.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
    // What the database says of a name does not quote it.
    let is_bare = |problem: &&mut Problem| {
        matches!(&*problem.field, "column" | "schema") && !problem.text.starts_with("“")
    };
    for problem in problems.iter_mut().filter(is_bare) {
        let value = given(&problem.field).unwrap_or_default();
        *problem = Problem::of_value(&*problem.field, &value, &problem.text);
    }
    // The first thing that is wrong has kept the database from being asked about the tables.
    for problem in tables::unknown(visit, &written).await? {
        problems.retain(|other| !problem.says_more_than(other));
        problems.push(problem);
    }
    let nothing = Question { window: USUAL, filter: Filter::new(), after: None, seen: None };
    let (from, to) = (given("from").unwrap_or_default(), given("to").unwrap_or_default());
    let form = FilterForm { problems, from, to, ..form(visit, &nothing, written) };
    visit.page_with(
        StatusCode::BAD_REQUEST,
        &TimelinePage {
            shell: visit.shell(),
            sentence: "Nothing was searched: a part of the filter is not understood.".to_owned(),
            form,
            groups: Vec::new(),
            since: None,
            seen: Vec::new(),
            older: None,
            newer: None,
            empty: None,
            export: None,
            keep: None,
        },
    )
}
