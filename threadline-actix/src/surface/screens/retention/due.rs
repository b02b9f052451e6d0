//! What is due to be removed, and removing it: by the connections of the trail's owner, and only once that is typed out.

use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use diesel::PgConnection;
use threadline::retention::{self, Archive, RetentionPlan};
use threadline::{Actor, Error};
use threadline_worker::StorageArchive;

use super::{days, page, size};
use crate::surface::config::SurfaceConfig;
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::query::Problem;
use crate::surface::visit::Visit;

/// What has to be typed before anything goes.
const CONFIRMATION: &str = "remove what is due";

/// How long the page waits for a run to be over.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the page says of what is due.
pub(super) enum Due {
    /// The application has no connections of the trail's owner.
    NotOffered,
    /// Nobody has asked: to count it reads all that is due.
    Unasked,
    /// The database refuses to say.
    Refused(String),
    Nothing,
    Plan(PlanView),
}

/// A plan, as people read it.
pub(super) struct PlanView {
    pub(super) rows: Vec<Row>,
    /// Whether it is written to the storage first.
    pub(super) archived: bool,
    pub(super) takes: Option<String>,
    pub(super) confirmation: &'static str,
    /// Why it cannot be done from here, though it is due.
    pub(super) obstacle: Option<&'static str>,
}

/// A month something goes from.
pub(super) struct Row {
    pub(super) month: String,
    pub(super) goes: &'static str,
    pub(super) changes: u64,
    pub(super) transactions: u64,
    pub(super) actions: u64,
    pub(super) size: Option<String>,
}

impl Due {
    /// What is due now; asked of the database when the visitor wants to know.
    pub(super) async fn of(visit: &Visit, asked: bool) -> Result<Self, Failure> {
        match (&visit.config.maintenance, asked) {
            (None, _) => Ok(Self::NotOffered),
            (Some(_), false) => Ok(Self::Unasked),
            (Some(_), true) => match plan(visit).await? {
                Err(refusal) => Ok(Self::Refused(refusal)),
                Ok(plan) if plan.months.is_empty() && plan.thinned.is_empty() => Ok(Self::Nothing),
                Ok(plan) => Ok(Self::Plan(PlanView::new(visit, &plan))),
            },
        }
    }
}

impl PlanView {
    fn new(visit: &Visit, plan: &RetentionPlan) -> Self {
        let whole = plan.months.iter().map(|month| Row {
            month: month.month.replace('_', "-"),
            goes: "whole",
            changes: month.changes,
            transactions: month.transactions,
            actions: month.actions,
            size: Some(size(month.bytes)),
        });
        let thinned = plan.thinned.iter().map(|month| Row {
            month: month.month.replace('_', "-"),
            goes: "in part",
            changes: month.changes.iter().map(|(_, changes)| changes).sum(),
            transactions: month.transactions,
            actions: month.actions,
            size: None,
        });
        Self {
            rows: whole.chain(thinned).collect(),
            archived: visit.config.operation.archive,
            takes: plan.estimate.map(|estimate| days(Duration::from_secs(estimate.as_secs().max(1)))),
            confirmation: CONFIRMATION,
            obstacle: obstacle(visit),
        }
    }
}

/// Why what is due cannot be removed from here.
fn obstacle(visit: &Visit) -> Option<&'static str> {
    if visit.actor.is_none() {
        Some("Nobody is named for this request, and somebody has to answer for it.")
    } else if visit.config.operation.archive && visit.config.storage.is_none() {
        Some("What leaves is to be archived first, and this surface has no storage.")
    } else {
        None
    }
}

/// The plan, or why there is none.
async fn plan(visit: &Visit) -> Result<Result<RetentionPlan, String>, Failure> {
    let config = visit.config.clone();
    let planned = web::block(move || {
        let mut conn = maintenance(&config)?;
        match retention::plan(&mut conn, &config.operation.retention, config.operation.archive) {
            Err(Error::Refused { message, .. }) => Ok(Err(message)),
            plan => plan.map(Ok).map_err(Failure::from),
        }
    });
    planned.await.map_err(|_| Failure::Internal)?
}

fn maintenance(config: &SurfaceConfig) -> Result<PgConnection, Failure> {
    let make = config.maintenance.as_ref().ok_or(Failure::NotFound)?;
    // What it says may name the database and its user.
    make().map_err(|_| {
        tracing::error!("threadline: the surface has no connection for maintenance");
        Failure::Unreachable
    })
}

/// Has what is due removed, once that is typed out. It goes on when the page has been answered; the page lists the run.
pub(in crate::surface) async fn remove_due(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut form = visit.query();
    let confirmed = form.take("confirm")?.unwrap_or_default();
    let mut problems = form.unknown(&["confirm"]);
    if visit.config.maintenance.is_none() {
        return page(visit, StatusCode::CONFLICT, Due::NotOffered, problems).await;
    }
    if !is_same(&confirmed, CONFIRMATION) {
        problems.push(Problem::new("confirm", format!("is not `{CONFIRMATION}`; nothing was removed")));
    }
    let Some(actor) = visit.actor.clone().filter(|_| problems.is_empty() && obstacle(visit).is_none()) else {
        let status = if problems.is_empty() { StatusCode::CONFLICT } else { StatusCode::BAD_REQUEST };
        return page(visit, status, Due::of(visit, true).await?, problems).await;
    };
    let config = visit.config.clone();
    let (mut conn, last) = web::block(move || {
        let mut conn = maintenance(&config)?;
        let last = retention::runs(&mut conn, 1)?.first().map_or(0, |run| run.id);
        Ok::<_, Failure>((conn, last))
    })
    .await
    .map_err(|_| Failure::Internal)??;
    let config = Arc::clone(&visit.config);
    let (ended, end) = mpsc::channel();
    std::thread::Builder::new()
        .name("threadline-retention".to_owned())
        .spawn(move || {
            run(&mut conn, &config, &actor);
            let _ = ended.send(());
        })
        .map_err(|_| Failure::Internal)?;
    // Most runs are over by then, and the page says what went.
    let _ = web::block(move || end.recv_timeout(PATIENCE)).await;
    Ok(visit.redirect(&Link::to("retention").with("since", last.to_string())))
}

/// One run. How it ended is a row of its own in the trail.
fn run(conn: &mut PgConnection, config: &SurfaceConfig, actor: &Actor) {
    let storage = config.storage.clone().filter(|_| config.operation.archive);
    let Ok(mut archive) = storage.map(StorageArchive::new).transpose() else {
        return tracing::error!("threadline: the archive of the surface's retention cannot be opened");
    };
    let archive = archive.as_mut().map(|archive| archive as &mut dyn Archive);
    let policy = &config.operation.retention;
    if let Err(error) = retention::run(conn, policy, actor, archive, &mut |_| ControlFlow::Continue(())) {
        tracing::error!(cause = error.kind(), "threadline: a run of retention from the surface failed");
    }
}

/// Whether two texts are the same, in a time that does not tell where they differ.
fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).fold(0, |different, (one, other)| different | (one ^ other)) == 0
}
