//! What an export leaves out: what is redacted, what is another tenant's, what the filter does not ask for.

use super::*;

#[test]
fn what_is_redacted_today_is_in_no_export_also_where_it_was_captured_before() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE users (id bigint PRIMARY KEY, email text, secret text, name text);
        SELECT threadline.attach('users');
        INSERT INTO users VALUES (1, 'MARK-email-1', 'MARK-secret-1', 'ann');
        UPDATE users SET email = 'MARK-email-2', secret = 'MARK-secret-2', name = 'bob';
        UPDATE users SET secret = 'MARK-secret-3'; UPDATE users SET id = 2; DELETE FROM users;
        ALTER TABLE users RENAME COLUMN secret TO hidden",
    );
    for format in FORMATS {
        let (bytes, _) = whole(conn, format);
        assert_eq!(String::from_utf8(bytes).unwrap().matches("MARK-").count(), 12, "{format:?}");
    }
    run(conn, "SELECT threadline.attach('users', exclude => '{hidden}', mask => '{email}')");
    for format in FORMATS {
        let (bytes, summary) = whole(conn, format);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(summary.rows, 5);
        assert!(!text.contains("MARK-") && !text.contains("secret") && !text.contains("hidden"), "{text}");
        assert!(text.contains("[REDACTED]") && text.contains("bob"));
    }
    let (bytes, _) = whole(conn, ExportFormat::Csv);
    let masked: Vec<String> = records(&bytes)
        .into_iter()
        .map(|record| format!("{} {}", record["op"], record["masked_columns"]))
        .collect();
    assert_eq!(
        masked,
        ["delete [\"email\"]", "update [\"email\"]", "update ", "update [\"email\"]", "insert [\"email\"]"]
    );
}

/// What one tenant does, with its mark in every place the application chooses a text.
fn as_tenant(conn: &mut PgConnection, mark: &str) {
    let context =
        AuditContext::new(Actor::user(ActorId::try_from(format!("{mark}-actor").as_str()).unwrap()))
            .with_request_id(format!("{mark}-request"))
            .with_correlation_id(format!("{mark}-correlation"))
            .with_job_id(format!("{mark}-job"))
            .with_meta(format!("{mark}-key"), format!("{mark}-value"));
    let action = Action::new(format!("{mark}-action"))
        .verb(format!("{mark}-verb"))
        .category(format!("{mark}-category"))
        .reason(format!("{mark}-reason"))
        .comment(format!("{mark}-comment"));
    context
        .transaction()
        .action(action)
        .run(conn, |conn, _| {
            conn.batch_execute(&format!(
                "INSERT INTO docs VALUES ('{mark}-1', '{mark}', '{mark}-body', '{{\"{mark}-k\": \"{mark}-v\"}}');
                UPDATE docs SET body = '{mark}-body2', meta = '[\"{mark}\"]' WHERE id = '{mark}-1';
                UPDATE docs SET id = '{mark}-2' WHERE id = '{mark}-1';
                DELETE FROM docs WHERE id = '{mark}-2';
                INSERT INTO docs VALUES ('{mark}-3', '{mark}', '{mark}-body', '{{}}');
                INSERT INTO shared VALUES ('{mark}-shared')"
            ))
            .map_err(Error::Query)
        })
        .unwrap();
}

#[test]
fn an_export_for_a_tenant_has_no_value_of_another_one() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE docs (id text PRIMARY KEY, org text, body text, meta jsonb); CREATE TABLE shared (id text PRIMARY KEY);
        SELECT threadline.attach('docs', scope => 'org'), threadline.attach('shared')",
    );
    as_tenant(conn, "alpha");
    as_tenant(conn, "beta");
    // From one to the other, and both at once.
    run(
        conn,
        "SELECT threadline.set_context('{\"meta\": {\"any\": 1}}');
        UPDATE docs SET org = 'beta', body = 'moved' WHERE id = 'alpha-3'; UPDATE docs SET org = 'alpha', body = 'moved' WHERE id = 'beta-3';
        UPDATE docs SET body = org || '-later'; TRUNCATE docs",
    );
    for (mark, other) in [("alpha", "beta"), ("beta", "alpha")] {
        for format in FORMATS {
            static ASKED: AtomicU32 = AtomicU32::new(0);
            ASKED.store(0, Ordering::Relaxed);
            let trail = Trail::scoped(move |surface| {
                assert_eq!(surface, Surface::Export);
                ASKED.fetch_add(1, Ordering::Relaxed);
                Ok(Scope::tenant(mark))
            });
            let options = ExportOptions::new(format).unlimited();
            let (bytes, summary) = export_to(conn, &trail, &Filter::new(), &options);
            assert_eq!(ASKED.load(Ordering::Relaxed), 1);
            assert!(summary.scoped);
            let text = String::from_utf8(bytes).unwrap();
            // The row the other tenant had made is this one's by now, key and all: it shows in what was done to it since.
            assert_eq!(summary.rows, 6, "{text}");
            let own = text.replace(&format!("{other}-3"), "");
            assert!(!own.contains(other), "{format:?}: {text}");
            for part in [
                "actor",
                "request",
                "correlation",
                "job",
                "key",
                "value",
                "action",
                "verb",
                "category",
                "reason",
                "comment",
                "1",
                "2",
                "3",
                "body",
                "body2",
                "later",
                "k",
                "v",
            ] {
                assert!(text.contains(&format!("{mark}-{part}")), "{format:?} lacks {part}");
            }
            let manifest = serde_json::to_string(&summary).unwrap();
            assert!(!manifest.contains(other) && !manifest.contains("shared"));
        }
    }
    let failing = Trail::scoped(|_| Err("no session".into()));
    let mut written = Vec::new();
    let error = failing
        .export(conn, &Filter::new(), &ExportOptions::new(ExportFormat::Csv), &mut written)
        .unwrap_err();
    assert!(matches!(error, Error::ScopeFailed(_)) && written.is_empty(), "{error:?}");
}

#[test]
fn every_filter_narrows_an_export_as_it_does_a_timeline() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE SCHEMA blog; CREATE TABLE blog.posts (id bigint PRIMARY KEY, title text, views integer); CREATE TABLE notes (id bigint PRIMARY KEY);
        SELECT threadline.attach('blog.posts'), threadline.attach('notes'); INSERT INTO blog.posts VALUES (0), (9)",
    );
    let mut instants = Vec::new();
    for number in 1..=4 {
        let context = AuditContext::new(Actor::user(number % 2))
            .with_request_id(format!("r{number}"))
            .with_correlation_id(format!("c{}", number % 2))
            .with_job_id(format!("j{number}"));
        let action = Action::new(format!("a{}", number % 3)).category(format!("k{number}"));
        let action = if number == 2 { action.failed("it did") } else { action };
        context
            .transaction()
            .action(action)
            .run(conn, |conn, _| {
                conn.batch_execute(&format!(
                    "INSERT INTO blog.posts VALUES ({number}, 'a', 1); UPDATE blog.posts SET title = 'b' WHERE id IN (0, {number});
                    UPDATE blog.posts SET views = 2 WHERE id = {number}; INSERT INTO notes VALUES ({number}); DELETE FROM notes"
                ))
                .map_err(Error::Query)
            })
            .unwrap();
        instants.push(clock(conn));
    }
    run(conn, "TRUNCATE notes");
    let posts = || Filter::new().table(table("blog.posts"));
    let filters = [
        posts(),
        Filter::new().schema("blog"),
        posts().key(row_key("id=0")),
        Filter::new().actor(Actor::user(1)),
        Filter::new().nobody(),
        Filter::new().action("a1"),
        Filter::new().status(ActionStatus::Error),
        Filter::new().category("k3"),
        Filter::new().correlation_id("c1"),
        Filter::new().transaction_correlation_id("c0"),
        Filter::new().request_id("r2"),
        Filter::new().job_id("j3"),
        Filter::new().op(Op::Delete),
        Filter::new().op(Op::Truncate),
        Filter::new().column("views"),
        Filter::new().from(instants[1]),
        Filter::new().to(instants[1]),
        Filter::new().from(instants[0]).to(instants[2]).actor(Actor::user(0)).op(Op::Update).column("title"),
    ];
    let trail = Trail::unscoped();
    let all = timeline(conn, &trail, &Filter::new(), Order::NewestFirst).len();
    for filter in filters {
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let expected: Vec<String> = timeline(conn, &trail, &filter, order)
                .iter()
                .map(|entry| serde_json::to_string(entry).unwrap())
                .collect();
            assert!(!expected.is_empty() && expected.len() < all, "{filter:?} finds {}", expected.len());
            let options = ExportOptions::new(ExportFormat::Ndjson).order(order);
            let (bytes, summary) = export_to(conn, &trail, &filter, &options);
            assert_eq!(lines(&bytes), expected, "{filter:?}");
            assert_eq!(summary.filter, filter);
        }
    }
    let role = Filter::new().db_role("nobody of this name");
    assert_eq!(export_to(conn, &trail, &role, &ExportOptions::new(ExportFormat::Ndjson)).1.rows, 0);
    let unknown = Filter::new().table(TableName::new(None, "tags"));
    let mut written = Vec::new();
    let error =
        trail.export(conn, &unknown, &ExportOptions::new(ExportFormat::Csv), &mut written).unwrap_err();
    assert!(matches!(error, Error::NotAudited { .. }) && written.is_empty(), "{error:?}");
}
