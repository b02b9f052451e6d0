//! Telemetry: every name is in the registry, every label is the program's own text, and nothing of a person or a row gets out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use diesel::prelude::*;
use metrics_exporter_prometheus::PrometheusBuilder;
use threadline::telemetry::{METRICS, MetricKind};
use threadline::{
    Action, Actor, ActorId, AuditContext, AuditSpec, Error, ExportFormat, ExportOptions, FeedCursor, Filter,
    HistoryLimit, PageRequest, Scope, Trail, UndoTarget, capture, travel,
};
use threadline_tests::{audited_database, clock, row_key, run, table, text};
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
fn told_of(work: impl FnOnce()) -> (String, String) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    metrics::with_local_recorder(&recorder, || tracing::subscriber::with_default(subscriber, work));
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
fn everything() {
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
    capture::detach(conn, &notes).unwrap();
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
}

#[test]
fn what_is_measured_is_in_the_registry_and_what_is_in_the_registry_is_measured() {
    let (metrics, _) = told_of(everything);
    let mut measured = BTreeMap::<&str, BTreeSet<&str>>::new();
    for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').unwrap();
        let labels =
            labels.split_once('}').unwrap().0.split(',').map(|label| label.split_once('=').unwrap().0);
        let name = name.trim_end_matches("_sum").trim_end_matches("_count");
        measured.entry(name).or_default().extend(labels.filter(|label| *label != "quantile"));
    }
    let registered: BTreeMap<&str, BTreeSet<&str>> =
        METRICS.iter().map(|metric| (metric.name, metric.labels.iter().copied().collect())).collect();
    assert_eq!(measured, registered);
    for metric in METRICS {
        let ending = if metric.kind == MetricKind::Durations { "_duration_seconds" } else { "_total" };
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
        ]
    );
}
