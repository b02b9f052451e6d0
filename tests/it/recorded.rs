//! Evidence by itself: each operation leaves exactly its record with what it did, or neither; nothing secret is in it, and who may
//! not record works as before.

use std::ops::ControlFlow;
use std::time::Duration;

use diesel::prelude::*;
use serde_json::{Value, json};
use threadline::evidence::{self, EvidenceFilter, EvidenceRecord, Reference, Status, Subject, Verdict};
use threadline::exports::{self, Download, ExportFailure, ExportRequest};
use threadline::health::{self, CoverageOptions, HealthOptions};
use threadline::holds::{self, Hold};
use threadline::policy::{self, Declared};
use threadline::retention::{self, RetentionPolicy};
use threadline::verify::{self, Expected};
use threadline::{
    Actor, ActorId, AuditSpec, Error, ExportFormat, ExportOptions, Filter, Order, PageRequest, Scope,
    Surface, Trail, capture,
};
use threadline_devdb::TestDatabase;
use threadline_tests::{TestRole, audited_database, clock, row_key, run, table, text};

/// In every row, key, tenant, reason, and in the name of the one whose doings are held.
const SECRET: &str = "s3cret";
const LEASE: Duration = Duration::from_secs(60);

fn someone() -> Actor {
    Actor::user(ActorId::try_from(format!("{SECRET}-actor").as_str()).unwrap())
}

/// All there is, oldest first.
fn records(conn: &mut PgConnection) -> Vec<EvidenceRecord> {
    let page = PageRequest::new().order(Order::OldestFirst);
    evidence::history(conn, &EvidenceFilter::new(), &page).unwrap().entries
}

/// What `work` has added, as subject, status, verdict and detail.
fn added<T>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection) -> T,
) -> (T, Vec<(Subject, Status, Verdict, Value)>) {
    let before = records(conn).len();
    let result = work(conn);
    let new = records(conn).split_off(before);
    assert!(new.iter().all(|record| !format!("{record:?}").contains(SECRET)), "{new:?}");
    let new = new.into_iter().map(|record| {
        let detail = serde_json::from_str(record.detail.as_str()).unwrap();
        (record.subject, record.status, record.verdict, detail)
    });
    (result, new.collect())
}

/// A trail with a table of a tenant's, of which a column is masked and one left out.
fn trail() -> TestDatabase {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        &format!(
            "CREATE TABLE notes (id text PRIMARY KEY, body text, code text, org text);
            SELECT threadline.attach('notes', exclude => '{{body}}', mask => '{{code}}', scope => 'org');
            INSERT INTO notes VALUES ('{SECRET}', '{SECRET}', '{SECRET}', '{SECRET}'), ('2', '', '', '')"
        ),
    );
    db
}

fn retain(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    step: ControlFlow<()>,
) -> Result<retention::RetentionRun, Error> {
    retention::run(conn, policy, &Actor::admin(7), None, &mut |_| step)
}

fn everything_goes() -> RetentionPolicy {
    RetentionPolicy::new().keep(Duration::ZERO).minimum(Duration::ZERO).pause(Duration::ZERO)
}

fn claimed(conn: &mut PgConnection) -> (exports::Claim, threadline::ExportSummary) {
    let request =
        ExportRequest::scoped(Scope::tenant(SECRET), ExportOptions::new(ExportFormat::Csv).unlimited())
            .filter(Filter::new().table(table("notes")).key(row_key(&format!("id={SECRET}"))));
    exports::enqueue(conn, &request, &Actor::user(1)).unwrap();
    let claim = exports::claim(conn, "w", LEASE).unwrap().unwrap();
    let summary = claim.export(conn, None, std::io::sink(), |_| ()).unwrap();
    assert_eq!(summary.rows, 1);
    (claim, summary)
}

#[test]
fn a_hold_leaves_a_record_when_it_is_placed_and_one_when_it_is_released() {
    let db = trail();
    let conn = &mut db.connect();
    let hold = Hold::new(format!("lawsuit about {SECRET}"))
        .row(table("notes"), row_key(&format!("id={SECRET}")))
        .scope(SECRET)
        .actor(someone())
        .to(clock(conn));
    let (placed, new) = added(conn, |conn| holds::place(conn, &hold, &Actor::admin(3)).unwrap().hold);
    let detail = json!({"event": "placed", "narrowed_by": ["table", "row", "scope", "actor", "to"], "tables": ["public.notes"]});
    assert_eq!(new, [(Subject::LegalHold, Status::Ok, Verdict::Proven, detail.clone())]);
    let (_, new) = added(conn, |conn| holds::release(conn, placed.id, &Actor::admin(4), SECRET).unwrap());
    let mut released = detail;
    released["event"] = "released".into();
    assert_eq!(new, [(Subject::LegalHold, Status::Ok, Verdict::Proven, released)]);
    let who: Vec<_> = records(conn).into_iter().map(|record| (record.actor, record.reference)).collect();
    let reference = Reference::new("hold", placed.id);
    assert_eq!(who, [(Some(Actor::admin(3)), reference.clone()), (Some(Actor::admin(4)), reference)]);
    // Nothing happened, and nothing is recorded.
    let (_, new) = added(conn, |conn| {
        holds::release(conn, placed.id, &Actor::admin(4), "again").unwrap_err();
        holds::place(conn, &Hold::new(""), &Actor::admin(4)).unwrap_err();
        holds::place(conn, &Hold::new("x").table(table("nowhere")), &Actor::admin(4)).unwrap_err();
        let thought_better_of = conn.transaction(|conn| {
            holds::place(conn, &Hold::new("too much"), &Actor::admin(4)).unwrap();
            Err::<(), _>(diesel::result::Error::RollbackTransaction)
        });
        thought_better_of.unwrap_err();
        holds::list(conn, true).unwrap();
    });
    assert_eq!(new, []);
}

#[test]
fn a_run_of_retention_leaves_how_it_ended_and_the_policy_it_ran_with() {
    let db = trail();
    let conn = &mut db.connect();
    let policy = everything_goes()
        .table(table("notes"), Duration::from_secs(0))
        .action("login.failed", Duration::from_secs(60))
        .action(format!("https://me:{SECRET}@host"), Duration::from_secs(60));
    let (stopped, new) = added(conn, |conn| retain(conn, &policy, ControlFlow::Break(())));
    assert!(matches!(stopped, Err(Error::RetentionStopped)), "{stopped:?}");
    assert_eq!(new.len(), 2, "{new:?}");
    assert_eq!((new[0].0, new[0].1, new[0].2), (Subject::RetentionPolicy, Status::Ok, Verdict::Inferred));
    assert_eq!(
        new[0].3,
        json!({"keep_seconds": 0, "minimum_seconds": 0, "exports_seconds": 604_800, "tables": {"notes": 0}, "actions": {"login.failed": 60}, "actions_left_out": 1})
    );
    assert_eq!((new[1].0, new[1].1, new[1].2), (Subject::RetentionRun, Status::Error, Verdict::Proven));
    assert_eq!((&new[1].3["state"], &new[1].3["error"]), (&json!("failed"), &json!("stopped")));

    // The policy is the same, so that it is not written again.
    run(conn, "INSERT INTO notes VALUES ('3', '', '', '')");
    let (done, new) = added(conn, |conn| retain(conn, &policy, ControlFlow::Continue(())).unwrap());
    assert_eq!(new.len(), 1, "{new:?}");
    assert_eq!((new[0].0, new[0].1), (Subject::RetentionRun, Status::Ok));
    assert!(done.changes > 0);
    assert_eq!(new[0].3["changes"], done.changes);
    let last = records(conn).pop().unwrap();
    assert_eq!((last.actor, last.reference), (Some(Actor::admin(7)), Reference::new("run", done.id)));
    assert_eq!(Some(last.recorded_at), done.ended_at);

    // One that cannot begin is none.
    let unsound = everything_goes().batch_rows(0);
    assert_eq!(added(conn, |conn| retain(conn, &unsound, ControlFlow::Continue(())).unwrap_err()).1, []);
    // One that died leaves its record with the run that finds it, and a policy that differs is written at once.
    run(
        conn,
        "INSERT INTO threadline.retention_runs (asked_by, policy, silence_limit, backend_pid, backend_start) SELECT '{\"type\": \"system\", \"id\": \"x\"}', '{}', '1 hour', pid, backend_start - interval '1 second' FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    );
    let (next, new) =
        added(conn, |conn| retain(conn, &everything_goes(), ControlFlow::Continue(())).unwrap());
    let mut told: Vec<_> =
        new.iter().map(|(subject, status, _, detail)| (*subject, *status, detail["state"].clone())).collect();
    told.sort_by_key(|(subject, status, _)| (*subject, *status));
    assert_eq!(
        told,
        [
            (Subject::RetentionRun, Status::Ok, json!("completed")),
            (Subject::RetentionRun, Status::Error, json!("abandoned")),
            (Subject::RetentionPolicy, Status::Ok, Value::Null),
        ]
    );
    assert!(next.resumes.is_some());
}

#[test]
fn an_export_leaves_a_record_when_it_is_completed_and_one_for_each_time_it_is_handed_out() {
    let db = trail();
    let conn = &mut db.connect();
    let ((claim, summary), new) = added(conn, claimed);
    assert_eq!(new, [], "nothing is delivered yet");
    let file = json!({"format": "csv", "rows": 1, "bytes": summary.bytes, "truncated": false, "sha256": summary.sha256});
    let with = |more: Value| {
        let mut detail = file.clone();
        detail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        detail
    };
    let (_, new) = added(conn, |conn| {
        for _ in 0..3 {
            exports::complete(conn, &claim, &summary, LEASE).unwrap();
        }
    });
    let completed = with(json!({"event": "completed", "attempt": 1, "scoped": true}));
    assert_eq!(new, [(Subject::ExportDelivery, Status::Ok, Verdict::Proven, completed)]);

    let id = claim.job().id;
    let (download, new) = added(conn, |conn| exports::download(conn, id, &Actor::user(1)).unwrap());
    assert_eq!(new, [], "looking is no delivery");
    let Download::Ready(ready) = download else { panic!("{download:?}") };
    let (_, new) = added(conn, |conn| {
        exports::record_delivery(conn, &ready, Some(&Actor::user(1)), "GET /exports").unwrap();
        exports::record_delivery(conn, &ready, None, "GET /links").unwrap();
        // A replica cannot record, and the file is handed out.
        run(conn, "BEGIN READ ONLY");
        assert_eq!(exports::record_delivery(conn, &ready, None, "GET /links").unwrap(), None);
        run(conn, "COMMIT");
    });
    let details: Vec<_> = new.into_iter().map(|(.., detail)| detail).collect();
    let handed = |by: &str| with(json!({"event": "handed_out", "by": by}));
    assert_eq!(details, [handed("owner"), handed("link")]);
    let actors: Vec<_> = records(conn).into_iter().map(|record| record.actor).collect();
    assert_eq!(actors, [Some(Actor::user(1)), Some(Actor::user(1)), None]);

    let (_, new) = added(conn, |conn| {
        let (claim, summary) = claimed(conn);
        exports::fail(conn, &claim, ExportFailure::Storage).unwrap();
        assert!(matches!(
            exports::complete(conn, &claim, &summary, LEASE),
            Err(Error::ExportClaimLost { .. })
        ));
        exports::sweep(conn, None, 10).unwrap();
    });
    assert_eq!(new, [], "nothing was delivered");
}

#[test]
fn what_looks_writes_nothing_and_what_it_saw_is_recorded_when_that_is_asked_for() {
    let db = trail();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE loose (id integer); CREATE TABLE sessions (id integer)");
    let spec =
        AuditSpec { exclude: &["body"], mask: &["code", "org"], scope: Some("org"), ..AuditSpec::default() };
    let declared = [Declared { table: table("notes"), spec, by: "Note".to_owned() }];
    let coverage = CoverageOptions::new().ignore(table("sessions"), SECRET);
    let expected = Expected::new().declared(declared.to_vec()).ignore(table("sessions"), SECRET);
    let ((policies, covered, verified), new) = added(conn, |conn| {
        health::findings(conn, &HealthOptions::default()).unwrap();
        (
            policy::report(conn, &declared).unwrap(),
            health::coverage(conn, &coverage).unwrap(),
            verify::verify(conn, &expected).unwrap(),
        )
    });
    assert_eq!(new, []);
    let by = Actor::admin(1);
    let (_, new) =
        added(conn, |conn| policy::record_evidence(conn, &policies, "threadline policy", Some(&by)).unwrap());
    let detail = json!({"state": "drift", "excluded": ["body"], "masked": ["code"], "differences": ["mask: declared `code`, `org`, deployed `code`"]});
    assert_eq!(new, [(Subject::RedactionPolicy, Status::Finding, Verdict::Inferred, detail)]);
    let (_, new) = added(conn, |conn| health::record_evidence(conn, &covered, "worker", Some(&by)).unwrap());
    let detail =
        |coverage: &str, reasons: &[&str]| json!({"coverage": coverage, "partitions": 0, "reasons": reasons});
    let mut details: Vec<_> =
        new.iter().map(|(_, status, verdict, detail)| (*status, *verdict, detail.clone())).collect();
    details.sort_by_key(|(.., detail)| detail.to_string());
    assert_eq!(
        details,
        [
            (Status::Ok, Verdict::Proven, detail("covered", &[])),
            (Status::Finding, Verdict::Proven, detail("uncovered", &["it is not attached"])),
        ]
    );
    // The same once more by the same actor, from the report that has both: nothing is new.
    let (again, new) = added(conn, |conn| verify::record_evidence(conn, &verified, "CI", Some(&by)).unwrap());
    assert_eq!((again.len(), again.iter().any(|recorded| recorded.written)), (3, false));
    assert_eq!(new, []);
    capture::detach(conn, &table("notes")).unwrap();
    let gone = policy::report(conn, &declared).unwrap();
    let (_, new) = added(conn, |conn| policy::record_evidence(conn, &gone, "worker", None).unwrap());
    assert_eq!((new[0].1, new[0].2), (Status::Finding, Verdict::Unsupported));
}

#[test]
fn a_posture_says_what_a_scope_is_made_of_and_none_of_its_values() {
    let db = trail();
    let conn = &mut db.connect();
    let support =
        Trail::scoped(|surface| match surface {
            Surface::Undo => Err(SECRET.into()),
            Surface::Feed => Ok(Scope::nothing()),
            _ => Ok(Scope::tenants([SECRET, "2"])
                .or(Scope::table(table("notes")).and(Scope::meta(SECRET, [SECRET])))),
        });
    let whose = || Reference::new("role", "support");
    let (_, new) =
        added(conn, |conn| support.record_posture(conn, whose(), "startup", None).unwrap().unwrap());
    let [(subject, status, verdict, detail)] = new.as_slice() else { panic!("{new:?}") };
    assert_eq!(
        (*subject, *status, *verdict),
        (Subject::SupportScopePosture, Status::Finding, Verdict::Inferred)
    );
    let form = "(scope column is one of 2 or (table notes and metadata is one of 1))";
    assert_eq!(detail["surfaces"].as_object().unwrap().len(), Surface::ALL.len());
    assert_eq!(
        (&detail["surfaces"]["timeline"], &detail["surfaces"]["feed"], &detail["surfaces"]["undo"]),
        (&json!(form), &json!("nothing"), &json!("fails"))
    );
    assert!(!support.record_posture(conn, whose(), "startup", None).unwrap().unwrap().written);
    let (_, new) =
        added(conn, |conn| Trail::unscoped().record_posture(conn, whose(), "startup", None).unwrap());
    assert_eq!((&new[0].3["scoped"], &new[0].3["surfaces"]["export"]), (&json!(false), &json!("everything")));
    // However large.
    let large =
        (0..200).fold(Scope::nothing(), |scope, n| scope.or(Scope::table(table(&format!("{n}\"\u{e4}")))));
    let large = Trail::scoped(move |_| Ok(large.clone()));
    assert!(large.record_posture(conn, whose(), "startup", None).unwrap().unwrap().written);
}

/// Columns enough that their names do not fit into a record, and names that none may have.
#[test]
fn no_name_a_database_has_makes_an_operation_fail() {
    let db = audited_database();
    let conn = &mut db.connect();
    let columns: Vec<String> = (0..700).map(|n| format!("\"{n:04}{}\" text", "\u{e4}".repeat(29))).collect();
    let names =
        "SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = 'wide'::regclass AND attnum > 2";
    run(
        conn,
        &format!(
            "CREATE TABLE wide (id integer PRIMARY KEY, \"postgres://me:{SECRET}@host\" text, {});
            SELECT threadline.attach('wide', exclude => ({names}), mask => '{{\"postgres://me:{SECRET}@host\"}}')",
            columns.join(", ")
        ),
    );
    let declared = [Declared { table: table("wide"), spec: AuditSpec::default(), by: "Wide".to_owned() }];
    let report = policy::report(conn, &declared).unwrap();
    let (_, new) = added(conn, |conn| policy::record_evidence(conn, &report, "worker", None).unwrap());
    let detail = &new[0].3;
    let kept = detail["excluded"].as_array().unwrap().len() as u64;
    assert!(kept > 100 && kept + detail["excluded_left_out"].as_u64().unwrap() == 700, "{kept}");
    assert_eq!((&detail["masked"], &detail["masked_left_out"]), (&json!([]), &json!(1)));
}

#[test]
fn who_may_not_record_works_as_before_and_leaves_no_record() {
    let db = trail();
    let conn = &mut db.connect();
    let clerk = TestRole::new(&db, "clerk");
    run(
        conn,
        &format!(
            "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA threadline TO {0};
            GRANT SELECT ON notes TO {0};
            GRANT EXECUTE ON FUNCTION threadline.find_table(text, regclass), threadline.row_key(integer, jsonb) TO {0};
            REVOKE EXECUTE ON FUNCTION threadline.record_application_evidence(jsonb) FROM PUBLIC",
            clerk.name()
        ),
    );
    let host = &mut clerk.connect();
    let hold =
        holds::place(host, &Hold::new("lawsuit").table(table("notes")), &Actor::admin(1)).unwrap().hold;
    holds::release(host, hold.id, &Actor::admin(1), "settled").unwrap();
    let (claim, summary) = claimed(host);
    exports::complete(host, &claim, &summary, LEASE).unwrap();
    let Download::Ready(ready) = exports::download_granted(host, claim.job().id).unwrap() else { panic!() };
    assert_eq!(exports::record_delivery(host, &ready, None, "GET /links").unwrap(), None);
    let report = verify::verify(host, &Expected::new().declared(Vec::new())).unwrap();
    assert_eq!(verify::record_evidence(host, &report, "CI", None).unwrap(), []);
    let posture = Trail::unscoped().record_posture(host, Reference::new("role", "x"), "startup", None);
    assert_eq!(posture.unwrap(), None);
    // The owner of the trail, to whom the one function is denied.
    run(conn, &format!(
        "DO $$ DECLARE t record; BEGIN FOR t IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind IN ('r', 'p') LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO {0}', t.name); END LOOP; END $$;
        ALTER SCHEMA threadline OWNER TO {0}; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA threadline TO {0};
        REVOKE EXECUTE ON FUNCTION threadline.record_evidence(jsonb) FROM {0}",
        clerk.name()
    ));
    assert!(retain(host, &everything_goes(), ControlFlow::Continue(())).unwrap().changes > 0);
    assert_eq!(records(conn), []);
}

#[test]
fn a_fact_and_its_record_are_there_together_or_not_at_all() {
    let db = trail();
    let conn = &mut db.connect();
    let (claim, summary) = claimed(conn);
    let held = holds::place(conn, &Hold::new("before").table(table("notes")), &Actor::admin(1)).unwrap().hold;
    // From here on no record can be written.
    run(
        conn,
        "CREATE FUNCTION no_records() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk full'; END $$;
        CREATE TRIGGER no_records BEFORE INSERT ON threadline.evidence_records FOR EACH ROW EXECUTE FUNCTION no_records()",
    );
    let facts = "SELECT string_agg(id || ' ' || (released_at IS NULL), ',' ORDER BY id) || ' ' || (SELECT string_agg(state, ',') FROM threadline.export_jobs) FROM threadline.legal_holds";
    let before = text(conn, facts);
    holds::place(conn, &Hold::new("lost"), &Actor::admin(1)).unwrap_err();
    holds::release(conn, held.id, &Actor::admin(1), "lost").unwrap_err();
    exports::complete(conn, &claim, &summary, LEASE).unwrap_err();
    assert_eq!(text(conn, facts), before);
    retain(conn, &everything_goes(), ControlFlow::Continue(())).unwrap_err();
    let ended = "SELECT count(*) FROM threadline.retention_runs WHERE state <> 'running'";
    assert_eq!(text(conn, ended), "0", "a run that ended has a record");
    run(conn, "DROP TRIGGER no_records ON threadline.evidence_records");
    let (_, new) = added(conn, |conn| exports::complete(conn, &claim, &summary, LEASE).unwrap());
    assert_eq!(new.len(), 1);
    let (_, new) = added(conn, |conn| holds::release(conn, held.id, &Actor::admin(1), "done").unwrap());
    assert_eq!(new.len(), 1);
}

#[test]
fn no_table_is_on_record_as_covered_while_what_its_triggers_write_is_lost() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY); SELECT threadline.attach('notes');
        CREATE RULE lost AS ON INSERT TO threadline.audit_changes DO INSTEAD NOTHING",
    );
    let covered = health::coverage(conn, &CoverageOptions::default()).unwrap();
    let (_, new) = added(conn, |conn| health::record_evidence(conn, &covered, "a test", None).unwrap());
    let of_notes = new.iter().find(|(.., detail)| detail["coverage"] == "covered").unwrap();
    assert_eq!((of_notes.1, &of_notes.3["trail"]), (Status::Finding, &json!(["trail_rule"])));
    run(conn, "DROP RULE lost ON threadline.audit_changes");
    let (_, new) = added(conn, |conn| health::record_evidence(conn, &covered, "a test", None).unwrap());
    let of_notes = new.iter().find(|(.., detail)| detail["coverage"] == "covered").unwrap();
    assert_eq!((of_notes.1, &of_notes.3["trail"]), (Status::Ok, &Value::Null));
}
