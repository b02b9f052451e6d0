//! Reading evidence: all of it, the newest of each reference, and how much there is.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use serde::Serialize;
use serde_json::json;

use super::proof::{Mode, StatusCounts, VerdictCounts};
use super::record::InvalidEvidence;
use super::reference::Reference;
use super::stored::{EvidenceRecord, Row};
use super::subject::{Source, Status, Subject, Verdict};
use crate::error::Error;
use crate::investigation::{Page, PageRequest, Place, Statement, in_one_snapshot};

/// Which records are asked for. Nothing set means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct EvidenceFilter {
    pub(super) subject: Option<Subject>,
    pub(super) reference: Option<Reference>,
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) to: Option<DateTime<Utc>>,
    source: Option<Source>,
    /// Leaves out what only names the table of the reference.
    exactly: bool,
}

impl EvidenceFilter {
    /// Everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records of this subject.
    pub fn subject(self, subject: Subject) -> Self {
        Self { subject: Some(subject), ..self }
    }

    /// Records about exactly this; of a table, those of its holds and recorded baselines too, which are about themselves and name
    /// it in their detail.
    pub fn reference(self, reference: Reference) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// What was established at this instant or later.
    pub fn from(self, from: DateTime<Utc>) -> Self {
        Self { from: Some(from), ..self }
    }

    /// What was established at this instant or earlier.
    pub fn to(self, to: DateTime<Utc>) -> Self {
        Self { to: Some(to), ..self }
    }

    /// Records that this source stands behind.
    pub fn source(self, source: Source) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Fails with everything that cannot be asked. Every read checks its filter.
    ///
    /// # Errors
    ///
    /// [`InvalidEvidence`] with each problem: a reference none can have, or `from` later than `to`.
    pub fn check(&self) -> Result<(), InvalidEvidence> {
        let mut problems = self.reference.as_ref().map(Reference::problems).unwrap_or_default();
        if self.from.zip(self.to).is_some_and(|(from, to)| from > to) {
            problems.push("from: is later than `to`".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(InvalidEvidence::all(problems)) }
    }

    /// Adds which of the records `e` are meant.
    fn write(&self, statement: &mut Statement, mode: Mode) {
        statement.sql(" WHERE true");
        if let Some(subject) = self.subject {
            statement.sql(" AND e.subject = ").bind(subject.as_str());
        }
        if let Some(reference) = &self.reference {
            statement.sql(" AND (e.reference = ").bind(reference.to_json()).sql("::jsonb");
            if let Some(table) = reference.only_table().filter(|_| !self.exactly) {
                let names_it = json!({ "tables": [table] }).to_string();
                statement.sql(" OR e.subject IN ('legal_hold', 'recorded_baseline') AND e.detail @> ");
                statement.bind(names_it).sql("::jsonb");
            }
            statement.sql(")");
        }
        if let Some(from) = self.from {
            statement.sql(" AND e.recorded_at >= ").bind(from);
        }
        if let Some(to) = self.to {
            statement.sql(" AND e.recorded_at <= ").bind(to);
        }
        if let Some(source) = self.source {
            statement.sql(" AND e.source = ").bind(source.as_str());
        }
        if mode == Mode::Latest {
            statement.sql(
                " AND NOT EXISTS (SELECT FROM threadline.evidence_records n WHERE n.subject = e.subject \
                 AND n.reference = e.reference AND n.source = e.source AND (e.source = 'operation' OR n.db_role = e.db_role) \
                 AND (n.recorded_at, n.id) > (e.recorded_at, e.id)",
            );
            if let Some(to) = self.to {
                statement.sql(" AND n.recorded_at <= ").bind(to);
            }
            statement.sql(")");
        }
    }
}

/// A page of the records, newest first unless asked otherwise.
///
/// # Errors
///
/// [`Error::InvalidEvidence`] for what cannot be asked, [`Error::InvalidPage`] for a cursor of another list or order, and
/// those of the database.
pub fn history(
    conn: &mut PgConnection,
    filter: &EvidenceFilter,
    request: &PageRequest,
) -> Result<Page<EvidenceRecord>, Error> {
    page(conn, filter, Mode::History, request)
}

/// A page of the newest record of each subject and reference; with `to`, of what was the newest then. `from` leaves out those
/// whose newest is older. What an [application](Source::Application) recorded stands beside what the operation did and never in
/// its place: the newest record of each of its roles is listed too.
///
/// # Errors
///
/// As [`history`].
pub fn latest(
    conn: &mut PgConnection,
    filter: &EvidenceFilter,
    request: &PageRequest,
) -> Result<Page<EvidenceRecord>, Error> {
    page(conn, filter, Mode::Latest, request)
}

/// The newest record about exactly this, of the [operation](Source::Operation) if it has one; else that of an application.
///
/// # Errors
///
/// As [`history`].
pub fn latest_of(
    conn: &mut PgConnection,
    subject: Subject,
    reference: &Reference,
) -> Result<Option<EvidenceRecord>, Error> {
    let one = PageRequest::new().size(1)?;
    for &source in Source::ALL {
        let filter = EvidenceFilter { exactly: true, ..EvidenceFilter::new() };
        let filter = filter.subject(subject).reference(reference.clone()).source(source);
        if let Some(newest) = history(conn, &filter, &one)?.entries.into_iter().next() {
            return Ok(Some(newest));
        }
    }
    Ok(None)
}

pub(super) fn page(
    conn: &mut PgConnection,
    filter: &EvidenceFilter,
    mode: Mode,
    request: &PageRequest,
) -> Result<Page<EvidenceRecord>, Error> {
    filter.check()?;
    let mut statement =
        Statement::new(&format!("SELECT {} FROM threadline.evidence_records e", Row::COLUMNS));
    filter.write(&mut statement, mode);
    if let Some((recorded_at, id)) = request.after_evidence()? {
        statement.sql(" AND (e.recorded_at, e.id) ").sql(request.direction().onwards()).sql(" (");
        statement.bind(recorded_at).sql(", ").bind(id).sql(")");
    }
    let direction = request.direction().sql();
    statement.sql(&format!(
        " ORDER BY e.recorded_at {direction}, e.id {direction} LIMIT {}",
        request.wanted() + 1
    ));
    let rows: Vec<Row> = statement.load_from(conn)?;
    let records = rows.into_iter().map(EvidenceRecord::from).collect();
    Ok(Page::cut(records, request, |record| Place::Evidence(record.recorded_at, record.id)))
}

/// Some records counted together.
#[derive(QueryableByName)]
pub(super) struct Counted {
    #[diesel(sql_type = Text)]
    pub(super) subject: Subject,
    #[diesel(sql_type = Text)]
    pub(super) source: Source,
    #[diesel(sql_type = Text)]
    pub(super) verdict: Verdict,
    #[diesel(sql_type = Text)]
    pub(super) status: Status,
    #[diesel(sql_type = BigInt)]
    records: i64,
    #[diesel(sql_type = BigInt)]
    of_newest: i64,
    #[diesel(sql_type = BigInt)]
    things: i64,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    newest: Option<DateTime<Utc>>,
}

impl Counted {
    pub(super) fn records(&self) -> u64 {
        self.records.unsigned_abs()
    }

    /// Those that are the newest of their reference and source.
    pub(super) fn newest(&self) -> u64 {
        self.of_newest.unsigned_abs()
    }

    /// Those that are the newest of their reference, so that each reference is counted once.
    pub(super) fn references(&self) -> u64 {
        self.things.unsigned_abs()
    }
}

/// Counts the records by subject, source, verdict and status.
pub(super) fn count(
    conn: &mut PgConnection,
    filter: &EvidenceFilter,
    mode: Mode,
) -> Result<Vec<Counted>, Error> {
    let mut statement = Statement::new(
        "SELECT c.subject, c.source, c.verdict, c.status, count(*) AS records, count(*) FILTER (WHERE c.place = 1) AS of_newest, \
         count(*) FILTER (WHERE c.place_of_all = 1) AS things, max(c.recorded_at) AS newest \
         FROM (SELECT e.subject, e.source, e.verdict, e.status, e.recorded_at, \
         row_number() OVER (PARTITION BY e.subject, e.reference, e.source, CASE WHEN e.source = 'application' THEN e.db_role END \
             ORDER BY e.recorded_at DESC, e.id DESC) AS place, \
         row_number() OVER (PARTITION BY e.subject, e.reference ORDER BY e.recorded_at DESC, e.id DESC) AS place_of_all \
         FROM threadline.evidence_records e",
    );
    // The newest of a reference are those in the first place, so nothing has to be looked up for that.
    filter.write(&mut statement, Mode::History);
    statement.sql(") c");
    if mode == Mode::Latest {
        statement.sql(" WHERE c.place = 1");
    }
    statement.sql(" GROUP BY c.subject, c.source, c.verdict, c.status ORDER BY c.subject, c.source, c.verdict, c.status");
    statement.load_from(conn)
}

/// How much evidence there is of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SubjectOverview {
    /// The subject.
    pub subject: Subject,
    /// Its records.
    pub records: u64,
    /// What they are about: different references.
    pub references: u64,
    /// The instant of the newest one.
    pub newest: Option<DateTime<Utc>>,
    /// What the newest ones of each reference, and of each role of an application, support.
    pub verdicts: VerdictCounts,
    /// How it went, in the same ones.
    pub statuses: StatusCounts,
}

/// How much evidence there is of each subject, also of those without any, in the order of [`Subject::ALL`].
///
/// # Errors
///
/// Those of the database.
pub fn overview(conn: &mut PgConnection) -> Result<Vec<SubjectOverview>, Error> {
    in_one_snapshot(conn, |conn| {
        let all = count(conn, &EvidenceFilter::new(), Mode::History)?;
        let of_subject = |subject: Subject| {
            let mut overview = SubjectOverview {
                subject,
                records: 0,
                references: 0,
                newest: None,
                verdicts: VerdictCounts::default(),
                statuses: StatusCounts::default(),
            };
            for counted in all.iter().filter(|counted| counted.subject == subject) {
                overview.records += counted.records();
                overview.references += counted.references();
                overview.newest = overview.newest.max(counted.newest);
                overview.verdicts.add(counted.verdict, counted.newest());
                overview.statuses.add(counted.status, counted.newest());
            }
            overview
        };
        Ok(Subject::ALL.iter().copied().map(of_subject).collect())
    })
}
