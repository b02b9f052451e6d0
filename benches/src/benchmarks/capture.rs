//! `capture`: what the trigger adds to writes, and what it stores, beside the same table without one and with the
//! design that upserts its transaction for each row and finds changes through `jsonb_each`.
//!
//! Added time is a contender's minus the bare table's, each the minimum of its turns; the ratio is ours over the other
//! design's.

use std::time::Instant;

use anyhow::Context;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double};
use diesel_migrations::MigrationHarness;
use threadline_devdb::TestDatabase;

use crate::figures::Figure;
use crate::machine::Machine;
use crate::rounds::{Samples, rotation};
use crate::table::Table;
use crate::{Effort, Outcome};

/// Rows the table has before anything is measured, by `posts.sql`.
const OLD_ROWS: i64 = 1000;

/// Updates in the transaction of several.
const TEN: i64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Bare,
    Threadline,
    RowUpsert,
}

impl Contender {
    const ALL: [Self; 3] = [Self::Bare, Self::Threadline, Self::RowUpsert];

    /// A new database with the table and, if it has one, the contender's trigger on it.
    fn database(self) -> TestDatabase {
        TestDatabase::from_template(&format!("bench capture {self:?}"), |url| {
            let mut conn = PgConnection::establish(url).expect("the new database accepts connections");
            conn.batch_execute(include_str!("../../sql/posts.sql")).expect("the table is created");
            match self {
                Self::Bare => {}
                Self::Threadline => {
                    conn.run_pending_migrations(threadline::MIGRATIONS).expect("the audit schema installs");
                    conn.batch_execute("SELECT threadline.attach('posts')").expect("the table is attached");
                }
                Self::RowUpsert => conn
                    .batch_execute(include_str!("../../sql/row_upsert.sql"))
                    .expect("the other design installs"),
            }
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    OneInsert,
    OneUpdate,
    TenUpdates,
    BulkInsert,
    BulkUpdate,
    BulkDelete,
}

impl Step {
    /// In this order: a round's bulk steps insert, update and delete the same rows.
    const ALL: [Self; 6] = [
        Self::OneInsert,
        Self::OneUpdate,
        Self::TenUpdates,
        Self::BulkInsert,
        Self::BulkUpdate,
        Self::BulkDelete,
    ];

    /// As the figures name it, and as the table does.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::OneInsert => ("one_insert", "insert of one row, own transaction"),
            Self::OneUpdate => ("one_update", "update of one row, own transaction"),
            Self::TenUpdates => ("ten_updates", "transaction of ten updates"),
            Self::BulkInsert => ("bulk_insert", "bulk insert, a row"),
            Self::BulkUpdate => ("bulk_update", "bulk update, a row"),
            Self::BulkDelete => ("bulk_delete", "bulk delete, a row"),
        }
    }

    fn is_bulk(self) -> bool {
        matches!(self, Self::BulkInsert | Self::BulkUpdate | Self::BulkDelete)
    }

    /// Our added time over the other design's.
    fn goal(self) -> Option<f64> {
        match self {
            Self::TenUpdates => Some(0.25),
            Self::BulkInsert => Some(0.4),
            Self::BulkUpdate => Some(0.2),
            Self::OneInsert | Self::OneUpdate | Self::BulkDelete => None,
        }
    }
}

/// How much to measure.
struct Sizes {
    rounds: usize,
    /// Turns a contender has in a round, for all but the bulk steps.
    turns: usize,
    /// One-row transactions in a turn; of those with ten updates it is a fifth.
    transactions: i64,
    bulk_rows: i64,
}

impl Sizes {
    fn of(effort: Effort) -> Self {
        match effort {
            Effort::Full => Self { rounds: 5, turns: 6, transactions: 1000, bulk_rows: 100_000 },
            Effort::Quick => Self { rounds: 3, turns: 4, transactions: 500, bulk_rows: 20_000 },
            Effort::Smoke => Self { rounds: 1, turns: 1, transactions: 5, bulk_rows: 50 },
        }
    }

    fn units(&self, step: Step) -> i64 {
        match step {
            Step::OneInsert | Step::OneUpdate => self.transactions,
            Step::TenUpdates => self.transactions / 5,
            Step::BulkInsert | Step::BulkUpdate | Step::BulkDelete => self.bulk_rows,
        }
    }
}

/// One contender's database in one round.
struct Arena {
    // Before the database: it is closed first.
    conn: PgConnection,
    next_id: i64,
    _database: TestDatabase,
}

impl Arena {
    /// Ready and warm: the first rows compile the trigger and fill the session's caches.
    fn new(contender: Contender) -> QueryResult<Self> {
        let database = contender.database();
        let mut conn = database.connect();
        conn.batch_execute(
            // The insert is written out: new_posts would be planned anew each time, its generic plan expects more rows.
            r#"SET threadline.actor_ref = '{"type": "user", "id": "42"}';
            PREPARE insert_one (bigint) AS INSERT INTO posts VALUES ($1, 'Notes on the number ' || $1,
                repeat('All work and no play. ', 5), 7, 19.90, true, $1 % 100, '{"lang": "en", "source": "import"}',
                now(), now(), '{rust,postgres}', 'notes-on-' || $1, $1 * 0.25);
            PREPARE update_one (bigint) AS UPDATE posts SET views = views + 1, updated_at = clock_timestamp() WHERE id = $1;"#,
        )?;
        let mut arena = Self { conn, next_id: OLD_ROWS + 1, _database: database };
        for step in [Step::OneInsert, Step::OneUpdate] {
            arena.perform(step, 50)?;
        }
        Ok(arena)
    }

    fn perform(&mut self, step: Step, units: i64) -> QueryResult<()> {
        let first = self.next_id;
        let last = first + units - 1;
        match step {
            Step::OneInsert => {
                self.next_id = last + 1;
                (first..=last)
                    .try_for_each(|id| self.conn.batch_execute(&format!("EXECUTE insert_one({id})")))
            }
            Step::OneUpdate => (1..=units).try_for_each(|n| {
                self.conn.batch_execute(&format!("EXECUTE update_one({})", n % OLD_ROWS + 1))
            }),
            Step::TenUpdates => (0..units).try_for_each(|n| {
                self.conn.batch_execute("BEGIN")?;
                for m in 0..TEN {
                    let id = (n * TEN + m) % OLD_ROWS + 1;
                    self.conn.batch_execute(&format!("EXECUTE update_one({id})"))?;
                }
                self.conn.batch_execute("COMMIT")
            }),
            // The next id stays where it is: update and delete are about these rows.
            Step::BulkInsert => {
                self.bulk(&format!("INSERT INTO posts SELECT * FROM new_posts({first}, {last})"), units)
            }
            Step::BulkUpdate => self.bulk(
                &format!(
                    "UPDATE posts SET views = views + 1, updated_at = clock_timestamp() WHERE id >= {first}"
                ),
                units,
            ),
            Step::BulkDelete => self.bulk(&format!("DELETE FROM posts WHERE id >= {first}"), units),
        }
    }

    fn bulk(&mut self, statement: &str, rows: i64) -> QueryResult<()> {
        let written = diesel::sql_query(statement).execute(&mut self.conn)?;
        assert_eq!(i64::try_from(written), Ok(rows), "{statement}");
        Ok(())
    }

    /// Bytes of the audit tables with their indexes, and the position in the log.
    fn sizes(&mut self) -> QueryResult<(f64, f64)> {
        #[derive(QueryableByName)]
        struct Sizes {
            #[diesel(sql_type = BigInt)]
            stored: i64,
            #[diesel(sql_type = Double)]
            log: f64,
        }
        let sizes: Sizes = diesel::sql_query(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint AS stored,
                (pg_current_wal_insert_lsn() - '0/0')::float8 AS log
            FROM pg_class WHERE relkind = 'r' AND relname LIKE 'audit\\_%'",
        )
        .get_result(&mut self.conn)?;
        #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
        Ok((sizes.stored as f64, sizes.log))
    }
}

/// What one contender showed in one step, each per row or transaction.
#[derive(Default)]
struct Measured {
    micros: Samples,
    stored_bytes: Samples,
    log_bytes: Samples,
}

/// By contender, in the order of [`Contender::ALL`].
type Results = [Measured; 3];

/// Measures capture.
///
/// # Errors
///
/// When the server refuses a statement; panics as [`TestDatabase`] does when it cannot be used at all.
pub(crate) fn run(effort: Effort) -> anyhow::Result<Outcome> {
    let sizes = Sizes::of(effort);
    let mut results: Vec<(Step, Results)> =
        Step::ALL.iter().map(|&step| (step, Results::default())).collect();
    for round in 0..sizes.rounds {
        eprintln!("capture: round {} of {}", round + 1, sizes.rounds);
        let arenas: QueryResult<Vec<Arena>> = Contender::ALL.into_iter().map(Arena::new).collect();
        let mut arenas = arenas.context("could not prepare the tables")?;
        for (step, measured) in &mut results {
            let turns = if step.is_bulk() { 1 } else { sizes.turns };
            for turn in 0..turns {
                for index in rotation(arenas.len(), round + turn) {
                    measure(&mut arenas[index], *step, sizes.units(*step), &mut measured[index])
                        .with_context(|| format!("{step:?} of {:?} failed", Contender::ALL[index]))?;
                }
            }
        }
    }
    let machine = Machine::of(&mut Contender::Bare.database().connect())?;
    Ok(Outcome { machine, figures: figures(&results), tables: tables(&results, &sizes) })
}

fn measure(arena: &mut Arena, step: Step, units: i64, measured: &mut Measured) -> QueryResult<()> {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let per_unit = 1.0 / units as f64;
    let (stored_before, log_before) = arena.sizes()?;
    let started = Instant::now();
    arena.perform(step, units)?;
    let elapsed = started.elapsed();
    let (stored, log) = arena.sizes()?;
    measured.micros.push(elapsed.as_secs_f64() * 1e6 * per_unit);
    measured.stored_bytes.push((stored - stored_before) * per_unit);
    measured.log_bytes.push((log - log_before) * per_unit);
    Ok(())
}

/// What our contender and the other add to the bare table, by the given statistic.
fn added(results: &Results, statistic: impl Fn(&Measured) -> f64) -> (f64, f64) {
    let [bare, ours, other] = results.each_ref().map(statistic);
    (ours - bare, other - bare)
}

/// Our added time over the other design's, by minima.
fn overhead_ratio(results: &Results) -> f64 {
    let (ours, other) = added(results, |measured| measured.micros.min());
    ours / other
}

/// The figure's name and goal where bytes are told: one transaction's rows are the bulk steps'.
fn stored_bytes(step: Step) -> Option<(&'static str, Option<f64>)> {
    match step {
        Step::BulkInsert => Some(("capture.insert.stored_bytes", None)),
        Step::BulkUpdate => Some(("capture.two_of_13_columns.stored_bytes", Some(250.0))),
        Step::BulkDelete => Some(("capture.delete.stored_bytes", None)),
        Step::OneInsert | Step::OneUpdate | Step::TenUpdates => None,
    }
}

fn figures(results: &[(Step, Results)]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (step, results) in results {
        let name = |quantity: &str| format!("capture.{}.{quantity}", step.names().0);
        let (ours, _) = added(results, |measured| measured.micros.min());
        figures.push(Figure::new(name("overhead_ratio"), overhead_ratio(results), 3, "ratio", step.goal()));
        figures.push(Figure::new(name("added_time"), ours, 1, "us", None));
    }
    for (step, results) in results {
        if let Some((name, goal)) = stored_bytes(*step) {
            figures.push(Figure::new(name.to_owned(), results[1].stored_bytes.min(), 0, "bytes", goal));
        }
    }
    figures
}

fn tables(results: &[(Step, Results)], sizes: &Sizes) -> String {
    let mut times = Table::new(&[
        "microseconds",
        "no trigger",
        "threadline",
        "added",
        "row upsert",
        "added",
        "ratio",
        "by medians",
        "goal",
    ]);
    let mut bytes =
        Table::new(&["bytes a row", "threadline", "row upsert", "ratio", "goal", "log added", "row upsert"]);
    for (step, results) in results {
        let [bare, ours, other] = results.each_ref().map(|measured| measured.micros.min());
        let (ours_median, other_median) = added(results, |measured| measured.micros.median());
        times.push(vec![
            step.names().1.to_owned(),
            format!("{bare:.1}"),
            format!("{ours:.1}"),
            format!("{:.1}", ours - bare),
            format!("{other:.1}"),
            format!("{:.1}", other - bare),
            format!("{:.2}", overhead_ratio(results)),
            format!("{:.2}", ours_median / other_median),
            against(overhead_ratio(results), step.goal()),
        ]);
        if let Some((_, goal)) = stored_bytes(*step) {
            let [_, ours, other] = results.each_ref().map(|measured| measured.stored_bytes.min());
            let (ours_log, other_log) = added(results, |measured| measured.log_bytes.min());
            bytes.push(vec![
                step.names().1.to_owned(),
                format!("{ours:.0}"),
                format!("{other:.0}"),
                format!("{:.2}", ours / other),
                against(ours, goal),
                format!("{ours_log:.0}"),
                format!("{other_log:.0}"),
            ]);
        }
    }
    format!(
        "Minimum of {} rounds; {} rows in bulk, the updates change 2 of 13 columns. Ratio: time added by threadline\n\
        over time added by the row upsert + jsonb_each design.\n\n{}\n\n{}",
        sizes.rounds,
        sizes.bulk_rows,
        times.render(),
        bytes.render()
    )
}

/// The goal and whether it is met; empty without one.
fn against(value: f64, goal: Option<f64>) -> String {
    let verdict = |goal: f64| if value <= goal { "met" } else { "MISSED" };
    goal.map_or_else(String::new, |goal| format!("{goal} {}", verdict(goal)))
}
