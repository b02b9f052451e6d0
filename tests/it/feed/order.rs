//! In which order, and in which pieces, transactions are delivered.

use super::*;

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
