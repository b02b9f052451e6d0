//! Records of evidence: who may add what, that none changes, and when one expires.

use std::thread;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use diesel::PgConnection;
use insta::assert_snapshot;
use threadline::evidence::{
    self, EvidenceFilter, ProofDocument, ProofRequest, Record, Reference, Source, Status, Subject, Verdict,
};
use threadline::{Actor, Error, Order, PageRequest, TableName};
use threadline_tests::{TestRole, audited_database, clock, refused, run, text, texts};

use super::{all, delivery, policy, posts, run_of_retention};

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
