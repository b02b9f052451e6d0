//! The feed: every committed transaction, in an order that can be resumed, and none skipped however late it commits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diesel::PgConnection;
use threadline::{
    Action, Actor, AuditContext, Error, FeedBatch, FeedCursor, FeedEntry, FeedTransaction, Trail, feed_hold,
    listen_for_feed, wait_for_feed,
};
use threadline_devdb::Cluster;
use threadline_tests::{TestRole, audited_cluster, audited_database, clock, refused, run, text, texts};

use crate::restore::{burn, pipe, restored};

const NOTES: &str =
    "CREATE TABLE notes (id bigint PRIMARY KEY, body text); SELECT threadline.attach('notes')";

/// A server of the test's own: transactions of other databases hold the feed back as those of this one do.
fn app(cluster: &Cluster) -> PgConnection {
    cluster.connect("app").unwrap()
}

/// Each entry as the keys of its changes (`+` for a part that goes on, `…` for one that went before) or the action's name.
fn shown(batch: &FeedBatch) -> Vec<String> {
    batch.entries.iter().map(show).collect()
}

fn show(entry: &FeedEntry) -> String {
    match entry {
        FeedEntry::Transaction(part) => {
            let keys: Vec<&str> = part.changes.iter().map(|change| change.change.row_key.as_str()).collect();
            let names: Vec<&str> = part.actions.iter().map(|action| action.name.as_str()).collect();
            format!(
                "{}{}{}{}",
                if part.continued { "…" } else { "" },
                names.join(","),
                keys.join(","),
                if part.complete { "" } else { "+" }
            )
        }
        FeedEntry::Action(action) => format!("alone: {}", action.action.name),
        other => panic!("{other:?}"),
    }
}

fn read(conn: &mut PgConnection, cursor: &FeedCursor, limit: u32) -> FeedBatch {
    Trail::unscoped().read_feed(conn, cursor, limit).unwrap_or_else(|error| panic!("{error}: {cursor}"))
}

/// Reads on until caught up; the cursor is moved.
fn drain(conn: &mut PgConnection, cursor: &mut FeedCursor, limit: u32) -> Vec<FeedEntry> {
    let mut entries = Vec::new();
    loop {
        let batch = read(conn, cursor, limit);
        // As a reader does that keeps it somewhere.
        *cursor = batch.cursor.to_string().parse().unwrap();
        entries.extend(batch.entries);
        if batch.caught_up {
            return entries;
        }
    }
}

fn drained(conn: &mut PgConnection, cursor: &mut FeedCursor, limit: u32) -> Vec<String> {
    drain(conn, cursor, limit).iter().map(show).collect()
}

fn transaction(entry: &FeedEntry) -> &FeedTransaction {
    match entry {
        FeedEntry::Transaction(transaction) => transaction,
        other => panic!("{other:?}"),
    }
}

#[test]
fn straggler_that_commits_last_is_delivered_and_nothing_twice() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    let (slow, silent, quick) = (&mut app(&db), &mut app(&db), &mut app(&db));
    let mut cursor = FeedCursor::beginning();
    assert_eq!(drained(conn, &mut cursor, 100), [""; 0]);

    // One has its number before the quick ones, the other only began before them.
    run(slow, "BEGIN; INSERT INTO notes VALUES (1, 'slow')");
    run(silent, "BEGIN; SELECT 1");
    run(quick, "INSERT INTO notes VALUES (2, 'quick')");
    run(quick, "INSERT INTO notes VALUES (3, 'quick')");
    let batch = read(conn, &cursor, 100);
    assert_eq!((shown(&batch), batch.caught_up), (vec![], true));
    let hold = feed_hold(conn).unwrap().unwrap();
    assert_eq!(hold.pid, Some(text(slow, "SELECT pg_backend_pid()").parse().unwrap()));
    assert_eq!(hold.number.to_string(), text(slow, "SELECT pg_current_xact_id()"));
    assert!(hold.numbers_behind >= 3 && hold.since.unwrap() <= clock(conn), "{hold:?}");

    run(silent, "INSERT INTO notes VALUES (4, 'silent')");
    run(slow, "COMMIT");
    assert_eq!(drained(conn, &mut cursor, 100), ["1", "2", "3"]);
    assert_eq!(drained(conn, &mut cursor, 100), [""; 0]);
    run(silent, "COMMIT");
    assert_eq!(drained(conn, &mut cursor, 1), ["4"]);
    assert_eq!(drained(conn, &mut cursor, 1), [""; 0]);
    // In batches of any size the whole is the same.
    for limit in [0, 1, 2, 3, 4, u32::MAX] {
        assert_eq!(drained(conn, &mut FeedCursor::beginning(), limit), ["1", "2", "3", "4"], "{limit}");
    }
}

#[test]
fn batch_holds_whole_transactions_and_one_that_is_more_comes_in_parts() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 'a'), (2, 'a')");
    run(conn, "INSERT INTO notes VALUES (3, 'a'), (4, 'a')");
    run(conn, "INSERT INTO notes SELECT n, 'b' FROM generate_series(5, 11) n");
    run(conn, "INSERT INTO notes VALUES (12, 'c')");
    let mut cursor = FeedCursor::beginning();
    let mut batches = Vec::new();
    loop {
        let batch = read(conn, &cursor, 3);
        // The same cursor, the same batch.
        assert_eq!(batch, read(conn, &cursor, 3));
        cursor = batch.cursor.clone();
        batches.push(shown(&batch));
        if batch.caught_up {
            break;
        }
    }
    assert_eq!(batches, [vec!["1,2"], vec!["3,4"], vec!["5,6,7+"], vec!["…8,9,10+"], vec!["…11", "12"]]);
    assert_eq!(drained(conn, &mut cursor, 3), [""; 0]);
    // Who wrote it is in each part.
    let parts = drain(conn, &mut FeedCursor::beginning(), 3);
    let ids: Vec<_> = parts[2..5].iter().map(|part| transaction(part).transaction.id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    let numbers: Vec<u64> = parts.iter().map(|part| transaction(part).number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[test]
fn batch_is_bounded_in_bytes_too() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    let large = |from: i32, to: i32| {
        format!(
            "INSERT INTO notes SELECT n, (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 65536) i) FROM generate_series({from}, {to}) n"
        )
    };
    // 2 MB each, 12 MB in one transaction, then three transactions of 6 MB.
    run(conn, &large(1, 6));
    for n in [10, 20, 30] {
        run(conn, &large(n, n + 2));
    }
    run(conn, "INSERT INTO notes SELECT 99, string_agg(md5(i::text), '') FROM generate_series(1, 400000) i");
    let mut cursor = FeedCursor::beginning();
    let mut batches = Vec::new();
    for _ in 0..6 {
        let batch = read(conn, &cursor, 1000);
        cursor = batch.cursor.clone();
        batches.push(shown(&batch).join(" "));
    }
    assert_eq!(batches, ["1,2,3+", "…4,5,6", "10,11,12", "20,21,22", "30,31,32", "99"]);
    assert!(read(conn, &cursor, 1000).caught_up);
}

#[test]
fn actions_alone_and_transactions_with_nothing_but_an_action_are_delivered_in_their_place() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    let context = AuditContext::new(Actor::user(7));
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    context.record_action(conn, &Action::new("login.refused")).unwrap();
    context
        .transaction()
        .action(Action::new("nothing.touched"))
        .run(conn, |_, _| Ok::<_, Error>(()))
        .unwrap();
    run(conn, "INSERT INTO notes VALUES (2, 'a')");
    let expected = ["1", "alone: login.refused", "nothing.touched", "2"];
    for limit in [1, 2, 100] {
        assert_eq!(drained(conn, &mut FeedCursor::beginning(), limit), expected);
    }
    // A line of JSON is one entry, and keeps every digit.
    run(
        conn,
        "CREATE TABLE sums (id bigint PRIMARY KEY, v numeric); SELECT threadline.attach('sums'); INSERT INTO sums VALUES (1, 12345678901234567890.1230)",
    );
    let entries = drain(conn, &mut FeedCursor::beginning(), 100);
    let lines: Vec<String> = entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
    assert!(lines[4].starts_with(r#"{"kind":"transaction","number":"#), "{}", lines[4]);
    assert!(lines[4].contains(r#""continued":false,"complete":true"#), "{}", lines[4]);
    assert!(lines[4].contains("12345678901234567890.1230"), "{}", lines[4]);
    assert!(lines[1].starts_with(r#"{"kind":"action","number":"#), "{}", lines[1]);
    // What is redacted later shows no more.
    run(conn, "SELECT threadline.attach('sums', mask => '{v}')");
    let entries = drain(conn, &mut FeedCursor::beginning(), 100);
    assert!(!serde_json::to_string(&entries).unwrap().contains("12345678901234567890"));
}

#[test]
fn feed_starts_with_the_trail_now_or_at_an_instant() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    let running = &mut app(&db);
    run(running, "BEGIN; INSERT INTO notes VALUES (2, 'a')");
    let mut now = FeedCursor::now(conn).unwrap();
    run(conn, "INSERT INTO notes VALUES (3, 'a')");
    run(running, "COMMIT");
    assert_eq!(drained(conn, &mut now, 10), ["2", "3"]);

    // As if captured two hours ago and one hour ago.
    run(
        conn,
        "UPDATE threadline.audit_changes SET captured_at = captured_at - interval '2 hours' WHERE row_key IN ('1', '2');
        UPDATE threadline.audit_changes SET captured_at = captured_at - interval '1 hour' WHERE row_key = '3'",
    );
    run(conn, "INSERT INTO notes VALUES (4, 'a')");
    let at = |minutes: i64| FeedCursor::since(chrono::Utc::now() - chrono::TimeDelta::minutes(minutes));
    // From the last one on that is surely before it, which 4 is not yet for the present.
    assert_eq!(drained(conn, &mut at(30), 10), ["4"]);
    assert_eq!(drained(conn, &mut at(90), 10), ["3", "4"]);
    assert_eq!(drained(conn, &mut at(150), 10), ["1", "2", "3", "4"]);
    assert_eq!(drained(conn, &mut at(0), 10), ["4"]);
    assert_eq!(drained(conn, &mut at(-60), 10), [""; 0]);
}

/// A number from 0 to `below`, from a generator of each writer's own.
fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

#[test]
fn writers_at_random_and_a_reader_that_crashes_lose_nothing_and_keep_what_depends_in_order() {
    const WRITERS: u64 = 6;
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(
        conn,
        "CREATE TABLE tokens (id bigint PRIMARY KEY, saw bigint); CREATE TABLE shared (id bigint PRIMARY KEY, v integer);
        SELECT threadline.attach('tokens'), threadline.attach('shared'); INSERT INTO shared SELECT n, 0 FROM generate_series(0, 2) n",
    );
    let mut stored = FeedCursor::now(conn).unwrap();
    let done = AtomicBool::new(false);
    let mut delivered: Vec<FeedEntry> = Vec::new();
    let (mut crashes, mut repeated, mut caught_up) = (0, 0, 0);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut conn = app(&db);
                scope.spawn(move || {
                    let state = &mut (writer + 1);
                    for n in 0..100 {
                        let pause =
                            |state: &mut u64| thread::sleep(Duration::from_micros(random(state, 6000)));
                        let id = writer * 1000 + n;
                        run(&mut conn, "BEGIN");
                        let saw = text(
                            &mut conn,
                            "SELECT coalesce((SELECT id FROM tokens ORDER BY ctid DESC LIMIT 1), -1)",
                        );
                        if random(state, 3) == 0 {
                            run(
                                &mut conn,
                                "SAVEPOINT s; INSERT INTO tokens VALUES (-5, -5); ROLLBACK TO s; SAVEPOINT t",
                            );
                        }
                        run(&mut conn, &format!("INSERT INTO tokens VALUES ({id}, {saw})"));
                        pause(state);
                        let row = random(state, 3);
                        run(&mut conn, &format!("UPDATE shared SET v = v + 1 WHERE id = {row}"));
                        pause(state);
                        run(&mut conn, if random(state, 5) == 0 { "ROLLBACK" } else { "COMMIT" });
                    }
                })
            })
            .collect();
        let reader = &mut app(&db);
        let state = &mut 99;
        scope.spawn(|| {
            for writer in writers {
                writer.join().unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        loop {
            let was_done = done.load(Ordering::SeqCst);
            let limit = u32::try_from(1 + random(state, 100)).unwrap();
            let batch = read(reader, &stored, limit);
            caught_up += u32::from(batch.caught_up && !was_done);
            let crashed = !batch.entries.is_empty() && random(state, 4) == 0;
            for entry in batch.entries {
                if delivered.contains(&entry) {
                    repeated += 1;
                } else {
                    delivered.push(entry);
                }
            }
            if crashed {
                crashes += 1;
                continue;
            }
            stored = batch.cursor.to_string().parse().unwrap();
            if was_done && batch.caught_up {
                break;
            }
        }
    });
    assert!(crashes > 5 && repeated > 5, "{crashes} crashes, {repeated} repeated");
    // Else there was nobody to skip.
    assert!(caught_up > 5, "the reader kept up with the writers {caught_up} times");

    // Parts of one transaction may have been cut elsewhere after a crash, so changes are compared.
    let mut changes = BTreeMap::new();
    let mut place_of_token = BTreeMap::new();
    let mut early = 0;
    let mut chains: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (place, entry) in delivered.iter().enumerate() {
        for change in &transaction(entry).changes {
            if changes.insert(change.change.id, ()).is_some() {
                continue;
            }
            if change.table.name() == "tokens" {
                let row = change.row.as_ref().unwrap();
                let token: i64 = row.columns["id"].as_str().parse().unwrap();
                let saw: i64 = row.columns["saw"].as_str().parse().unwrap();
                assert!(
                    saw == -1 || place_of_token.contains_key(&saw),
                    "{token} saw {saw}, which is not delivered yet"
                );
                place_of_token.insert(token, place);
            } else {
                let field = &change.change.fields["v"];
                let step: (i64, i64) =
                    (field.before.as_str().parse().unwrap(), field.after.as_str().parse().unwrap());
                let chain = chains.entry(change.change.row_key.clone()).or_default();
                early +=
                    usize::from(chain.last().is_some_and(|(.., last): &(_, _, (i64, i64))| *last > step));
                chain.push((change.change.captured_at, change.change.id, step));
            }
        }
    }
    let committed: Vec<i64> =
        texts(conn, "SELECT id FROM tokens ORDER BY id").iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(place_of_token.keys().copied().collect::<Vec<_>>(), committed);
    assert_eq!(changes.len(), committed.len() * 2);
    // Writers of one row wait for each other after they have their numbers, so the feed alone has some the wrong way round.
    assert!(early > 0, "no writer overtook another");
    for (row, mut chain) in chains {
        chain.sort();
        for (n, (.., step)) in (0..).zip(&chain) {
            assert_eq!(*step, (n, n + 1), "row {row}");
        }
    }
}

#[test]
fn purge_behind_the_cursor_is_said_and_the_feed_goes_on_with_what_is_left() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    for n in 1..=3 {
        run(conn, &format!("INSERT INTO notes VALUES ({n}, 'a')"));
    }
    let behind = read(conn, &FeedCursor::beginning(), 1).cursor;
    assert!(!read(conn, &behind, 10).purged);
    // The month up to now is dropped, and what is left of it has a partition of its own.
    let now = clock(conn);
    for (table, partition, bound) in texts(
        conn,
        "SELECT p.relname || ' ' || c.relname || ' ' || (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''([0-9a-f-]+)'))[1]
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
        WHERE p.relnamespace = 'threadline'::regnamespace AND p.relkind = 'p' AND pg_get_expr(c.relpartbound, c.oid) LIKE '%(MINVALUE)%'",
    )
    .iter()
    .map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[0].to_owned(), words[1].to_owned(), words[2].to_owned())
    }) {
        run(
            conn,
            &format!("DROP TABLE threadline.{partition}; CREATE TABLE threadline.{partition} PARTITION OF threadline.{table} FOR VALUES FROM (threadline.first_id_at('{now}')) TO ('{bound}')"),
        );
    }
    let batch = read(conn, &behind, 10);
    assert_eq!((shown(&batch), batch.purged, batch.caught_up), (vec![], true, true));
    for n in 4..=5 {
        run(conn, &format!("INSERT INTO notes VALUES ({n}, 'a')"));
    }
    let batch = read(conn, &behind, 1);
    assert_eq!((shown(&batch), batch.purged), (vec!["4".to_owned()], true));
    let batch = read(conn, &batch.cursor, 1);
    assert_eq!((shown(&batch), batch.purged), (vec!["5".to_owned()], false));
    assert_eq!(drained(conn, &mut FeedCursor::beginning(), 10), ["4", "5"]);
}

#[test]
fn after_a_restore_into_another_cluster_the_feed_goes_on_where_it_was() {
    let old = audited_cluster();
    let conn = &mut old.connect("app").unwrap();
    run(conn, NOTES);
    burn(conn, 3_000);
    for n in 1..=4 {
        run(conn, &format!("INSERT INTO notes VALUES ({n}, 'old')"));
    }
    let mut cursor = read(conn, &FeedCursor::beginning(), 2).cursor;

    let new = restored(&old);
    let fresh = &mut new.connect("app").unwrap();
    assert!(
        text(fresh, "SELECT (SELECT max(xid::text::bigint) FROM threadline.audit_transactions) - pg_current_xact_id()::text::bigint")
            .parse::<i64>()
            .unwrap()
            > 1_000,
        "restored numbers lie in the future"
    );
    for cursor in [&cursor, &FeedCursor::beginning()] {
        let error = Trail::unscoped().read_feed(fresh, cursor, 10).unwrap_err();
        assert!(matches!(error, Error::TrailMoved { .. }), "{error:?}");
        assert!(error.to_string().contains("SELECT threadline.adopt_restored_trail()"), "{error}");
    }
    assert!(matches!(FeedCursor::now(fresh), Err(Error::TrailMoved { .. })));
    assert!(
        refused(fresh, "SELECT threadline.adopt_upgraded_cluster()").contains("Call adopt_restored_trail")
    );

    run(fresh, "SELECT threadline.adopt_restored_trail(); SELECT threadline.adopt_restored_trail()");
    let mut now = FeedCursor::now(fresh).unwrap();
    let mut beginning = FeedCursor::beginning();
    assert_eq!(drained(fresh, &mut beginning, 1), ["1", "2", "3", "4"]);
    run(fresh, "INSERT INTO notes VALUES (5, 'new')");
    assert_eq!(drained(fresh, &mut cursor, 1), ["3", "4", "5"]);
    assert_eq!(drained(fresh, &mut beginning, 10), ["5"]);
    // The restored numbers come round, and are nobody's news.
    burn(fresh, 4_000);
    run(fresh, "INSERT INTO notes VALUES (6, 'new')");
    for cursor in [&mut cursor, &mut beginning] {
        assert_eq!(drained(fresh, cursor, 10), ["6"]);
    }
    assert_eq!(drained(fresh, &mut now, 10), ["5", "6"]);
    assert_eq!(drained(fresh, &mut FeedCursor::beginning(), 3), ["1", "2", "3", "4", "5", "6"]);
    let last_hour = chrono::Utc::now() - chrono::TimeDelta::hours(1);
    assert_eq!(drained(fresh, &mut FeedCursor::since(last_hour), 10), ["1", "2", "3", "4", "5", "6"]);

    // The other way: a cursor of the new cluster says nothing in the old one.
    let error = Trail::unscoped().read_feed(conn, &cursor, 10).unwrap_err();
    assert!(matches!(error, Error::FeedElsewhere { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("`{cursor}`")), "{error}");
}

#[test]
fn restored_trail_that_was_written_to_is_adopted_with_an_instant() {
    let old = audited_cluster();
    let conn = &mut old.connect("app").unwrap();
    run(conn, NOTES);
    burn(conn, 3_000);
    run(conn, "INSERT INTO notes VALUES (1, 'old')");
    run(conn, "INSERT INTO notes VALUES (2, 'old')");
    let new = restored(&old);
    let fresh = &mut new.connect("app").unwrap();
    let between = clock(fresh);
    run(fresh, "INSERT INTO notes VALUES (3, 'new')");
    let said = refused(fresh, "SELECT threadline.adopt_restored_trail()");
    assert!(
        said.contains("captured in this cluster") && said.contains("an instant between the dump and"),
        "{said}"
    );
    run(fresh, &format!("SELECT threadline.adopt_restored_trail('{between}')"));
    assert_eq!(drained(fresh, &mut FeedCursor::beginning(), 10), ["1", "2", "3"]);
}

#[test]
fn upgraded_cluster_keeps_its_numbers_under_another_identifier() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    run(conn, "INSERT INTO notes VALUES (2, 'a')");
    let mut cursor = read(conn, &FeedCursor::beginning(), 1).cursor;
    // What the trail and the cursor would say if pg_upgrade had just run.
    let here = text(conn, "SELECT system_identifier FROM pg_control_system()");
    run(conn, "UPDATE threadline.trail_clusters SET cluster = 1");
    let before: FeedCursor = recode(&cursor.to_string().replace(&here, "1"));
    assert!(matches!(Trail::unscoped().read_feed(conn, &before, 10), Err(Error::TrailMoved { .. })));
    assert!(refused(conn, "SELECT threadline.adopt_restored_trail()").contains("adopt_upgraded_cluster"));
    run(conn, "SELECT threadline.adopt_upgraded_cluster()");
    run(conn, "INSERT INTO notes VALUES (3, 'a')");
    assert_eq!(drained(conn, &mut before.clone(), 10), ["2", "3"]);
    assert_eq!(drained(conn, &mut cursor, 10), ["2", "3"]);
    assert_eq!(drained(conn, &mut FeedCursor::beginning(), 10), ["1", "2", "3"]);
}

/// A cursor whose fields were changed, with the checksum it needs for that.
fn recode(text: &str) -> FeedCursor {
    let (fields, _) = text.rsplit_once('.').unwrap();
    let sum =
        fields.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{fields}.{sum:08x}").parse().unwrap()
}

#[test]
fn database_that_was_set_back_is_noticed_before_numbers_given_out_again_are_skipped() {
    let cluster = audited_cluster();
    let conn = &mut cluster.connect("app").unwrap();
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    let kept = read(conn, &FeedCursor::beginning(), 10).cursor;
    // The dump is the point it is set back to; the cluster is the same one, as after a restore to a point in time.
    cluster.create_database("earlier").unwrap();
    pipe(
        cluster.command("pg_dump", "app").arg("-Fc"),
        cluster.command("pg_restore", "earlier").args(["--exit-on-error", "-d", "earlier"]),
    );
    run(conn, "INSERT INTO notes VALUES (2, 'lost')");
    let ahead = read(conn, &kept, 10).cursor;
    let earlier = &mut cluster.connect("earlier").unwrap();
    run(earlier, "INSERT INTO notes VALUES (2, 'other')");
    let error = Trail::unscoped().read_feed(earlier, &ahead, 10).unwrap_err();
    assert!(matches!(error, Error::FeedRewound { .. }), "{error:?}");
    assert!(
        error.to_string().contains("set back") && error.to_string().contains(&ahead.to_string()),
        "{error}"
    );
    // A cursor from before that point goes on.
    assert_eq!(drained(earlier, &mut kept.clone(), 10), ["2"]);
    // Numbers that have not been reached, as of a cursor taken with nothing delivered.
    let fields = FeedCursor::now(conn).unwrap().to_string();
    let mut fields: Vec<&str> = fields.split('.').collect();
    fields[4] = "999999999";
    assert!(matches!(
        Trail::unscoped().read_feed(conn, &recode(&fields.join(".")), 10),
        Err(Error::FeedRewound { .. })
    ));
}

#[test]
fn prepared_transaction_holds_the_feed_back_and_is_named() {
    let cluster = Cluster::start_with(&[("max_prepared_transactions", "2")]).unwrap();
    let conn = &mut cluster.connect("postgres").unwrap();
    for migration in threadline::CORE_MIGRATIONS {
        run(conn, migration.up);
    }
    run(conn, NOTES);
    run(conn, "BEGIN; INSERT INTO notes VALUES (1, 'a'); PREPARE TRANSACTION 'half'");
    run(conn, "INSERT INTO notes VALUES (2, 'a')");
    let mut cursor = FeedCursor::beginning();
    assert_eq!(drained(conn, &mut cursor, 10), [""; 0]);
    let hold = feed_hold(conn).unwrap().unwrap();
    assert_eq!((hold.prepared.as_deref(), hold.pid), (Some("half"), None));
    assert!(hold.since.is_some());
    run(conn, "COMMIT PREPARED 'half'");
    assert_eq!(drained(conn, &mut cursor, 10), ["1", "2"]);
}

#[test]
fn commits_notify_only_when_asked_to() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, NOTES);
    let listener = &mut db.connect();
    listen_for_feed(listener).unwrap();
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    assert!(!wait_for_feed(listener, Duration::from_millis(60)).unwrap());

    run(conn, "SELECT threadline.enable_feed_notify(); SELECT threadline.enable_feed_notify()");
    run(conn, "BEGIN; INSERT INTO notes VALUES (2, 'a')");
    assert!(!wait_for_feed(listener, Duration::from_millis(60)).unwrap(), "not before the commit");
    run(conn, "COMMIT");
    let began = Instant::now();
    assert!(wait_for_feed(listener, Duration::from_secs(20)).unwrap());
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!wait_for_feed(listener, Duration::ZERO).unwrap(), "a transaction notifies once");
    run(conn, "BEGIN; INSERT INTO notes VALUES (3, 'a'); ROLLBACK");
    assert!(!wait_for_feed(listener, Duration::from_millis(60)).unwrap());
    AuditContext::new(Actor::user(7)).record_action(conn, &Action::new("login.refused")).unwrap();
    assert!(wait_for_feed(listener, Duration::from_secs(20)).unwrap());

    run(conn, "SELECT threadline.disable_feed_notify(); SELECT threadline.disable_feed_notify()");
    run(conn, "INSERT INTO notes VALUES (4, 'a')");
    assert!(!wait_for_feed(listener, Duration::from_millis(60)).unwrap());
    // A role of the application's own can write while it is on, and cannot switch it.
    run(conn, "SELECT threadline.enable_feed_notify()");
    let app = TestRole::new(&db, "app");
    run(conn, &format!("GRANT INSERT ON notes TO {}", app.name()));
    let app = &mut app.connect();
    run(app, "INSERT INTO public.notes VALUES (5, 'a')");
    assert!(wait_for_feed(listener, Duration::from_secs(20)).unwrap());
    for function in ["disable_feed_notify", "adopt_restored_trail", "adopt_upgraded_cluster"] {
        assert!(refused(app, &format!("SELECT threadline.{function}()")).contains("permission denied"));
    }
}

#[test]
fn reading_takes_select_and_nothing_else() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    run(conn, "INSERT INTO notes VALUES (1, 'a')");
    AuditContext::new(Actor::user(7)).record_action(conn, &Action::new("login.refused")).unwrap();
    run(conn, "CREATE ROLE siem");
    let reader = &mut app(&db);
    run(reader, "SET SESSION AUTHORIZATION siem");
    assert!(Trail::unscoped().read_feed(reader, &FeedCursor::beginning(), 10).is_err(), "not without SELECT");
    run(conn, "GRANT SELECT ON ALL TABLES IN SCHEMA threadline TO siem");
    run(reader, "SET default_transaction_read_only = on");
    let mut cursor = FeedCursor::beginning();
    assert_eq!(drained(reader, &mut cursor, 10), ["1", "alone: login.refused"]);
    assert_eq!(drained(reader, &mut cursor, 10), [""; 0]);
    let mut now = FeedCursor::now(reader).unwrap();
    assert_eq!(drained(reader, &mut now, 10), [""; 0]);
    // It sees what holds the feed back, and not since when.
    let slow = &mut app(&db);
    run(slow, "BEGIN; INSERT INTO notes VALUES (2, 'a')");
    assert_eq!(feed_hold(reader).unwrap(), None, "nothing waits for it");
    run(conn, "INSERT INTO notes VALUES (3, 'a')");
    let hold = feed_hold(reader).unwrap().unwrap();
    assert_eq!(hold.pid, Some(text(slow, "SELECT pg_backend_pid()").parse().unwrap()));
    assert_eq!((hold.since, hold.prepared), (None, None));
}

#[test]
fn reading_walks_indexes_and_scans_nothing() {
    let db = audited_cluster();
    let conn = &mut app(&db);
    run(conn, NOTES);
    run(
        conn,
        "DO $$ BEGIN FOR n IN 1..2000 LOOP INSERT INTO notes VALUES (n, 'a'), (-n, 'b');
            PERFORM threadline.record_action('{\"actor\": {\"type\": \"system\", \"id\": \"s\"}}', '{\"name\": \"x\"}'); COMMIT; END LOOP; END $$",
    );
    run(conn, "INSERT INTO notes SELECT n, 'c' FROM generate_series(10001, 22000) n");
    run(conn, "ANALYZE threadline.audit_transactions, threadline.audit_changes, threadline.audit_actions");
    let scans = "SELECT concat_ws(' ', sum(seq_scan), sum(idx_scan) > 0) FROM pg_stat_xact_all_tables
        WHERE schemaname = 'threadline' AND relname ~ '^audit_(transactions|changes|actions)'
            AND pg_relation_size(relid) > 0";
    let fetched = "SELECT sum(idx_tup_fetch) FROM pg_stat_xact_all_tables WHERE schemaname = 'threadline' AND relname ~ '^audit_changes'";
    let mut cursor = FeedCursor::beginning();
    let mut entries = 0;
    loop {
        run(conn, "BEGIN");
        let before: i64 = text(conn, fetched).parse().unwrap();
        let batch = read(conn, &cursor, 500);
        assert_eq!(text(conn, scans), "0 t", "{cursor}");
        let read = text(conn, fetched).parse::<i64>().unwrap() - before;
        assert!(read <= 1_100, "{read} changes were fetched for a batch of 500");
        run(conn, "COMMIT");
        entries += batch.entries.len();
        cursor = batch.cursor;
        if batch.caught_up {
            break;
        }
    }
    assert_eq!(entries, 2_000 + 24);
    // In two minutes, so that all of it lies more than one minute before.
    for cursor in [cursor, FeedCursor::since(chrono::Utc::now() + chrono::TimeDelta::minutes(2))] {
        run(conn, "BEGIN");
        let batch = read(conn, &cursor, 500);
        assert!(batch.caught_up);
        assert_eq!(text(conn, scans), "0 t", "{cursor}");
        run(conn, "COMMIT");
    }
}
