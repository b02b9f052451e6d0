//! A trail of many changes in a database of its own, and what it can be asked about.

use std::time::Instant;

use anyhow::ensure;
use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text, Timestamptz};
use diesel_migrations::MigrationHarness;
use threadline::RowKey;
use threadline_devdb::TestDatabase;

/// A year's trail, by `trail.sql`, with a connection to it.
pub(crate) struct LoadedTrail {
    // Before the database: it is closed first.
    pub(crate) conn: PgConnection,
    pub(crate) changes: i64,
    /// What the database takes, tables of the host included.
    pub(crate) mib: i64,
    database: TestDatabase,
}

impl LoadedTrail {
    /// Loads a trail of so many changes, at least 3000; a million takes 20 seconds.
    ///
    /// # Errors
    ///
    /// When the server refuses a statement; panics as [`TestDatabase`] does when it cannot be used.
    pub(crate) fn new(changes: i64) -> anyhow::Result<Self> {
        Self::over(changes, 12)
    }

    /// As [`new`](Self::new), over the last so many months.
    pub(crate) fn over(changes: i64, months: i32) -> anyhow::Result<Self> {
        let started = Instant::now();
        let database = TestDatabase::empty();
        let mut conn = database.connect();
        conn.run_pending_migrations(threadline::MIGRATIONS).map_err(anyhow::Error::from_boxed)?;
        conn.batch_execute(include_str!("../sql/trail.sql"))?;
        conn.batch_execute(include_str!("../sql/trail_picks.sql"))?;
        diesel::sql_query("SELECT load_trail($1, $2)")
            .bind::<BigInt, _>(changes)
            .bind::<Integer, _>(months)
            .execute(&mut conn)?;
        // Nothing of it is to happen while an answer is timed.
        conn.batch_execute("VACUUM ANALYZE")?;
        conn.batch_execute("CHECKPOINT")?;
        let size = diesel::dsl::sql::<BigInt>("pg_database_size(current_database()) >> 20");
        let mib = diesel::select(size).get_result(&mut conn)?;
        eprintln!("{changes} changes loaded in {:.0} s, {mib} MiB", started.elapsed().as_secs_f64());
        Ok(Self { conn, changes, mib, database })
    }

    /// Where more connections to it come from.
    pub(crate) fn url(&self) -> String {
        self.database.url()
    }

    /// What a function of `trail_picks.sql` picks, at most so many; the same in each run on the same trail.
    pub(crate) fn picks(&mut self, function: &str, wanted: usize) -> anyhow::Result<Vec<Pick>> {
        self.conn.batch_execute("SELECT setseed(0.42)")?;
        let picks: Vec<Pick> = diesel::sql_query(format!("SELECT subject, at FROM {function}($1)"))
            .bind::<Integer, _>(i32::try_from(wanted)?)
            .load(&mut self.conn)?;
        ensure!(!picks.is_empty(), "{function} picks nothing");
        Ok(picks)
    }

    /// When the oldest of the `newest` newest changes was captured.
    pub(crate) fn since(&mut self, newest: i64) -> QueryResult<DateTime<Utc>> {
        #[derive(QueryableByName)]
        struct Oldest {
            #[diesel(sql_type = Timestamptz)]
            captured_at: DateTime<Utc>,
        }
        let Oldest { captured_at } = diesel::sql_query(
            "SELECT c.captured_at FROM threadline.audit_changes c ORDER BY c.captured_at DESC OFFSET $1 - 1 LIMIT 1",
        )
        .bind::<BigInt, _>(newest)
        .get_result(&mut self.conn)?;
        Ok(captured_at)
    }
}

/// What a question is asked about.
#[derive(QueryableByName)]
pub(crate) struct Pick {
    /// The key of a row, the id of a transaction, or what else the function picks.
    #[diesel(sql_type = Text)]
    pub(crate) subject: String,
    #[diesel(sql_type = Timestamptz)]
    pub(crate) at: DateTime<Utc>,
}

impl Pick {
    /// As the key of a post.
    pub(crate) fn post(&self) -> Result<RowKey, threadline::Error> {
        RowKey::new([("id", self.subject.as_str())])
    }
}
