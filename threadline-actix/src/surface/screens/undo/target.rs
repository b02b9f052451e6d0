//! What a plan undoes: by its name, with who did it, when and why.

use chrono::SecondsFormat;
use threadline::{LinkedTransaction, UndoTarget};

use crate::surface::command;
use crate::surface::entry::{ActionTag, Who, key_text, row_link, table_text};
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

/// What is undone.
pub(super) struct Target {
    pub(super) heading: &'static str,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) href: Option<String>,
    /// Of a row: the instant it is brought back to.
    pub(super) to: Option<Moment>,
    /// The transactions, newest first, and how many there are besides.
    pub(super) undone: Vec<Undone>,
    pub(super) more: usize,
}

/// One transaction that is undone, or a part of it.
pub(super) struct Undone {
    pub(super) href: String,
    pub(super) when: Moment,
    pub(super) who: Who,
    pub(super) action: Option<ActionTag>,
}

impl Target {
    pub(super) fn new(visit: &Visit, target: &UndoTarget) -> Self {
        let transaction = |id| Some(visit.href(&Link::to(format!("transactions/{id}"))));
        let (heading, kind, name, href) = match target {
            UndoTarget::Transaction { id } => (
                "What undoing this transaction would take",
                "Transaction",
                id.to_string(),
                transaction(id.to_string()),
            ),
            UndoTarget::Action { id } => {
                ("What undoing this action would take", "Action", id.to_string(), None)
            }
            UndoTarget::Correlation { id } => (
                "What undoing this correlation would take",
                "Correlation",
                shown(id),
                Some(visit.href(&Link::to("correlations").with("id", id))),
            ),
            UndoTarget::Change { id } => (
                "What undoing this change would take",
                "Change",
                id.to_string(),
                transaction(id.transaction_id.to_string()),
            ),
            UndoTarget::Row { table, key, .. } => (
                "What bringing this row back would take",
                "Row",
                format!("{}:{}", table_text(table), key_text(Some(key), "")),
                Some(visit.href(&row_link(table, key))),
            ),
            _ => ("What undoing it would take", "Target", String::new(), None),
        };
        let to = match target {
            UndoTarget::Row { to, .. } => Some(visit.moment(*to)),
            _ => None,
        };
        Self { heading, kind, name, href, to, undone: Vec::new(), more: 0 }
    }
}

impl Undone {
    pub(super) fn new(visit: &Visit, linked: &LinkedTransaction) -> Self {
        let LinkedTransaction { transaction, action, .. } = linked;
        Self {
            href: visit.href(&Link::to(format!("transactions/{}", transaction.id))),
            when: visit.moment(transaction.occurred_at),
            who: Who::new(visit, transaction.actor(), Some(&transaction.db_role)),
            action: action.as_ref().map(ActionTag::new),
        }
    }
}

/// The command that makes the same plan.
pub(super) fn command(target: &UndoTarget) -> Option<String> {
    let undo = |option, values: Vec<String>| command::command(&["threadline", "undo", option], values);
    match target {
        UndoTarget::Transaction { id } => undo("--transaction", vec![id.to_string()]),
        UndoTarget::Action { id } => undo("--action", vec![id.to_string()]),
        UndoTarget::Correlation { id } => undo("--correlation", vec![id.clone()]),
        UndoTarget::Change { id } => undo("--change", vec![id.to_string()]),
        UndoTarget::Row { table, key, to } => {
            let key = key.parts().into_iter().map(|(name, value)| format!("{name}={value}"));
            let row = undo("--row", [table.to_plain()].into_iter().chain(key).collect())?;
            Some(format!("{row} --to {}", to.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
        }
        _ => None,
    }
}
