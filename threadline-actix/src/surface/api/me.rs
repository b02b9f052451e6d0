//! Who asks, and what is open to them.

use actix_web::HttpResponse;
use serde::Serialize;
use threadline::Actor;

use super::asked::Asked;
use super::document::document;
use super::endpoint::Endpoint;
use crate::surface::access::Capability;
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

pub(super) const ME: Endpoint = Endpoint {
    name: "me",
    path: "/me",
    screen: Screen::Home,
    summary: "Who asks, and what is open to them",
    description: "By the application's word at this request.",
    parameters: &[],
    schema: "me",
    handler: |visit, asked| Box::pin(me(visit, asked)),
};

#[derive(Serialize)]
struct Me<'a> {
    actor: Option<&'a Actor>,
    scope: Option<&'a str>,
    capabilities: Capabilities,
}

#[derive(Serialize)]
struct Capabilities {
    trail: bool,
    exports: bool,
    coverage: bool,
    policy: bool,
    retention: bool,
    evidence: bool,
}

async fn me(visit: &Visit, asked: Asked) -> Result<HttpResponse, Failure> {
    asked.end()?;
    let has = |capability| visit.permissions.has(capability);
    document(&Me {
        actor: visit.actor.as_ref(),
        scope: visit.permissions.access.words(),
        capabilities: Capabilities {
            trail: has(Capability::Trail),
            exports: has(Capability::Exports),
            coverage: has(Capability::Coverage),
            policy: has(Capability::Policy),
            retention: has(Capability::Retention),
            evidence: has(Capability::Evidence),
        },
    })
}
