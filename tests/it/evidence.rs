//! Evidence: added and never changed, by those who may, and what it supports is the worst of what each record does.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

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
use threadline_tests::{TestRole, audited_database, clock, pooled_behind, refused, run, table, text, texts};
use uuid::Uuid;

fn posts() -> Reference {
    Reference::table(&TableName::new(Some("public"), "posts"))
}

fn policy(columns: &[&str]) -> Record {
    Record::new(Subject::RedactionPolicy, posts(), "threadline::policy", "threadline policy")
        .detail("masked", columns)
}

fn delivery(job: i32) -> Record {
    Record::new(Subject::ExportDelivery, Reference::new("job", job), "reports", "GET /exports/{job}")
}

fn run_of_retention(run: i32) -> Record {
    Record::new(Subject::RetentionRun, Reference::new("run", run), "threadline::retention", "worker")
        .detail("rows", run)
}

fn all(conn: &mut PgConnection) -> Vec<EvidenceRecord> {
    evidence::history(conn, &EvidenceFilter::new(), &PageRequest::new()).unwrap().entries
}

#[test]
fn a_record_reads_back_as_it_was_made() {
    let db = audited_database();
    let conn = &mut db.connect();
    let before = clock(conn);
    let established = before - TimeDelta::hours(1);
    let hold = Record::new(
        Subject::LegalHold,
        Reference::new("hold", "7").and("table", "public.posts"),
        "threadline::retention",
        "threadline retention hold",
    )
    .status(Status::Finding)
    .at_most(Verdict::Unsupported)
    .actor(Actor::admin(3))
    .recorded_at(established)
    .detail("reason", "lawsuit 12/34 \"ä\"")
    .detail("rows", u64::MAX);
    let recorded = evidence::record(conn, &hold).unwrap();
    assert!(recorded.written);
    let read = evidence::latest_of(
        conn,
        Subject::LegalHold,
        &Reference::new("table", "public.posts").and("hold", 7),
    )
    .unwrap()
    .expect("the order of names does not matter");
    assert_eq!(
        (read.id, read.subject, read.status, read.verdict),
        (recorded.id, Subject::LegalHold, Status::Finding, Verdict::Unsupported)
    );
    assert_eq!(read.recorded_at, established);
    assert!(read.written_at >= before && read.written_at <= clock(conn));
    assert_eq!(read.actor, Some(Actor::admin(3)));
    assert_eq!(read.detail.as_str(), r#"{"rows": 18446744073709551615, "reason": "lawsuit 12/34 \"ä\""}"#);
    assert_eq!(read.reference.get("hold"), Some("7"));
    let provenance = &read.provenance;
    assert_eq!(
        (&*provenance.writer, &*provenance.entry_point),
        ("threadline::retention", "threadline retention hold")
    );
    assert_eq!((&*provenance.library_version, &*provenance.db_role), (env!("CARGO_PKG_VERSION"), "postgres"));
    assert_eq!(evidence::latest_of(conn, Subject::LegalHold, &Reference::new("hold", 7)).unwrap(), None);
}

#[test]
fn any_table_there_can_be_can_be_referred_to() {
    let db = audited_database();
    let conn = &mut db.connect();
    for name in ["plain", "a \"b\" . c", "line\nbreak\u{1b}", &"ä".repeat(31), &"\"".repeat(63)] {
        let table = TableName::new(Some(name), name);
        let record = Record::new(Subject::TriggerCoverage, Reference::table(&table), "w", "e");
        assert!(evidence::record(conn, &record).unwrap().written, "{name}");
        assert!(!evidence::record(conn, &record).unwrap().written, "{name}");
    }
}

#[test]
fn what_is_rolled_back_was_never_recorded() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "BEGIN");
    evidence::record(conn, &delivery(1)).unwrap();
    run(conn, "ROLLBACK");
    assert_eq!(all(conn), []);
}

#[test]
fn nobody_changes_or_removes_a_record_whatever_they_were_granted() {
    let db = audited_database();
    let conn = &mut db.connect();
    let clerk = TestRole::new(&db, "clerk");
    evidence::record_all(conn, &[delivery(1), policy(&["email"])]).unwrap();
    run(conn, &format!("GRANT ALL ON threadline.evidence_records TO {}", clerk.name()));
    let before = all(conn);
    let as_expiry = "SET threadline.expiring_evidence = '0'; SELECT set_config('threadline.expiring_evidence', pg_current_xact_id()::text, true);";
    for statement in [
        "UPDATE threadline.evidence_records SET status = 'ok'",
        "UPDATE threadline.evidence_records SET detail = '{}' WHERE subject = 'redaction_policy'",
        "DELETE FROM threadline.evidence_records",
        "TRUNCATE threadline.evidence_records",
        "INSERT INTO threadline.evidence_records SELECT * FROM threadline.evidence_records ON CONFLICT (id) DO UPDATE SET status = 'error'",
    ] {
        for session in [&mut db.connect(), &mut clerk.connect()] {
            let said = refused(session, statement);
            assert!(said.contains("evidence is never changed"), "{statement}: {said}");
        }
        let said =
            refused(conn, &format!("BEGIN; SET LOCAL session_replication_role = replica; {statement}"));
        assert!(said.contains("evidence is never changed"), "{statement}: {said}");
        run(conn, "ROLLBACK");
        // Who is not the owner cannot pass for retention.
        let said = refused(&mut clerk.connect(), &format!("BEGIN; {as_expiry} {statement}"));
        assert!(said.contains("evidence is never changed"), "{statement}: {said}");
    }
    assert_eq!(all(conn), before);
    // And a setting that was left behind lets nothing through in another transaction.
    run(conn, "SELECT threadline.expire_evidence(now() - interval '1 day', 10)");
    assert!(refused(conn, "DELETE FROM threadline.evidence_records").contains("evidence is never changed"));
    assert_eq!(all(conn), before);
}

#[test]
fn an_application_records_what_it_does_and_nothing_of_what_governs_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    let app = TestRole::new(&db, "app");
    let host = &mut app.connect();
    let support =
        Record::new(Subject::SupportScopePosture, Reference::new("role", "support"), "host", "startup");
    for record in [delivery(1), support] {
        assert!(evidence::may_record(host, record.subject()).unwrap());
        assert!(evidence::record(host, &record).unwrap().written);
    }
    for &subject in Subject::ALL {
        if matches!(subject, Subject::ExportDelivery | Subject::SupportScopePosture) {
            continue;
        }
        assert!(!evidence::may_record(host, subject).unwrap(), "{subject}");
        let record = Record::new(subject, posts(), "host", "forged");
        assert!(evidence::record(host, &record).is_err(), "{subject}");
        assert!(evidence::record_all(host, &[delivery(2), record]).is_err(), "{subject}");
        let said = refused(host, &format!(
            "SELECT threadline.record_application_evidence('[{{\"subject\": \"{subject}\", \"reference\": {{\"a\": \"b\"}}, \"status\": \"ok\",
            \"verdict\": \"inferred\", \"writer\": \"w\", \"entry_point\": \"e\", \"library_version\": \"1\", \"detail\": {{}}}}]')"
        ));
        assert!(said.contains("takes EXECUTE on threadline.record_evidence"), "{said}");
    }
    for statement in [
        "SELECT * FROM threadline.evidence_records",
        "DELETE FROM threadline.evidence_records",
        "UPDATE threadline.evidence_records SET detail = '{}'",
        "INSERT INTO threadline.evidence_records DEFAULT VALUES",
        "SELECT threadline.expire_evidence(now(), 1)",
        "SELECT threadline.insert_evidence('[]', NULL)",
        "SELECT threadline.record_evidence('[]')",
        "DROP TRIGGER threadline_guard ON threadline.evidence_records",
        "ALTER TABLE threadline.evidence_records DISABLE TRIGGER ALL",
    ] {
        let said = refused(host, statement);
        assert!(said.contains("permission denied") || said.contains("must be owner"), "{statement}: {said}");
    }
    let roles = "SELECT DISTINCT db_role FROM threadline.evidence_records";
    assert_eq!(texts(conn, roles), [app.name()]);
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.evidence_records"), "2");
    // Granted, it may record all, and read.
    run(conn, &format!("GRANT EXECUTE ON FUNCTION threadline.record_evidence(jsonb) TO {}", app.name()));
    run(conn, &format!("GRANT SELECT ON threadline.evidence_records TO {}", app.name()));
    assert!(evidence::may_record(host, Subject::RetentionRun).unwrap());
    evidence::record_all(host, &[delivery(3), run_of_retention(1)]).unwrap();
    assert_eq!(all(host).len(), 4);
}

#[test]
fn what_any_role_can_record_proves_nothing_is_of_now_and_stands_in_nobodys_place() {
    let db = audited_database();
    let conn = &mut db.connect();
    let (app, forger) = (TestRole::new(&db, "app"), TestRole::new(&db, "forger"));
    let (host, forgery) = (&mut app.connect(), &mut forger.connect());
    let real = delivery(1).actor(Actor::admin(1)).detail("rows", 1_000_000);
    let real = evidence::record(conn, &real).unwrap();
    let sound = serde_json::json!({"subject": "export_delivery", "reference": {"job": "1"}, "status": "error", "verdict": "inferred",
        "actor": {"type": "admin", "id": "scapegoat"}, "writer": "threadline::exports", "entry_point": "threadline::exports::download",
        "library_version": "0.1.0", "detail": {"rows": 0}});
    let call =
        |record: &serde_json::Value| format!("SELECT threadline.record_application_evidence('[{record}]')");
    // Neither proof nor another instant is to be had, whoever calls it.
    let with = |key: &str, value: serde_json::Value| {
        let mut record = sound.clone();
        record[key] = value;
        record
    };
    for session in [&mut *forgery, &mut *conn] {
        for (field, record) in [
            ("verdict", with("verdict", "proven".into())),
            ("recorded_at", with("recorded_at", "2020-01-01T00:00:00Z".into())),
            ("recorded_at", with("recorded_at", "2026-02-30T00:00:00Z".into())),
            ("recorded_at", with("recorded_at", "2026-01-01T25:00:00Z".into())),
            ("recorded_at", with("recorded_at", serde_json::json!(true))),
            ("recorded_at", with("recorded_at", serde_json::json!({}))),
            ("unless_unchanged_for", with("unless_unchanged_for", serde_json::json!([1]))),
            ("actor", with("actor", serde_json::json!(7))),
        ] {
            let said = refused(session, &call(&record));
            assert!(said.contains(&format!("invalid evidence: record 1: {field}")), "{field}: {said}");
        }
    }
    // What is recorded says whose word it is, and the newest of the operation's stays the newest.
    run(forgery, &call(&sound));
    assert_eq!(
        evidence::latest_of(conn, Subject::ExportDelivery, &Reference::new("job", 1)).unwrap().unwrap().id,
        real.id
    );
    let own = delivery(1).actor(Actor::admin(2));
    let own = evidence::record(host, &own).unwrap();
    run(forgery, &call(&sound));
    let newest = evidence::latest(conn, &EvidenceFilter::new(), &PageRequest::new()).unwrap().entries;
    let seen: Vec<_> = newest
        .iter()
        .map(|record| (record.provenance.source, record.verdict, &*record.provenance.db_role))
        .collect();
    assert_eq!(
        seen,
        [
            (Source::Application, Verdict::Inferred, forger.name()),
            (Source::Application, Verdict::Inferred, app.name()),
            (Source::Operation, Verdict::Proven, "postgres"),
        ]
    );
    assert_eq!([newest[1].id, newest[2].id], [own.id, real.id]);
    let proof = ProofDocument::generate(conn, &ProofRequest::subject(Subject::ExportDelivery)).unwrap();
    assert_eq!((proof.summary.records, proof.summary.references), (3, 1));
    let text = proof.to_string();
    let forged = format!(
        "asked for by admin:scapegoat, says role {0}  (threadline::exports, threadline::exports::download, as role {0}, which any role can record)",
        forger.name()
    );
    assert!(text.contains(&forged), "{text}");
    assert!(text.contains("asked for by admin:1, says role postgres"), "{text}");
}

#[test]
fn nobody_keeps_another_record_out_by_saying_the_same_before() {
    let db = audited_database();
    let conn = &mut db.connect();
    let (app, forger) = (TestRole::new(&db, "app"), TestRole::new(&db, "forger"));
    let posture = |actor: i32| {
        Record::new(Subject::SupportScopePosture, Reference::new("tenant", 7), "w", "e")
            .actor(Actor::admin(actor))
    };
    for session in [&mut forger.connect(), &mut app.connect(), &mut *conn] {
        for actor in [1, 2] {
            assert!(evidence::record(session, &posture(actor)).unwrap().written, "another role or actor");
            assert!(!evidence::record(session, &posture(actor)).unwrap().written);
        }
        // Two who say the same in turn are each left out, until one says otherwise.
        assert!(!evidence::record(session, &posture(1)).unwrap().written);
        assert!(evidence::record(session, &posture(2).status(Status::Finding)).unwrap().written);
        assert!(evidence::record(session, &posture(1)).unwrap().written);
    }
    assert_eq!(all(conn).len(), 12);
}

#[test]
fn what_stays_the_same_is_written_once_a_day_and_every_difference_at_once() {
    let db = audited_database();
    let conn = &mut db.connect();
    let start = clock(conn) - TimeDelta::days(10);
    let mut at = |hours: i64, record: Record| {
        evidence::record(conn, &record.recorded_at(start + TimeDelta::hours(hours))).unwrap()
    };
    let first = at(0, policy(&["email"]));
    assert!(first.written);
    assert_eq!(at(1, policy(&["email"])), evidence::Recorded { id: first.id, written: false });
    assert!(at(2, policy(&["email", "phone"])).written);
    let back = at(3, policy(&["email"]));
    assert!(back.written, "back to what it was is a difference too");
    assert!(at(4, policy(&["email"]).status(Status::Finding)).written);
    let downgraded = at(5, policy(&["email"]).at_most(Verdict::Unsupported));
    assert!(downgraded.written);
    let again = at(6, policy(&["email"]));
    assert!(!at(29, policy(&["email"])).written, "23 hours later");
    assert!(at(30, policy(&["email"])).written, "a day later");
    assert!(at(31, policy(&["email"]).unless_unchanged_for(Duration::ZERO)).written);
    assert!(at(33, policy(&["email"]).unless_unchanged_for(Duration::from_secs(3_600))).written);
    // What is told late is compared with what was so then.
    assert_eq!(at(7, policy(&["email"])).id, again.id);
    assert!(at(8, policy(&["phone"])).written);
    // Another reference and another subject are other things.
    let comments = Reference::table(&TableName::new(Some("public"), "comments"));
    assert!(at(34, Record::new(Subject::RedactionPolicy, comments, "w", "e")).written);
    assert!(at(34, Record::new(Subject::TriggerCoverage, posts(), "w", "e")).written);
    assert!(!at(35, Record::new(Subject::TriggerCoverage, posts(), "w", "e")).written);
    // An event is never left out.
    assert!(at(34, delivery(1)).written && at(34, delivery(1)).written);
}

#[test]
fn sessions_that_record_the_same_posture_at_once_write_it_once() {
    let db = audited_database();
    let conn = &mut db.connect();
    for round in 0..5 {
        let columns = [format!("column_{round}")];
        let written: usize = thread::scope(|scope| {
            let sessions: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let record = policy(&[&columns[0]]);
                        usize::from(evidence::record(&mut db.connect(), &record).unwrap().written)
                    })
                })
                .collect();
            sessions.into_iter().map(|session| session.join().unwrap()).sum()
        });
        assert_eq!(written, 1);
    }
    assert_eq!(all(conn).len(), 5);
}

#[test]
fn a_session_that_does_not_end_holds_no_other_off_for_long() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    run(conn, "BEGIN");
    assert!(evidence::record(conn, &policy(&["email"])).unwrap().written);
    let began = Instant::now();
    assert!(evidence::record(other, &policy(&["email"])).unwrap().written, "it cannot know of the first");
    assert!(evidence::record(other, &delivery(1)).unwrap().written);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // In the other order within one transaction, nobody waits for ever for the other.
    let coverage = |table: &str| {
        Record::new(Subject::TriggerCoverage, Reference::new("table", table), "threadline::health", "worker")
    };
    run(other, "BEGIN");
    evidence::record(other, &coverage("a")).unwrap();
    evidence::record(other, &policy(&["email"])).unwrap();
    evidence::record(conn, &coverage("a")).unwrap();
    run(conn, "COMMIT");
    run(other, "COMMIT");
    assert_eq!(all(conn).len(), 5, "an equal record more does no harm");
}

#[test]
fn old_records_expire_in_batches_oldest_first_and_younger_ones_stay() {
    let db = audited_database();
    let conn = &mut db.connect();
    let now = clock(conn);
    let cut = now - TimeDelta::days(100);
    let records: Vec<Record> = (0..1_200)
        .map(|n| delivery(n).recorded_at(cut + TimeDelta::microseconds(i64::from(n) - 1_000)))
        .collect();
    assert_eq!(evidence::record_all(conn, &records).unwrap().len(), 1_200, "in several statements");
    let expire = |conn: &mut PgConnection, batch: i32| -> i64 {
        text(conn, &format!("SELECT threadline.expire_evidence('{}', {batch})", cut.to_rfc3339()))
            .parse()
            .unwrap()
    };
    assert_eq!(expire(conn, 300), 300);
    assert_eq!(
        text(conn, "SELECT min((reference ->> 'job')::integer) FROM threadline.evidence_records"),
        "300"
    );
    // Two at once take different ones, and wait for nobody.
    let other = &mut db.connect();
    run(conn, "BEGIN");
    assert_eq!(expire(conn, 300), 300);
    assert_eq!(expire(other, 300), 300);
    run(conn, "COMMIT");
    assert_eq!(expire(conn, 300), 100, "what was established at that very instant is not before it");
    assert_eq!(expire(conn, 300), 0);
    assert_eq!(
        text(
            conn,
            "SELECT string_agg(DISTINCT reference ->> 'job', ' ') FROM threadline.evidence_records WHERE (reference ->> 'job')::integer IN (999, 1000, 1199)"
        ),
        "1000 1199"
    );
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.evidence_records"), "200");
    for call in ["now() + interval '1 second', 10", "NULL, 10", "now(), 0", "now(), 100001", "now(), NULL"] {
        let said = refused(conn, &format!("SELECT threadline.expire_evidence({call})"));
        assert!(said.starts_with("threadline: "), "{call}: {said}");
    }
}

#[test]
fn everything_wrong_with_a_record_is_said_at_once_and_none_of_it_is_quoted() {
    let db = audited_database();
    let conn = &mut db.connect();
    let wrong = Record::new(Subject::RetentionRun, Reference::new("", "a\nhunter2"), "", "e".repeat(300))
        .detail("url", "postgres://app:hunter2@db")
        .unless_unchanged_for(Duration::MAX);
    let error = evidence::record(conn, &wrong).unwrap_err();
    assert_snapshot!(error, @"invalid evidence: reference: a name is empty; reference: the text of a name has a control character; writer: is empty; entry_point: is longer than 256 bytes; unless_unchanged_for: is longer than a hundred years; detail: has a URL with a user or password in it");
    let none = Reference::from_json("{}").unwrap_err();
    assert_eq!(none.to_string(), "invalid evidence: reference: is empty");
    let mut deep = serde_json::json!({});
    for _ in 0..20 {
        deep = serde_json::json!([deep]);
    }
    for (record, part) in [
        (delivery(1).detail("a", "\0"), "detail: has a NUL"),
        (delivery(1).detail("a", serde_json::json!({"b\0": 1})), "detail: has a NUL"),
        (delivery(1).detail("a", deep), "detail: is nested deeper"),
        (delivery(1).detail("a", "x".repeat(40_000)), "detail: is larger"),
        (
            Record::new(Subject::LegalHold, Reference::new("a", "x".repeat(513)), "w", "e"),
            "reference: the text of a name",
        ),
        (
            Record::new(Subject::LegalHold, Reference::new("a", "s3://k:s@b"), "w", "e"),
            "reference: the text of a name has a URL",
        ),
        (delivery(1).recorded_at(Utc::now() + TimeDelta::hours(1)), "recorded_at: is still to come"),
    ] {
        let said = evidence::record_all(conn, &[delivery(9), record]).unwrap_err().to_string();
        assert!(said.contains("record 2: ") && said.contains(part), "{said}");
    }
    // Whoever calls the database itself is held to the same.
    let sound = serde_json::json!({"subject": "export_delivery", "reference": {"job": "1"}, "status": "ok", "verdict": "inferred",
        "writer": "w", "entry_point": "e", "library_version": "1", "detail": {}});
    let call = |record: &serde_json::Value| {
        format!(
            "SELECT threadline.record_application_evidence('[{}]')",
            record.to_string().replace('\'', "''")
        )
    };
    for (key, value) in [
        ("subject", serde_json::json!("weather")),
        ("reference", serde_json::json!({})),
        ("reference", serde_json::json!({"job": 1})),
        ("reference", serde_json::json!({"job": "x".repeat(2_000)})),
        ("reference", serde_json::Value::Null),
        ("status", serde_json::json!("fine")),
        ("verdict", serde_json::json!(true)),
        ("reference", serde_json::json!({"job": "\u{1b}[2J"})),
        ("writer", serde_json::json!("")),
        ("writer", serde_json::json!("a\nb")),
        ("entry_point", serde_json::json!(["e"])),
        ("library_version", serde_json::Value::Null),
        ("detail", serde_json::json!([])),
        ("detail", serde_json::json!({"a": "x".repeat(40_000)})),
        ("actor", serde_json::json!({"type": "nobody"})),
        ("recorded_at", serde_json::json!("yesterday")),
        ("recorded_at", serde_json::json!("2999-01-01T00:00:00Z")),
        ("unless_unchanged_for", serde_json::json!("1 day")),
        ("unless_unchanged_for", serde_json::json!(-1)),
        ("recordedat", serde_json::json!("2026-01-01T00:00:00Z")),
    ] {
        let mut record = sound.clone();
        record[key] = value;
        let said = refused(conn, &call(&record));
        let expected = if key == "recordedat" { "record: has an unknown key" } else { key };
        assert!(said.contains(&format!("invalid evidence: record 1: {expected}")), "{key}: {said}");
    }
    let posture = serde_json::json!({"subject": "support_scope_posture"});
    let mut record = sound.clone();
    record["subject"] = posture["subject"].clone();
    record["verdict"] = "proven".into();
    assert!(refused(conn, &call(&record)).contains("a posture is inferred at best"));
    for call in ["NULL", "'{}'", "'[null]'", "'[1]'"] {
        let said = refused(conn, &format!("SELECT threadline.record_application_evidence({call})"));
        assert!(said.contains("invalid evidence"), "{call}: {said}");
    }
    assert_eq!(all(conn), [], "nothing of a batch with a mistake is kept");
    run(conn, &call(&sound));
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let db = audited_database();
    let conn = &mut db.connect();
    evidence::record_all(conn, &(0..3).map(delivery).collect::<Vec<_>>()).unwrap();
    let now = clock(conn);
    let filter = EvidenceFilter::new().from(now).to(now - TimeDelta::microseconds(1));
    assert!(matches!(evidence::history(conn, &filter, &PageRequest::new()), Err(Error::InvalidEvidence(_))));
    for limit in [0, 1_001] {
        let request = ProofRequest::overview().limit(limit);
        assert!(matches!(ProofDocument::generate(conn, &request), Err(Error::InvalidPage { .. })));
    }
    let all = EvidenceFilter::new();
    let page = evidence::history(conn, &all, &PageRequest::new().size(1).unwrap()).unwrap();
    let cursor = page.cursor.unwrap();
    assert_eq!(cursor.to_string().parse::<threadline::Cursor>().unwrap(), cursor);
    let other_order = PageRequest::new().order(Order::OldestFirst).after(cursor);
    assert!(matches!(evidence::history(conn, &all, &other_order), Err(Error::InvalidPage { .. })));
    let trail = threadline::Trail::unscoped();
    let elsewhere = PageRequest::new().after(cursor);
    assert!(matches!(
        trail.actions(conn, &threadline::Filter::new(), &elsewhere),
        Err(Error::InvalidPage { .. })
    ));
    assert!(
        "weather".parse::<Subject>().unwrap_err().to_string().contains("redaction_policy, trigger_coverage")
    );
}

/// A record of the model: what was recorded, with the id it got.
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
