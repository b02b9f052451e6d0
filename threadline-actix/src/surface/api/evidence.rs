//! What is on record about how the trail is governed, and what that supports.

use actix_web::HttpResponse;
use serde::Serialize;
use threadline::evidence::{
    self, EvidenceFilter, Mode, ProofDocument, ProofRequest, Reference, Subject, SubjectOverview,
};
use threadline::{Order, PageRequest};

use super::asked::Asked;
use super::document::{document, whole};
use super::endpoint::Endpoint;
use super::parameter::{Kind, PAGE, PAIR, Parameter};
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::visit::Visit;

/// Which records.
const RECORDED: [Parameter; 5] = [
    Parameter::once("subject", Kind::OneOf { names: &SUBJECTS, usual: None }, "What the records are about"),
    Parameter::repeated(
        "reference",
        PAIR,
        "What exactly they are about, as `table=public.posts`; several names make one reference",
    ),
    Parameter::once(
        "mode",
        Kind::OneOf { names: &MODES, usual: Some("latest") },
        "The newest record of each thing, or all of them",
    ),
    Parameter::once("from", Kind::Instant, "What was established at this instant or later"),
    Parameter::once("to", Kind::Instant, "What was established at this instant or earlier"),
];

const MODES: [&str; 2] = ["latest", "history"];

const SUBJECTS: [&str; Subject::ALL.len()] = {
    let mut names = [""; Subject::ALL.len()];
    let mut place = 0;
    while place < names.len() {
        names[place] = Subject::ALL[place].as_str();
        place += 1;
    }
    names
};

pub(super) const RECORDS: Endpoint = Endpoint {
    name: "evidence",
    path: "/evidence",
    screen: Screen::Evidence,
    summary: "What is on record about how the trail is governed",
    description: "The newest record of each thing, or with `mode=history` all.",
    parameters: &[&RECORDED, &PAGE],
    schema: "evidence",
    handler: |visit, asked| Box::pin(records(visit, asked)),
};

pub(super) const OVERVIEW: Endpoint = Endpoint {
    name: "evidence_overview",
    path: "/evidence/overview",
    screen: Screen::Evidence,
    summary: "How much is on record of each subject",
    description: "Counted by what it supports and how it ended.",
    parameters: &[],
    schema: "evidence_overview",
    handler: |visit, asked| Box::pin(overview(visit, asked)),
};

pub(super) const PROOF: Endpoint = Endpoint {
    name: "evidence_proof",
    path: "/evidence/proof",
    screen: Screen::Evidence,
    summary: "The document for an auditor",
    description: "Whether all is as it should be by what was recorded, and apart from that how well it is shown, with up to \
        `limit` records; everything is counted.",
    parameters: &[
        &RECORDED,
        &[Parameter::once(
            "limit",
            Kind::Number { most: PageRequest::MAX_SIZE, usual: PageRequest::MAX_SIZE },
            "At most so many records",
        )],
    ],
    schema: "evidence_proof",
    handler: |visit, asked| Box::pin(proof(visit, asked)),
};

/// Takes which records are asked for.
fn recorded(asked: &mut Asked) -> (EvidenceFilter, Mode) {
    let mut filter = EvidenceFilter::new();
    if let Some(subject) = asked.one_of("subject", &SUBJECTS, Subject::ALL) {
        filter = filter.subject(subject);
    }
    let mut reference: Option<Reference> = None;
    for part in asked.texts("reference") {
        let Some((name, text)) = part.split_once('=') else {
            asked.wrong("reference", "is not of the form name=text");
            continue;
        };
        reference = Some(match reference {
            None => Reference::new(name, text),
            Some(reference) if reference.get(name).is_some() => {
                asked.wrong("reference", "has a name twice");
                reference
            }
            Some(reference) => reference.and(name, text),
        });
    }
    filter = reference.into_iter().fold(filter, EvidenceFilter::reference);
    filter = asked.instant("from").into_iter().fold(filter, EvidenceFilter::from);
    filter = asked.instant("to").into_iter().fold(filter, EvidenceFilter::to);
    let mode = asked.one_of("mode", &MODES, &[Mode::Latest, Mode::History]).unwrap_or_default();
    (filter, mode)
}

async fn records(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let ((filter, mode), request) = (recorded(&mut asked), asked.page(Order::NewestFirst));
    asked.end()?;
    let page = visit
        .read(move |conn, _| match mode {
            Mode::History => evidence::history(conn, &filter, &request),
            Mode::Latest => evidence::latest(conn, &filter, &request),
        })
        .await?;
    document(&page)
}

async fn overview(visit: &Visit, asked: Asked) -> Result<HttpResponse, Failure> {
    #[derive(Serialize)]
    struct Overview {
        subjects: Vec<SubjectOverview>,
    }
    asked.end()?;
    let subjects = visit.read(|conn, _| evidence::overview(conn)).await?;
    document(&Overview { subjects })
}

async fn proof(visit: &Visit, mut asked: Asked) -> Result<HttpResponse, Failure> {
    let (filter, mode) = recorded(&mut asked);
    let limit = asked.number("limit", PageRequest::MAX_SIZE).unwrap_or(PageRequest::MAX_SIZE);
    asked.end()?;
    let request = ProofRequest::filtered(filter).mode(mode).limit(limit);
    let proof = visit.read(move |conn, _| ProofDocument::generate(conn, &request)).await?;
    whole(&proof)
}
