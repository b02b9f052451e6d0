//! What the trail never has, as it was declared and as it is deployed. Names and options, never a value.

use actix_web::HttpResponse;
use serde::Serialize;
use threadline::policy::{self, TablePolicy};

use super::asked::Asked;
use super::coverage::Kept;
use super::document::document;
use super::endpoint::Endpoint;
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

pub(super) const REDACTION: Endpoint = Endpoint {
    name: "redaction",
    path: "/redaction",
    screen: Screen::Redaction,
    summary: "What is redacted",
    description: "The policy of each table as the models declare it and as it is deployed. Names and options, never a value.",
    parameters: &[],
    schema: "redaction",
    handler: |visit, asked| Box::pin(redaction(visit, asked)),
};

#[derive(Serialize)]
struct Policies {
    expectation: Expectation,
    policies: Vec<TablePolicy>,
    evidence: Kept,
}

/// Which models were taken as declared: those of the application itself.
#[derive(Serialize)]
struct Expectation {
    models_of: Option<String>,
    models: usize,
}

async fn redaction(visit: &Visit, asked: Asked) -> Result<HttpResponse, Failure> {
    asked.end()?;
    let read = visit.read(|conn, _| {
        let declared = policy::declared_models()?;
        Ok((declared.len(), policy::report(conn, &declared)?))
    });
    let (models, policies) = read.await?;
    let models_of = (models > 0).then(|| "the application".to_owned());
    document(&Policies { expectation: Expectation { models_of, models }, policies, evidence: Kept::Off })
}
