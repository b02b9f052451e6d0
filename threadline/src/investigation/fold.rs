//! Folding: from the row as it is now back through its changes, undoing one after the other, and checking each against
//! the state it should have left behind.
//!
//! Backwards, because purging old changes then never breaks newer answers, rows older than capture are known from the
//! first captured change on, and the row as it is now has today's columns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::baseline::RecordedBaseline;
use super::change::{AuditChange, ChangeId, FieldChange, Op};
use super::image::{Columns, Json, RowImage, RowState};
use super::log::{
    GoneColumn, Present, PresentState, Redaction, RowLog, SinceLayout, StoredBaseline, StoredChange,
    TodaysColumns,
};

/// A row's past.
pub(crate) struct Folded {
    /// The row as it is now.
    pub(crate) now: RowState,
    /// Its changes, newest first.
    pub(crate) steps: Vec<Step>,
    /// What recorded baselines say of it, newest first.
    pub(crate) baselines: Vec<Mark>,
}

/// A recorded baseline on the way back.
pub(crate) struct Mark {
    pub(crate) baseline: RecordedBaseline,
    /// How many steps are newer.
    pub(crate) place: usize,
    pub(crate) state: RowState,
    /// The tenant the row belonged to.
    pub(crate) scope: Option<String>,
    /// The row was not as the baseline has it when the next newer change (or the present) found it.
    pub(crate) gap: bool,
    /// Whether what it says is not to be told; its state is unknown then, though there was a row.
    pub(crate) hidden: bool,
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
    /// The row on both sides of it as told forwards from the baseline before it, when every change since then fits.
    pub(crate) forwards: Option<(RowState, RowState)>,
}

pub(crate) fn fold(log: RowLog) -> Folded {
    let RowLog { mut anchor, changes, .. } = log;
    let layouts = anchor.layouts.take().unwrap_or_default();
    let attributes = anchor.attributes.take().unwrap_or_default();
    let mut stored = anchor.take_baselines().into_iter().peekable();
    let mut row = Row::at_present(&mut anchor.present);
    let mut reader = Reader::new(&anchor.row_key, &anchor.present, &layouts, &attributes);

    let now = row.shown(&anchor.present);
    let mut steps = Vec::with_capacity(changes.len());
    let mut recorded = VecDeque::new();
    let mut effects = VecDeque::with_capacity(changes.len());
    for change in changes {
        while let Some(newer) = stored.next_if(|stored| stored.baseline.recorded_at >= change.captured_at) {
            recorded.push_back(reader.recorded(newer));
        }
        effects.push_back(reader.read(change));
    }
    recorded.extend(stored.map(|stored| reader.recorded(stored)));
    // Told forwards, they are needed once more.
    let mut kept = (!recorded.is_empty()).then(Vec::new);
    let mut marks: Vec<(Mark, Row)> = Vec::new();
    let mut changes: VecDeque<Effect> = effects;
    while let Some(first) = changes.pop_front() {
        // No transaction has changed the table on both sides of a baseline.
        while recorded.front().is_some_and(|next| next.baseline.recorded_at >= first.change.captured_at) {
            marks.extend(recorded.pop_front().map(|next| row.meet(next, steps.len(), &anchor.present)));
        }
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
            if let Some(kept) = &mut kept {
                kept.push(effect.clone());
            }
            steps.push(row.undo(effect, fitting.is_some(), &anchor.present));
        }
    }
    marks.extend(recorded.into_iter().map(|next| row.meet(next, steps.len(), &anchor.present)));
    if let Some(kept) = &kept {
        tell_forwards(&mut steps, kept, &mut marks, &anchor.present);
    }
    Folded { now, steps, baselines: marks.into_iter().map(|(mark, _)| mark).collect() }
}

/// From each baseline on to the next newer one, as far as the changes fit: what they say of the row there needs nothing that
/// came later. Where that was lost to a gap or a TRUNCATE, it is how the row is known up to the last change before.
fn tell_forwards(steps: &mut [Step], effects: &[Effect], marks: &mut [(Mark, Row)], policy: &Present) {
    let mut newest = 0;
    for (mark, row) in marks {
        let mut place = mark.place;
        while place > newest {
            // Of the oldest transaction's changes the first that fits, as the fold takes the last.
            let next = place - 1;
            let AuditChange { op, partition, .. } = &effects[next].change;
            if *op == Op::Truncate && partition.is_none() {
                // What it found it does not say, but there was nothing after it.
                *row = Row::new(Known::Absent, Columns::new(), BTreeSet::new());
                place = next;
                continue;
            }
            let before = row.shown(policy);
            if !row.redo(&effects[next], policy) {
                break;
            }
            steps[next].forwards = Some((before, row.shown(policy)));
            place = next;
        }
        let mut lost = false;
        for step in &mut steps[newest..mark.place] {
            let is_whole = |state: &RowState| matches!(state, RowState::Present(_) | RowState::Absent);
            let forwards = step.forwards.as_ref();
            lost |= step.gap || !is_whole(&step.after);
            if let Some((_, after)) = forwards.filter(|_| lost) {
                step.after = after.clone();
            }
            lost |= !is_whole(&step.before);
            if let Some((before, _)) = forwards.filter(|_| lost) {
                step.before = before.clone();
            }
        }
        newest = mark.place;
    }
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

/// A row as a baseline has it, under today's column names.
struct Recorded {
    baseline: RecordedBaseline,
    scope: Option<String>,
    image: Option<Columns>,
    masked: BTreeSet<String>,
    retyped: BTreeSet<String>,
    hidden: bool,
}

/// What a change does to the row with our key.
#[derive(Clone)]
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
            Some(GoneColumn { rule: Some(Redaction::Exclude), .. }) => None,
            Some(column) => (self.gone.get(&name) == Some(column)).then_some(name),
            None => since.renamed.get(&name).cloned().unwrap_or(Some(name)),
        };
        // Today's policy knows nothing of columns that are gone.
        let placeholder = &self.policy.mask_placeholder;
        let hidden: BTreeSet<String> = since
            .gone
            .iter()
            .filter(|(_, column)| column.rule == Some(Redaction::Mask))
            .filter_map(|(name, _)| today(name.clone()))
            .collect();
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
        let mut image = stored.row_data.take().map(|columns| renamed(columns, since, today));
        let mut diff = renamed(stored.diff.take().unwrap_or_default(), since, today);
        for name in &hidden {
            if let Some(value) = image.as_mut().and_then(|columns| columns.get_mut(name)) {
                *value = placeholder.clone();
            }
            if let Some(values) = diff.get_mut(name) {
                *values = (placeholder.clone(), placeholder.clone());
            }
        }
        let mut masked: BTreeSet<String> =
            stored.masked.take().unwrap_or_default().into_iter().filter_map(today).collect();
        masked.extend(hidden.into_iter().filter(|name| {
            diff.contains_key(name) || image.as_ref().is_some_and(|columns| columns.contains_key(name))
        }));
        Named { image, diff, masked, retyped: since.retyped.iter().cloned().collect(), stored }
    }

    fn recorded(&mut self, stored: StoredBaseline) -> Recorded {
        let hidden = stored.hidden;
        // Its payload is one of an insert, to be explained in the same way.
        let Named { image, masked, retyped, .. } = self.named(StoredChange {
            captured_at: stored.baseline.recorded_at,
            transaction_id: stored.baseline.id,
            ordinal: 0,
            table_id: 0,
            layout: Some(stored.layout),
            op: Op::Insert,
            row_key: String::new(),
            previous_row_key: None,
            scope: None,
            previous_scope: None,
            partition: None,
            masked: stored.masked,
            row_data: stored.row,
            diff: None,
            attributes: None,
            settled: false,
        });
        Recorded { baseline: stored.baseline, scope: stored.scope, image, masked, retyped, hidden }
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

impl Recorded {
    fn row(&self) -> Row {
        match &self.image {
            Some(columns) => {
                let masked = self.masked.iter().filter(|name| columns.contains_key(*name));
                Row::new(Known::Whole, columns.clone(), masked.cloned().collect())
            }
            None => Row::new(Known::Absent, Columns::new(), BTreeSet::new()),
        }
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

    /// Comes to a baseline on the way back: whatever lies on the newer side, here the row is as the baseline has it.
    fn meet(&mut self, recorded: Recorded, place: usize, policy: &Present) -> (Mark, Row) {
        let fits = match (self.known, &recorded.image) {
            (Known::Nothing, _) | (Known::Absent, None) => true,
            (Known::Absent, Some(_)) | (Known::Whole | Known::Part, None) => false,
            (Known::Whole | Known::Part, Some(image)) => {
                self.agrees(image, &recorded.masked, &recorded.retyped, policy)
            }
        };
        if recorded.hidden {
            let nothing = || Self::new(Known::Nothing, Columns::new(), BTreeSet::new());
            if !fits {
                *self = nothing();
            }
            let Recorded { baseline, scope, hidden, .. } = recorded;
            let mark = Mark { baseline, place, state: RowState::Unknown, scope, gap: !fits, hidden };
            return (mark, nothing());
        }
        let at_baseline = recorded.row();
        if fits && self.known == Known::Whole {
            // A column that was added since goes on being known.
            self.hidden.retain(|name| !at_baseline.columns.contains_key(name));
            self.hidden.extend(at_baseline.hidden.iter().cloned());
            self.columns.extend(at_baseline.columns.clone());
            self.shown = None;
        } else {
            *self = recorded.row();
        }
        let Recorded { baseline, scope, hidden, .. } = recorded;
        (Mark { baseline, place, state: self.shown(policy), scope, gap: !fits, hidden }, at_baseline)
    }

    /// Whether these values are the row's, as far as both are known; what is hidden on either side, of another type or ignored
    /// is not compared.
    fn agrees(
        &self,
        values: &Columns,
        masked: &BTreeSet<String>,
        retyped: &BTreeSet<String>,
        policy: &Present,
    ) -> bool {
        values.iter().all(|(name, value)| {
            self.hidden.contains(name)
                || masked.contains(name)
                || retyped.contains(name)
                || policy.ignore.contains(name)
                || self.columns.get(name).is_none_or(|own| own == value)
        })
    }

    /// Makes a whole row what the change made of it, unless it cannot be what the change found. Returns whether it could; a TRUNCATE
    /// says nothing of what it found.
    fn redo(&mut self, effect: &Effect, policy: &Present) -> bool {
        let found = match (self.known, effect.arrives) {
            (Known::Absent, arrives) => arrives,
            (Known::Whole, false) if effect.change.op != Op::Truncate => {
                let deleted = effect.image.as_ref().filter(|_| effect.leaves);
                [Some(&effect.previous), deleted]
                    .into_iter()
                    .flatten()
                    .all(|values| self.agrees(values, &effect.masked, &effect.retyped, policy))
            }
            _ => false,
        };
        if !found {
            return false;
        }
        if effect.leaves {
            *self = Self::new(Known::Absent, Columns::new(), BTreeSet::new());
            return true;
        }
        if effect.arrives {
            *self = Self::new(Known::Whole, effect.image.clone().unwrap_or_default(), BTreeSet::new());
            self.hidden.extend(policy.mask.iter().cloned());
        }
        self.shown = None;
        for name in effect.claimed.keys().filter(|name| !effect.masked.contains(*name)) {
            self.hidden.remove(name);
        }
        self.hidden.extend(effect.masked.iter().cloned());
        self.columns.extend(effect.claimed.clone());
        true
    }

    /// Whether the row could be what this change left behind.
    fn fits(&self, effect: &Effect, policy: &Present) -> bool {
        match self.known {
            Known::Nothing => true,
            Known::Absent => effect.leaves,
            Known::Whole | Known::Part => {
                !effect.leaves && self.agrees(&effect.claimed, &effect.masked, &effect.retyped, policy)
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
        Step { change, before: self.shown(policy), after, gap: !fits, settled, forwards: None }
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
