//! Who looked at what of the trail.

use actix_web::HttpResponse;
use threadline::Order;

use super::asked::Asked;
use super::document::{Listed, document};
use super::endpoint::Endpoint;
use super::parameter::{ACTOR, PAGE, Parameter, STATUS, TIME};
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::{ACCESS, Visit};

pub(super) const ACCESS_LOG: Endpoint = Endpoint {
    name: "access_log",
    path: "/access-log",
    screen: Screen::AccessLog,
    summary: "Who looked at what",
    description: "The looks at pages and the reads of this API, as the actions that record them: `name` says at what, `comment` \
        what was asked. One that failed was not let in.",
    parameters: &[
        &[
            Parameter { about: "By this actor, as `user:42`, `anonymous` or `nobody`", ..ACTOR },
            Parameter { about: "Those that were let in, or those that were not", ..STATUS },
        ],
        &TIME,
        &PAGE,
    ],
    schema: "actions",
    handler: |visit, asked| Box::pin(access_log(visit, asked)),
};

async fn access_log(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let (filter, request) = (asked.filter().category(ACCESS), asked.page(Order::NewestFirst));
    asked.end()?;
    let listed = visit
        .read(move |conn, trail| {
            let page = trail.actions(conn, &filter, &request)?;
            Ok(Listed { page, removed: trail.removed_actions(conn, &filter)? })
        })
        .await?;
    document(&listed)
}
