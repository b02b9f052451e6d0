//! The past of a row that is asked for, and the answer.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use diesel::PgConnection;
use threadline::{
    AsOf, ChangeId, Error, FieldValue, History, Json, Op, RowChange, RowDiff, RowImage, RowKey, RowState,
    TableName, Trail, Version,
};

use crate::surface::diff::{Cell, FieldView, Reading};
use crate::surface::entry::change_id;
use crate::surface::moment::{Moment, written};
use crate::surface::query::{Problem, Query};
use crate::surface::value::shown;
use crate::surface::visit::Visit;

/// Which past is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Past {
    /// The row right after its newest version.
    Newest,
    /// Right after this change.
    Version(ChangeId),
    /// At an instant.
    At(DateTime<Utc>),
    /// The difference between two.
    Between(DateTime<Utc>, DateTime<Utc>),
}

/// What the trail says of it.
pub(super) enum Answer {
    Nothing,
    At(AsOf<RowImage>),
    Between(RowDiff),
}

/// A row at one point of its history.
pub(super) struct Snapshot {
    pub(super) when: Option<Moment>,
    /// Whether it is the row right before that, which deleted it.
    pub(super) is_before: bool,
    /// What is to be said of it before, or instead of, the row.
    pub(super) notice: Option<Notice>,
    pub(super) columns: Vec<Column>,
}

pub(super) struct Column {
    pub(super) name: String,
    pub(super) cell: Cell,
    /// Whether the version chosen changed it.
    pub(super) changed: bool,
}

/// What is to be said of a past that is not simply a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// `deleted`, `gap` or `unknown`, for the style sheet.
    pub(super) kind: &'static str,
    pub(super) text: &'static str,
}

/// How two instants differ.
pub(super) struct Difference {
    pub(super) words: String,
    pub(super) fields: Vec<FieldView>,
}

impl Past {
    pub(super) fn of(visit: &Visit, query: &mut Query) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut part = |name| {
            query.take(name).unwrap_or_else(|problem| {
                problems.push(problem);
                None
            })
        };
        let (version, at, from, to) = (part("version"), part("at"), part("from"), part("to"));
        let mut instant = |name, text: Option<String>| {
            let text = text?;
            let instant = written(&text, visit.preferences.zone);
            instant.map_err(|wrong| problems.push(Problem::of_value(name, &text, wrong))).ok()
        };
        let (at, from, to) = (instant("at", at), instant("from", from), instant("to", to));
        if version.as_deref().is_some_and(|text| change_id(text).is_none()) {
            let wrong = "is not a change such as TRANSACTION#1; choose one of the line";
            problems.push(Problem::new("version", wrong));
        }
        let version = version.and_then(|text| change_id(&text));
        let past = match (from, to, at, version) {
            (Some(from), Some(to), _, _) if from > to => {
                problems.push(Problem::new("from", "is later than `to`; exchange the two"));
                Self::Newest
            }
            (Some(from), Some(to), None, None) => Self::Between(from, to),
            (Some(from), None, None, None) => Self::Between(from, visit.now),
            (None, Some(_), ..) => {
                problems.push(Problem::new("from", "is missing; a difference has a beginning"));
                Self::Newest
            }
            (Some(_), ..) => {
                problems.push(Problem::new("from", "cannot be combined with `at` and `version`"));
                Self::Newest
            }
            (None, None, Some(_), Some(_)) => {
                problems.push(Problem::new("at", "cannot be combined with `version`"));
                Self::Newest
            }
            (None, None, Some(at), None) => Self::At(at),
            (None, None, None, Some(version)) => Self::Version(version),
            (None, None, None, None) => Self::Newest,
        };
        if problems.is_empty() { Ok(past) } else { Err(problems) }
    }

    pub(super) fn ask(
        self,
        conn: &mut PgConnection,
        trail: &Trail,
        table: &TableName,
        key: &RowKey,
    ) -> Result<Answer, Error> {
        Ok(match self {
            Self::Newest | Self::Version(_) => Answer::Nothing,
            Self::At(at) => Answer::At(trail.row_as_of(conn, table, key, at)?),
            Self::Between(from, to) => Answer::Between(trail.row_diff(conn, table, key, from, to)?),
        })
    }

    /// `at`, `from` and `to`, as far as they are asked for.
    pub(super) fn instants(self) -> [Option<DateTime<Utc>>; 3] {
        match self {
            Self::At(at) => [Some(at), None, None],
            Self::Between(from, to) => [None, Some(from), Some(to)],
            Self::Newest | Self::Version(_) => [None, None, None],
        }
    }

    /// The version that is shown beside the line.
    pub(super) fn version(self, history: &History<()>) -> Option<usize> {
        match self {
            Self::Newest => (!history.versions.is_empty()).then_some(0),
            Self::Version(id) => history.versions.iter().position(|version| version.change.id == id),
            Self::At(at) => history.versions.iter().position(|version| version.change.captured_at <= at),
            Self::Between(..) => None,
        }
    }

    /// The row at the point that is asked for.
    pub(super) fn snapshot(
        self,
        visit: &Visit,
        history: &History<()>,
        chosen: Option<usize>,
        answer: &Answer,
    ) -> Option<Snapshot> {
        let zone = visit.preferences.zone;
        let version = chosen.and_then(|place| history.versions.get(place));
        let changed = |name: &str| version.is_some_and(|version| version.change.fields.contains_key(name));
        match (self, answer) {
            (Self::At(at), Answer::At(answer)) => {
                let (image, notice) = said(answer);
                let notice = notice.or((at > visit.now).then_some(AHEAD));
                let when = Some(visit.moment(at));
                if let (AsOf::Deleted { .. }, Some(image)) = (answer, version.and_then(last)) {
                    let text = "The row had been removed by then. This is what it was just before that.";
                    let notice = Some(Notice { kind: "deleted", text });
                    let columns = columns(Some(image), |_| false, zone);
                    return Some(Snapshot { when, is_before: false, notice, columns });
                }
                let columns = columns(image, changed, zone);
                Some(Snapshot { when, is_before: false, notice, columns })
            }
            (Self::Newest | Self::Version(_), _) => {
                let Some(version) = version else {
                    // Of a row that is not in the trail the page says so itself.
                    if history.versions.is_empty() {
                        return None;
                    }
                    let text = "This version is not among the newest of the row, or there is none.";
                    let notice = Some(Notice { kind: "unknown", text });
                    let columns = Vec::new();
                    return Some(Snapshot { when: None, is_before: false, notice, columns });
                };
                let last = last(version);
                let notice = match &version.after {
                    RowState::Present(_) => None,
                    RowState::Absent if last.is_some() => Some(Notice {
                        kind: "deleted",
                        text: "The row was gone after this. This is what it was just before.",
                    }),
                    RowState::Absent => {
                        Some(Notice { kind: "deleted", text: "The row was gone after this." })
                    }
                    RowState::Partial(_) => Some(Notice {
                        kind: "gap",
                        text: "Only what the changes name is known here: a write that escaped capture, or a TRUNCATE, lies between.",
                    }),
                    RowState::Unknown => Some(Notice {
                        kind: "unknown",
                        text: "What the row was here is not known: the table was truncated since, or cannot be read.",
                    }),
                };
                Some(Snapshot {
                    when: Some(visit.moment(version.change.captured_at)),
                    is_before: last.is_some(),
                    notice,
                    columns: columns(version.after.image().or(last), changed, zone),
                })
            }
            _ => None,
        }
    }
}

impl Answer {
    /// Whether the trail says of the instant asked for what the row was then, or that it had been removed.
    pub(super) fn has_a_row(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::At(answer) => matches!(
                answer,
                AsOf::Present(_) | AsOf::Deleted { .. } | AsOf::Gap { .. } | AsOf::NotRepresentable { .. }
            ),
            Self::Between(_) => false,
        }
    }

    pub(super) fn difference(&self, reading: Reading<'_>) -> Option<Difference> {
        let Self::Between(RowDiff { from, to, change, .. }) = self else {
            return None;
        };
        Some(match change {
            Some(RowChange::Added(image)) => Difference {
                words: "It was not there at first, and then it was this.".to_owned(),
                fields: one_sided(image, true, reading),
            },
            Some(RowChange::Removed(image)) => Difference {
                words: "It was this at first, and then it was gone.".to_owned(),
                fields: one_sided(image, false, reading),
            },
            Some(RowChange::Changed(fields)) => Difference {
                words: format!("{} column{} differ.", fields.len(), if fields.len() == 1 { "" } else { "s" }),
                fields: fields
                    .iter()
                    .map(|(name, field)| FieldView::of_change(name, field, reading))
                    .collect(),
            },
            None => {
                let words = match (said(from).1, said(to).1) {
                    (Some(Notice { kind: "unknown" | "gap", text }), _) => {
                        format!("At the first instant: {text}")
                    }
                    (_, Some(Notice { kind: "unknown" | "gap", text })) => {
                        format!("At the second instant: {text}")
                    }
                    _ => "There is no difference between the two.".to_owned(),
                };
                Difference { words, fields: Vec::new() }
            }
        })
    }
}

/// What is to be said of an instant after now.
const AHEAD: Notice = Notice {
    kind: "unknown",
    text: "This time lies ahead. What is known is up to now: this is the row as it is at present.",
};
/// What the row was before the version that deleted it.
fn last(version: &Version<()>) -> Option<&RowImage> {
    version.before.image().filter(|_| version.change.op == Op::Delete)
}

/// What an answer says, with the row it has.
fn said(answer: &AsOf<RowImage>) -> (Option<&RowImage>, Option<Notice>) {
    let notice = |kind, text| Some(Notice { kind, text });
    match answer {
        AsOf::Present(image) => (Some(image), None),
        AsOf::Deleted { .. } => (None, notice("deleted", "The row had been removed by then.")),
        AsOf::NotCreated => (None, notice("deleted", "The row did not exist at that time.")),
        AsOf::BeforeHorizon { .. } => (
            None,
            notice(
                "unknown",
                "The trail does not reach back that far: capture began later, or retention has removed it.",
            ),
        ),
        AsOf::CaptureEnded { .. } => (None, notice("unknown", "The table was no longer audited then.")),
        AsOf::CrossedTruncate { .. } => {
            (None, notice("unknown", "The table was truncated later on, and what it held was not kept."))
        }
        AsOf::Gap { best_guess, .. } => (
            best_guess.image(),
            notice(
                "gap",
                "A write that escaped capture lies on the way back. This is what the captured changes say; it cannot be vouched for.",
            ),
        ),
        AsOf::NotRepresentable { image, .. } => (Some(image), None),
        _ => (
            None,
            notice("unknown", "What the row was then is not known: the table is gone, or cannot be read."),
        ),
    }
}

fn columns(image: Option<&RowImage>, changed: impl Fn(&str) -> bool, zone: Tz) -> Vec<Column> {
    let Some(image) = image else {
        return Vec::new();
    };
    let columns = image.columns.iter().map(|(name, json)| Column {
        name: shown(name),
        cell: Cell::whole(&value(image, name, json), zone),
        changed: changed(name),
    });
    columns.collect()
}

fn value(image: &RowImage, name: &str, json: &Json) -> FieldValue {
    if image.masked.contains(name) {
        FieldValue::Masked(json.clone())
    } else {
        FieldValue::Known(json.clone())
    }
}

fn one_sided(image: &RowImage, added: bool, reading: Reading<'_>) -> Vec<FieldView> {
    let sides = image.columns.iter().map(|(name, json)| {
        let (value, none) = (value(image, name, json), FieldValue::Absent);
        let (before, after) = if added { (&none, &value) } else { (&value, &none) };
        FieldView::new(name, before, after, reading)
    });
    sides.collect()
}
