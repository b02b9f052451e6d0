//! The net effect of the target on each row, found by going back from the rows as they are now.
//!
//! Backwards for the reason the fold has: the present is known entirely, and what a change claims can be checked against
//! it. A row is followed through changes of its key, so what is called a row here is one life of it: from an insert to a
//! delete.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, Utc};

use super::super::change::{ChangeId, Op};
use super::super::image::Columns;
use super::super::log::{SinceLayout, StoredChange, TodaysColumns};
use super::conflict::Overlap;
use super::table::{Table, Texts, Value, Values};

/// A captured change under today's column names.
pub(super) struct Effect {
    pub(super) id: ChangeId,
    /// Whether it is to be undone.
    pub(super) targeted: bool,
    pub(super) op: Op,
    pub(super) captured_at: DateTime<Utc>,
    pub(super) row_key: String,
    pub(super) previous_key: Option<String>,
    pub(super) partition: Option<String>,
    /// Columns of the payload the table does not have any more.
    pub(super) gone: BTreeSet<String>,
    masked: BTreeSet<String>,
    retyped: BTreeSet<String>,
    before: Columns,
    after: Columns,
    /// The whole row before it, for a delete.
    image: Columns,
}

impl Effect {
    pub(super) fn read(stored: StoredChange, targeted: bool, table: &Table) -> Self {
        let none = BTreeMap::new();
        let own = stored
            .attributes
            .as_ref()
            .map(|columns| columns.since(table.attributes.as_ref().unwrap_or(&TodaysColumns::default())))
            .unwrap_or_default();
        let since: &SinceLayout = stored
            .layout
            .and_then(|layout| table.layouts.as_ref().unwrap_or(&none).get(&layout))
            .unwrap_or(&own);
        let mut gone = BTreeSet::new();
        let mut today = |name: &String| match since.renamed.get(name) {
            Some(Some(renamed)) => Some(renamed.clone()),
            Some(None) => {
                gone.insert(name.clone());
                None
            }
            None => {
                if table.shape.as_ref().is_some_and(|shape| shape.column(name).is_none()) {
                    gone.insert(name.clone());
                    return None;
                }
                Some(name.clone())
            }
        };
        let (mut before, mut after) = (Columns::new(), Columns::new());
        for (name, (old, new)) in stored.diff.unwrap_or_default() {
            if let Some(name) = today(&name) {
                before.insert(name.clone(), old);
                after.insert(name, new);
            }
        }
        let whole: Columns = stored
            .row_data
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(name, value)| Some((today(&name)?, value)))
            .collect();
        let masked = stored.masked.unwrap_or_default().iter().filter_map(&mut today).collect();
        let image = match stored.op {
            Op::Insert => {
                after = whole;
                Columns::new()
            }
            Op::Delete => whole,
            // An update that changed the key has the old row as well, but its pairs say what it changed.
            Op::Update | Op::Truncate => Columns::new(),
        };
        Self {
            id: ChangeId { transaction_id: stored.transaction_id, ordinal: stored.ordinal },
            targeted,
            op: stored.op,
            captured_at: stored.captured_at,
            row_key: stored.row_key,
            previous_key: stored.previous_row_key,
            partition: stored.partition,
            gone,
            masked,
            retyped: since.retyped.iter().cloned().collect(),
            before,
            after,
            image,
        }
    }

    /// Asks for the texts of every value in it.
    pub(super) fn want(&self, texts: &mut Texts) {
        for columns in [&self.before, &self.after, &self.image] {
            texts.want(columns);
        }
    }
}

/// One life of a row.
#[derive(Default)]
pub(super) struct Life {
    /// The row as it is now, with its key; `None` when it is gone.
    pub(super) live: Option<(String, Values)>,
    /// What ended it, when something outside the target did.
    pub(super) ended_by: Option<Overlap>,
    /// The change that began it, when that is among those read.
    pub(super) begun_by: Option<ChangeId>,
    /// The changes to be undone, newest first.
    pub(super) undoes: Vec<ChangeId>,
    /// Whether it was there before them, and after them.
    pub(super) existed: bool,
    pub(super) exists: bool,
    /// The key it had when it ended by a targeted delete, and when it began by a targeted insert.
    pub(super) end_key: Option<String>,
    pub(super) begin_key: Option<String>,
    /// The key before the target.
    pub(super) original_key: String,
    /// What the target left in each column it touched.
    pub(super) left: Values,
    /// What each column would be without the target: of those it touched, or of all when it deleted the row.
    pub(super) restored: Values,
    /// By column, what came after the target touched it.
    pub(super) overlaps: BTreeMap<String, Vec<Overlap>>,
    /// Columns the target touched that are gone.
    pub(super) gone: BTreeSet<String>,
    /// Columns the target changed from one value to another that the trail writes alike.
    pub(super) alike: BTreeSet<String>,
    /// By column, what came after the point the way back has reached.
    pending: BTreeMap<String, Vec<Overlap>>,
    /// The row at that point.
    state: Values,
}

impl Life {
    /// Whether the row could be what this change left; ignored columns may have moved on without a record.
    fn fits(&self, effect: &Effect, after: &Values, table: &Table) -> bool {
        after.iter().all(|(name, value)| !self.contradicts(name, value, effect, table))
    }

    fn contradicts(&self, name: &str, value: &Value, effect: &Effect, table: &Table) -> bool {
        match (value, self.state.get(name)) {
            (Value::Text(claimed), Some(Value::Text(found))) => {
                claimed != found && !table.is_ignored(name) && !effect.retyped.contains(name)
            }
            _ => false,
        }
    }

    /// The target touched this column, so whatever came after overlaps.
    fn touch(&mut self, name: &str) {
        if let Some(pending) = self.pending.remove(name) {
            self.overlaps.entry(name.to_owned()).or_default().extend(pending);
        }
    }

    fn targeted(&mut self, effect: &Effect, exists: bool) {
        if self.undoes.is_empty() {
            self.exists = exists;
        }
        self.undoes.push(effect.id);
        self.gone.extend(effect.gone.iter().cloned());
        self.existed = effect.op != Op::Insert;
        self.original_key = effect.previous_key.as_ref().unwrap_or(&effect.row_key).clone();
    }
}

/// What going back over a table's changes has found.
pub(super) struct Way<'a> {
    table: &'a Table,
    texts: &'a Texts,
    pub(super) lives: Vec<Life>,
    /// By key, the lives at the point reached. More than one while a statement that exchanges keys is half undone.
    places: BTreeMap<String, Vec<usize>>,
    /// TRUNCATEs passed: which, whether to be undone, and the partition.
    truncates: Vec<(ChangeId, bool, Option<String>)>,
}

impl<'a> Way<'a> {
    /// Starts from the rows as they are now.
    pub(super) fn from_present(
        table: &'a Table,
        texts: &'a Texts,
        present: BTreeMap<String, Values>,
    ) -> Self {
        let mut way =
            Self { table, texts, lives: Vec::new(), places: BTreeMap::new(), truncates: Vec::new() };
        for (key, values) in present {
            way.places.insert(key.clone(), vec![way.lives.len()]);
            way.lives.push(Life {
                live: Some((key.clone(), values.clone())),
                original_key: key,
                state: values,
                ..Life::default()
            });
        }
        way
    }

    /// Goes back over all these changes, which come newest first.
    pub(super) fn go_back(&mut self, effects: Vec<Effect>) {
        let mut effects: VecDeque<Effect> = effects.into();
        while let Some(first) = effects.pop_front() {
            // Within a transaction the newest change that fits, as in the fold: triggers of the host may have had their
            // changes captured before those of the statement that fired them.
            let transaction = first.id.transaction_id;
            let mut pending = VecDeque::from([first]);
            while effects.front().is_some_and(|next| next.id.transaction_id == transaction) {
                pending.extend(effects.pop_front());
            }
            while !pending.is_empty() {
                let place = pending.iter().position(|effect| self.fits(effect)).unwrap_or(0);
                let effect = pending.remove(place).expect("the position lies within the queue");
                self.undo(&effect);
            }
        }
    }

    fn fits(&self, effect: &Effect) -> bool {
        let here = self.places.get(&effect.row_key).map(Vec::as_slice).unwrap_or_default();
        match effect.op {
            Op::Insert | Op::Update => {
                let after = self.texts.values(self.table, &effect.after, &effect.masked);
                here.iter().any(|life| self.lives[*life].fits(effect, &after, self.table))
            }
            Op::Delete => here.is_empty(),
            Op::Truncate => true,
        }
    }

    fn undo(&mut self, effect: &Effect) {
        match effect.op {
            Op::Truncate => {
                self.truncates.push((effect.id, effect.targeted, effect.partition.clone()));
            }
            Op::Delete => self.undo_delete(effect),
            Op::Insert | Op::Update => self.undo_write(effect),
        }
    }

    fn undo_delete(&mut self, effect: &Effect) {
        // Whatever is there now has come without a record.
        self.places.remove(&effect.row_key);
        let image = self.texts.values(self.table, &effect.image, &effect.masked);
        let mut life = Life { original_key: effect.row_key.clone(), state: image.clone(), ..Life::default() };
        if effect.targeted {
            life.targeted(effect, false);
            life.end_key = Some(effect.row_key.clone());
            life.restored = image;
        } else {
            life.ended_by = Some(Overlap::Change { id: effect.id });
        }
        self.places.insert(effect.row_key.clone(), vec![self.lives.len()]);
        self.lives.push(life);
    }

    fn undo_write(&mut self, effect: &Effect) {
        let after = self.texts.values(self.table, &effect.after, &effect.masked);
        let before = self.texts.values(self.table, &effect.before, &effect.masked);
        let index = self.take(effect, &after);
        let table = self.table;
        let life = &mut self.lives[index];
        for (name, value) in &after {
            if life.contradicts(name, value, effect, table) {
                life.pending.entry(name.clone()).or_default().push(Overlap::Escaped);
            }
        }
        life.state.extend(after.clone());
        if effect.targeted {
            life.targeted(effect, true);
            if effect.op == Op::Insert {
                let pending: Vec<String> = life.pending.keys().cloned().collect();
                pending.iter().for_each(|name| life.touch(name));
                life.begin_key = Some(effect.row_key.clone());
            }
            for (name, value) in after {
                if matches!(value, Value::Text(_)) && before.get(&name) == Some(&value) {
                    life.alike.insert(name.clone());
                }
                life.touch(&name);
                life.left.entry(name).or_insert(value);
            }
            life.restored.extend(before.clone());
        } else if effect.op == Op::Update {
            for name in after.into_keys() {
                life.pending.entry(name).or_default().push(Overlap::Change { id: effect.id });
            }
        }
        if effect.op == Op::Insert {
            life.begun_by = Some(effect.id);
            return;
        }
        life.state.extend(before);
        let key = effect.previous_key.as_ref().unwrap_or(&effect.row_key).clone();
        if effect.previous_key.is_some() {
            life.begun_by = life.begun_by.or(Some(effect.id));
        }
        self.places.entry(key).or_default().push(index);
    }

    /// Takes the row this change was made to from its place; when it is not there, it went without a record, or by TRUNCATE.
    fn take(&mut self, effect: &Effect, after: &Values) -> usize {
        let table = self.table;
        if let Some(here) = self.places.get_mut(&effect.row_key).filter(|here| !here.is_empty()) {
            let lives = &self.lives;
            let fitting = here.iter().position(|life| lives[*life].fits(effect, after, table));
            return here.remove(fitting.unwrap_or(here.len() - 1));
        }
        let truncate = self
            .truncates
            .iter()
            .rev()
            .find(|(_, _, partition)| partition.is_none() || *partition == effect.partition);
        let mut life = Life { original_key: effect.row_key.clone(), ..Life::default() };
        life.ended_by = Some(match truncate {
            Some((id, ..)) => Overlap::Change { id: *id },
            None => Overlap::Escaped,
        });
        self.lives.push(life);
        self.lives.len() - 1
    }
}
