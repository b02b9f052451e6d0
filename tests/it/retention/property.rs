//! Over random workloads, windows, holds and runs: what goes is what the rules say, and every answer about the past is the
//! shadow copy's or none.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::PgConnection;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use threadline::holds::{self, Hold};
use threadline::retention::{self, RetentionPolicy};
use threadline::{Actor, AsOf, Error, PastProblem, Trail, Travel};
use threadline_tests::{audited_database, clock, row_key, run, table, text, texts};

use super::model::{self, Cutoffs, Model};
use super::{operator, retain, since, split_time};

#[derive(Clone, Debug)]
enum Step {
    /// A transaction of one actor's, with an action or without.
    Write(u8, Option<u8>, Vec<Write>),
    /// A transaction of another session begins and writes; or goes on, and commits.
    Other(bool),
    /// An action on its own.
    Action(u8, u8),
}

#[derive(Clone, Debug)]
enum Write {
    Put(u8, i32, i32),
    Delete(u8, i32),
    Move(u8, i32, i32),
    Bulk(u8),
}

/// Windows by the number of the instant they end at, and what is held meanwhile.
#[derive(Clone, Debug)]
struct Purge {
    keep: Option<usize>,
    own: Option<usize>,
    actions: Option<usize>,
    holds: Vec<Pin>,
    batch_rows: u32,
}

#[derive(Clone, Debug)]
enum Pin {
    Table(u8),
    Row(u8, i32),
    Scope(i32),
    Actor(u8),
    Time(usize, usize),
    ActorInTable(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let write = prop_oneof![
        6 => (0..2_u8, 1..6_i32, 0..9_i32).prop_map(|(table, id, v)| Write::Put(table, id, v)),
        2 => (0..2_u8, 1..6_i32).prop_map(|(table, id)| Write::Delete(table, id)),
        2 => (0..2_u8, 1..6_i32, 1..6_i32).prop_map(|(table, from, to)| Write::Move(table, from, to)),
        1 => (0..2_u8).prop_map(Write::Bulk),
    ];
    prop_oneof![
        6 => (0..3_u8, prop::option::of(0..2_u8), prop::collection::vec(write, 1..5)).prop_map(|(actor, action, writes)| Step::Write(actor, action, writes)),
        3 => any::<bool>().prop_map(Step::Other),
        1 => (0..3_u8, 0..2_u8).prop_map(|(actor, action)| Step::Action(actor, action)),
    ]
}

fn purge() -> impl Strategy<Value = Purge> {
    let pin = prop_oneof![
        (0..2_u8).prop_map(Pin::Table),
        (0..2_u8, 1..6_i32).prop_map(|(table, id)| Pin::Row(table, id)),
        (0..3_i32).prop_map(Pin::Scope),
        (0..3_u8).prop_map(Pin::Actor),
        (0..30_usize, 0..30_usize).prop_map(|(from, to)| Pin::Time(from.min(to), from.max(to))),
        (0..3_u8, 0..2_u8).prop_map(|(actor, table)| Pin::ActorInTable(actor, table)),
    ];
    let instant = || prop::option::weighted(0.8, 0..30_usize);
    (
        instant(),
        instant(),
        prop::option::weighted(0.3, 0..30_usize),
        prop::collection::vec(pin, 0..2),
        1..8_u32,
    )
        .prop_map(|(keep, own, actions, holds, batch_rows)| Purge {
            keep,
            own,
            actions,
            holds,
            batch_rows,
        })
}

const TABLES: [&str; 2] = ["alphas", "betas"];

impl Write {
    fn sql(&self) -> String {
        match self {
            Self::Put(table, id, v) => {
                let table = TABLES[usize::from(*table)];
                format!(
                    "INSERT INTO {table} VALUES ({id}, {v}, {v} % 3) ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v, org = EXCLUDED.org"
                )
            }
            Self::Delete(table, id) => format!("DELETE FROM {} WHERE id = {id}", TABLES[usize::from(*table)]),
            Self::Move(table, from, to) => {
                let table = TABLES[usize::from(*table)];
                format!(
                    "UPDATE {table} SET id = {to} WHERE id = {from} AND NOT EXISTS (SELECT FROM {table} WHERE id = {to})"
                )
            }
            Self::Bulk(table) => {
                format!("UPDATE {} SET v = v + 1 WHERE id < 900", TABLES[usize::from(*table)])
            }
        }
    }
}

const WORLD: &str = "CREATE TABLE alphas (id integer PRIMARY KEY, v integer, org integer); CREATE TABLE betas (LIKE alphas INCLUDING ALL);
    INSERT INTO alphas SELECT i, i, i % 3 FROM generate_series(1, 3) i; INSERT INTO betas SELECT i, i, 0 FROM generate_series(1, 2) i; INSERT INTO betas VALUES (900, 0, 0);
    SELECT threadline.attach('alphas', scope => 'org'); SELECT threadline.attach('betas'); CREATE SCHEMA shadow";

fn action(number: u8) -> String {
    format!("act.{number}")
}

fn actor(number: u8) -> Actor {
    Actor::user(i32::from(number))
}

fn check(steps: &[Step], purges: &[Purge]) -> Result<(), TestCaseError> {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    run(conn, WORLD);
    split_time(conn, 12, Duration::from_millis(60));
    let mut instants = Vec::new();
    let mut open = false;
    // Its last changes are in the one table or in the other.
    let finish = |other: &mut PgConnection, number: usize| {
        run(
            other,
            &format!(
                "UPDATE {} SET v = v + 1 WHERE id = (SELECT min(id) FROM {0}); COMMIT",
                TABLES[number % 2]
            ),
        );
    };
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Write(who, act, writes) => {
                let writes: Vec<String> = writes.iter().map(Write::sql).collect();
                let context = serde_json::json!({"actor": actor(*who)});
                let act = act.map(|act| {
                    format!(
                        "SELECT threadline.record_action('{context}', '{{\"name\": \"{}\"}}')",
                        action(act)
                    )
                });
                // Not what the other session has locked.
                if open {
                    finish(other, number);
                    open = false;
                }
                run(
                    conn,
                    &format!(
                        "BEGIN; SELECT threadline.set_context('{context}'); {}; {}; COMMIT",
                        writes.join("; "),
                        act.unwrap_or_default()
                    ),
                );
            }
            Step::Other(commits) => {
                if !open {
                    run(other, "BEGIN");
                    open = true;
                }
                run(
                    other,
                    "UPDATE betas SET v = v + 1 WHERE id = 900; INSERT INTO alphas VALUES (901, 0, 1) ON CONFLICT (id) DO UPDATE SET v = alphas.v + 1",
                );
                if *commits {
                    finish(other, number);
                    open = false;
                }
            }
            Step::Action(who, act) => {
                let context = serde_json::json!({"actor": actor(*who)});
                run(
                    conn,
                    &format!(
                        "SELECT threadline.record_action('{context}', '{{\"name\": \"{}\"}}')",
                        action(*act)
                    ),
                );
            }
        }
        for name in TABLES {
            run(conn, &format!("CREATE TABLE shadow.{name}_{number} AS TABLE {name}"));
        }
        instants.push(clock(conn));
        std::thread::sleep(Duration::from_millis(30));
    }
    if open {
        finish(other, 0);
    }
    std::thread::sleep(Duration::from_millis(5));
    let mut model = Model::read(conn);
    for purge in purges {
        let at = |number: usize| {
            instants[number % instants.len()] + chrono::TimeDelta::milliseconds((number % 3) as i64 * 7 - 7)
        };
        let betas = text(conn, "SELECT threadline.table_id('betas'::regclass)");
        let windows =
            [purge.keep, purge.own, purge.actions].map(|number| number.map(|number| since(at(number))));
        let mut policy =
            RetentionPolicy::new().minimum(Duration::ZERO).pause(Duration::ZERO).batch_rows(purge.batch_rows);
        if let Some(keep) = windows[0] {
            policy = policy.keep(keep);
        }
        if let Some(own) = windows[1] {
            policy = policy.table(table("betas"), own);
        }
        if let Some(own) = windows[2] {
            policy = policy.action(action(1), own);
        }
        let (mut placed, mut pins) = (Vec::new(), Vec::new());
        for pin in &purge.holds {
            let (hold, pin) = pinned(conn, pin, &instants);
            placed.push(holds::place(conn, &hold, &operator()).unwrap().hold);
            pins.push(pin);
        }
        let forecast = retention::plan(conn, &policy, false).unwrap();
        let before = model.clone();
        let done = retain(conn, &policy);
        let cutoffs = Cutoffs::of_last_run(conn);
        model.purge(&cutoffs, &pins);
        let now = Model::read(conn);
        prop_assert_eq!(now.contents(), model.contents(), "after {:?}", purge);
        let gone = (before.changes.len() - model.changes.len()) as u64;
        prop_assert_eq!(done.changes, gone);
        prop_assert_eq!((before.actions.len() - model.actions.len()) as u64, done.actions);
        prop_assert_eq!((before.transactions.len() - model.transactions.len()) as u64, done.transactions);
        // The plan was for a moment before.
        let then = windows.map(|window| window.map(|window| forecast.at - window));
        let (own, named) = (then[1].map(|at| (betas.as_str(), at)), then[2].map(|at| ("act.1", at)));
        let mut planned = before.clone();
        planned.purge(&Cutoffs::new(then[0], own.as_slice(), named.as_slice()), &pins);
        prop_assert_eq!(
            (
                forecast.months.iter().map(|month| month.changes).sum::<u64>()
                    + forecast
                        .thinned
                        .iter()
                        .flat_map(|month| &month.changes)
                        .map(|(_, count)| count)
                        .sum::<u64>(),
                forecast.months.iter().map(|month| month.actions).sum::<u64>()
                    + forecast.thinned.iter().map(|month| month.actions).sum::<u64>(),
                forecast.months.iter().map(|month| month.transactions).sum::<u64>()
                    + forecast.thinned.iter().map(|month| month.transactions).sum::<u64>(),
            ),
            (
                (before.changes.len() - planned.changes.len()) as u64,
                (before.actions.len() - planned.actions.len()) as u64,
                (before.transactions.len() - planned.transactions.len()) as u64,
            ),
            "{:?}",
            forecast
        );
        // What goes with a change goes with it.
        prop_assert_eq!(
            texts(conn, "SELECT 'key ' || m.transaction_id FROM threadline.audit_key_changes m WHERE NOT EXISTS (SELECT FROM threadline.audit_changes c WHERE (c.transaction_id, c.ordinal) = (m.transaction_id, m.ordinal))
                UNION ALL SELECT 'departure ' || d.transaction_id FROM threadline.audit_departures d WHERE NOT EXISTS (SELECT FROM threadline.audit_changes c WHERE (c.transaction_id, c.ordinal) = (d.transaction_id, d.ordinal))
                UNION ALL SELECT 'change ' || c.transaction_id FROM threadline.audit_changes c WHERE NOT EXISTS (SELECT FROM threadline.audit_transactions t WHERE t.id = c.transaction_id)"),
            Vec::<String>::new()
        );
        check_past(conn, &instants, &cutoffs)?;
        for hold in placed {
            holds::release(conn, hold.id, &operator(), "over").unwrap();
        }
    }
    Ok(())
}

fn pinned(conn: &mut PgConnection, pin: &Pin, instants: &[DateTime<Utc>]) -> (Hold, model::Hold) {
    let id = |conn: &mut PgConnection, name: u8| {
        text(conn, &format!("SELECT threadline.table_id('{}'::regclass)", TABLES[usize::from(name)]))
    };
    let name = |number: u8| table(TABLES[usize::from(number)]);
    let hold = Hold::new("test");
    let none = model::Hold::default();
    match pin {
        Pin::Table(number) => {
            (hold.table(name(*number)), model::Hold { table: Some(id(conn, *number)), ..none })
        }
        Pin::Row(number, key) => (
            hold.row(name(*number), row_key(&format!("id={key}"))),
            model::Hold { table: Some(id(conn, *number)), key: Some(key.to_string()), ..none },
        ),
        Pin::Scope(org) => {
            (hold.scope(org.to_string()), model::Hold { scope: Some(org.to_string()), ..none })
        }
        Pin::Actor(number) => {
            (hold.actor(actor(*number)), model::Hold { actor: Some(actor(*number).to_string()), ..none })
        }
        Pin::Time(from, to) => {
            let (from, to) = (instants[from % instants.len()], instants[to % instants.len()]);
            let (from, to) = (from.min(to), from.max(to));
            (hold.from(from).to(to), model::Hold { from: Some(from), to: Some(to), ..none })
        }
        Pin::ActorInTable(who, number) => (
            hold.actor(actor(*who)).table(name(*number)),
            model::Hold { actor: Some(actor(*who).to_string()), table: Some(id(conn, *number)), ..none },
        ),
    }
}

/// Every answer is the shadow copy's, or that it is not known; and from each table's window on it is known.
fn check_past(
    conn: &mut PgConnection,
    instants: &[DateTime<Utc>],
    cutoffs: &Cutoffs,
) -> Result<(), TestCaseError> {
    for name in TABLES {
        let id = text(conn, &format!("SELECT threadline.table_id('{name}'::regclass)"));
        let cutoff = cutoffs.of_table(&id);
        for (number, at) in instants.iter().enumerate() {
            let shadow: BTreeMap<String, String> =
                texts(conn, &format!("SELECT id || ' ' || to_jsonb(t) FROM shadow.{name}_{number} t"))
                    .iter()
                    .map(|line| {
                        line.split_once(' ').map(|(id, row)| (id.to_owned(), row.to_owned())).unwrap()
                    })
                    .collect();
            let travelled = Travel::to(*at).run(conn, |conn| {
                use diesel::prelude::*;
                #[derive(QueryableByName)]
                struct Row {
                    #[diesel(sql_type = diesel::sql_types::Text)]
                    row: String,
                }
                let rows: Vec<Row> =
                    diesel::sql_query(format!("SELECT id || ' ' || to_jsonb(t) AS row FROM {name} t"))
                        .load(conn)?;
                Ok::<_, Error>(
                    rows.into_iter()
                        .map(|row| {
                            row.row.split_once(' ').map(|(id, row)| (id.to_owned(), row.to_owned())).unwrap()
                        })
                        .collect::<BTreeMap<_, _>>(),
                )
            });
            let known = match travelled {
                Ok(rows) => {
                    prop_assert_eq!(&rows, &shadow, "{} at {}", name, number);
                    true
                }
                Err(Error::UnknownPast { reason: PastProblem::BeforeHorizon, .. }) => false,
                Err(error) => return Err(TestCaseError::fail(format!("{name} at {number}: {error:?}"))),
            };
            // The window is the longest that can have been in force: a window that was longer before leaves more, not less.
            prop_assert!(
                known || cutoff.is_none_or(|cutoff| *at < cutoff) || ever_before(conn, &id, *at),
                "{} at {} of {:?}",
                name,
                at,
                cutoff
            );
            let mut whole = BTreeMap::new();
            let all = Trail::unscoped().table_as_of(conn, &table(name), *at, |row| {
                whole.insert(row.row_key, row.image);
                Ok(())
            });
            match all {
                Ok(()) => {
                    prop_assert_eq!(whole.keys().collect::<Vec<_>>(), shadow.keys().collect::<Vec<_>>());
                }
                Err(Error::UnknownPast { reason: PastProblem::BeforeHorizon, .. }) => prop_assert!(!known),
                Err(error) => return Err(TestCaseError::fail(format!("{name} at {number}: {error:?}"))),
            }
            for key in (1..7).chain([900, 901]) {
                let one = Trail::unscoped()
                    .row_as_of(conn, &table(name), &row_key(&format!("id={key}")), *at)
                    .unwrap();
                match one {
                    AsOf::BeforeHorizon { horizon } => prop_assert!(!known && *at < horizon),
                    AsOf::Present(image) => {
                        let row: serde_json::Value = serde_json::to_value(&image.columns).unwrap();
                        let copy: Option<serde_json::Value> =
                            shadow.get(&key.to_string()).map(|row| serde_json::from_str(row).unwrap());
                        prop_assert_eq!(Some(row), copy, "{} {} at {}", name, key, number);
                        prop_assert!(known);
                    }
                    AsOf::Deleted { .. } | AsOf::NotCreated => {
                        prop_assert!(
                            known && !shadow.contains_key(&key.to_string()),
                            "{} {} at {}",
                            name,
                            key,
                            number
                        );
                    }
                    answer => {
                        return Err(TestCaseError::fail(format!("{name} {key} at {number}: {answer:?}")));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Whether an earlier run took what ended after the instant.
fn ever_before(conn: &mut PgConnection, table_id: &str, at: DateTime<Utc>) -> bool {
    text(
        conn,
        &format!(
            "SELECT coalesce(bool_or((CASE WHEN policy -> 'tables' ? '{table_id}' THEN policy -> 'tables' ->> '{table_id}' ELSE policy ->> 'keep' END)::timestamptz > '{}'), false) FROM threadline.retention_runs",
            at.to_rfc3339()
        ),
    ) == "true"
}

#[test]
fn what_goes_is_what_the_rules_say_and_no_answer_about_the_past_is_wrong() {
    let cases = std::env::var("RETENTION_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(12);
    let config = Config { cases, max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let workload = (prop::collection::vec(step(), 3..22), prop::collection::vec(purge(), 1..4));
    if let Err(error) =
        TestRunner::new_with_rng(config, random).run(&workload, |(steps, purges)| check(&steps, &purges))
    {
        panic!("{error}");
    }
}
