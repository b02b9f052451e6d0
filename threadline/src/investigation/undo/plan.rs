//! The plan: one step for each row, in the order they can be executed, with what stands in the way.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;

use super::super::change::ChangeId;
use super::super::trail::Trail;
use super::conflict::{Conflict, Limit, LimitReason};
use super::order;
use super::render::{Statement, script};
use super::table::{Shape, TypedValue};
use super::target::UndoTarget;
use crate::capture::TableName;
use crate::error::Error;

/// What is done to a row to undo what was done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UndoOp {
    /// The row was deleted: it is inserted with the values it had.
    Insert,
    /// The row was changed: the columns that were, and only those, are set back.
    Update,
    /// The row was inserted: it is deleted.
    Delete,
}

/// One column a step writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UndoColumn {
    /// The column, by today's name.
    pub column: String,
    /// What it holds now; `None` for a row that is not there.
    pub from: Option<TypedValue>,
    /// What it is set to.
    pub to: TypedValue,
    /// Whether capture ignores it, so that what becomes of it is not verified: as a rule a trigger keeps it up.
    pub ignored: bool,
}

/// What is done to one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UndoStep {
    /// The table, by today's name.
    pub table: TableName,
    /// What is done.
    pub op: UndoOp,
    /// The row's key now, in its stored form; of an insert, the key it gets.
    pub row_key: String,
    /// The columns written, in the table's order; none for a delete.
    pub columns: Vec<UndoColumn>,
    /// The changes undone by it, newest first.
    pub undoes: Vec<ChangeId>,
    /// What stands in the way of this step.
    pub conflicts: Vec<Conflict>,
    #[serde(skip)]
    pub(super) row: Row,
}

/// The row a step is about, for the statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) table_id: i32,
    /// The texts of its key, in the order of the key columns.
    pub(super) key: Vec<String>,
    /// What is known of it now; `None` when it is not there.
    pub(super) now: Option<BTreeMap<String, Option<String>>>,
    /// The key once undone.
    pub(super) original_key: String,
}

/// What to do about conflicts, and about what cannot be undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// All or nothing: with any conflict, or anything that cannot be undone, nothing is done.
    #[default]
    Refuse,
    /// Later work stays: columns that were written again are left as they are, and rows that could not be deleted or inserted
    /// without destroying it are left out. What cannot be undone stays done.
    Skip,
    /// Later work is overwritten, and rows that were changed later are deleted all the same. Conflicts that
    /// [cannot be overwritten](Conflict::can_be_overwritten) are refused. What cannot be undone stays done.
    Overwrite,
}

/// How to undo something: never executed by being made. See [`apply`](Self::apply).
///
/// It serializes for review and does not deserialize: what is applied is always planned from the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UndoPlan {
    /// What is undone.
    pub target: UndoTarget,
    /// The transactions whose changes are undone, oldest first.
    pub transactions: Vec<Uuid>,
    /// The actions recorded in them.
    pub actions: Vec<Uuid>,
    /// One step for each row that is not as it was, in the order of execution.
    pub steps: Vec<UndoStep>,
    /// What cannot be undone, and why.
    pub limits: Vec<Limit>,
    /// SHA-256, in hexadecimal, over all of the plan: two plans with the same digest do the same to the same rows.
    pub digest: String,
    #[serde(skip)]
    pub(super) shapes: BTreeMap<i32, Shape>,
    /// Who may see it, asked again when it is applied.
    #[serde(skip)]
    pub(super) trail: Trail,
}

impl UndoPlan {
    /// Everything that stands in the way, in the order of the steps.
    pub fn conflicts(&self) -> impl Iterator<Item = &Conflict> {
        self.steps.iter().flat_map(|step| &step.conflicts)
    }

    /// Whether the target can be undone entirely, and without touching later work.
    pub fn is_clean(&self) -> bool {
        self.conflicts().next().is_none() && !self.limits.iter().any(Limit::is_loss)
    }

    /// Whether nothing is left to undo: the rows are as they were before the target, but for columns that capture ignores.
    /// [`apply`](Self::apply) refuses such a plan.
    pub fn is_done(&self) -> bool {
        self.steps.is_empty() && !self.limits.iter().any(Limit::is_loss)
    }

    /// The statements in the order of execution, with their parameters.
    ///
    /// # Errors
    ///
    /// [`Error::UndoRefused`] when `resolution` does not settle what stands in the way.
    pub fn statements(&self, resolution: Resolution) -> Result<Vec<Statement>, Error> {
        let steps = self.settle(resolution)?;
        order::statements(&self.shapes, &steps).map_err(|constraints| {
            let reason = LimitReason::CannotOrder { constraints };
            let limit = Limit { table: None, row_key: None, column: None, change: None, reason };
            Error::UndoRefused { conflicts: Vec::new(), limits: vec![limit] }
        })
    }

    /// The statements as a script for psql, in one transaction, with every value as a literal. What it does is captured as
    /// any write is; it has no actor, and does not check that the plan still holds: [`apply`](Self::apply) does both.
    ///
    /// # Errors
    ///
    /// As [`statements`](Self::statements).
    pub fn to_sql(&self, resolution: Resolution) -> Result<String, Error> {
        Ok(script(&self.statements(resolution)?))
    }

    /// The steps that are executed under a resolution, with the columns they write: without what is left out because later work
    /// is in the way.
    ///
    /// # Errors
    ///
    /// [`Error::UndoRefused`] when `resolution` does not settle what stands in the way.
    pub fn settled(&self, resolution: Resolution) -> Result<Vec<UndoStep>, Error> {
        self.statements(resolution)?;
        self.settle(resolution)
    }

    pub(super) fn settle(&self, resolution: Resolution) -> Result<Vec<UndoStep>, Error> {
        let cannot_order = |limit: &&Limit| matches!(limit.reason, LimitReason::CannotOrder { .. });
        let (conflicts, limits): (Vec<&Conflict>, Vec<&Limit>) = match resolution {
            Resolution::Refuse => {
                (self.conflicts().collect(), self.limits.iter().filter(|limit| limit.is_loss()).collect())
            }
            // Without the steps left out there may be an order.
            Resolution::Skip => (Vec::new(), Vec::new()),
            Resolution::Overwrite => (
                self.conflicts().filter(|conflict| !conflict.can_be_overwritten()).collect(),
                self.limits.iter().filter(cannot_order).collect(),
            ),
        };
        if !conflicts.is_empty() || !limits.is_empty() {
            return Err(Error::UndoRefused {
                conflicts: conflicts.into_iter().cloned().collect(),
                limits: limits.into_iter().cloned().collect(),
            });
        }
        if resolution != Resolution::Skip {
            return Ok(self.steps.clone());
        }
        let mut kept: Vec<Option<UndoStep>> = self.steps.iter().map(UndoStep::without_conflicts).collect();
        self.keep_what_is_referred_to(&mut kept);
        Ok(kept.into_iter().flatten().collect())
    }

    /// Leaves out deletes of rows that are still referred to by rows of the plan whose own step was left out: a foreign key
    /// that cascades would take those along.
    fn keep_what_is_referred_to(&self, kept: &mut [Option<UndoStep>]) {
        type Texts = BTreeMap<String, Option<String>>;
        let of = |row: &Texts, columns: &[String]| -> Option<Vec<String>> {
            columns.iter().map(|name| row.get(name)?.clone()).collect()
        };
        let deletes = |step: &Option<UndoStep>| step.as_ref().is_some_and(|step| step.op == UndoOp::Delete);
        loop {
            // By the columns referred to, the values that are.
            let mut referred: BTreeMap<(i64, &[String]), BTreeSet<Vec<String>>> = BTreeMap::new();
            for (step, kept) in self.steps.iter().zip(&*kept) {
                let then = match kept {
                    Some(kept) => kept.then(),
                    None => step.now().cloned(),
                };
                let (Some(then), shape) = (then, &self.shapes[&step.row.table_id]) else { continue };
                for foreign_key in shape.foreign_keys.iter().filter(|key| key.child == shape.relation) {
                    if let Some(value) = of(&then, &foreign_key.child_columns) {
                        let parent = (foreign_key.parent, foreign_key.parent_columns.as_slice());
                        referred.entry(parent).or_default().insert(value);
                    }
                }
            }
            let is_referred_to = |step: &UndoStep| {
                let relation = self.shapes[&step.row.table_id].relation;
                referred.iter().filter(|((parent, _), _)| *parent == relation).any(
                    |((_, columns), values)| {
                        step.now()
                            .and_then(|now| of(now, columns))
                            .is_some_and(|value| values.contains(&value))
                    },
                )
            };
            let staying: Vec<usize> = (0..kept.len())
                .filter(|place| deletes(&kept[*place]) && is_referred_to(&self.steps[*place]))
                .collect();
            if staying.is_empty() {
                return;
            }
            for place in staying {
                kept[place] = None;
            }
        }
    }
}

impl UndoStep {
    /// The step without the columns that were written again; `None` when nothing is left of it.
    fn without_conflicts(&self) -> Option<Self> {
        let mut step = self.clone();
        if step.conflicts.is_empty() {
            return Some(step);
        }
        if step.op != UndoOp::Update || step.conflicts.iter().any(|conflict| !conflict.can_be_overwritten()) {
            return None;
        }
        let conflicts = &self.conflicts;
        step.columns.retain(|column| {
            !conflicts.iter().any(|conflict| conflict.column() == Some(column.column.as_str()))
        });
        (!step.columns.is_empty()).then_some(step)
    }

    /// What is known of the row before the step; `None` when it is not there.
    pub(super) fn now(&self) -> Option<&BTreeMap<String, Option<String>>> {
        self.row.now.as_ref()
    }

    /// What is known of the row after the step; `None` when it is not there.
    pub(super) fn then(&self) -> Option<BTreeMap<String, Option<String>>> {
        if self.op == UndoOp::Delete {
            return None;
        }
        let mut then = self.row.now.clone().unwrap_or_default();
        then.extend(self.columns.iter().map(|column| (column.column.clone(), column.to.text.clone())));
        Some(then)
    }

    /// The texts of the row's key after the step.
    pub(super) fn final_key(&self, shape: &Shape) -> Vec<String> {
        let columns = shape.key.as_deref().unwrap_or_default().iter().zip(&self.row.key);
        columns
            .map(|(name, now)| {
                let written = self.columns.iter().find(|column| column.column == *name);
                written.and_then(|column| column.to.text.clone()).unwrap_or_else(|| now.clone())
            })
            .collect()
    }
}
