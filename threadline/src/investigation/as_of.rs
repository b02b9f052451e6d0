//! What a row was at an instant.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde::Serialize;

use super::change::{AuditChange, ChangeId, Op};
use super::decode::DecodeError;
use super::fold::{self, Mark, Step};
use super::image::{RowImage, RowState};
use super::key::{RowKey, WalkKey};
use super::log::{self, PresentState, Reach, RowLog};
use super::scope::{ResolvedScope, Surface};
use super::trail::Trail;
use crate::capture::TableName;
use crate::error::Error;

/// What a row was at an instant. A change counts as made when the whole of its transaction had been captured by then: at the
/// `captured_at` of a change whose transaction went on to change other rows, the row is still as it was before. For the row
/// right after a change take [`Version::after`](super::Version::after).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AsOf<T> {
    /// It existed, and this is it. Masked text columns hold the mask's placeholder.
    Present(T),
    /// It had existed and was gone.
    Deleted {
        /// The change that removed it: a delete, a TRUNCATE, or an update that gave the row another key.
        by: ChangeId,
        /// When that was.
        at: DateTime<Utc>,
    },
    /// It did not exist yet, or never has; or retention has removed the change that removed it.
    NotCreated,
    /// The trail does not reach back that far.
    BeforeHorizon {
        /// The earliest instant that can be asked about.
        horizon: DateTime<Utc>,
    },
    /// The table was no longer audited then.
    CaptureEnded {
        /// The first instant that cannot be asked about.
        ended_at: DateTime<Utc>,
    },
    /// The table was truncated later on, and its rows were not kept: what it held then is not known.
    CrossedTruncate {
        /// The TRUNCATE.
        by: ChangeId,
        /// When that was.
        at: DateTime<Utc>,
    },
    /// A write that escaped capture lies on the way back, so the answer cannot be vouched for.
    Gap {
        /// The change before the hole; `None` when it is a recorded baseline that the row had not stayed as.
        older: Option<ChangeId>,
        /// The change after it; `None` when that is the row as it is now, or as the next baseline has it.
        newer: Option<ChangeId>,
        /// What the captured changes say the row was.
        best_guess: RowState,
    },
    /// It existed, but the model cannot hold it: a masked or excluded column is not an `Option`, or its type has changed.
    NotRepresentable {
        /// What does not fit.
        error: DecodeError,
        /// The row.
        image: RowImage,
    },
    /// The row as it is now is not there to fold back from: the table is gone, or not this role's to read.
    Unknown,
}

impl<T> AsOf<T> {
    /// The row, if it existed and could be told.
    pub fn present(self) -> Option<T> {
        match self {
            Self::Present(row) => Some(row),
            _ => None,
        }
    }

    /// The same answer, with what `decode` makes of the row in place of [`Present`](Self::Present).
    pub(crate) fn and_then<U, E>(self, decode: impl FnOnce(T) -> Result<AsOf<U>, E>) -> Result<AsOf<U>, E> {
        Ok(match self {
            Self::Present(row) => return decode(row),
            Self::Deleted { by, at } => AsOf::Deleted { by, at },
            Self::NotCreated => AsOf::NotCreated,
            Self::BeforeHorizon { horizon } => AsOf::BeforeHorizon { horizon },
            Self::CaptureEnded { ended_at } => AsOf::CaptureEnded { ended_at },
            Self::CrossedTruncate { by, at } => AsOf::CrossedTruncate { by, at },
            Self::Gap { older, newer, best_guess } => AsOf::Gap { older, newer, best_guess },
            Self::NotRepresentable { error, image } => AsOf::NotRepresentable { error, image },
            Self::Unknown => AsOf::Unknown,
        })
    }
}

impl Trail {
    /// What a row was at an instant, without a model. A row that may not be seen has not been created.
    ///
    /// # Errors
    ///
    /// As [`row_history`](Self::row_history).
    pub fn row_as_of(
        &self,
        conn: &mut PgConnection,
        table: &TableName,
        key: &RowKey,
        at: DateTime<Utc>,
    ) -> Result<AsOf<RowImage>, Error> {
        self.read(conn, Surface::AsOf, |conn, scope| read(conn, &table.to_sql(), key, at, scope.as_ref()))
    }
}

pub(crate) fn read(
    conn: &mut PgConnection,
    table: &str,
    key: &impl WalkKey,
    at: DateTime<Utc>,
    scope: Option<&ResolvedScope>,
) -> Result<AsOf<RowImage>, Error> {
    let log = log::read(conn, table, key, Reach::Since(at))?;
    let behind = log.behind;
    let answer = answer(log, at, scope);
    let is_lost = matches!(answer, AsOf::Gap { .. } | AsOf::CrossedTruncate { .. } | AsOf::Unknown);
    match behind {
        // What lies behind may tell it: a baseline, and all that was captured from there on.
        Some(baseline) if is_lost => {
            let log = log::read(conn, table, key, Reach::SinceAndAfter(at, baseline))?;
            Ok(self::answer(log, at, scope))
        }
        _ => Ok(answer),
    }
}

/// As [`read`], from changes and the row as it is now alone, for what is to undo changes: a gap's `older` is always a change.
pub(crate) fn read_from_changes(
    conn: &mut PgConnection,
    table: &str,
    key: &impl WalkKey,
    at: DateTime<Utc>,
    scope: Option<&ResolvedScope>,
) -> Result<AsOf<RowImage>, Error> {
    Ok(answer(log::read(conn, table, key, Reach::Since(at))?.of_changes(), at, scope))
}

fn answer(log: RowLog, at: DateTime<Utc>, scope: Option<&ResolvedScope>) -> AsOf<RowImage> {
    if let Some(ended_at) = log.anchor.ended_at.filter(|ended_at| *ended_at <= at) {
        return AsOf::CaptureEnded { ended_at };
    }
    // What has gone is what was captured before; a hold or a longer window may have kept parts of it.
    if let Some(horizon) = log.anchor.began_at.max(log.anchor.purged_until).filter(|horizon| at < *horizon) {
        return AsOf::BeforeHorizon { horizon };
    }
    let (table_id, tenant) = (log.anchor.table_id, log.anchor.present.scope.clone());
    let is_present = matches!(log.anchor.present.state, PresentState::Present);
    let purged_until = log.anchor.purged_until;
    let folded = fold::fold(log.seen_through(scope));
    let undone = folded.steps.iter().take_while(|step| !step.settled).count();
    // The fold begins anew at the oldest baseline that is newer than the instant, and what is settled by the time of the newest
    // one that is older is for that one to say.
    let newer = folded.baselines.iter().rfind(|mark| mark.baseline.recorded_at > at);
    let older = folded.baselines.iter().find(|mark| mark.baseline.recorded_at <= at);
    let begins = newer.map_or(0, |mark| mark.place);
    let way = &folded.steps[begins..undone];
    let settled = folded.steps.get(undone);
    let settled_by = older.filter(|mark| mark.place <= undone);
    // One of before the horizon need not be the one before the instant: it was held, and others after it have gone.
    let is_next = |step: &&Step| purged_until.is_none_or(|until| step.change.captured_at > until);
    let settled = settled.filter(is_next);

    // At its very instant a baseline is all there is to ask.
    let recorded = settled_by.filter(|mark| mark.baseline.recorded_at == at);
    let state = match (recorded, way.last(), newer) {
        (Some(mark), ..) => &mark.state,
        (None, Some(step), _) => &step.before,
        (None, None, Some(mark)) => &mark.state,
        (None, None, None) => &folded.now,
    };
    // Told forwards, the row needs no more than that the next change found it so.
    let told = recorded.is_some() || way.last().is_some_and(|step| step.forwards.is_some());
    if let Some(scope) = scope {
        // Whose the row was is said from both sides: by what came last before the instant, and by what is next after it. They
        // differ only when a write in between escaped capture; then nobody is told the other's side.
        let of_mark =
            |mark: &Mark| (mark.hidden || mark.state != RowState::Absent).then(|| mark.scope.clone());
        let before = match (settled_by, settled) {
            (Some(mark), _) => of_mark(mark),
            (None, Some(step)) => (step.after != RowState::Absent).then(|| step.change.scope.clone()),
            (None, None) => None,
        };
        let since = |change: &AuditChange| change.previous_scope.clone().or_else(|| change.scope.clone());
        let after = match (way.last(), newer) {
            (Some(step), _) => {
                let says = step.change.op != Op::Truncate && step.before != RowState::Absent;
                says.then(|| since(&step.change))
            }
            (None, Some(mark)) => of_mark(mark),
            (None, None) => is_present.then(|| tenant.clone()),
        };
        let sees = |tenant: &Option<String>| scope.sees_row(table_id, tenant.as_deref());
        let is_seen = match (before.as_ref().map(sees), after.as_ref().map(sees)) {
            (Some(before), Some(after)) if before != after => return AsOf::Unknown,
            (Some(seen), _) | (None, Some(seen)) => seen,
            // Gone by then, or not there yet: whose it was is for the change to say that removed it, or brought it.
            (None, None) => sees(&match (settled, way.last(), newer) {
                (Some(step), ..) | (None, Some(step), _) => since(&step.change),
                (None, None, Some(mark)) => mark.scope.clone(),
                (None, None, None) => tenant,
            }),
        };
        // What took it to another tenant's is not theirs to know, and so not that it went.
        let is_taken = settled.is_some_and(|step| {
            let AuditChange { scope: to, previous_scope: from, .. } = &step.change;
            step.after == RowState::Absent
                && !scope.sees_change(table_id, to.as_deref(), from.as_deref(), None)
        });
        if !is_seen || is_taken {
            return AsOf::NotCreated;
        }
    }
    // The change before the instant has to have left what the fold arrived at; how it came to that is not asked.
    let hole = || {
        let newest = |place: usize| place.checked_sub(1).map(|place| way[place].change.id);
        let guess = |older, newer| AsOf::Gap { older, newer, best_guess: state.clone() };
        match (settled_by, settled) {
            (Some(mark), _) if mark.gap => return Some(guess(None, newest(way.len()))),
            (None, Some(step)) if step.gap => return Some(guess(Some(step.change.id), newest(way.len()))),
            _ => {}
        }
        // The oldest on the way from the present to the instant; the one nearest to the answer.
        let place = way.iter().rposition(|step| step.gap)?;
        Some(guess(Some(way[place].change.id), newest(place)))
    };
    if !told && let Some(answer) = hole() {
        return answer;
    }
    match state {
        RowState::Present(image) => AsOf::Present(RowImage::clone(image)),
        // By a baseline it was not there: how it went is only known when the change before that removed it.
        RowState::Absent => match settled {
            Some(step) if settled_by.is_none() || step.after == RowState::Absent => {
                AsOf::Deleted { by: step.change.id, at: step.change.captured_at }
            }
            _ => AsOf::NotCreated,
        },
        RowState::Partial(_) | RowState::Unknown => {
            match way.iter().rev().find(|step| step.change.op == Op::Truncate) {
                Some(step) => AsOf::CrossedTruncate { by: step.change.id, at: step.change.captured_at },
                None => AsOf::Unknown,
            }
        }
    }
}
