//! The past through the host's own queries: every table as it was at an instant, or an error that says why not.

mod answers;
mod keys;
mod refusals;
mod shadow;

use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::Text;
use threadline::{AsOf, Audited, Error, PastProblem, RowChange, Scope, TableName, Trail, Travel, travel};
use threadline_tests::{TestRole, audited_database, clock, row_key, run, table, text, texts};

diesel::table! {
    users (id) {
        id -> Integer,
        name -> Text,
        email -> Text,
        secret -> Nullable<Text>,
    }
}

diesel::table! {
    posts (id) {
        id -> BigInt,
        user_id -> Integer,
        title -> Text,
        views -> Integer,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    widgets (id) {
        id -> Integer,
    }
}

/// The same table, named with its schema.
mod qualified {
    diesel::table! {
        public.posts (id) {
            id -> BigInt,
            title -> Text,
        }
    }
}

diesel::joinable!(posts -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(posts, users);

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = users)]
#[threadline(mask(email), exclude(secret))]
struct User {
    id: i32,
    name: String,
    email: String,
    secret: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Identifiable, Associations, Audited)]
#[diesel(table_name = posts, belongs_to(User))]
struct Post {
    id: i64,
    user_id: i32,
    title: String,
    views: i32,
    created_at: DateTime<Utc>,
}

const TABLES: &str = "CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL, email text NOT NULL, secret text);
    CREATE TABLE posts (id bigint PRIMARY KEY, user_id integer NOT NULL REFERENCES users ON UPDATE CASCADE, title text NOT NULL,
        views integer NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now());
    INSERT INTO users VALUES (1, 'ann', 'ann@x', 's1'), (2, 'bob', 'bob@x', 's2');
    INSERT INTO posts (id, user_id, title) VALUES (10, 1, 'old'), (11, 1, 'older'), (12, 2, 'bobs');
    SELECT threadline.attach('users', mask => '{email}', exclude => '{secret}'); SELECT threadline.attach('posts');";

/// What `threadline::travel` makes of SQL that yields one text column.
fn past_texts(conn: &mut PgConnection, at: DateTime<Utc>, sql: &str) -> Result<Vec<String>, Error> {
    travel(conn, at, |conn| {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Nullable<Text>)]
            line: Option<String>,
        }
        let rows: Vec<Row> =
            diesel::sql_query(format!("SELECT line::text FROM ({sql}) q (line)")).load(conn)?;
        Ok(rows.into_iter().map(|row| row.line.unwrap_or_default()).collect())
    })
}

fn title_of(conn: &mut PgConnection, id: i64) -> QueryResult<Option<String>> {
    posts::table.find(id).select(posts::title).first(conn).optional()
}
