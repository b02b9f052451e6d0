//! For any table and any writes, under any session settings: a change is recorded if and only if stored bytes differ, and
//! folding back gives every state a shadow copy has seen.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::PgConnection;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};
use threadline::{AsOf, Json, RowImage, RowState};
use threadline_tests::{as_of, audited_database, clock, history, run, texts};

use crate::types::{AS_TEXT, CANONICAL, CREATE_TYPES, TYPES};

/// Sessions as a host, a pool or a colleague may leave them.
const SETTINGS: &[&str] = &[
    "SET TimeZone = 'Asia/Kathmandu'",
    "SET TimeZone = 'America/St_Johns'",
    "SET DateStyle = 'German, DMY'",
    "SET DateStyle = 'SQL, MDY'",
    "SET DateStyle = 'Postgres, DMY'",
    "SET IntervalStyle = 'sql_standard'",
    "SET IntervalStyle = 'iso_8601'",
    "SET IntervalStyle = 'postgres_verbose'",
    "SET extra_float_digits = -15",
    "SET extra_float_digits = 0",
    "SET bytea_output = 'escape'",
    "SET search_path = ''",
    "SET search_path = pg_temp, public",
    "SET default_transaction_isolation = 'serializable'",
    "SET plan_cache_mode = 'force_generic_plan'",
    "SET jit_above_cost = 0",
    "SET array_nulls = on",
    "SET xmlbinary = 'hex'",
    "SET quote_all_identifiers = on",
    "RESET ALL",
];

const KEYS: std::ops::Range<i32> = 1..4;

/// A value is a place in its type's list, NULL beyond it.
#[derive(Clone, Debug)]
enum Write {
    Insert(i32, Vec<usize>),
    Upsert(i32, Vec<usize>),
    Update(i32, usize, usize),
    UpdateAll(Vec<usize>),
    Touch,
    Delete(i32),
    Move(i32, i32),
    /// Left and reached again within one transaction.
    Twice(i32, usize, usize, usize),
}

fn write() -> impl Strategy<Value = Write> {
    let values = || prop::collection::vec(0..9_usize, 8);
    prop_oneof![
        3 => (KEYS, values()).prop_map(|(key, values)| Write::Insert(key, values)),
        2 => (KEYS, values()).prop_map(|(key, values)| Write::Upsert(key, values)),
        6 => (KEYS, 0..8_usize, 0..9_usize).prop_map(|(key, column, value)| Write::Update(key, column, value)),
        1 => values().prop_map(Write::UpdateAll),
        1 => Just(Write::Touch),
        1 => KEYS.prop_map(Write::Delete),
        1 => (KEYS, KEYS).prop_map(|(from, to)| Write::Move(from, to)),
        1 => (KEYS, 0..8_usize, 0..9_usize, 0..9_usize).prop_map(|(key, column, a, b)| Write::Twice(key, column, a, b)),
    ]
}

struct Table {
    name: String,
    types: Vec<usize>,
}

impl Table {
    fn create(&self, conn: &mut PgConnection) {
        let columns: Vec<String> = self
            .types
            .iter()
            .enumerate()
            .map(|(column, of_type)| format!("c{column} {}", TYPES[*of_type].0))
            .collect();
        run(
            conn,
            &format!(
                "CREATE TABLE {0} (id integer PRIMARY KEY, {1}); SELECT threadline.attach('{0}')",
                self.name,
                columns.join(", ")
            ),
        );
    }

    fn literal(&self, column: usize, value: usize) -> String {
        match TYPES[self.types[column]].1.get(value) {
            Some(value) => format!("'{}'", value.replace('\'', "''")),
            None => "NULL".to_owned(),
        }
    }

    fn literals(&self, values: &[usize]) -> Vec<String> {
        (0..self.types.len()).map(|column| self.literal(column, values[column])).collect()
    }

    fn sql(&self, write: &Write) -> String {
        let table = format!("public.{}", self.name);
        let set = |values: &[usize]| {
            let pairs = self
                .literals(values)
                .into_iter()
                .enumerate()
                .map(|(column, value)| format!("c{column} = {value}"));
            pairs.collect::<Vec<_>>().join(", ")
        };
        let one = |column: usize, value: usize| {
            let column = column % self.types.len();
            format!("c{column} = {}", self.literal(column, value))
        };
        match write {
            Write::Insert(key, values) => {
                format!(
                    "INSERT INTO {table} VALUES ({key}, {}) ON CONFLICT DO NOTHING",
                    self.literals(values).join(", ")
                )
            }
            Write::Upsert(key, values) => {
                format!("INSERT INTO {table} VALUES ({key}) ON CONFLICT (id) DO UPDATE SET {}", set(values))
            }
            Write::Update(key, column, value) => {
                format!("UPDATE {table} SET {} WHERE id = {key}", one(*column, *value))
            }
            Write::UpdateAll(values) => format!("UPDATE {table} SET {}", set(values)),
            Write::Touch => format!("UPDATE {table} SET c0 = c0, id = id"),
            Write::Delete(key) => format!("DELETE FROM {table} WHERE id = {key}"),
            Write::Move(from, to) => {
                format!(
                    "UPDATE {table} SET id = {to} WHERE id = {from} AND NOT EXISTS (SELECT FROM {table} WHERE id = {to})"
                )
            }
            Write::Twice(key, column, first, second) => format!(
                "BEGIN; UPDATE {table} SET {} WHERE id = {key}; UPDATE {table} SET {} WHERE id = {key}; COMMIT",
                one(*column, *first),
                one(*column, *second)
            ),
        }
    }

    /// Every row now: key, canonical image, and the bytes as each type sends them.
    fn rows(&self, conn: &mut PgConnection) -> BTreeMap<i32, (String, String)> {
        let members = self.types.iter().enumerate().map(|(column, of_type)| {
            let text = if AS_TEXT.contains(&TYPES[*of_type].0) { "::text" } else { "" };
            format!("'c{column}', to_jsonb(c{column}{text})")
        });
        let members = members.collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT id || E'\\t' || encode(record_send(t), 'hex') || E'\\t' || jsonb_build_object('id', id, {members}) FROM {} t",
            self.name
        );
        let rows = texts(conn, &sql);
        rows.iter()
            .map(|row| {
                let mut parts = row.splitn(3, '\t');
                let mut next = || parts.next().unwrap().to_owned();
                let (key, sent, image) = (next(), next(), next());
                let image: BTreeMap<String, Json> = serde_json::from_str(&image).unwrap();
                (key.parse().unwrap(), (serde_json::to_string(&image).unwrap(), sent))
            })
            .collect()
    }
}

fn shown(image: &RowImage) -> String {
    serde_json::to_string(&image.columns).unwrap()
}

/// What one key held right after each step that changed it, and at which instants.
type States = Vec<(DateTime<Utc>, Option<String>)>;

fn check(
    db: &threadline_devdb::TestDatabase,
    table: &Table,
    writes: &[(Write, usize)],
) -> Result<(), TestCaseError> {
    let (host, reader) = (&mut db.connect(), &mut db.connect());
    run(reader, CANONICAL);
    table.create(reader);
    let mut states: BTreeMap<i32, States> = KEYS.map(|key| (key, vec![(clock(reader), None)])).collect();
    let mut before = BTreeMap::new();
    let recorded = format!(
        "SELECT count(*) FROM threadline.audit_changes WHERE table_id = threadline.table_id('{}'::regclass)",
        table.name
    );
    let mut count = 0;
    for (write, setting) in writes {
        run(host, SETTINGS[*setting]);
        let sql = table.sql(write);
        run(host, &sql);
        let after = table.rows(reader);
        let now = clock(reader);
        let mut changed = 0;
        for key in KEYS {
            let (was, is) = (before.get(&key), after.get(&key));
            if was.map(|(_, sent): &(String, String)| sent) != is.map(|(_, sent)| sent) {
                changed += 1;
                states.get_mut(&key).unwrap().push((now, is.map(|(image, _)| image.clone())));
            }
        }
        let total: usize = texts(reader, &recorded)[0].parse().unwrap();
        match write {
            // One change, two keys.
            Write::Move(..) if changed == 2 => prop_assert_eq!(total - count, 1, "{}", sql),
            // The first of the two may have been undone by the second.
            Write::Twice(..) => prop_assert!(
                (changed..=2).contains(&(total - count)),
                "{}: {} new changes",
                sql,
                total - count
            ),
            _ => prop_assert_eq!(
                total - count,
                changed,
                "recorded if and only if stored bytes differ: {}",
                sql
            ),
        }
        count = total;
        before = after;
    }
    for (key, states) in &states {
        let name = format!("id={key}");
        let history = history(host, &format!("public.{}", table.name), &name);
        let mut folded: Vec<Option<String>> = Vec::new();
        for version in history.versions.iter().rev() {
            prop_assert!(!version.gap, "a gap at {:?}", version.change);
            for state in [&version.before, &version.after] {
                let state = match state {
                    RowState::Present(image) => Some(shown(image)),
                    RowState::Absent => None,
                    other => return Err(TestCaseError::fail(format!("not wholly known: {other:?}"))),
                };
                if folded.last() != Some(&state) {
                    folded.push(state);
                }
            }
        }
        // Values that differ in bytes alone show alike; a state inside a transaction was never seen from outside.
        let mut seen: Vec<&Option<String>> = states.iter().map(|(_, state)| state).collect();
        seen.dedup();
        if folded.is_empty() {
            prop_assert_eq!(seen.len(), 1);
        }
        let mut folded = folded.iter();
        for state in seen.iter().skip(usize::from(folded.len() == 0)) {
            prop_assert!(
                folded.any(|folded| folded == *state),
                "{} is missing in the history of key {}",
                state.as_deref().unwrap_or("-"),
                key
            );
        }
        for (at, state) in states {
            let then = match as_of(reader, &table.name, &name, *at) {
                AsOf::Present(image) => Some(shown(&image)),
                AsOf::Deleted { .. } | AsOf::NotCreated => None,
                other => return Err(TestCaseError::fail(format!("{other:?} for key {key}"))),
            };
            prop_assert_eq!(&then, state, "as of {} for key {}", at, key);
        }
    }
    Ok(())
}

#[test]
fn any_writes_fold_back_to_every_state_and_only_changed_bytes_are_recorded() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, CREATE_TYPES);
    // Every type once, whatever the random tables choose.
    for (number, chunk) in (0..TYPES.len()).collect::<Vec<_>>().chunks(8).enumerate() {
        let table = Table { name: format!("every_{number}"), types: chunk.to_vec() };
        let mut writes = vec![(Write::Insert(1, vec![9; 8]), 19)];
        for value in 0..9 {
            let setting = (number + value * 3) % SETTINGS.len();
            writes.push((Write::UpdateAll(vec![value; 8]), setting));
            writes.push((Write::UpdateAll(vec![value; 8]), setting));
            writes.push((Write::Insert(2, vec![value; 8]), setting));
            writes.push((Write::Delete(2), setting));
        }
        check(&db, &table, &writes).unwrap_or_else(|error| {
            panic!("{error}: {:?}", chunk.iter().map(|of_type| TYPES[*of_type].0).collect::<Vec<_>>())
        });
    }
    let number = std::cell::Cell::new(0);
    let case = (
        prop::collection::vec(0..TYPES.len(), 1..8),
        prop::collection::vec((write(), 0..SETTINGS.len()), 1..16),
    );
    let config = Config { cases: 32, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let result = proptest::test_runner::TestRunner::new(config).run(&case, |(types, writes)| {
        number.set(number.get() + 1);
        check(&db, &Table { name: format!("random_{}", number.get()), types }, &writes)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
