//! For any transaction over tables that refer to each other, with columns of any types: undoing it gives back every byte, and
//! undoing that gives every byte of what it had done.

use diesel::PgConnection;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use threadline::undo::Resolution;
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, run};

use super::{bytes, doing, newest, operator, outline, plan};
use crate::types::{CREATE_TYPES, TYPES};

const TABLES: &[&str] = &["authors", "posts", "notes"];

/// One statement: which, keys, and a value for a column.
type Write = (usize, i32, i32, i32, usize);

const KINDS: usize = 20;

fn write() -> impl Strategy<Value = Write> {
    (0..KINDS, 1..5, 1..5, 1..7, 0..9_usize)
}

/// The value in this place of a column's list, NULL beyond it. SQL NULL and the JSON value null are one thing in the trail.
fn literal(of_type: usize, value: usize) -> String {
    let (name, values) = TYPES[of_type];
    match values.get(value) {
        Some(value) if (name, *value) != ("jsonb", "null") => format!("'{}'", value.replace('\'', "''")),
        _ => "NULL".to_owned(),
    }
}

struct Case {
    types: Vec<usize>,
}

impl Case {
    fn create(&self, conn: &mut PgConnection, schema: &str) {
        let of = |column: usize| TYPES[self.types[column % self.types.len()]].0;
        run(
            conn,
            &format!(
                "CREATE SCHEMA {schema}; SET search_path = {schema}, public;
                CREATE TABLE authors (id integer PRIMARY KEY, boss integer REFERENCES authors ON UPDATE CASCADE, c0 {}, c1 {}, c2 {}, c3 {});
                CREATE TABLE posts (id integer, lang text, author integer REFERENCES authors ON UPDATE CASCADE ON DELETE CASCADE,
                    slot integer UNIQUE, rank integer NOT NULL UNIQUE, c0 {}, c1 {}, PRIMARY KEY (id, lang));
                CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, post integer, lang text,
                    again bigint GENERATED ALWAYS AS (post * 2) STORED, c0 {}, c1 {}, FOREIGN KEY (post, lang) REFERENCES posts ON UPDATE CASCADE);
                SELECT threadline.attach('authors'), threadline.attach('posts'), threadline.attach('notes')",
                of(0),
                of(1),
                of(2),
                of(3),
                of(4),
                of(5),
                of(6),
                of(7)
            ),
        );
    }

    /// Values for these columns, in the order of the types.
    fn values(&self, columns: std::ops::Range<usize>, value: usize) -> Vec<String> {
        columns.map(|column| literal(self.types[column % self.types.len()], value)).collect()
    }

    /// Sets these columns of a table, of which the first is `c0`.
    fn set(&self, columns: std::ops::Range<usize>, value: usize) -> String {
        let values = self.values(columns, value).into_iter().enumerate();
        values.map(|(column, value)| format!("c{column} = {value}")).collect::<Vec<_>>().join(", ")
    }

    fn sql(&self, &(kind, a, b, n, value): &Write) -> String {
        let lang = if n % 2 == 0 { "a" } else { "b" };
        let maybe = if n > 4 { "NULL".to_owned() } else { n.to_string() };
        let rank = n * 10 + a;
        match kind {
            0 => format!("INSERT INTO authors VALUES ({a}, NULL, {})", self.values(0..4, value).join(", ")),
            1 => format!("UPDATE authors SET {} WHERE id = {a}", self.set(0..4, value)),
            2 => format!("UPDATE authors SET {} WHERE id = {a}", self.set(0..1, value)),
            3 => format!("UPDATE authors SET id = {b} WHERE id = {a}"),
            4 => format!("DELETE FROM authors WHERE id = {a}"),
            5 => format!("UPDATE authors SET boss = {maybe} WHERE id = {a}"),
            6 | 7 => format!(
                "INSERT INTO posts VALUES ({a}, '{lang}', {b}, {maybe}, {rank}, {})",
                self.values(4..6, value).join(", ")
            ),
            8 => format!("UPDATE posts SET {} WHERE id = {a}", self.set(4..6, value)),
            9 => format!("UPDATE posts SET author = {maybe} WHERE id = {a}"),
            10 => format!("UPDATE posts SET slot = {maybe} WHERE id = {a} AND lang = '{lang}'"),
            11 => format!("UPDATE posts SET id = {b}, rank = rank + 100 WHERE id = {a} AND lang = '{lang}'"),
            12 => format!("DELETE FROM posts WHERE id = {a}"),
            13 | 14 => format!(
                "INSERT INTO notes (post, lang, c0, c1) VALUES ({a}, '{lang}', {})",
                self.values(6..8, value).join(", ")
            ),
            15 => format!("UPDATE notes SET {}, post = {a} WHERE post = {b}", self.set(6..8, value)),
            16 => format!("DELETE FROM notes WHERE post = {a}"),
            // Exchanges: of a unique column that may be NULL, of one that may not, and of a key others refer to.
            17 => "CREATE TEMPORARY TABLE was ON COMMIT DROP AS SELECT * FROM posts;
                UPDATE posts SET slot = NULL;
                UPDATE posts p SET slot = s.next
                FROM (SELECT w.rank, coalesce(lead(w.slot) OVER (ORDER BY w.rank), first_value(w.slot) OVER (ORDER BY w.rank)) AS next FROM was w) s
                WHERE s.rank = p.rank; DROP TABLE was"
                .to_owned(),
            18 => "UPDATE posts SET rank = rank + 1000;
                UPDATE posts SET rank = s.next
                FROM (SELECT rank, coalesce(lead(rank) OVER (ORDER BY rank), min(rank) OVER ()) - 1000 AS next FROM posts) s
                WHERE s.rank = posts.rank"
                .to_owned(),
            _ => format!(
                "UPDATE authors SET id = 99 WHERE id = {a}; UPDATE authors SET id = {a} WHERE id = {b};
                UPDATE authors SET id = {b} WHERE id = 99"
            ),
        }
    }

    /// A transaction in which each write either succeeds or leaves nothing.
    fn transaction(&self, writes: &[Write]) -> String {
        let blocks = writes.iter().map(|write| {
            format!("DO $do$ BEGIN {}; EXCEPTION WHEN OTHERS THEN NULL; END $do$", self.sql(write))
        });
        blocks.collect::<Vec<_>>().join("; ")
    }
}

fn check(
    conn: &mut PgConnection,
    schema: &str,
    case: &Case,
    first: &[Write],
    done: &[Write],
) -> Result<usize, TestCaseError> {
    case.create(conn, schema);
    // One that succeeds in any case: a database nothing was written to has no newest transaction.
    doing(conn, &format!("INSERT INTO authors (id) VALUES (0); {}", case.transaction(first)));
    let last = newest(conn);
    let before = bytes(conn, TABLES);
    let target = doing(conn, &case.transaction(done));
    if target == last {
        return Ok(0);
    }
    let after = bytes(conn, TABLES);
    let (mut transaction, mut steps) = (target, 0);
    for wanted in [&before, &after, &before] {
        let plan = plan(conn, transaction);
        let sql = plan.to_sql(Resolution::Refuse).unwrap_or_default();
        prop_assert!(plan.is_clean(), "{:#?}\n{}", outline(&plan), case.transaction(done));
        if plan.steps.is_empty() {
            prop_assert_eq!(&before, &after);
            return Ok(0);
        }
        let undone = plan.apply(conn, operator());
        prop_assert!(
            undone.is_ok(),
            "{:?}: {:#?}\n{}\n{}",
            undone,
            outline(&plan),
            sql,
            case.transaction(done)
        );
        prop_assert_eq!(&bytes(conn, TABLES), wanted, "{:#?}\n{}", outline(&plan), sql);
        transaction = undone.unwrap_or_default();
        steps = plan.steps.len();
    }
    Ok(steps)
}

/// A database for a few cases: every audited table makes the next one's attach a little slower.
fn database() -> TestDatabase {
    let db = audited_database();
    run(&mut db.connect(), CREATE_TYPES);
    db
}

#[test]
fn undoing_any_transaction_gives_back_every_byte_and_undoing_that_does_it_again() {
    // Every value of every type once before and once after, whatever is chosen at random.
    for (number, chunk) in (0..TYPES.len()).collect::<Vec<_>>().chunks(8).enumerate() {
        let db = database();
        let conn = &mut db.connect();
        let case = Case { types: chunk.to_vec() };
        let every = |kinds: &[usize], shift: usize| -> Vec<Write> {
            let rows = (0..4).zip(1..5).flat_map(|(value, key)| {
                kinds.iter().map(move |kind| (*kind, key, key, key, (value + shift) % 9)).collect::<Vec<_>>()
            });
            rows.collect()
        };
        for shift in [0, 4, 5] {
            let first = every(&[0, 6, 13], shift);
            for (name, done) in [("set", every(&[1, 8, 15], shift + 4)), ("gone", every(&[16, 12, 4], 0))] {
                let schema = format!("{name}_{number}_{shift}");
                let undone =
                    check(conn, &schema, &case, &first, &done).unwrap_or_else(|error| panic!("{error}"));
                assert!(undone >= 6, "{undone} rows undone in {schema}");
            }
        }
    }
    let strategy = (
        prop::collection::vec(0..TYPES.len(), 8),
        prop::collection::vec(write(), 16..48),
        prop::collection::vec(write(), 1..20),
    );
    let config = Config { cases: 24, max_shrink_iters: 150, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy, |(types, first, done)| {
        let db = database();
        check(&mut db.connect(), "random", &Case { types }, &first, &done).map(|_| ())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
