//! A table that changes under its capture function: no write fails, none is lost, and old payloads stay explained.

use diesel::PgConnection;
use threadline::RowState;
use threadline_tests::{audited_database, changes, history, run, states, text, texts};

const NOTES: &str =
    "CREATE TABLE notes (id integer PRIMARY KEY, title text, views integer NOT NULL DEFAULT 0);
    SELECT threadline.attach('notes');
    INSERT INTO notes VALUES (1, 'one'), (2, 'two');
    UPDATE notes SET views = 1";

/// DDL, a write after it, and what has to be in the trail for that write.
const ALTERATIONS: &[(&str, &str, &str)] = &[
    (
        "ALTER TABLE notes ADD COLUMN extra text",
        "UPDATE notes SET extra = 'x' WHERE id = 1",
        r#"U 1 {"extra": [null, "x"]}"#,
    ),
    (
        "ALTER TABLE notes ADD COLUMN extra text DEFAULT 'd'",
        "INSERT INTO notes VALUES (3, 'three')",
        r#"I 3 {"id": 3, "extra": "d", "title": "three", "views": 0}"#,
    ),
    (
        "ALTER TABLE notes DROP COLUMN title",
        "UPDATE notes SET views = 2 WHERE id = 1",
        r#"U 1 {"views": [1, 2]}"#,
    ),
    ("ALTER TABLE notes DROP COLUMN title", "DELETE FROM notes WHERE id = 1", r#"D 1 {"id": 1, "views": 1}"#),
    (
        "ALTER TABLE notes RENAME COLUMN title TO headline",
        "UPDATE notes SET headline = 'h' WHERE id = 1",
        r#"U 1 {"headline": ["one", "h"]}"#,
    ),
    (
        "ALTER TABLE notes RENAME COLUMN id TO number",
        "UPDATE notes SET number = 5 WHERE number = 1",
        r#"U 5<-1 {"number": [1, 5]}"#,
    ),
    (
        "ALTER TABLE notes RENAME COLUMN id TO number",
        "INSERT INTO notes VALUES (3, 'three')",
        r#"I 3 {"title": "three", "views": 0, "number": 3}"#,
    ),
    (
        "ALTER TABLE notes RENAME COLUMN id TO number",
        "DELETE FROM notes WHERE number = 1",
        r#"D 1 {"title": "one", "views": 1, "number": 1}"#,
    ),
    (
        "ALTER TABLE notes ALTER views TYPE text USING 'v' || views, ALTER views DROP DEFAULT",
        "UPDATE notes SET views = 'many' WHERE id = 1",
        r#"U 1 {"views": ["v1", "many"]}"#,
    ),
    (
        "ALTER TABLE notes RENAME title TO t; ALTER TABLE notes ALTER views TYPE text; ALTER TABLE notes RENAME views TO title; ALTER TABLE notes RENAME t TO views",
        "UPDATE notes SET views = 'v', title = 't' WHERE id = 1",
        r#"U 1 {"title": ["1", "t"], "views": ["one", "v"]}"#,
    ),
    (
        "ALTER TABLE notes RENAME TO papers; CREATE VIEW notes AS SELECT * FROM papers",
        "UPDATE notes SET views = 2 WHERE id = 1",
        r#"U 1 {"views": [1, 2]}"#,
    ),
    (
        "ALTER TABLE notes DROP CONSTRAINT notes_pkey, ADD PRIMARY KEY (title)",
        "INSERT INTO notes VALUES (1, 'again')",
        r#"I 1 {"id": 1, "title": "again", "views": 0}"#,
    ),
    (
        "ALTER TABLE notes DROP COLUMN id, ADD COLUMN uid integer NOT NULL DEFAULT 7, ADD UNIQUE (title), ALTER title SET NOT NULL; ALTER TABLE notes ADD PRIMARY KEY (title)",
        "UPDATE notes SET views = 2 WHERE title = 'one'",
        r#"U one {"views": [1, 2]}"#,
    ),
    (
        "ALTER TABLE notes DROP CONSTRAINT notes_pkey; ALTER TABLE notes ALTER id DROP NOT NULL",
        "INSERT INTO notes VALUES (NULL, 'nobody')",
        r#"I  {"id": null, "title": "nobody", "views": 0}"#,
    ),
    (
        "ALTER TABLE notes ADD COLUMN at timestamptz; CREATE TYPE mood AS ENUM ('sad', 'ok'); ALTER TABLE notes ALTER title TYPE mood USING 'ok'",
        "UPDATE notes SET title = 'sad' WHERE id = 1",
        r#"U 1 {"title": ["ok", "sad"]}"#,
    ),
];

fn trail(conn: &mut PgConnection) -> Vec<String> {
    texts(
        conn,
        "SELECT concat_ws(' ', op, row_key || coalesce('<-' || previous_row_key, ''), coalesce(diff, row_data)::jsonb)
        FROM threadline.audit_changes ORDER BY captured_at, transaction_id, ordinal",
    )
}

#[test]
fn a_write_after_an_alteration_is_captured_in_the_migration_and_after_it() {
    for (ddl, write, captured) in ALTERATIONS {
        let db = audited_database();
        let (conn, warm) = (&mut db.connect(), &mut db.connect());
        run(conn, NOTES);
        run(warm, "UPDATE notes SET views = 0; UPDATE notes SET views = 1; DELETE FROM notes WHERE id = 9");
        run(conn, "INSERT INTO notes VALUES (8, 'eight'); DELETE FROM notes WHERE id = 8");

        // In the migration itself, then undone; then in a session with warm plans, and in one that wrote before.
        run(conn, &format!("BEGIN; {ddl}; {write}"));
        assert_eq!(trail(conn).last().unwrap(), captured, "in the migration: {ddl}; {write}");
        run(conn, "ROLLBACK");
        run(conn, ddl);
        let count = trail(conn).len();
        for (session, label) in [(&mut *warm, "another session"), (conn, "the same session")] {
            run(session, &format!("BEGIN; {write}"));
            let trail = trail(session);
            assert_eq!(
                (trail.len(), trail.last().unwrap().as_str()),
                (count + 1, *captured),
                "{label}: {ddl}; {write}"
            );
            run(session, "ROLLBACK");
        }
    }
}

/// Outside READ COMMITTED the catalogs are read as of the snapshot while the table is used as it is now.
#[test]
fn an_alteration_committed_after_the_snapshot_is_seen_too() {
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        for (ddl, write, captured) in ALTERATIONS {
            // PostgreSQL itself hides rows of a rewritten table from an older snapshot.
            let rewrites = ddl.contains(" TYPE ") || ddl.contains("DROP COLUMN id");
            let (write, captured) = match () {
                () if rewrites && ddl.contains("mood") => (
                    "INSERT INTO notes VALUES (3, 'sad')",
                    r#"I 3 {"at": null, "id": 3, "title": "sad", "views": 0}"#,
                ),
                () if rewrites => continue,
                () => (*write, *captured),
            };
            for warm in [false, true] {
                let db = audited_database();
                let (conn, other) = (&mut db.connect(), &mut db.connect());
                run(other, NOTES);
                if warm {
                    run(
                        conn,
                        "BEGIN; INSERT INTO notes VALUES (7, 'seven'); UPDATE notes SET views = 5; DELETE FROM notes; ROLLBACK",
                    );
                }
                run(conn, &format!("BEGIN ISOLATION LEVEL {isolation}"));
                text(conn, "SELECT count(*) FROM pg_class");
                run(other, ddl);
                run(conn, write);
                assert_eq!(
                    trail(conn).last().unwrap(),
                    captured,
                    "{isolation}, warm: {warm}: {ddl}; {write}"
                );
                run(conn, "COMMIT");
            }
        }
    }
}

#[test]
fn what_an_old_snapshot_took_for_current_is_looked_at_again_in_the_next_transaction() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    run(conn, NOTES);
    run(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    text(conn, "SELECT count(*) FROM pg_class");
    run(other, "ALTER TABLE notes ADD COLUMN extra text");
    run(conn, "UPDATE notes SET views = 2 WHERE id = 1");
    run(conn, "COMMIT");
    run(conn, "UPDATE notes SET extra = 'x' WHERE id = 1");
    assert_eq!(trail(conn).last().unwrap(), r#"U 1 {"extra": [null, "x"]}"#);
    run(other, "SELECT threadline.refresh('notes')");
    run(conn, "UPDATE notes SET extra = 'y' WHERE id = 1");
    assert_eq!(
        text(conn, "SELECT layout FROM threadline.audit_changes ORDER BY captured_at DESC LIMIT 1"),
        "2"
    );
}

/// A utility statement takes its snapshot before it waits for the lock.
#[test]
fn a_write_that_waited_for_the_migration_sees_what_it_did() {
    for write in [
        "COPY notes (id, title) FROM PROGRAM 'echo 3,three' (FORMAT csv)",
        "INSERT INTO notes VALUES (3, 'three')",
    ] {
        let db = audited_database();
        let (conn, waiting) = (&mut db.connect(), &mut db.connect());
        run(conn, NOTES);
        run(waiting, "UPDATE notes SET views = 2");
        run(conn, "BEGIN; ALTER TABLE notes ADD COLUMN extra text DEFAULT 'd'");
        let blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                run(waiting, write);
                run(waiting, "UPDATE notes SET extra = 'x' WHERE id = 3");
            });
            while text(conn, blocked) == "0" {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            run(conn, "COMMIT");
            writer.join().unwrap();
        });
        let trail = trail(conn);
        assert_eq!(
            trail[trail.len() - 2..],
            [r#"I 3 {"id": 3, "extra": "d", "title": "three", "views": 0}"#, r#"U 3 {"extra": ["d", "x"]}"#],
            "{write}"
        );
    }
}

#[test]
fn a_table_attached_after_the_snapshot_is_captured_and_truncated_without_failing() {
    for then in ["SELECT 1", "ALTER TABLE notes ADD COLUMN extra text DEFAULT 's3cret'"] {
        let db = audited_database();
        let (conn, other) = (&mut db.connect(), &mut db.connect());
        run(other, "CREATE TABLE notes (id integer PRIMARY KEY, title text, secret text)");
        run(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ");
        text(conn, "SELECT count(*) FROM pg_class");
        run(other, "SELECT threadline.attach('notes', exclude => '{secret}', on_truncate => 'keep')");
        run(other, then);
        run(conn, "INSERT INTO notes VALUES (2, 'two', 's3cret')");
        run(conn, "UPDATE notes SET title = 'zwei', secret = 's3cret2' WHERE id = 2");
        run(conn, "TRUNCATE notes");
        run(conn, "COMMIT");
        let trail = trail(conn);
        let extra = if then == "SELECT 1" { "" } else { r#""extra": "[REDACTED]", "# };
        assert_eq!(
            trail,
            [
                format!(r#"I 2 {{"id": 2, {extra}"title": "two"}}"#),
                r#"U 2 {"title": ["two", "zwei"]}"#.to_owned(),
                "T ".to_owned()
            ]
        );
        assert_eq!(text(conn, "SELECT count(DISTINCT table_id) FROM threadline.audit_changes"), "1");
        run(conn, "INSERT INTO notes (id, title, secret) VALUES (3, 'drei', 's3cret')");
        assert_eq!(
            text(conn, "SELECT count(*) FROM threadline.audit_changes WHERE layout = 1 AND row_key = '3'"),
            if extra.is_empty() { "1" } else { "0" }
        );
    }
}

#[test]
fn a_stale_function_says_so_and_refresh_cures_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(conn, "CREATE TABLE other (id integer PRIMARY KEY); SELECT threadline.attach('other')");
    run(conn, "ALTER TABLE notes ADD COLUMN extra text");
    run(conn, "UPDATE notes SET extra = 'x'");
    let layouts = "SELECT concat_ws('/', coalesce(layout::text, 'none')) FROM threadline.audit_changes ORDER BY captured_at DESC LIMIT 1";
    assert_eq!(text(conn, layouts), "none");
    assert_eq!(
        texts(conn, "SELECT audited_table || ': ' || outcome FROM threadline.refresh_all()"),
        ["public.notes: refreshed", "public.other: up to date"]
    );
    run(conn, "UPDATE notes SET extra = 'y'");
    assert_eq!(text(conn, layouts), "2");
    assert_eq!(text(conn, "SELECT threadline.refresh('notes')"), "false");
    assert_eq!(states(conn, "notes", "id=1").len(), 5);
}

#[test]
fn history_reads_under_todays_names_across_renames_swaps_and_retypes() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    // Every alteration is followed by a write, once before and once after the refresh.
    let steps = [
        "ALTER TABLE notes RENAME title TO headline",
        "ALTER TABLE notes RENAME headline TO tmp; ALTER TABLE notes RENAME views TO headline; ALTER TABLE notes RENAME tmp TO views",
        "ALTER TABLE notes ADD COLUMN extra text DEFAULT 'd'",
        "ALTER TABLE notes ALTER headline TYPE bigint",
        "ALTER TABLE notes ALTER headline TYPE numeric(8,2)",
        "ALTER TABLE notes ALTER headline TYPE numeric(8,4)",
        "ALTER TABLE notes RENAME id TO number",
        "ALTER TABLE notes RENAME TO papers; CREATE TABLE notes (id integer)",
        "ALTER TABLE papers DROP COLUMN extra",
        "ALTER TABLE papers ADD COLUMN extra integer",
    ];
    for (number, ddl) in steps.iter().enumerate() {
        run(conn, ddl);
        let renamed = text(conn, "SELECT to_regclass('papers') IS NOT NULL") == "true";
        let (table, key) = if number >= 6 {
            (if renamed { "papers" } else { "notes" }, "number=1")
        } else {
            ("notes", "id=1")
        };
        for refresh in [false, true] {
            if refresh {
                assert_eq!(text(conn, &format!("SELECT threadline.refresh('{table}')")), "true", "{ddl}");
            }
            let swapped = number >= 1;
            let (text_column, number_column) =
                if swapped { ("views", "headline") } else { ("headline", "views") };
            run(
                conn,
                &format!(
                    "UPDATE {table} SET {text_column} = {text_column} || '.', {number_column} = {number_column} + 1"
                ),
            );
            let key = if refresh || number != 6 { key } else { "id=1" };
            let history = history(conn, table, key);
            assert_eq!(
                history.versions.len(),
                4 + 2 * number + usize::from(refresh) - 1,
                "{ddl}, refreshed: {refresh}"
            );
            for version in &history.versions {
                assert!(!version.gap, "{ddl}, refreshed: {refresh}: {version:?}");
            }
            let oldest = history.versions.last().unwrap();
            assert_eq!(oldest.before, RowState::Absent);
            assert_eq!(oldest.after.present().unwrap().columns[text_column].as_str(), r#""one""#, "{ddl}");
            assert_eq!(oldest.after.present().unwrap().columns[number_column].as_str(), "0", "{ddl}");
        }
    }
}

#[test]
fn the_event_trigger_refreshes_at_once_and_never_fails_a_migration() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    run(conn, "SELECT threadline.enable_ddl_refresh(), threadline.enable_ddl_refresh()");
    run(conn, "ALTER TABLE notes ADD COLUMN extra text; UPDATE notes SET extra = 'x'");
    let newest = "SELECT coalesce(layout, 0) FROM threadline.audit_changes ORDER BY captured_at DESC LIMIT 1";
    assert_eq!(text(conn, newest), "2");
    run(conn, "ALTER TABLE notes RENAME extra TO more");
    run(conn, "UPDATE notes SET more = 'y'");
    assert_eq!(text(conn, newest), "3");
    run(conn, "ALTER TABLE notes RENAME TO papers");
    assert_eq!(text(conn, "SELECT table_name FROM threadline.audited_tables"), "papers");
    // Cannot be refreshed: it has no key any more. The migration goes through, and the writes are captured.
    run(conn, "ALTER TABLE papers DROP COLUMN id; INSERT INTO papers (title) VALUES ('keyless')");
    assert_eq!(
        changes(conn, "papers").last().unwrap(),
        r#"I  {"more": null, "title": "keyless", "views": 0}"#
    );
    run(conn, "DROP TABLE papers; CREATE TABLE unrelated (id integer)");
    run(conn, "SELECT threadline.disable_ddl_refresh()");
    assert_eq!(text(conn, "SELECT count(*) FROM pg_event_trigger"), "0");
}
