//! Evidence: what is on record about how the trail is governed, and what that supports.

use std::collections::BTreeSet;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use askama::Template;
use threadline::evidence::{
    Claim, ClaimAssessment, ClaimFinding, EvidenceRecord, Mode, ProofDocument, ProofRequest, Status,
};

use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::prose::Prose;
use crate::surface::query::Problem;
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

#[derive(Template)]
#[template(path = "surface/evidence.html")]
struct EvidencePage {
    shell: Shell,
    finding: &'static str,
    words: String,
    claims: Vec<ClaimView>,
    records: Vec<RecordView>,
    truncated: bool,
    document: String,
}

struct ClaimView {
    subject: String,
    finding: &'static str,
    words: String,
    detail: Prose,
}

struct RecordView {
    subject: String,
    reference: String,
    failed: bool,
    status: String,
    when: Moment,
    by: Option<String>,
    role: String,
    detail: String,
}

/// The proof, as a page; with `?document=json` as the document itself.
pub(in crate::surface) async fn evidence(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let document = query.take("document")?;
    let unknown = query.unknown(&["document"]);
    if !unknown.is_empty() {
        return Err(Failure::Invalid(unknown));
    }
    let as_document = match document.as_deref() {
        None => false,
        Some("json") => true,
        Some(_) => return Err(Problem::new("document", "is not json").into()),
    };
    let proof = visit
        .read(|conn, _| {
            ProofDocument::generate(conn, &ProofRequest::overview().mode(Mode::Latest).limit(100))
        })
        .await?;
    if as_document {
        return Ok(HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "application/json"))
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"threadline-evidence.json\""))
            .body(proof.to_json()));
    }
    let assessment = &proof.claim_assessment;
    visit.page(&EvidencePage {
        shell: visit.shell(),
        finding: class(assessment.finding),
        words: sentence(assessment),
        claims: assessment
            .claims
            .iter()
            .map(|claim| ClaimView {
                subject: capital(&claim.subject.to_string().replace('_', " ")),
                finding: class(claim.finding),
                words: verdict(claim),
                detail: detail(claim),
            })
            .collect(),
        records: proof.records.iter().map(|record| RecordView::new(visit, record)).collect(),
        truncated: proof.summary.truncated,
        document: visit.href(&Link::to("evidence").with("document", "json")),
    })
}

/// What a claim rests on, as the proof says it.
fn detail(claim: &Claim) -> Prose {
    let text = claim.to_string();
    match claim.because {
        Some(because) => Prose::sentence(because),
        None => Prose::sentence(text.split_once("; ").map_or("", |(_, detail)| detail)),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

fn class(finding: ClaimFinding) -> &'static str {
    match finding {
        ClaimFinding::Holds => "good",
        ClaimFinding::Violated => "bad",
        ClaimFinding::Unknown => "warning",
        ClaimFinding::NotApplicable => "quiet",
    }
}

/// Whether a subject has never been put on record, though it could have been.
fn is_unrecorded(claim: &Claim) -> bool {
    claim.records == 0 && claim.finding == ClaimFinding::Unknown
}

fn verdict(claim: &Claim) -> String {
    match is_unrecorded(claim) {
        true => "Never recorded as evidence".to_owned(),
        false => capital(&claim.finding.to_string().replace('_', " ")),
    }
}

/// All of it in a sentence.
fn sentence(assessment: &ClaimAssessment) -> String {
    // A subject has several claims where both the operation and an application stand behind records of it.
    let subjects = |is_it: &dyn Fn(&Claim) -> bool| {
        let claims = assessment.claims.iter().filter(|claim| is_it(claim));
        claims.map(|claim| claim.subject).collect::<BTreeSet<_>>().len()
    };
    let all = subjects(&|claim| claim.counts && claim.finding != ClaimFinding::NotApplicable);
    let bare = subjects(&|claim| claim.counts && is_unrecorded(claim));
    let missing = match bare {
        0 => String::new(),
        1 => format!(" 1 of {all} subjects has no evidence on record."),
        _ => format!(" {bare} of {all} subjects have no evidence on record."),
    };
    match assessment.finding {
        ClaimFinding::Holds => format!("By what is on record, all is as it should be.{missing}"),
        ClaimFinding::Violated => format!("By what is on record, something is not as it should be.{missing}"),
        ClaimFinding::Unknown if bare > 0 => missing.trim_start().to_owned(),
        ClaimFinding::Unknown => "What is on record leaves open whether all is as it should be.".to_owned(),
        ClaimFinding::NotApplicable => "There is nothing yet that could be on record.".to_owned(),
    }
}

impl RecordView {
    fn new(visit: &Visit, record: &EvidenceRecord) -> Self {
        Self {
            subject: record.subject.to_string().replace('_', " "),
            reference: shown(&record.reference.to_string()),
            failed: record.status != Status::Ok,
            status: record.status.to_string(),
            when: visit.moment(record.recorded_at),
            by: record.actor.as_ref().map(|actor| shown(&actor.to_string())),
            role: shown(&record.provenance.db_role),
            detail: shown(record.detail.as_str()),
        }
    }
}
