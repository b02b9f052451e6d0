//! The queue: one job, one worker; whoever lost a job can do nothing to it.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::PgConnection;
use threadline::exports::{self, Claim, ExportFailure, ExportRequest, ExportState};
use threadline::{Actor, ActorId, Error, ExportFormat, ExportOptions, Filter, RowKey, Trail};
use threadline_tests::{audited_database, clock, refused, run, table, text, texts};

use super::{Directory, alice, direct, eager, everything, finished, job, notes, the_file};

const LEASE: Duration = Duration::from_secs(60);

fn claimed(conn: &mut PgConnection, worker: &str) -> Option<Claim> {
    exports::claim(conn, worker, LEASE).unwrap()
}

/// As if nothing had been heard of whoever has a job, for longer than anything else is due.
fn lapse(conn: &mut PgConnection) {
    run(conn, "UPDATE threadline.export_jobs SET due_at = now() - interval '1 day' WHERE state = 'running'");
}

#[test]
fn ten_workers_make_one_job_into_one_file() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 500, 1000);
    let directory = Directory::new();
    let workers: Vec<_> =
        (0..10).map(|_| eager(&db, directory.storage()).build().unwrap().spawn().unwrap()).collect();
    std::thread::sleep(Duration::from_millis(300));
    let id = exports::enqueue(conn, &everything(ExportFormat::Ndjson), &alice()).unwrap().id;
    let made = finished(conn, id);
    std::thread::sleep(Duration::from_millis(300));
    workers.into_iter().for_each(threadline_worker::WorkerHandle::stop);
    assert_eq!(job(conn, id), made);
    assert_eq!((made.state, made.attempt, made.failures), (ExportState::Completed, 1, 0));
    let options = ExportOptions::new(ExportFormat::Ndjson).unlimited();
    assert!(the_file(&directory, &made) == direct(conn, &Trail::unscoped(), &Filter::new(), &options));
}

#[test]
fn of_workers_that_ask_at_once_each_gets_another_job() {
    let db = audited_database();
    let conn = &mut db.connect();
    for _ in 0..55 {
        exports::enqueue(conn, &everything(ExportFormat::Csv), &alice()).unwrap();
    }
    let barrier = Barrier::new(10);
    let taken: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(|| {
                    let conn = &mut db.connect();
                    barrier.wait();
                    std::iter::from_fn(|| claimed(conn, "w")).map(|claim| claim.job().id).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((taken.len(), taken.iter().collect::<BTreeSet<_>>().len()), (55, 55));
}

#[test]
fn whoever_has_lost_a_job_can_do_nothing_to_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 3, 3);
    exports::enqueue(conn, &everything(ExportFormat::Csv), &alice()).unwrap();
    let first = claimed(conn, "first").unwrap();
    assert!(claimed(conn, "second").is_none());
    exports::heartbeat(conn, &first, 1, 2, LEASE).unwrap();
    let summary = first.export(conn, None, std::io::sink(), |_| {}).unwrap();
    lapse(conn);
    let second = claimed(conn, "second").unwrap();
    assert_eq!((second.job().attempt, second.job().failures), (2, 1));
    assert_ne!(first.object_name(), second.object_name());
    assert_eq!(second.earlier_object_names(), [first.object_name()]);
    let before = job(conn, first.job().id);
    let lost = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::ExportClaimLost { .. })), "{result:?}");
    };
    lost(exports::heartbeat(conn, &first, 9, 9, LEASE));
    lost(exports::hand_back(conn, &first));
    lost(exports::fail(conn, &first, ExportFailure::Storage).map(drop));
    lost(exports::complete(conn, &first, &summary, LEASE).map(drop));
    assert_eq!(job(conn, first.job().id), before);

    let made = exports::complete(conn, &second, &summary, LEASE).unwrap();
    assert_eq!(
        exports::complete(conn, &second, &summary, LEASE).unwrap().expires_at,
        made.expires_at,
        "said twice"
    );
    lost(exports::complete(conn, &first, &summary, LEASE).map(drop));
    lost(exports::fail(conn, &second, ExportFailure::Storage).map(drop));
    lost(exports::hand_back(conn, &second));
    assert_eq!(job(conn, first.job().id).state, ExportState::Completed);
}

#[test]
fn a_job_that_kills_its_workers_is_abandoned_in_the_end() {
    let db = audited_database();
    let conn = &mut db.connect();
    let id = exports::enqueue(conn, &everything(ExportFormat::Csv).max_failures(3), &alice()).unwrap().id;
    for attempt in 1..=3 {
        assert_eq!(claimed(conn, "w").unwrap().job().attempt, attempt);
        lapse(conn);
    }
    assert!(claimed(conn, "w").is_none());
    let failed = job(conn, id);
    assert_eq!(
        (failed.state, failed.error, failed.failures),
        (ExportState::Failed, Some(ExportFailure::Abandoned), 3)
    );
    let left = exports::sweep(conn, None, 10).unwrap();
    assert_eq!(left[0].object_names().len(), 3, "each attempt may have left a file");
}

#[test]
fn a_job_handed_back_has_not_failed_and_one_that_can_never_do_better_has() {
    let db = audited_database();
    let conn = &mut db.connect();
    exports::enqueue(conn, &everything(ExportFormat::Csv).max_failures(1), &alice()).unwrap();
    for attempt in 1..5 {
        let claim = claimed(conn, "w").unwrap();
        assert_eq!((claim.job().attempt, claim.job().failures), (attempt, 0));
        exports::hand_back(conn, &claim).unwrap();
    }
    let claim = claimed(conn, "w").unwrap();
    assert_eq!(exports::fail(conn, &claim, ExportFailure::Storage).unwrap(), ExportState::Failed);
    exports::enqueue(conn, &everything(ExportFormat::Csv).max_failures(100), &alice()).unwrap();
    for (failure, expected) in [
        (ExportFailure::Database, ExportState::Queued),
        (ExportFailure::ScopeUnreadable, ExportState::Failed),
    ] {
        run(conn, "UPDATE threadline.export_jobs SET due_at = now()");
        let claim = claimed(conn, "w").unwrap();
        assert_eq!(exports::fail(conn, &claim, failure).unwrap(), expected);
    }
}

#[test]
fn nobody_owns_no_job_and_whatever_is_wrong_is_said_at_once() {
    let db = audited_database();
    let conn = &mut db.connect();
    notes(conn, 1, 1);
    let mut problems = |request: &ExportRequest, actor: &Actor| match exports::enqueue(conn, request, actor) {
        Err(Error::InvalidExportRequest(invalid)) => invalid.problems().to_vec(),
        other => panic!("{other:?}"),
    };
    let csv = || everything(ExportFormat::Csv);
    assert_eq!(
        problems(&csv(), &Actor::anonymous()),
        ["requester: is anonymous, and a job belongs to somebody"]
    );
    let blank = Actor::user(ActorId::try_from(" ").unwrap());
    assert_eq!(problems(&csv(), &blank), ["requester: id is blank, and a job belongs to somebody"]);
    let wrong = csv()
        .filter(Filter::new().request_id("").from(chrono::Utc::now()))
        .every(Duration::from_secs(59))
        .window(Duration::from_millis(1500))
        .keep(Duration::ZERO)
        .max_failures(0);
    let said = problems(&wrong, &Actor::anonymous());
    let fields: Vec<&str> = said.iter().map(|problem| problem.split(':').next().unwrap()).collect();
    assert_eq!(fields, ["requester", "filter", "every", "window", "keep", "window", "max_failures"]);
    let odd_key = Filter::new().table(table("notes")).key(RowKey::new([("a=b", "c")]).unwrap());
    assert_eq!(
        problems(&csv().filter(odd_key), &alice()),
        ["filter: cannot be stored; a key's column may have no `=`, a text no NUL"]
    );
    let unknown = csv().filter(Filter::new().table(table("never_audited")));
    assert!(matches!(exports::enqueue(conn, &unknown, &alice()), Err(Error::NotAudited { .. })));
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.export_jobs"), "0");
    for who in ["'anonymous', '1'", "'user', ' '", "'user', ''", "'user', NULL", "NULL, '1'"] {
        threadline_tests::refused(
            conn,
            &format!("INSERT INTO threadline.export_jobs (id, series_id, scheduled_at, requested_at, filter, scope, format, sort_order,
                formula_guard, max_failures, state, due_at, requester_type, requester_id)
                VALUES (gen_random_uuid(), gen_random_uuid(), now(), now(), '{{}}', '{{}}', 'csv', 'newest_first', true, 3, 'queued', now(), {who})"),
        );
    }
}

#[test]
fn jobs_are_their_owners_alone() {
    let db = audited_database();
    let conn = &mut db.connect();
    let mut ids: Vec<_> = (0..3)
        .map(|_| exports::enqueue(conn, &everything(ExportFormat::Csv), &alice()).unwrap().id)
        .collect();
    ids.sort();
    ids.reverse();
    for other in [Actor::user(2), Actor::admin(1), Actor::job(1), Actor::anonymous()] {
        assert_eq!(exports::get(conn, ids[0], &other).unwrap(), None);
        assert_eq!(exports::list(conn, &other, None, 10).unwrap(), []);
        assert_eq!(exports::cancel(conn, ids[0], &other).unwrap(), 0);
        assert_eq!(exports::cancel_all(conn, &other).unwrap(), 0);
        assert_eq!(exports::download(conn, ids[0], &other).unwrap(), exports::Download::NotFound);
    }
    assert_eq!(exports::download(conn, ids[0], &alice()).unwrap(), exports::Download::NotReady);
    let listed = |jobs: Vec<exports::ExportJob>| jobs.into_iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(listed(exports::list(conn, &alice(), None, 2).unwrap()), ids[..2]);
    assert_eq!(listed(exports::list(conn, &alice(), Some(ids[1]), 2).unwrap()), ids[2..]);
    assert_eq!(listed(exports::list_all(conn, None, 10).unwrap()), ids);
    assert_eq!(exports::cancel(conn, ids[0], &alice()).unwrap(), 1);
    assert_eq!(exports::cancel_all(conn, &alice()).unwrap(), 2);
    assert!(claimed(conn, "w").is_none());
    assert_eq!(exports::sweep(conn, None, 10).unwrap(), [], "nobody has written anything");
}

#[test]
fn windows_of_a_recurring_export_have_every_change_once() {
    let db = audited_database();
    let conn = &mut db.connect();
    let begins: DateTime<Utc> = text(
        conn,
        "SELECT to_char(date_trunc('hour', now() AT TIME ZONE 'UTC') + interval '2 hours', 'YYYY-MM-DD\"T\"HH24:MI:SSZ')",
    )
    .parse()
    .unwrap();
    run(
        conn,
        &format!(
            "CREATE TABLE notes (id integer PRIMARY KEY); SELECT threadline.attach('notes');
            INSERT INTO notes SELECT generate_series(1, 300);
            -- A change every 30 seconds, some of them exactly where one window ends and the next one begins.
            UPDATE threadline.audit_changes SET captured_at = timestamptz '{begins}' + row_key::integer * interval '30 seconds'"
        ),
    );
    let length = TimeDelta::minutes(10);
    let request = everything(ExportFormat::Ndjson)
        .at(begins + length)
        .every(Duration::from_secs(600))
        .window(Duration::from_secs(600));
    let first = exports::enqueue(conn, &request, &alice()).unwrap();
    assert!(claimed(conn, "w").is_none(), "before its time");
    let mut rows = 0;
    for number in 1..=15 {
        run(conn, "UPDATE threadline.export_jobs SET due_at = now() WHERE state = 'queued'");
        let claim = claimed(conn, "w").unwrap();
        let end = begins + length * number;
        assert_eq!((claim.job().series_id, claim.job().scheduled_at), (first.id, end));
        let summary = claim.export(conn, None, std::io::sink(), |_| {}).unwrap();
        if let (Some(earliest), Some(latest)) = (summary.earliest, summary.latest) {
            assert!(earliest >= end - length && latest < end);
        }
        rows += summary.rows;
        exports::complete(conn, &claim, &summary, LEASE).unwrap();
    }
    assert_eq!(rows, 299, "all but the one at the end of the last window");
}

#[test]
fn a_recurring_export_goes_on_until_it_is_cancelled() {
    let db = audited_database();
    let conn = &mut db.connect();
    let now = clock(conn);
    let request =
        everything(ExportFormat::Csv).at(now - TimeDelta::minutes(5)).every(Duration::from_secs(120));
    let first = exports::enqueue(conn, &request, &alice()).unwrap();
    let mut scheduled = Vec::new();
    while let Some(claim) = claimed(conn, "w") {
        scheduled.push(claim.job().scheduled_at - first.scheduled_at);
        // Taken twice, it has one successor all the same.
        lapse(conn);
        let claim = claimed(conn, "w").unwrap();
        exports::fail(conn, &claim, ExportFailure::Refused).unwrap();
    }
    assert_eq!(scheduled, [0, 2, 4].map(TimeDelta::minutes), "each that was missed, and those to come later");
    let states = "SELECT state FROM threadline.export_jobs ORDER BY scheduled_at";
    assert_eq!(texts(conn, states), ["failed", "failed", "failed", "queued"]);
    assert_eq!(exports::cancel(conn, first.id, &Actor::user(2)).unwrap(), 0);
    assert_eq!(exports::cancel(conn, first.id, &alice()).unwrap(), 1, "the one to come");
    assert_eq!(texts(conn, states), ["failed", "failed", "failed", "cancelled"]);
    run(conn, "UPDATE threadline.export_jobs SET due_at = now() - interval '1 day'");
    assert!(claimed(conn, "w").is_none());

    let long_ago =
        everything(ExportFormat::Csv).at(now - TimeDelta::days(3650)).every(Duration::from_secs(60));
    exports::enqueue(conn, &long_ago, &alice()).unwrap();
    let mut made = 0;
    while let Some(claim) = claimed(conn, "w") {
        made += 1;
        exports::fail(conn, &claim, ExportFailure::Refused).unwrap();
    }
    assert!((100..=102).contains(&made), "{made}");
}

/// Whoever may queue exports writes the table; one row that no worker can read would stop all of them.
#[test]
fn a_job_that_no_worker_could_read_cannot_be_written() {
    let db = audited_database();
    let conn = &mut db.connect();
    let id = exports::enqueue(conn, &everything(ExportFormat::Csv), &alice()).unwrap().id;
    for (column, value) in [
        ("every_seconds", "9223372036854775807"),
        ("window_seconds", "9223372036854775807"),
        ("keep_seconds", "9223372036854775807"),
        ("scheduled_at", "'infinity'"),
        ("requested_at", "'-infinity'"),
        ("due_at", "'infinity'"),
        ("due_at", "'0044-03-15 BC'"),
    ] {
        let said = refused(conn, &format!("UPDATE threadline.export_jobs SET {column} = {value}"));
        assert!(said.contains("export_jobs") && said.contains("_check"), "{column}: {said}");
    }
    assert_eq!(job(conn, id).state, ExportState::Queued);
}

#[test]
fn one_requester_has_a_hundred_jobs_under_way_at_most() {
    let db = audited_database();
    let conn = &mut db.connect();
    let ask = |conn: &mut PgConnection, whose: &Actor| {
        exports::enqueue(conn, &everything(ExportFormat::Csv), whose)
    };
    let first = ask(conn, &alice()).unwrap().id;
    for _ in 1..100 {
        ask(conn, &alice()).unwrap();
    }
    let said = ask(conn, &alice()).unwrap_err().to_string();
    assert!(said.contains("requester: has 100 exports under way already"), "{said}");
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.export_jobs"), "100");
    // Another one is not held up, nor is who has cancelled one.
    ask(conn, &Actor::user(77)).unwrap();
    exports::cancel(conn, first, &alice()).unwrap();
    ask(conn, &alice()).unwrap();
}

#[test]
fn requesters_take_turns_however_many_jobs_one_of_them_has() {
    let db = audited_database();
    let conn = &mut db.connect();
    let ask = |conn: &mut PgConnection, whose: &Actor| {
        exports::enqueue(conn, &everything(ExportFormat::Csv), whose).unwrap().id
    };
    let of_alice: Vec<_> = (0..20).map(|_| ask(conn, &alice())).collect();
    let of_bob = ask(conn, &Actor::user(77));
    let turns: Vec<_> = (0..3).map(|_| claimed(conn, "a").unwrap().job().id).collect();
    assert_eq!(turns, [of_alice[0], of_bob, of_alice[1]]);
}
