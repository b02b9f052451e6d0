//! A model's history and its past, typed.

use std::io::Write;

use bigdecimal::BigDecimal;
use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::serialize::{self, IsNull, Output, ToSql};
use threadline::{AsOf, Audited, Error, HistoryLimit, Op, RowKey, RowState, TableName, Trail};
use threadline_tests::{audited_database, clock, run};

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

#[test]
fn a_row_is_told_from_its_insert_to_its_delete() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    threadline::capture::attach(conn, &TableName::new(Some("blog"), "posts"), &Post::AUDIT).unwrap();
    let before = clock(conn);
    run(
        conn,
        "INSERT INTO blog.posts (id, title, price, tags, meta, secret) VALUES (1, 'one', 12.3400, '{a,b}', '{\"n\": 9007199254740993}', 's')",
    );
    let inserted = clock(conn);
    run(conn, "UPDATE blog.posts SET title = 'two', email = 'c@d', views = views + 1");
    run(conn, "UPDATE blog.posts SET views = views + 1");
    let updated = clock(conn);
    run(conn, "DELETE FROM blog.posts");
    let deleted = clock(conn);

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
    attach::<Membership>(conn, "memberships");
    run(conn, "INSERT INTO memberships VALUES (7, 'ann', 'reader'), (7, 'bob', 'reader')");
    run(conn, "UPDATE memberships SET role = 'owner' WHERE user_name = 'ann'");
    let history = Membership::history(conn, (7, "ann")).unwrap();
    assert_eq!(history.versions.len(), 2);
    let expected = Membership { organization_id: 7, user_name: "ann".into(), role: "owner".into() };
    assert_eq!(history.versions[0].row, Some(Ok(expected)));
}

/// A model that selects a part of the row, has a column under another name, an enum and a masked number.
#[derive(diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(name = "order_state"))]
pub struct OrderState;

#[derive(Clone, Copy, Debug, PartialEq, AsExpression, FromSqlRow)]
#[diesel(sql_type = OrderState)]
enum State {
    Open,
    Paid,
}

impl ToSql<OrderState, Pg> for State {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(if *self == Self::Open { b"open" } else { b"paid" })?;
        Ok(IsNull::No)
    }
}

impl FromSql<OrderState, Pg> for State {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        match value.as_bytes() {
            b"open" => Ok(Self::Open),
            b"paid" => Ok(Self::Paid),
            _ => Err("unknown state".into()),
        }
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    use super::OrderState;

    #[sql_name = "Order \"lines\""]
    order_lines (id) {
        id -> BigInt,
        state -> OrderState,
        #[sql_name = "type"]
        type_ -> Text,
        amount -> Integer,
        discount -> Nullable<Integer>,
    }
}

#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = order_lines)]
#[threadline(mask(amount, discount))]
struct OrderLine {
    #[diesel(column_name = type_)]
    kind: String,
    id: i64,
    state: State,
    discount: Option<i32>,
}

#[derive(Debug, PartialEq, Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = order_lines)]
#[threadline(mask(amount, discount))]
struct Amount {
    id: i64,
    amount: i32,
}

const ORDER_LINES: &str = r#"CREATE TYPE order_state AS ENUM ('open', 'paid');
    CREATE TABLE "Order ""lines""" (id bigint PRIMARY KEY, state order_state NOT NULL, type text NOT NULL, amount integer NOT NULL, discount integer);"#;

fn attach<M: Audited>(conn: &mut PgConnection, table: &str) {
    threadline::capture::attach(conn, &TableName::new(None, table), &M::AUDIT).unwrap();
}

#[test]
fn a_model_may_select_a_part_of_the_row_under_other_names() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, ORDER_LINES);
    attach::<OrderLine>(conn, "Order \"lines\"");
    run(
        conn,
        r#"INSERT INTO "Order ""lines""" VALUES (1, 'open', 'book', 5, 2); UPDATE "Order ""lines""" SET state = 'paid', amount = 6"#,
    );
    let history = OrderLine::history(conn, 1).unwrap();
    let rows: Vec<_> =
        history.versions.iter().map(|version| version.row.clone().unwrap().unwrap().state).collect();
    assert_eq!(rows, [State::Paid, State::Open]);
    assert!(history.versions[0].change.fields["amount"].masked);
    let at = clock(conn);
    let expected = OrderLine { kind: "book".into(), id: 1, state: State::Paid, discount: None };
    assert_eq!(OrderLine::as_of(conn, 1, at).unwrap(), AsOf::Present(expected));
    let AsOf::NotRepresentable { error, image } = Amount::as_of(conn, 1, at).unwrap() else {
        panic!("a masked i32 has no value")
    };
    assert_eq!(error.redacted, ["amount"]);
    assert_eq!(image.get("type").unwrap().as_str(), "\"book\"");
    assert_eq!(image.masked.iter().collect::<Vec<_>>(), ["amount", "discount"]);
}

#[test]
fn a_version_whose_value_no_longer_casts_does_not_spoil_the_others() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, ORDER_LINES);
    attach::<OrderLine>(conn, "Order \"lines\"");
    run(
        conn,
        r#"INSERT INTO "Order ""lines""" VALUES (1, 'open', 'book', 5, 2); UPDATE "Order ""lines""" SET state = 'paid'"#,
    );
    run(conn, "ALTER TYPE order_state RENAME VALUE 'open' TO 'pending'");
    let versions = OrderLine::history(conn, 1).unwrap().versions;
    assert_eq!(versions[0].row.as_ref().unwrap().as_ref().unwrap().state, State::Paid);
    let error = versions[1].row.as_ref().unwrap().as_ref().unwrap_err();
    assert!(error.problem.contains("order_state"), "{error}");
}

#[test]
fn a_write_that_escaped_capture_is_a_gap_between_two_changes() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    attach::<Membership>(conn, "memberships");
    run(conn, "INSERT INTO memberships VALUES (7, 'ann', 'reader')");
    run(conn, "UPDATE memberships SET role = 'writer'");
    let before_the_hole = clock(conn);
    run(
        conn,
        "SET session_replication_role = replica; UPDATE memberships SET role = 'hacker'; RESET session_replication_role",
    );
    let after_the_hole = clock(conn);
    run(conn, "UPDATE memberships SET role = 'owner'");
    let versions = Membership::history(conn, (7, "ann")).unwrap().versions;
    assert_eq!(versions.iter().map(|version| version.gap).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(versions[1].row.as_ref().unwrap().as_ref().unwrap().role, "writer");
    for at in [before_the_hole, after_the_hole] {
        let AsOf::Gap { older, newer, .. } = Membership::as_of(conn, (7, "ann"), at).unwrap() else {
            panic!("a hole lies there")
        };
        assert_eq!((older, newer), (Some(versions[1].change.id), Some(versions[0].change.id)));
    }
    let at = clock(conn);
    assert_eq!(Membership::as_of(conn, (7, "ann"), at).unwrap().present().unwrap().role, "owner");
}

#[test]
fn a_transaction_still_capturing_at_the_instant_is_undone_as_a_whole() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    attach::<Membership>(conn, "memberships");
    run(conn, "INSERT INTO memberships VALUES (7, 'ann', 'reader'), (7, 'bob', 'reader')");
    conn.batch_execute("BEGIN; UPDATE memberships SET role = 'writer' WHERE user_name = 'ann'").unwrap();
    let in_between = clock(conn);
    conn.batch_execute("UPDATE memberships SET role = 'writer' WHERE user_name = 'bob'; COMMIT").unwrap();
    for name in ["ann", "bob"] {
        assert_eq!(Membership::as_of(conn, (7, name), in_between).unwrap().present().unwrap().role, "reader");
    }
}

#[test]
fn a_row_of_many_changes_is_told_at_each_of_its_instants() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    attach::<Membership>(conn, "memberships");
    let before = clock(conn);
    // More than one statement reads, and one transaction of more changes than that.
    run(conn, "INSERT INTO memberships VALUES (7, 'ann', 'r0')");
    let mut instants = vec![(clock(conn), "r0".to_owned())];
    for round in 1..=40 {
        run(conn, &format!("UPDATE memberships SET role = 'r{round}'"));
        instants.push((clock(conn), format!("r{round}")));
    }
    let many: String = (0..50).map(|n| format!("UPDATE memberships SET role = 'm{n}';")).collect();
    conn.batch_execute(&format!("BEGIN; {many}")).unwrap();
    instants.push((clock(conn), "r40".to_owned()));
    conn.batch_execute("UPDATE memberships SET role = 'last'; COMMIT").unwrap();
    instants.push((clock(conn), "last".to_owned()));
    for (at, role) in instants {
        let then = Membership::as_of(conn, (7, "ann"), at).unwrap();
        assert_eq!(then.present().map(|row| row.role), Some(role), "{at}");
    }
    assert_eq!(Membership::as_of(conn, (7, "ann"), before).unwrap().present(), None);
}

#[test]
fn has_more_is_exact_and_the_limit_is_kept() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    attach::<Membership>(conn, "memberships");
    run(conn, "INSERT INTO memberships VALUES (7, 'ann', 'r0')");
    for round in 1..5 {
        run(conn, &format!("UPDATE memberships SET role = 'r{round}'"));
    }
    for (limit, versions, has_more) in [
        (HistoryLimit::Newest(4), 4, true),
        (HistoryLimit::Newest(5), 5, false),
        (HistoryLimit::Newest(6), 5, false),
        (HistoryLimit::Newest(0), 0, true),
        (HistoryLimit::All, 5, false),
    ] {
        let history = Membership::history_up_to(conn, (7, "ann"), limit).unwrap();
        assert_eq!((history.versions.len(), history.has_more), (versions, has_more), "{limit:?}");
    }
}

#[test]
fn a_table_without_a_model_is_read_by_name_also_when_it_is_gone() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    attach::<Membership>(conn, "memberships");
    run(conn, "INSERT INTO memberships VALUES (7, 'ann', 'reader'); DELETE FROM memberships");
    let key = RowKey::new([("user_name", "ann"), ("organization_id", "7")]).unwrap();
    let memberships = TableName::new(None, "memberships");
    let history = Trail::unscoped().row_history(conn, &memberships, &key, HistoryLimit::default()).unwrap();
    assert_eq!(history.versions[0].before.image().unwrap().get("role").unwrap().as_str(), "\"reader\"");
    run(conn, "DROP TABLE memberships");
    assert_eq!(
        Trail::unscoped()
            .row_history(conn, &memberships, &key, HistoryLimit::default())
            .unwrap()
            .versions
            .len(),
        2
    );

    let unknown = Trail::unscoped()
        .row_history(conn, &TableName::new(None, "nowhere"), &key, HistoryLimit::default())
        .unwrap_err();
    assert!(matches!(&unknown, Error::NotAudited { table, .. } if table == "nowhere"), "{unknown}");
    let at = clock(conn);
    let wrong = Trail::unscoped()
        .row_as_of(conn, &memberships, &RowKey::new([("id", "7")]).unwrap(), at)
        .unwrap_err();
    assert!(
        wrong.to_string().contains("is audited by the key (organization_id, user_name), not by (id)"),
        "{wrong}"
    );
    assert!(RowKey::new([("id", "1"), ("id", "2")]).unwrap_err().to_string().contains("`id` is given twice"));
}

#[test]
fn a_detached_table_answers_for_the_time_it_was_audited() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    attach::<Membership>(conn, "memberships");
    run(conn, "INSERT INTO memberships VALUES (7, 'ann', 'reader')");
    threadline::capture::detach(conn, &TableName::new(None, "memberships")).unwrap();
    run(conn, "UPDATE memberships SET role = 'nobody saw this'");
    let at = clock(conn);
    assert!(matches!(Membership::as_of(conn, (7, "ann"), at).unwrap(), AsOf::CaptureEnded { .. }));
    let versions = Membership::history(conn, (7, "ann")).unwrap().versions;
    assert_eq!(versions[0].row.as_ref().unwrap().as_ref().unwrap().role, "reader");
    attach::<Membership>(conn, "memberships");
    run(conn, "UPDATE memberships SET role = 'owner'");
    let versions = Membership::history(conn, (7, "ann")).unwrap().versions;
    assert_eq!(
        versions.iter().map(|version| version.gap).collect::<Vec<_>>(),
        [false, true],
        "the insert left another row than the update found"
    );
}

#[test]
fn errors_say_what_to_run() {
    let db = threadline_devdb::TestDatabase::empty();
    let conn = &mut db.connect();
    assert!(matches!(Membership::history(conn, (7, "ann")).unwrap_err(), Error::SchemaMissing));
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    let error = Membership::history(conn, (7, "ann")).unwrap_err();
    assert!(matches!(&error, Error::NotAudited { table, .. } if table == "memberships"), "{error}");
    let error =
        threadline::capture::attach(conn, &TableName::new(None, "nowhere"), &Membership::AUDIT).unwrap_err();
    assert!(matches!(&error, Error::NoSuchTable { table } if table == "nowhere"), "{error}");
    run(
        conn,
        "CREATE OR REPLACE FUNCTION threadline.schema_version() RETURNS integer LANGUAGE sql AS 'SELECT 7'; DROP FUNCTION threadline.find_table",
    );
    let error = Membership::history(conn, (7, "ann")).unwrap_err();
    assert!(matches!(error, Error::SchemaVersion { found: 7, .. }), "{error}");
    run(conn, "SELECT pg_sleep(0)");
    let pid = threadline_tests::texts(conn, "SELECT pg_backend_pid()").remove(0);
    run(&mut db.connect(), &format!("SELECT pg_terminate_backend({pid})"));
    let error = Membership::history(conn, (7, "ann")).unwrap_err();
    assert!(matches!(error, Error::ConnectionLost(_)), "{error:?}");
}
