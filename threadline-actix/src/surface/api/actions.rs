//! What the application said it did.

use actix_web::HttpResponse;
use threadline::Order;

use super::asked::Asked;
use super::document::{Listed, document};
use super::endpoint::Endpoint;
use super::parameter::{
    ACTION, ACTOR, CATEGORY, CORRELATION_ID, JOB_ID, PAGE, Parameter, REQUEST_ID, STATUS, TIME,
};
use crate::surface::access::Capability;
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::{ACCESS, Visit};

pub(super) const ACTIONS: Endpoint = Endpoint {
    name: "actions",
    path: "/actions",
    screen: Screen::Actions,
    summary: "What the application said it did",
    description: "Recorded actions, also those that failed and those that changed nothing. Who looked at what is left out, so that \
        a page may have fewer entries than `limit` and still not be the last, unless `category` asks for `threadline.access`, which takes \
        what the access log does.",
    parameters: &[
        &[
            Parameter { about: "Of this name", ..ACTION },
            Parameter { about: "That ended so", ..STATUS },
            Parameter { about: "Of this category", ..CATEGORY },
            Parameter { about: "By this actor, as `user:42`, `anonymous` or `nobody`", ..ACTOR },
            Parameter { about: "With this correlation id", ..CORRELATION_ID },
            REQUEST_ID,
            JOB_ID,
        ],
        &TIME,
        &PAGE,
    ],
    schema: "actions",
    handler: |visit, asked| Box::pin(actions(visit, asked)),
};

async fn actions(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let (filter, request) = (asked.filter(), asked.page(Order::NewestFirst));
    asked.end()?;
    // As on the page: it would bury what was done.
    let asks_for_looks = filter.pairs().iter().any(|(name, value)| *name == "category" && value == ACCESS);
    let asks_for_looks = asks_for_looks && visit.permissions.has(Capability::Evidence);
    let mut listed = visit
        .read(move |conn, trail| {
            let page = trail.actions(conn, &filter, &request)?;
            Ok(Listed { page, removed: trail.removed_actions(conn, &filter)? })
        })
        .await?;
    if !asks_for_looks {
        listed.page.entries.retain(|action| action.category.as_deref() != Some(ACCESS));
    }
    document(&listed)
}
