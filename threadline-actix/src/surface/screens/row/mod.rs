//! One row: its versions, what it was at an instant, and how two instants differ.

mod past;
mod ways;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use chrono::{DateTime, Utc};
use threadline::{AuditTransaction, HistoryLimit, Op, RowKey, TableName, Version, change_diff};

use self::past::{Difference, Past, Snapshot};
use self::ways::Way;
use crate::surface::diff::{self, FieldView};
use crate::surface::entry::{ActionTag, Badge, Who, key_text, row_link, table_text};
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::{self, Moment, for_field};
use crate::surface::query::{Problem, Query, table_named};
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

/// Versions on the page.
const VERSIONS: u32 = 100;

#[derive(Template)]
#[template(path = "surface/row.html")]
struct RowPage {
    shell: Shell,
    name: String,
    table: String,
    keys: Vec<String>,
    versions: Vec<VersionView>,
    has_more: bool,
    snapshot: Option<Snapshot>,
    difference: Option<Difference>,
    at: String,
    from: String,
    to: String,
    /// What is wrong with the times and the version; the row is shown all the same.
    problems: Vec<Problem>,
    zone: String,
    timeline: String,
    /// What could be undone from here.
    ways: Vec<Way>,
    command: String,
}

#[derive(Template)]
#[template(path = "surface/row_lookup.html")]
struct LookupPage {
    shell: Shell,
    table: String,
    key: String,
    problems: Vec<Problem>,
}

/// One version on the line.
struct VersionView {
    badge: Badge,
    when: Moment,
    who: Who,
    action: Option<ActionTag>,
    transaction: String,
    fields: Vec<FieldView>,
    /// A write that escaped capture lies between this version and the next newer one.
    gap: bool,
    here: String,
    /// How a link names it.
    id: String,
    current: bool,
    moved_from: Option<String>,
}

/// What the URL asks for.
struct Question {
    table: TableName,
    keys: Vec<String>,
    past: Past,
    /// What is wrong with the past that is asked for, in place of which it is the newest.
    problems: Vec<Problem>,
}

/// A row, or the form to find one.
pub(in crate::surface) async fn row(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let written: Vec<(String, String)> = query.rest().to_vec();
    let given = |name: &str| {
        let values = written.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        values.collect::<Vec<_>>().join(" ")
    };
    let lookup = |problems: Vec<Problem>| {
        let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        let page = LookupPage { shell: visit.shell(), table: given("table"), key: given("key"), problems };
        visit.page_with(status, &page)
    };
    if query.rest().is_empty() {
        return lookup(Vec::new());
    }
    let Question { table, keys, past, problems } = match Question::of(visit, &mut query) {
        Ok(question) => question,
        Err(problems) => return lookup(problems),
    };
    let (asked, texts) = (table.clone(), keys.clone());
    let read = visit.read(move |conn, trail| {
        // One column may be written by its value alone; several are `column=value` each.
        let key = RowKey::written(conn, &asked, &texts)?;
        let history = trail.row_history(conn, &asked, &key, HistoryLimit::Newest(VERSIONS))?;
        let answer = past.ask(conn, trail, &asked, &key)?;
        Ok((key, history, past, answer))
    });
    let (key, history, past, answer) = match read.await {
        Ok(read) => read,
        Err(Failure::Invalid(problems)) => return lookup(problems),
        Err(failure) => return Err(failure),
    };
    let here = row_link(&table, &key);
    let chosen = past.version(&history);
    let versions = history.versions.iter().enumerate();
    let versions = versions.map(|(place, version)| VersionView {
        current: chosen == Some(place),
        ..VersionView::new(visit, &table, &here, version)
    });
    let mut versions: Vec<VersionView> = versions.collect();
    moment::tell_apart(versions.iter_mut().map(|version| &mut version.when));
    let field = |name: &str, at: Option<DateTime<Utc>>| match at {
        Some(at) => for_field(at, visit.preferences.zone),
        // As it was written, to be mended.
        None if !problems.is_empty() => given(name),
        None => String::new(),
    };
    let [at, from, to] = past.instants();
    let name = format!("{}:{}", table_text(&table), key_text(Some(&key), ""));
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let page = RowPage {
        shell: visit.shell().about(&name),
        name,
        table: table.to_plain(),
        keys: key.parts().into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        versions,
        has_more: history.has_more,
        snapshot: past.snapshot(visit, &history, chosen, &answer),
        difference: answer.difference(visit.reading()),
        at: field("at", at),
        from: field("from", from),
        to: field("to", to),
        problems,
        zone: visit.preferences.zone.name().to_owned(),
        timeline: visit.href(&timeline(&table, &key)),
        ways: Way::all(visit, &here, &history, chosen, at, &answer),
        command: command(&table, &key),
    };
    visit.page_with(status, &page)
}

impl Question {
    fn of(visit: &Visit, query: &mut Query) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let table = query.take("table").and_then(|text| match text {
            None => Err(Problem::new("table", "is missing; name the table of the row")),
            Some(text) => table_named(&text),
        });
        let keys: Vec<String> = query.take_all(&["key"]).into_iter().map(|(_, value)| value).collect();
        if keys.is_empty() {
            problems
                .push(Problem::new("key", "is missing; write the value, or `column=value` for each column"));
        }
        let past = Past::of(visit, query);
        problems.extend(query.clone().unknown(&["table", "key", "at", "version", "from", "to"]));
        let (past, wrong) = past.map_or_else(|wrong| (Past::Newest, wrong), |past| (past, Vec::new()));
        match table {
            Ok(table) if problems.is_empty() => Ok(Self { table, keys, past, problems: wrong }),
            table => Err(table.err().into_iter().chain(problems).chain(wrong).collect()),
        }
    }
}

impl VersionView {
    fn new(visit: &Visit, table: &TableName, here: &Link, version: &Version<()>) -> Self {
        let Version { change, transaction, action, before, after, .. } = version;
        let image = match change.op {
            Op::Insert => after.image(),
            Op::Delete => before.image(),
            _ => None,
        };
        let transaction = transaction.as_ref();
        Self {
            badge: Badge::of(change.op),
            when: visit.moment(change.captured_at),
            who: Who::new(
                visit,
                transaction.and_then(AuditTransaction::actor),
                transaction.map(|transaction| transaction.db_role.as_str()),
            ),
            action: action.as_ref().map(ActionTag::new),
            transaction: visit.href(&Link::to(format!("transactions/{}", change.id.transaction_id))),
            fields: diff::fields(&change_diff(table, change, image), visit.reading()),
            gap: version.gap,
            here: visit.href(&here.clone().with("version", change.id.to_string())),
            id: change.id.to_string(),
            current: false,
            moved_from: change.previous_row_key.as_deref().map(shown),
        }
    }
}

/// Where the row's changes stand among others.
fn timeline(table: &TableName, key: &RowKey) -> Link {
    row_link(table, key).under("timeline").with("window", "all")
}

/// The command that tells the same; nothing where a name would have to be quoted for a shell.
fn command(table: &TableName, key: &RowKey) -> String {
    let words: Vec<String> = [table.to_plain()]
        .into_iter()
        .chain(key.parts().into_iter().map(|(name, value)| format!("{name}={value}")))
        .collect();
    let plain =
        |word: &String| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._=-:".contains(&byte));
    if words.iter().all(plain) { format!("threadline history {}", words.join(" ")) } else { String::new() }
}
