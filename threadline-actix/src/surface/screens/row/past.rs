//! The past of a row that is asked for, and the answer.

use chrono::{DateTime, Utc};
use diesel::PgConnection;
use threadline::{
    AsOf, ChangeId, Error, FieldValue, History, Json, RowChange, RowDiff, RowImage, RowKey, RowState,
    TableName, Trail,
};
use uuid::Uuid;

use crate::surface::diff::{Cell, FieldView};
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
        let version = version.map(|text| change_id(&text)).transpose();
        let version = version.unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
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
        let version = chosen.and_then(|place| history.versions.get(place));
        let changed = |name: &str| version.is_some_and(|version| version.change.fields.contains_key(name));
        match (self, answer) {
            (Self::At(at), Answer::At(answer)) => {
                let (image, notice) = said(answer);
                let notice = notice.or((at > visit.now).then_some(AHEAD));
                Some(Snapshot { when: Some(visit.moment(at)), notice, columns: columns(image, changed) })
            }
            (Self::Newest | Self::Version(_), _) => {
                let Some(version) = version else {
                    // Of a row that is not in the trail the page says so itself.
                    if history.versions.is_empty() {
                        return None;
                    }
                    let text = "This version is not among the newest of the row, or there is none.";
                    let notice = Some(Notice { kind: "unknown", text });
                    return Some(Snapshot { when: None, notice, columns: Vec::new() });
                };
                let notice = match &version.after {
                    RowState::Present(_) => None,
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
                    notice,
                    columns: columns(version.after.image(), changed),
                })
            }
            _ => None,
        }
    }
}

impl Answer {
    pub(super) fn difference(&self) -> Option<Difference> {
        let Self::Between(RowDiff { from, to, change, .. }) = self else {
            return None;
        };
        Some(match change {
            Some(RowChange::Added(image)) => Difference {
                words: "It was not there at first, and then it was this.".to_owned(),
                fields: one_sided(image, true),
            },
            Some(RowChange::Removed(image)) => Difference {
                words: "It was this at first, and then it was gone.".to_owned(),
                fields: one_sided(image, false),
            },
            Some(RowChange::Changed(fields)) => Difference {
                words: format!("{} column{} differ.", fields.len(), if fields.len() == 1 { "" } else { "s" }),
                fields: fields.iter().map(|(name, field)| FieldView::of_change(name, field)).collect(),
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

fn columns(image: Option<&RowImage>, changed: impl Fn(&str) -> bool) -> Vec<Column> {
    let Some(image) = image else {
        return Vec::new();
    };
    let columns = image.columns.iter().map(|(name, json)| Column {
        name: shown(name),
        cell: Cell::whole(&value(image, name, json)),
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

fn one_sided(image: &RowImage, added: bool) -> Vec<FieldView> {
    let sides = image.columns.iter().map(|(name, json)| {
        let cell = Some(Cell::whole(&value(image, name, json)));
        let (before, after) = if added { (None, cell) } else { (cell, None) };
        FieldView { name: shown(name), before, after, paths: Vec::new() }
    });
    sides.collect()
}

/// A change as a link names it: its transaction and its place in it.
fn change_id(text: &str) -> Result<ChangeId, Problem> {
    let parsed = text.split_once('#').and_then(|(transaction, ordinal)| {
        Some(ChangeId { transaction_id: Uuid::try_parse(transaction).ok()?, ordinal: ordinal.parse().ok()? })
    });
    parsed.ok_or_else(|| {
        Problem::new("version", "is not a change such as TRANSACTION#1; choose one of the line")
    })
}
