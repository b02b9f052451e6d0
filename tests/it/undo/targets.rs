//! What can be undone, and what is said of a target the trail does not know.

use threadline::undo::{LimitReason, Resolution};
use threadline::{Action, Actor, AuditContext, Error, UndoTarget};
use threadline_tests::{audited_database, clock, row_key, run, table, text};
use uuid::Uuid;

use super::{change, doing, newest, operator, outline, plan, planned, rows, undo_clean};

const POSTS: &str = "CREATE TABLE posts (id bigint PRIMARY KEY, title text, views integer); SELECT threadline.attach('posts')";

#[test]
fn a_transaction_is_undone_as_its_net_effect_on_each_row() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    doing(conn, "INSERT INTO posts VALUES (1, 'a', 1), (2, 'b', 2), (4, 'd', 4)");
    let before = rows(conn, "posts");
    let done = doing(
        conn,
        "UPDATE posts SET title = 'x' WHERE id = 1; UPDATE posts SET title = 'y', views = 9 WHERE id = 1;
        UPDATE posts SET views = 1 WHERE id = 1;
        INSERT INTO posts VALUES (3, 'c', 3); UPDATE posts SET title = 'cc' WHERE id = 3; DELETE FROM posts WHERE id = 3;
        DELETE FROM posts WHERE id = 2; INSERT INTO posts VALUES (2, 'b', 20);
        UPDATE posts SET id = 5 WHERE id = 4; UPDATE posts SET title = 'dd' WHERE id = 5; INSERT INTO posts VALUES (6, 'f', NULL)",
    );
    assert_eq!(
        outline(&plan(conn, done)),
        [
            "delete posts 6",
            "update posts 1 title=a<-y",
            "update posts 2 views=2<-20",
            "update posts 5 id=4<-5 title=d<-dd"
        ]
    );
    let after = rows(conn, "posts");
    let undone = undo_clean(conn, done);
    assert_eq!(rows(conn, "posts"), before);
    undo_clean(conn, undone);
    assert_eq!(rows(conn, "posts"), after);
}

#[test]
fn an_action_and_a_correlation_are_undone_across_their_transactions() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    doing(conn, "INSERT INTO posts VALUES (1, 'a', 1)");
    let context = AuditContext::new(Actor::user(7)).with_correlation_id("import-7");
    let write = |conn: &mut diesel::PgConnection, sql: &str| {
        let begun = context.transaction().action(Action::new("post.imported"));
        begun
            .run(conn, |conn, transaction| {
                run(conn, sql);
                Ok::<_, Error>(transaction.action_id())
            })
            .unwrap()
            .unwrap()
    };
    write(conn, "UPDATE posts SET title = 'b'");
    let second = write(conn, "UPDATE posts SET title = 'c'; INSERT INTO posts VALUES (2, 'n', 0)");

    assert_eq!(
        outline(&planned(conn, &UndoTarget::action(second))),
        ["delete posts 2", "update posts 1 title=b<-c"]
    );
    let whole = planned(conn, &UndoTarget::correlation("import-7"));
    assert_eq!(outline(&whole), ["delete posts 2", "update posts 1 title=a<-c"]);
    assert_eq!((whole.transactions.len(), whole.actions.len()), (2, 2));
    whole.apply(conn, operator()).unwrap();
    assert_eq!(rows(conn, "posts"), ["(1,a,1)"]);
}

#[test]
fn a_single_change_and_a_row_since_an_instant_are_undone() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    doing(conn, "INSERT INTO posts VALUES (1, 'a', 1), (2, 'b', 2)");
    let then = clock(conn);
    let done = doing(
        conn,
        "UPDATE posts SET title = 'x' WHERE id = 1; UPDATE posts SET views = 5 WHERE id = 1; UPDATE posts SET views = 5 WHERE id = 2",
    );
    assert_eq!(outline(&planned(conn, &UndoTarget::change(change(done, 2)))), ["update posts 1 views=1<-5"]);
    doing(conn, "UPDATE posts SET id = 7 WHERE id = 1");
    doing(conn, "UPDATE posts SET title = 'z' WHERE id = 7");
    doing(conn, "DELETE FROM posts WHERE id = 7");
    let target = UndoTarget::row(table("posts"), row_key("id=1"), then);
    let plan = planned(conn, &target);
    assert_eq!(outline(&plan), ["insert posts 1 id=1 title=a views=1"]);
    plan.apply(conn, operator()).unwrap();
    assert_eq!(rows(conn, "posts"), ["(1,a,1)", "(2,b,5)"]);
}

#[test]
fn what_the_trail_does_not_know_is_named() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    let none = Uuid::from_u128(7);
    let targets = [
        (UndoTarget::transaction(none), format!("transaction `{none}`")),
        (UndoTarget::action(none), format!("action `{none}`")),
        (UndoTarget::correlation("x'y"), "correlation id `x'y`".to_owned()),
        (UndoTarget::change(change(none, 1)), format!("change `{none}#1`")),
    ];
    for (target, name) in targets {
        let error = threadline::undo::plan(conn, &target).unwrap_err();
        assert!(matches!(error, Error::NothingToUndo { .. }) && error.to_string().contains(&name), "{error}");
    }
    let at = clock(conn);
    let row = |name: &str, key: &str| UndoTarget::row(table(name), row_key(key), at);
    let error = threadline::undo::plan(conn, &row("posts", "id=9")).unwrap_err();
    assert!(error.to_string().contains(r#"row {"id":"9"} of table `"posts"`"#), "{error}");
    assert!(matches!(
        threadline::undo::plan(conn, &row("nowhere", "id=9")),
        Err(Error::NotAudited { table, .. }) if table == "nowhere"
    ));
}

#[test]
fn what_triggers_wrote_is_set_back_after_they_have_fired_once_more() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE authors (id bigint PRIMARY KEY, posts integer NOT NULL DEFAULT 0, published integer NOT NULL DEFAULT 0);
        CREATE TABLE posts (id bigint PRIMARY KEY, author bigint REFERENCES authors, is_public boolean NOT NULL DEFAULT false);
        CREATE FUNCTION count_posts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF TG_OP = 'INSERT' THEN UPDATE authors SET posts = posts + 1 WHERE id = NEW.author; RETURN NEW;
            ELSIF TG_OP = 'DELETE' THEN UPDATE authors SET posts = posts - 1 WHERE id = OLD.author; RETURN OLD; END IF;
            UPDATE authors SET published = published + NEW.is_public::integer - OLD.is_public::integer WHERE id = NEW.author; RETURN NEW;
        END $$;
        CREATE TRIGGER count_posts AFTER INSERT OR UPDATE OR DELETE ON posts FOR EACH ROW EXECUTE FUNCTION count_posts();
        SELECT threadline.attach('authors'), threadline.attach('posts')",
    );
    doing(conn, "INSERT INTO authors VALUES (1); INSERT INTO posts VALUES (1, 1), (2, 1)");
    let before = [rows(conn, "authors"), rows(conn, "posts")];
    for sql in [
        "INSERT INTO posts VALUES (3, 1)",
        "UPDATE posts SET is_public = true",
        "DELETE FROM posts WHERE id = 1",
        "DELETE FROM posts; DELETE FROM authors",
    ] {
        let done = doing(conn, sql);
        undo_clean(conn, done);
        assert_eq!([rows(conn, "authors"), rows(conn, "posts")], before, "{sql}");
    }
    assert_ne!(newest(conn), Uuid::nil());
}

#[test]
fn a_row_is_not_brought_back_past_a_write_that_escaped_capture_as_if_all_were_clean() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id bigint PRIMARY KEY, title text); SELECT threadline.attach('posts'); INSERT INTO posts VALUES (1, 'A')",
    );
    run(conn, "UPDATE posts SET title = 'B'");
    let then = clock(conn);
    run(
        conn,
        "SET session_replication_role = replica; UPDATE posts SET title = 'C'; SET session_replication_role = origin",
    );
    run(conn, "UPDATE posts SET title = 'D'");
    run(conn, "UPDATE posts SET title = 'E'");
    let target = UndoTarget::row(table("posts"), row_key("id=1"), then);
    let plan = planned(conn, &target);
    let limits: Vec<&LimitReason> = plan.limits.iter().map(|limit| &limit.reason).collect();
    assert_eq!(limits, [&LimitReason::Escaped]);
    assert!(matches!(plan.apply(conn, operator()), Err(Error::UndoRefused { .. })));
    assert_eq!(text(conn, "SELECT title FROM posts"), "E");
    // Who has looked at it may have what the trail says all the same.
    plan.apply_with(conn, operator(), Resolution::Overwrite).unwrap();
    assert_eq!(text(conn, "SELECT title FROM posts"), "C");
}
