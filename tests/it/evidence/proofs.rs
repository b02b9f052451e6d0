//! What a proof says of each claim, from the records there are.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::PgConnection;
use insta::assert_snapshot;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use threadline::evidence::{
    self, Claim, ClaimAssessment, ClaimFinding, EvidenceFilter, EvidenceRecord, Mode, ProofDocument,
    ProofRequest, Record, Reference, Source, Status, Subject, Verdict,
};
use threadline::policy::Declared;
use threadline::verify::{self, Expected};
use threadline::{Actor, ActorId, AuditSpec, Error, Order, Page, PageRequest, TableName};
use threadline_tests::{TestRole, audited_database, clock, pooled_behind, run, table};
use uuid::Uuid;

use super::{all, delivery, policy, run_of_retention};

#[derive(Clone, Debug)]
struct Known {
    at: DateTime<Utc>,
    id: Uuid,
    subject: Subject,
    reference: Reference,
    verdict: Verdict,
    status: Status,
}

/// Subject, reference, instant, verdict, status: few of each, so that they meet.
type Drawn = (usize, usize, i64, usize, usize);

fn pages(
    conn: &mut PgConnection,
    size: u32,
    order: Order,
    read: impl Fn(&mut PgConnection, &PageRequest) -> Result<Page<EvidenceRecord>, Error>,
) -> Vec<Uuid> {
    let mut ids = Vec::new();
    let mut request = PageRequest::new().size(size).unwrap().order(order);
    loop {
        let page = read(conn, &request).unwrap();
        assert!(page.entries.len() <= size as usize && ids.len() <= 1_000, "the pages do not end");
        assert_eq!(page.has_more, page.cursor.is_some());
        ids.extend(page.entries.iter().map(|record| record.id));
        match page.cursor {
            Some(cursor) => request = PageRequest::new().size(size).unwrap().order(order).after(cursor),
            None => return ids,
        }
    }
}

#[test]
fn pages_make_up_the_whole_and_the_proof_is_the_worst_of_what_is_in_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    let base = clock(conn) - TimeDelta::days(1);
    let at = |tick: i64| base + TimeDelta::seconds(tick);
    let drawn = prop::collection::vec((0..7_usize, 0..3_usize, 0..6_i64, 0..3_usize, 0..3_usize), 0..30);
    let asked = (
        prop::option::of(0..7_usize),
        prop::option::of(0..3_usize),
        prop::option::of(0..6_i64),
        prop::option::of(0..6_i64),
        1..6_u32,
        any::<bool>(),
        any::<bool>(),
    );
    let config = Config { cases: 150, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let conn = std::cell::RefCell::new(conn);
    TestRunner::new(config)
        .run(
            &(drawn, asked),
            |(drawn, (subject, reference, from, to, size, newest_first, only_latest)): (Vec<Drawn>, _)| {
                let conn = &mut **conn.borrow_mut();
                run(conn, "SELECT threadline.expire_evidence(now(), 100000)");
                let references = ["a", "b", "c"].map(|name| Reference::new("thing", name));
                let records: Vec<Record> = drawn
                    .iter()
                    .map(|&(subject, reference, tick, verdict, status)| {
                        Record::new(Subject::ALL[subject], references[reference].clone(), "test", "property")
                            .at_most(Verdict::ALL[verdict])
                            .status(Status::ALL[status])
                            .recorded_at(at(tick))
                            .unless_unchanged_for(Duration::ZERO)
                    })
                    .collect();
                let recorded = evidence::record_all(conn, &records).unwrap();
                let known: Vec<Known> = drawn
                    .iter()
                    .zip(&recorded)
                    .map(|(&(subject, reference, tick, verdict, status), recorded)| Known {
                        at: at(tick),
                        id: recorded.id,
                        subject: Subject::ALL[subject],
                        reference: references[reference].clone(),
                        verdict: Verdict::ALL[verdict].max(Subject::ALL[subject].verdict()),
                        status: Status::ALL[status],
                    })
                    .collect();
                let (from, to) = match (from, to) {
                    (Some(from), Some(to)) => (Some(from.min(to)), Some(from.max(to))),
                    other => other,
                };
                let mut filter = EvidenceFilter::new();
                if let Some(subject) = subject {
                    filter = filter.subject(Subject::ALL[subject]);
                }
                if let Some(reference) = reference {
                    filter = filter.reference(references[reference].clone());
                }
                filter = from.map_or(filter.clone(), |from| filter.clone().from(at(from)));
                filter = to.map_or(filter.clone(), |to| filter.clone().to(at(to)));

                // The model: everything asked for, and of that the last one of each subject and reference up to `to`.
                let mut expected: Vec<&Known> = known
                    .iter()
                    .filter(|known| subject.is_none_or(|subject| known.subject == Subject::ALL[subject]))
                    .filter(|known| {
                        reference.is_none_or(|reference| known.reference == references[reference])
                    })
                    .filter(|known| to.is_none_or(|to| known.at <= at(to)))
                    .collect();
                expected.sort_by_key(|known| (known.at, known.id));
                if only_latest {
                    let newest: BTreeMap<_, _> = expected
                        .iter()
                        .map(|known| ((known.subject, known.reference.clone()), known.id))
                        .collect();
                    let newest: BTreeSet<_> = newest.into_values().collect();
                    expected.retain(|known| newest.contains(&known.id));
                }
                expected.retain(|known| from.is_none_or(|from| known.at >= at(from)));
                let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
                let read = pages(conn, size, order, |conn, request| {
                    if only_latest {
                        evidence::latest(conn, &filter, request)
                    } else {
                        evidence::history(conn, &filter, request)
                    }
                });
                let mut ids: Vec<Uuid> = expected.iter().map(|known| known.id).collect();
                if newest_first {
                    ids.reverse();
                }
                prop_assert_eq!(&read, &ids);

                let mode = if only_latest { Mode::Latest } else { Mode::History };
                let proof =
                    ProofDocument::generate(conn, &ProofRequest::filtered(filter).mode(mode).limit(size))
                        .unwrap();
                let number = |count: usize| u64::try_from(count).unwrap();
                prop_assert_eq!(proof.summary.records, number(expected.len()));
                prop_assert_eq!(proof.summary.truncated, expected.len() > size as usize);
                prop_assert_eq!(proof.records.len(), expected.len().min(size as usize));
                let things: BTreeSet<_> =
                    expected.iter().map(|known| (known.subject, &known.reference)).collect();
                prop_assert_eq!(proof.summary.references, number(things.len()));
                let of = |verdict| number(expected.iter().filter(|known| known.verdict == verdict).count());
                let verdicts = proof.summary.verdicts;
                prop_assert_eq!(
                    [verdicts.proven, verdicts.inferred, verdicts.unsupported],
                    [of(Verdict::Proven), of(Verdict::Inferred), of(Verdict::Unsupported)]
                );
                let errors = number(expected.iter().filter(|known| known.status == Status::Error).count());
                prop_assert_eq!(proof.summary.statuses.error, errors);
                // Worst wins. What is absent cannot be shown, unless there is nothing of the kind here; and what is about another
                // thing than a table need not tell of the tables.
                let asked: Vec<Subject> =
                    subject.map_or(Subject::ALL.to_vec(), |subject| vec![Subject::ALL[subject]]);
                let is_of_tables =
                    |subject: Subject| matches!(subject, Subject::RedactionPolicy | Subject::TriggerCoverage);
                let absent: Vec<Subject> = asked
                    .into_iter()
                    .filter(|asked| !expected.iter().any(|known| known.subject == *asked))
                    .filter(|asked| subject.is_some() || (is_of_tables(*asked) && reference.is_none()))
                    .collect();
                let worst = expected.iter().map(|known| known.verdict).max();
                let evidence = match worst {
                    Some(worst) if absent.is_empty() => worst,
                    _ => Verdict::Unsupported,
                };
                let assessment = &proof.claim_assessment;
                prop_assert_eq!(assessment.evidence, evidence);
                let newest: BTreeMap<_, _> = expected
                    .iter()
                    .map(|known| ((known.subject, &known.reference), (known.status, known.verdict)))
                    .collect();
                let finding = if newest.values().any(|(status, _)| *status != Status::Ok) {
                    ClaimFinding::Violated
                } else if absent.iter().any(|absent| is_of_tables(*absent))
                    || newest.values().any(|(_, verdict)| *verdict == Verdict::Unsupported)
                {
                    ClaimFinding::Unknown
                } else if !expected.is_empty() {
                    ClaimFinding::Holds
                } else if subject.is_some() {
                    ClaimFinding::NotApplicable
                } else {
                    ClaimFinding::Unknown
                };
                prop_assert_eq!(assessment.finding, finding);
                prop_assert_eq!(
                    assessment.finding_by.is_empty(),
                    finding <= ClaimFinding::Holds || newest.is_empty() && absent.is_empty()
                );
                prop_assert_eq!(
                    assessment.evidence_by.is_empty(),
                    evidence == Verdict::Proven || newest.is_empty() && absent.is_empty()
                );
                for posture in expected.iter().filter(|known| known.subject.is_posture()) {
                    prop_assert!(posture.verdict > Verdict::Proven);
                }
                let overview = evidence::overview(conn).unwrap();
                prop_assert_eq!(
                    overview.iter().map(|subject| subject.records).sum::<u64>(),
                    number(known.len())
                );
                Ok::<(), TestCaseError>(())
            },
        )
        .unwrap();
}

#[test]
fn a_proof_document_reads_for_machines_and_for_people() {
    let db = audited_database();
    let conn = &mut db.connect();
    let at = |day: u32| format!("2026-03-{day:02}T09:30:00Z").parse::<DateTime<Utc>>().unwrap();
    let failed = run_of_retention(2).status(Status::Error).detail("error_kind", "lock_timeout");
    evidence::record_all(
        conn,
        &[
            run_of_retention(1).recorded_at(at(1)),
            failed.recorded_at(at(2)).actor(Actor::job(ActorId::from_static("retention"))),
            policy(&["email"]).recorded_at(at(3)),
        ],
    )
    .unwrap();
    let request =
        ProofRequest::filtered(EvidenceFilter::new().subject(Subject::RetentionRun).from(at(1)).to(at(2)));
    let document = ProofDocument::generate(conn, &request).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&document.to_json()).unwrap();
    let still = |text: &str| {
        let mut text = text.replace(&document.generated_at.format("%Y-%m-%dT%H:%M:%SZ").to_string(), "(now)");
        for record in &document.records {
            text = text.replace(&record.id.to_string(), "(id)");
        }
        text
    };
    json["generated_at"] = "(now)".into();
    for record in json["records"].as_array_mut().unwrap() {
        record["written_at"] = "(now)".into();
    }
    assert_snapshot!(still(&serde_json::to_string_pretty(&json).unwrap()), @r##"
    {
      "claim_assessment": {
        "claims": [
          {
            "because": null,
            "counts": true,
            "evidence": "proven",
            "finding": "violated",
            "reason": "direct_fact",
            "records": 2,
            "source": "operation",
            "subject": "retention_run",
            "violations": 1
          }
        ],
        "evidence": "proven",
        "evidence_by": [],
        "finding": "violated",
        "finding_by": [
          "retention_run"
        ]
      },
      "filters": {
        "from": "2026-03-01T09:30:00Z",
        "limit": 1000,
        "reference": null,
        "to": "2026-03-02T09:30:00Z"
      },
      "format_version": 1,
      "generated_at": "(now)",
      "mode": "latest",
      "proof_type": "threadline_evidence",
      "records": [
        {
          "actor": {
            "id": "retention",
            "type": "job"
          },
          "detail": {
            "error_kind": "lock_timeout",
            "rows": 2
          },
          "format_version": 1,
          "id": "(id)",
          "provenance": {
            "db_role": "postgres",
            "entry_point": "worker",
            "library_version": "0.1.0",
            "source": "operation",
            "writer": "threadline::retention"
          },
          "recorded_at": "2026-03-02T09:30:00Z",
          "reference": {
            "run": "2"
          },
          "status": "error",
          "subject": "retention_run",
          "verdict": "proven",
          "written_at": "(now)"
        },
        {
          "actor": null,
          "detail": {
            "rows": 1
          },
          "format_version": 1,
          "id": "(id)",
          "provenance": {
            "db_role": "postgres",
            "entry_point": "worker",
            "library_version": "0.1.0",
            "source": "operation",
            "writer": "threadline::retention"
          },
          "recorded_at": "2026-03-01T09:30:00Z",
          "reference": {
            "run": "1"
          },
          "status": "ok",
          "subject": "retention_run",
          "verdict": "proven",
          "written_at": "(now)"
        }
      ],
      "subject": "retention_run",
      "summary": {
        "records": 2,
        "references": 2,
        "statuses": {
          "error": 1,
          "finding": 0,
          "ok": 1
        },
        "truncated": false,
        "verdicts": {
          "inferred": 0,
          "proven": 2,
          "unsupported": 0
        }
      }
    }
    "##);
    assert_snapshot!(still(&document.to_string()), @r##"
    Threadline evidence, format 1: retention_run
    generated (now), the newest record of each reference
    from 2026-03-01T09:30:00Z to 2026-03-02T09:30:00Z

    finding: violated, for retention_run
    evidence: proven
      retention_run: violated by 1 of the newest; evidence: proven, by 2 direct records

    2 records about 2 things; 0 findings, 1 error
      2026-03-02T09:30:00Z  retention_run  run=2  error  {"rows": 2, "error_kind": "lock_timeout"}  asked for by job:retention, says role postgres  (threadline::retention, worker, as role postgres)
      2026-03-01T09:30:00Z  retention_run  run=1  {"rows": 1}  (threadline::retention, worker, as role postgres)
    "##);
    let mut overview = ProofDocument::generate(conn, &ProofRequest::overview().limit(1)).unwrap();
    overview.generated_at = document.generated_at;
    assert_snapshot!(still(&overview.to_string()), @r##"
    Threadline evidence, format 1: overview
    generated (now), the newest record of each reference

    finding: violated, for retention_run
    evidence: unsupported, for trigger_coverage
      redaction_policy: holds; evidence: inferred, from 1 record of how it was set
      trigger_coverage: unknown; evidence: unsupported, for there are no records; `threadline verify` makes one
      retention_run: violated by 1 of the newest; evidence: proven, by 2 direct records
      retention_policy: not applicable, for retention has never run
      export_delivery: not applicable, for no export job was ever completed
      support_scope_posture: not applicable, for no audited table has a scope
      legal_hold: not applicable, for no legal hold was ever placed
      recorded_baseline: not applicable, for no baseline was ever recorded

    3 records about 3 things; 0 findings, 1 error
      2026-03-03T09:30:00Z  redaction_policy  table=public.posts  {"masked": ["email"]}  (threadline::policy, threadline policy, as role postgres)
      … and more; the counts and what is said above are of all
    "##);
}

fn proof(conn: &mut PgConnection) -> ClaimAssessment {
    ProofDocument::generate(conn, &ProofRequest::overview()).unwrap().claim_assessment
}

fn claim(assessment: &ClaimAssessment, subject: Subject) -> &Claim {
    assessment.claims.iter().find(|claim| claim.subject == subject).unwrap()
}

#[test]
fn that_a_table_is_not_covered_is_proven_and_violated_until_a_last_record_closes_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id integer PRIMARY KEY); CREATE TABLE loose (id integer PRIMARY KEY); CREATE TABLE old (id integer PRIMARY KEY)",
    );
    run(conn, "SELECT threadline.attach('posts')");
    let declared =
        || vec![Declared { table: table("posts"), spec: AuditSpec::default(), by: "Post".to_owned() }];
    let look = |conn: &mut PgConnection, expected: Expected<'_>| {
        let report = verify::verify(conn, &expected.declared(declared())).unwrap();
        verify::record_evidence(conn, &report, "CI", None).unwrap();
        proof(conn)
    };
    let first = look(conn, Expected::new());
    let coverage = claim(&first, Subject::TriggerCoverage);
    assert_eq!((coverage.finding, coverage.evidence), (ClaimFinding::Violated, Verdict::Proven));
    assert_eq!((coverage.records, coverage.violations), (3, 2));
    assert_eq!(
        (first.finding, &*first.finding_by),
        (ClaimFinding::Violated, &[Subject::TriggerCoverage][..])
    );
    // What such a host never has takes nothing from the whole.
    assert_eq!((first.evidence, &*first.evidence_by), (Verdict::Inferred, &[Subject::RedactionPolicy][..]));

    // One is dropped, one is renamed, and then decided against: each is said once, and nothing stays open.
    run(conn, "DROP TABLE loose; ALTER TABLE old RENAME TO older");
    let second = look(conn, Expected::new());
    assert_eq!(claim(&second, Subject::TriggerCoverage).violations, 1, "older is there, and not covered");
    let third = look(conn, Expected::new().ignore(table("older"), "a copy"));
    assert_eq!((third.finding, third.evidence), (ClaimFinding::Holds, Verdict::Inferred));
    let written = all(conn).len();
    look(conn, Expected::new().ignore(table("older"), "a copy"));
    assert_eq!(all(conn).len(), written, "a last record is the last");
    let said = |conn: &mut PgConnection, name: &str| {
        let reference = Reference::table(&TableName::new(Some("public"), name));
        evidence::latest_of(conn, Subject::TriggerCoverage, &reference)
            .unwrap()
            .unwrap()
            .detail
            .as_str()
            .to_owned()
    };
    assert!(said(conn, "loose").contains("closed") && said(conn, "old").contains("closed"));
    assert!(said(conn, "older").contains("ignored"));
    // And of a model's table: what was masked of it is no longer to be shown.
    run(conn, "SELECT threadline.detach('posts'); DROP TABLE posts");
    let report = verify::verify(conn, &Expected::new().declared(Vec::new())).unwrap();
    verify::record_evidence(conn, &report, "CI", None).unwrap();
    let redaction = Reference::table(&TableName::new(Some("public"), "posts"));
    let closed = evidence::latest_of(conn, Subject::RedactionPolicy, &redaction).unwrap().unwrap();
    assert!(closed.status == Status::Ok && closed.detail.as_str().contains("closed"), "{closed:?}");
    // A table that comes back opens it again.
    run(conn, "CREATE TABLE loose (id integer PRIMARY KEY)");
    assert_eq!(look(conn, Expected::new()).finding, ClaimFinding::Violated);
}

#[test]
fn what_is_known_to_have_happened_has_to_be_on_record_and_what_never_did_has_not() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE posts (id integer PRIMARY KEY, org text)");
    let scope = |conn: &mut PgConnection| claim(&proof(conn), Subject::SupportScopePosture).clone();
    assert_eq!((scope(conn).finding, scope(conn).counts), (ClaimFinding::NotApplicable, false));
    run(conn, "SELECT threadline.attach('posts', scope => 'org')");
    assert_eq!((scope(conn).finding, scope(conn).counts), (ClaimFinding::Unknown, true));
    // Asked for alone, nothing is shown of what there is nothing of.
    let alone =
        ProofDocument::generate(conn, &ProofRequest::subject(Subject::LegalHold)).unwrap().claim_assessment;
    assert_eq!((alone.finding, alone.evidence), (ClaimFinding::NotApplicable, Verdict::Unsupported));
    assert_eq!(alone.claims[0].because, Some("no legal hold was ever placed"));
    // A hold that left no record is not passed over in silence; who may not see holds cannot tell.
    run(conn, "INSERT INTO threadline.legal_holds (placed_by, reason) VALUES ('{}', 'lawsuit')");
    let hold = |conn: &mut PgConnection| claim(&proof(conn), Subject::LegalHold).clone();
    assert_eq!((hold(conn).finding, hold(conn).counts), (ClaimFinding::Unknown, true));
    let auditor = TestRole::new(&db, "auditor");
    run(
        conn,
        &format!(
            "GRANT USAGE ON SCHEMA threadline TO {0}; GRANT SELECT ON threadline.evidence_records TO {0}",
            auditor.name()
        ),
    );
    let seen = hold(&mut auditor.connect());
    assert_eq!((seen.finding, seen.because, seen.counts), (ClaimFinding::Unknown, None, false));
}

#[test]
fn an_applications_word_takes_nothing_from_what_the_operation_proves() {
    let db = audited_database();
    let conn = &mut db.connect();
    let app = TestRole::new(&db, "app");
    evidence::record(&mut app.connect(), &delivery(1).status(Status::Error)).unwrap();
    let proof = |conn: &mut PgConnection| {
        ProofDocument::generate(conn, &ProofRequest::subject(Subject::ExportDelivery))
            .unwrap()
            .claim_assessment
    };
    let alone = proof(conn);
    assert_eq!((alone.finding, alone.evidence), (ClaimFinding::Violated, Verdict::Inferred));
    evidence::record(conn, &delivery(1)).unwrap();
    let both = proof(conn);
    assert_eq!((both.finding, both.evidence), (ClaimFinding::Holds, Verdict::Proven));
    let shown: Vec<_> = both.claims.iter().map(|claim| (claim.source, claim.finding, claim.counts)).collect();
    assert_eq!(
        shown,
        [
            (Some(Source::Operation), ClaimFinding::Holds, true),
            (Some(Source::Application), ClaimFinding::Violated, false)
        ]
    );
}

#[test]
fn evidence_is_recorded_and_read_behind_a_pooler() {
    let db = audited_database();
    let (_pooler, pool) = pooled_behind(&db, 2, 4);
    thread::scope(|scope| {
        for n in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for m in 0..10 {
                    let conn = &mut pool.get().unwrap();
                    evidence::record(conn, &policy(&["email"])).unwrap();
                    evidence::record(conn, &delivery(n * 10 + m)).unwrap();
                    ProofDocument::generate(conn, &ProofRequest::overview()).unwrap();
                }
            });
        }
    });
    let overview = evidence::overview(&mut db.connect()).unwrap();
    let records: Vec<_> =
        overview.iter().filter(|of| of.records > 0).map(|of| (of.subject, of.records)).collect();
    assert_eq!(records, [(Subject::RedactionPolicy, 1), (Subject::ExportDelivery, 40)]);
}
