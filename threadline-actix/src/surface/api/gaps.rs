//! Since when a table is captured without a break, and what is not known of it.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use serde::Serialize;
use threadline::TableName;
use threadline::continuity::{self, Continuity};

use super::asked::Asked;
use super::document::document;
use super::endpoint::Endpoint;
use super::parameter::{Kind, Parameter};
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

pub(super) const GAPS: Endpoint = Endpoint {
    name: "gaps",
    path: "/gaps",
    screen: Screen::Gaps,
    summary: "What is not known of a table",
    description: "Since when it is captured, when it was not, and the gaps that somebody has acknowledged. Writes that escaped \
        capture are among the findings.",
    parameters: &[&[Parameter::needed("table", Kind::Text, "The table, as `posts` or `blog.posts`")]],
    schema: "continuity",
    handler: |visit, asked| Box::pin(gaps(visit, asked)),
};

#[derive(Serialize)]
struct Known {
    /// Only the command line asks whether the table is ready for a baseline, and plans one.
    ready: Option<bool>,
    not_ready: [(); 0],
    known_since: Option<DateTime<Utc>>,
    interruptions: Vec<Interruption>,
    continuity: Continuity,
    baseline_plan: Option<()>,
}

#[derive(Serialize)]
struct Interruption {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

async fn gaps(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let table = asked.needed("table", "is missing; name the table");
    let table = asked.read("table", table, str::parse::<TableName>);
    asked.end()?;
    let table = table.ok_or(Failure::NotFound)?;
    let continuity = visit.read(move |conn, _| continuity::report(conn, &table)).await?;
    let interruptions = continuity.interruptions().into_iter();
    document(&Known {
        ready: None,
        not_ready: [],
        known_since: continuity.known_since(),
        interruptions: interruptions.map(|(from, to)| Interruption { from, to }).collect(),
        continuity,
        baseline_plan: None,
    })
}
