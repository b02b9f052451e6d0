//! At a million changes over a year, each question is answered through an index, and touches about as many rows as it shows.

use diesel::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use threadline::{Error, Filter, HistoryLimit, Order, PageRequest, Trail};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, row_key, run, table, text};
use uuid::Uuid;

/// What the transaction has read of the trail so far: sequential scans of what holds rows, and rows fetched by indexes.
fn touched(conn: &mut PgConnection) -> (i64, i64) {
    #[derive(QueryableByName)]
    struct Touched {
        #[diesel(sql_type = BigInt)]
        scanned: i64,
        #[diesel(sql_type = BigInt)]
        fetched: i64,
    }
    let touched: Touched = diesel::sql_query(
        "SELECT coalesce(sum(seq_tup_read), 0)::bigint AS scanned, coalesce(sum(idx_tup_fetch), 0)::bigint AS fetched
        FROM pg_stat_xact_user_tables WHERE schemaname = 'threadline' AND relname ~ '^audit_(changes|transactions|actions|key_changes|departures)'",
    )
    .get_result(conn)
    .unwrap();
    (touched.scanned, touched.fetched)
}

/// How many rows of the trail an answer touched, in one of the transactions a session plans anew for and in a later one, when
/// it has a plan it keeps. None of them may have been found by scanning a table.
fn rows_touched(
    conn: &mut PgConnection,
    what: &str,
    ask: impl Fn(&mut PgConnection) -> Result<usize, Error>,
) -> (usize, i64) {
    let mut most = (0, 0);
    for _ in 0..8 {
        let (shown, fetched) = conn
            .transaction(|conn| {
                let before = touched(conn);
                let shown = ask(conn)?;
                let after = touched(conn);
                assert_eq!(after.0, before.0, "{what} scanned a table of the trail");
                Ok::<_, Error>((shown, after.1 - before.1))
            })
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
        most = (shown, fetched.max(most.1));
    }
    most
}

fn million() -> TestDatabase {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, include_str!("../../benches/sql/trail.sql"));
    run(conn, "SELECT load_trail(1000000)");
    run(conn, "VACUUM ANALYZE");
    db
}

#[test]
fn every_question_reads_about_as_many_rows_as_it_shows_of_a_million() {
    let db = million();
    let conn = &mut db.connect();
    let trail = Trail::unscoped();
    let page = PageRequest::new().size(50).unwrap();
    let middle = text(
        conn,
        "SELECT to_char((now() - interval '5 months') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
    );
    let pick = |conn: &mut PgConnection, sql: &str| text(conn, sql);
    let correlation = pick(
        conn,
        "SELECT correlation_id FROM threadline.audit_actions WHERE correlation_id IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET 5000",
    );
    let request =
        pick(conn, "SELECT request_id FROM threadline.audit_transactions ORDER BY id LIMIT 1 OFFSET 70000");
    let rare = pick(
        conn,
        "SELECT actor_type || ':' || actor_id FROM threadline.audit_transactions WHERE actor_id IS NOT NULL GROUP BY 1 ORDER BY count(*) LIMIT 1",
    );
    let frequent = pick(
        conn,
        "SELECT actor_type || ':' || actor_id FROM threadline.audit_transactions WHERE actor_id IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1",
    );
    let incident =
        pick(conn, "SELECT transaction_id FROM threadline.audit_changes WHERE ordinal = 20 LIMIT 1");

    let filters: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("newest", vec![]),
        ("by time", vec![("to", &middle)]),
        ("by table", vec![("table", "comments"), ("to", &middle)]),
        ("by a table hardly ever changed", vec![("table", "settings")]),
        ("by two tables", vec![("table", "comments"), ("table", "settings")]),
        ("by the busiest actor", vec![("actor", &frequent), ("to", &middle)]),
        ("by a rare actor", vec![("actor", &rare)]),
        ("by two actors", vec![("actor", &frequent), ("actor", &rare)]),
        ("by correlation", vec![("correlation_id", &correlation)]),
        ("by the transaction's correlation", vec![("transaction_correlation_id", &correlation)]),
        ("by request", vec![("request_id", &request)]),
        ("by action", vec![("action", "post.priced"), ("to", &middle)]),
        ("by failed actions", vec![("status", "error")]),
        ("by row", vec![("table", "posts"), ("key", "id=3")]),
    ];
    for (what, pairs) in &filters {
        let filter = Filter::from_pairs(pairs.clone()).unwrap();
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let (shown, fetched) = rows_touched(conn, what, |conn| {
                Ok(trail.timeline_page(conn, &filter, &page.clone().order(order))?.entries.len())
            });
            // Each entry is a change, a transaction and perhaps an action; transactions of an actor are looked at beforehand.
            assert!(shown > 0 && fetched <= 900, "{what}, {order:?}: {fetched} rows for {shown} entries");
        }
    }

    let posts = table("posts");
    let history = |conn: &mut PgConnection| {
        Ok(trail.row_history(conn, &posts, &row_key("id=3"), HistoryLimit::Newest(100))?.versions.len())
    };
    let (shown, fetched) = rows_touched(conn, "history", history);
    assert!(shown == 100 && fetched <= 500, "{fetched} rows for {shown} versions");
    let at = middle.parse().unwrap();
    let as_of = |conn: &mut PgConnection| {
        trail
            .row_as_of(conn, &posts, &row_key("id=3"), at)
            .map(|answer| usize::from(answer.present().is_some()))
    };
    let (shown, fetched) = rows_touched(conn, "as of", as_of);
    assert!(shown == 1 && fetched <= 300, "{fetched} rows for one");
    let id: Uuid = incident.parse().unwrap();
    let bundle = |conn: &mut PgConnection| Ok(trail.incident_bundle(conn, id)?.unwrap().changes.len());
    let (shown, fetched) = rows_touched(conn, "incident", bundle);
    assert!(shown == 20 && fetched <= 100, "{fetched} rows for {shown} changes");
    let actor = threadline::Actor::service_account(1_u32);
    let transactions =
        |conn: &mut PgConnection| Ok(trail.actor_history(conn, &actor, &Filter::new(), &page)?.entries.len());
    let (shown, fetched) = rows_touched(conn, "transactions of an actor", transactions);
    assert!(shown == 50 && fetched <= 300, "{fetched} rows for {shown} transactions");
    let failed = Filter::new().status(threadline::ActionStatus::Error);
    let (shown, fetched) =
        rows_touched(conn, "failed actions", |conn| Ok(trail.actions(conn, &failed, &page)?.entries.len()));
    assert!(shown == 50 && fetched <= 200, "{fetched} rows for {shown} actions");
    let (_, fetched) =
        rows_touched(conn, "count", |conn| Ok(trail.count(conn, &Filter::new(), 1000)?.counted as usize));
    assert!(fetched <= 1200, "{fetched} rows for a count of 1000");
}
