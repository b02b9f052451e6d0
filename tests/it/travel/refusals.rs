//! What travel refuses, and how it leaves the connection.

use super::*;

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
