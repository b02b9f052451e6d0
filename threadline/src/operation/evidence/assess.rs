//! What records support, and whether what they are about is as it should be: two questions, and the answer to one is not that
//! to the other. That a table was found not to be captured can be proven well.

use std::fmt;

use serde::Serialize;

use super::applies::Applies;
use super::read::{Counted, EvidenceFilter};
use super::subject::{Source, Status, Subject, Verdict};

/// Why the evidence is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimReason {
    /// The records state what happened, or what was found in the catalog.
    DirectFact,
    /// The records state how something was set when it was looked at.
    PostureSnapshot,
    /// The writer said that the records support less than others of their subject.
    Declared,
    /// Any role could have recorded it.
    WordOfTheApplication,
    /// There are none.
    NoRecords,
    /// There are none, and there is nothing they could be about.
    NotApplicable,
}

/// Whether what was recorded is as it should be. Ordered: the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimFinding {
    /// There is nothing it could be about.
    NotApplicable,
    /// The newest record about each thing says that it is as it should be.
    Holds,
    /// The records do not tell, or there are none.
    Unknown,
    /// The newest record about something says that it is not as it should be, or that it failed.
    Violated,
}

impl fmt::Display for ClaimFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotApplicable => "not applicable",
            Self::Holds => "holds",
            Self::Unknown => "unknown",
            Self::Violated => "violated",
        })
    }
}

/// What some records of a subject support, and what they say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Claim {
    /// The subject.
    pub subject: Subject,
    /// Who stands behind the records; `None` where there are none.
    pub source: Option<Source>,
    /// Whether it is as it should be.
    pub finding: ClaimFinding,
    /// How well that is shown.
    pub evidence: Verdict,
    /// Why it is shown so well and no better.
    pub reason: ClaimReason,
    /// Why there is nothing it could be about; `None` unless that is so.
    pub because: Option<&'static str>,
    /// How many records there are.
    pub records: u64,
    /// How many things are not as they should be by the newest record about them.
    pub violations: u64,
    /// Whether it counts for the whole. Not when there is nothing it could be about; nor when it is the word of an application
    /// and the operation has records of the subject: nobody takes from a proof by adding to it.
    pub counts: bool,
}

/// What all records that were asked for support together, and what they say: of each the worst of the claims that count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClaimAssessment {
    /// Whether all is as it should be.
    pub finding: ClaimFinding,
    /// The subjects because of which it is no better; empty when all holds.
    pub finding_by: Vec<Subject>,
    /// How well that is shown.
    pub evidence: Verdict,
    /// The subjects because of which it is shown no better; empty when all is proven.
    pub evidence_by: Vec<Subject>,
    /// The claims it is made of, by subject, source and from best to worst.
    pub claims: Vec<Claim>,
}

impl ClaimAssessment {
    /// The assessment of counted records. Asked about one subject, its absence is unsupported; asked about all, so is that of
    /// everything that can always be looked at, and of what is known to have happened.
    pub(super) fn of(filter: &EvidenceFilter, counted: &[Counted], applies: &Applies) -> Self {
        let subjects = filter.subject.as_ref().map_or(Subject::ALL, std::slice::from_ref);
        let mut claims = Vec::new();
        for &subject in subjects {
            let before = claims.len();
            for &source in Source::ALL {
                let has_better = claims.len() > before;
                for &verdict in Verdict::ALL {
                    let of_it = counted
                        .iter()
                        .filter(|of| (of.subject, of.source, of.verdict) == (subject, source, verdict));
                    claims.extend(recorded(subject, source, verdict, of_it, !has_better));
                }
            }
            if claims.len() == before {
                claims.push(missing(subject, filter, applies));
            }
        }
        let counting = || claims.iter().filter(|claim| claim.counts);
        let finding = counting().map(|claim| claim.finding).max().unwrap_or(ClaimFinding::Unknown);
        let evidence = counting().map(|claim| claim.evidence).max().unwrap_or(Verdict::Unsupported);
        let subjects = |is_it: &dyn Fn(&Claim) -> bool| {
            let mut subjects: Vec<Subject> =
                counting().filter(|claim| is_it(claim)).map(|claim| claim.subject).collect();
            subjects.dedup();
            subjects
        };
        let finding_by = subjects(&|claim| finding > ClaimFinding::Holds && claim.finding == finding);
        let evidence_by = subjects(&|claim| evidence > Verdict::Proven && claim.evidence == evidence);
        Self { finding, finding_by, evidence, evidence_by, claims }
    }
}

/// The claim of records that share subject, source and verdict, if there are any.
fn recorded<'a>(
    subject: Subject,
    source: Source,
    evidence: Verdict,
    counted: impl Iterator<Item = &'a Counted>,
    counts: bool,
) -> Option<Claim> {
    let (mut records, mut newest, mut violations) = (0, 0, 0);
    for of_status in counted {
        records += of_status.records();
        newest += of_status.newest();
        if of_status.status != Status::Ok {
            violations += of_status.newest();
        }
    }
    let finding = match evidence {
        _ if violations > 0 => ClaimFinding::Violated,
        // Also where newer records, of another verdict, have taken the place of all of these.
        Verdict::Unsupported if newest > 0 => ClaimFinding::Unknown,
        _ => ClaimFinding::Holds,
    };
    let reason = match evidence {
        Verdict::Unsupported => ClaimReason::Declared,
        _ if source == Source::Application => ClaimReason::WordOfTheApplication,
        _ if evidence != subject.verdict() => ClaimReason::Declared,
        Verdict::Inferred => ClaimReason::PostureSnapshot,
        Verdict::Proven => ClaimReason::DirectFact,
    };
    let source = Some(source);
    let claim =
        Claim { subject, source, finding, evidence, reason, because: None, records, violations, counts };
    (records > 0).then_some(claim)
}

/// The claim of a subject that has no records.
fn missing(subject: Subject, filter: &EvidenceFilter, applies: &Applies) -> Claim {
    let because = applies.why_not(subject);
    let is_asked = filter.subject.is_some();
    let about_other = filter.reference.as_ref().is_some_and(|reference| {
        !(reference.get("table").is_some()
            && matches!(subject, Subject::TriggerCoverage | Subject::RedactionPolicy))
    });
    let happened = applies.is_known(subject) && filter.from.is_none() && filter.to.is_none();
    let counts = is_asked || (because.is_none() && !about_other && (!subject.is_event() || happened));
    let (finding, reason) = match because {
        Some(_) => (ClaimFinding::NotApplicable, ClaimReason::NotApplicable),
        None => (ClaimFinding::Unknown, ClaimReason::NoRecords),
    };
    let evidence = Verdict::Unsupported;
    Claim { subject, source: None, finding, evidence, reason, because, records: 0, violations: 0, counts }
}
