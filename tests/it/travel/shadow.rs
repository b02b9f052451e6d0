//! Time travel equals a shadow copy taken at each instant, over random workloads.

use diesel::prelude::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use threadline::{AsOf, Error, Trail, Travel};
use threadline_tests::{audited_database, clock, row_key, run, table, texts};

use super::past_texts;

/// One step of a random workload; keys are small, so rows meet again.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Write>),
    /// A transaction of another session begins, does one write and stays open; or goes on, and commits.
    Other(bool),
    AddColumn,
    DropColumn,
    RenameColumn,
    Refresh,
}

#[derive(Clone, Debug)]
enum Write {
    InsertUser(i32),
    InsertPost(i64, i32),
    InsertTag(i64, u8),
    Touch(i64, i32),
    Bulk(i32),
    DeletePost(i64),
    DeleteUser(i32),
    DeleteTags(i64),
    MoveUser(i32, i32),
    MovePost(i64, i64),
    Shift,
    Email(i32),
    Twice(i64),
}

fn write() -> impl Strategy<Value = Write> {
    let (user, post) = (1..6_i32, 1..9_i64);
    prop_oneof![
        3 => user.clone().prop_map(Write::InsertUser),
        5 => (post.clone(), user.clone()).prop_map(|(post, user)| Write::InsertPost(post, user)),
        3 => (post.clone(), 0..4_u8).prop_map(|(post, tag)| Write::InsertTag(post, tag)),
        5 => (post.clone(), 0..9_i32).prop_map(|(post, value)| Write::Touch(post, value)),
        1 => (0..9_i32).prop_map(Write::Bulk),
        3 => post.clone().prop_map(Write::DeletePost),
        1 => user.clone().prop_map(Write::DeleteUser),
        2 => post.clone().prop_map(Write::DeleteTags),
        2 => (user.clone(), user.clone()).prop_map(|(from, to)| Write::MoveUser(from, to)),
        3 => (post.clone(), post.clone()).prop_map(|(from, to)| Write::MovePost(from, to)),
        1 => Just(Write::Shift),
        1 => user.prop_map(Write::Email),
        1 => post.prop_map(Write::Twice),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(write(), 1..4).prop_map(Step::Write),
        2 => any::<bool>().prop_map(Step::Other),
        1 => Just(Step::AddColumn),
        1 => Just(Step::DropColumn),
        1 => Just(Step::RenameColumn),
        1 => Just(Step::Refresh),
    ]
}

impl Write {
    fn sql(&self) -> String {
        match self {
            Self::InsertUser(id) => {
                format!("INSERT INTO users VALUES ({id}, 'u{id}', 'e{id}', 's') ON CONFLICT DO NOTHING")
            }
            Self::InsertPost(id, user) => format!(
                "INSERT INTO posts (id, user_id, body) SELECT {id}, {user}, 'b{id}' WHERE EXISTS (SELECT FROM users WHERE id = {user}) AND NOT EXISTS (SELECT FROM posts WHERE id = {id})"
            ),
            Self::InsertTag(post, tag) => format!(
                "INSERT INTO tags SELECT {post}, '{tag}', now() WHERE EXISTS (SELECT FROM posts WHERE id = {post}) ON CONFLICT DO NOTHING"
            ),
            Self::Touch(id, value) => {
                format!("UPDATE posts SET views = {value}, meta = '{{\"v\": {value}.50}}' WHERE id = {id}")
            }
            Self::Bulk(value) => format!(
                "UPDATE posts SET views = views + {value} WHERE id < 900; UPDATE tags SET at = clock_timestamp()"
            ),
            Self::DeletePost(id) => format!("DELETE FROM posts WHERE id = {id}"),
            Self::DeleteUser(id) => format!("DELETE FROM users WHERE id = {id}"),
            Self::DeleteTags(post) => format!("DELETE FROM tags WHERE post_id = {post}"),
            Self::MoveUser(from, to) => {
                format!(
                    "UPDATE users SET id = {to} WHERE id = {from} AND NOT EXISTS (SELECT FROM users WHERE id = {to})"
                )
            }
            Self::MovePost(from, to) => {
                format!(
                    "UPDATE posts SET id = {to}, views = views + 1 WHERE id = {from} AND NOT EXISTS (SELECT FROM posts WHERE id = {to})"
                )
            }
            // Keys are left and reached in one statement, in an order of PostgreSQL's choosing.
            Self::Shift => "UPDATE posts SET id = id % 8 + 1, body = body || id WHERE id < 9".to_owned(),
            Self::Email(id) => {
                format!("UPDATE users SET email = email || 'x', secret = secret || 'y' WHERE id = {id}")
            }
            Self::Twice(id) => format!(
                "UPDATE posts SET views = views + 1, price = 1.50 WHERE id = {id}; DELETE FROM tags WHERE post_id = {id}; UPDATE posts SET views = views - 1, price = 1.5 WHERE id = {id}"
            ),
        }
    }
}

const WORLD: &str = "CREATE TABLE users (id integer PRIMARY KEY, name text, email text, secret text);
    CREATE TABLE posts (id bigint PRIMARY KEY DEFERRABLE, user_id integer REFERENCES users ON UPDATE CASCADE ON DELETE CASCADE, body text, views integer NOT NULL DEFAULT 0,
        price numeric, meta json, at timestamptz DEFAULT now());
    CREATE TABLE tags (post_id bigint, tag text, at timestamptz, PRIMARY KEY (post_id, tag));
    INSERT INTO users SELECT i, 'old' || i, 'e', 's' FROM generate_series(1, 3) i; INSERT INTO users VALUES (999, 'other', 'e', 's');
    INSERT INTO posts SELECT i, i, 'old', 1, 2.50 FROM generate_series(1, 3) i; INSERT INTO tags VALUES (1, 'a', now()), (2, 'b', NULL);
    SELECT threadline.attach('users', mask => '{email}', exclude => '{secret}'); SELECT threadline.attach('posts'); SELECT threadline.attach('tags');
    CREATE SCHEMA shadow";

/// Ends the other session's transaction with one more change, so that the instants in between lie inside it.
const FINISH: &str = "UPDATE posts SET views = views + 1 WHERE id >= 900; COMMIT";

const WORLD_TABLES: [(&str, &str); 3] = [("users", "id"), ("posts", "id"), ("tags", "post_id, tag")];

fn shadow_rows(conn: &mut PgConnection, number: usize, name: &str) -> Vec<String> {
    texts(conn, &format!("SELECT row_to_json(t)::text FROM shadow.{name}_{number} t ORDER BY 1"))
}

fn check_world(steps: &[Step]) -> Result<(), TestCaseError> {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    run(conn, WORLD);
    run(conn, "SET lock_timeout = '10s'");
    let mut instants = Vec::new();
    let mut open = false;
    let mut added = false;
    // A refresh has seen a column called extra, in the place where the next one will be.
    let mut seen = false;
    for step in steps {
        match step {
            Step::Write(writes) => {
                let writes: Vec<String> = writes.iter().map(Write::sql).collect();
                run(conn, &format!("BEGIN; {}; COMMIT", writes.join("; ")));
            }
            Step::Other(commits) => {
                if !open {
                    run(other, "BEGIN");
                    open = true;
                }
                run(
                    other,
                    "INSERT INTO posts (id, user_id) SELECT 900, 999 WHERE NOT EXISTS (SELECT FROM posts WHERE id >= 900); UPDATE posts SET views = views + 1, id = 1801 - id WHERE id >= 900",
                );
                if *commits {
                    run(other, "COMMIT");
                    open = false;
                }
            }
            Step::Refresh => {
                if open {
                    run(other, FINISH);
                    open = false;
                }
                run(conn, "SELECT threadline.refresh_all()");
                seen |= added;
            }
            Step::AddColumn | Step::DropColumn | Step::RenameColumn => {
                if open {
                    run(other, FINISH);
                    open = false;
                }
                let changes: &[&str] = match step {
                    Step::AddColumn if !added => &["ADD COLUMN extra text"],
                    Step::DropColumn if added => &["DROP COLUMN extra"],
                    Step::RenameColumn => &["RENAME COLUMN views TO clicks", "RENAME COLUMN clicks TO views"],
                    _ => continue,
                };
                added ^= !matches!(step, Step::RenameColumn);
                for change in changes {
                    for number in 0..instants.len() {
                        run(conn, &format!("ALTER TABLE shadow.posts_{number} {change}"));
                    }
                    run(conn, &format!("ALTER TABLE posts {change}"));
                    if change.ends_with("clicks") {
                        run(
                            conn,
                            "UPDATE posts SET clicks = clicks + 1 WHERE id % 2 = 0; DELETE FROM posts WHERE id = 7",
                        );
                    } else if change.starts_with("ADD") {
                        if seen {
                            run(conn, "SELECT threadline.refresh_all()");
                        }
                        run(conn, "UPDATE posts SET extra = body WHERE id % 2 = 0");
                    }
                }
            }
        }
        let number = instants.len();
        for (name, _) in WORLD_TABLES {
            run(conn, &format!("CREATE TABLE shadow.{name}_{number} AS TABLE {name}"));
        }
        run(conn, &format!("UPDATE shadow.users_{number} SET email = '[REDACTED]', secret = NULL"));
        instants.push(clock(conn));
    }
    if open {
        run(other, FINISH);
    }
    for (number, at) in instants.iter().enumerate() {
        for (name, key) in WORLD_TABLES {
            let shadow = shadow_rows(conn, number, name);
            let seen =
                past_texts(conn, *at, &format!("SELECT row_to_json(t)::text FROM {name} t ORDER BY 1"))
                    .map_err(|error| TestCaseError::fail(format!("{name} at {number}: {error:?}")))?;
            prop_assert_eq!(&seen, &shadow, "{} at {}", name, number);
            // Each row by its key alone, in all tables at once.
            let looked_up = format!(
                "SELECT found.row FROM (SELECT {key} FROM shadow.{name}_{number}) k JOIN LATERAL (SELECT row_to_json(t)::text AS row FROM {name} t WHERE ({key}) = ({})) found ON true ORDER BY 1",
                key.split(", ").map(|column| format!("k.{column}")).collect::<Vec<_>>().join(", ")
            );
            let (found, _) = Travel::to(*at)
                .run_with_live_tables(conn, |conn| Ok::<_, Error>(texts(conn, &looked_up)))
                .map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
            prop_assert_eq!(&found, &shadow, "by key: {} at {}", name, number);
        }
        // The one-row answer and the whole table's are one.
        let mut rows = std::collections::BTreeMap::new();
        Trail::unscoped()
            .table_as_of(conn, &table("posts"), *at, |row| {
                rows.insert(row.row_key, row.image);
                Ok(())
            })
            .unwrap();
        for id in (1..10).chain([900, 901]) {
            let one = Trail::unscoped()
                .rows_as_of(conn, &table("posts"), &[row_key(&format!("id={id}"))], *at)
                .unwrap()
                .remove(0);
            prop_assert!(
                matches!(one, AsOf::Present(_) | AsOf::Deleted { .. } | AsOf::NotCreated),
                "{:?}",
                one
            );
            prop_assert_eq!(one.present(), rows.get(&id.to_string()).cloned(), "posts {} at {}", id, number);
        }
    }
    Ok(())
}

#[test]
fn time_travel_equals_a_shadow_copy_taken_at_each_instant() {
    let config = Config { cases: 12, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    // The same workloads each time: what a release is held to does not depend on luck.
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    if let Err(error) = TestRunner::new_with_rng(config, random)
        .run(&prop::collection::vec(step(), 1..14), |steps| check_world(&steps))
    {
        panic!("{error}");
    }
}

#[test]
fn columns_of_one_name_that_were_dropped_one_after_the_other_are_not_taken_for_one() {
    use Step::{AddColumn, DropColumn, Refresh};
    for steps in [
        vec![AddColumn, DropColumn, AddColumn, DropColumn],
        vec![AddColumn, Refresh, DropColumn, AddColumn, DropColumn, AddColumn],
        vec![AddColumn, Refresh, DropColumn, AddColumn, Refresh, DropColumn, AddColumn, DropColumn],
        vec![AddColumn, DropColumn, Refresh, AddColumn, DropColumn, Refresh],
    ] {
        check_world(&steps).unwrap_or_else(|error| panic!("{steps:?}: {error}"));
    }
}
