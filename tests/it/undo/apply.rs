//! Applying: as an audited transaction that is linked with what it undoes, on the plan that was reviewed, and verified.

use std::io::Write;
use std::process::Stdio;

use threadline::undo::{self, Resolution};
use threadline::{Action, Error, UndoTarget};
use threadline_tests::{TestRole, audited_database, run, text};

use super::{bytes, change, doing, newest, operator, outline, plan, rows, undo_clean};
use crate::types::{CREATE_TYPES, TYPES};

const POSTS: &str = "CREATE TABLE posts (id bigint PRIMARY KEY, title text, views integer); SELECT threadline.attach('posts');
    INSERT INTO posts VALUES (1, 'a', 1), (2, 'b', 2)";

#[test]
fn an_undo_is_audited_and_linked_with_what_it_undoes() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    let done = doing(conn, "UPDATE posts SET title = 'x'");
    let undone = undo_clean(conn, done);
    let told = |conn: &mut diesel::PgConnection, id| {
        text(
            conn,
            &format!(
                "SELECT concat_ws(' ', t.actor_type, t.actor_id, a.name, t.meta -> 'undoes' -> 'target' ->> 'undo', t.meta -> 'undoes' ->> 'count',
                    t.meta #>> '{{undoes,transactions,0}}')
                FROM threadline.audit_transactions t JOIN threadline.audit_actions a ON a.id = t.action_id WHERE t.id = '{id}'"
            ),
        )
    };
    assert_eq!(told(conn, undone), format!("admin 1 threadline.undo transaction 1 {done}"));
    let own = operator().action(Action::new("post.reverted"));
    let again = plan(conn, undone).apply(conn, own).unwrap();
    assert_eq!(told(conn, again), format!("admin 1 post.reverted transaction 1 {undone}"));
    assert_eq!(newest(conn), again);
}

#[test]
fn planning_writes_nothing_and_a_stale_plan_writes_nothing() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    let done = doing(conn, "UPDATE posts SET title = 'x'");
    let stale = plan(conn, done);
    assert_eq!(newest(conn), done);
    assert_eq!(rows(conn, "posts"), ["(1,x,1)", "(2,x,2)"]);
    doing(conn, "UPDATE posts SET title = 'later' WHERE id = 2");
    let before = (rows(conn, "posts"), newest(conn));
    for resolution in [Resolution::Refuse, Resolution::Skip, Resolution::Overwrite] {
        let refused = stale.apply_with(conn, operator(), resolution);
        let Err(Error::UndoStale { plan }) = refused else { panic!("{refused:?}") };
        assert_eq!(plan.conflicts().count(), 1);
    }
    assert_eq!((rows(conn, "posts"), newest(conn)), before);

    // What was reviewed elsewhere is told by its digest.
    let target = UndoTarget::transaction(done);
    let digest = plan(conn, done).digest;
    let wrong = undo::apply_reviewed(conn, &target, &stale.digest, operator(), Resolution::Skip);
    assert!(matches!(wrong, Err(Error::UndoStale { .. })), "{wrong:?}");
    undo::apply_reviewed(conn, &target, &digest, operator(), Resolution::Skip).unwrap();
    assert_eq!(rows(conn, "posts"), ["(1,a,1)", "(2,later,2)"]);
}

#[test]
fn a_write_that_commits_while_the_undo_waits_for_its_row_is_not_lost() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    let done = doing(conn, "UPDATE posts SET title = 'x' WHERE id = 1");
    let reviewed = plan(conn, done);
    let other = &mut db.connect();
    run(other, "BEGIN; UPDATE posts SET title = 'concurrent' WHERE id = 1");
    let url = db.url();
    let waiting = std::thread::spawn(move || {
        let conn = &mut <diesel::PgConnection as diesel::Connection>::establish(&url).unwrap();
        reviewed.apply(conn, operator())
    });
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while text(conn, blocked) == "0" {
        std::thread::yield_now();
    }
    run(other, "COMMIT");
    assert!(matches!(waiting.join().unwrap(), Err(Error::UndoStale { .. })));
    assert_eq!(rows(conn, "posts"), ["(1,concurrent,1)", "(2,b,2)"]);
}

#[test]
fn triggers_that_alter_or_drop_what_is_written_roll_everything_back_and_are_named() {
    let altered = |trigger: &str| {
        let db = audited_database();
        let conn = &mut db.connect();
        run(conn, POSTS);
        let done = doing(conn, "UPDATE posts SET title = 'x' WHERE id = 1; DELETE FROM posts WHERE id = 2");
        run(
            conn,
            &format!(
                "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {trigger} END $$;
                CREATE TRIGGER meddle BEFORE UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION meddle()"
            ),
        );
        let before = (rows(conn, "posts"), newest(conn));
        let refused = plan(conn, done).apply(conn, operator());
        assert_eq!((rows(conn, "posts"), newest(conn)), before);
        let Err(error) = refused else { panic!("{refused:?}") };
        error.to_string()
    };
    assert_eq!(
        altered("NEW.title := upper(NEW.title); RETURN NEW;"),
        "row `1` of table \"public\".\"posts\" did not come out as planned in column `title`; check the table's triggers and rules"
    );
    assert_eq!(
        altered("RETURN NULL;"),
        "row `1` of table \"public\".\"posts\" did not come out as planned; check the table's triggers and rules"
    );
    assert_eq!(altered("RAISE 'no';"), "row `1` of table \"public\".\"posts\" could not be undone");
}

#[test]
fn inside_another_transaction_it_is_refused() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    let done = doing(conn, "UPDATE posts SET title = 'x'");
    let plan = plan(conn, done);
    let refused = diesel::Connection::transaction(conn, |conn| plan.apply(conn, operator()));
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    assert_eq!(rows(conn, "posts"), ["(1,x,1)", "(2,x,2)"]);
}

#[test]
fn the_script_runs_in_psql_with_every_type() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, CREATE_TYPES);
    let columns: Vec<String> =
        TYPES.iter().enumerate().map(|(number, (of_type, _))| format!("\"c {number}\" {of_type}")).collect();
    run(
        conn,
        &format!(
            "CREATE SCHEMA \"Odd 'one\"; CREATE TABLE \"Odd 'one\".\"all \"\"types\" (\"i d\" integer GENERATED ALWAYS AS IDENTITY, \"k$1\" text, {}, PRIMARY KEY (\"i d\", \"k$1\"));
            SELECT threadline.attach('\"Odd ''one\".\"all \"\"types\"')",
            columns.join(", ")
        ),
    );
    let table = "\"Odd 'one\".\"all \"\"types\"";
    let row = |value: usize| {
        let literals = TYPES.iter().map(|(name, values)| match values.get(value) {
            Some(value) if (*name, *value) != ("jsonb", "null") => format!("'{}'", value.replace('\'', "''")),
            _ => "NULL".to_owned(),
        });
        literals.collect::<Vec<_>>().join(", ")
    };
    let names: Vec<String> = (0..TYPES.len()).map(|number| format!("\"c {number}\"")).collect();
    for value in 0..8 {
        run(
            conn,
            &format!(
                "INSERT INTO {table} (\"k$1\", {}) VALUES ('k''{value}', {})",
                names.join(", "),
                row(value)
            ),
        );
    }
    let before = bytes(conn, &[table]);
    let done = doing(
        conn,
        &format!(
            "UPDATE {table} SET ({}) = ROW({}) WHERE \"i d\" % 2 = 0; DELETE FROM {table} WHERE \"i d\" % 2 = 1",
            names.join(", "),
            row(2)
        ),
    );
    let psql = |sql: &str| {
        let mut command = db.command("psql");
        // A session that reads some types otherwise than capture wrote them.
        command.env("PGOPTIONS", "-c intervalstyle=sql_standard -c datestyle=SQL,DMY -c timezone=Asia/Kathmandu -c array_nulls=off");
        let mut child = command.args(["-qX", "-v", "ON_ERROR_STOP=1"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{sql}");
    };
    let undoing = plan(conn, done);
    assert!(undoing.is_clean(), "{:?}", outline(&undoing));
    psql(&undoing.to_sql(Resolution::Refuse).unwrap());
    assert_eq!(bytes(conn, &[table]), before);
    // And the library does the same.
    let redone = newest(conn);
    undo_clean(conn, redone);
    let undone = newest(conn);
    undo_clean(conn, undone);
    assert_eq!(bytes(conn, &[table]), before);
}

#[test]
fn rows_of_a_partitioned_table_go_back_to_the_partition_they_came_from() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE events (id integer, region text, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
        CREATE TABLE events_eu PARTITION OF events FOR VALUES IN ('eu'); CREATE TABLE events_us PARTITION OF events FOR VALUES IN ('us');
        SELECT threadline.attach('events'); INSERT INTO events VALUES (1, 'eu', 'a'), (2, 'us', 'b'), (3, 'eu', 'c')",
    );
    let partitions = ["events_eu", "events_us"];
    let before = bytes(conn, &partitions);
    let done = doing(
        conn,
        "UPDATE events SET region = 'us', note = 'moved' WHERE id = 1; DELETE FROM events WHERE id = 2; INSERT INTO events_us VALUES (4, 'us', 'd');
        UPDATE events_eu SET note = 'x' WHERE id = 3",
    );
    let after = bytes(conn, &partitions);
    let undone = undo_clean(conn, done);
    assert_eq!(bytes(conn, &partitions), before);
    undo_clean(conn, undone);
    assert_eq!(bytes(conn, &partitions), after);
}

#[test]
fn a_role_with_the_rights_of_the_host_and_of_a_reader_can_undo() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    let role = TestRole::new(&db, "undoer");
    let name = role.name();
    run(
        conn,
        &format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON posts TO {name}; GRANT SELECT ON ALL TABLES IN SCHEMA threadline TO {name}"
        ),
    );
    let done = doing(
        conn,
        "UPDATE posts SET title = 'x' WHERE id = 1; DELETE FROM posts WHERE id = 2; INSERT INTO posts VALUES (3, 'c')",
    );
    let app = &mut role.connect();
    let undone = undo_clean(app, done);
    assert_eq!(rows(conn, "posts"), ["(1,a,1)", "(2,b,2)"]);
    run(conn, &format!("REVOKE SELECT ON posts FROM {name}"));
    let plan = super::planned(app, &UndoTarget::change(change(undone, 1)));
    assert_eq!(outline(&plan), ["limit: \"public\".\"posts\": the role may not read the table"]);
}

#[test]
fn what_a_trigger_writes_on_insert_is_set_back() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run(
        conn,
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.views := 77; RETURN NEW; END $$;
        CREATE TRIGGER stamp BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION stamp()",
    );
    let done = doing(conn, "DELETE FROM posts WHERE id = 1");
    let undone = undo_clean(conn, done);
    assert_eq!(rows(conn, "posts"), ["(1,a,1)", "(2,b,2)"]);
    undo_clean(conn, undone);
    assert_eq!(rows(conn, "posts"), ["(2,b,2)"]);
}
