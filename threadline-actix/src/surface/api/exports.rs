//! The exports of who asks: where they stand. They are begun, cancelled and downloaded at their page.

use actix_web::HttpResponse;
use serde::Serialize;
use threadline::exports::ExportJob;
use uuid::Uuid;

use super::asked::Asked;
use super::document::document;
use super::endpoint::Endpoint;
use super::parameter::{Kind, Parameter, Place};
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::screens::{find_export, list_exports};
use crate::surface::visit::Visit;

pub(super) const EXPORTS: Endpoint = Endpoint {
    name: "exports",
    path: "/exports",
    screen: Screen::Exports,
    summary: "The exports of who asks",
    description: "The newest 50, newest first; with `before` those that come after it in the list. None of another's, and none \
        that were asked for under another scope than the present one.",
    parameters: &[&[Parameter::once("before", Kind::Id, "Exports older than this one")]],
    schema: "exports",
    handler: |visit, asked| Box::pin(exports(visit, asked)),
};

pub(super) const EXPORT: Endpoint = Endpoint {
    name: "export",
    path: "/exports/{id}",
    screen: Screen::Exports,
    summary: "Where one export stands",
    description: "One of who asks.",
    parameters: &[&[Parameter { name: "id", about: "The export's id", kind: Kind::Id, place: Place::Path }]],
    schema: "export_job",
    handler: |visit, asked| Box::pin(export(visit, asked)),
};

/// As many as a page has.
const SIZE: usize = 50;

async fn exports(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    #[derive(Serialize)]
    struct Jobs {
        jobs: Vec<ExportJob>,
    }
    let before = asked.text("before");
    let before =
        asked.read("before", before, |id| Uuid::try_parse(id).map_err(|_| "is not the id of an export"));
    asked.end()?;
    let mut jobs = list_exports(visit, before).await?;
    jobs.truncate(SIZE);
    document(&Jobs { jobs })
}

async fn export(visit: &Visit, asked: Asked) -> Result<HttpResponse, Failure> {
    #[derive(Serialize)]
    struct One {
        job: ExportJob,
    }
    asked.end()?;
    let id = Uuid::try_parse(visit.segment("id")).map_err(|_| Failure::NotFound)?;
    let job = find_export(visit, id).await?.ok_or(Failure::NotFound)?;
    document(&One { job })
}
