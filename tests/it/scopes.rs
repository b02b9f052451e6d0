//! A host's scope holds on every way out: what one tenant owns is not in any answer to another.

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use threadline::{
    Action, Actor, AsOf, AuditContext, Audited, Error, ExportFormat, ExportOptions, FeedCursor, Filter,
    HistoryLimit, PageRequest, RowImage, Scope, Surface, Trail, Travel, UndoTarget,
};
use threadline_tests::{audited_cluster, audited_database, clock, row_key, run, table, text, texts};
use uuid::Uuid;

diesel::table! {
    notes (id) {
        id -> Integer,
        org -> Text,
        body -> Text,
    }
}

#[derive(Debug, Queryable, Selectable, Identifiable, Audited)]
#[diesel(table_name = notes)]
#[threadline(scope(org))]
struct Note {
    id: i32,
    org: String,
    body: String,
}

/// Everything of tenant b says so: its rows, its actor, its requests, its actions, its metadata.
fn seed(conn: &mut PgConnection) {
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, org text NOT NULL, body text NOT NULL);
        CREATE TABLE tags (name text PRIMARY KEY, org text NOT NULL); CREATE TABLE settings (name text PRIMARY KEY, value text);
        SELECT threadline.attach('notes', scope => 'org'), threadline.attach('tags', scope => 'org'), threadline.attach('settings');",
    );
    for org in ["a", "b"] {
        let base = if org == "a" { 10 } else { 20 };
        let context = AuditContext::new(Actor::user(base))
            .with_request_id(format!("request-{org}-only"))
            .with_correlation_id(format!("correlation-{org}-only"))
            .with_meta("secret", format!("meta-{org}-only"));
        let action = Action::new(format!("action-{org}-only"));
        context
            .transaction()
            .action(action.clone())
            .run(conn, |conn, _| {
                conn.batch_execute(&format!(
                    "INSERT INTO notes VALUES ({base}, '{org}', 'first-{org}-only'), ({base} + 1, '{org}', 'gone-{org}-only');
                    INSERT INTO tags VALUES ('tag-{org}-only', '{org}'); INSERT INTO settings VALUES ('setting-{org}-only', 'value-{org}-only')"
                ))
                .map_err(Error::Query)
            })
            .unwrap();
        context
            .transaction()
            .action(action)
            .run(conn, |conn, _| {
                conn.batch_execute(&format!(
                    "UPDATE notes SET body = 'second-{org}-only' WHERE id = {base}; DELETE FROM notes WHERE id = {base} + 1; UPDATE tags SET name = 'renamed-{org}-only' WHERE org = '{org}'"
                ))
                .map_err(Error::Query)
            })
            .unwrap();
        context.record_action(conn, &Action::new(format!("alone-{org}-only"))).unwrap();
    }
    // A row that was b's, is a's for a while, and is b's again; and a key that b uses after a has left it.
    run(
        conn,
        "INSERT INTO notes VALUES (30, 'b', 'moved-b-only'); UPDATE notes SET org = 'a', body = 'now of a' WHERE id = 30;
        UPDATE notes SET body = 'a was here' WHERE id = 30; UPDATE notes SET org = 'b', body = 'back-b-only' WHERE id = 30;
        INSERT INTO notes VALUES (40, 'a', 'mine'); DELETE FROM notes WHERE id = 40; INSERT INTO notes VALUES (40, 'b', 'reused-b-only')",
    );
}

fn trail_of_a() -> Trail {
    Trail::scoped(|_| Ok(Scope::tenant("a")))
}

/// Fails when an answer says anything of tenant b, and returns what it says.
fn only_of_a(what: &str, answer: impl std::fmt::Debug) -> String {
    let said = format!("{answer:?}");
    assert!(!said.contains("b-only"), "{what} told tenant a of tenant b: {said}");
    said
}

#[test]
fn no_answer_to_one_tenant_has_anything_of_another() {
    let db = audited_database();
    let conn = &mut db.connect();
    let before = clock(conn);
    seed(conn);
    let now = clock(conn);
    let instants: Vec<_> = texts(conn, "SELECT to_char(captured_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM threadline.audit_changes ORDER BY 1")
        .iter()
        .map(|instant| instant.parse().unwrap())
        .collect();
    let trail = trail_of_a();
    let page = PageRequest::new();
    let notes_table = table("notes");

    let seen = only_of_a("timeline", trail.timeline(conn, &Filter::new()).unwrap());
    assert!(seen.contains("second-a-only") && seen.contains("a was here"), "{seen}");
    for (name, value) in [
        ("table", "settings"),
        ("actor", "user:20"),
        ("request_id", "request-b-only"),
        ("correlation_id", "correlation-b-only"),
        ("transaction_correlation_id", "correlation-b-only"),
        ("action", "action-b-only"),
    ] {
        let filter = Filter::from_pairs([(name, value)]).unwrap();
        assert_eq!(trail.timeline(conn, &filter).unwrap().entries, [], "{name}");
        assert_eq!(trail.count(conn, &filter, 100).unwrap().counted, 0, "{name}");
    }
    let visible = trail.timeline(conn, &Filter::new()).unwrap().entries.len() as u64;
    assert_eq!(trail.count(conn, &Filter::new(), 1000).unwrap().counted, visible);

    for id in [10, 11, 20, 21, 30, 40] {
        let key = row_key(&format!("id={id}"));
        let history = trail.row_history(conn, &notes_table, &key, HistoryLimit::All).unwrap();
        only_of_a("row_history", &history);
        only_of_a(
            "row_history of one",
            trail.row_history(conn, &notes_table, &key, HistoryLimit::Newest(1)).unwrap(),
        );
        only_of_a("typed history", trail.history::<Note, _>(conn, id, HistoryLimit::All).unwrap());
        assert_eq!(history.versions.is_empty(), id == 20 || id == 21, "{id}");
        for at in &instants {
            let answer = trail.row_as_of(conn, &notes_table, &key, *at).unwrap();
            only_of_a("row_as_of", &answer);
            if let AsOf::Present(image) = &answer {
                assert_eq!(image.get("org").unwrap().as_str(), "\"a\"", "{id} at {at}");
            }
            only_of_a("typed as_of", trail.as_of::<Note, _>(conn, id, *at).unwrap());
            only_of_a("row_diff", trail.row_diff(conn, &notes_table, &key, *at, now).unwrap());
        }
    }
    let keys: Vec<_> = [10, 20, 30, 40].iter().map(|id| row_key(&format!("id={id}"))).collect();
    for at in &instants {
        let of_all: Vec<Note> = trail.all_as_of(conn, *at).unwrap();
        assert!(of_all.iter().all(|note| note.org == "a" && !note.body.contains("b-only")), "{of_all:?}");
        only_of_a("rows_as_of", trail.rows_as_of(conn, &notes_table, &keys, *at).unwrap());
        let mut images: Vec<RowImage> = Vec::new();
        trail
            .table_as_of(conn, &notes_table, *at, |row| {
                only_of_a("table_as_of", &row);
                images.push(row.image);
                Ok(())
            })
            .unwrap();
        let travelled: Vec<(i32, String)> = Travel::to(*at)
            .seen_through(&trail)
            .run(conn, |conn| {
                notes::table.select((notes::id, notes::body)).order(notes::id).load(conn).map_err(Error::from)
            })
            .unwrap();
        only_of_a("travel", &travelled);
        assert_eq!(travelled.len(), of_all.len());
    }
    trail
        .table_diff(conn, &notes_table, before.max(instants[0]), now, |diff| {
            only_of_a("table_diff", diff);
            Ok(())
        })
        .unwrap();

    let transactions: Vec<Uuid> = texts(conn, "SELECT id FROM threadline.audit_transactions ORDER BY id")
        .iter()
        .map(|id| id.parse().unwrap())
        .collect();
    let mut found = 0;
    for id in transactions {
        let transaction = trail.audit_transaction(conn, id).unwrap();
        only_of_a("audit_transaction", &transaction);
        let bundle = trail.transaction_context(conn, id).unwrap();
        only_of_a("transaction_context", &bundle);
        let incident = trail.incident_bundle(conn, id).unwrap();
        only_of_a("incident_bundle", &incident);
        let changes = trail.audit_changes_for_transaction(conn, id, &page).unwrap();
        only_of_a("audit_changes_for_transaction", &changes);
        // Not found and not to be seen are the same answer, in every call.
        assert_eq!(
            (transaction.is_some(), bundle.is_some(), incident.is_some()),
            (bundle.is_some(), bundle.is_some(), !changes.entries.is_empty())
        );
        found += usize::from(bundle.is_some());
        let plan = trail.undo_plan(conn, &UndoTarget::transaction(id));
        only_of_a("undo_plan", &plan);
    }
    assert_eq!(found, 3, "two of its own, and one it shares");
    assert_eq!(trail.actor_history(conn, &Actor::user(20), &Filter::new(), &page).unwrap().entries, []);
    assert_eq!(trail.actor_history(conn, &Actor::user(10), &Filter::new(), &page).unwrap().entries.len(), 2);
    let actions = trail.actions(conn, &Filter::new(), &page).unwrap();
    only_of_a("actions", &actions);
    assert_eq!(actions.entries.len(), 2, "what was recorded on its own belongs to no tenant");

    for format in [ExportFormat::Csv, ExportFormat::Json, ExportFormat::Ndjson] {
        let mut bytes = Vec::new();
        let summary = trail.export(conn, &Filter::new(), &ExportOptions::new(format), &mut bytes).unwrap();
        assert_eq!(summary.rows, visible);
        only_of_a("export", (summary, String::from_utf8(bytes).unwrap()));
    }
    assert!(
        text(conn, "SELECT count(*) FROM threadline.audit_changes WHERE row_data::text LIKE '%b-only%'")
            != "0"
    );
}

#[test]
fn the_feed_of_one_tenant_has_nothing_of_another() {
    let cluster = audited_cluster();
    let conn = &mut cluster.connect("app").unwrap();
    seed(conn);
    let batch = trail_of_a().read_feed(conn, &FeedCursor::beginning(), 1000).unwrap();
    assert!(batch.caught_up && batch.entries.len() == 3);
    only_of_a("read_feed", batch);
}

#[test]
fn a_hook_that_fails_shows_nothing_and_is_told_what_is_read() {
    let db = audited_database();
    let conn = &mut db.connect();
    seed(conn);
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = asked.clone();
    let trail = Trail::scoped(move |surface| {
        log.lock().unwrap().push(surface);
        Err("the session has no organization".into())
    });
    let page = PageRequest::new();
    let (notes_table, key) = (table("notes"), row_key("id=10"));
    let at = clock(conn);
    let failures = [
        trail.timeline(conn, &Filter::new()).map(drop),
        trail.count(conn, &Filter::new(), 1).map(drop),
        trail.export(conn, &Filter::new(), &ExportOptions::new(ExportFormat::Csv), Vec::new()).map(drop),
        trail.row_history(conn, &notes_table, &key, HistoryLimit::All).map(drop),
        trail.row_as_of(conn, &notes_table, &key, at).map(drop),
        trail.travel(conn, at, |_| Ok::<_, Error>(())),
        trail.actor_history(conn, &Actor::user(10), &Filter::new(), &page).map(drop),
        trail.audit_transaction(conn, Uuid::nil()).map(drop),
        trail.incident_bundle(conn, Uuid::nil()).map(drop),
        trail.actions(conn, &Filter::new(), &page).map(drop),
        trail.read_feed(conn, &FeedCursor::beginning(), 1).map(drop),
        trail.undo_plan(conn, &UndoTarget::transaction(Uuid::nil())).map(drop),
    ];
    for failure in failures {
        assert!(matches!(failure, Err(Error::ScopeFailed(_))), "{failure:?}");
    }
    use Surface::*;
    assert_eq!(
        *asked.lock().unwrap(),
        [
            Timeline,
            Count,
            Export,
            RowHistory,
            AsOf,
            Travel,
            ActorHistory,
            Transaction,
            Incident,
            Actions,
            Feed,
            Undo
        ]
    );
    // The connection is as it was.
    assert_eq!(text(conn, "SELECT count(*) > 0 FROM notes"), "true");
}

#[test]
fn a_row_that_went_to_another_tenant_under_another_key_was_taken_by_nobody() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, org text); SELECT threadline.attach('notes', scope => 'org');
        INSERT INTO notes VALUES (1, 'a'), (2, 'a'); UPDATE notes SET id = 10, org = 'b' WHERE id = 1; DELETE FROM notes WHERE id = 2",
    );
    let now = clock(conn);
    let (trail, notes) = (Trail::scoped(|_| Ok(Scope::tenant("a"))), table("notes"));
    let mut as_of = |key| trail.row_as_of(conn, &notes, &row_key(key), now).unwrap();
    assert!(matches!(as_of("id=1"), AsOf::NotCreated), "{:?}", as_of("id=1"));
    assert!(matches!(as_of("id=2"), AsOf::Deleted { .. }), "{:?}", as_of("id=2"));
}
