//! Starting, cancelling and downloading an export. That somebody asks for it is on record before any of it is done.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use threadline::ExportOptions;
use threadline::exports;
use uuid::Uuid;

use super::jobs::{Which, find};
use super::{Obstacle, Question, obstacle, page};
use crate::error::Error;
use crate::exports::export_download;
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::query::{Problem, Query};
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

/// Queues a job: of this filter, and of what the visitor may export.
pub(in crate::surface) async fn start_export(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut form = visit.query();
    let question = Question::take(visit, &mut form);
    let unknown = form.unknown(&["a filter", "window", "format"]);
    let question = match question {
        Ok(question) if unknown.is_empty() => question,
        question => {
            let mut problems = question.err().unwrap_or_default();
            problems.extend(unknown);
            return page(visit, StatusCode::BAD_REQUEST, problems, Question::usual(), Which::Newest).await;
        }
    };
    let owner = match (obstacle(visit), visit.somebody()) {
        (None, Some(owner)) => owner.clone(),
        (Some(Obstacle::NoStorage), _) => {
            return page(visit, StatusCode::CONFLICT, Vec::new(), question, Which::Newest).await;
        }
        _ => return page(visit, StatusCode::FORBIDDEN, Vec::new(), question, Which::Newest).await,
    };
    let options = ExportOptions::new(question.format).unlimited();
    let request = visit.permissions.export.export(options).ok_or(Failure::Denied(Screen::Exports))?;
    let request = request.filter(question.window.narrow(question.filter.clone(), visit.now));
    let (pool, limit, context) = (visit.config.pool.clone(), visit.config.limit, visit.context());
    let queued = web::block(move || {
        pool.write_within(limit, context.transaction(), |conn, _| exports::enqueue(conn, &request, &owner))
    });
    match queued.await.map_err(|_| Failure::Internal)?.map_err(Failure::from) {
        Ok(job) => Ok(visit.redirect(&of(job.id))),
        Err(Failure::Invalid(problems)) => {
            page(visit, StatusCode::BAD_REQUEST, problems, Question::usual(), Which::Newest).await
        }
        Err(failure) => Err(failure),
    }
}

/// Cancels a job of the visitor's that is not over.
pub(in crate::surface) async fn cancel_export(visit: &Visit) -> Result<HttpResponse, Failure> {
    let id = the_job(visit.query())?;
    let owner = visit.somebody().ok_or(Failure::NotFound)?.clone();
    is_theirs(visit, id).await?;
    let (pool, limit, context) = (visit.config.pool.clone(), visit.config.limit, visit.context());
    let cancelled = web::block(move || {
        pool.write_within(limit, context.transaction(), |conn, _| exports::cancel(conn, id, &owner))
    });
    cancelled.await.map_err(|_| Failure::Internal)??;
    Ok(visit.redirect(&of(id)))
}

/// Hands out the file of a job of the visitor's. What is not there and what is somebody else's look the same.
pub(in crate::surface) async fn download_export(visit: &Visit) -> Result<HttpResponse, Failure> {
    let id = the_job(visit.query())?;
    let (Some(owner), Some(storage)) = (visit.somebody(), visit.config.storage.as_ref()) else {
        return Err(Failure::NotFound);
    };
    is_theirs(visit, id).await?;
    let answer =
        export_download(&visit.config.pool, storage, id, owner).await.map_err(|error| match error {
            Error::Audit(error) => Failure::from(error),
            _ => Failure::Internal,
        })?;
    match answer.status() {
        StatusCode::NOT_FOUND => Err(Failure::NotFound),
        // Where it stands tells more than that there is no file.
        StatusCode::GONE | StatusCode::CONFLICT => Ok(visit.redirect(&of(id))),
        _ => Ok(answer),
    }
}

/// The page of one job.
fn of(job: Uuid) -> Link {
    Link::to("exports").with("job", job.to_string())
}

fn the_job(mut query: Query) -> Result<Uuid, Failure> {
    let which = Which::take(&mut query)?;
    let unknown = query.unknown(&["job"]);
    match which {
        _ if !unknown.is_empty() => Err(Failure::Invalid(unknown)),
        Which::One(id) => Ok(id),
        _ => Err(Problem::new("job", "is missing").into()),
    }
}

/// Fails as if the job were not there unless it is the visitor's, of what they may export at present.
async fn is_theirs(visit: &Visit, id: Uuid) -> Result<(), Failure> {
    find(visit, id).await?.map(drop).ok_or(Failure::NotFound)
}
