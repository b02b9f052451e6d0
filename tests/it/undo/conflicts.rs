//! Later work is not destroyed: it stays where it does not overlap, and is listed where it does.

use threadline::Error;
use threadline::undo::{ConflictKind, Overlap, Resolution};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, run};

use super::{doing, newest, outline, plan, rows, undo_clean, undo_with};

fn posts() -> TestDatabase {
    let db = audited_database();
    run(
        &mut db.connect(),
        "CREATE TABLE posts (id bigint PRIMARY KEY, title text, body text, views integer NOT NULL DEFAULT 0, seen integer DEFAULT 0);
        SELECT threadline.attach('posts', ignore => ARRAY['seen']);
        INSERT INTO posts VALUES (1, 'a', 'A'), (2, 'b', 'B')",
    );
    db
}

#[test]
fn later_changes_of_other_columns_survive() {
    let db = posts();
    let conn = &mut db.connect();
    let done = doing(
        conn,
        "UPDATE posts SET title = 'x' WHERE id = 1; UPDATE posts SET title = 'y', views = 3 WHERE id = 2",
    );
    doing(conn, "UPDATE posts SET body = 'later', id = id + 10");
    assert_eq!(
        outline(&plan(conn, done)),
        ["update posts 11 title=a<-x", "update posts 12 title=b<-y views=0<-3"]
    );
    undo_clean(conn, done);
    assert_eq!(rows(conn, "posts"), ["(11,a,later,0,0)", "(12,b,later,0,0)"]);
}

#[test]
fn an_overlap_names_column_values_and_change_and_is_settled_only_when_asked_for() {
    let settled = |resolution: Resolution| {
        let db = posts();
        let conn = &mut db.connect();
        let done = doing(
            conn,
            "UPDATE posts SET title = 'x', views = 1 WHERE id = 1; UPDATE posts SET title = 'y' WHERE id = 2",
        );
        doing(conn, "UPDATE posts SET title = 'mine' WHERE id = 1");
        let later = newest(conn);
        let plan = plan(conn, done);
        let conflicts: Vec<_> = plan.conflicts().collect();
        assert_eq!(conflicts.len(), 1, "{:?}", outline(&plan));
        let ConflictKind::Changed { column, left, now } = &conflicts[0].kind else { panic!("{conflicts:?}") };
        let text = |value: &Option<threadline::undo::TypedValue>| {
            value.as_ref().and_then(|value| value.text.clone())
        };
        assert_eq!(
            (column.as_str(), text(left), text(now)),
            ("title", Some("x".into()), Some("mine".into()))
        );
        assert_eq!(conflicts[0].overlaps, [Overlap::Change { id: super::change(later, 1) }]);
        let before = rows(conn, "posts");
        let result = undo_with(conn, done, resolution);
        if resolution == Resolution::Refuse {
            assert!(
                matches!(&result, Err(Error::UndoRefused { conflicts, .. }) if conflicts.len() == 1),
                "{result:?}"
            );
            assert_eq!(rows(conn, "posts"), before);
            assert_eq!(newest(conn), later);
        } else {
            result.unwrap_or_else(|error| panic!("{error:?}"));
        }
        rows(conn, "posts")
    };
    settled(Resolution::Refuse);
    assert_eq!(settled(Resolution::Skip), ["(1,mine,A,0,0)", "(2,b,B,0,0)"]);
    assert_eq!(settled(Resolution::Overwrite), ["(1,a,A,0,0)", "(2,b,B,0,0)"]);
}

#[test]
fn a_column_written_again_overlaps_also_when_what_the_target_wrote_came_back() {
    let db = posts();
    let conn = &mut db.connect();
    let done = doing(conn, "UPDATE posts SET title = 'x' WHERE id = 1");
    doing(conn, "UPDATE posts SET title = 'mine' WHERE id = 1");
    doing(conn, "UPDATE posts SET title = 'x' WHERE id = 1");
    assert_eq!(plan(conn, done).conflicts().next().map(|conflict| conflict.overlaps.len()), Some(2));
}

#[test]
fn rows_that_are_gone_taken_or_referred_to_are_conflicts_nothing_overwrites() {
    let db = posts();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE likes (id bigint PRIMARY KEY, post bigint REFERENCES posts ON DELETE CASCADE)");
    let done = doing(
        conn,
        "UPDATE posts SET title = 'x' WHERE id = 1; DELETE FROM posts WHERE id = 2; INSERT INTO posts VALUES (3, 'c'), (4, 'd')",
    );
    let gone = doing(conn, "DELETE FROM posts WHERE id = 1");
    let taken = doing(conn, "INSERT INTO posts VALUES (2, 'other')");
    run(conn, "INSERT INTO likes VALUES (1, 3)");
    let edited = doing(conn, "UPDATE posts SET body = 'mine' WHERE id = 4");
    let plan_now = plan(conn, done);
    let mut outlined: Vec<String> =
        outline(&plan_now).into_iter().filter(|line| line.starts_with("conflict")).collect();
    outlined.sort();
    assert_eq!(
        outlined,
        [
            format!("conflict: row `1` of \"public\".\"posts\": the row is gone, last by change {gone}#1"),
            format!(
                "conflict: row `2` of \"public\".\"posts\": another row has its key, last by change {taken}#1"
            ),
            "conflict: row `3` of \"public\".\"posts\": row `?` refers to it by `likes_post_fkey`".to_owned(),
            format!(
                "conflict: row `4` of \"public\".\"posts\": column `body` was written again, last by change {edited}#1"
            ),
        ]
    );
    let refused = undo_with(conn, done, Resolution::Overwrite);
    assert!(
        matches!(&refused, Err(Error::UndoRefused { conflicts, .. }) if conflicts.len() == 3),
        "{refused:?}"
    );
    let before = rows(conn, "posts");
    let skipped = undo_with(conn, done, Resolution::Skip);
    assert!(matches!(skipped, Err(Error::UndoRefused { .. })), "nothing is left to do: {skipped:?}");
    assert_eq!(rows(conn, "posts"), before);
}

#[test]
fn a_write_that_escaped_capture_is_a_conflict_in_the_columns_it_changed() {
    let db = posts();
    let conn = &mut db.connect();
    let done = doing(
        conn,
        "UPDATE posts SET title = 'x', body = 'X' WHERE id = 1; INSERT INTO posts VALUES (3, 'c')",
    );
    run(
        conn,
        "ALTER TABLE posts DISABLE TRIGGER ALL; UPDATE posts SET title = 'hidden' WHERE id <> 2; ALTER TABLE posts ENABLE TRIGGER ALL",
    );
    // And one before a later change that was captured again.
    doing(conn, "UPDATE posts SET views = 1 WHERE id = 1");
    let plan_now = plan(conn, done);
    let escaped: Vec<_> = plan_now
        .conflicts()
        .map(|conflict| (conflict.row_key.clone(), conflict.column(), &conflict.overlaps))
        .collect();
    assert_eq!(
        escaped,
        [
            ("3".to_owned(), Some("title"), &vec![Overlap::Escaped]),
            ("1".to_owned(), Some("title"), &vec![Overlap::Escaped])
        ]
    );
    undo_with(conn, done, Resolution::Skip).unwrap();
    assert_eq!(rows(conn, "posts"), ["(1,hidden,A,1,0)", "(2,b,B,0,0)", "(3,hidden,,0,0)"]);
}

#[test]
fn columns_that_capture_ignores_neither_conflict_nor_are_set_back_once_they_moved_on() {
    let db = posts();
    let conn = &mut db.connect();
    let done = doing(conn, "UPDATE posts SET title = 'x', seen = 1; INSERT INTO posts VALUES (3, 'c')");
    run(conn, "UPDATE posts SET seen = seen + 5 WHERE id <> 2");
    let plan_now = plan(conn, done);
    assert!(plan_now.is_clean());
    assert_eq!(
        outline(&plan_now),
        [
            "delete posts 3",
            "update posts 1 title=a<-x",
            "update posts 2 title=b<-y seen=0<-1".replace("<-y", "<-x").as_str(),
            "limit: column `seen` of row `1` of \"public\".\"posts\": ignored by capture and left as it is"
        ]
    );
    undo_clean(conn, done);
    assert_eq!(rows(conn, "posts"), ["(1,a,A,0,6)", "(2,b,B,0,0)"]);
}

#[test]
fn work_of_others_between_the_changes_of_a_target_overlaps() {
    let db = posts();
    let conn = &mut db.connect();
    let correlated = |conn: &mut diesel::PgConnection, sql: &str| {
        doing(conn, &format!("SELECT threadline.set_context('{{\"correlation_id\": \"c\"}}'); {sql}"))
    };
    correlated(conn, "UPDATE posts SET title = 'x', views = 1 WHERE id = 1");
    doing(conn, "UPDATE posts SET title = 'mine', body = 'mine' WHERE id = 1");
    correlated(conn, "UPDATE posts SET title = 'y' WHERE id = 1");
    let plan = super::planned(conn, &threadline::UndoTarget::correlation("c"));
    let columns: Vec<_> = plan.conflicts().filter_map(|conflict| conflict.column()).collect();
    assert_eq!((columns, plan.steps.len()), (vec!["title"], 1), "{:?}", outline(&plan));
}

#[test]
fn a_row_that_is_kept_for_later_work_keeps_what_it_refers_to() {
    let db = posts();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE likes (id bigint PRIMARY KEY, post bigint REFERENCES posts ON DELETE CASCADE, kind text); SELECT threadline.attach('likes')",
    );
    let done =
        doing(conn, "INSERT INTO posts VALUES (3, 'c'), (4, 'd'); INSERT INTO likes VALUES (1, 3), (2, 4)");
    doing(conn, "UPDATE likes SET kind = 'heart' WHERE id = 1");
    undo_with(conn, done, Resolution::Skip).unwrap();
    assert_eq!(rows(conn, "likes"), ["(1,3,heart)"]);
    assert_eq!(rows(conn, "posts"), ["(1,a,A,0,0)", "(2,b,B,0,0)", "(3,c,,0,0)"]);
}

#[test]
fn one_row_that_refers_is_found_among_many_that_go() {
    let db = posts();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE likes (id bigint PRIMARY KEY, post bigint REFERENCES posts ON DELETE CASCADE); SELECT threadline.attach('likes')",
    );
    let done = doing(
        conn,
        "INSERT INTO posts VALUES (3, 'c'); INSERT INTO likes SELECT n, 3 FROM generate_series(1, 1500) n",
    );
    run(conn, "INSERT INTO likes VALUES (9999, 3)");
    let plan_now = plan(conn, done);
    let kinds: Vec<_> = plan_now.conflicts().map(|conflict| &conflict.kind).collect();
    let foreign_key = "likes_post_fkey".to_owned();
    assert_eq!(kinds, [&ConflictKind::Referenced { foreign_key, row_key: Some("9999".to_owned()) }]);
    // The row stays with what it refers to; the others go.
    undo_with(conn, done, Resolution::Skip).unwrap();
    assert_eq!(rows(conn, "likes"), ["(9999,3)"]);
    assert_eq!(rows(conn, "posts").len(), 3);
}

#[test]
fn a_transaction_without_effect_has_nothing_to_undo() {
    let db = posts();
    let conn = &mut db.connect();
    let done =
        doing(conn, "UPDATE posts SET title = 'x' WHERE id = 1; UPDATE posts SET title = 'a' WHERE id = 1");
    let plan = plan(conn, done);
    assert!(plan.is_clean() && plan.steps.is_empty(), "{:?}", outline(&plan));
    let refused = plan.apply(conn, super::operator()).map_err(|error| error.to_string());
    assert_eq!(refused, Err("there is nothing to undo: no row is otherwise than before".to_owned()));
}

/// A table whose rows have a column that is kept up by a trigger and ignored by capture.
fn stamped() -> TestDatabase {
    let db = audited_database();
    run(
        &mut db.connect(),
        "CREATE TABLE posts (id bigint PRIMARY KEY, title text, body text, updated_at timestamptz);
        CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END $$;
        CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION stamp();
        SELECT threadline.attach('posts', ignore => ARRAY['updated_at']);
        INSERT INTO posts VALUES (1, 'a', 'A'), (2, 'b', 'B')",
    );
    db
}

#[test]
fn of_what_was_undone_already_nothing_is_left_to_undo() {
    let db = stamped();
    let conn = &mut db.connect();
    let done = doing(
        conn,
        "UPDATE posts SET title = 'x' WHERE id = 1; DELETE FROM posts WHERE id = 2; INSERT INTO posts VALUES (3, 'c')",
    );
    let all = ["delete posts 3", "insert posts 2", "update posts 1"];
    let steps = |conn: &mut diesel::PgConnection| {
        let lines = outline(&plan(conn, done)).into_iter().filter(|line| !line.starts_with("limit"));
        let mut short: Vec<String> =
            lines.map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect();
        short.sort();
        short
    };
    assert_eq!(steps(conn), all);
    // By hand, as a script of the plan is run, and not by `apply`.
    for (sql, left) in [
        ("UPDATE posts SET title = 'a' WHERE id = 1", &["delete posts 3", "insert posts 2"][..]),
        ("INSERT INTO posts VALUES (2, 'b', 'B')", &["delete posts 3"]),
        ("DELETE FROM posts WHERE id = 3", &[]),
    ] {
        doing(conn, sql);
        assert_eq!(steps(conn), left, "after {sql}");
        let plan = plan(conn, done);
        assert!(plan.is_clean() && plan.is_done() == left.is_empty(), "{:?}", outline(&plan));
    }
    let plan_now = plan(conn, done);
    let moved_on =
        plan_now.limits.iter().filter(|limit| limit.column.as_deref() == Some("updated_at")).count();
    assert_eq!((moved_on, plan_now.limits.len()), (2, 2), "{:?}", outline(&plan_now));
    let before = rows(conn, "posts");
    assert!(matches!(plan_now.apply(conn, super::operator()), Err(Error::UndoRefused { .. })));
    assert_eq!(rows(conn, "posts"), before);
    // What one goes on with afterwards is later work again, of its own column and row alone.
    doing(conn, "UPDATE posts SET title = 'mine' WHERE id = 1; UPDATE posts SET body = 'mine' WHERE id = 2");
    let conflicts = plan(conn, done).conflicts().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(conflicts.len(), 2, "{conflicts:?}");
    assert!(conflicts.iter().any(|conflict| conflict.contains("column `title` was written again")));
    assert!(conflicts.iter().any(|conflict| conflict.contains("another row has its key")));
}

#[test]
fn a_row_is_taken_for_the_one_that_was_only_as_far_as_the_trail_knows_that_it_is() {
    let conflicts = |setup: &str, done: &str, later: &str| {
        let db = stamped();
        let conn = &mut db.connect();
        if !setup.is_empty() {
            run(conn, setup);
        }
        let done = doing(conn, done);
        doing(conn, later);
        plan(conn, done).conflicts().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let again = "INSERT INTO posts VALUES (2, 'b', 'B')";
    let delete = "DELETE FROM posts WHERE id = 2";
    assert_eq!(conflicts("", delete, again), "");
    assert!(
        conflicts("", delete, "INSERT INTO posts VALUES (2, 'b', 'b')").contains("another row has its key")
    );
    // A masked column may hold anything.
    let masked = "SELECT threadline.attach('posts', ignore => ARRAY['updated_at'], mask => ARRAY['body'])";
    assert!(conflicts(masked, delete, again).contains("another row has its key"));
    // A row that was inserted is gone, but another one has come in its place; or it went without a record, who knows where to.
    let insert = "INSERT INTO posts VALUES (3, 'c', 'C')";
    assert_eq!(conflicts("", insert, "DELETE FROM posts WHERE id = 3"), "");
    let replaced = "DELETE FROM posts WHERE id = 3; INSERT INTO posts VALUES (3, 'new', 'new')";
    assert!(conflicts("", insert, replaced).contains("the row is gone"));
    let unseen = "SET LOCAL session_replication_role = replica; UPDATE posts SET id = 4 WHERE id = 3; SET LOCAL session_replication_role = origin; \
        UPDATE posts SET title = 'y' WHERE id = 1";
    assert!(conflicts("", insert, unseen).contains("the row is gone"));
}

#[test]
fn a_row_that_is_back_and_was_changed_by_the_target_since_needs_that_alone_undone() {
    let db = stamped();
    let conn = &mut db.connect();
    // One correlation deletes a row, and goes on with it once somebody else has brought it back.
    let context = threadline::AuditContext::new(threadline::Actor::user(7)).with_correlation_id("import-7");
    let write = |conn: &mut diesel::PgConnection, sql: &str| {
        let written = context.transaction().run(conn, |conn, _| {
            run(conn, sql);
            Ok::<_, Error>(())
        });
        written.unwrap();
    };
    write(conn, "DELETE FROM posts WHERE id = 2");
    doing(conn, "INSERT INTO posts VALUES (2, 'b', 'B')");
    write(conn, "UPDATE posts SET title = 'x' WHERE id = 2");
    let plan = super::planned(conn, &threadline::UndoTarget::correlation("import-7"));
    let steps: Vec<_> = outline(&plan).into_iter().filter(|line| !line.starts_with("limit")).collect();
    assert!(
        matches!(&steps[..], [step] if step.starts_with("update posts 2 title=b<-x updated_at=")),
        "{steps:?}"
    );
    plan.apply(conn, super::operator()).unwrap();
    assert!(super::planned(conn, &threadline::UndoTarget::correlation("import-7")).is_done());
}
