//! Runs: one at a time, on record, and whatever kills one, the next completes it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use threadline::retention::{self, RetentionPolicy, RunState};
use threadline::{Error, FeedCursor, Filter, Trail};
use threadline_tests::{TestRole, audited_cluster, audited_database, pooled_behind, run, table, text, texts};

use super::model::{Cutoffs, Model};
use super::{count, operator, policy, retain, since, split_time, try_retain, wait_for_end};

const NOTES: &str =
    "CREATE TABLE notes (id integer PRIMARY KEY, v integer); CREATE TABLE kept (LIKE notes INCLUDING ALL);
    SELECT threadline.attach('notes'), threadline.attach('kept')";

/// Transactions over several partitions, some of which have to be thinned.
fn fill(conn: &mut PgConnection, transactions: usize) {
    run(conn, NOTES);
    split_time(conn, 6, Duration::from_millis(40));
    for n in 0..transactions {
        let kept = if n % 40 < 20 { format!("INSERT INTO kept VALUES ({n}, 0);") } else { String::new() };
        run(
            conn,
            &format!(
                "BEGIN; SELECT threadline.record_action('{{\"actor\": {{\"type\": \"user\", \"id\": \"{n}\"}}}}', '{{\"name\": \"note\"}}'); \
                 INSERT INTO notes VALUES ({n}, 0), (-{n}-1, 0); {kept} UPDATE notes SET id = id + 100000 WHERE id = {n}; DELETE FROM notes WHERE id = {n} + 100000; COMMIT"
            ),
        );
        thread::sleep(Duration::from_millis(4));
    }
    thread::sleep(Duration::from_millis(50));
}

fn whole() -> RetentionPolicy {
    policy(Duration::ZERO).table(table("kept"), Duration::from_secs(100_000)).batch_rows(7)
}

/// What a transaction has left of a table, it has all of or nothing.
fn assert_nothing_half(conn: &mut PgConnection) {
    assert_eq!(
        texts(
            conn,
            "SELECT c.transaction_id || ' ' || count(*) FROM threadline.audit_changes c WHERE c.table_id = threadline.table_id('notes'::regclass) GROUP BY c.transaction_id HAVING count(*) <> 4
             UNION ALL SELECT 'no transaction ' || c.transaction_id FROM threadline.audit_changes c WHERE NOT EXISTS (SELECT FROM threadline.audit_transactions t WHERE t.id = c.transaction_id)"
        ),
        Vec::<String>::new()
    );
}

#[test]
fn of_actions_and_transactions_that_have_gone_it_is_told_from_when_on_all_are_there() {
    let db = audited_database();
    let conn = &mut db.connect();
    fill(conn, 60);
    let trail = Trail::unscoped();
    let told = |conn: &mut PgConnection, filter: &Filter| {
        let actions = trail.removed_actions(conn, filter).unwrap();
        [actions, trail.removed_transactions(conn, filter).unwrap()].map(|horizon| horizon.map(|h| h.before))
    };
    assert_eq!(told(conn, &Filter::new()), [None, None]);
    const TABLES: [&str; 2] = ["audit_actions", "audit_transactions"];
    for name in TABLES {
        run(conn, &format!("CREATE TABLE {name}_before AS SELECT id, occurred_at FROM threadline.{name}"));
    }
    // First months that go as a whole, then batches of those in which something is kept; some transactions keep an action alone.
    let policies = [
        policy(Duration::from_millis(1)),
        whole(),
        whole().keep(Duration::ZERO).action("note", Duration::from_secs(100_000)),
    ];
    for policy in [&policies[2], &policies[1], &policies[0]] {
        retain(conn, policy);
        let before = told(conn, &Filter::new());
        for (name, before) in TABLES.into_iter().zip(before) {
            let newest = text(
                conn,
                &format!(
                    "SELECT coalesce(to_char(max(b.occurred_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), '') FROM {name}_before b \
                     WHERE NOT EXISTS (SELECT FROM threadline.{name} n WHERE n.id = b.id)"
                ),
            );
            let Ok(newest) = newest.parse::<chrono::DateTime<chrono::Utc>>() else {
                assert_eq!(before, None, "{name}: none has gone");
                continue;
            };
            let before = before.unwrap_or_else(|| panic!("{name}: the newest that went is of {newest}"));
            assert!(
                newest < before && before - newest <= chrono::TimeDelta::milliseconds(1),
                "{name}: {before}"
            );
            let place = usize::from(name == TABLES[1]);
            assert_eq!(told(conn, &Filter::new().from(newest))[place], Some(before), "inclusive");
            assert_eq!(told(conn, &Filter::new().from(before))[place], None, "all are there");
        }
    }
}

#[test]
fn killed_at_any_statement_the_next_run_completes_what_was_begun() {
    let db = audited_database();
    let conn = &mut db.connect();
    fill(conn, 60);
    let mut model = Model::read(conn);
    let mut killed = 0;
    let mut seed = 7_u64;
    let killer = &mut db.connect();
    for round in 0_u64.. {
        let done = AtomicBool::new(false);
        let (is_named, named) = mpsc::channel();
        let outcome = thread::scope(|scope| {
            let runner = scope.spawn(|| {
                let conn = &mut db.connect();
                conn.batch_execute("SET application_name = 'victim'").unwrap();
                is_named.send(()).unwrap();
                let outcome = try_retain(conn, &whole());
                done.store(true, Ordering::Relaxed);
                outcome
            });
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            named.recv().unwrap();
            // Later and later, so that it ends at last.
            thread::sleep(Duration::from_micros(5_000 + (seed >> 33) % 40_000 + round * 15_000));
            if !done.load(Ordering::Relaxed) {
                run(
                    killer,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'",
                );
            }
            runner.join().unwrap()
        });
        assert_nothing_half(conn);
        match outcome {
            Ok(done) => {
                assert_eq!(done.state, RunState::Completed);
                assert!(done.resumes.is_some() || killed == 0, "{done:?}");
                break;
            }
            Err(Error::ConnectionLost(_) | Error::Query(_)) => killed += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(killed > 3, "killed {killed} times");
    model.purge(&Cutoffs::of_last_run(conn), &[]);
    assert_eq!(Model::read(conn).contents(), model.contents());
    assert_eq!(count(conn, "retention_months"), 0);
    let states =
        texts(conn, "SELECT state || ' ' || coalesce(error, '-') FROM threadline.retention_runs ORDER BY id");
    let (last, died) = states.split_last().unwrap();
    assert!(
        last == "completed -"
            && died.len() <= killed
            && died.len() > 1
            && died.iter().all(|state| state == "abandoned died"),
        "{states:?}"
    );
    // Twice is no more than once.
    let again = retain(conn, &whole());
    assert_eq!((again.changes, again.actions, again.transactions, again.months), (0, 0, 0, 0));
}

#[test]
fn a_month_whose_detach_was_interrupted_is_finished_by_the_next_run() {
    let db = audited_database();
    let (conn, reader) = (&mut db.connect(), &mut db.connect());
    run(conn, NOTES);
    split_time(conn, 3, Duration::from_millis(40));
    run(conn, "INSERT INTO notes VALUES (1, 1)");
    thread::sleep(Duration::from_millis(150));
    run(
        conn,
        "SELECT threadline.retention_leave(NULL, '_2001_01', jsonb_build_object('keep', now(), 'tables', '{}'::jsonb, 'actions', '{}'::jsonb, 'newest', now()))",
    );
    run(reader, "BEGIN; SELECT count(*) FROM threadline.audit_changes");
    let detached = conn.batch_execute(
        "SET statement_timeout = '300ms'; ",
    ).and_then(|()| conn.batch_execute("ALTER TABLE threadline.audit_changes DETACH PARTITION threadline.audit_changes_2001_01 CONCURRENTLY"));
    assert!(detached.is_err(), "the reader holds it off");
    run(conn, "RESET statement_timeout");
    assert_eq!(text(conn, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending"), "1");
    // Nothing waits for it, and writes go on.
    run(&mut db.connect(), "INSERT INTO notes VALUES (2, 2)");
    let waiting = retain(conn, &policy(Duration::ZERO).statement_timeout(Duration::from_millis(200)));
    assert_eq!(
        (waiting.months, waiting.state),
        (0, RunState::Completed),
        "one detach at a time: {waiting:?}"
    );
    run(reader, "COMMIT");
    let done = retain(conn, &policy(Duration::ZERO));
    assert_eq!(done.months, 3, "{done:?}");
    assert_eq!(text(conn, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending"), "0");
    assert_eq!(text(conn, "SELECT to_regclass('threadline.audit_changes_2001_01') IS NULL"), "true");
}

#[test]
fn readers_in_a_snapshot_of_before_are_waited_for() {
    let db = audited_database();
    let (conn, reader) = (&mut db.connect(), &mut db.connect());
    run(conn, NOTES);
    split_time(conn, 1, Duration::from_secs(2));
    run(conn, "INSERT INTO notes VALUES (1, 1)");
    let at = threadline_tests::clock(conn);
    run(conn, "UPDATE notes SET v = 2");
    wait_for_end(conn);
    // It has a snapshot, and no lock on the trail yet.
    run(reader, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1");
    let short = policy(Duration::ZERO).statement_timeout(Duration::from_millis(200));
    let mut postponed = 0;
    let done = retention::run(conn, &short, &operator(), None, &mut |step| {
        postponed += usize::from(matches!(step, retention::Progress::Postponed { .. }));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((done.months, done.changes), (0, 0));
    assert!(postponed > 0);
    use threadline::AsOf;
    let then = |conn: &mut PgConnection| threadline_tests::as_of(conn, "notes", "id=1", at);
    assert!(matches!(then(reader), AsOf::Present(_)));
    assert!(matches!(then(conn), AsOf::BeforeHorizon { .. }));
    run(reader, "COMMIT");
    // Nobody else's snapshot is in the way, so it takes as long as it takes.
    assert_eq!(retain(conn, &policy(Duration::ZERO)).changes, 2);
    assert!(matches!(then(reader), AsOf::BeforeHorizon { .. }));
}

#[test]
fn one_runs_at_a_time_and_a_dead_one_is_noticed_at_once() {
    let db = audited_database();
    let conn = &mut db.connect();
    fill(conn, 20);
    let mut tried = false;
    let by = operator();
    retention::run(conn, &whole(), &by, None, &mut |_| {
        if !tried {
            tried = true;
            let refused = try_retain(&mut db.connect(), &whole());
            assert!(matches!(&refused, Err(Error::RetentionRunning)), "{refused:?}");
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(tried);
    // Stopped half-way, it has failed and says how.
    run(conn, "INSERT INTO notes VALUES (1000, 1)");
    let stopped = retention::run(conn, &whole(), &by, None, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Error::RetentionStopped)), "{stopped:?}");
    let runs = retention::runs(conn, 1).unwrap();
    assert_eq!((runs[0].state, runs[0].error.as_deref()), (RunState::Failed, Some("stopped")));
    // The process of this one is that of another session by now.
    run(
        conn,
        "INSERT INTO threadline.retention_runs (asked_by, policy, silence_limit, backend_pid, backend_start) SELECT '{\"type\": \"system\", \"id\": \"x\"}', '{}', '1 hour', pid, backend_start - interval '1 second' FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    );
    let resumed = retain(conn, &whole());
    assert!(resumed.resumes.is_some(), "{resumed:?}");
    // What was taken for dead and is not, stops by itself.
    let superseded = retention::run(
        conn,
        &whole().keep(Duration::ZERO).table(table("kept"), Duration::ZERO),
        &by,
        None,
        &mut |_| {
            run(
                &mut db.connect(),
                "UPDATE threadline.retention_runs SET state = 'abandoned' WHERE state = 'running'",
            );
            ControlFlow::Continue(())
        },
    );
    assert!(matches!(&superseded, Err(Error::RetentionSuperseded)), "{superseded:?}");
}

#[test]
fn through_pgbouncer_it_runs_and_a_silent_run_is_dead() {
    let db = audited_database();
    fill(&mut db.connect(), 20);
    let (_pooler, pool) = pooled_behind(&db, 2, 2);
    let conn = &mut pool.get().unwrap();
    // Its client is gone, and the server process serves others.
    run(
        conn,
        "INSERT INTO threadline.retention_runs (asked_by, policy, silence_limit, backend_pid, backend_start) SELECT '{\"type\": \"system\", \"id\": \"x\"}', '{}', '1 second', pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    );
    assert!(try_retain(conn, &whole()).is_err());
    thread::sleep(Duration::from_millis(1_100));
    let done = retain(conn, &whole());
    assert!(done.resumes.is_some() && done.changes > 0 && done.months > 0, "{done:?}");
}

#[test]
fn an_owner_who_sees_no_other_roles_sessions_runs_it_and_nobody_else_does() {
    let db = audited_database();
    let conn = &mut db.connect();
    fill(conn, 20);
    let (owner, reader) = (TestRole::new(&db, "owner"), TestRole::new(&db, "reader"));
    run(
        conn,
        &format!(
            "DO $$ DECLARE t record; BEGIN FOR t IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind IN ('r', 'p') LOOP
                EXECUTE format('ALTER TABLE %s OWNER TO {0}', t.name); END LOOP; END $$;
            ALTER SCHEMA threadline OWNER TO {0}; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA threadline TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA threadline TO {1}",
            owner.name(),
            reader.name()
        ),
    );
    let refused = try_retain(&mut reader.connect(), &policy(Duration::ZERO));
    assert!(refused.is_err(), "{refused:?}");
    let refused = retention::plan(&mut reader.connect(), &policy(Duration::ZERO), false);
    let takes = format!("connect as `{}`", owner.name());
    assert!(
        matches!(&refused, Err(Error::Refused { hint: Some(hint), .. }) if hint.starts_with(&takes)),
        "{refused:?}"
    );
    assert!(retention::plan(&mut owner.connect(), &policy(Duration::ZERO), false).is_ok());
    // A run of another role's that is alive, as far as can be seen.
    run(
        conn,
        "INSERT INTO threadline.retention_runs (asked_by, policy, silence_limit, backend_pid, backend_start) SELECT '{\"type\": \"system\", \"id\": \"x\"}', '{}', '1 hour', pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    );
    assert!(try_retain(&mut owner.connect(), &policy(Duration::ZERO)).is_err());
    run(conn, "UPDATE threadline.retention_runs SET backend_pid = 0");
    let done = retain(&mut owner.connect(), &policy(Duration::ZERO));
    assert!(done.months > 0 && done.resumes.is_some(), "{done:?}");
    assert!(run_fails(&mut reader.connect(), "DELETE FROM threadline.audit_changes"));
}

fn run_fails(conn: &mut PgConnection, sql: &str) -> bool {
    conn.batch_execute(sql).is_err()
}

#[test]
fn writers_go_on_and_wait_for_no_longer_than_the_lock_timeout() {
    let db = audited_database();
    let conn = &mut db.connect();
    fill(conn, 60);
    let done = AtomicBool::new(false);
    let longest = thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let (db, done) = (&db, &done);
                scope.spawn(move || {
                    let conn = &mut db.connect();
                    let mut longest = Duration::ZERO;
                    for n in 0.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        let began = Instant::now();
                        run(conn, &format!("INSERT INTO notes VALUES (1000000 * {writer} + 10000 + {n}, 1)"));
                        longest = longest.max(began.elapsed());
                        thread::sleep(Duration::from_millis(1));
                    }
                    longest
                })
            })
            .collect();
        for _ in 0..3 {
            let taken = retain(conn, &whole().keep(Duration::from_millis(100)));
            assert_eq!(taken.state, RunState::Completed);
            thread::sleep(Duration::from_millis(100));
        }
        done.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).max().unwrap()
    });
    println!("the longest write took {longest:?}");
    // An order of magnitude: the machine is shared, and a write may come after another's wait.
    assert!(longest < Duration::from_millis(1_500), "{longest:?}");
    assert_nothing_half_after_writers(conn);
}

fn assert_nothing_half_after_writers(conn: &mut PgConnection) {
    assert_eq!(
        texts(
            conn,
            "SELECT c.transaction_id FROM threadline.audit_changes c WHERE NOT EXISTS (SELECT FROM threadline.audit_transactions t WHERE t.id = c.transaction_id)"
        ),
        Vec::<String>::new()
    );
}

#[test]
fn the_feed_says_that_what_it_had_not_read_was_removed_also_beside_what_is_held() {
    let db = audited_cluster();
    let conn = &mut db.connect("app").unwrap();
    run(conn, NOTES);
    for n in 1..=6 {
        run(conn, &format!("INSERT INTO notes VALUES ({n}, 1)"));
    }
    let trail = Trail::unscoped();
    let read =
        |conn: &mut PgConnection, cursor: &FeedCursor, limit| trail.read_feed(conn, cursor, limit).unwrap();
    let second = read(conn, &FeedCursor::beginning(), 2).cursor;
    let all = read(conn, &FeedCursor::beginning(), 100).cursor;
    use threadline::holds::{Hold, place};
    use threadline_tests::row_key;
    // The transaction the cursor is at, and the one before.
    for id in [1, 2] {
        place(conn, &Hold::new("case").row(table("notes"), row_key(&format!("id={id}"))), &operator())
            .unwrap();
    }
    assert_eq!(retain(conn, &policy(Duration::ZERO)).changes, 4);
    run(conn, "INSERT INTO notes VALUES (7, 1)");
    let batch = read(conn, &second, 100);
    assert_eq!((batch.purged, batch.entries.len()), (true, 1));
    assert!(!read(conn, &batch.cursor, 100).purged);
    // What the cursor is at has gone, and older ones are held: that is no rewound database.
    let batch = read(conn, &all, 100);
    assert_eq!((batch.purged, batch.entries.len()), (true, 1));
}

#[test]
fn a_policy_that_is_not_sound_says_all_its_problems_and_removes_nothing() {
    let db = audited_database();
    let conn = &mut db.connect();
    fill(conn, 10);
    let unsound = policy(Duration::ZERO)
        .table(table("nothing"), Duration::ZERO)
        .table(table("notes"), Duration::ZERO)
        .table(table("public.notes"), Duration::ZERO)
        .action("", Duration::ZERO)
        .batch_rows(0)
        .lock_timeout(Duration::ZERO);
    let said = match try_retain(conn, &unsound) {
        Err(Error::Refused { message, .. }) => message,
        other => panic!("{other:?}"),
    };
    for problem in ["batch_rows", "lock_timeout", "without a name", "never been audited", "twice"] {
        assert!(said.contains(problem), "{problem}: {said}");
    }
    assert_eq!(count(conn, "retention_runs"), 0);
    // The default keeps everything, and nothing that is younger than the minimum ever goes.
    let kept = count(conn, "audit_changes");
    for harmless in [RetentionPolicy::new(), RetentionPolicy::new().keep(Duration::ZERO)] {
        assert_eq!(retain(conn, &harmless).changes, 0);
    }
    assert_eq!(count(conn, "audit_changes"), kept);
    let plan = retention::plan(conn, &policy(Duration::ZERO), false).unwrap();
    assert!(plan.estimate.is_none() && !plan.months.is_empty(), "nothing has been measured yet: {plan:?}");
    let first = threadline_tests::clock(conn);
    retain(conn, &policy(since(first)));
    assert_eq!(count(conn, "audit_changes"), 0);
}

#[test]
fn a_server_that_crashes_in_the_middle_loses_nothing_and_the_next_run_completes() {
    let db = audited_cluster();
    let connect = || {
        for _ in 0..400 {
            if let Ok(conn) = db.connect("app") {
                return conn;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the server has not come back");
    };
    let conn = &mut connect();
    fill(conn, 40);
    let mut model = Model::read(conn);
    let mut crashed = 0;
    for round in 0_u64.. {
        let victim = &mut connect();
        let pid = text(victim, "SELECT pg_backend_pid()");
        let done = AtomicBool::new(false);
        let outcome = thread::scope(|scope| {
            let runner = scope.spawn(|| {
                let outcome = try_retain(victim, &whole());
                done.store(true, Ordering::Relaxed);
                outcome
            });
            thread::sleep(Duration::from_millis(15 + round * 40));
            if !done.load(Ordering::Relaxed) {
                // PostgreSQL answers the death of one of its processes by stopping all of them and recovering from its log.
                assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            }
            runner.join().unwrap()
        });
        if outcome.is_err() {
            // Until the others of its processes have noticed.
            thread::sleep(Duration::from_millis(500));
        }
        let conn = &mut connect();
        assert_nothing_half(conn);
        match outcome {
            Ok(done) => {
                assert_eq!(done.state, RunState::Completed);
                break;
            }
            Err(_) => crashed += 1,
        }
    }
    assert!(crashed > 1, "crashed {crashed} times");
    let conn = &mut connect();
    model.purge(&Cutoffs::of_last_run(conn), &[]);
    assert_eq!(Model::read(conn).contents(), model.contents());
    assert_eq!(count(conn, "retention_months"), 0);
}

#[test]
fn what_is_left_of_a_purged_past_is_not_undone_as_if_it_were_all() {
    use threadline::holds::{Hold, place};
    use threadline::{PastProblem, UndoTarget, undo};
    use threadline_tests::row_key;
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 1); INSERT INTO kept VALUES (1, 1)");
    run(conn, "BEGIN; UPDATE kept SET v = 2; UPDATE notes SET v = 2; COMMIT");
    let both =
        text(conn, "SELECT id FROM threadline.audit_transactions ORDER BY id DESC LIMIT 1").parse().unwrap();
    run(conn, "UPDATE notes SET v = 3");
    let held = text(conn, "SELECT transaction_id FROM threadline.audit_changes WHERE op = 'I' AND table_id = threadline.table_id('notes'::regclass)").parse().unwrap();
    let until = threadline_tests::clock(conn);
    let first = text(conn, "SELECT to_jsonb(min(captured_at)) #>> '{}' FROM threadline.audit_changes");
    let hold = Hold::new("case").table(table("notes")).to(first.parse().unwrap());
    place(conn, &hold, &operator()).unwrap();
    assert_eq!(
        retain(conn, &policy(since(until)).table(table("kept"), Duration::from_secs(1_000))).changes,
        2
    );
    let before_horizon = |outcome: Result<threadline::UndoPlan, Error>| {
        matches!(outcome, Err(Error::UnknownPast { reason: PastProblem::BeforeHorizon, .. }))
    };
    let plans = [
        UndoTarget::transaction(both),
        UndoTarget::transaction(held),
        UndoTarget::row(table("notes"), row_key("id=1"), until - chrono::TimeDelta::seconds(60)),
    ];
    for target in plans {
        let planned = undo::plan(conn, &target);
        assert!(before_horizon(planned), "{target:?}");
    }
}

#[test]
fn runs_that_find_nothing_due_are_one_row_and_one_record_a_day() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    let records = |conn: &mut PgConnection| {
        text(conn, "SELECT count(*) FROM threadline.evidence_records WHERE subject = 'retention_run'")
    };
    let looked: Vec<_> = (0..5).map(|_| retain(conn, &policy(Duration::ZERO))).collect();
    assert_eq!(looked.iter().map(|run| run.looks).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(looked.iter().all(|run| run.id == looked[0].id && run.started_at == looked[0].started_at));
    assert!(looked[4].ended_at > looked[0].ended_at);
    assert_eq!((retention::runs(conn, 9).unwrap().len(), records(conn).as_str()), (1, "1"));
    // What did something, or was asked for by somebody else, has a row of its own.
    run(conn, "INSERT INTO notes VALUES (1, 1)");
    assert_eq!(retain(conn, &policy(Duration::ZERO)).changes, 1);
    retain(conn, &policy(Duration::ZERO));
    let by = threadline::Actor::admin(7);
    let other = retention::run(conn, &policy(Duration::ZERO), &by, None, &mut |_| ControlFlow::Continue(()));
    assert_eq!(other.unwrap().looks, 1);
    let looks: Vec<_> = retention::runs(conn, 9).unwrap().iter().map(|run| run.looks).collect();
    assert_eq!((looks, records(conn).as_str()), (vec![1, 1, 1, 5], "4"));
}
