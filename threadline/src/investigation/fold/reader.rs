//! What stored changes say under today's column names, and as today's redaction lets it be said.

use std::collections::{BTreeMap, BTreeSet};

use crate::investigation::baseline::RecordedBaseline;
use crate::investigation::change::{AuditChange, ChangeId, FieldChange, Op};
use crate::investigation::image::{Columns, Json, RowImage};
use crate::investigation::log::{
    GoneColumn, Present, Redaction, SinceLayout, StoredBaseline, StoredChange, TodaysColumns,
};

/// Reads stored changes, the newest first, under today's column names.
pub(super) struct Reader<'a> {
    pub(super) row_key: &'a str,
    pub(super) policy: &'a Present,
    pub(super) layouts: &'a BTreeMap<i32, SinceLayout>,
    pub(super) attributes: &'a TodaysColumns,
    /// Columns that are gone, by the name they had: of those with one name the newest keeps it.
    pub(super) gone: BTreeMap<String, GoneColumn>,
}

/// A change with its payload under today's column names, not redacted yet.
pub(super) struct Named {
    /// Without its payload.
    pub(super) stored: StoredChange,
    pub(super) image: Option<Columns>,
    pub(super) diff: BTreeMap<String, (Json, Json)>,
    pub(super) masked: BTreeSet<String>,
    pub(super) retyped: BTreeSet<String>,
}

/// A row as a baseline has it, under today's column names.
pub(super) struct Recorded {
    pub(super) baseline: RecordedBaseline,
    pub(super) scope: Option<String>,
    pub(super) image: Option<Columns>,
    pub(super) masked: BTreeSet<String>,
    pub(super) retyped: BTreeSet<String>,
    pub(super) hidden: bool,
}

/// What a change does to the row with our key.
#[derive(Clone)]
pub(super) struct Effect {
    pub(super) change: AuditChange,
    pub(super) settled: bool,
    /// After it, the key has no row: deleted, truncated, or moved to another key.
    pub(super) leaves: bool,
    /// Before it, the key had no row: inserted, or moved here.
    pub(super) arrives: bool,
    /// Values the row has after it, as far as the change says.
    pub(super) claimed: Columns,
    /// Values the row had before it, as far as the change says.
    pub(super) previous: Columns,
    /// The whole row: new for an insert, old for a delete and for an update that changed the key.
    pub(super) image: Option<Columns>,
    pub(super) masked: BTreeSet<String>,
    pub(super) retyped: BTreeSet<String>,
}

impl Effect {
    pub(super) fn truncates_partition(&self) -> bool {
        self.change.op == Op::Truncate && self.change.partition.is_some()
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        row_key: &'a str,
        policy: &'a Present,
        layouts: &'a BTreeMap<i32, SinceLayout>,
        attributes: &'a TodaysColumns,
    ) -> Self {
        Self { row_key, policy, layouts, attributes, gone: BTreeMap::new() }
    }

    pub(super) fn named(&mut self, mut stored: StoredChange) -> Named {
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

    pub(super) fn recorded(&mut self, stored: StoredBaseline) -> Recorded {
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
    pub(super) fn change(
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

    pub(super) fn read(&mut self, stored: StoredChange) -> Effect {
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
    pub(super) fn image(&self, mut columns: Columns, hidden: &BTreeSet<String>) -> RowImage {
        columns.retain(|name, _| !self.exclude.contains(name));
        for name in &self.mask {
            columns.entry(name.clone()).and_modify(|value| *value = self.mask_placeholder.clone());
        }
        let masked =
            hidden.iter().chain(&self.mask).filter(|name| columns.contains_key(*name)).cloned().collect();
        RowImage { columns, masked }
    }
}
