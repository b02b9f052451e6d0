//! Folding: from the row as it is now back through its changes, undoing one after the other, and checking each against
//! the state it should have left behind.
//!
//! Backwards, because purging old changes then never breaks newer answers, rows older than capture are known from the
//! first captured change on, and the row as it is now has today's columns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::change::{AuditChange, ChangeId, FieldChange, Op};
use super::image::{Columns, Json, RowImage, RowState};
use super::log::{GoneColumn, Present, PresentState, RowLog, SinceLayout, StoredChange, TodaysColumns};

/// A row's past.
pub(crate) struct Folded {
    /// The row as it is now.
    pub(crate) now: RowState,
    /// Its changes, newest first.
    pub(crate) steps: Vec<Step>,
}

/// One change and the row on both sides of it.
pub(crate) struct Step {
    pub(crate) change: AuditChange,
    pub(crate) before: RowState,
    pub(crate) after: RowState,
    /// The row was not as this change left it when the next newer change (or the present) found it.
    pub(crate) gap: bool,
    /// At or before the instant asked for.
    pub(crate) settled: bool,
}

pub(crate) fn fold(log: RowLog) -> Folded {
    let RowLog { mut anchor, changes } = log;
    let layouts = anchor.layouts.take().unwrap_or_default();
    let attributes = anchor.attributes.take().unwrap_or_default();
    let mut row = Row::at_present(&mut anchor.present);
    let mut reader = Reader::new(&anchor.row_key, &anchor.present, &layouts, &attributes);

    let now = row.shown(&anchor.present);
    let mut steps = Vec::with_capacity(changes.len());
    let mut changes: VecDeque<Effect> = changes.into_iter().map(|change| reader.read(change)).collect();
    while let Some(first) = changes.pop_front() {
        // Where one statement wrote several rows, triggers of the host may have had their changes captured before the
        // statement's own. Within a transaction the newest change that fits is therefore taken, not merely the newest.
        let transaction = first.change.id.transaction_id;
        let mut pending = VecDeque::from([first]);
        while changes.front().is_some_and(|next| next.change.id.transaction_id == transaction) {
            pending.extend(changes.pop_front());
        }
        while !pending.is_empty() {
            let fitting = pending.iter().position(|effect| row.fits(effect, &anchor.present));
            let place = if pending[0].truncates_partition() { 0 } else { fitting.unwrap_or(0) };
            let effect = pending.remove(place).expect("the position lies within the queue");
            if effect.truncates_partition() {
                let older = pending.iter().chain(&changes).find(|older| !older.truncates_partition());
                if !row.was_in_truncated(effect.change.partition.as_ref(), older) {
                    continue;
                }
            }
            steps.push(row.undo(effect, fitting.is_some(), &anchor.present));
        }
    }
    Folded { now, steps }
}

/// One change by itself under today's column names and today's redaction, with the whole row where the change has it.
pub(crate) fn shown(
    stored: StoredChange,
    policy: &Present,
    layouts: &BTreeMap<i32, SinceLayout>,
    attributes: &TodaysColumns,
) -> (AuditChange, Option<RowImage>) {
    let mut reader = Reader::new("", policy, layouts, attributes);
    let Named { stored, image, diff, masked, .. } = reader.named(stored);
    let row = image.map(|columns| policy.image(columns, &masked));
    (reader.change(stored, diff, &masked), row)
}

/// Reads stored changes, the newest first, under today's column names.
struct Reader<'a> {
    row_key: &'a str,
    policy: &'a Present,
    layouts: &'a BTreeMap<i32, SinceLayout>,
    attributes: &'a TodaysColumns,
    /// Columns that are gone, by the name they had: of those with one name the newest keeps it.
    gone: BTreeMap<String, GoneColumn>,
}

/// A change with its payload under today's column names, not redacted yet.
struct Named {
    /// Without its payload.
    stored: StoredChange,
    image: Option<Columns>,
    diff: BTreeMap<String, (Json, Json)>,
    masked: BTreeSet<String>,
    retyped: BTreeSet<String>,
}

/// What a change does to the row with our key.
struct Effect {
    change: AuditChange,
    settled: bool,
    /// After it, the key has no row: deleted, truncated, or moved to another key.
    leaves: bool,
    /// Before it, the key had no row: inserted, or moved here.
    arrives: bool,
    /// Values the row has after it, as far as the change says.
    claimed: Columns,
    /// Values the row had before it, as far as the change says.
    previous: Columns,
    /// The whole row: new for an insert, old for a delete and for an update that changed the key.
    image: Option<Columns>,
    masked: BTreeSet<String>,
    retyped: BTreeSet<String>,
}

impl Effect {
    fn truncates_partition(&self) -> bool {
        self.change.op == Op::Truncate && self.change.partition.is_some()
    }
}

impl<'a> Reader<'a> {
    fn new(
        row_key: &'a str,
        policy: &'a Present,
        layouts: &'a BTreeMap<i32, SinceLayout>,
        attributes: &'a TodaysColumns,
    ) -> Self {
        Self { row_key, policy, layouts, attributes, gone: BTreeMap::new() }
    }

    fn named(&mut self, mut stored: StoredChange) -> Named {
        let own = stored.attributes.take().map(|columns| columns.since(self.attributes)).unwrap_or_default();
        let since = stored.layout.and_then(|layout| self.layouts.get(&layout)).unwrap_or(&own);
        for (name, column) in &since.gone {
            self.gone.entry(name.clone()).or_insert(*column);
        }
        let today = |name: String| match since.gone.get(&name) {
            Some(column) => (self.gone.get(&name) == Some(column)).then_some(name),
            None => since.renamed.get(&name).cloned().unwrap_or(Some(name)),
        };
        fn renamed<V>(
            columns: BTreeMap<String, V>,
            since: &SinceLayout,
            today: impl Fn(String) -> Option<String>,
        ) -> BTreeMap<String, V> {
            if since.renamed.is_empty() && since.gone.is_empty() {
                return columns;
            }
            columns.into_iter().filter_map(|(name, value)| Some((today(name)?, value))).collect()
        }
        Named {
            image: stored.row_data.take().map(|columns| renamed(columns, since, today)),
            diff: renamed(stored.diff.take().unwrap_or_default(), since, today),
            masked: stored.masked.take().unwrap_or_default().into_iter().filter_map(today).collect(),
            retyped: since.retyped.iter().cloned().collect(),
            stored,
        }
    }

    /// The change as policy lets it be shown today.
    fn change(
        &self,
        stored: StoredChange,
        diff: BTreeMap<String, (Json, Json)>,
        masked: &BTreeSet<String>,
    ) -> AuditChange {
        let placeholder = &self.policy.mask_placeholder;
        let fields = diff.into_iter().filter(|(name, _)| !self.policy.exclude.contains(name)).map(
            |(name, (before, after))| {
                let change = if self.policy.mask.contains(&name) {
                    FieldChange { before: placeholder.clone(), after: placeholder.clone(), masked: true }
                } else {
                    FieldChange { before, after, masked: masked.contains(&name) }
                };
                (name, change)
            },
        );
        AuditChange {
            id: ChangeId { transaction_id: stored.transaction_id, ordinal: stored.ordinal },
            captured_at: stored.captured_at,
            op: stored.op,
            row_key: stored.row_key,
            previous_row_key: stored.previous_row_key,
            scope: stored.scope,
            previous_scope: stored.previous_scope,
            partition: stored.partition,
            fields: fields.collect(),
            ignored: self.policy.ignore.clone(),
        }
    }

    fn read(&mut self, stored: StoredChange) -> Effect {
        let Named { stored, image, diff, masked, retyped } = self.named(stored);
        let moved = stored.previous_row_key.is_some();
        let departs = stored.previous_row_key.as_deref() == Some(self.row_key);
        let (claimed, previous) = match stored.op {
            Op::Update => diff
                .iter()
                .map(|(name, (old, new))| ((name.clone(), new.clone()), (name.clone(), old.clone())))
                .unzip(),
            Op::Insert => (image.clone().unwrap_or_default(), Columns::new()),
            Op::Delete | Op::Truncate => (Columns::new(), Columns::new()),
        };
        Effect {
            settled: stored.settled,
            leaves: departs || matches!(stored.op, Op::Delete | Op::Truncate),
            arrives: stored.op == Op::Insert || (moved && !departs),
            change: self.change(stored, diff, &masked),
            claimed,
            previous,
            image,
            masked,
            retyped,
        }
    }
}

impl Present {
    /// A row as policy lets it be shown today, with these columns hidden already.
    fn image(&self, mut columns: Columns, hidden: &BTreeSet<String>) -> RowImage {
        columns.retain(|name, _| !self.exclude.contains(name));
        for name in &self.mask {
            columns.entry(name.clone()).and_modify(|value| *value = self.mask_placeholder.clone());
        }
        let masked =
            hidden.iter().chain(&self.mask).filter(|name| columns.contains_key(*name)).cloned().collect();
        RowImage { columns, masked }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Whole,
    Part,
    Absent,
    Nothing,
}

/// The row at the point the fold has reached.
struct Row {
    known: Known,
    columns: Columns,
    /// Columns whose value here is a placeholder.
    hidden: BTreeSet<String>,
    /// What it is shown as, until it changes.
    shown: Option<RowState>,
}

impl Row {
    fn new(known: Known, columns: Columns, hidden: BTreeSet<String>) -> Self {
        Self { known, columns, hidden, shown: None }
    }

    fn at_present(present: &mut Present) -> Self {
        let known = match present.state {
            PresentState::Present => Known::Whole,
            PresentState::Absent => Known::Absent,
            PresentState::Unknown => Known::Nothing,
        };
        Self::new(known, present.image.take().unwrap_or_default(), present.mask.iter().cloned().collect())
    }

    /// Whether the row could be what this change left behind.
    fn fits(&self, effect: &Effect, policy: &Present) -> bool {
        match self.known {
            Known::Nothing => true,
            Known::Absent => effect.leaves,
            Known::Whole | Known::Part => {
                !effect.leaves
                    && effect.claimed.iter().all(|(name, claimed)| {
                        self.hidden.contains(name)
                            || effect.masked.contains(name)
                            || effect.retyped.contains(name)
                            || policy.ignore.contains(name)
                            || self.columns.get(name).is_none_or(|value| value == claimed)
                    })
            }
        }
    }

    /// Whether the TRUNCATE of one partition can have removed the row: it is not there after it, and lay in that partition
    /// before it as far as `older`, its change before that, says.
    fn was_in_truncated(&self, partition: Option<&String>, older: Option<&Effect>) -> bool {
        match self.known {
            Known::Whole | Known::Part => false,
            Known::Absent | Known::Nothing => {
                older.is_none_or(|older| !older.leaves && older.change.partition.as_ref() == partition)
            }
        }
    }

    fn undo(&mut self, effect: Effect, fits: bool, policy: &Present) -> Step {
        self.go_to_just_after(&effect, fits, policy);
        let after = self.shown(policy);
        let Effect { change, settled, leaves, arrives, previous, image, masked, .. } = effect;
        if change.op == Op::Truncate {
            *self = Self::new(Known::Nothing, Columns::new(), BTreeSet::new());
        } else if leaves {
            *self = Self::new(Known::Whole, image.unwrap_or_default(), masked);
            if change.op == Op::Update {
                // `masked` names what changed; the image hides whatever the policy hid then.
                self.hidden.extend(policy.mask.iter().cloned());
            }
        } else if arrives {
            *self = Self::new(Known::Absent, Columns::new(), BTreeSet::new());
        } else {
            self.shown = None;
            for name in previous.keys().filter(|name| !masked.contains(*name)) {
                self.hidden.remove(name);
            }
            self.columns.extend(previous);
        }
        Step { change, before: self.shown(policy), after, gap: !fits, settled }
    }

    /// Makes this the row as the change left it. Where it fits that is so already, but for ignored columns: those may
    /// have changed since without a record, and the change says what they were.
    fn go_to_just_after(&mut self, effect: &Effect, fits: bool, policy: &Present) {
        if effect.leaves {
            *self = Self::new(Known::Absent, Columns::new(), BTreeSet::new());
            return;
        }
        let says_more = |name: &String| policy.ignore.contains(name);
        let has_row = matches!(self.known, Known::Whole | Known::Part);
        if has_row && fits && !effect.claimed.keys().any(says_more) && effect.masked.is_subset(&self.hidden) {
            return;
        }
        self.shown = None;
        let whole = effect.image.as_ref().filter(|_| effect.arrives);
        match (self.known, whole) {
            (Known::Whole | Known::Part, _) if fits => {
                let ignored = effect.claimed.iter().filter(|(name, _)| says_more(name));
                self.columns.extend(ignored.map(|(name, value)| (name.clone(), value.clone())));
            }
            (_, Some(image)) => {
                self.known = Known::Whole;
                self.columns.clone_from(image);
                self.columns.extend(effect.claimed.clone());
                self.hidden.clear();
            }
            (Known::Whole | Known::Part, None) => self.columns.extend(effect.claimed.clone()),
            (Known::Absent | Known::Nothing, None) => {
                self.known = Known::Part;
                self.columns.clone_from(&effect.claimed);
                self.hidden.clear();
            }
        }
        self.hidden.extend(effect.masked.iter().cloned());
    }

    /// The row as policy lets it be shown today. What the next older change left is what this one found, so it is kept.
    fn shown(&mut self, policy: &Present) -> RowState {
        if let Some(shown) = &self.shown {
            return shown.clone();
        }
        let image = || Arc::new(policy.image(self.columns.clone(), &self.hidden));
        let shown = match self.known {
            Known::Whole => RowState::Present(image()),
            Known::Part => RowState::Partial(image()),
            Known::Absent => RowState::Absent,
            Known::Nothing => RowState::Unknown,
        };
        self.shown = Some(shown.clone());
        shown
    }
}
