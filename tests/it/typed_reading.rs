//! A model's history and its past, typed.

use bigdecimal::BigDecimal;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use threadline::{AsOf, Audited, Op, RowState};
use threadline_tests::{audited_database, run};

diesel::table! {
    blog.posts (id) {
        id -> BigInt,
        title -> Text,
        price -> Nullable<Numeric>,
        tags -> Array<Text>,
        meta -> Jsonb,
        email -> Text,
        secret -> Nullable<Text>,
        views -> Integer,
        created_at -> Timestamptz,
    }
}

#[derive(Debug, PartialEq, Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = posts)]
#[threadline(exclude(secret), mask(email), ignore(views))]
struct Post {
    id: i64,
    title: String,
    price: Option<BigDecimal>,
    tags: Vec<String>,
    meta: serde_json::Value,
    email: String,
    secret: Option<String>,
    views: i32,
    created_at: DateTime<Utc>,
}

diesel::table! {
    memberships (organization_id, user_name) {
        organization_id -> Integer,
        user_name -> Text,
        role -> Text,
    }
}

#[derive(Debug, PartialEq, Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = memberships, primary_key(organization_id, user_name))]
struct Membership {
    organization_id: i32,
    user_name: String,
    role: String,
}

const TABLES: &str = "CREATE SCHEMA blog;
    CREATE TABLE blog.posts (id bigint PRIMARY KEY, title text NOT NULL, price numeric, tags text[] NOT NULL DEFAULT '{}',
        meta jsonb NOT NULL DEFAULT '{}', email text NOT NULL DEFAULT 'a@b', secret text, views integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE memberships (organization_id integer, user_name text, role text NOT NULL, PRIMARY KEY (organization_id, user_name));";

fn now(conn: &mut PgConnection) -> DateTime<Utc> {
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Timestamptz>("clock_timestamp()"))
        .get_result(conn)
        .unwrap()
}

#[test]
fn a_row_is_told_from_its_insert_to_its_delete() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    threadline::capture::attach_models(conn).unwrap();
    let before = now(conn);
    run(
        conn,
        "INSERT INTO blog.posts (id, title, price, tags, meta, secret) VALUES (1, 'one', 12.3400, '{a,b}', '{\"n\": 9007199254740993}', 's')",
    );
    let inserted = now(conn);
    run(conn, "UPDATE blog.posts SET title = 'two', email = 'c@d', views = views + 1");
    run(conn, "UPDATE blog.posts SET views = views + 1");
    let updated = now(conn);
    run(conn, "DELETE FROM blog.posts");
    let deleted = now(conn);

    let history = Post::history(conn, 1).unwrap();
    let ops: Vec<Op> = history.versions.iter().map(|version| version.change.op).collect();
    assert_eq!(ops, [Op::Delete, Op::Update, Op::Insert]);
    assert!(!history.has_more && history.versions.iter().all(|version| !version.gap));
    let update = &history.versions[1];
    assert_eq!(update.change.changed_fields(), ["email", "title"]);
    assert_eq!(update.change.fields["title"].before.as_str(), "\"one\"");
    let row = update.row.as_ref().unwrap().as_ref().unwrap();
    assert_eq!((row.title.as_str(), row.email.as_str(), row.secret.as_deref()), ("two", "[REDACTED]", None));
    assert_eq!(row.price.as_ref().unwrap().to_string(), "12.3400");
    assert_eq!(row.meta["n"], serde_json::json!(9_007_199_254_740_993_i64));
    assert_eq!(history.versions[0].after, RowState::Absent);

    assert_eq!(Post::as_of(conn, 1, before).unwrap(), AsOf::NotCreated);
    let then = Post::as_of(conn, 1, inserted).unwrap().present().unwrap();
    assert_eq!((then.title.as_str(), then.tags.len()), ("one", 2));
    let then = Post::as_of(conn, 1, updated).unwrap().present().unwrap();
    assert_eq!(then.title, "two");
    assert!(matches!(Post::as_of(conn, 1, deleted).unwrap(), AsOf::Deleted { .. }));
    assert!(matches!(
        Post::as_of(conn, 1, before - chrono::TimeDelta::hours(1)).unwrap(),
        AsOf::BeforeHorizon { .. }
    ));
}

#[test]
fn a_composite_key_is_a_tuple() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    threadline::capture::attach_models(conn).unwrap();
    run(conn, "INSERT INTO memberships VALUES (7, 'ann', 'reader'), (7, 'bob', 'reader')");
    run(conn, "UPDATE memberships SET role = 'owner' WHERE user_name = 'ann'");
    let history = Membership::history(conn, (7, "ann")).unwrap();
    assert_eq!(history.versions.len(), 2);
    let expected = Membership { organization_id: 7, user_name: "ann".into(), role: "owner".into() };
    assert_eq!(history.versions[0].row, Some(Ok(expected)));
}
