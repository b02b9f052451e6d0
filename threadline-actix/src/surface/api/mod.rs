//! The same reads for programs: JSON below `api/`, under the same gates, scopes, filters and cursors as the pages.

mod access_log;
mod actions;
mod actor;
mod asked;
mod correlation;
mod coverage;
mod document;
mod endpoint;
mod evidence;
mod exports;
mod gaps;
mod me;
mod openapi;
mod parameter;
mod problem;
mod redaction;
mod retention;
mod row;
mod schemas;
mod timeline;
mod transaction;
mod undo;
mod views;

use actix_web::{HttpRequest, HttpResponse, Resource, Scope, guard, web};

use self::asked::Asked;
use self::endpoint::Endpoint;
use super::config::SurfaceConfig;
use super::failure::Failure;
use super::screen::Screen;
use super::visit::Visit;

/// All there is. Routes and the document are both made of it.
static ENDPOINTS: [Endpoint; 28] = [
    me::ME,
    openapi::OPENAPI,
    timeline::TIMELINE,
    timeline::COUNT,
    transaction::TRANSACTION,
    row::HISTORY,
    row::AS_OF,
    row::DIFF,
    actor::CHANGES,
    actor::TRANSACTIONS,
    correlation::CORRELATION,
    actions::ACTIONS,
    undo::UNDO,
    views::VIEWS,
    coverage::COVERAGE,
    coverage::FINDINGS,
    redaction::REDACTION,
    retention::WINDOWS,
    retention::HOLDS,
    retention::MONTHS,
    retention::RUNS,
    evidence::RECORDS,
    evidence::OVERVIEW,
    evidence::PROOF,
    gaps::GAPS,
    exports::EXPORTS,
    exports::EXPORT,
    access_log::ACCESS_LOG,
];

/// The API at this scope, which is `<mount>/api`.
pub(super) fn routes(scope: Scope) -> Scope {
    ENDPOINTS
        .iter()
        .fold(scope, |scope, endpoint| scope.service(api(endpoint)))
        .default_service(web::to(async |config, request| refuse(config, request, nowhere).await))
}

/// An endpoint at its route. There is no other way to one: who asks is asked about, and looked up in the access log, before.
fn api(endpoint: &'static Endpoint) -> Resource {
    let depth = depth(endpoint.path);
    let reading = guard::Any(guard::Get()).or(guard::Head());
    let handler = move |config: web::Data<SurfaceConfig>, request: HttpRequest| async move {
        let Ok(visit) = Visit::enter(config, request, endpoint.screen, depth).await else {
            return problem::refusal();
        };
        let asked = Asked::of(endpoint, visit.written_query(), visit.now);
        let answer = visit.seen(async |visit: &Visit| (endpoint.handler)(visit, asked).await, false).await;
        answer.unwrap_or_else(|failure| problem::of(&failure, endpoint.screen))
    };
    web::resource(endpoint.path)
        .route(web::route().guard(reading).to(handler))
        .default_service(web::to(async |config, request| refuse(config, request, problem::not_allowed).await))
}

/// How many steps lead from the endpoint to the mount.
fn depth(path: &str) -> usize {
    path.matches('/').count()
}

/// What cannot be answered; only who is let in is told why.
async fn refuse(
    config: web::Data<SurfaceConfig>,
    request: HttpRequest,
    why: fn() -> HttpResponse,
) -> HttpResponse {
    match Visit::enter(config, request, Screen::Home, 0).await {
        Ok(_) => why(),
        Err(_) => problem::refusal(),
    }
}

fn nowhere() -> HttpResponse {
    problem::of(&Failure::NotFound, Screen::Home)
}
