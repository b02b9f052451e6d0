//! What records support: the worst of what each of them does.

use serde::Serialize;

use super::subject::{Subject, Verdict};

/// Why a verdict is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimReason {
    /// The records state what happened, or what was found in the catalog.
    DirectFact,
    /// The records state how something was set when it was looked at.
    PostureSnapshot,
    /// The writer said that the records support less than others of their subject.
    Declared,
    /// There are none.
    NoRecords,
}

/// What some records of a subject support, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The subject.
    pub subject: Subject,
    /// What they support.
    pub verdict: Verdict,
    /// Why.
    pub reason: ClaimReason,
    /// How many there are.
    pub records: u64,
    /// Whether the verdict counts for the whole: not when it is an overview and nothing of the kind need ever have happened.
    pub counts: bool,
}

/// What all records that were asked for support together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimAssessment {
    /// The worst verdict of the claims that count.
    pub verdict: Verdict,
    /// The claims it is made of, by subject and from best to worst.
    pub claims: Vec<Claim>,
}

impl ClaimAssessment {
    /// The assessment of so many records of each subject and verdict. Asked about one subject, its absence is unsupported;
    /// asked about all, so is that of everything that can always be looked at, whereas events need not have happened.
    pub(super) fn of(asked: Option<Subject>, records: &[(Subject, Verdict, u64)]) -> Self {
        let subjects = asked.as_ref().map_or(Subject::ALL, std::slice::from_ref);
        let mut claims = Vec::new();
        for &subject in subjects {
            let before = claims.len();
            for &verdict in Verdict::ALL {
                let number = records
                    .iter()
                    .filter(|(of, is, _)| (*of, *is) == (subject, verdict))
                    .map(|(.., number)| number)
                    .sum();
                if number > 0 {
                    let reason = match verdict {
                        verdict if verdict != subject.verdict() => ClaimReason::Declared,
                        Verdict::Inferred => ClaimReason::PostureSnapshot,
                        _ => ClaimReason::DirectFact,
                    };
                    claims.push(Claim { subject, verdict, reason, records: number, counts: true });
                }
            }
            if claims.len() == before {
                let counts = asked.is_some() || !subject.is_event();
                claims.push(Claim {
                    subject,
                    verdict: Verdict::Unsupported,
                    reason: ClaimReason::NoRecords,
                    records: 0,
                    counts,
                });
            }
        }
        let worst = claims.iter().filter(|claim| claim.counts).map(|claim| claim.verdict).max();
        Self { verdict: worst.unwrap_or(Verdict::Unsupported), claims }
    }
}
