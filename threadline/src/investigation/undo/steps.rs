//! From what the target came to on each row to the step that undoes it, with its conflicts and limits.

use std::collections::{BTreeMap, BTreeSet};

use super::conflict::{Conflict, ConflictKind, Limit, LimitReason, Overlap};
use super::net::Life;
use super::plan::{Row, UndoColumn, UndoOp, UndoStep};
use super::table::{Shape, Table, TypedValue, Value, Values};

/// The steps a table's lives come to.
pub(super) struct Builder<'a> {
    table: &'a Table,
    shape: &'a Shape,
    pub(super) steps: Vec<UndoStep>,
    pub(super) limits: Vec<Limit>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(table: &'a Table, shape: &'a Shape) -> Self {
        Self { table, shape, steps: Vec::new(), limits: Vec::new() }
    }

    /// Makes the steps, and the limits, from what going back has found.
    pub(super) fn build(&mut self, mut lives: Vec<Life>) {
        merge_reinserted(&mut lives);
        let occupants: BTreeMap<&str, &Life> =
            lives.iter().filter_map(|life| life.live.as_ref().map(|(key, _)| (key.as_str(), life))).collect();
        for life in lives.iter().filter(|life| !life.undoes.is_empty()) {
            for name in &life.gone {
                self.limit(life, Some(name), LimitReason::ColumnGone);
            }
            for name in &life.alike {
                self.limit(life, Some(name), LimitReason::Alike);
            }
            match (life.existed, life.exists) {
                (false, false) => {}
                (true, true) => self.update(life),
                (false, true) if is_gone_already(life, &occupants) => {}
                (false, true) => self.delete(life),
                (true, false) => self.insert(life),
            }
        }
        self.leave_what_is_back(&occupants);
        self.find_taken_keys(&occupants);
    }

    fn limit(&mut self, life: &Life, column: Option<&str>, reason: LimitReason) {
        self.limits.push(Limit {
            table: Some(self.table.name()),
            row_key: Some(life.live.as_ref().map_or(&life.original_key, |(key, _)| key).clone()),
            column: column.map(str::to_owned),
            change: None,
            reason,
        });
    }

    fn update(&mut self, life: &Life) {
        let mut columns = Vec::new();
        let mut conflicts = Vec::new();
        let now = life.live.as_ref().map(|(_, values)| values);
        for column in &self.shape.columns {
            let name = &column.name;
            let (Some(left), Some(to)) = (life.left.get(name), life.restored.get(name)) else { continue };
            if column.generated {
                continue;
            }
            let text = match (left, to) {
                (Value::Hidden, _) | (_, Value::Hidden) => {
                    self.limit(life, Some(name), LimitReason::Masked);
                    continue;
                }
                (_, Value::Unfit(problem)) => {
                    self.limit(life, Some(name), LimitReason::Unfit { problem: problem.clone() });
                    continue;
                }
                (left, to) if left == to => continue,
                (_, Value::Text(text)) => text,
            };
            let found = now.and_then(|now| now.get(name));
            // It is back already, whoever put it back: there is nothing to write, and so nothing of later work to destroy.
            if found == Some(to) {
                continue;
            }
            if column.always_identity {
                self.limit(life, Some(name), LimitReason::AlwaysIdentity);
                continue;
            }
            let ignored = self.table.is_ignored(name);
            // With the row gone there is nothing of it to set back.
            if ignored && (now.is_none() || found.is_some_and(|found| found != left)) {
                self.limit(life, Some(name), LimitReason::MovedOn);
                continue;
            }
            conflicts.extend(self.overlap(life, name, left, found));
            columns.push(UndoColumn {
                column: name.clone(),
                from: found.and_then(|value| self.shape.typed(name, value)),
                to: TypedValue { sql_type: column.sql_type.clone(), text: text.clone() },
                ignored,
            });
        }
        if !columns.is_empty() {
            self.step(life, UndoOp::Update, columns, conflicts);
        }
    }

    /// The conflict in a column, if there is one: it was written again, or is not what the target left.
    fn overlap(&self, life: &Life, name: &str, left: &Value, found: Option<&Value>) -> Option<Conflict> {
        let mut overlaps = life.overlaps.get(name).cloned().unwrap_or_default();
        let differs = matches!((left, found), (Value::Text(left), Some(Value::Text(found))) if left != found)
            || (matches!(left, Value::Unfit(_)) && found.is_some());
        if self.table.is_ignored(name) || (overlaps.is_empty() && !differs) {
            return None;
        }
        if overlaps.is_empty() {
            overlaps.push(Overlap::Escaped);
        }
        Some(self.conflict(
            life,
            ConflictKind::Changed {
                column: name.to_owned(),
                left: self.shape.typed(name, left),
                now: found.and_then(|value| self.shape.typed(name, value)),
            },
            overlaps,
        ))
    }

    fn delete(&mut self, life: &Life) {
        let now = life.live.as_ref().map(|(_, values)| values);
        // A column later work touched may have been added since, and have no value the target left.
        let names: BTreeSet<&String> = life.left.keys().chain(life.overlaps.keys()).collect();
        let conflicts = names
            .into_iter()
            .filter(|name| self.shape.column(name).is_some_and(|column| !column.generated))
            .filter_map(|name| {
                let left = life.left.get(name).unwrap_or(&Value::Hidden);
                self.overlap(life, name, left, now.and_then(|now| now.get(name)))
            })
            .collect();
        self.step(life, UndoOp::Delete, Vec::new(), conflicts);
    }

    fn insert(&mut self, life: &Life) {
        let mut columns = Vec::new();
        let mut possible = true;
        for column in self.shape.columns.iter().filter(|column| !column.generated) {
            let name = &column.name;
            let unknown = match life.restored.get(name) {
                Some(Value::Text(text)) => {
                    columns.push(UndoColumn {
                        column: name.clone(),
                        from: None,
                        to: TypedValue { sql_type: column.sql_type.clone(), text: text.clone() },
                        ignored: self.table.is_ignored(name),
                    });
                    continue;
                }
                Some(Value::Hidden) => Some(LimitReason::Masked),
                Some(Value::Unfit(problem)) => Some(LimitReason::Unfit { problem: problem.clone() }),
                None if self.table.present.exclude.contains(name) => Some(LimitReason::Excluded),
                // The row never had it: the column was added since.
                None => None,
            };
            if let Some(reason) = unknown {
                self.limit(life, Some(name), reason);
            }
            if column.required {
                possible = false;
                self.limit(life, Some(name), LimitReason::Required);
            }
        }
        if possible {
            self.step(life, UndoOp::Insert, columns, Vec::new());
        }
    }

    fn step(&mut self, life: &Life, op: UndoOp, columns: Vec<UndoColumn>, mut conflicts: Vec<Conflict>) {
        let row_key = life.live.as_ref().map_or(&life.original_key, |(key, _)| key);
        let Some(key) = self.table.key_texts(row_key) else {
            self.limit(life, None, LimitReason::KeyUnknown);
            return;
        };
        if op != UndoOp::Insert && life.live.is_none() {
            let overlaps = life.ended_by.into_iter().collect();
            conflicts = vec![self.conflict(life, ConflictKind::RowGone, overlaps)];
        }
        self.steps.push(UndoStep {
            table: self.table.name(),
            op,
            row_key: row_key.clone(),
            columns,
            undoes: life.undoes.clone(),
            conflicts,
            row: Row {
                table_id: self.table.id,
                key,
                now: life.live.as_ref().map(|(_, values)| texts(values)),
                original_key: life.original_key.clone(),
            },
        });
    }

    fn conflict(&self, life: &Life, kind: ConflictKind, overlaps: Vec<Overlap>) -> Conflict {
        let row_key = life.live.as_ref().map_or(&life.original_key, |(key, _)| key).clone();
        Conflict { table: self.table.name(), row_key, kind, overlaps }
    }

    fn rekeys(&self, step: &UndoStep) -> bool {
        let key_columns = self.shape.key.as_deref().unwrap_or_default();
        step.op == UndoOp::Update && step.columns.iter().any(|column| key_columns.contains(&column.column))
    }

    /// The keys that become free in this plan.
    fn freed(&self) -> BTreeSet<String> {
        let frees = |step: &&UndoStep| step.op == UndoOp::Delete || self.rekeys(step);
        self.steps.iter().filter(frees).map(|step| step.row_key.clone()).collect()
    }

    /// A row that was deleted and is there again, as it was in everything the trail knows, or will be by its own step, needs no
    /// other one. What capture ignores may have moved on. A row of which something is not known is not taken for the same.
    fn leave_what_is_back(&mut self, occupants: &BTreeMap<&str, &Life>) {
        let freed = self.freed();
        let in_part: BTreeSet<&str> = self
            .limits
            .iter()
            .filter(|limit| limit.is_loss())
            .filter_map(|limit| limit.row_key.as_deref())
            .collect();
        let rewritten: BTreeMap<&str, &UndoStep> = self
            .steps
            .iter()
            .filter(|step| step.op == UndoOp::Update)
            .map(|step| (step.row_key.as_str(), step))
            .collect();
        let mut back = BTreeSet::new();
        let mut moved_on = Vec::new();
        for step in self.steps.iter().filter(|step| step.op == UndoOp::Insert) {
            let key = &step.row.original_key;
            let live = occupants.get(key.as_str()).and_then(|life| life.live.as_ref());
            let Some((_, live)) = live.filter(|_| !freed.contains(key) && !in_part.contains(key.as_str()))
            else {
                continue;
            };
            let there =
                rewritten.get(key.as_str()).and_then(|step| step.then()).unwrap_or_else(|| texts(live));
            let differing: Vec<&UndoColumn> = step
                .columns
                .iter()
                .filter(|column| there.get(&column.column) != Some(&column.to.text))
                .collect();
            if differing.iter().all(|column| column.ignored) {
                back.insert(key.clone());
                moved_on.extend(differing.iter().map(|column| Limit {
                    table: Some(self.table.name()),
                    row_key: Some(key.clone()),
                    column: Some(column.column.clone()),
                    change: None,
                    reason: LimitReason::MovedOn,
                }));
            }
        }
        self.steps.retain(|step| step.op != UndoOp::Insert || !back.contains(&step.row.original_key));
        self.limits.append(&mut moved_on);
    }

    /// A row that gets back a key needs that key to be free, or to become free in this plan.
    fn find_taken_keys(&mut self, occupants: &BTreeMap<&str, &Life>) {
        if self.shape.key.is_none() {
            return;
        }
        let freed = self.freed();
        let rekeys: Vec<bool> = self.steps.iter().map(|step| self.rekeys(step)).collect();
        for (step, rekeys) in self.steps.iter_mut().zip(rekeys) {
            if step.op == UndoOp::Delete || (step.op == UndoOp::Update && !rekeys) {
                continue;
            }
            let key = &step.row.original_key;
            if freed.contains(key) || (step.op == UndoOp::Update && *key == step.row_key) {
                continue;
            }
            if let Some(life) = occupants.get(key.as_str()) {
                step.conflicts.push(Conflict {
                    table: step.table.clone(),
                    row_key: key.clone(),
                    kind: ConflictKind::KeyTaken,
                    overlaps: life.begun_by.map(|id| Overlap::Change { id }).into_iter().collect(),
                });
            }
        }
    }
}

/// Whether a row that was inserted has been deleted since, on record, and nothing has taken its key: then it need not be deleted.
fn is_gone_already(life: &Life, occupants: &BTreeMap<&str, &Life>) -> bool {
    life.live.is_none()
        && matches!(life.ended_by, Some(Overlap::Change { .. }))
        && !occupants.contains_key(life.original_key.as_str())
}

/// A row that the target deleted and another it then inserted under the same key are one row that was updated.
fn merge_reinserted(lives: &mut [Life]) {
    let mut ended: BTreeMap<String, usize> = lives
        .iter()
        .enumerate()
        .filter(|(_, life)| life.existed && !life.exists)
        .filter_map(|(index, life)| Some((life.end_key.clone()?, index)))
        .collect();
    for index in 0..lives.len() {
        let new = &lives[index];
        if new.existed || !new.exists || new.undoes.is_empty() {
            continue;
        }
        let old = new.begin_key.as_ref().and_then(|key| ended.remove(key));
        let Some(old) = old else { continue };
        let old = std::mem::take(&mut lives[old]);
        let new = &mut lives[index];
        new.existed = true;
        new.original_key = old.original_key;
        new.restored = old.restored;
        new.undoes.extend(old.undoes);
        new.gone.extend(old.gone);
        new.alike.extend(old.alike);
        for (name, overlaps) in old.overlaps {
            new.overlaps.entry(name).or_default().extend(overlaps);
        }
    }
}

/// What is known of a row's columns as texts.
fn texts(values: &Values) -> BTreeMap<String, Option<String>> {
    values
        .iter()
        .filter_map(|(name, value)| match value {
            Value::Text(text) => Some((name.clone(), text.clone())),
            _ => None,
        })
        .collect()
}
