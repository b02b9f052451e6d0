//! Everything one transaction did.

use actix_web::HttpResponse;
use uuid::Uuid;

use super::asked::Asked;
use super::document::document;
use super::endpoint::Endpoint;
use super::parameter::{Kind, Parameter, Place};
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

pub(super) const TRANSACTION: Endpoint = Endpoint {
    name: "transaction",
    path: "/transactions/{id}",
    screen: Screen::Transaction,
    summary: "Everything one transaction did",
    description: "Who, from where and what for, the actions it recorded, and each of its changes column by column, 1,000 at \
        most.",
    parameters: &[&[Parameter {
        name: "id",
        about: "The transaction's id",
        kind: Kind::Id,
        place: Place::Path,
    }]],
    schema: "incident",
    handler: |visit, asked| Box::pin(transaction(visit, asked)),
};

async fn transaction(visit: &Visit, asked: Asked) -> Result<HttpResponse, Failure> {
    asked.end()?;
    let id = Uuid::try_parse(visit.segment("id")).map_err(|_| Failure::NotFound)?;
    let incident = visit.read(move |conn, trail| trail.incident_bundle(conn, id)).await?;
    document(&incident.ok_or(Failure::NotFound)?)
}
