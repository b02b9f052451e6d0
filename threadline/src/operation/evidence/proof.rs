//! The proof document: what was recorded, what that supports, and the records themselves.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use serde::{Serialize, Serializer};

use super::applies::Applies;
use super::assess::ClaimAssessment;
use super::read::{EvidenceFilter, count, page};
use super::reference::Reference;
use super::stored::EvidenceRecord;
use super::subject::{Status, Subject, Verdict};
use crate::error::Error;
use crate::investigation::{PageRequest, in_one_snapshot};

/// Which of the records count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The newest of each reference.
    #[default]
    Latest,
    /// All.
    History,
}

/// What a proof is asked for: of one subject or of all, the newest records of each reference unless all are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ProofRequest {
    filter: EvidenceFilter,
    mode: Mode,
    limit: u32,
}

impl Default for ProofRequest {
    fn default() -> Self {
        Self { filter: EvidenceFilter::new(), mode: Mode::Latest, limit: PageRequest::MAX_SIZE }
    }
}

impl ProofRequest {
    /// Of all subjects.
    pub fn overview() -> Self {
        Self::default()
    }

    /// Of one subject.
    pub fn subject(subject: Subject) -> Self {
        Self { filter: EvidenceFilter::new().subject(subject), ..Self::default() }
    }

    /// Of the records a filter asks for.
    pub fn filtered(filter: EvidenceFilter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Which of the records count.
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// How many records the document shows at most, 1 to 1000; it always counts and assesses all. 1000 by default.
    pub fn limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }
}

/// What the records of a time support, with the records: for auditors, as JSON or as text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProofDocument {
    /// Version of the document's form.
    pub format_version: u32,
    /// When it was made, by the database's clock.
    pub generated_at: DateTime<Utc>,
    /// What kind of document it is: `threadline_evidence`.
    pub proof_type: &'static str,
    /// The subject; `None`, `overview` in JSON, for all.
    #[serde(serialize_with = "subject_or_overview")]
    pub subject: Option<Subject>,
    /// Which of the records count.
    pub mode: Mode,
    /// What was asked for.
    pub filters: ProofFilters,
    /// How many records count, and of what kind.
    pub summary: ProofSummary,
    /// Whether by them all is as it should be, and how well that is shown.
    pub claim_assessment: ClaimAssessment,
    /// The newest of them, newest first, as many as were asked for.
    pub records: Vec<EvidenceRecord>,
}

fn subject_or_overview<S: Serializer>(subject: &Option<Subject>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(subject.map_or("overview", Subject::as_str))
}

/// What a proof was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProofFilters {
    /// What exactly the records are about.
    pub reference: Option<Reference>,
    /// The first instant, inclusive.
    pub from: Option<DateTime<Utc>>,
    /// The last instant, inclusive.
    pub to: Option<DateTime<Utc>>,
    /// The most records it shows.
    pub limit: u32,
}

/// How many records a proof is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProofSummary {
    /// Records that count.
    pub records: u64,
    /// Different things they are about.
    pub references: u64,
    /// Whether there are more of them than the document shows. Exact.
    pub truncated: bool,
    /// What each of them supports.
    pub verdicts: VerdictCounts,
    /// How it went. A failure that is recorded is proven, so this is apart from the verdicts.
    pub statuses: StatusCounts,
}

/// Records by what they support.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerdictCounts {
    /// Of facts.
    pub proven: u64,
    /// Of postures.
    pub inferred: u64,
    /// Of what cannot be shown.
    pub unsupported: u64,
}

impl VerdictCounts {
    pub(super) fn add(&mut self, verdict: Verdict, number: u64) {
        *match verdict {
            Verdict::Proven => &mut self.proven,
            Verdict::Inferred => &mut self.inferred,
            Verdict::Unsupported => &mut self.unsupported,
        } += number;
    }
}

/// Records by how it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatusCounts {
    /// As it should.
    pub ok: u64,
    /// Not as it should be.
    pub finding: u64,
    /// Failed.
    pub error: u64,
}

impl StatusCounts {
    pub(super) fn add(&mut self, status: Status, number: u64) {
        *match status {
            Status::Ok => &mut self.ok,
            Status::Finding => &mut self.finding,
            Status::Error => &mut self.error,
        } += number;
    }
}

impl ProofDocument {
    /// The document of what is recorded now. What it counts, assesses and shows is of one snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidEvidence`] for what cannot be asked, [`Error::InvalidPage`] for a limit that is not 1 to 1000, and those
    /// of the database.
    pub fn generate(conn: &mut PgConnection, request: &ProofRequest) -> Result<Self, Error> {
        let first = PageRequest::new().size(request.limit)?;
        request.filter.check()?;
        in_one_snapshot(conn, |conn| {
            let counts = count(conn, &request.filter, request.mode)?;
            let page = page(conn, &request.filter, request.mode, &first)?;
            let mut summary = ProofSummary {
                records: 0,
                references: 0,
                truncated: page.has_more,
                verdicts: VerdictCounts::default(),
                statuses: StatusCounts::default(),
            };
            for counted in &counts {
                summary.records += counted.records();
                summary.references += counted.references();
                summary.verdicts.add(counted.verdict, counted.records());
                summary.statuses.add(counted.status, counted.records());
            }
            let EvidenceFilter { subject, reference, from, to, .. } = request.filter.clone();
            let applies = Applies::load(conn)?;
            Ok(Self {
                format_version: 1,
                generated_at: now(conn)?,
                proof_type: "threadline_evidence",
                subject,
                mode: request.mode,
                filters: ProofFilters { reference, from, to, limit: request.limit },
                summary,
                claim_assessment: ClaimAssessment::of(&request.filter, &counts, &applies),
                records: page.entries,
            })
        })
    }

    /// The document as JSON, indented.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self)
            .expect("the document is JSON: its keys are texts and its numbers are finite")
    }
}

fn now(conn: &mut PgConnection) -> Result<DateTime<Utc>, Error> {
    diesel::select(diesel::dsl::sql::<Timestamptz>("clock_timestamp()"))
        .get_result(conn)
        .map_err(|error| Error::from_query(conn, "", error))
}
