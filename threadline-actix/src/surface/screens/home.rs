//! Home: whether the trail can be believed, and a way in for whatever somebody has in their hands.

use actix_web::HttpResponse;
use askama::Template;
use threadline::{Filter, PageRequest, TableName};
use uuid::Uuid;

use crate::surface::entry::Group;
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::query::Problem;
use crate::surface::shell::Shell;
use crate::surface::visit::Visit;

#[derive(Template)]
#[template(path = "surface/home.html")]
struct HomePage {
    shell: Shell,
    find: String,
    problem: Option<Problem>,
    last: Option<Moment>,
    groups: Vec<Group>,
}

/// What it takes a person to see that something is, or is not, right.
pub(in crate::surface) async fn home(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let find = query.take("find")?;
    let unknown = query.unknown(&["find"]);
    if !unknown.is_empty() {
        return Err(Failure::Invalid(unknown));
    }
    let problem = match &find {
        Some(text) => match found(text) {
            Some(link) => return Ok(visit.redirect(&link)),
            None => Some(Problem::new(
                "find",
                "is no transaction id, `table:key`, actor such as user:42, or correlation id",
            )),
        },
        None => None,
    };
    let newest = visit
        .read(|conn, trail| trail.timeline_page(conn, &Filter::new(), &PageRequest::new().size(8)?))
        .await?
        .entries;
    visit.page(&HomePage {
        shell: visit.shell(),
        find: find.unwrap_or_default(),
        problem,
        last: newest.first().map(|change| visit.moment(change.change.captured_at)),
        groups: Group::all(visit, &newest),
    })
}

/// Where to look for what somebody has pasted.
fn found(text: &str) -> Option<Link> {
    if let Ok(id) = Uuid::try_parse(text) {
        return Some(Link::to(format!("transactions/{id}")));
    }
    if Filter::from_pairs([("actor", text)]).is_ok() {
        return Some(Link::to("actors").with("actor", text));
    }
    if let Some((table, key)) = text.split_once(':')
        && !table.is_empty()
        && !key.is_empty()
        && table.parse::<TableName>().is_ok()
    {
        return Some(Link::to("rows").with("table", table).with("key", key.trim()));
    }
    let is_id = text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_id.then(|| Link::to("correlations").with("id", text))
}
