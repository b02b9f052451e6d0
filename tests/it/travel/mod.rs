//! The past through the host's own queries: every table as it was at an instant, or an error that says why not.

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

#[test]
fn unmodified_queries_joins_and_associations_answer_as_of_the_instant() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    let then = clock(conn);
    run(
        conn,
        "UPDATE posts SET title = 'new', views = 5 WHERE id = 10; DELETE FROM posts WHERE id = 11; UPDATE posts SET id = 99 WHERE id = 12;
        UPDATE users SET name = 'anna' WHERE id = 1; INSERT INTO users VALUES (3, 'cyd', 'c@x', NULL); UPDATE users SET id = 20 WHERE id = 2;
        INSERT INTO posts (id, user_id, title) VALUES (13, 3, 'later')",
    );
    let live: Vec<Post> = posts::table.order(posts::id).select(Post::as_select()).load(conn).unwrap();
    let joined = |conn: &mut PgConnection| {
        posts::table
            .inner_join(users::table)
            .filter(users::name.like("%n%").or(users::name.eq("bob")))
            .order(posts::id)
            .select((posts::id, posts::title, users::id, users::name))
            .load::<(i64, String, i32, String)>(conn)
    };
    let (found, all, mine) = travel(conn, then, |conn| {
        let ann: User = users::table.find(1).select(User::as_select()).first(conn)?;
        let mine: Vec<Post> =
            Post::belonging_to(&ann).order(posts::id).select(Post::as_select()).load(conn)?;
        assert_eq!(ann, User { id: 1, name: "ann".into(), email: "[REDACTED]".into(), secret: None });
        assert_eq!(posts::table.count().get_result::<i64>(conn)?, 3);
        let left: Vec<(String, Option<i64>)> = users::table
            .left_join(posts::table.on(posts::user_id.eq(users::id).and(posts::title.eq("older"))))
            .order(users::id)
            .select((users::name, posts::id.nullable()))
            .load(conn)?;
        assert_eq!(left, [("ann".to_owned(), Some(11)), ("bob".to_owned(), None)]);
        Ok::<_, Error>((
            joined(conn)?,
            posts::table.order(posts::id).select(Post::as_select()).load::<Post>(conn)?,
            mine,
        ))
    })
    .unwrap();
    let line = |id: i64, title: &str, user: i32, name: &str| (id, title.to_owned(), user, name.to_owned());
    assert_eq!(found, [line(10, "old", 1, "ann"), line(11, "older", 1, "ann"), line(12, "bobs", 2, "bob")]);
    assert_eq!(mine.iter().map(|post| post.id).collect::<Vec<_>>(), [10, 11]);
    assert_eq!(all.iter().map(|post| (post.id, post.views)).collect::<Vec<_>>(), [(10, 0), (11, 0), (12, 0)]);
    assert_eq!(Post::all_as_of(conn, then).unwrap().len(), 3);
    assert_eq!(Post::as_of(conn, 10, then).unwrap(), AsOf::Present(all[0].clone()));
    // Afterwards all is as it was before.
    assert_eq!(posts::table.order(posts::id).select(Post::as_select()).load::<Post>(conn).unwrap(), live);
    assert_eq!(joined(conn).unwrap()[0], line(10, "new", 1, "anna"));
}

#[test]
fn statements_prepared_before_during_and_after_follow_the_switch() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    let then = clock(conn);
    run(conn, "UPDATE posts SET title = 'second' WHERE id = 10");
    let later = clock(conn);
    run(conn, "UPDATE posts SET title = 'third' WHERE id = 10");
    for _ in 0..3 {
        assert_eq!(title_of(conn, 10).unwrap().unwrap(), "third");
        for (at, title) in [(then, "old"), (later, "second"), (then, "old")] {
            // More often than PostgreSQL makes custom plans of a prepared statement.
            let seen = travel(conn, at, |conn| {
                (0..8).map(|_| Ok(title_of(conn, 10)?)).collect::<Result<Vec<_>, Error>>()
            });
            assert_eq!(seen.unwrap(), vec![Some(title.to_owned()); 8]);
        }
        assert_eq!(title_of(conn, 10).unwrap().unwrap(), "third");
    }
    assert_eq!(text(conn, "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()"), "0");
    assert_eq!(text(conn, "SELECT current_setting('search_path')"), "\"$user\", public");
}

#[test]
fn a_body_cannot_write_and_however_it_ends_the_connection_is_clean() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    let then = clock(conn);
    run(conn, "UPDATE posts SET title = 'new' WHERE id = 10");
    let written = travel(conn, then, |conn| {
        diesel::sql_query("UPDATE public.posts SET title = 'forged'").execute(conn)?;
        Ok::<_, Error>(())
    });
    assert!(
        matches!(
            written,
            Err(Error::Query(diesel::result::Error::DatabaseError(
                diesel::result::DatabaseErrorKind::ReadOnlyTransaction,
                _
            )))
        ),
        "{written:?}"
    );
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        travel(conn, then, |conn| -> Result<(), Error> {
            title_of(conn, 10)?;
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(title_of(conn, 10).unwrap().unwrap(), "new");
    let swallowed = travel(conn, then, |conn| {
        let _ = diesel::sql_query("SELECT 1 / 0").execute(conn);
        Ok::<_, Error>(())
    });
    assert!(matches!(swallowed, Err(Error::Aborted(_))), "{swallowed:?}");
    let ended = travel(conn, then, |conn| {
        run(conn, "COMMIT");
        Ok::<_, Error>(())
    });
    assert!(matches!(&ended, Err(Error::Refused { message, .. }) if message.contains("ended")), "{ended:?}");
    // Its COMMIT has made the views the session's; they are dropped.
    assert_eq!(title_of(conn, 10).unwrap().unwrap(), "new");
    let inside = conn.transaction(|conn| travel(conn, then, |_| Ok::<_, Error>(())));
    assert!(
        matches!(&inside, Err(Error::Refused { message, .. }) if message.contains("open transaction")),
        "{inside:?}"
    );
    // A savepoint of the body's own is no trouble.
    let nested = travel(conn, then, |conn| conn.transaction(|conn| Ok::<_, Error>(title_of(conn, 10)?)));
    assert_eq!(nested.unwrap().unwrap(), "old");
    assert_eq!(title_of(conn, 10).unwrap().unwrap(), "new");
}

#[test]
fn what_is_read_as_of_now_is_refused_or_named() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    run(
        conn,
        "CREATE TABLE widgets (id integer PRIMARY KEY); INSERT INTO widgets VALUES (1); CREATE SEQUENCE numbers;
        CREATE VIEW recent AS SELECT * FROM posts; CREATE SCHEMA other; CREATE TABLE other.posts (id bigint PRIMARY KEY);
        SELECT threadline.attach('other.posts');
        CREATE FUNCTION first_title() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT title FROM posts ORDER BY id LIMIT 1); END'",
    );
    let then = clock(conn);
    run(
        conn,
        "UPDATE posts SET title = 'new' WHERE id = 10; INSERT INTO widgets VALUES (2); INSERT INTO other.posts VALUES (1)",
    );
    let live = |conn: &mut PgConnection, sql: &str| match past_texts(conn, then, sql) {
        Err(Error::LiveTables { tables }) => tables.iter().map(TableName::to_string).collect(),
        Ok(rows) => rows,
        Err(error) => panic!("{error:?}"),
    };
    assert_eq!(live(conn, "SELECT id FROM widgets"), [r#""public"."widgets""#]);
    assert_eq!(live(conn, "SELECT title FROM public.posts WHERE id = 10"), [r#""public"."posts""#]);
    assert_eq!(
        live(conn, "SELECT title FROM recent WHERE id = 10"),
        [r#""public"."posts""#, r#""public"."recent""#]
    );
    assert_eq!(
        live(conn, "SELECT title FROM recent WHERE id IN (SELECT id FROM posts)"),
        [r#""public"."recent""#]
    );
    assert_eq!(live(conn, "SELECT id FROM other.posts"), [r#""other"."posts""#]);
    assert_eq!(live(conn, "SELECT last_value FROM numbers"), [r#""public"."numbers""#]);
    assert_eq!(live(conn, "SELECT first_title()"), ["old"], "a function that leaves the path to its caller");
    run(conn, "ALTER FUNCTION first_title() SET search_path = public");
    assert_eq!(
        live(conn, "SELECT first_title()"),
        ["old"],
        "temporary relations come first in any path that does not say otherwise"
    );
    run(conn, "ALTER FUNCTION first_title() SET search_path = public, pg_temp");
    assert_eq!(live(conn, "SELECT first_title()"), [r#""public"."posts""#]);
    let refused =
        travel(conn, then, |conn| Ok::<_, Error>(qualified::posts::table.count().get_result::<i64>(conn)?))
            .unwrap_err();
    assert_eq!(
        refused.to_string(),
        r#"time travel read `"public"."posts"` as of now: not audited, or named with its schema; audit the table, leave the schema out of `table!`, or accept present rows with `Travel::run_with_live_tables`"#
    );
    let (counts, tables) = Travel::to(then)
        .run_with_live_tables(conn, |conn| {
            Ok::<_, Error>((title_of(conn, 10)?, widgets::table.count().get_result::<i64>(conn)?))
        })
        .unwrap();
    assert_eq!((counts.0.as_deref(), counts.1), (Some("old"), 2));
    assert_eq!(tables, [TableName::new(Some("public"), "widgets")]);
    // On the path in its own right, the other schema's table is the one the name means.
    run(conn, "SET search_path = other, public");
    assert_eq!(live(conn, "SELECT count(*) FROM posts"), ["0"]);
}

fn problem<T: std::fmt::Debug>(result: Result<T, Error>) -> (PastProblem, String) {
    match result {
        Err(Error::UnknownPast { reason, message, .. }) => (reason, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_known_is_an_error_and_only_of_the_tables_that_are_read() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE early (id integer PRIMARY KEY, v text); SELECT threadline.attach('early'); INSERT INTO early VALUES (1, 'a'), (2, '2')",
    );
    let first = clock(conn);
    run(conn, TABLES);
    let then = clock(conn);
    assert_eq!(past_texts(conn, first, "SELECT v FROM early ORDER BY id").unwrap(), ["a", "2"]);
    let (reason, message) = problem(past_texts(conn, first, "SELECT title FROM posts"));
    assert_eq!(reason, PastProblem::BeforeHorizon);
    assert!(message.starts_with("table public.posts is known from 20"), "{message}");
    assert_eq!(
        problem(Trail::unscoped().table_as_of(conn, &table("posts"), first, |_| Ok(()))).0,
        PastProblem::BeforeHorizon
    );
    assert_eq!(
        problem(past_texts(conn, first, "SELECT early.v FROM early LEFT JOIN posts ON posts.id = early.id"))
            .0,
        PastProblem::BeforeHorizon
    );

    // A value that is no number any more; the other row's still is.
    run(
        conn,
        "UPDATE early SET v = '1'; ALTER TABLE early ALTER v TYPE integer USING v::integer; SELECT threadline.refresh('early')",
    );
    assert_eq!(past_texts(conn, then, "SELECT v + 1 FROM early WHERE id = 2").unwrap(), ["3"]);
    let (reason, message) = problem(past_texts(conn, then, "SELECT v FROM early"));
    assert_eq!(reason, PastProblem::DoesNotFit);
    assert!(
        message.starts_with("column \"v\" of the row of table public.early with the key 1 held a value"),
        "{message}"
    );

    // Past capture, between two captured changes; then between the last one and now.
    let past_capture = "ALTER TABLE posts DISABLE TRIGGER USER; UPDATE posts SET views = 7 WHERE id = 10; ALTER TABLE posts ENABLE TRIGGER USER";
    run(
        conn,
        &format!(
            "UPDATE posts SET views = 1 WHERE id = 10; {past_capture}; UPDATE posts SET views = 8 WHERE id = 10"
        ),
    );
    let between = clock(conn);
    assert_eq!(past_texts(conn, then, "SELECT views FROM posts WHERE id = 12").unwrap(), ["0"]);
    let (reason, message) = problem(past_texts(conn, then, "SELECT views FROM posts WHERE id = 10"));
    assert_eq!(reason, PastProblem::Gap);
    assert!(
        message.starts_with(
            "a write to the row of table public.posts with the key 10 escaped capture between 20"
        ),
        "{message}"
    );
    run(conn, &format!("UPDATE posts SET views = 9 WHERE id = 10; {past_capture}"));
    let (reason, message) = problem(past_texts(conn, between, "SELECT views FROM posts WHERE id = 10"));
    assert!(reason == PastProblem::Gap && message.ends_with("and now"), "{message}");
    assert_eq!(
        problem(Trail::unscoped().table_as_of(conn, &table("posts"), then, |_| Ok(()))).0,
        PastProblem::Gap
    );

    run(conn, "TRUNCATE posts");
    let (reason, message) = problem(past_texts(conn, then, "SELECT views FROM posts WHERE id = 12"));
    assert!(
        reason == PastProblem::CrossedTruncate
            && message.starts_with("table public.posts was truncated at 20"),
        "{message}"
    );
    run(conn, "SELECT threadline.detach('early')");
    assert_eq!(
        problem(Trail::unscoped().table_as_of(conn, &table("early"), then, |_| Ok(()))).0,
        PastProblem::CaptureEnded
    );
    assert!(
        matches!(past_texts(conn, then, "SELECT v FROM early"), Err(Error::LiveTables { .. })),
        "not audited any more"
    );
    assert!(matches!(
        Trail::unscoped().table_as_of(conn, &table("pg_class"), then, |_| Ok(())),
        Err(Error::NotAudited { .. })
    ));
}

#[test]
fn a_role_that_may_only_read_can_travel_and_one_that_may_not_read_the_trail_cannot() {
    let db = audited_database();
    let conn = &mut db.connect();
    let (reader, stranger) = (TestRole::new(&db, "reader"), TestRole::new(&db, "stranger"));
    run(conn, TABLES);
    run(
        conn,
        &format!(
            "GRANT SELECT ON ALL TABLES IN SCHEMA threadline, public TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {1}",
            reader.name(),
            stranger.name()
        ),
    );
    let then = clock(conn);
    run(conn, "UPDATE posts SET title = 'new' WHERE id = 10; DELETE FROM posts WHERE id = 11");
    let reading = &mut reader.connect();
    assert_eq!(
        past_texts(
            reading,
            then,
            "SELECT title FROM posts JOIN users ON users.id = user_id ORDER BY posts.id"
        )
        .unwrap(),
        ["old", "older", "bobs"]
    );
    let mut rows = 0;
    let count = |_| {
        rows += 1;
        Ok(())
    };
    Trail::unscoped().table_as_of(reading, &table("posts"), then, count).unwrap();
    assert_eq!(rows, 3);
    let refused = past_texts(&mut stranger.connect(), then, "SELECT title FROM posts");
    assert!(
        matches!(&refused, Err(Error::Query(error)) if error.to_string().contains("permission denied")),
        "{refused:?}"
    );
}

#[test]
fn an_instant_is_a_set_of_whole_transactions() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    run(conn, TABLES);
    run(
        other,
        "BEGIN; UPDATE posts SET title = 'half', id = 112 WHERE id = 12; DELETE FROM posts WHERE id = 11",
    );
    let between = clock(conn);
    run(conn, "UPDATE posts SET title = 'meanwhile' WHERE id = 10");
    let meanwhile = clock(conn);
    run(other, "UPDATE users SET name = 'whole' WHERE id = 1; COMMIT");
    let after = clock(conn);
    let titles = "SELECT id || title || (SELECT name FROM users WHERE id = 1) FROM posts ORDER BY id";
    assert_eq!(past_texts(conn, between, titles).unwrap(), ["10oldann", "11olderann", "12bobsann"]);
    assert_eq!(past_texts(conn, meanwhile, titles).unwrap(), ["10meanwhileann", "11olderann", "12bobsann"]);
    assert_eq!(past_texts(conn, after, titles).unwrap(), ["10meanwhilewhole", "112halfwhole"]);
    // Captured by then, committed later: it counts once it is committed.
    run(other, "BEGIN; UPDATE posts SET title = 'late' WHERE id = 10");
    let captured = clock(conn);
    assert_eq!(past_texts(conn, captured, titles).unwrap()[0], "10meanwhilewhole");
    run(other, "COMMIT");
    assert_eq!(past_texts(conn, captured, titles).unwrap()[0], "10latewhole");
    // Up to and including the instant.
    let last: DateTime<Utc> = diesel::select(diesel::dsl::sql::<diesel::sql_types::Timestamptz>(
        "(SELECT max(captured_at) FROM threadline.audit_changes)",
    ))
    .get_result(conn)
    .unwrap();
    assert_eq!(past_texts(conn, last, titles).unwrap()[0], "10latewhole");
    assert_eq!(past_texts(conn, last - TimeDelta::microseconds(1), titles).unwrap()[0], "10meanwhilewhole");
}

#[test]
fn what_todays_policy_hides_is_hidden_in_every_row_of_the_past() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE people (id integer PRIMARY KEY, name text, phone text, pin integer, note text); SELECT threadline.attach('people');
        INSERT INTO people VALUES (1, 'ann', 'planted-1', 4711, 'planted-2'), (2, 'bob', 'planted-3', 4712, 'planted-4'), (3, 'cyd', 'planted-5', 4713, 'planted-6')",
    );
    let then = clock(conn);
    run(
        conn,
        "UPDATE people SET phone = 'planted-7', pin = 4714, note = 'planted-8', name = 'anna' WHERE id = 1; DELETE FROM people WHERE id = 2;
        SELECT threadline.attach('people', mask => '{phone,pin}', exclude => '{note}', mask_placeholder => '***');
        UPDATE people SET phone = 'planted-9', note = 'planted-10', name = 'ann again' WHERE id = 1",
    );
    let rows = past_texts(
        conn,
        then,
        "SELECT concat_ws(' ', id, name, phone, coalesce(pin::text, '-'), coalesce(note, '-')) FROM people ORDER BY id",
    );
    assert_eq!(rows.unwrap(), ["1 ann *** - -", "2 bob *** - -", "3 cyd *** - -"]);
    // Not by a filter either.
    assert_eq!(
        past_texts(
            conn,
            then,
            "SELECT id FROM people WHERE phone LIKE 'planted%' OR pin > 0 OR note IS NOT NULL"
        )
        .unwrap(),
        [""; 0]
    );
    let mut images = Vec::new();
    Trail::unscoped()
        .table_as_of(conn, &table("people"), then, |row| {
            images.push(serde_json::to_string(&row).unwrap());
            Ok(())
        })
        .unwrap();
    let now = clock(conn);
    Trail::unscoped()
        .table_diff(conn, &table("people"), then, now, |row| {
            images.push(serde_json::to_string(&row).unwrap());
            Ok(())
        })
        .unwrap();
    assert_eq!(images.len(), 5);
    assert!(!images.concat().contains("planted") && !images.concat().contains("471"), "{images:?}");
    assert!(images[0].contains(r#""masked":["phone","pin"]"#), "{images:?}");
}

#[test]
fn composite_quoted_and_other_keys_and_partitions_are_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        r#"CREATE TABLE "Odd ""Table" ("a key" text, "select" uuid, "old" numeric(6, 2), "new" text COLLATE "C", PRIMARY KEY ("a key", "select"));
        CREATE TABLE prices (amount numeric PRIMARY KEY, label varchar(20) COLLATE "C");
        CREATE TABLE events (id integer, kind text, v integer, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
        CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a');
        CREATE TABLE events_b (junk integer, v integer, kind text NOT NULL, id integer NOT NULL); ALTER TABLE events_b DROP COLUMN junk;
        ALTER TABLE events ATTACH PARTITION events_b FOR VALUES IN ('b'); ALTER TABLE prices ADD COLUMN gone integer; ALTER TABLE prices DROP COLUMN gone;
        SELECT threadline.attach('"Odd ""Table"'); SELECT threadline.attach('prices'); SELECT threadline.attach('events');
        INSERT INTO "Odd ""Table" VALUES ('x,"y', '00000000-0000-0000-0000-000000000001', 1.50, 'n'), ('z', '00000000-0000-0000-0000-000000000002', NULL, NULL);
        INSERT INTO "Odd ""Table" VALUES (repeat('long', 400), '00000000-0000-0000-0000-000000000003', 3, 'l');
        INSERT INTO prices VALUES (1.00, 'one'), (2.50, 'two'); INSERT INTO events VALUES (1, 'a', 1), (2, 'b', 2), (3, 'b', 3)"#,
    );
    let then = clock(conn);
    let shadows = [
        (r#""Odd ""Table""#, "row_to_json(t)::text FROM \"Odd \"\"Table\" t"),
        ("prices", "row_to_json(t)::text FROM prices t"),
        ("events", "row_to_json(t)::text FROM events t"),
    ]
    .map(|(name, select)| (name, select, texts(conn, &format!("SELECT {select} ORDER BY 1"))));
    run(
        conn,
        r#"UPDATE "Odd ""Table" SET "old" = 9, "new" = 'm'; DELETE FROM "Odd ""Table"; UPDATE prices SET amount = amount + 1; DELETE FROM prices WHERE amount > 3;
        UPDATE events SET kind = 'a', v = 20 WHERE id = 2; DELETE FROM events_b; INSERT INTO events VALUES (3, 'b', 33)"#,
    );
    for (name, select, shadow) in &shadows {
        assert_eq!(
            past_texts(conn, then, &format!("SELECT {select} ORDER BY 1")).unwrap(),
            *shadow,
            "{name}"
        );
    }
    for (sql, found) in [
        (r#"SELECT "old" FROM "Odd ""Table" WHERE "a key" = 'x,"y'"#, "1.50"),
        (r#"SELECT "new" FROM "Odd ""Table" WHERE "select" = '00000000-0000-0000-0000-000000000001'"#, "n"),
        (r#"SELECT "new" FROM "Odd ""Table" WHERE "a key" = repeat('long', 400)"#, "l"),
        ("SELECT amount || label FROM prices WHERE amount = 2.5", "2.50two"),
        ("SELECT v FROM events WHERE id = 2 AND kind = 'b'", "2"),
        ("SELECT v FROM events WHERE id = 3", "3"),
    ] {
        assert_eq!(past_texts(conn, then, sql).unwrap(), [found], "{sql}");
    }
}

#[test]
fn a_key_that_has_another_type_today_still_finds_what_is_gone() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE grown (id integer PRIMARY KEY, v text); SELECT threadline.attach('grown'); INSERT INTO grown VALUES (1, 'a'), (2, 'b')",
    );
    let then = clock(conn);
    run(
        conn,
        "DELETE FROM grown WHERE id = 1; ALTER TABLE grown ALTER id TYPE bigint; DELETE FROM grown WHERE id = 2; SELECT threadline.refresh('grown');
        INSERT INTO grown VALUES (3, 'c')",
    );
    let later = clock(conn);
    run(conn, "DELETE FROM grown");
    assert_eq!(past_texts(conn, then, "SELECT v FROM grown WHERE id = 1").unwrap(), ["a"]);
    assert_eq!(past_texts(conn, then, "SELECT id || v FROM grown ORDER BY id").unwrap(), ["1a", "2b"]);
    assert_eq!(past_texts(conn, later, "SELECT id || v FROM grown WHERE id > 2").unwrap(), ["3c"]);
}

#[test]
fn rows_kept_from_a_truncate_and_rows_captured_past_a_stale_function_are_found() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE kept (id uuid PRIMARY KEY, v text); SELECT threadline.attach('kept', on_truncate => 'keep');
        INSERT INTO kept VALUES ('00000000-0000-0000-0000-000000000001', 'a'), ('00000000-0000-0000-0000-000000000002', 'b')",
    );
    let then = clock(conn);
    run(
        conn,
        "TRUNCATE kept; INSERT INTO kept VALUES ('00000000-0000-0000-0000-000000000003', 'c'); ALTER TABLE kept ADD COLUMN extra text DEFAULT 'x'",
    );
    let later = clock(conn);
    run(conn, "DELETE FROM kept");
    assert_eq!(past_texts(conn, then, "SELECT v FROM kept ORDER BY id").unwrap(), ["a", "b"]);
    assert_eq!(
        past_texts(conn, then, "SELECT v FROM kept WHERE id = '00000000-0000-0000-0000-000000000002'")
            .unwrap(),
        ["b"]
    );
    assert_eq!(
        past_texts(
            conn,
            later,
            "SELECT v || extra FROM kept WHERE id = '00000000-0000-0000-0000-000000000003'"
        )
        .unwrap(),
        ["cx"]
    );
}

#[test]
fn with_scopes_only_rows_that_were_in_them_are_seen() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE docs (id integer PRIMARY KEY, org integer, v text); SELECT threadline.attach('docs', scope => 'org');
        CREATE TABLE plain (id integer PRIMARY KEY); SELECT threadline.attach('plain'); INSERT INTO plain VALUES (1);
        INSERT INTO docs VALUES (1, 7, 'a'), (2, 8, 'b'), (3, 7, 'c'), (4, NULL, 'd')",
    );
    let then = clock(conn);
    run(
        conn,
        "UPDATE docs SET org = 8 WHERE id = 1; UPDATE docs SET org = 7 WHERE id = 2; DELETE FROM docs WHERE id = 3",
    );
    let seen = |conn: &mut PgConnection, scope: Scope| {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            ids: String,
        }
        let trail = Trail::scoped(move |_| Ok(scope.clone()));
        let mut images = 0;
        trail
            .table_as_of(conn, &table("docs"), then, |_| {
                images += 1;
                Ok(())
            })
            .unwrap();
        let ids = trail
            .travel(conn, then, |conn| {
                let row: Row = diesel::sql_query("SELECT coalesce((SELECT string_agg(id::text, ',' ORDER BY id) FROM docs), '') || '/' || (SELECT count(*) FROM plain) AS ids").get_result(conn)?;
                Ok::<_, Error>(row.ids)
            })
            .unwrap();
        format!("{ids}/{images}")
    };
    let plain = || Scope::table(TableName::new(None, "plain"));
    assert_eq!(seen(conn, Scope::tenant("7")), "1,3/0/2");
    assert_eq!(seen(conn, Scope::tenant("8").or(plain())), "2/1/1");
    assert_eq!(seen(conn, Scope::tenants(["7", "8"])), "1,2,3/0/3");
    assert_eq!(seen(conn, Scope::tenants(["7", "8"]).and(Scope::tenants(["8", "9"]))), "2/0/1");
    assert_eq!(seen(conn, plain().and(Scope::tenant("7"))), "/0/0");
    assert_eq!(seen(conn, Scope::nothing()), "/0/0");
}

#[test]
fn differences_between_two_instants_are_told_by_row_and_by_table() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    let from = clock(conn);
    run(
        conn,
        "UPDATE posts SET title = 'new', views = 5 WHERE id = 10; DELETE FROM posts WHERE id = 11; INSERT INTO posts (id, user_id, title) VALUES (13, 1, 'more'); UPDATE posts SET views = 1 WHERE id = 12",
    );
    run(conn, "UPDATE posts SET views = 0 WHERE id = 12; UPDATE users SET email = 'other@x' WHERE id = 1");
    let to = clock(conn);
    run(conn, "UPDATE posts SET title = 'newest' WHERE id = 10; DELETE FROM posts WHERE id = 13");
    let fields = |change: &RowChange| match change {
        RowChange::Changed(fields) => {
            fields.iter().map(|(name, field)| format!("{name} {}->{}", field.before, field.after)).collect()
        }
        RowChange::Added(row) => vec![format!("added {}", row.get("title").unwrap())],
        RowChange::Removed(row) => vec![format!("removed {}", row.get("title").unwrap())],
    };
    let mut found = Vec::new();
    Trail::unscoped()
        .table_diff(conn, &table("posts"), from, to, |row| {
            found.push((row.row_key, fields(&row.change).join(" ")));
            Ok(())
        })
        .unwrap();
    found.sort();
    let line = |key: &str, change: &str| (key.to_owned(), change.to_owned());
    let expected = [
        line("10", r#"title "old"->"new" views 0->5"#),
        line("11", r#"removed "older""#),
        line("13", r#"added "more""#),
    ];
    assert_eq!(found, expected);
    for (key, change) in expected {
        let diff = Trail::unscoped()
            .row_diff(conn, &table("posts"), &row_key(&format!("id={key}")), from, to)
            .unwrap();
        assert_eq!(fields(&diff.change.unwrap()).join(" "), change);
    }
    assert_eq!(
        Trail::unscoped().row_diff(conn, &table("posts"), &row_key("id=12"), from, to).unwrap().change,
        None
    );
    Trail::unscoped()
        .table_diff(conn, &table("users"), from, to, |row| panic!("a masked value does not differ: {row:?}"))
        .unwrap();
    assert!(matches!(
        Trail::unscoped().table_diff(conn, &table("posts"), to, from, |_| Ok(())),
        Err(Error::Refused { .. })
    ));
    let rows = Trail::unscoped()
        .rows_as_of(conn, &table("posts"), &[row_key("id=13"), row_key("id=10"), row_key("id=77")], to)
        .unwrap();
    assert!(matches!(&rows[..], [AsOf::Present(_), AsOf::Present(_), AsOf::NotCreated]), "{rows:?}");
}

#[test]
fn a_lookup_by_key_uses_indexes_alone_also_for_what_is_gone_and_in_joins() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TABLES);
    run(
        conn,
        "INSERT INTO users SELECT i, 'u' || i, '', NULL FROM generate_series(100, 2000) i;
        INSERT INTO posts (id, user_id, title) SELECT i, 100 + i % 1900, 't' || i FROM generate_series(1000, 20000) i",
    );
    let then = clock(conn);
    run(
        conn,
        "UPDATE posts SET views = views + 1 WHERE id % 3 = 0; DELETE FROM posts WHERE id % 7 = 0; UPDATE users SET name = name || 'x';
        UPDATE posts SET id = id + 100000 WHERE id % 11 = 0",
    );
    run(
        conn,
        "CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS
            'DECLARE line text; BEGIN FOR line IN EXECUTE ''EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) '' || query LOOP RETURN NEXT line; END LOOP; END'",
    );
    run(conn, "VACUUM ANALYZE");
    // Empty partitions are read in no time whichever way.
    let plan = |conn: &mut PgConnection, sql: &str| {
        let plan =
            travel(conn, then, |conn| Ok::<_, Error>(texts(conn, &format!("SELECT plan('{sql}')")))).unwrap();
        let read: Vec<String> = plan
            .iter()
            .filter(|line| {
                line.contains("Seq Scan") && !line.contains("rows=0") && !line.contains("never executed")
            })
            .cloned()
            .collect();
        (read, plan.join("\n"))
    };
    for sql in [
        "SELECT * FROM posts WHERE id = 1002",
        "SELECT * FROM posts WHERE id = 1001",
        "SELECT * FROM posts WHERE id = 1012",
        "SELECT * FROM posts WHERE id IN (1001, 1002, 1012)",
        "SELECT * FROM posts JOIN users ON users.id = posts.user_id WHERE posts.id = 1001",
        "SELECT * FROM posts LEFT JOIN users ON users.id = posts.user_id WHERE posts.id = 1002",
    ] {
        let (read, plan) = plan(conn, sql);
        assert_eq!(read, [""; 0], "{sql}\n{plan}");
        assert!(plan.contains("Index"), "{plan}");
    }
    let (read, plan) = plan(conn, "SELECT count(*) FROM posts");
    assert!(!read.is_empty(), "the test can tell: {plan}");
}

#[test]
fn a_column_whose_domain_forbids_null_travels() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE DOMAIN address AS text NOT NULL CHECK (VALUE LIKE '%@%'); CREATE DOMAIN number AS bigint NOT NULL;
        CREATE TABLE people (id number PRIMARY KEY, email address); SELECT threadline.attach('people');
        INSERT INTO people SELECT n, n || '@a' FROM generate_series(1, 3) n",
    );
    let at = clock(conn);
    run(conn, "UPDATE people SET email = '1@b' WHERE id = 1; DELETE FROM people WHERE id = 2");
    assert_eq!(
        past_texts(conn, at, "SELECT email::text FROM people ORDER BY id").unwrap(),
        ["1@a", "2@a", "3@a"]
    );
    assert_eq!(past_texts(conn, at, "SELECT email::text FROM people WHERE id = 2").unwrap(), ["2@a"]);
}
