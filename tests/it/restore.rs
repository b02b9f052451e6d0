//! Dump and restore: the history reads on, and new changes never join old transactions.

use std::io::Write;
use std::process::{Command, Stdio};

use diesel::PgConnection;
use threadline_devdb::Cluster;
use threadline_tests::{audited_cluster, changes, history, run, states, text};

const APP: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE EXTENSION hstore; CREATE EXTENSION citext;
    CREATE TABLE gone (a integer, id integer PRIMARY KEY, body text, m mood, h hstore, c citext, secret text, email text);
    ALTER TABLE gone RENAME TO notes; ALTER TABLE notes DROP COLUMN a;
    CREATE TABLE parts (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (100);
    SELECT threadline.attach('notes', exclude => '{secret}', mask => '{email}', on_truncate => 'keep'), threadline.attach('parts');
    INSERT INTO notes SELECT n, 'body ' || n, 'sad', 'k=>1', 'C', 's3cret', 's3cret' FROM generate_series(1, 20) n;
    INSERT INTO parts VALUES (1, 'a')";

pub(crate) fn pipe(dump: &mut Command, restore: &mut Command) {
    let dumped = dump.output().unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    let mut restore =
        restore.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    restore.stdin.take().unwrap().write_all(&dumped.stdout).unwrap();
    let restored = restore.wait_with_output().unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
}

pub(crate) fn restored(from: &Cluster) -> Cluster {
    let to = Cluster::start_with(&[("autovacuum", "off")]).unwrap();
    to.create_database("app").unwrap();
    pipe(
        from.command("pg_dump", "app").arg("-Fc"),
        to.command("pg_restore", "app").args(["--exit-on-error", "-d", "app"]),
    );
    to
}

fn number(conn: &mut PgConnection) -> i64 {
    text(conn, "SELECT pg_current_xact_id()::text::bigint").parse().unwrap()
}

/// Uses up transaction numbers.
pub(crate) fn burn(conn: &mut PgConnection, count: i64) {
    run(
        conn,
        &format!(
            "DO $$ BEGIN FOR n IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
        ),
    );
}

#[test]
fn after_a_restore_history_reads_on_and_no_change_joins_an_old_transaction() {
    let old = audited_cluster();
    let conn = &mut old.connect("app").unwrap();
    run(conn, APP);
    burn(conn, 5_000);
    let first = number(conn);
    for n in 0..60 {
        run(
            conn,
            &format!(
                "BEGIN; SELECT threadline.set_context('{{\"actor\": {{\"type\": \"user\", \"id\": \"old\"}}}}'); UPDATE notes SET body = 'v{n}' WHERE id = 1; COMMIT"
            ),
        );
    }
    let before = states(conn, "notes", "id=1");
    let last = number(conn);

    let new = restored(&old);
    let fresh = &mut new.connect("app").unwrap();
    assert_eq!(states(fresh, "notes", "id=1"), before);
    assert!(number(fresh) < first, "the new server is behind");
    let behind = first - number(fresh) - 3;
    burn(fresh, behind);
    let mut written = 0;
    while number(fresh) < last + 5 {
        run(fresh, &format!("UPDATE notes SET body = 'w{written}', secret = 's3cret' WHERE id = 2"));
        written += 1;
    }
    assert!(written > 30, "numbers came round: {written}");
    assert_eq!(
        text(fresh, "SELECT count(*) FROM threadline.audit_transactions a JOIN threadline.audit_transactions b ON a.xid = b.xid AND a.id < b.id
            WHERE a.actor_id = 'old' AND b.actor_id IS NULL"),
        text(fresh, "SELECT count(*) FROM threadline.audit_transactions b WHERE actor_id IS NULL AND EXISTS (SELECT FROM threadline.audit_transactions a WHERE a.xid = b.xid AND a.actor_id = 'old')"),
    );
    assert_ne!(
        text(
            fresh,
            "SELECT count(*) FROM threadline.audit_transactions a JOIN threadline.audit_transactions b ON a.xid = b.xid AND a.id < b.id"
        ),
        "0",
        "some numbers repeat"
    );
    let history = history(fresh, "notes", "id=2");
    assert_eq!(history.versions.len(), written + 1);
    for version in &history.versions[..written] {
        assert!(!version.gap && version.transaction.as_ref().unwrap().actor_id.is_none());
    }

    // Still on the fast path, and refresh takes in the new relation.
    assert_eq!(text(fresh, "SELECT count(*) FROM threadline.audit_changes WHERE layout IS NULL"), "0");
    run(fresh, "INSERT INTO parts VALUES (2, 'b')");
    assert_eq!(
        text(
            fresh,
            "SELECT layout || partition FROM threadline.audit_changes ORDER BY captured_at DESC LIMIT 1"
        ),
        "1public.parts_low"
    );
    assert_eq!(
        text(fresh, "SELECT string_agg(outcome, ' ') FROM threadline.refresh_all()"),
        "refreshed refreshed"
    );
    assert_eq!(
        text(fresh, "SELECT string_agg(outcome, ' ') FROM threadline.refresh_all()"),
        "up to date up to date"
    );
    run(fresh, "UPDATE notes SET body = 'after' WHERE id = 1");
    assert_eq!(states(fresh, "notes", "id=1").len(), before.len() + 1);
}

#[test]
fn drift_after_a_restore_and_before_a_refresh_keeps_names_keys_and_redaction() {
    let old = audited_cluster();
    run(&mut old.connect("app").unwrap(), APP);
    let new = restored(&old);
    let conn = &mut new.connect("app").unwrap();
    run(
        conn,
        "ALTER TABLE notes DROP COLUMN body; ALTER TABLE notes RENAME email TO mail; ALTER TABLE notes ADD COLUMN extra text",
    );
    run(
        conn,
        "UPDATE notes SET secret = 's3cret', mail = 's3cret', extra = 's3cret', m = 'ok', h = 'a=>2', c = 'c' WHERE id = 1",
    );
    run(conn, "ALTER TABLE notes RENAME id TO number; ALTER TABLE notes RENAME secret TO password");
    run(conn, "UPDATE notes SET password = 's3cret2', mail = 's3cret2', number = 100 WHERE number = 2");
    assert_eq!(
        changes(conn, "notes")[20..],
        [
            r#"U 1 {"c": ["C", "c"], "h": ["\"k\"=>\"1\"", "\"a\"=>\"2\""], "m": ["sad", "ok"], "extra": ["[REDACTED]", "[REDACTED]"]}"#,
            r#"U 100<-2 {"mail": ["[REDACTED]", "[REDACTED]"], "number": ["[REDACTED]", "[REDACTED]"]}"#,
        ]
    );
    run(conn, "TRUNCATE notes");
    let dump = new.command("pg_dump", "app").args(["-n", "threadline"]).output().unwrap();
    assert!(dump.status.success() && !String::from_utf8_lossy(&dump.stdout).contains("s3cret"));
    assert_eq!(
        text(conn, "SELECT outcome FROM threadline.refresh_all() WHERE audited_table LIKE '%notes'"),
        "refreshed"
    );
    let history = history(conn, "notes", "number=1");
    assert!(history.versions.iter().all(|version| !version.gap), "{history:#?}");
    assert_eq!(history.versions.len(), 3);
    assert_eq!(history.versions[1].before.present().unwrap().columns["m"].as_str(), "\"sad\"");
}

#[test]
fn a_data_only_restore_with_live_triggers_is_captured_under_an_empty_search_path() {
    let old = audited_cluster();
    let conn = &mut old.connect("app").unwrap();
    run(conn, APP);
    let new = Cluster::start_with(&[("autovacuum", "off")]).unwrap();
    new.create_database("app").unwrap();
    pipe(
        old.command("pg_dump", "app").args(["-Fc", "--schema-only"]),
        new.command("pg_restore", "app").args(["--exit-on-error", "-d", "app"]),
    );
    // What only data says about the audited tables has to be there, or each write could not find its policy.
    for with in ["--schema=threadline", "--schema=public"] {
        pipe(
            old.command("pg_dump", "app").args(["-Fc", "--data-only", with]),
            new.command("pg_restore", "app").args(["--exit-on-error", "-d", "app"]),
        );
    }
    let fresh = &mut new.connect("app").unwrap();
    assert_eq!(text(fresh, "SELECT count(*) FROM notes"), "20");
    // Twenty from the dump, twenty from the restore itself.
    assert_eq!(changes(fresh, "notes").len(), 40);
    run(
        fresh,
        "SET search_path = ''; UPDATE public.notes SET body = 'x', secret = 's3cret' WHERE id = 1; DELETE FROM public.notes WHERE id = 2",
    );
    run(fresh, "RESET search_path");
    assert_eq!(changes(fresh, "notes").len(), 42);
    assert_eq!(text(fresh, "SELECT count(*) FROM threadline.audit_changes WHERE layout IS NULL"), "0");
}

#[test]
fn a_restore_of_the_hosts_data_before_the_trails_is_captured_too() {
    let old = audited_cluster();
    let conn = &mut old.connect("app").unwrap();
    run(conn, APP);
    let new = Cluster::start_with(&[("autovacuum", "off")]).unwrap();
    new.create_database("app").unwrap();
    pipe(
        old.command("pg_dump", "app").args(["-Fc", "--schema-only"]),
        new.command("pg_restore", "app").args(["--exit-on-error", "-d", "app"]),
    );
    pipe(
        old.command("pg_dump", "app").args(["-Fc", "--data-only", "--schema=public"]),
        new.command("pg_restore", "app").args(["--exit-on-error", "-d", "app"]),
    );
    let fresh = &mut new.connect("app").unwrap();
    assert_eq!(
        text(
            fresh,
            "SELECT concat_ws('/', count(*), min(layout), max(layout)) FROM threadline.audit_changes"
        ),
        "21/1/1"
    );
    run(fresh, "TRUNCATE notes");
    assert_eq!(
        text(fresh, "SELECT count(*) FROM threadline.audit_changes WHERE row_data::jsonb ? 'secret'"),
        "0"
    );
}

#[test]
fn a_table_made_anew_under_its_old_name_continues_the_history() {
    let old = audited_cluster();
    let conn = &mut old.connect("app").unwrap();
    run(
        conn,
        "CREATE TABLE t (id integer PRIMARY KEY, a text, b text); SELECT threadline.attach('t'); INSERT INTO t VALUES (1, 'a', 'b')",
    );
    run(conn, "DELETE FROM t; DROP TABLE t");
    assert_eq!(history(conn, "t", "id=1").versions.len(), 2);
    run(conn, "CREATE TABLE t (b text, id bigint PRIMARY KEY, c text)");
    assert_eq!(text(conn, "SELECT threadline.attach('t')"), "1");
    run(conn, "INSERT INTO t VALUES ('bb', 1, 'c')");
    assert_eq!(
        states(conn, "t", "id=1"),
        ["-", r#"{"a":"a","b":"b","id":1}"#, "-", r#"{"b":"bb","c":"c","id":1}"#]
    );
}
