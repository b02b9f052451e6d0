//! The row on its way back through its changes, and what is known of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::reader::{Effect, Recorded};
use super::{Mark, Step};
use crate::investigation::change::Op;
use crate::investigation::image::{Columns, RowState};
use crate::investigation::log::{Present, PresentState};

impl Recorded {
    pub(super) fn row(&self) -> Row {
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
pub(super) enum Known {
    Whole,
    Part,
    Absent,
    Nothing,
}

/// The row at the point the fold has reached.
pub(super) struct Row {
    pub(super) known: Known,
    pub(super) columns: Columns,
    /// Columns whose value here is a placeholder.
    pub(super) hidden: BTreeSet<String>,
    /// What it is shown as, until it changes.
    pub(super) shown: Option<RowState>,
}

impl Row {
    pub(super) fn new(known: Known, columns: Columns, hidden: BTreeSet<String>) -> Self {
        Self { known, columns, hidden, shown: None }
    }

    pub(super) fn at_present(present: &mut Present) -> Self {
        let known = match present.state {
            PresentState::Present => Known::Whole,
            PresentState::Absent => Known::Absent,
            PresentState::Unknown => Known::Nothing,
        };
        Self::new(known, present.image.take().unwrap_or_default(), present.mask.iter().cloned().collect())
    }

    /// Comes to a baseline on the way back: whatever lies on the newer side, here the row is as the baseline has it.
    pub(super) fn meet(&mut self, recorded: Recorded, place: usize, policy: &Present) -> (Mark, Row) {
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
    pub(super) fn agrees(
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
    pub(super) fn redo(&mut self, effect: &Effect, policy: &Present) -> bool {
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
    pub(super) fn fits(&self, effect: &Effect, policy: &Present) -> bool {
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
    pub(super) fn was_in_truncated(&self, partition: Option<&String>, older: Option<&Effect>) -> bool {
        match self.known {
            Known::Whole | Known::Part => false,
            Known::Absent | Known::Nothing => {
                older.is_none_or(|older| !older.leaves && older.change.partition.as_ref() == partition)
            }
        }
    }

    pub(super) fn undo(&mut self, effect: Effect, fits: bool, policy: &Present) -> Step {
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
    pub(super) fn go_to_just_after(&mut self, effect: &Effect, fits: bool, policy: &Present) {
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
    pub(super) fn shown(&mut self, policy: &Present) -> RowState {
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
