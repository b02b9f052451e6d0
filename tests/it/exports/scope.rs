//! A job sees what its requester may see, when it runs as when it was asked for; one that does not know, nothing.

use std::time::Duration;

use diesel::PgConnection;
use threadline::exports::{self, ExportFailure, ExportRequest, ExportState};
use threadline::{ExportFormat, ExportOptions, Filter, Scope, TableName, Trail};
use threadline_tests::{audited_database, run, table, text};

use super::{Directory, alice, direct, eager, everything, finished};

/// Everything of tenant b says so.
fn tenants(conn: &mut PgConnection) {
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, org text, body text); CREATE TABLE settings (name text PRIMARY KEY, value text);
        CREATE SCHEMA other; CREATE TABLE other.settings (name text PRIMARY KEY, value text);
        SELECT threadline.attach('notes', scope => 'org'), threadline.attach('settings'), threadline.attach('other.settings');
        INSERT INTO notes SELECT n, CASE WHEN n % 2 = 0 THEN 'a' ELSE 'b' END, CASE WHEN n % 2 = 0 THEN 'mine' ELSE 'b-only' END FROM generate_series(1, 200) n;
        UPDATE notes SET body = body || '.' WHERE id < 50; UPDATE notes SET org = 'b', body = 'moved b-only' WHERE id = 60; DELETE FROM notes WHERE id > 180;
        INSERT INTO settings VALUES ('shared', 'mine'); INSERT INTO other.settings VALUES ('other', 'b-only')",
    );
}

#[test]
fn a_queued_export_has_nothing_of_another_tenant() {
    let db = audited_database();
    let conn = &mut db.connect();
    tenants(conn);
    let directory = Directory::new();
    let worker = eager(&db, directory.storage()).build().unwrap().spawn().unwrap();
    let scopes = [
        Scope::tenant("a"),
        Scope::tenant("a").or(Scope::table(table("settings"))),
        Scope::tenants(["a", "b"]).and(Scope::tenant("a")),
        Scope::nothing(),
        Scope::table(TableName::new(None, "never_there")),
        Scope::meta("org", ["a"]),
    ];
    for (place, scope) in scopes.into_iter().enumerate() {
        for format in [ExportFormat::Ndjson, ExportFormat::Csv] {
            let options = ExportOptions::new(format).unlimited();
            let request = ExportRequest::scoped(scope.clone(), options.clone());
            let id = exports::enqueue(conn, &request, &alice()).unwrap().id;
            let made = finished(conn, id);
            assert_eq!(made.state, ExportState::Completed, "{scope:?}");
            let bytes = std::fs::read(directory.path().join(made.object_name.as_deref().unwrap())).unwrap();
            let file = String::from_utf8(bytes).unwrap();
            assert!(!file.contains("b-only"), "{scope:?}");
            assert_eq!(file.contains("mine"), place < 3, "{scope:?}");
            let summary = made.summary.unwrap();
            assert!(summary.scoped);
            let asked = scope.clone();
            let trail = Trail::scoped(move |_| Ok(asked.clone()));
            assert!(file.as_bytes() == direct(conn, &trail, &Filter::new(), &options), "{scope:?}");
        }
    }
    worker.stop();
}

#[test]
fn a_scope_means_the_requesters_tables_whatever_the_workers_search_path() {
    let db = audited_database();
    let conn = &mut db.connect();
    tenants(conn);
    let directory = Directory::new();
    let settings = Scope::table(TableName::new(None, "settings"));
    let id = exports::enqueue(
        conn,
        &ExportRequest::scoped(settings, ExportOptions::new(ExportFormat::Ndjson)),
        &alice(),
    )
    .unwrap()
    .id;
    run(conn, &format!("ALTER DATABASE {} SET search_path = other, public", db.name()));
    let worker = eager(&db, directory.storage()).build().unwrap().spawn().unwrap();
    let made = finished(conn, id);
    worker.stop();
    let file = String::from_utf8(super::the_file(&directory, &made)).unwrap();
    assert!(file.contains("mine") && !file.contains("b-only"), "{file}");
}

#[test]
fn a_job_whose_scope_cannot_be_read_fails_and_reads_nothing() {
    let db = audited_database();
    let conn = &mut db.connect();
    tenants(conn);
    let directory = Directory::new();
    let worker = eager(&db, directory.storage()).build().unwrap().spawn().unwrap();
    let deep = format!(
        r#"{{"version": 1, "rule": {}{{"nothing": {{}}}}{}}}"#,
        r#"{"any": {"first": {"nothing": {}}, "second": "#.repeat(300),
        "}}".repeat(300)
    );
    for scope in [
        "{}",
        r#"{"version": 2, "rule": {"column": {"values": ["a"]}}}"#,
        r#"{"version": 1, "rule": {"column": {"values": ["a"], "unless": ["b"]}}}"#,
        r#"{"version": 1, "rule": {"row_level": {}}}"#,
        r#"{"version": 1, "rule": null}"#,
        r#"{"version": 1}"#,
        r#"{"version": 1, "unscoped": false}"#,
        r#"{"version": 2, "unscoped": true}"#,
        r#"{"version": 1, "unscoped": true, "rule": {"nothing": {}}}"#,
        r#"{"version": 1, "unscoped": "true"}"#,
        &deep,
    ] {
        let request =
            everything(ExportFormat::Csv).at(threadline_tests::clock(conn) + Duration::from_secs(3600));
        let id = exports::enqueue(conn, &request, &alice()).unwrap().id;
        run(
            conn,
            &format!("UPDATE threadline.export_jobs SET scope = '{scope}', due_at = now() WHERE id = '{id}'"),
        );
        let failed = finished(conn, id);
        let failure = Some(ExportFailure::ScopeUnreadable);
        assert_eq!(
            (failed.state, failed.error, failed.attempt),
            (ExportState::Failed, failure, 1),
            "{scope:.80}"
        );
        assert_eq!(failed.rows_written, 0);
    }
    for filter in [r#"{"tabel": ["notes"]}"#, r#"{"table": "notes"}"#, r#"{"op": ["all"]}"#] {
        let request =
            everything(ExportFormat::Csv).at(threadline_tests::clock(conn) + Duration::from_secs(3600));
        let id = exports::enqueue(conn, &request, &alice()).unwrap().id;
        run(
            conn,
            &format!(
                "UPDATE threadline.export_jobs SET filter = '{filter}', due_at = now() WHERE id = '{id}'"
            ),
        );
        let failed = finished(conn, id);
        let failure = Some(ExportFailure::RequestUnreadable);
        assert_eq!((failed.state, failed.error), (ExportState::Failed, failure), "{filter}");
    }
    worker.stop();
    assert_eq!(directory.files(), []);
}

#[test]
fn that_everything_is_asked_for_is_said_and_the_scope_is_not_shown() {
    let db = audited_database();
    let conn = &mut db.connect();
    tenants(conn);
    exports::enqueue(conn, &everything(ExportFormat::Csv), &alice()).unwrap();
    assert_eq!(text(conn, "SELECT scope FROM threadline.export_jobs"), r#"{"version": 1, "unscoped": true}"#);
    for bad in ["NULL", "'null'", "'[]'", "'\"all\"'"] {
        threadline_tests::refused(conn, &format!("UPDATE threadline.export_jobs SET scope = {bad}"));
    }
    let request =
        ExportRequest::scoped(Scope::tenant("secret-tenant"), ExportOptions::new(ExportFormat::Csv));
    let job = exports::enqueue(conn, &request, &alice()).unwrap();
    assert!(!serde_json::to_string(&job).unwrap().contains("secret-tenant"));

    let deep = (0..200).fold(Scope::tenant("a"), |scope, _| scope.or(Scope::nothing()));
    for scope in [deep, Scope::tenant("a\0b")] {
        let request = ExportRequest::scoped(scope, ExportOptions::new(ExportFormat::Csv));
        let error = exports::enqueue(conn, &request, &alice()).unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid export request: scope: cannot be stored; nest it less deeply, and use no NUL"
        );
    }
}
