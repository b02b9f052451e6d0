//! What undoing something would take: a plan to read and to copy. Nothing is undone here.

mod step;
mod target;

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use askama::Template;
use threadline::undo::{Limit, LimitReason};
use threadline::{Error, Resolution, RowKey, TableName, UndoPlan, UndoTarget};
use uuid::Uuid;

use self::step::{Keys, StepView};
use self::target::{Target, Undone};
use crate::surface::entry::{change_id, table_text};
use crate::surface::failure::Failure;
use crate::surface::moment;
use crate::surface::prose::Prose;
use crate::surface::query::{Problem, Query, table_named};
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

/// Steps on the page.
const STEPS: usize = 100;

/// Bytes of a script that is on the page.
const SCRIPT: usize = 50_000;

/// Transactions that are named.
const TRANSACTIONS: usize = 5;

#[derive(Template)]
#[template(path = "surface/undo.html")]
struct UndoPage {
    shell: Shell,
    verdict: Verdict,
    target: Target,
    /// Steps, also those that are not on the page.
    rows: usize,
    steps: Vec<StepView>,
    losses: Vec<Prose>,
    /// What is left as it is, and nothing lost by it.
    moved_on: Vec<Prose>,
    script: Option<Script>,
    /// Nothing where it cannot be written for a shell.
    command: Option<String>,
}

/// What the plan comes to.
enum Verdict {
    /// There is nothing to do.
    Done,
    Clean,
    /// Something stands in the way, or is not known.
    Hindered,
    /// Nothing of it can be undone.
    Hopeless,
}

/// The plan as SQL.
enum Script {
    Whole(String),
    TooLong,
    /// A name in it has characters that nobody sees, which would be lost where it is pasted.
    Unseen,
    /// There is none unless what stands in the way is settled, in one of these ways that do so.
    Refused {
        by: Vec<&'static str>,
    },
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
    let unknown = query.unknown(&["transaction", "action", "correlation", "change", "table", "key", "to"]);
    let asked = match asked {
        Ok(asked) if unknown.is_empty() => asked,
        asked => return Err(Failure::Invalid(asked.err().into_iter().chain(unknown).collect())),
    };
    let (plan, keys, undone) = visit
        .read(move |conn, trail| {
            let target = match asked {
                Asked::Target(target) => target,
                Asked::Row { table, keys, to } => {
                    let key = RowKey::written(conn, &table, &keys)?;
                    UndoTarget::row(table, key, to)
                }
            };
            let plan = match trail.undo_plan(conn, &target) {
                Err(Error::NothingToUndo { .. }) => return Ok(None),
                plan => plan?,
            };
            let keys = Keys::of(conn, &plan)?;
            let mut undone = Vec::new();
            for id in plan.transactions.iter().rev().take(TRANSACTIONS) {
                undone.extend(trail.audit_transaction(conn, *id)?);
            }
            Ok(Some((plan, keys, undone)))
        })
        .await?
        .ok_or(Failure::NotFound)?;
    let (moved_on, losses): (Vec<&Limit>, Vec<&Limit>) =
        plan.limits.iter().partition(|limit| !limit.is_loss());
    let mut target = Target::new(visit, &plan.target);
    target.undone = undone.iter().map(|one| Undone::new(visit, one)).collect();
    target.more = plan.transactions.len().saturating_sub(TRANSACTIONS);
    visit.page(&UndoPage {
        shell: visit.shell(),
        verdict: Verdict::of(&plan),
        command: target::command(&plan.target),
        target,
        rows: plan.steps.len(),
        steps: plan.steps.iter().take(STEPS).map(|step| StepView::new(visit, &plan, &keys, step)).collect(),
        losses: losses.into_iter().map(|limit| Prose::sentence(&limit.to_string())).collect(),
        moved_on: in_sum(&moved_on),
        script: Script::of(&plan),
    })
}

impl Verdict {
    fn of(plan: &UndoPlan) -> Self {
        match (plan.is_done(), plan.is_clean(), plan.steps.is_empty()) {
            (true, ..) => Self::Done,
            (_, true, _) => Self::Clean,
            (_, _, true) => Self::Hopeless,
            _ => Self::Hindered,
        }
    }

    fn class(&self) -> &'static str {
        if matches!(self, Self::Done | Self::Clean) { "good" } else { "warning" }
    }

    fn words(&self) -> &'static str {
        match self {
            Self::Done => "Nothing is left to undo: the rows are as they were.",
            Self::Clean => "It can be undone whole, and touches no later work. Nothing is undone from here.",
            Self::Hindered => {
                "It cannot simply be undone: read what stands in the way. Nothing is undone from here."
            }
            Self::Hopeless => "Nothing of it can be undone.",
        }
    }
}

impl Script {
    fn of(plan: &UndoPlan) -> Option<Self> {
        if plan.steps.is_empty() {
            return None;
        }
        Some(match plan.to_sql(Resolution::Refuse) {
            // What is copied is what is shown, and no name in it is shown otherwise than it is.
            Ok(sql) if shown(&sql) != sql => Self::Unseen,
            Ok(sql) if sql.len() <= SCRIPT => Self::Whole(sql),
            Ok(_) => Self::TooLong,
            Err(_) => {
                let ways = [("skip", Resolution::Skip), ("overwrite", Resolution::Overwrite)];
                let settles = |way: &Resolution| plan.settled(*way).is_ok_and(|steps| !steps.is_empty());
                let by = ways.into_iter().filter(|(_, way)| settles(way)).map(|(name, _)| name);
                Self::Refused { by: by.collect() }
            }
        })
    }
}

/// Limits that are no loss, those of one column together.
fn in_sum(limits: &[&Limit]) -> Vec<Prose> {
    let mut columns: BTreeMap<(String, &str), usize> = BTreeMap::new();
    let mut others = Vec::new();
    for limit in limits {
        match (&limit.reason, &limit.table, &limit.column) {
            (LimitReason::MovedOn, Some(table), Some(column)) => {
                *columns.entry((table_text(table), column.as_str())).or_default() += 1;
            }
            _ => others.push(Prose::sentence(&limit.to_string())),
        }
    }
    let columns = columns.into_iter().map(|((table, column), count)| {
        let rows = if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
        Prose::new(&format!("`{column}` of {rows} of `{table}`, which capture ignores, has moved on since."))
    });
    columns.chain(others).collect()
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
    if let Some(text) = query.take("change")? {
        let wrong = || Problem::new("change", "is not a change such as TRANSACTION#1");
        return Ok(Asked::Target(UndoTarget::change(change_id(&text).ok_or_else(wrong)?)));
    }
    let keys: Vec<String> = query.take_all(&["key"]).into_iter().map(|(_, value)| value).collect();
    let to = query.take("to")?.ok_or_else(|| {
        let missing = "is missing; or give `action`, `correlation`, `change`, or `table`, `key` and `to`";
        Problem::new("transaction", missing)
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
