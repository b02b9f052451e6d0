//! What the tests share: a database with the audit schema in it.

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::MigrationHarness;
use threadline_devdb::TestDatabase;

/// A database of its own with the audit schema, dropped after the test.
pub fn audited_database() -> TestDatabase {
    TestDatabase::from_template("threadline", |url| {
        PgConnection::establish(url)
            .expect("the new database accepts connections")
            .run_pending_migrations(threadline::MIGRATIONS)
            .expect("the audit schema installs");
    })
}

/// Runs statements as a host would: each call commits.
pub fn run(conn: &mut PgConnection, sql: &str) {
    conn.batch_execute(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
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
