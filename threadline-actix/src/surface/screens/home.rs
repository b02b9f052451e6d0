//! Home: whether the trail can be believed, and a way in for whatever somebody has in their hands.

use actix_web::HttpResponse;
use askama::Template;
use threadline::retention::{self, RetentionPolicy, RetentionRun, RunState};
use threadline::{Filter, PageRequest, views};

use super::find;
use super::retention::days;
use super::views::View;
use crate::surface::access::Capability;
use crate::surface::entry::Group;
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::screen::Screen;
use crate::surface::shell::Shell;
use crate::surface::visit::Visit;

#[derive(Template)]
#[template(path = "surface/home.html")]
struct HomePage {
    shell: Shell,
    find: String,
    problem: Option<String>,
    truths: Vec<Truth>,
    groups: Vec<Group>,
    views: Vec<View>,
}

/// Something that has to be so for what is found here to be believed.
struct Truth {
    name: &'static str,
    /// The class of the style sheet: `good`, `warning`, `bad` or `unknown`.
    class: &'static str,
    words: String,
    /// When it was so.
    when: Option<Moment>,
    links: Vec<(&'static str, String)>,
}

/// Saved views that are shown here, those saved last.
const VIEWS: usize = 6;

/// Retention that has not run for so long, in days, has likely nobody to run it.
const OVERDUE: i64 = 7;

/// What it takes a person to see that something is, or is not, right.
pub(in crate::surface) async fn home(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let find = query.take("find")?.map(|text| text.trim().to_owned());
    let unknown = query.unknown(&["find"]);
    if !unknown.is_empty() {
        return Err(Failure::Invalid(unknown));
    }
    let problem = match &find {
        Some(text) => match find::find(visit, text).await? {
            Some(link) => return Ok(visit.redirect(&link)),
            None => Some(find::nothing(visit, text)),
        },
        None => None,
    };
    let sees_retention = visit.permissions.has(Capability::Retention);
    let somebody = visit.somebody().cloned();
    let (newest, run, views) = visit
        .read(move |conn, trail| {
            let newest = trail.timeline_page(conn, &Filter::new(), &PageRequest::new().size(8)?)?.entries;
            let run = if sees_retention { retention::runs(conn, 1)?.pop() } else { None };
            let views = somebody.map(|owner| views::list(conn, &owner)).transpose()?.unwrap_or_default();
            Ok((newest, run, views))
        })
        .await?;
    let last = newest.first().map(|change| visit.moment(change.change.captured_at));
    let mut truths = Vec::new();
    truths.extend(visit.permissions.has(Capability::Coverage).then(|| Truth::of_capture(visit)));
    truths.push(Truth::of_changes(visit, last));
    truths.extend(
        sees_retention.then(|| Truth::of_retention(visit, &visit.config.operation.retention, run.as_ref())),
    );
    visit.page(&HomePage {
        shell: visit.shell(),
        find: find.unwrap_or_default(),
        problem,
        truths,
        groups: Group::all(visit, &newest),
        views: views.into_iter().take(VIEWS).map(|view| View::new(visit, view)).collect(),
    })
}

/// Links to these screens.
fn links(visit: &Visit, screens: &[Screen]) -> Vec<(&'static str, String)> {
    let link =
        |screen: &Screen| (screen.label(), visit.href(&Link::to(screen.route().trim_start_matches('/'))));
    screens.iter().map(link).collect()
}

impl Truth {
    fn of_capture(visit: &Visit) -> Self {
        let (class, words) = match &visit.health {
            None => ("unknown", "Whether everything is captured has not been told yet.".to_owned()),
            Some(health) => {
                let (class, counted) = health.verdict();
                let words = match class {
                    "good" => "Everything that is to be captured is.".to_owned(),
                    "warning" => format!("What is to be captured is; {counted} to look into."),
                    _ => format!("Not everything is captured as it is to be: {counted} to mend."),
                };
                match health.stale {
                    true => ("unknown", format!("{words} It could not be looked at since.")),
                    false => (class, words),
                }
            }
        };
        Self {
            name: "Capture",
            class,
            words,
            when: visit.health.map(|health| visit.moment(health.seen_at)),
            links: links(visit, &[Screen::Coverage, Screen::Gaps]),
        }
    }

    fn of_changes(visit: &Visit, last: Option<Moment>) -> Self {
        let words = match (&last, visit.permissions.access.scope()) {
            (None, None) => "None was captured yet.",
            (None, Some(_)) => "None was captured yet that you may see.",
            (Some(_), None) => "The last one seen was captured",
            (Some(_), Some(_)) => "The last one that you may see was captured",
        };
        Self {
            name: "Changes",
            class: if last.is_some() { "good" } else { "unknown" },
            words: words.to_owned(),
            when: last,
            links: links(visit, &[Screen::Timeline]),
        }
    }

    fn of_retention(visit: &Visit, policy: &RetentionPolicy, run: Option<&RetentionRun>) -> Self {
        let kept = match policy.keep {
            Some(window) => format!("Changes are kept {}", days(window)),
            None if policy.tables.is_empty() && policy.actions.is_empty() => {
                "Changes are kept for ever".to_owned()
            }
            None => "Some changes are kept for a time, the others for ever".to_owned(),
        };
        let removes = policy.keep.is_some() || !policy.tables.is_empty() || !policy.actions.is_empty();
        let when = run.map(|run| run.ended_at.unwrap_or(run.started_at));
        let is_overdue = when.is_some_and(|when| (visit.now - when).num_days() >= OVERDUE);
        let (class, words) = match run.map(|run| run.state) {
            None if removes => ("warning", format!("{kept}, and retention has never run.")),
            None => ("good", format!("{kept}.")),
            Some(RunState::Running) => ("good", format!("{kept}; a run is under way, since")),
            Some(RunState::Completed) if is_overdue && removes => {
                ("warning", format!("{kept}, and the last run was"))
            }
            Some(RunState::Completed) => ("good", format!("{kept}; the last run was")),
            Some(_) => ("bad", format!("{kept}, but the last run failed")),
        };
        Self {
            name: "Retention",
            class,
            words,
            when: when.map(|when| visit.moment(when)),
            links: links(visit, &[Screen::Retention]),
        }
    }
}
