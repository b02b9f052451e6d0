//! Folding: from the row as it is now back through its changes, undoing one after the other, and checking each against
//! the state it should have left behind.
//!
//! Backwards, because purging old changes then never breaks newer answers, rows older than capture are known from the
//! first captured change on, and the row as it is now has today's columns.

mod reader;
mod row;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::reader::{Effect, Named, Reader};
use self::row::{Known, Row};
use super::baseline::RecordedBaseline;
use super::change::{AuditChange, Op};
use super::image::{Columns, RowImage, RowState};
use super::log::{Present, RowLog, SinceLayout, StoredChange, TodaysColumns};

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
