//! What the tests share: a database with the audit schema in it.

mod pooled;
mod role;
mod trail;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::MigrationHarness;
use threadline_devdb::{Cluster, TestDatabase};

pub use pooled::pooled_behind;
pub use role::TestRole;
pub use trail::{as_of, changes, clock, history, row_key, states, table};

/// A database of its own with the audit schema, dropped after the test.
pub fn audited_database() -> TestDatabase {
    TestDatabase::from_template("threadline", |url| {
        PgConnection::establish(url)
            .expect("the new database accepts connections")
            .run_pending_migrations(threadline::MIGRATIONS)
            .expect("the audit schema installs");
    })
}

/// A server of a test's own, with the audit schema in database `app`; transaction numbers are the test's alone.
pub fn audited_cluster() -> Cluster {
    let cluster = Cluster::start_with(&[("autovacuum", "off")]).expect("a second server starts");
    cluster.create_database("app").expect("it has room for a database");
    cluster
        .connect("app")
        .expect("it accepts connections")
        .run_pending_migrations(threadline::MIGRATIONS)
        .expect("the audit schema installs");
    cluster
}

/// Runs statements as a host would: each call commits.
pub fn run(conn: &mut PgConnection, sql: &str) {
    conn.batch_execute(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
}

/// Runs statements that are refused, and returns what PostgreSQL said: message, detail and hint.
pub fn refused(conn: &mut PgConnection, sql: &str) -> String {
    match conn.batch_execute(sql) {
        Ok(()) => panic!("not refused: {sql}"),
        Err(diesel::result::Error::DatabaseError(_, said)) => {
            [Some(said.message()), said.details(), said.hint()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("\n")
        }
        Err(error) => panic!("{error}: {sql}"),
    }
}

/// The one text a query yields.
pub fn text(conn: &mut PgConnection, sql: &str) -> String {
    let mut texts = texts(conn, sql);
    assert_eq!(texts.len(), 1, "{sql}");
    texts.remove(0)
}

/// The rows of a query that yields one text column.
pub fn texts(conn: &mut PgConnection, sql: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
        text: Option<String>,
    }
    let rows: Vec<Row> = diesel::sql_query(format!("SELECT q.text::text FROM ({sql}) AS q (text)"))
        .load(conn)
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
    rows.into_iter().map(|row| row.text.unwrap_or_else(|| "NULL".to_owned())).collect()
}

/// The guides, whose code is compiled with the documentation's tests.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../guides/requests.md")]
    struct Requests;
    #[doc = include_str!("../../guides/jobs.md")]
    struct Jobs;
    #[doc = include_str!("../../guides/feed.md")]
    struct Feed;
    #[doc = include_str!("../../guides/investigation.md")]
    struct Investigation;
    #[doc = include_str!("../../guides/operator-surface.md")]
    struct OperatorSurface;
    #[doc = include_str!("../../guides/redaction.md")]
    struct Redaction;
    #[doc = include_str!("../../guides/retention.md")]
    struct Retention;
    #[doc = include_str!("../../guides/existing-data.md")]
    struct ExistingData;
    #[doc = include_str!("../../guides/incident.md")]
    struct Incident;
    #[doc = include_str!("../../guides/production.md")]
    struct Production;
    #[doc = include_str!("../../guides/configuration.md")]
    struct Configuration;
    #[doc = include_str!("../../guides/upgrading.md")]
    struct Upgrading;
}
