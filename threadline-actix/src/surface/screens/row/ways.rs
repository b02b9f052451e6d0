//! What could be undone from a point of a row's history: each a way to the plan, and none to one that has nothing to do.

use chrono::{DateTime, TimeDelta, Utc};
use threadline::{History, Op};

use super::past::Answer;
use crate::surface::link::Link;
use crate::surface::visit::Visit;

/// A way to a plan.
pub(super) struct Way {
    pub(super) label: &'static str,
    pub(super) href: String,
}

impl Way {
    /// From the version that is shown, or from the instant `at`.
    pub(super) fn all(
        visit: &Visit,
        here: &Link,
        history: &History<()>,
        chosen: Option<usize>,
        at: Option<DateTime<Utc>>,
        answer: &Answer,
    ) -> Vec<Self> {
        if !answer.has_a_row() {
            return Vec::new();
        }
        let undo = |name: &str, value: String| visit.href(&Link::to("undo").with(name, value));
        let back = |label, to: DateTime<Utc>| Self {
            label,
            href: visit.href(&here.clone().under("undo").with("to", to.to_rfc3339())),
        };
        let version = chosen.and_then(|place| history.versions.get(place));
        let newer = chosen.map_or(history.versions.last(), |place| {
            place.checked_sub(1).and_then(|newer| history.versions.get(newer))
        });
        let mut ways = Vec::new();
        match version {
            // What was captured at the instant stays, so it is the one before.
            Some(version) if version.change.op == Op::Delete => {
                let before = version.change.captured_at - TimeDelta::microseconds(1);
                ways.push(back("What bringing this row back would take", before));
            }
            _ => {
                let to = at.or(version.map(|version| version.change.captured_at));
                // A transaction that went on with the row is undone whole, and would not lead here.
                let is_halfway = version.zip(newer).is_some_and(|(version, newer)| {
                    version.change.id.transaction_id == newer.change.id.transaction_id
                });
                if let Some(to) = to.filter(|_| newer.is_some() && !is_halfway) {
                    ways.push(back("What bringing this back would take", to));
                }
            }
        }
        if let Some(version) = version {
            if version.change.op == Op::Update {
                let href = undo("change", version.change.id.to_string());
                ways.push(Self { label: "What undoing this change alone would take", href });
            }
            let href = undo("transaction", version.change.id.transaction_id.to_string());
            ways.push(Self { label: "What undoing its transaction would take", href });
        }
        ways
    }
}
