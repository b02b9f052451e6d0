//! Promises of the crate, on real servers.

mod cluster;
mod exec;
mod exec_keep;
mod running;
mod test_database;

use diesel::prelude::*;
use diesel::sql_types::Text;

/// The rows of a query with one text column, in its order.
fn texts(sql: &str, conn: &mut PgConnection) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        value: String,
    }
    let rows: Vec<Row> = diesel::sql_query(sql).load(conn).expect("the query is valid");
    rows.into_iter().map(|row| row.value).collect()
}

fn execute(sql: &str, conn: &mut PgConnection) {
    diesel::sql_query(sql).execute(conn).expect("the statement is valid");
}
