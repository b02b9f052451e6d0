//! Holds: they win over every window, until they are released, and nothing is forgotten of them.

use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use diesel::PgConnection;
use threadline::holds::{self, Hold, HoldWarning};
use threadline::retention::Progress;
use threadline::{Actor, Error};
use threadline_tests::{TestRole, audited_database, clock, row_key, run, table, text};

use super::{count, operator, policy, retain, split_time, try_retain, wait_for_end};

const NOTES: &str =
    "CREATE TABLE notes (id integer PRIMARY KEY, v integer); SELECT threadline.attach('notes')";

/// Ten changes, each of a transaction of its own, in partitions that have ended.
fn ten_notes(conn: &mut PgConnection) {
    run(conn, NOTES);
    split_time(conn, 6, Duration::from_millis(200));
    for n in 0..10 {
        run(conn, &format!("INSERT INTO notes VALUES ({n}, {n})"));
        thread::sleep(Duration::from_millis(60));
    }
    wait_for_end(conn);
}

#[test]
fn evidence_about_a_hold_stays_while_it_is_in_force_and_the_plan_says_what_goes_beside_the_trail() {
    let db = audited_database();
    let conn = &mut db.connect();
    let held = |conn: &mut diesel::PgConnection| {
        text(
            conn,
            "SELECT coalesce(string_agg(DISTINCT reference ->> 'hold', ' '), '') FROM threadline.evidence_records WHERE subject = 'legal_hold'",
        )
    };
    for reason in ["first", "second"] {
        holds::place(conn, &Hold::new(reason), &operator()).unwrap();
    }
    holds::release(conn, 1, &operator(), "over").unwrap();
    assert_eq!(held(conn), "1 2");
    let expiring = policy(Duration::from_secs(1000)).evidence(Duration::ZERO);
    let plan = threadline::retention::plan(conn, &expiring, false).unwrap();
    assert_eq!(plan.beside.evidence, 2, "placed and released: {plan:?}");
    retain(conn, &expiring);
    assert_eq!(held(conn), "2");
    holds::release(conn, 2, &operator(), "over").unwrap();
    retain(conn, &expiring);
    assert_eq!(held(conn), "");
}

#[test]
fn a_hold_says_who_why_and_when_and_is_never_forgotten() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 1)");
    let counsel = Actor::admin(7);
    let hold =
        Hold::new("case 12").row(table("notes"), row_key("id=1")).actor(Actor::anonymous()).to(clock(conn));
    let placed = holds::place(conn, &hold, &counsel).unwrap();
    assert_eq!(
        (placed.changes, &placed.warnings[..]),
        (Some(0), &[HoldWarning::MatchesNothing][..]),
        "somebody did it"
    );
    let placed = placed.hold;
    assert_eq!(
        (placed.row_key.as_deref(), placed.reason.as_str(), &placed.placed_by),
        (Some("1"), "case 12", &counsel)
    );
    assert_eq!(placed.table.as_ref().map(threadline::TableName::to_plain).as_deref(), Some("public.notes"));
    assert_eq!((&placed.actor, &placed.released_at), (&Some(Actor::anonymous()), &None));
    assert_eq!(holds::list(conn, false).unwrap(), std::slice::from_ref(&placed));
    let released = holds::release(conn, placed.id, &Actor::admin(8), "settled").unwrap();
    assert_eq!(
        (released.released_by.clone(), released.release_reason.as_deref()),
        (Some(Actor::admin(8)), Some("settled"))
    );
    assert_eq!(holds::list(conn, false).unwrap(), []);
    assert_eq!(holds::list(conn, true).unwrap(), [released]);

    let now = clock(conn);
    for refused in [
        holds::release(conn, placed.id, &counsel, "again"),
        holds::release(conn, 99, &counsel, "none"),
        holds::place(conn, &Hold::new(" "), &counsel).map(|placed| placed.hold),
        holds::place(conn, &Hold::new("x").from(now).to(placed.placed_at), &counsel)
            .map(|placed| placed.hold),
        holds::place(conn, &Hold::new("x").row(table("notes"), row_key("other=1")), &counsel)
            .map(|placed| placed.hold),
    ] {
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    }
    let unknown = holds::place(conn, &Hold::new("x").table(table("nothing")), &counsel);
    assert!(matches!(unknown, Err(Error::NotAudited { .. })), "{unknown:?}");
    assert_eq!(holds::list(conn, true).unwrap().len(), 1);
}

#[test]
fn what_was_held_goes_once_it_is_released_and_its_month_with_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    ten_notes(conn);
    let placed =
        holds::place(conn, &Hold::new("case").row(table("notes"), row_key("id=1")), &operator()).unwrap();
    assert_eq!((placed.changes, placed.warnings.len()), (Some(1), 0));
    let hold = placed.hold;
    let first = retain(conn, &policy(Duration::ZERO));
    assert!(first.months > 0, "{first:?}");
    assert_eq!((first.changes, count(conn, "audit_changes"), count(conn, "audit_transactions")), (9, 1, 1));
    assert_eq!(text(conn, "SELECT row_key FROM threadline.audit_changes"), "1");
    // It is no gap that what came after it has gone.
    run(conn, "UPDATE notes SET v = 5 WHERE id = 1");
    let history = threadline_tests::history(conn, "notes", "id=1");
    assert!(history.versions.iter().all(|version| !version.gap), "{history:?}");
    holds::release(conn, hold.id, &operator(), "over").unwrap();
    let second = retain(conn, &policy(Duration::ZERO));
    assert_eq!((second.changes, count(conn, "audit_changes")), (2, 0));
    assert!(second.months > 0);
}

#[test]
fn a_hold_that_is_placed_while_a_run_goes_on_holds() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    ten_notes(conn);
    // The last months that are due, at the first step.
    let mut placed = false;
    let by = operator();
    let done = threadline::retention::run(conn, &policy(Duration::ZERO), &by, None, &mut |step| {
        if !placed {
            assert!(matches!(step, Progress::Dropped { .. } | Progress::Batch { .. }), "{step:?}");
            holds::place(other, &Hold::new("case").row(table("notes"), row_key("id=5")), &by).unwrap();
            placed = true;
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(
        (done.changes, text(conn, "SELECT string_agg(row_key, ' ') FROM threadline.audit_changes")),
        (9, "5".to_owned())
    );
}

#[test]
fn a_hold_that_is_placed_after_a_month_was_detached_brings_it_back() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    ten_notes(conn);
    let before = clock(conn);
    // As a run leaves it that died before the drop.
    let label = text(
        conn,
        "SELECT replace(tableoid::regclass::text, 'threadline.audit_changes', '') FROM threadline.audit_changes ORDER BY captured_at OFFSET 4 LIMIT 1",
    );
    let decided = text(
        conn,
        &format!(
            "SELECT threadline.retention_leave(NULL, '{label}', jsonb_build_object('keep', now(), 'tables', '{{}}'::jsonb, 'actions', '{{}}'::jsonb, 'newest', now()))"
        ),
    );
    assert_eq!(decided, "due");
    let held = text(conn, &format!("SELECT min(row_key) FROM threadline.audit_changes{label}"));
    for table in ["audit_departures", "audit_changes"] {
        run(
            conn,
            &format!(
                "ALTER TABLE threadline.{table} DETACH PARTITION threadline.{table}{label} CONCURRENTLY"
            ),
        );
    }
    let gone = count(conn, "audit_changes");
    assert!(gone < 10);
    holds::place(other, &Hold::new("case").row(table("notes"), row_key(&format!("id={held}"))), &operator())
        .unwrap();
    retain(conn, &policy((chrono::Utc::now() - before).to_std().unwrap()));
    assert_eq!(text(conn, "SELECT string_agg(row_key, ' ') FROM threadline.audit_changes"), held);
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.retention_months"), "0");
}

#[test]
fn a_hold_that_a_run_waited_for_holds_whatever_the_isolation_is_by_default() {
    for isolation in ["repeatable read", "serializable"] {
        let db = audited_database();
        let (conn, other) = (&mut db.connect(), &mut db.connect());
        run(conn, &format!("{NOTES}; INSERT INTO notes VALUES (1, 1)"));
        run(
            other,
            r#"BEGIN; INSERT INTO threadline.legal_holds (placed_by, reason) VALUES ('{"type": "admin", "id": "1"}', 'case')"#,
        );
        let mut retaining = db.connect();
        run(&mut retaining, &format!("SET default_transaction_isolation = '{isolation}'"));
        let patient = policy(Duration::ZERO).lock_timeout(Duration::from_secs(20));
        let retained = thread::spawn(move || retain(&mut retaining, &patient));
        let waits = "SELECT count(*) FROM pg_locks WHERE relation = 'threadline.legal_holds'::regclass AND NOT granted";
        while text(conn, waits) == "0" && !retained.is_finished() {
            thread::sleep(Duration::from_millis(10));
        }
        run(other, "COMMIT");
        assert_eq!(retained.join().unwrap().changes, 0, "{isolation}");
        assert_eq!(count(conn, "audit_changes"), 1, "{isolation}");
    }
}

#[test]
fn the_key_of_a_dropped_table_is_held_in_its_stored_form() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE prices (cents numeric, at timestamptz, PRIMARY KEY (cents, at)); SELECT threadline.attach('prices');
        INSERT INTO prices VALUES (1.50, '2026-01-01T00:00:00Z')",
    );
    run(conn, "INSERT INTO prices VALUES (2, '2026-01-01T00:00:00Z')");
    run(conn, "DROP TABLE prices");
    let key = threadline::RowKey::new([("cents", "1.500"), ("at", "2026-01-01 01:00:00+01")]).unwrap();
    let placed = holds::place(conn, &Hold::new("case").row(table("prices"), key), &operator()).unwrap();
    assert_eq!((placed.changes, &placed.warnings[..]), (Some(1), &[][..]), "{placed:?}");
    retain(conn, &policy(Duration::ZERO));
    assert_eq!(count(conn, "audit_changes"), 1);
}

#[test]
fn what_was_captured_before_the_tenant_was_declared_is_told() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id integer PRIMARY KEY, org text); SELECT threadline.attach('notes')");
    run(conn, "INSERT INTO notes VALUES (1, 'acme'), (2, 'acme')");
    run(conn, "SELECT threadline.attach('notes', scope => 'org'); INSERT INTO notes VALUES (3, 'acme')");
    let placed = holds::place(conn, &Hold::new("case").scope("acme"), &operator()).unwrap();
    assert_eq!(
        (placed.changes, &placed.warnings[..]),
        (Some(1), &[HoldWarning::BeforeScope { changes: 2 }][..])
    );
    assert!(placed.warnings[0].to_string().contains("hold the table as well"));
    let placed = holds::place(conn, &Hold::new("case").scope("nobody"), &operator()).unwrap();
    assert_eq!(placed.warnings, [HoldWarning::MatchesNothing, HoldWarning::BeforeScope { changes: 2 }]);
}

#[test]
fn nothing_goes_while_row_security_hides_the_holds_from_who_removes() {
    let db = audited_database();
    let conn = &mut db.connect();
    ten_notes(conn);
    holds::place(conn, &Hold::new("all of it"), &operator()).unwrap();
    let owner = TestRole::new(&db, "owner");
    run(
        conn,
        &format!(
            "ALTER TABLE threadline.legal_holds ENABLE ROW LEVEL SECURITY; ALTER TABLE threadline.legal_holds FORCE ROW LEVEL SECURITY;
            DO $$ DECLARE item record; BEGIN
                FOR item IN SELECT c.oid::regclass AS name, c.relkind FROM pg_class c WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind IN ('r', 'p') LOOP
                    EXECUTE format('ALTER TABLE %s OWNER TO {0}', item.name);
                END LOOP;
                FOR item IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.pronamespace = 'threadline'::regnamespace LOOP
                    EXECUTE format('ALTER FUNCTION %s OWNER TO {0}', item.name);
                END LOOP;
                ALTER SCHEMA threadline OWNER TO {0};
            END $$; SET ROLE {0}",
            owner.name()
        ),
    );
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.legal_holds"), "0", "they are hidden");
    let outcome = try_retain(conn, &policy(Duration::ZERO));
    assert!(matches!(outcome, Err(Error::Query(_))), "{outcome:?}");
    assert_eq!(count(conn, "audit_changes"), 10);
}
