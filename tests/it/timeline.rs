//! The timeline: any filter, in pages of any size and either order, is what a plain join over the whole trail says.

use chrono::{DateTime, Duration, TimeDelta, Utc};
use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use threadline::{
    Action, ActionStatus, Actor, AuditContext, Cursor, Error, Filter, HistoryLimit, LinkedChange, Op, Order,
    PageRequest, Scope, TableName, Trail,
};
use threadline_tests::{audited_database, clock, row_key, run, text, texts};

/// A trail with few instants and many ties, over two months, with transactions that went on for hours, as capture would have
/// written it; deterministic.
pub(crate) const TRAIL: &str = "
    CREATE TABLE posts (id bigint PRIMARY KEY, org bigint, title text, views integer);
    CREATE TABLE notes (id bigint PRIMARY KEY, title text, views integer);
    CREATE SCHEMA blog; CREATE TABLE blog.notes (id bigint PRIMARY KEY, title text, views integer);
    SELECT threadline.attach('posts', scope => 'org'), threadline.attach('notes'), threadline.attach('blog.notes');
    SELECT setseed(0.25);
    -- Seconds from the beginning, and how long it goes on.
    CREATE TABLE made AS SELECT n, (random() * 400)::integer * 10 AS starts, (ARRAY[0, 0, 0, 0, 1, 1, 3, 30, 2500])[1 + (random() * 8)::integer] AS lasts,
        (random() * 6)::integer AS changes, (random() * 5)::integer AS actor, (random() * 3)::integer AS correlation, random() < 0.5 AS acts,
        gen_random_uuid() AS random FROM generate_series(1, 300) n;
    CREATE TABLE began AS SELECT m.*, timestamptz '2026-10-31 23:30:00Z' + starts * interval '1 second' AS at FROM made m;
    CREATE TABLE ids AS SELECT b.*, (left(threadline.first_id_at(at)::text, 14) || '7' || substr(random::text, 16, 8) || lpad(n::text, 12, '0'))::uuid AS id,
        (left(threadline.first_id_at(at)::text, 14) || '7' || substr(gen_random_uuid()::text, 16))::uuid AS action_id FROM began b;
    INSERT INTO threadline.audit_transactions (id, occurred_at, xid, actor_type, actor_id, request_id, correlation_id, job_id, action_id, db_role, meta)
    SELECT id, at, n::text::xid8, (ARRAY['user', 'user', 'admin', 'anonymous', NULL, 'job'])[1 + actor], (ARRAY['1', '2', '1', NULL, NULL, '9'])[1 + actor],
        CASE WHEN n % 3 = 0 THEN 'r' || n / 9 END, CASE WHEN correlation < 3 THEN 'c' || correlation END, CASE WHEN n % 7 = 0 THEN 'j' || n % 2 END,
        CASE WHEN acts THEN action_id END, 'role' || n % 2, jsonb_build_object('org', n % 3) FROM ids;
    INSERT INTO threadline.audit_actions (id, occurred_at, name, status, category, correlation_id, transaction_id, db_role)
    SELECT action_id, at, 'a' || n % 4, CASE WHEN n % 11 = 0 THEN 'error' ELSE 'ok' END, CASE WHEN n % 2 = 0 THEN 'k' || n % 3 END,
        CASE WHEN correlation < 2 THEN 'c' || correlation END, id, 'role' FROM ids WHERE acts;
    -- A second action in some.
    INSERT INTO threadline.audit_actions (id, occurred_at, name, status, transaction_id, db_role)
    SELECT (left(id::text, 14) || '7' || substr(gen_random_uuid()::text, 16))::uuid, at, 'second', 'ok', id, 'role' FROM ids WHERE n % 5 = 0;
    INSERT INTO threadline.audit_changes (captured_at, transaction_id, ordinal, table_id, layout, op, row_key, scope, previous_scope, row_data, diff)
    SELECT at + (lasts * c / changes) * interval '1 second', id, c, t, 1, o,
        (n * c % 7)::text, CASE t WHEN 1 THEN (n % 4)::text END, CASE WHEN t = 1 AND o = 'U' AND n % 6 = 0 THEN ((n + 1) % 4)::text END,
        CASE WHEN o <> 'U' THEN '{\"id\": 1}'::json END,
        CASE WHEN o = 'U' THEN CASE WHEN n % 2 = 0 THEN '{\"title\": [\"a\", \"b\"]}'::json ELSE '{\"views\": [1, 2], \"title\": [1, 2]}'::json END END
    FROM ids CROSS JOIN LATERAL generate_series(1, changes) c CROSS JOIN LATERAL (SELECT 1 + (n + c) % 3 AS t, (ARRAY['I', 'U', 'U', 'D'])[1 + (n * c) % 4]::\"char\" AS o) of_table;
    INSERT INTO threadline.audit_long_transactions
    SELECT DISTINCT floor(log(2, extract(epoch FROM c.captured_at - t.occurred_at) / 2)) + 1, c.transaction_id
    FROM threadline.audit_changes c JOIN threadline.audit_transactions t ON t.id = c.transaction_id WHERE c.captured_at >= t.occurred_at + interval '2 seconds';
    DROP TABLE made, began, ids";

/// A filter, and the same as a condition on the change `c`, its transaction `t`.
#[derive(Clone, Debug)]
struct Asked {
    filter: Filter,
    condition: String,
}

fn table(name: &str) -> TableName {
    threadline_tests::table(name)
}

fn start() -> DateTime<Utc> {
    "2026-10-31T23:30:00Z".parse().unwrap()
}

/// Some action recorded in the transaction of which this holds.
fn some_action(condition: &str) -> String {
    format!(
        "EXISTS (SELECT FROM threadline.audit_actions a WHERE a.transaction_id = c.transaction_id AND {condition})"
    )
}

type Part = (fn(Filter, usize) -> Filter, fn(usize) -> String);

/// What can be asked, each with the same in SQL; the number chooses the value. Parts about actions are one condition on one
/// action together.
const PARTS: &[Part] = &[
    (
        |filter, n| filter.table(table(["posts", "notes", "blog.notes"][n % 3])),
        |n| format!("c.table_id = {}", 1 + n % 3),
    ),
    (
        |filter, _| filter.table(table("posts")).table(table("blog.notes")),
        |_| "c.table_id IN (1, 3)".to_owned(),
    ),
    (|filter, _| filter.schema("public"), |_| "c.table_id IN (1, 2)".to_owned()),
    (
        |filter, n| filter.op([Op::Insert, Op::Update, Op::Delete][n % 3]),
        |n| format!("c.op = '{}'", ["I", "U", "D"][n % 3]),
    ),
    (
        |filter, n| filter.column(["title", "views"][n % 2]),
        |n| format!("c.diff::jsonb ? '{}'", ["title", "views"][n % 2]),
    ),
    (
        |filter, n| filter.from(start() + TimeDelta::seconds(n as i64 * 47)),
        |n| format!("c.captured_at >= timestamptz '2026-10-31 23:30:00Z' + {} * interval '1 second'", n * 47),
    ),
    (
        |filter, n| filter.to(start() + TimeDelta::seconds(4000 - n as i64 * 47)),
        |n| {
            format!(
                "c.captured_at <= timestamptz '2026-10-31 23:30:00Z' + {} * interval '1 second'",
                4000 - n as i64 * 47
            )
        },
    ),
    (
        |filter, n| filter.actor(Actor::user(1 + n as i64 % 2)),
        |n| format!("(t.actor_type = 'user' AND t.actor_id = '{}')", 1 + n % 2),
    ),
    (
        |filter, _| filter.actor(Actor::admin(1)).actor(Actor::anonymous()),
        |_| "((t.actor_type = 'admin' AND t.actor_id = '1') OR t.actor_type = 'anonymous')".to_owned(),
    ),
    (|filter, _| filter.nobody(), |_| "t.id IS NOT NULL AND t.actor_type IS NULL".to_owned()),
    (|filter, n| filter.request_id(format!("r{}", n % 30)), |n| format!("t.request_id = 'r{}'", n % 30)),
    (|filter, n| filter.job_id(format!("j{}", n % 2)), |n| format!("t.job_id = 'j{}'", n % 2)),
    (
        |filter, n| filter.transaction_correlation_id(format!("c{}", n % 4)),
        |n| format!("t.correlation_id = 'c{}'", n % 4),
    ),
    (|filter, n| filter.db_role(format!("role{}", n % 2)), |n| format!("t.db_role = 'role{}'", n % 2)),
    (|filter, n| filter.action(format!("a{}", n % 4)), |n| some_action(&format!("a.name = 'a{}'", n % 4))),
    (|filter, _| filter.action("a1").action("second"), |_| some_action("a.name IN ('a1', 'second')")),
    (|filter, _| filter.status(ActionStatus::Error), |_| some_action("a.status = 'error'")),
    (
        |filter, n| filter.category(format!("k{}", n % 3)),
        |n| some_action(&format!("a.category = 'k{}'", n % 3)),
    ),
    (
        |filter, n| filter.correlation_id(format!("c{}", n % 3)),
        |n| some_action(&format!("a.correlation_id = 'c{}'", n % 3)),
    ),
    (
        |filter, n| filter.action("a2").correlation_id(format!("c{}", n % 2)),
        |n| some_action(&format!("a.name = 'a2' AND a.correlation_id = 'c{}'", n % 2)),
    ),
    (
        |filter, n| filter.table(table("posts")).key(row_key(&format!("id={}", n % 7))),
        |n| format!("c.table_id = 1 AND c.row_key = '{}'", n % 7),
    ),
];

/// Parts that may stand together: those that set the same thing twice would mean something else.
fn asked() -> impl Strategy<Value = Asked> {
    const GROUPS: [&[usize]; 10] = [
        &[0, 1, 2, 20],
        &[3],
        &[4],
        &[5],
        &[6],
        &[7, 8, 9],
        &[10, 11],
        &[12],
        &[13],
        &[14, 15, 16, 17, 18, 19],
    ];
    let groups: Vec<_> = GROUPS
        .into_iter()
        .map(|members| prop::option::weighted(0.25, (prop::sample::select(members), 0..40_usize)))
        .collect();
    groups.prop_map(|chosen| {
        let mut asked = Asked { filter: Filter::new(), condition: "true".to_owned() };
        for (part, n) in chosen.into_iter().flatten() {
            asked.filter = PARTS[part].0(asked.filter, n);
            asked.condition = format!("{} AND {}", asked.condition, PARTS[part].1(n));
        }
        asked
    })
}

fn scopes() -> impl Strategy<Value = Option<(Scope, &'static str)>> {
    let tenant =
        |values: &'static [&'static str], condition| (Scope::tenants(values.iter().copied()), condition);
    prop::sample::select(vec![
        None,
        None,
        Some(tenant(&["1"], "(c.scope = '1' AND (c.previous_scope IS NULL OR c.previous_scope = '1'))")),
        Some(tenant(
            &["0", "3"],
            "(c.scope IN ('0', '3') AND (c.previous_scope IS NULL OR c.previous_scope IN ('0', '3')))",
        )),
        Some((Scope::meta("org", ["2"]), "t.meta ->> 'org' = '2'")),
        Some((
            Scope::tenant("1")
                .or(Scope::table(TableName::new(None, "notes")))
                .and(Scope::meta("org", ["0", "1"])),
            "((c.scope = '1' AND (c.previous_scope IS NULL OR c.previous_scope = '1')) OR c.table_id = 2) AND t.meta ->> 'org' IN ('0', '1')",
        )),
        Some((Scope::nothing(), "false")),
    ])
}

fn trail(scope: Option<&Scope>) -> Trail {
    match scope.cloned() {
        None => Trail::unscoped(),
        Some(scope) => Trail::scoped(move |_| Ok(scope.clone())),
    }
}

fn name(entry: &LinkedChange) -> String {
    entry.change.id.to_string()
}

/// All pages put together, each checked to be as long as it has to be.
fn pages(
    conn: &mut PgConnection,
    trail: &Trail,
    filter: &Filter,
    size: u32,
    order: Order,
) -> Result<Vec<LinkedChange>, TestCaseError> {
    let mut request = PageRequest::new().size(size).unwrap().order(order);
    let mut entries = Vec::new();
    loop {
        let page = trail.timeline_page(conn, filter, &request).unwrap();
        prop_assert_eq!(page.has_more, page.cursor.is_some());
        prop_assert!(!page.has_more || page.entries.len() == size as usize);
        entries.extend(page.entries);
        let Some(cursor) = page.cursor else { return Ok(entries) };
        request = request.after(cursor.to_string().parse::<Cursor>().unwrap());
    }
}

#[test]
fn any_filter_in_pages_of_any_size_is_what_a_join_over_the_whole_trail_says() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, TRAIL);
    let total: usize = text(conn, "SELECT count(*) FROM threadline.audit_changes").parse().unwrap();
    assert!(total > 600, "{total}");
    let case = (asked(), scopes(), prop::sample::select(vec![1_u32, 2, 7, 50, 1000]), any::<bool>());
    let config = Config { cases: 400, max_shrink_iters: 50, failure_persistence: None, ..Config::default() };
    let found = std::cell::Cell::new(0);
    let conn = std::cell::RefCell::new(conn);
    let result = TestRunner::new(config).run(&case, |(asked, scope, size, newest_first)| {
        let conn = &mut **conn.borrow_mut();
        let (direction, order) =
            if newest_first { ("DESC", Order::NewestFirst) } else { ("ASC", Order::OldestFirst) };
        let expected = texts(
            conn,
            &format!(
                "SELECT c.transaction_id || '#' || c.ordinal FROM threadline.audit_changes c LEFT JOIN threadline.audit_transactions t ON t.id = c.transaction_id
                WHERE {} AND {} ORDER BY c.captured_at {direction}, c.transaction_id {direction}, c.ordinal {direction}",
                asked.condition,
                scope.as_ref().map_or("true", |(_, condition)| *condition)
            ),
        );
        let trail = trail(scope.as_ref().map(|(scope, _)| scope));
        // Few of the smallest pages: they are many.
        let size = if expected.len() > 60 { size.max(7) } else { size };
        let entries = pages(conn, &trail, &asked.filter, size, order)?;
        prop_assert_eq!(entries.iter().map(name).collect::<Vec<_>>(), expected.clone());
        found.set(found.get() + entries.len());
        let count = trail.count(conn, &asked.filter, 100).unwrap();
        prop_assert_eq!((count.counted, count.capped), (expected.len().min(100) as u64, expected.len() > 100));
        for entry in &entries {
            prop_assert_eq!(entry.transaction.as_ref().map(|transaction| transaction.id), Some(entry.change.id.transaction_id));
            let action = entry.transaction.as_ref().and_then(|transaction| transaction.action_id);
            prop_assert_eq!(entry.action.as_ref().map(|action| action.id), action);
        }
        // The filter survives its other form.
        let pairs = asked.filter.pairs();
        prop_assert_eq!(&Filter::from_pairs(pairs).unwrap(), &asked.filter);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert!(found.get() > 5000, "the cases found {} changes altogether", found.get());
}

#[test]
fn a_transaction_that_goes_on_is_noted_once_a_doubling_and_found_by_its_actor_in_its_place() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    run(conn, "CREATE TABLE notes (id bigint PRIMARY KEY, title text); SELECT threadline.attach('notes')");
    let slow = AuditContext::new(Actor::user(1)).transaction();
    slow.run(conn, |conn, _| {
        conn.batch_execute("INSERT INTO notes VALUES (1, 'a')").map_err(Error::Query)?;
        for id in 10..80 {
            AuditContext::new(Actor::user(1)).transaction().run(other, |other, _| {
                other.batch_execute(&format!("INSERT INTO notes VALUES ({id}, 'b')")).map_err(Error::Query)
            })?;
        }
        conn.batch_execute(
            "SELECT pg_sleep(2.1); INSERT INTO notes SELECT n, 'c' FROM generate_series(100, 110) n; SELECT pg_sleep(2.1); TRUNCATE notes",
        )
        .map_err(Error::Query)
    })
    .unwrap();
    assert_eq!(
        texts(conn, "SELECT l.doublings || ' ' || (l.transaction_id = c.transaction_id) FROM threadline.audit_long_transactions l,
            threadline.audit_changes c WHERE c.row_key = '100' ORDER BY l.doublings"),
        ["1 true", "2 true"]
    );
    let expected = texts(
        conn,
        "SELECT transaction_id || '#' || ordinal FROM threadline.audit_changes ORDER BY captured_at DESC, transaction_id DESC, ordinal DESC",
    );
    let filter = Filter::new().actor(Actor::user(1));
    for size in [3, 10] {
        let entries = pages(conn, &Trail::unscoped(), &filter, size, Order::NewestFirst).unwrap();
        assert_eq!(entries.iter().map(name).collect::<Vec<_>>(), expected);
        let entries = pages(conn, &Trail::unscoped(), &filter, size, Order::OldestFirst).unwrap();
        assert_eq!(entries.iter().rev().map(name).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn pages_read_while_others_write_hold_each_change_once_that_was_there_before() {
    let db = audited_database();
    let (conn, writer) = (&mut db.connect(), &mut db.connect());
    run(
        conn,
        "CREATE TABLE notes (id bigint PRIMARY KEY, title text); SELECT threadline.attach('notes');
        INSERT INTO notes SELECT n, 'a' FROM generate_series(1, 40) n",
    );
    let before = texts(conn, "SELECT transaction_id || '#' || ordinal FROM threadline.audit_changes");
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let mut request = PageRequest::new().size(7).unwrap().order(order);
        let mut read = Vec::new();
        let mut written = 0;
        loop {
            let page = Trail::unscoped().timeline_page(conn, &Filter::new(), &request).unwrap();
            read.extend(page.entries.iter().map(name));
            let Some(cursor) = page.cursor else { break };
            if written < 30 {
                run(writer, "UPDATE notes SET title = title || 'b' WHERE id < 4");
                written += 3;
            }
            request = request.after(cursor);
        }
        let mut unique = read.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), read.len(), "a change came twice");
        assert!(before.iter().all(|change| read.contains(change)), "a change is missing");
    }
}

#[test]
fn what_cannot_be_asked_is_an_error_that_names_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id bigint PRIMARY KEY); SELECT threadline.attach('notes')");
    let error = Filter::from_pairs([
        ("tabel", "x"),
        ("table", "a.b"),
        ("table", ".x"),
        ("op", "upsert"),
        ("actor", "user"),
        ("actor", "someone:1"),
        ("status", "fine"),
        ("from", "yesterday"),
        ("request_id", ""),
        ("job_id", "a"),
        ("job_id", "b"),
        ("key", "id"),
        ("correlation_id", "a\u{7}"),
    ])
    .unwrap_err();
    for problem in [
        "`tabel` is not a filter; there are table, schema, key,",
        "table: is not the name of a table",
        "op: is not one of insert, update, delete, truncate",
        "actor: is not an actor; write user:ID",
        "status: is neither ok nor error",
        "from: is not an instant such as 2026-11-21T09:30:00Z",
        "request_id: is empty",
        "job_id: is given twice",
        "key: is not of the form column=value",
        "correlation_id: has a control character",
    ] {
        assert!(error.to_string().contains(problem), "{problem}: {error}");
    }
    assert_eq!(error.problems().iter().filter(|problem| problem.starts_with("actor")).count(), 2);
    assert!(!error.to_string().contains("yesterday"), "values are not quoted");

    let trail = Trail::unscoped();
    let notes = || Filter::new().table(table("notes"));
    let refused = |conn: &mut PgConnection, filter: &Filter| trail.timeline(conn, filter).unwrap_err();
    let message = |error: Error| error.to_string();
    assert_eq!(
        message(refused(conn, &Filter::new().key(row_key("id=1")))),
        "invalid filter: key: takes exactly one table"
    );
    assert_eq!(
        message(refused(conn, &notes().from(start() + Duration::seconds(1)).to(start()))),
        "invalid filter: from: is later than `to`"
    );
    assert_eq!(
        message(refused(conn, &Filter::new().action("x".repeat(257)))),
        "invalid filter: action: is longer than 256 bytes"
    );
    assert_eq!(
        message(refused(conn, &Filter::new().schema("nowhere"))),
        "invalid filter: schema: has no table that was ever audited"
    );
    assert!(
        matches!(refused(conn, &Filter::new().table(table("nowhere"))), Error::NotAudited { table, .. } if table == "nowhere")
    );
    assert!(
        message(refused(conn, &notes().key(row_key("number=1"))))
            .contains("is audited by the key (id), not by (number)")
    );
    assert_eq!(trail.timeline(conn, &notes().from(start()).to(start())).unwrap().entries, []);
    assert_eq!(trail.timeline(conn, &Filter::new().from(DateTime::<Utc>::UNIX_EPOCH)).unwrap().entries, []);

    // Cursors.
    run(conn, "INSERT INTO notes SELECT generate_series(1, 3)");
    let request = PageRequest::new().size(1).unwrap();
    let cursor = trail.timeline_page(conn, &notes(), &request).unwrap().cursor.unwrap();
    let other_order = trail
        .timeline_page(conn, &notes(), &request.clone().order(Order::OldestFirst).after(cursor))
        .unwrap_err();
    assert!(other_order.to_string().contains("in the other order"), "{other_order}");
    let other_list = trail.actions(conn, &Filter::new(), &request.after(cursor)).unwrap_err();
    assert!(other_list.to_string().contains("another kind of list"), "{other_list}");
    let written = cursor.to_string();
    for broken in [
        "",
        "v2.d.c",
        &written[1..],
        &format!("{written}.1"),
        &written.replace('c', "i"),
        &written.to_uppercase(),
        &format!("{written} "),
    ] {
        let error = broken.parse::<Cursor>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the cursor is not one of this version; start from the first page",
            "{broken}"
        );
    }
}

#[test]
fn a_bounded_count_says_when_there_are_more() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id bigint PRIMARY KEY); SELECT threadline.attach('notes'); INSERT INTO notes SELECT generate_series(1, 10001)",
    );
    let shown = |conn: &mut PgConnection, cap| {
        Trail::unscoped().count(conn, &Filter::new(), cap).unwrap().to_string()
    };
    assert_eq!(shown(conn, 10_000), "10,000+");
    assert_eq!(shown(conn, 10_001), "10,001");
    assert_eq!(shown(conn, 0), "0+");
    assert_eq!(shown(conn, u32::MAX), "10,001");
}

#[test]
fn a_changed_column_is_asked_for_by_todays_name_and_not_told_when_it_is_excluded() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id bigint PRIMARY KEY, title text, body text); SELECT threadline.attach('notes'); INSERT INTO notes VALUES (1, 'a', 'b');
        UPDATE notes SET title = 'b'; UPDATE notes SET body = 'c'; ALTER TABLE notes RENAME title TO headline; ALTER TABLE notes RENAME body TO title;
        SELECT threadline.refresh('notes'); UPDATE notes SET headline = 'c'; UPDATE notes SET title = 'd'");
    let found = |conn: &mut PgConnection, column: &str| {
        let page = Trail::unscoped().timeline(conn, &Filter::new().column(column)).unwrap();
        page.entries.iter().map(|entry| entry.change.fields[column].after.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found(conn, "headline"), ["\"c\"", "\"b\""]);
    assert_eq!(found(conn, "title"), ["\"d\"", "\"c\""]);
    let unknown = Trail::unscoped().timeline(conn, &Filter::new().column("titel")).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "invalid filter: column: is not a column of any table that is asked about"
    );
    assert_eq!(found(conn, "body"), Vec::<String>::new());
    run(conn, "SELECT threadline.attach('notes', exclude => '{headline}', mask => '{title}')");
    assert_eq!(found(conn, "headline"), Vec::<String>::new());
    assert_eq!(Trail::unscoped().count(conn, &Filter::new().column("headline"), 10).unwrap().counted, 0);
    assert_eq!(found(conn, "title"), ["\"[REDACTED]\"", "\"[REDACTED]\""]);
}

#[test]
fn an_actors_transactions_and_all_actions_are_listed_in_pages_also_those_that_changed_nothing_or_failed() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id bigint PRIMARY KEY); SELECT threadline.attach('notes')");
    let since = clock(conn);
    let context = AuditContext::new(Actor::user(7)).with_correlation_id("c-1").with_request_id("r-1");
    for id in 0..5 {
        context
            .transaction()
            .action(Action::new("note.added").category("content"))
            .run(conn, |conn, _| {
                conn.batch_execute(&format!("INSERT INTO notes VALUES ({id})")).map_err(Error::Query)
            })
            .unwrap();
        AuditContext::new(Actor::user(8))
            .transaction()
            .run(conn, |conn, _| {
                conn.batch_execute(&format!("INSERT INTO notes VALUES (100 + {id})")).map_err(Error::Query)
            })
            .unwrap();
    }
    // Ids are in order by the millisecond.
    run(conn, "SELECT pg_sleep(0.002)");
    context.transaction().action(Action::new("note.looked_at")).run(conn, |_, _| Ok::<_, Error>(())).unwrap();
    let failed = context.transaction().action(Action::new("note.added")).record_failures();
    failed.run(conn, |_, _| Err::<(), _>(Error::MissingActor)).unwrap_err();
    run(
        conn,
        "BEGIN; SET LOCAL threadline.actor_ref = '{\"type\": \"anonymous\"}'; INSERT INTO notes VALUES (900); COMMIT; INSERT INTO notes VALUES (901)",
    );

    let trail = Trail::unscoped();
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let mut request = PageRequest::new().size(2).unwrap().order(order);
        let mut names = Vec::new();
        loop {
            let page =
                trail.actor_history(conn, &Actor::user(7), &Filter::new().from(since), &request).unwrap();
            names.extend(page.entries.iter().map(|entry| entry.action.as_ref().unwrap().name.clone()));
            let Some(cursor) = page.cursor else { break };
            request = request.after(cursor);
        }
        if order == Order::NewestFirst {
            names.reverse();
        }
        assert_eq!(
            names,
            ["note.added", "note.added", "note.added", "note.added", "note.added", "note.looked_at"]
        );
    }
    let request = PageRequest::new();
    let history = |conn: &mut PgConnection, actor: &Actor, filter: &Filter| {
        trail.actor_history(conn, actor, filter, &request).unwrap().entries.len()
    };
    assert_eq!(
        history(conn, &Actor::anonymous(), &Filter::new()),
        1,
        "what nobody was named for is not the anonymous actor's"
    );
    assert_eq!(history(conn, &Actor::user(7), &Filter::new().to(since)), 0);
    let refused =
        trail.actor_history(conn, &Actor::user(7), &Filter::new().op(Op::Insert), &request).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "invalid filter: op: transactions of an actor are asked for by from and to"
    );

    let actions = |conn: &mut PgConnection, filter: Filter| {
        trail
            .actions(conn, &filter, &request)
            .unwrap()
            .entries
            .iter()
            .map(|action| format!("{} {}", action.name, action.status))
            .collect::<Vec<_>>()
    };
    assert_eq!(actions(conn, Filter::new()).len(), 7);
    assert_eq!(actions(conn, Filter::new().status(ActionStatus::Error)), ["note.added error"]);
    assert_eq!(
        actions(
            conn,
            Filter::new()
                .action("note.looked_at")
                .actor(Actor::user(7))
                .correlation_id("c-1")
                .request_id("r-1")
        ),
        ["note.looked_at ok"]
    );
    assert_eq!(actions(conn, Filter::new().category("content").from(since)).len(), 5);
    assert_eq!(actions(conn, Filter::new().to(since)), Vec::<String>::new());
    let refused =
        trail.actions(conn, &Filter::new().table(table("notes")).column("id"), &request).unwrap_err();
    assert_eq!(refused.to_string(), "invalid filter: table, column: asks about changes, not actions");

    let bundle = trail.correlation_bundle(conn, "c-1", &Filter::new(), &request).unwrap();
    assert_eq!(bundle.entries.len(), 5);
    assert_eq!(
        trail
            .actor_window(conn, &Actor::user(8), &Filter::new().table(table("notes")), &request)
            .unwrap()
            .entries
            .len(),
        5
    );
    assert!(trail.actor_window(conn, &Actor::user(8), &Filter::new().nobody(), &request).is_err());
}

#[test]
fn an_entry_names_its_row_so_that_its_history_can_be_asked_for() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE members (user_id text, org_id integer, role text, PRIMARY KEY (org_id, user_id)); SELECT threadline.attach('members');
        CREATE TABLE notes (id text PRIMARY KEY, body text); SELECT threadline.attach('notes');
        INSERT INTO members VALUES ('7', 1, 'owner'); INSERT INTO notes VALUES ('[\"a\"]', 'x'), (repeat('k', 2000), 'long')",
    );
    run(
        conn,
        "ALTER TABLE members RENAME org_id TO organization_id; UPDATE members SET role = 'guest'; TRUNCATE notes",
    );
    let page = Trail::unscoped().timeline(conn, &Filter::new()).unwrap();
    let mut keys = Vec::new();
    for entry in page.entries.iter().rev() {
        keys.push(entry.key.as_ref().map(ToString::to_string));
        if let Some(key) = &entry.key {
            let history =
                Trail::unscoped().row_history(conn, &entry.table, key, HistoryLimit::default()).unwrap();
            assert!(history.versions.iter().any(|version| version.change.id == entry.change.id), "{key}");
        }
    }
    let member = Some(r#"{"organization_id":"1","user_id":"7"}"#.to_owned());
    let note = Some(r#"{"id":"[\"a\"]"}"#.to_owned());
    assert_eq!(keys, [member.clone(), note, None, member, None]);
}
