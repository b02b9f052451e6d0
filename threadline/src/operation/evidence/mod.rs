//! Evidence: facts about how the trail is governed, each written once and never changed, and the proof made of them.
//!
//! Whatever governs the trail records what it found or did with one call, [`record`]: a row in
//! `threadline.evidence_records`, which no role but retention's own function can change or remove. Whoever has to show it
//! reads it with [`history`], [`latest`] and [`overview`], or asks for a [`ProofDocument`]. That answers two questions apart: how
//! well the facts are shown, which is proven, inferred, or unsupported; and whether by them all is as it should be. That a table
//! is not captured can be proven as well as that one is.
//!
//! ```no_run
//! use diesel::prelude::*;
//! use threadline::Actor;
//! use threadline::evidence::{self, ProofDocument, ProofRequest, Record, Reference, Subject};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let conn = &mut PgConnection::establish("postgres://localhost/blog")?;
//! let delivered = Record::new(Subject::ExportDelivery, Reference::new("job", "7"), "reports", "POST /exports")
//!     .actor(Actor::user(42))
//!     .detail("rows", 1200);
//! evidence::record(conn, &delivered)?;
//! println!("{}", ProofDocument::generate(conn, &ProofRequest::subject(Subject::ExportDelivery))?);
//! # Ok(())
//! # }
//! ```
//!
//! What is checked again and again, such as a policy, is not written each time. A record of a [posture](Subject::is_posture)
//! is left out when the newest one of its reference says the same and is younger than a day; so a difference is written at
//! once, and what stays the same is confirmed once a day by a record of its own. No row is ever touched to say "still so".
//!
//! Retention, legal holds and exports record themselves what they do, in the transaction that does it: a hold or a completed
//! export is there with its record or not at all. What only looks writes nothing by itself, and has a call that records what it
//! saw: [`policy::record_evidence`](crate::policy::record_evidence),
//! [`health::record_evidence`](crate::health::record_evidence), [`verify::record_evidence`](crate::verify::record_evidence),
//! [`exports::record_delivery`](crate::exports::record_delivery), [`Trail::record_posture`](crate::Trail::record_posture).
//! All of these ask [`may_record`] first: a role without the right does its work, and leaves no record.
//!
//! Reading takes SELECT on `threadline.evidence_records`. Any role may record export deliveries and support scopes, for these
//! are what an application does with the trail; all else takes EXECUTE on `threadline.record_evidence(jsonb)`. Each record has
//! the role that logged in, which a client cannot fake, and its [`Source`]: what a role records that lacks that right is its own
//! word, inferred at best and of now, and stands beside the records of the operation, never in their place.

mod applies;
mod assess;
mod close;
mod proof;
mod read;
mod record;
mod reference;
mod show;
mod stored;
mod subject;

pub use self::assess::{Claim, ClaimAssessment, ClaimFinding, ClaimReason};
pub(crate) use self::close::{Closing, NO_TABLE, closings};
pub use self::proof::{
    Mode, ProofDocument, ProofFilters, ProofRequest, ProofSummary, StatusCounts, VerdictCounts,
};
pub use self::read::{EvidenceFilter, SubjectOverview, history, latest, latest_of, overview};
pub(crate) use self::record::record_if_allowed;
pub use self::record::{InvalidEvidence, Record, Recorded, may_record, record, record_all};
pub use self::reference::Reference;
pub use self::stored::{EvidenceRecord, Provenance};
pub use self::subject::{Source, Status, Subject, Verdict};
