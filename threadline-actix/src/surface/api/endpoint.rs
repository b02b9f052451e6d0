//! A read of the API: what it is called, what it takes, and what it answers. Routes and document are made of the same.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use futures_util::future::LocalBoxFuture;
use utoipa::openapi::path::{Operation, OperationBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{ContentBuilder, Ref};

use super::asked::Asked;
use super::parameter::{Parameter, Place};
use super::problem;
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

/// Answers what was asked.
pub(super) type Handler = for<'a> fn(&'a Visit, Asked) -> LocalBoxFuture<'a, Result<HttpResponse, Failure>>;

/// A read.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// What it is called in the document.
    pub(super) name: &'static str,
    /// Its route below the API.
    pub(super) path: &'static str,
    /// The page that shows the same: what that takes to be seen this takes too, and both have one name in the access log.
    pub(super) screen: Screen,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    pub(super) parameters: &'static [&'static [Parameter]],
    /// The schema of the answer.
    pub(super) schema: &'static str,
    pub(super) handler: Handler,
}

impl Endpoint {
    pub(super) fn parameters(&self) -> impl Iterator<Item = &'static Parameter> {
        self.parameters.iter().flat_map(|group| group.iter())
    }

    /// The names a query may have.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let in_query = self.parameters().filter(|parameter| parameter.place != Place::Path);
        in_query.map(|parameter| parameter.name).collect()
    }

    /// As the document has it.
    pub(super) fn operation(&self) -> Operation {
        let mut operation = OperationBuilder::new()
            .operation_id(Some(self.name))
            .tag(self.screen.label())
            .summary(Some(self.summary))
            .description(Some(self.description))
            .parameters(Some(self.parameters().map(Parameter::documented)))
            .response("200", answer("What was asked for", "application/json", self.schema));
        for (status, means) in [
            (StatusCode::BAD_REQUEST, "A part of the question is not understood; `errors` names each"),
            (StatusCode::FORBIDDEN, "Not let in, or not to this part"),
            (StatusCode::NOT_FOUND, "It was never recorded, has been removed, or may not be seen"),
            (StatusCode::INTERNAL_SERVER_ERROR, "The cause is in the application's log"),
            (StatusCode::SERVICE_UNAVAILABLE, "The database took too long, or cannot be reached"),
        ] {
            operation = operation.response(status.as_str(), answer(means, problem::MEDIA_TYPE, "problem"));
        }
        operation.build()
    }
}

fn answer(means: &str, media_type: &str, schema: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(means).content(media_type, content).build()
}
