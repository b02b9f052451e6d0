//! What a row was at an instant.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde::Serialize;

use super::change::{ChangeId, Op};
use super::decode::DecodeError;
use super::fold::{self, Step};
use super::image::{RowImage, RowState};
use super::key::{RowKey, WalkKey};
use super::log::{self, Reach};
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
        /// The change before the hole.
        older: ChangeId,
        /// The change after it; `None` when it lies between `older` and the row as it is now.
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
    if let Some(ended_at) = log.anchor.ended_at.filter(|ended_at| *ended_at <= at) {
        return Ok(AsOf::CaptureEnded { ended_at });
    }
    // What has gone is what was captured before; a hold or a longer window may have kept parts of it.
    if let Some(horizon) = log.anchor.began_at.max(log.anchor.purged_until).filter(|horizon| at < *horizon) {
        return Ok(AsOf::BeforeHorizon { horizon });
    }
    let (table_id, tenant) = (log.anchor.table_id, log.anchor.present.scope.clone());
    let purged_until = log.anchor.purged_until;
    let folded = fold::fold(log.seen_through(scope));
    let undone = folded.steps.iter().take_while(|step| !step.settled).count();
    let (undone, settled) = folded.steps.split_at(undone);
    // One of before the horizon need not be the one before the instant: it was held, and others after it have gone.
    let is_next = |step: &&Step| purged_until.is_none_or(|until| step.change.captured_at > until);
    let settled = settled.first().filter(is_next);
    let state = undone.last().map_or(&folded.now, |step| &step.before);
    if let Some(scope) = scope {
        let tenant = match (state, undone.last(), settled) {
            // Gone by then: whose it was is for the change that removed it to say.
            (RowState::Absent, _, Some(Step { change, .. })) | (_, Some(Step { change, .. }), _) => {
                change.previous_scope.clone().or_else(|| change.scope.clone())
            }
            (_, None, _) => tenant,
        };
        if !scope.sees_row(table_id, tenant.as_deref()) {
            return Ok(AsOf::NotCreated);
        }
    }
    // The change before the instant has to have left what the fold arrived at; how it came to that is not asked.
    let way = &folded.steps[..undone.len() + usize::from(settled.is_some())];
    if let Some(answer) = gap(way, state) {
        return Ok(answer);
    }
    Ok(match state {
        RowState::Present(image) => AsOf::Present(RowImage::clone(image)),
        RowState::Absent => match settled {
            Some(step) => AsOf::Deleted { by: step.change.id, at: step.change.captured_at },
            None => AsOf::NotCreated,
        },
        RowState::Partial(_) | RowState::Unknown => {
            match undone.iter().rev().find(|step| step.change.op == Op::Truncate) {
                Some(step) => AsOf::CrossedTruncate { by: step.change.id, at: step.change.captured_at },
                None => AsOf::Unknown,
            }
        }
    })
}

/// The oldest hole on the way from the present to the instant; the one nearest to the answer.
fn gap(steps: &[Step], state: &RowState) -> Option<AsOf<RowImage>> {
    let place = steps.iter().rposition(|step| step.gap)?;
    Some(AsOf::Gap {
        older: steps[place].change.id,
        newer: place.checked_sub(1).map(|newer| steps[newer].change.id),
        best_guess: state.clone(),
    })
}
