//! Everything that belongs together by a correlation id.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use threadline::{ActionStatus, AuditAction, Filter, Order, PageRequest};

use super::actions::ActionRow;
use super::actor::Sum;
use crate::surface::access::Capability;
use crate::surface::entry::Group;
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::query::Problem;
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

/// Changes on a page.
const SIZE: u32 = 200;

/// Actions that failed, and actions that did not, read for a page; looks at the trail are among them.
const ACTIONS: u32 = 50;

#[derive(Template)]
#[template(path = "surface/correlation.html")]
struct CorrelationPage {
    shell: Shell,
    id: String,
    sums: Vec<Sum>,
    groups: Vec<Group>,
    transactions: usize,
    /// Whether there is more of it than on this page.
    is_part: bool,
    failed: Vec<ActionRow>,
    /// What was done without a transaction.
    alone: Vec<ActionRow>,
    later: Option<String>,
    undo: String,
    export: Option<String>,
    /// Where the id is looked for as anything else it may be.
    everywhere: String,
}

#[derive(Template)]
#[template(path = "surface/correlation_lookup.html")]
struct LookupPage {
    shell: Shell,
    id: String,
    problems: Vec<Problem>,
}

/// What has this correlation id, oldest first: as a story is told. Or the form to find it.
pub(in crate::surface) async fn correlation(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let written = query.rest().iter().find(|(name, _)| name == "id").map(|(_, value)| value.clone());
    let lookup = |problems: Vec<Problem>| {
        let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        let id = written.clone().unwrap_or_default();
        visit.page_with(status, &LookupPage { shell: visit.shell(), id, problems })
    };
    if query.rest().is_empty() {
        return lookup(Vec::new());
    }
    let id = query.take("id").and_then(|id| id.ok_or_else(|| Problem::new("id", "is missing")));
    let after = query.take_cursor();
    let unknown = query.unknown(&["id", "after"]);
    let (id, after) = match (id, after) {
        (Ok(id), Ok(after)) if unknown.is_empty() => (id, after),
        (id, after) => return lookup(id.err().into_iter().chain(after.err()).chain(unknown).collect()),
    };
    let filter = Filter::new().transaction_correlation_id(id.clone());
    let mut request = PageRequest::new().size(SIZE)?.order(Order::OldestFirst);
    if let Some(after) = after {
        request = request.after(after);
    }
    let of = |status| Filter::new().correlation_id(id.clone()).status(status);
    let (failed, done) = (of(ActionStatus::Error), of(ActionStatus::Ok));
    let read = visit.read(move |conn, trail| {
        let oldest = PageRequest::new().size(ACTIONS)?.order(Order::OldestFirst);
        let (failed, done) = (trail.actions(conn, &failed, &oldest)?, trail.actions(conn, &done, &oldest)?);
        Ok((trail.timeline_page(conn, &filter, &request)?, failed.entries, done.entries))
    });
    let (page, failed, done) = match read.await {
        Ok(page) => page,
        Err(Failure::Invalid(problems)) => {
            let named = |problem: Problem| match problem.field.as_str() {
                "transaction_correlation_id" | "correlation_id" => Problem::new("id", problem.text),
                _ => problem,
            };
            return lookup(problems.into_iter().map(named).collect());
        }
        Err(failure) => return Err(failure),
    };
    let rows = |actions: &[AuditAction]| {
        actions.iter().map(|action| ActionRow::new(visit, action)).collect::<Vec<_>>()
    };
    let groups = Group::all(visit, &page.entries);
    let shown_id = shown(&id);
    visit.page(&CorrelationPage {
        shell: visit.shell().about(&shown_id),
        everywhere: visit.href(&Link::to("").with("find", id.as_str())),
        id: shown_id,
        sums: Sum::of(&page.entries),
        transactions: groups.len(),
        is_part: page.has_more || after.is_some(),
        failed: rows(&failed),
        alone: rows(&done.into_iter().filter(|action| action.transaction_id.is_none()).collect::<Vec<_>>()),
        groups,
        later: page.cursor.map(|cursor| {
            visit.href(&Link::to("correlations").with("id", id.as_str()).with("after", cursor.to_string()))
        }),
        undo: visit.href(&Link::to("undo").with("correlation", id.as_str())),
        export: visit.permissions.has(Capability::Exports).then(|| {
            let asked = Link::to("exports").with("transaction_correlation_id", id.as_str());
            visit.href(&asked.with("window", "all"))
        }),
    })
}
