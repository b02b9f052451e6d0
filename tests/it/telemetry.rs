//! Telemetry: every name is in the registry, every label is the program's own text, and nothing of a person or a row gets out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use actix_web::rt;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use threadline::exports::{self, ExportFailure, ExportRequest, ExportState};
use threadline::health::{self, CoverageOptions, HealthOptions};
use threadline::holds::{self, Hold};
use threadline::retention::{self, RetentionPolicy};
use threadline::telemetry::{METRICS, MetricKind};
use threadline::{
    Action, Actor, ActorId, AuditContext, AuditSpec, Error, ExportFormat, ExportOptions, FeedCursor, Filter,
    HistoryLimit, PageRequest, Scope, Trail, UndoTarget, capture, partitions, travel,
};
use threadline_actix::{AuditedPool, export_download, export_download_by_token};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, clock, row_key, run, table, text};
use threadline_worker::{Connections, DownloadKey, Stop, Storage, Task, Worker};
use tracing_subscriber::fmt::format::FmtSpan;

/// In every row, key, actor, id, metadata, and in the errors of PostgreSQL and of the host.
const SECRET: &str = "s3cret";

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What metrics and traces say of `work`.
fn told_of(work: impl FnOnce(&'static PrometheusRecorder)) -> (String, String) {
    // For as long as the threads of a worker may have it.
    let recorder: &'static PrometheusRecorder =
        Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    metrics::with_local_recorder(recorder, || {
        tracing::subscriber::with_default(subscriber, || work(recorder));
    });
    let traces = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    (recorder.handle().render(), traces)
}

fn someone() -> Actor {
    Actor::user(ActorId::try_from(format!("{SECRET}-actor").as_str()).unwrap())
}

fn context() -> AuditContext {
    AuditContext::new(someone())
        .with_request_id(format!("{SECRET}-request"))
        .with_correlation_id(format!("{SECRET}-correlation"))
        .with_meta("plan", SECRET)
}

/// Everything the library does, well and badly.
fn everything(recorder: &'static PrometheusRecorder) {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id text PRIMARY KEY, body text, org text)");
    let spec = AuditSpec { scope: Some("org"), ..AuditSpec::default() };
    capture::attach(conn, &table("notes"), &spec).unwrap();
    capture::attach(conn, &table("nowhere"), &AuditSpec::default()).unwrap_err();
    let at = clock(conn);

    let insert = format!("INSERT INTO notes VALUES ('{SECRET}', '{SECRET}', '{SECRET}')");
    let write =
        |conn: &mut PgConnection, sql: &str| diesel::sql_query(sql).execute(conn).map_err(Error::from);
    let acting = || context().transaction().action(Action::new("note.written").reason(SECRET));
    acting().run(conn, |conn, _| write(conn, &insert)).unwrap();
    let wrong: uuid::Uuid = text(conn, "SELECT id FROM threadline.audit_transactions").parse().unwrap();
    acting().record_failures().run(conn, |conn, _| write(conn, &insert)).unwrap_err();
    acting()
        .run(conn, |conn, _| {
            write(conn, &insert).ok();
            Ok::<_, Error>(())
        })
        .unwrap_err();
    catch_unwind(AssertUnwindSafe(|| acting().run(conn, |_, _| -> Result<(), Error> { panic!("{SECRET}") })))
        .unwrap_err();
    AuditContext::new(someone())
        .with_request_id(format!("{SECRET}\u{0}"))
        .transaction()
        .run(conn, |_, _| Ok::<_, Error>(()))
        .unwrap_err();
    context().record_action(conn, &Action::new("note.read").failed(SECRET)).unwrap();

    let key = row_key(&format!("id={SECRET}"));
    let filter = Filter::new().correlation_id(format!("{SECRET}-correlation"));
    let page = PageRequest::new();
    let broken = Trail::scoped(|_| Err(SECRET.into()));
    let notes = table("notes");
    for trail in [Trail::unscoped(), Trail::scoped(|_| Ok(Scope::tenant(SECRET))), broken] {
        trail.timeline(conn, &filter).ok();
        trail.timeline_page(conn, &Filter::new().key(key.clone()), &page).ok();
        trail.count(conn, &filter, 10).ok();
        trail.actor_history(conn, &someone(), &Filter::new(), &page).ok();
        trail.actions(conn, &filter, &page).ok();
        trail.audit_transaction(conn, wrong).ok();
        trail.transaction_context(conn, wrong).ok();
        trail.incident_bundle(conn, wrong).ok();
        trail.audit_changes_for_transaction(conn, wrong, &page).ok();
        trail.row_history(conn, &notes, &key, HistoryLimit::All).ok();
        trail.row_as_of(conn, &notes, &key, at).ok();
        trail.table_as_of(conn, &notes, at, |_| Ok(())).ok();
        trail.row_diff(conn, &notes, &key, at, at).ok();
        trail
            .travel(conn, at, |conn| write(conn, &format!("SELECT * FROM notes WHERE id = '{SECRET}'")))
            .ok();
        trail.export(conn, &filter, &ExportOptions::new(ExportFormat::Ndjson), io::sink()).ok();
        trail.undo_plan(conn, &UndoTarget::transaction(wrong)).ok();
        trail.read_feed(conn, &FeedCursor::beginning(), 10).ok();
    }
    travel(conn, at, |conn| write(conn, &insert)).unwrap_err();
    governing(conn);
    exporting(&db, recorder);
    retaining(conn);
    capture::detach(conn, &notes).unwrap();
}

/// Holds, health, and what is recorded of it.
fn governing(conn: &mut PgConnection) {
    let hold = Hold::new(SECRET).row(table("notes"), row_key(&format!("id={SECRET}"))).scope(SECRET);
    let placed = holds::place(conn, &hold, &someone()).unwrap().hold;
    holds::release(conn, placed.id, &someone(), SECRET).unwrap();
    holds::release(conn, placed.id, &someone(), SECRET).unwrap_err();
    health::findings(conn, &HealthOptions::default()).unwrap();
    let coverage = health::coverage(conn, &CoverageOptions::new().ignore(table("notes"), SECRET)).unwrap();
    health::record_evidence(conn, &coverage, "test", Some(&someone())).unwrap();
}

/// Queued exports, by hand and by a worker, and their downloads.
fn exporting(db: &TestDatabase, recorder: &'static PrometheusRecorder) {
    let conn = &mut db.connect();
    let lease = Duration::from_secs(60);
    let options = ExportOptions::new(ExportFormat::Csv).unlimited();
    let request = ExportRequest::scoped(Scope::tenant(SECRET), options).max_failures(1);
    let claimed = |conn: &mut PgConnection| {
        exports::enqueue(conn, &request, &someone()).unwrap();
        exports::claim(conn, SECRET, lease).unwrap().unwrap()
    };
    let claim = claimed(conn);
    exports::hand_back(conn, &claim).unwrap();
    let claim = exports::claim(conn, SECRET, lease).unwrap().unwrap();
    exports::fail(conn, &claim, ExportFailure::Storage).unwrap();
    claimed(conn);
    assert_eq!(exports::cancel_all(conn, &someone()).unwrap(), 1);
    let job = exports::enqueue(conn, &request, &someone()).unwrap().id;

    // The worker's threads are told what this one was, when they first ask for a connection.
    let (dispatch, url) = (tracing::dispatcher::get_default(Clone::clone), db.url().to_owned());
    let connections = Connections::new(move || {
        std::mem::forget(tracing::dispatcher::set_default(&dispatch));
        // What was met before on a thread without a subscriber was found to interest nobody.
        tracing::callsite::rebuild_interest_cache();
        std::mem::forget(metrics::set_default_local_recorder(recorder));
        PgConnection::establish(&url)
    });
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::create(&format!("file://{}", directory.path().display())).unwrap();
    let (rounds, counted) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let count = Arc::clone(&counted);
    let task = Task::new("odd", Duration::from_millis(1), move |_| {
        let round = rounds.fetch_add(1, Ordering::SeqCst);
        count.store(round, Ordering::SeqCst);
        match round {
            0 => Err(SECRET.into()),
            1 => panic!("{SECRET}"),
            _ => Ok(()),
        }
    });
    let worker = Worker::builder(connections)
        .storage(storage.clone())
        .exports_every(Duration::from_millis(10))
        .task(task)
        .build()
        .unwrap();
    let stop = Stop::new();
    thread::scope(|scope| {
        let worker = scope.spawn(|| worker.run_until(&stop).unwrap());
        let begun = Instant::now();
        while exports::find(conn, job).unwrap().unwrap().state != ExportState::Completed
            || counted.load(Ordering::SeqCst) < 3
        {
            assert!(begun.elapsed() < Duration::from_secs(60), "the worker does not come to it");
            thread::sleep(Duration::from_millis(10));
        }
        stop.request();
        worker.join().unwrap();
    });

    let pool = AuditedPool::new(Pool::builder().max_size(1).build(ConnectionManager::new(db.url())).unwrap());
    let key = DownloadKey::new(&[7; 32]).unwrap();
    rt::System::new().block_on(async {
        export_download(&pool, &storage, job, &someone()).await.unwrap();
        export_download(&pool, &storage, job, &Actor::user(2)).await.unwrap();
        export_download_by_token(&pool, &storage, &key, SECRET).await.unwrap();
        std::fs::remove_dir_all(directory.path().join("exports")).unwrap();
        export_download(&pool, &storage, job, &someone()).await.unwrap();
    });
    run(conn, "UPDATE threadline.export_jobs SET expires_at = now() WHERE state = 'completed'");
    exports::sweep(conn, None, 10).unwrap();
}

/// Runs of retention that are refused, stopped and completed; new partitions.
fn retaining(conn: &mut PgConnection) {
    let policy =
        RetentionPolicy::new().keep(Duration::ZERO).minimum(Duration::ZERO).action(SECRET, Duration::ZERO);
    let by = someone();
    let mut retain = |policy: &RetentionPolicy, step| retention::run(conn, policy, &by, None, &mut |_| step);
    retain(&policy.clone().batch_rows(0), ControlFlow::Continue(())).unwrap_err();
    retain(&policy, ControlFlow::Break(())).unwrap_err();
    retain(&policy, ControlFlow::Continue(())).unwrap();
    partitions::maintain(conn, &partitions::MaintainOptions::default()).unwrap();
}

#[test]
fn no_value_of_a_person_or_a_row_is_in_a_metric_or_a_trace() {
    let (metrics, traces) = told_of(everything);
    assert!(!metrics.contains(SECRET), "{metrics}");
    for line in traces.lines() {
        assert!(!line.contains(SECRET), "{line}");
    }
    // They do say something.
    assert!(
        traces.contains("threadline.transaction{action=\"note.written\" outcome=\"rolled_back\"}"),
        "{traces}"
    );
    assert!(traces.contains("surface=\"as_of\""), "{traces}");
    for span in [
        "threadline.retention{outcome=\"completed\"}",
        "threadline.retention{outcome=\"stopped\"}",
        "threadline.health{outcome=\"ok\"}",
        "threadline.coverage{outcome=\"ok\"}",
        "threadline.export_job{outcome=\"completed\"}",
        "threadline.worker_round{task=\"custom\" outcome=\"panicked\"}",
        "threadline.worker_round{task=\"exports\" outcome=\"ok\"}",
    ] {
        assert!(traces.contains(span), "{span}: {traces}");
    }
    for series in [
        "threadline_retention_runs_total{outcome=\"not_begun\"} 1",
        "threadline_retention_runs_total{outcome=\"stopped\"} 1",
        "threadline_retention_runs_total{outcome=\"completed\"} 1",
        "threadline_export_jobs_total{outcome=\"completed\"} 1",
        "threadline_export_jobs_total{outcome=\"failed\"} 1",
        "threadline_export_jobs_total{outcome=\"handed_back\"} 1",
        "threadline_export_jobs_total{outcome=\"cancelled\"} 1",
        "threadline_export_jobs_total{outcome=\"expired\"} 1",
        "threadline_worker_rounds_total{task=\"custom\",outcome=\"failed\"} 1",
        "threadline_tables{coverage=\"covered\"} 1",
        "threadline_evidence_records_total{subject=\"legal_hold\"} 2",
        "threadline_evidence_records_total{subject=\"retention_policy\"} 1",
        "threadline_evidence_records_total{subject=\"retention_run\"} 2",
        "threadline_downloads_total{outcome=\"ok\"} 1",
        "threadline_downloads_total{outcome=\"not_found\"} 1",
        "threadline_downloads_total{outcome=\"forged\"} 1",
        "threadline_downloads_total{outcome=\"file_missing\"} 1",
    ] {
        assert!(metrics.lines().any(|line| line == series), "{series}: {metrics}");
    }
}

#[test]
fn what_is_measured_is_in_the_registry_and_what_is_in_the_registry_is_measured() {
    let (metrics, _) = told_of(everything);
    let mut measured = BTreeMap::<&str, BTreeSet<&str>>::new();
    for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels = line.split_once('{').map_or("", |(_, labels)| labels.split_once('}').unwrap().0);
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0));
        let name = name.trim_end_matches("_sum").trim_end_matches("_count");
        measured.entry(name).or_default().extend(labels.filter(|label| *label != "quantile"));
    }
    let registered: BTreeMap<&str, BTreeSet<&str>> =
        METRICS.iter().map(|metric| (metric.name, metric.labels.iter().copied().collect())).collect();
    assert_eq!(measured, registered);
    for metric in METRICS {
        let ending = match metric.kind {
            MetricKind::Durations => "_duration_seconds",
            MetricKind::Counter => "_total",
            _ => "s",
        };
        assert!(metric.name.starts_with("threadline_") && metric.name.ends_with(ending), "{}", metric.name);
    }
}

/// A name is an interface: dashboards and alerts are made of it.
#[test]
fn the_registry_changes_only_on_purpose() {
    let names: Vec<String> =
        METRICS.iter().map(|metric| format!("{}{{{}}}", metric.name, metric.labels.join(","))).collect();
    assert_eq!(
        names,
        [
            "threadline_transactions_total{outcome}",
            "threadline_transaction_duration_seconds{outcome}",
            "threadline_actions_total{status}",
            "threadline_reads_total{surface,outcome}",
            "threadline_read_duration_seconds{surface}",
            "threadline_export_rows_total{format}",
            "threadline_capture_setups_total{operation,outcome}",
            "threadline_retention_runs_total{outcome}",
            "threadline_retention_run_duration_seconds{outcome}",
            "threadline_retention_removed_total{kind}",
            "threadline_retention_batch_duration_seconds{}",
            "threadline_partitions_made_total{}",
            "threadline_export_jobs_total{outcome}",
            "threadline_export_job_duration_seconds{outcome}",
            "threadline_worker_rounds_total{task,outcome}",
            "threadline_worker_round_duration_seconds{task}",
            "threadline_findings{severity}",
            "threadline_tables{coverage}",
            "threadline_evidence_records_total{subject}",
            "threadline_downloads_total{outcome}",
        ]
    );
}
