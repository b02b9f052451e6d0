//! The promises of the trail that reading is measured on: it is one that capture could have written.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_migrations::MigrationHarness;
use threadline::{HistoryLimit, RowKey, TableName, row_history, transaction_bundle};
use threadline_devdb::TestDatabase;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

fn lines(conn: &mut PgConnection, query: &str) -> Vec<String> {
    let lines: Vec<Line> = diesel::sql_query(query).load(conn).unwrap();
    lines.into_iter().map(|line| line.line).collect()
}

fn holds(conn: &mut PgConnection, condition: &str) -> bool {
    diesel::select(diesel::dsl::sql::<Bool>(condition)).get_result(conn).unwrap()
}

const INDEXES: &str = "SELECT pg_get_indexdef(x.indexrelid) || x.indisvalid AS line FROM pg_index x
    JOIN pg_partitioned_table p ON p.partrelid = x.indrelid WHERE pg_get_indexdef(x.indexrelid) NOT LIKE '%scope%' ORDER BY 1";

/// With the indexes there were before.
fn loaded() -> (TestDatabase, PgConnection, Vec<String>) {
    let database = TestDatabase::empty();
    let mut conn = database.connect();
    conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
    let indexes = lines(&mut conn, INDEXES);
    conn.batch_execute(include_str!("../sql/trail.sql")).unwrap();
    conn.batch_execute(include_str!("../sql/trail_picks.sql")).unwrap();
    diesel::sql_query("SELECT load_trail($1)").bind::<BigInt, _>(4_000).execute(&mut conn).unwrap();
    (database, conn, indexes)
}

#[test]
fn trail_folds_back_without_a_gap() {
    let (_database, mut conn, _) = loaded();
    let mut read = |table: &str, column: &str, key: &str| {
        let key = RowKey::new([(column, key)]).unwrap();
        let history = row_history(&mut conn, &TableName::new(None, table), &key, HistoryLimit::All).unwrap();
        let gaps = history.versions.iter().filter(|version| version.gap).count();
        assert_eq!(gaps, 0, "{table} {key:?}");
        history.versions.len()
    };
    assert_eq!(read("posts", "id", "3"), 100);
    assert_eq!(read("settings", "name", "setting_1"), 10);
    let rows = (1..=800).step_by(13).map(|id| {
        let table = if id % 5 == 0 { "comments" } else { "posts" };
        read(table, "id", &id.to_string())
    });
    assert!(rows.min().unwrap() >= 1);
}

#[test]
fn trail_is_laid_out_as_the_migrations_say() {
    let (_database, mut conn, indexes) = loaded();
    assert!(indexes.len() >= 10, "{indexes:?}");
    assert_eq!(lines(&mut conn, INDEXES), indexes);
    let bounds = "SELECT string_agg(substr(leaf.relname, length(parent.relname) + 1) || pg_get_expr(leaf.relpartbound, leaf.oid), ' ' ORDER BY leaf.relname) AS line
        FROM pg_inherits i JOIN pg_class leaf ON leaf.oid = i.inhrelid JOIN pg_class parent ON parent.oid = i.inhparent
        WHERE parent.relnamespace = 'threadline'::regnamespace AND parent.relkind = 'p' GROUP BY parent.oid";
    let bounds = lines(&mut conn, bounds);
    assert!(bounds.len() >= 4 && bounds.iter().all(|one| *one == bounds[0]), "{bounds:?}");
    // A year, the month it began in, and three to come.
    assert_eq!(bounds[0].matches("FOR VALUES").count(), 16, "{}", bounds[0]);
    assert!(holds(
        &mut conn,
        "(SELECT count(DISTINCT tableoid) = 13 AND count(*) = 4000 FROM threadline.audit_changes)
        AND (SELECT bool_and(threadline.instant_of(t.id) = date_trunc('milliseconds', t.occurred_at) AND right(t.id::text, 12)::bigint = t.xid::text::bigint
            AND t.xid < pg_current_xact_id()) FROM threadline.audit_transactions t)
        AND (SELECT bool_and(left(a.id::text, 14) = left(a.transaction_id::text, 14)) FROM threadline.audit_actions a)
        AND NOT EXISTS (SELECT FROM threadline.audit_changes c WHERE NOT EXISTS (SELECT FROM threadline.audit_transactions t WHERE t.id = c.transaction_id))"
    ));
    // It goes on: what is written now is captured after it.
    conn.batch_execute("UPDATE posts SET views = views + 1 WHERE id = 3").unwrap();
    assert!(holds(
        &mut conn,
        "(SELECT count(*) = 101 FROM threadline.audit_changes WHERE table_id = threadline.table_id('posts'::regclass) AND row_key = '3')"
    ));
}

#[test]
fn there_is_something_to_ask_about() {
    let (_database, mut conn, _) = loaded();
    for picks in ["busy_posts", "post_changes", "incidents", "actors", "correlations", "tables"] {
        let subjects =
            lines(&mut conn, &format!("SELECT subject AS line FROM pick_{picks}(5) WHERE at <= now()"));
        assert!(!subjects.is_empty() && subjects.len() <= 5, "{picks}: {subjects:?}");
        if picks == "incidents" {
            let bundle = transaction_bundle(&mut conn, subjects[0].parse().unwrap()).unwrap().unwrap();
            assert_eq!((bundle.changes.len(), bundle.actions.len()), (20, 1));
            assert_eq!(bundle.transaction.unwrap().action_id, Some(bundle.actions[0].id));
        }
    }
}
