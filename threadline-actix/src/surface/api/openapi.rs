//! The description of the API, made of the endpoints themselves.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use serde_json::{Value, json};
use utoipa::openapi::path::{HttpMethod, PathItem, PathsBuilder};
use utoipa::openapi::{InfoBuilder, OpenApiBuilder, Server};

use super::ENDPOINTS;
use super::asked::Asked;
use super::document::whole;
use super::endpoint::Endpoint;
use super::schemas::components;
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

pub(super) const OPENAPI: Endpoint = Endpoint {
    name: "openapi",
    path: "/openapi.json",
    screen: Screen::Home,
    summary: "This document",
    description: "OpenAPI 3.1.",
    parameters: &[],
    schema: "openapi",
    handler: |visit, asked| Box::pin(openapi(visit, asked)),
};

const ABOUT: &str = "Every read of the audit trail that the pages have, for programs: under the same decisions of the \
application about who sees what, with the same filters and cursors, and recorded in the same access log.

Only GET and HEAD are answered. Who asks is whom the application takes them for, by its own session or token. A parameter \
that is not listed is an error, never ignored. Lists come in pages: while `has_more` is true, ask again with `after` set to \
`cursor`.

Ids, keys and instants are texts, and holds and runs are numbered from 1; instants are UTC to the microsecond. What is captured of a row is answered as PostgreSQL \
wrote it into JSON: a number keeps every digit, also beyond 2^53 and of any scale, so read it with a parser that does not \
make it a binary floating point number where that matters. What is missing and what may not be seen are answered alike.";

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let paths = ENDPOINTS.iter().fold(PathsBuilder::new(), |paths, endpoint| {
        paths.path(endpoint.path, PathItem::new(HttpMethod::Get, endpoint.operation()))
    });
    let info = InfoBuilder::new()
        .title("Threadline")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .build();
    let document = OpenApiBuilder::new()
        .info(info)
        // Where this document lies: it knows neither its mount nor what a proxy puts before it.
        .servers(Some([Server::new(".")]))
        .paths(paths)
        .build();
    let mut document = serde_json::to_value(document).expect("it is made of texts");
    // Put in as they are: the builders have no `const`.
    document["components"] =
        json!({ "schemas": components(), "securitySchemes": { "application": application() } });
    document["security"] = json!([{ "application": [] }]);
    document
});

/// The login is the host's, and known to the host alone; OpenAPI has no scheme without a place, so this is its most common one.
fn application() -> Value {
    json!({
        "type": "apiKey",
        "in": "cookie",
        "name": "session",
        "description": "The application's own login: a request is from whom the application takes it to be from, as on the pages. \
            Send what it asks for, most often the cookie of its session, under whatever name that has, or a header with a token.",
    })
}

async fn openapi(_: &Visit, asked: Asked) -> Result<HttpResponse, Failure> {
    asked.end()?;
    whole(&*DOCUMENT)
}
