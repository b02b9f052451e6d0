//! Writing evidence.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Jsonb};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::reference::Reference;
use super::subject::{Source, Status, Subject, Verdict};
use crate::error::Error;
use crate::intent::{Actor, TextKind, text_problem};
use crate::operation::credential::has_userinfo;
use crate::telemetry;

// Typed functions rather than SQL text: Diesel keeps their prepared statements, so a call is one round trip.
#[diesel::declare_sql_function]
extern "SQL" {
    #[sql_name = "threadline.record_evidence"]
    fn record_evidence(records: Jsonb) -> Jsonb;
    #[sql_name = "threadline.record_application_evidence"]
    fn record_application_evidence(records: Jsonb) -> Jsonb;
}

/// Bytes the detail has as JSON at most.
const LARGEST_DETAIL: usize = 32_000;
/// Levels of nesting in it.
const DETAIL_DEPTH: usize = 16;
/// Records that go to the database at once.
const BATCH: usize = 500;
/// Bytes of a list of names in it; a record has three such lists at most.
const LARGEST_LIST: usize = 9_000;
const MAY_OPERATE: &str = "coalesce(has_function_privilege(to_regprocedure('threadline.record_evidence(jsonb)'), 'EXECUTE'), false)";
const MAY_APPLY: &str = "coalesce(has_function_privilege(to_regprocedure('threadline.record_application_evidence(jsonb)'), 'EXECUTE'), false)";
const CAN_WRITE: &str = "NOT current_setting('transaction_read_only')::boolean";
const DAY: Duration = Duration::from_secs(86_400);
/// As long as a record can stand for what stays the same: a hundred years.
const LONGEST: Duration = Duration::from_secs(3_155_760_000);

/// A fact about how the trail is governed, to be [recorded](record).
///
/// It holds no value of any row and no secret: names, counts, durations and kinds of errors, not what the database said.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Record {
    subject: Subject,
    reference: Reference,
    writer: String,
    entry_point: String,
    status: Status,
    verdict: Verdict,
    actor: Option<Actor>,
    recorded_at: Option<DateTime<Utc>>,
    unless_unchanged_for: Duration,
    detail: Map<String, Value>,
}

impl Record {
    /// A fact about `reference`, as it should be, established now. `writer` is the part of the program that records it,
    /// `entry_point` what that was called by, such as a command or the worker; each 1 to 256 bytes.
    pub fn new(
        subject: Subject,
        reference: Reference,
        writer: impl Into<String>,
        entry_point: impl Into<String>,
    ) -> Self {
        Self {
            subject,
            reference,
            writer: writer.into(),
            entry_point: entry_point.into(),
            status: Status::Ok,
            verdict: subject.verdict(),
            actor: None,
            recorded_at: None,
            unless_unchanged_for: if subject.is_event() { Duration::ZERO } else { DAY },
            detail: Map::new(),
        }
    }

    /// How it went.
    pub fn status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// That it supports less than a record of its subject does by itself; it cannot support more.
    pub fn at_most(self, verdict: Verdict) -> Self {
        Self { verdict: self.verdict.max(verdict), ..self }
    }

    /// Who asked for it. The database knows the role that records this, and nothing of whom it names.
    pub fn actor(self, actor: Actor) -> Self {
        Self { actor: Some(actor), ..self }
    }

    /// When the fact was established, if that was earlier than now: at the start of a check that took a while, say. To say so
    /// takes EXECUTE on `threadline.record_evidence(jsonb)`.
    pub fn recorded_at(self, instant: DateTime<Utc>) -> Self {
        Self { recorded_at: Some(instant), ..self }
    }

    /// Leaves the record out when one of the same role that is younger than this says the same of its subject and reference, in
    /// status, verdict, detail and actor, and none has said otherwise since. A day for all but events, which are always written; zero always writes. Keep what changes by
    /// itself, such as how long a check took, out of the detail of what is to be left out.
    pub fn unless_unchanged_for(self, time: Duration) -> Self {
        Self { unless_unchanged_for: time, ..self }
    }

    /// A part of the fact, up to 32,000 bytes of JSON with all others. No values of rows, no secrets, no messages of the
    /// database: those quote rows.
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.detail.insert(name.into(), value.into());
        self
    }

    /// Names as a part of the fact, as many as fit, each with a value; of the others their number. Such a list never makes a
    /// record one that is refused, whatever names a database has.
    pub(crate) fn named<V: Into<Value>>(
        self,
        name: &'static str,
        entries: impl IntoIterator<Item = (String, V)>,
    ) -> Self {
        let (mut fitting, mut left_out, mut size) = (Map::new(), 0_u64, 0);
        for (entry, value) in entries {
            let value = value.into();
            // As JSON with its quotes, its colon and its comma.
            size += Value::from(entry.as_str()).to_string().len() + value.to_string().len() + 2;
            if size > LARGEST_LIST || entry.contains('\0') || has_userinfo(&entry) {
                left_out += 1;
            } else {
                fitting.insert(entry, value);
            }
        }
        self.left_out(name, left_out).detail(name, fitting)
    }

    /// As [`named`](Self::named), names alone.
    pub(crate) fn names<N: AsRef<str>>(
        self,
        name: &'static str,
        entries: impl IntoIterator<Item = N>,
    ) -> Self {
        let (mut fitting, mut left_out, mut size) = (Vec::new(), 0_u64, 0);
        for entry in entries {
            let entry = entry.as_ref();
            size += Value::from(entry).to_string().len() + 1;
            if size > LARGEST_LIST || entry.contains('\0') || has_userinfo(entry) {
                left_out += 1;
            } else {
                fitting.push(entry.to_owned());
            }
        }
        self.left_out(name, left_out).detail(name, fitting)
    }

    fn left_out(self, name: &'static str, number: u64) -> Self {
        if number == 0 { self } else { self.detail(format!("{name}_left_out"), number) }
    }

    /// By whom, if that is known.
    pub(crate) fn by(self, actor: Option<&Actor>) -> Self {
        Self { actor: actor.cloned(), ..self }
    }

    /// What it is about.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = self.reference.problems();
        for (name, text) in [("writer", &self.writer), ("entry_point", &self.entry_point)] {
            problems.extend(text_problem(text, TextKind::Name).map(|problem| format!("{name}: {problem}")));
        }
        if self.unless_unchanged_for > LONGEST {
            problems.push("unless_unchanged_for: is longer than a hundred years".to_owned());
        }
        problems.extend(detail_problem(&self.detail).map(|problem| format!("detail: {problem}")));
        problems
    }

    /// As the database takes it; what an application records supports less than what the operation does.
    fn to_json(&self, source: Source) -> Value {
        let verdict = match source {
            Source::Operation => self.verdict,
            Source::Application => self.verdict.max(Verdict::Inferred),
        };
        json!({
            "subject": self.subject,
            "reference": self.reference,
            "status": self.status,
            "verdict": verdict,
            "actor": self.actor,
            "writer": self.writer,
            "entry_point": self.entry_point,
            "library_version": env!("CARGO_PKG_VERSION"),
            "recorded_at": self.recorded_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true)),
            "unless_unchanged_for": self.unless_unchanged_for.as_secs_f64(),
            "detail": self.detail,
        })
    }
}

/// What is wrong with a detail, found without recursion: it may be nested deeper than the stack is.
fn detail_problem(detail: &Map<String, Value>) -> Option<String> {
    let mut left: Vec<(&Value, usize)> = detail.values().map(|value| (value, 1)).collect();
    let wrong = |text: &str| {
        if text.contains('\0') {
            Some("has a NUL character".to_owned())
        } else if has_userinfo(text) {
            Some("has a URL with a user or password in it".to_owned())
        } else {
            None
        }
    };
    if let Some(problem) = detail.keys().find_map(|name| wrong(name)) {
        return Some(problem);
    }
    while let Some((value, depth)) = left.pop() {
        if depth > DETAIL_DEPTH {
            return Some(format!("is nested deeper than {DETAIL_DEPTH} levels"));
        }
        let problem = match value {
            Value::String(text) => wrong(text),
            Value::Array(values) => {
                left.extend(values.iter().map(|value| (value, depth + 1)));
                None
            }
            Value::Object(values) => {
                left.extend(values.values().map(|value| (value, depth + 1)));
                values.keys().find_map(|name| wrong(name))
            }
            _ => None,
        };
        if problem.is_some() {
            return problem;
        }
    }
    let size = serde_json::to_string(detail).map_or(usize::MAX, |json| json.len());
    (size > LARGEST_DETAIL).then(|| format!("is larger than {LARGEST_DETAIL} bytes"))
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Recorded {
    /// Its id, or that of the earlier record that says the same.
    pub id: Uuid,
    /// Whether a row was written.
    pub written: bool,
}

/// Records a fact, as a part of the current transaction if there is one: what is rolled back was never recorded.
///
/// # Errors
///
/// [`Error::InvalidEvidence`] with all that is wrong with the record, before the database is asked;
/// [`Error::Refused`] for an instant that is still to come, or is given by a role that may record for an application alone; and those of the database, such as a missing privilege: see
/// [`may_record`].
pub fn record(conn: &mut PgConnection, record: &Record) -> Result<Recorded, Error> {
    let recorded = record_all(conn, std::slice::from_ref(record))?;
    Ok(recorded.into_iter().next().expect("the database answers for each record"))
}

/// Records facts as [`record`] does, in one statement for up to 500 of them; all or, after an error, none.
///
/// # Errors
///
/// As [`record`].
pub fn record_all(conn: &mut PgConnection, records: &[Record]) -> Result<Vec<Recorded>, Error> {
    let problems = records.iter().enumerate().flat_map(|(index, record)| {
        let which = if records.len() > 1 { format!("record {}: ", index + 1) } else { String::new() };
        record.problems().into_iter().map(move |problem| format!("{which}{problem}"))
    });
    match problems.collect::<Vec<_>>() {
        problems if problems.is_empty() => {}
        problems => return Err(InvalidEvidence::all(problems).into()),
    }
    // The better right is used where the role has it: what it records is then the operation's.
    let is_of_any = records.iter().all(|record| record.subject.is_of_the_application());
    let source = match is_of_any && !records.is_empty() && !is_so(conn, MAY_OPERATE)? {
        true => Source::Application,
        false => Source::Operation,
    };
    let insert = |conn: &mut PgConnection, batch: &[Record]| {
        let batch = Value::from(batch.iter().map(|record| record.to_json(source)).collect::<Vec<_>>());
        let answer: Result<Value, _> = match source {
            Source::Application => diesel::select(record_application_evidence(batch)).get_result(conn),
            Source::Operation => diesel::select(record_evidence(batch)).get_result(conn),
        };
        let answer = answer.map_err(|error| Error::from_query(conn, "", error))?;
        serde_json::from_value::<Vec<Recorded>>(answer).map_err(Error::Payload)
    };
    let count = |recorded: &Vec<Recorded>| {
        for (record, recorded) in records.iter().zip(recorded) {
            telemetry::EVIDENCE_RECORDS.add(u64::from(recorded.written), [record.subject.as_str()]);
        }
    };
    if records.len() <= BATCH {
        return if records.is_empty() { Ok(Vec::new()) } else { insert(conn, records).inspect(count) };
    }
    conn.transaction(|conn| {
        let batches: Result<Vec<_>, Error> = records.chunks(BATCH).map(|batch| insert(conn, batch)).collect();
        Ok(batches?.concat())
    })
    .inspect(count)
}

/// As [`record_all`], where the role may record the subject, which all of them share, and the transaction can write, as on a
/// replica none can; else there is no record and nothing fails.
pub(crate) fn record_if_allowed(
    conn: &mut PgConnection,
    subject: Subject,
    records: &[Record],
) -> Result<Vec<Recorded>, Error> {
    if records.is_empty() || !is_so(conn, &format!("{} AND {CAN_WRITE}", may(subject)))? {
        return Ok(Vec::new());
    }
    record_all(conn, records)
}

/// Whether the role that is logged in may record this subject. For operations that look at the trail with few rights and
/// leave the evidence to others.
///
/// # Errors
///
/// Those of the database.
pub fn may_record(conn: &mut PgConnection, subject: Subject) -> Result<bool, Error> {
    is_so(conn, &may(subject))
}

/// Whether the role may record this subject, as an SQL condition.
fn may(subject: Subject) -> String {
    if subject.is_of_the_application() {
        format!("({MAY_OPERATE} OR {MAY_APPLY})")
    } else {
        MAY_OPERATE.to_owned()
    }
}

/// Whether an SQL condition holds.
fn is_so(conn: &mut PgConnection, condition: &str) -> Result<bool, Error> {
    #[derive(QueryableByName)]
    struct Answer {
        #[diesel(sql_type = Bool)]
        is_so: bool,
    }
    let answer: Answer = diesel::sql_query(format!("SELECT {condition} AS is_so"))
        .get_result(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    Ok(answer.is_so)
}

/// What is wrong with a record, or with a question about evidence. No text of either is quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidEvidence {
    problems: Vec<String>,
}

impl InvalidEvidence {
    pub(super) fn one(problem: impl Into<String>) -> Self {
        Self { problems: vec![problem.into()] }
    }

    pub(super) fn all(problems: Vec<String>) -> Self {
        Self { problems }
    }

    /// Each problem, such as `reference: is empty`.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for InvalidEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid evidence: {}", self.problems.join("; "))
    }
}

impl std::error::Error for InvalidEvidence {}
