//! For any writes, captured or not, and baselines anywhere among them: what is told of a row is what a shadow copy has seen, and
//! it is told wherever a baseline stands between it and what escaped.

use std::cell::Cell;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};
use threadline::AsOf;
use threadline_tests::{as_of, audited_database, clock, run, texts};

use super::{record, unseen};

#[derive(Clone, Copy, Debug)]
enum Step {
    Upsert(i32),
    Delete(i32),
    Move(i32, i32),
    Truncate,
    Unseen(i32),
    UnseenDelete(i32),
    Baseline,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 1..4_i32;
    prop_oneof![
        6 => key.clone().prop_map(Step::Upsert),
        2 => key.clone().prop_map(Step::Delete),
        2 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Move(from, to)),
        1 => Just(Step::Truncate),
        2 => key.clone().prop_map(Step::Unseen),
        1 => key.prop_map(Step::UnseenDelete),
        3 => Just(Step::Baseline),
    ]
}

/// What the table held at an instant, by key.
type Shadow = BTreeMap<i32, String>;

/// How the trail knows of a key between two instants of the shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing touched it.
    Still,
    /// A change of it was captured.
    Change,
    /// The table was truncated, which does not say what it found.
    Truncate,
    /// A write to it escaped.
    Escaped,
    Baseline,
}

#[test]
fn from_a_baseline_to_the_next_gap_every_row_is_told_and_never_wrongly() {
    let db = audited_database();
    let (cases, told, refused) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |of: &Cell<u32>| of.set(of.get() + 1);
    let config = Config { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..Config::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 6..14))| {
        let conn = &mut db.connect();
        count(&cases);
        run(conn, "DROP TABLE IF EXISTS notes; CREATE TABLE notes (id integer PRIMARY KEY, v integer, w integer)");
        run(conn, "INSERT INTO notes VALUES (1, -1, -1), (2, -2, -2); SELECT threadline.attach('notes')");
        let mut instants: Vec<(DateTime<Utc>, Shadow)> = vec![(clock(conn), shadow(conn))];
        let mut between: Vec<BTreeMap<i32, Known>> = Vec::new();
        for (place, step) in steps.iter().enumerate() {
            let before = instants.last().unwrap().1.clone();
            let (sql, seen) = match *step {
                // All columns, and no value twice: what a change says of a row is then all of it.
                Step::Upsert(key) => (format!("INSERT INTO notes VALUES ({key}, {place}, {place}) ON CONFLICT (id) DO UPDATE SET v = {place}, w = {place}"), true),
                Step::Delete(key) => (format!("DELETE FROM notes WHERE id = {key}"), true),
                Step::Move(from, to) => (format!("UPDATE notes SET id = {to}, v = {place}, w = {place} WHERE id = {from} AND NOT EXISTS (SELECT FROM notes WHERE id = {to})"), true),
                Step::Truncate => ("TRUNCATE notes".to_owned(), true),
                Step::Unseen(key) => (format!("INSERT INTO notes VALUES ({key}, {place}, {place}) ON CONFLICT (id) DO UPDATE SET v = {place}, w = {place}"), false),
                Step::UnseenDelete(key) => (format!("DELETE FROM notes WHERE id = {key}"), false),
                Step::Baseline => (String::new(), true),
            };
            match (step, seen) {
                (Step::Baseline, _) => drop(record(conn, "notes")),
                (_, true) => run(conn, &sql),
                (_, false) => unseen(conn, &sql),
            }
            let after = shadow(conn);
            between.push((1..4).map(|key| (key, match step {
                Step::Baseline => Known::Baseline,
                Step::Truncate => Known::Truncate,
                _ if before.get(&key) == after.get(&key) => Known::Still,
                _ if seen => Known::Change,
                _ => Known::Escaped,
            })).collect());
            instants.push((clock(conn), after));
        }
        for (place, (at, rows)) in instants.iter().enumerate() {
            for key in 1..4 {
                let answer = as_of(conn, "notes", &format!("id={key}"), *at);
                let said = match &answer {
                    AsOf::Present(image) => Some(Some(serde_json::to_string(&image.columns).unwrap())),
                    AsOf::Deleted { .. } | AsOf::NotCreated => Some(None),
                    AsOf::Gap { .. } | AsOf::CrossedTruncate { .. } => None,
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                };
                let of_key: Vec<Known> = between.iter().map(|known| known[&key]).collect();
                let context = format!("{steps:?}: key {key} after step {place}: {answer:?}");
                match said {
                    Some(said) => {
                        count(&told);
                        prop_assert!(said.as_ref() == rows.get(&key) || !can_be_seen(&of_key, place), "{context} {rows:?}");
                    }
                    None => {
                        count(&refused);
                        prop_assert!(!has_to_be_told(&of_key, place), "{context}");
                    }
                }
            }
        }
    });
    // Neither of them all along.
    let (cases, told, refused) = (cases.get(), told.get(), refused.get());
    assert!(told > 5 * cases && refused > cases / 2, "{cases} cases: {told} told, {refused} refused");
}

fn shadow(conn: &mut diesel::PgConnection) -> Shadow {
    texts(conn, r#"SELECT format('%s {"id":%s,"v":%s,"w":%s}', id, id, v, w) FROM notes"#)
        .iter()
        .map(|row| {
            let (key, row) = row.split_once(' ').unwrap();
            (key.parse().unwrap(), row.to_owned())
        })
        .collect()
}

/// Whether anything could show what escaped: the trail has something of the key from before the instant, and not two writes
/// escaped on either side of it, which may have taken each other back.
fn can_be_seen(known: &[Known], place: usize) -> bool {
    let is_seen = |known: &Known| matches!(known, Known::Change | Known::Truncate | Known::Baseline);
    let (before, after) = known.split_at(place);
    let escaped_before =
        before.iter().rev().take_while(|known| !is_seen(known)).any(|known| *known == Known::Escaped);
    let escaped_after =
        after.iter().take_while(|known| !is_seen(known)).any(|known| *known == Known::Escaped);
    before.iter().any(is_seen) && !(escaped_before && escaped_after)
}

/// Whether nothing has escaped between the baseline before an instant and whatever comes next after it.
fn has_to_be_told(known: &[Known], place: usize) -> bool {
    let Some(baseline) = known[..place].iter().rposition(|known| *known == Known::Baseline) else {
        return false;
    };
    let since_baseline = known[baseline..place].contains(&Known::Escaped);
    let newer = known[place..].iter().find(|known| **known != Known::Still);
    !since_baseline && !matches!(newer, Some(Known::Escaped | Known::Truncate))
}
