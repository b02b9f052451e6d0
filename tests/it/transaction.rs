//! Everything one transaction did, read back by its id.

use diesel::connection::SimpleConnection;
use threadline::{Action, Actor, AuditContext, Error, Trail, TransactionBundle};
use threadline_tests::{audited_database, run};
use uuid::Uuid;

/// Each change as `table op key`, with its values.
fn changes(bundle: &TransactionBundle) -> Vec<String> {
    let describe = |change: &threadline::TableChange| {
        let values = match &change.row {
            Some(row) => format!("{:?}", row.columns),
            None => format!(
                "{:?}",
                change
                    .change
                    .fields
                    .iter()
                    .map(|(name, field)| (name, &field.before, &field.after))
                    .collect::<Vec<_>>()
            ),
        };
        format!("{} {} {} {values}", change.table, change.change.op, change.change.row_key)
    };
    bundle.changes.iter().map(describe).collect()
}

#[test]
fn bundle_has_who_why_and_every_change_in_order_redacted_as_the_tables_are_today() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id bigint PRIMARY KEY, title text, secret text); CREATE TABLE tags (post bigint, tag text, PRIMARY KEY (post, tag));
        SELECT threadline.attach('posts'), threadline.attach('tags'); INSERT INTO posts VALUES (2, 'b', 's2')",
    );
    let context = AuditContext::new(Actor::user(7)).with_request_id("r-1");
    let id = context
        .transaction()
        .action(Action::new("post.added").category("content"))
        .run(conn, |conn, open| {
            conn.batch_execute(
                "INSERT INTO posts VALUES (1, 'a', 's1'); INSERT INTO tags VALUES (1, 'x'); UPDATE posts SET title = 'B', secret = 's3' WHERE id = 2; DELETE FROM tags",
            )
            .map_err(Error::Query)?;
            context.record_action(conn, &Action::new("post.mailed"))?;
            Ok::<_, Error>(open.id())
        })
        .unwrap();

    let bundle = Trail::unscoped().transaction_context(conn, id).unwrap().unwrap();
    assert_eq!(bundle.id, id);
    let transaction = bundle.transaction.as_ref().unwrap();
    assert_eq!((transaction.id, transaction.actor()), (id, Some(Actor::user(7))));
    assert_eq!(bundle.actions[0].actor(), transaction.actor());
    assert_eq!(transaction.action_id, Some(bundle.actions[0].id));
    let names: Vec<_> =
        bundle.actions.iter().map(|action| (action.name.as_str(), action.transaction_id)).collect();
    assert_eq!(names, [("post.added", Some(id)), ("post.mailed", Some(id))]);
    assert_eq!(
        changes(&bundle),
        [
            r#""public"."posts" insert 1 {"id": 1, "secret": "s1", "title": "a"}"#,
            r#""public"."tags" insert ["1", "x"] {"post": 1, "tag": "x"}"#,
            r#""public"."posts" update 2 [("secret", "s2", "s3"), ("title", "b", "B")]"#,
            r#""public"."tags" delete ["1", "x"] {"post": 1, "tag": "x"}"#,
        ]
    );
    assert_eq!(
        bundle.changes.iter().map(|change| change.change.id.ordinal).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );

    // What is redacted later does not come back from before, nor under an older name.
    run(
        conn,
        "ALTER TABLE posts RENAME secret TO token; SELECT threadline.attach('posts', mask => '{token}', exclude => '{title}')",
    );
    assert_eq!(
        changes(&Trail::unscoped().transaction_context(conn, id).unwrap().unwrap()),
        [
            r#""public"."posts" insert 1 {"id": 1, "token": "[REDACTED]"}"#,
            r#""public"."tags" insert ["1", "x"] {"post": 1, "tag": "x"}"#,
            r#""public"."posts" update 2 [("token", "[REDACTED]", "[REDACTED]")]"#,
            r#""public"."tags" delete ["1", "x"] {"post": 1, "tag": "x"}"#,
        ]
    );
    // A table that is gone takes nothing with it.
    run(conn, "DROP TABLE tags");
    assert_eq!(Trail::unscoped().transaction_context(conn, id).unwrap().unwrap().changes.len(), 4);
}

#[test]
fn bundle_of_an_action_without_changes_has_the_action_and_of_an_unknown_id_there_is_none() {
    let db = audited_database();
    let conn = &mut db.connect();
    let touched = AuditContext::new(Actor::user(7)).transaction().action(Action::new("nothing.touched"));
    let id = touched.run(conn, |_, open| Ok::<_, Error>(open.id())).unwrap();
    let bundle = Trail::unscoped().transaction_context(conn, id).unwrap().unwrap();
    let action = &bundle.actions[0];
    assert_eq!(action.name, "nothing.touched");
    assert_eq!((bundle.transaction.unwrap().action_id, bundle.changes.len()), (Some(action.id), 0));
    assert_eq!(Trail::unscoped().transaction_context(conn, Uuid::nil()).unwrap(), None);
}
