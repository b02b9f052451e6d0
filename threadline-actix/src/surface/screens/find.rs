//! Find: where to look for what somebody has pasted. What may not be seen is found as little as what is not there.

use diesel::PgConnection;
use threadline::{Error, Filter, PageRequest, TableName, Trail};
use url::Url;
use uuid::Uuid;

use super::{actor_named, tables};
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::query::Query;
use crate::surface::screen::Screen;
use crate::surface::value::shown;
use crate::surface::visit::{ACCESS, Visit};

/// Actions among which one is looked for that is not itself a look at the trail.
const LOOKED_THROUGH: u32 = 100;

/// Characters of what was pasted that are told back.
const TOLD: usize = 80;

/// Where it leads; nothing where there is nothing of the kind to see.
pub(super) async fn find(visit: &Visit, text: &str) -> Result<Option<Link>, Failure> {
    if let Some(link) = address(text) {
        return Ok(Some(link));
    }
    if actor_named(Some(text)).is_ok() {
        return Ok(Some(Link::to("actors").with("actor", text)));
    }
    if text == "nobody" {
        return Ok(Some(Link::to("timeline").with("actor", text).with("window", "all")));
    }
    let row = row(text);
    if let Some((table, key)) = &row
        && tables::problem(visit, table.clone()).await?.is_none()
    {
        return Ok(Some(at_row(table, key)));
    }
    if let Ok(table) = text.parse::<TableName>()
        && tables::problem(visit, table.clone()).await?.is_none()
    {
        return Ok(Some(Link::to("timeline").with("table", table.to_plain()).with("window", "all")));
    }
    let is_name = Filter::new().request_id(text).check().is_ok();
    let pasted = text.to_owned();
    let found = match is_name {
        true => visit.read(move |conn, trail| by_name(conn, trail, &pasted)).await?,
        false => None,
    };
    // The page of the row says what is wrong with the table, and which may be meant.
    Ok(found.or(row.map(|(table, key)| at_row(&table, &key))))
}

/// What is said where nothing was found: what could have been.
pub(super) fn nothing(visit: &Visit, text: &str) -> String {
    let end = text.char_indices().nth(TOLD).map(|(at, _)| at);
    let (told, cut) = end.map_or((text, ""), |end| (&text[..end], "…"));
    let offered = tables::offered(visit);
    let table = offered.first().map_or("posts", String::as_str);
    let key = if text.bytes().all(|byte| byte.is_ascii_digit()) { told } else { "42" };
    let seen = if visit.permissions.access.scope().is_some() { " that you may see" } else { "" };
    format!(
        "Nothing{seen} goes by “{}{cut}”. Paste the id of a transaction, correlation, request or job, a row as {table}:{key}, \
         an actor as user:42, the name of a table or an action, or the address of one of these pages.",
        shown(told)
    )
}

/// A transaction by its id, an action by its name, or whatever has this id of its correlation, request or job.
fn by_name(conn: &mut PgConnection, trail: &Trail, text: &str) -> Result<Option<Link>, Error> {
    if let Ok(id) = Uuid::try_parse(text)
        && trail.incident_bundle(conn, id)?.is_some()
    {
        return Ok(Some(Link::to(format!("transactions/{id}"))));
    }
    if has_action(conn, trail, &Filter::new().action(text))? {
        return Ok(Some(Link::to("actions").with("action", text).with("window", "all")));
    }
    let failed = Filter::new().correlation_id(text).status(threadline::ActionStatus::Error);
    if has_change(conn, trail, &Filter::new().transaction_correlation_id(text))?
        || has_action(conn, trail, &failed)?
    {
        return Ok(Some(Link::to("correlations").with("id", text)));
    }
    for (name, filter) in [
        ("correlation_id", Filter::new().correlation_id(text)),
        ("request_id", Filter::new().request_id(text)),
        ("job_id", Filter::new().job_id(text)),
    ] {
        let page = if has_change(conn, trail, &filter)? {
            "timeline"
        } else if has_action(conn, trail, &filter)? {
            "actions"
        } else {
            continue;
        };
        return Ok(Some(Link::to(page).with(name, text).with("window", "all")));
    }
    Ok(None)
}

fn has_change(conn: &mut PgConnection, trail: &Trail, filter: &Filter) -> Result<bool, Error> {
    Ok(!trail.timeline_page(conn, filter, &PageRequest::new().size(1)?)?.entries.is_empty())
}

/// Whether there is such an action; looks at the trail are none.
fn has_action(conn: &mut PgConnection, trail: &Trail, filter: &Filter) -> Result<bool, Error> {
    let found = trail.actions(conn, filter, &PageRequest::new().size(LOOKED_THROUGH)?)?;
    Ok(found.entries.iter().any(|action| action.category.as_deref() != Some(ACCESS)))
}

/// The table and the key of `table:key`.
fn row(text: &str) -> Option<(TableName, String)> {
    let (table, key) = text.split_once(':')?;
    let (table, key) = (table.trim().parse().ok()?, key.trim());
    (!key.is_empty()).then(|| (table, key.to_owned()))
}

fn at_row(table: &TableName, key: &str) -> Link {
    Link::to("rows").with("table", table.to_plain()).with("key", key)
}

/// The page that an address leads to, wherever that has the surface mounted: what stands before the page is not ours to follow.
fn address(text: &str) -> Option<Link> {
    let text = text.split('#').next()?;
    let (path, query) = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            (url.path().to_owned(), url.query().unwrap_or_default().to_owned())
        }
        Ok(_) => return None,
        Err(_) => {
            let (path, query) = text.split_once('?').unwrap_or((text, ""));
            (path.to_owned(), query.to_owned())
        }
    };
    // A word alone is the name of something.
    if !path.contains('/') && query.is_empty() {
        return None;
    }
    let segments: Vec<&str> = path.split('/').collect();
    let page = match segments[..] {
        [.., "transactions", id] => format!("transactions/{}", Uuid::try_parse(id).ok()?),
        [.., last] => {
            let screens = Screen::ALL.into_iter().map(|screen| screen.route().trim_start_matches('/'));
            screens.filter(|route| !route.is_empty()).find(|route| *route == last)?.to_owned()
        }
        [] => return None,
    };
    Some(Link::to(page).with_all(Query::parse(&query).rest().iter().cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_a_page_of_ours_or_is_none() {
        let led = |text: &str| address(text).map(|link| link.from("./"));
        let id = "01a1ffab-f039-72a0-a2c0-000000000001";
        for (text, page) in [
            ("https://blog.example/audit/timeline?table=posts&op=", "./timeline?table=posts".to_owned()),
            ("/audit/rows?table=posts&key=id%3D7#snapshot", "./rows?table=posts&key=id%3D7".to_owned()),
            ("https://evil.example/timeline", "./timeline".to_owned()),
            ("//evil.example/../actors?actor=user:1", "./actors?actor=user%3A1".to_owned()),
            ("correlations?id=x", "./correlations?id=x".to_owned()),
            (&format!("http://localhost:8080/audit/transactions/{id}"), format!("./transactions/{id}")),
        ] {
            assert_eq!(led(text), Some(page), "{text}");
        }
        for text in [
            "timeline",
            "actions",
            "posts:7",
            "a/b",
            "https://evil.example/",
            "https://evil.example/audit/transactions/..",
            "javascript:timeline?x=1",
            "ftp://evil.example/timeline",
            "/audit/assets/threadline.js",
            "/audit/exports/start",
        ] {
            assert_eq!(led(text), None, "{text}");
        }
    }
}
