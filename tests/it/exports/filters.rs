//! Every filter goes through the queue and comes out as it went in.

use std::collections::BTreeSet;

use threadline::exports::{self, ExportRequest, ExportState};
use threadline::{ExportFormat, ExportOptions, Filter, Order, Trail};
use threadline_tests::{audited_database, run};

use super::{Directory, alice, assert_whole, direct, eager, finished};
use crate::timeline::TRAIL;

/// Each with less than all there is, and all of them together.
const FILTERS: &[&[(&str, &str)]] = &[
    &[("table", "posts")],
    &[("table", "notes"), ("table", "blog.notes")],
    &[("schema", "blog")],
    &[("schema", "blog"), ("table", "notes")],
    &[("table", "posts"), ("key", "id=3")],
    &[("actor", "user:1")],
    &[("actor", "anonymous"), ("actor", "nobody"), ("actor", "admin:1")],
    &[("action", "a1"), ("action", "second")],
    &[("status", "error")],
    &[("category", "k1"), ("category", "k2")],
    &[("correlation_id", "c1")],
    &[("transaction_correlation_id", "c2")],
    &[("request_id", "r10")],
    &[("job_id", "j1")],
    &[("op", "insert"), ("op", "delete")],
    &[("column", "views")],
    &[("from", "2026-11-01T00:00:00.000001Z")],
    &[("to", "2026-11-01T01:30:00+01:00")],
    &[("db_role", "role1")],
    &[
        ("table", "posts"),
        ("op", "update"),
        ("column", "title"),
        ("actor", "user:2"),
        ("from", "2026-10-31T23:40:00Z"),
        ("to", "2026-11-01T00:50:00.5Z"),
    ],
];

#[test]
fn every_filter_gives_the_file_it_gives_when_asked_directly() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TRAIL);
    let named: BTreeSet<&str> =
        FILTERS.iter().flat_map(|pairs| pairs.iter().map(|(name, _)| *name)).collect();
    assert_eq!(named.len(), 16, "each there is");
    let trail = Trail::unscoped();
    let all = trail.count(conn, &Filter::new(), 10_000).unwrap().counted;
    let directory = Directory::new();
    let storage = directory.storage();
    let mut asked = Vec::new();
    for pairs in FILTERS {
        let filter = Filter::from_pairs(pairs.iter().copied()).unwrap();
        for format in [ExportFormat::Ndjson, ExportFormat::Csv, ExportFormat::Json] {
            let options = ExportOptions::new(format).order(Order::OldestFirst).max_rows(400);
            let request = ExportRequest::unscoped(options.clone()).filter(filter.clone());
            asked.push((pairs, filter.clone(), options, exports::enqueue(conn, &request, &alice()).unwrap()));
        }
    }
    let worker = eager(&db, storage).build().unwrap().spawn().unwrap();
    for (pairs, filter, options, enqueued) in asked {
        let made = finished(conn, enqueued.id);
        assert_eq!(made.state, ExportState::Completed, "{pairs:?}: {:?}", made.error);
        let summary = made.summary.clone().unwrap();
        assert!(summary.rows > 0 && summary.rows < all, "{pairs:?} has {} rows of {all}", summary.rows);
        let bytes = std::fs::read(directory.path().join(made.object_name.as_deref().unwrap())).unwrap();
        assert_whole(&made, &bytes);
        let direct = direct(conn, &trail, &filter, &options);
        if made.format == ExportFormat::Json {
            // The one thing that is not the same: when it was made.
            let strip = |bytes: &[u8]| {
                let mut document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
                document["generated_at"].take();
                document
            };
            assert_eq!(strip(&bytes), strip(&direct), "{pairs:?}");
        } else {
            assert!(bytes == direct, "{pairs:?}");
        }
    }
    worker.stop();
}

#[test]
fn a_table_is_the_one_the_requester_meant_whatever_the_workers_search_path() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TRAIL);
    let directory = Directory::new();
    let storage = directory.storage();
    run(conn, "SET search_path = blog, public");
    let filter = Filter::from_pairs([("table", "notes")]).unwrap();
    let options = ExportOptions::new(ExportFormat::Ndjson);
    let direct = direct(conn, &Trail::unscoped(), &filter, &options);
    let request = ExportRequest::unscoped(options).filter(filter);
    let id = exports::enqueue(conn, &request, &alice()).unwrap().id;
    let worker = eager(&db, storage).build().unwrap().spawn().unwrap();
    let made = finished(conn, id);
    worker.stop();
    assert_eq!(made.filter().unwrap(), Filter::from_pairs([("table", "blog.notes")]).unwrap());
    assert!(super::the_file(&directory, &made) == direct);
}
