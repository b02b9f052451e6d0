//! What continuity knows of one table, and how it tells a person.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use serde::Serialize;
use uuid::Uuid;

use super::baseline::Baseline;
use crate::capture::TableName;
use crate::investigation::RecordedBaseline;

/// A time during which a table was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Period {
    /// The first instant that is covered.
    pub began_at: DateTime<Utc>,
    /// The first instant that is no longer covered; `None` while capture goes on.
    pub ended_at: Option<DateTime<Utc>>,
}

/// A gap somebody has looked into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, QueryableByName)]
#[non_exhaustive]
pub struct KnownGap {
    /// The transaction of the last change before it.
    #[diesel(sql_type = SqlUuid)]
    pub transaction_id: Uuid,
    /// That change's place in the transaction.
    #[diesel(sql_type = Integer)]
    pub ordinal: i32,
    /// When that change was captured; `None` when retention has removed it.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub after: Option<DateTime<Utc>>,
    /// When it was acknowledged.
    #[diesel(sql_type = Timestamptz)]
    pub acknowledged_at: DateTime<Utc>,
    /// By whom, as `admin:7`.
    #[diesel(sql_type = Text)]
    pub acknowledged_by: String,
    /// What is known of the write that escaped.
    #[diesel(sql_type = Text)]
    pub reason: String,
}

/// What keeps writes to a table from being captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Missing {
    /// What is missing, without a full stop.
    pub what: String,
    /// The SQL that mends it; empty where there is none, as for a table that does not exist.
    pub fix: String,
}

/// Since when a table is known, and what is unknown of it. Written out, it is the text to hand around at a cut-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Continuity {
    /// The table, under its last name when it is gone.
    pub table: TableName,
    /// Its identity in the trail.
    pub table_id: i32,
    /// When it was captured, oldest first.
    pub periods: Vec<Period>,
    /// The oldest instant whose changes are still there, when partitions have been dropped; rounded to the millisecond.
    pub kept_since: Option<DateTime<Utc>>,
    /// When the oldest change that is still there was captured.
    pub first_change: Option<DateTime<Utc>>,
    /// Gaps somebody has looked into, oldest first, 1,000 at most.
    pub gaps: Vec<KnownGap>,
    /// Snapshots of the table that were recorded, oldest first. None is a change.
    pub baselines: Vec<Baseline>,
    /// How often it was truncated without its rows being kept.
    pub truncates: u64,
    /// When it was truncated last.
    pub last_truncate: Option<DateTime<Utc>>,
    /// Whether columns are excluded or masked.
    pub is_redacted: bool,
    /// What keeps writes from being captured at this moment; empty when all are.
    pub problems: Vec<Missing>,
}

impl Continuity {
    /// From when on what any row was can be told, up to now: the beginning of the present period, or of what is kept. `None`
    /// while the table is not captured.
    pub fn known_since(&self) -> Option<DateTime<Utc>> {
        let present = self.periods.last().filter(|period| period.ended_at.is_none())?;
        Some(self.kept_since.map_or(present.began_at, |kept| kept.max(present.began_at)))
    }

    /// The times between periods, in which nothing was captured.
    pub fn interruptions(&self) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
        self.periods
            .windows(2)
            .filter_map(|pair| Some((pair[0].ended_at?, pair[1].began_at)))
            .filter(|(from, to)| from < to)
            .collect()
    }
}

impl Continuity {
    /// What is known, and what is not, in sentences; not whether every write is captured at this moment, which `problems` tell.
    pub fn sentences(&self) -> Vec<String> {
        let at = |instant: DateTime<Utc>| instant.to_rfc3339_opts(SecondsFormat::Secs, true);
        let mut said = Vec::new();
        match (self.known_since(), self.periods.last().and_then(|period| period.ended_at)) {
            (Some(since), _) => {
                said.push(if self.problems.is_empty() {
                    format!("Writes since {} are on record, with the row before and after each.", at(since))
                } else {
                    format!("It is known since {}; at present not every write to it is captured.", at(since))
                });
                said.push(
                    "Of the time before: a row that has changed since is known as it was right before its first change; \
                     of rows that came and went, and of who wrote what, nothing is known."
                        .to_owned(),
                );
            }
            (None, Some(ended)) => {
                said.push(format!("Its capture ended at {}. What was recorded until then stays.", at(ended)));
            }
            (None, None) => said.push("It is not captured.".to_owned()),
        }
        if let Some(kept) = self.kept_since {
            said.push(format!("Changes of before {} have been removed by retention.", at(kept)));
        }
        for (from, to) in self.interruptions() {
            said.push(format!("From {} to {} nothing was captured.", at(from), at(to)));
        }
        if let (Some(last), 1..) = (self.last_truncate, self.truncates) {
            said.push(format!(
                "It was truncated without its rows being kept, {}last at {}: what they were is not known.",
                if self.truncates == 1 { String::new() } else { format!("{} times, ", self.truncates) },
                at(last)
            ));
        }
        for gap in &self.gaps {
            let after = gap.after.map_or("a change since removed".to_owned(), at);
            said.push(format!(
                "After {after} a write to a row escaped capture: {} ({}, {}).",
                gap.reason,
                gap.acknowledged_by,
                at(gap.acknowledged_at)
            ));
        }
        for baseline in &self.baselines {
            let RecordedBaseline { recorded_at, recorded_by, reason, .. } = &baseline.recorded;
            said.push(format!(
                "A snapshot of {} was recorded at {}, and is not a change: {reason} ({recorded_by}).",
                if baseline.rows == 1 { "1 row".to_owned() } else { format!("{} rows", baseline.rows) },
                at(*recorded_at)
            ));
        }
        if self.is_redacted {
            said.push("Some columns are excluded or masked; their values were never recorded.".to_owned());
        }
        if self.known_since().is_some() {
            said.push("Writes that escaped capture are looked for by `threadline doctor`.".to_owned());
        }
        said
    }
}

/// Whether every write is captured comes first, with what is not, for that is what a cut-over hangs on.
impl fmt::Display for Continuity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.table.to_plain())?;
        if self.problems.is_empty() {
            writeln!(f, "  Ready: every write to it is captured from now on.")?;
        }
        for Missing { what, fix } in &self.problems {
            writeln!(f, "  NOT CAPTURED: {what}.")?;
            for line in fix.lines() {
                writeln!(f, "    {line}")?;
            }
        }
        self.sentences().iter().try_for_each(|sentence| writeln!(f, "  {sentence}"))
    }
}
