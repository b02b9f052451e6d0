//! What a query answers as of an instant.

use super::*;

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
