//! What undoing something would take: a plan to read and to copy. Nothing is undone here.

use actix_web::HttpResponse;
use askama::Template;
use threadline::undo::{UndoOp, UndoStep};
use threadline::{Error, Resolution, RowKey, TableName, UndoTarget};
use uuid::Uuid;

use crate::surface::entry::{Badge, key_text, table_text};
use crate::surface::failure::Failure;
use crate::surface::moment;
use crate::surface::prose::Prose;
use crate::surface::query::{Problem, Query, table_named};
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

#[derive(Template)]
#[template(path = "surface/undo.html")]
struct UndoPage {
    shell: Shell,
    clean: bool,
    steps: Vec<StepView>,
    limits: Vec<Prose>,
    sql: Option<String>,
    refused: bool,
}

struct StepView {
    badge: Badge,
    table: String,
    key: String,
    columns: Vec<String>,
    conflicts: Vec<String>,
}

/// What a URL asks to undo.
enum Asked {
    Target(UndoTarget),
    Row { table: TableName, keys: Vec<String>, to: chrono::DateTime<chrono::Utc> },
}

/// The plan.
pub(in crate::surface) async fn undo(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let asked = asked(visit, &mut query);
    let unknown = query.unknown(&["transaction", "action", "correlation", "table", "key", "to"]);
    let asked = match asked {
        Ok(asked) if unknown.is_empty() => asked,
        asked => return Err(Failure::Invalid(asked.err().into_iter().chain(unknown).collect())),
    };
    let plan = visit
        .read(move |conn, trail| {
            let target = match asked {
                Asked::Target(target) => target,
                Asked::Row { table, keys, to } => {
                    let key = RowKey::written(conn, &table, &keys)?;
                    UndoTarget::row(table, key, to)
                }
            };
            match trail.undo_plan(conn, &target) {
                Err(Error::NothingToUndo { .. }) => Ok(None),
                plan => plan.map(Some),
            }
        })
        .await?
        .ok_or(Failure::NotFound)?;
    let sql = plan.to_sql(Resolution::Refuse).ok();
    visit.page(&UndoPage {
        shell: visit.shell(),
        clean: plan.is_clean(),
        steps: plan.steps.iter().map(StepView::new).collect(),
        limits: plan.limits.iter().map(|limit| Prose::sentence(&limit.to_string())).collect(),
        refused: sql.is_none(),
        sql: sql.as_deref().map(shown),
    })
}

fn asked(visit: &Visit, query: &mut Query) -> Result<Asked, Problem> {
    let id = |name: &str, text: &str| {
        Uuid::try_parse(text)
            .map_err(|_| Problem::of_value(name, text, "is not the id of a transaction or an action"))
    };
    if let Some(text) = query.take("transaction")? {
        return Ok(Asked::Target(UndoTarget::transaction(id("transaction", &text)?)));
    }
    if let Some(text) = query.take("action")? {
        return Ok(Asked::Target(UndoTarget::action(id("action", &text)?)));
    }
    if let Some(text) = query.take("correlation")? {
        return Ok(Asked::Target(UndoTarget::correlation(text)));
    }
    let keys: Vec<String> = query.take_all(&["key"]).into_iter().map(|(_, value)| value).collect();
    let to = query.take("to")?.ok_or_else(|| {
        Problem::new("transaction", "is missing; or give `action`, `correlation`, or `table`, `key` and `to`")
    })?;
    let to =
        moment::written(&to, visit.preferences.zone).map_err(|wrong| Problem::of_value("to", &to, wrong))?;
    let table =
        query.take("table")?.ok_or_else(|| Problem::new("table", "is missing; name the table of the row"))?;
    let table = table_named(&table)?;
    if keys.is_empty() {
        return Err(Problem::new("key", "is missing; name the row"));
    }
    Ok(Asked::Row { table, keys, to })
}

impl StepView {
    fn new(step: &UndoStep) -> Self {
        let badge = match step.op {
            UndoOp::Insert => Badge { letter: 'I', word: "insert" },
            UndoOp::Update => Badge { letter: 'U', word: "update" },
            UndoOp::Delete => Badge { letter: 'D', word: "delete" },
            _ => Badge { letter: '?', word: "change" },
        };
        Self {
            badge,
            table: table_text(&step.table),
            key: key_text(None, &step.row_key),
            columns: step.columns.iter().map(|column| shown(&column.column)).collect(),
            conflicts: step.conflicts.iter().map(|conflict| shown(&conflict.to_string())).collect(),
        }
    }
}
