//! Who writes the history down: each thing is done now, by way of capture, and its instant noted; in the end all of it is
//! moved back to then.

use anyhow::{Context, Result, anyhow};
use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, Timestamptz, Uuid as SqlUuid};
use threadline::{Action, AuditContext, AuditedPool};
use uuid::Uuid;

pub(super) struct Scribe<'a> {
    pool: &'a AuditedPool,
    /// A session past the application, as somebody at a terminal has.
    terminal: PgConnection,
    /// Transactions, and actions that stand alone, each with its instant; in the order of both.
    moments: Vec<(Uuid, DateTime<Utc>)>,
}

impl<'a> Scribe<'a> {
    pub(super) fn new(pool: &'a AuditedPool, mut terminal: PgConnection) -> Result<Self> {
        terminal.batch_execute("SET application_name = 'psql'")?;
        Ok(Self { pool, terminal, moments: Vec::new() })
    }

    /// One transaction of the application's.
    pub(super) fn write<T>(
        &mut self,
        at: DateTime<Utc>,
        context: &AuditContext,
        action: Action,
        body: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T> {
        let transaction = context.transaction().action(action);
        let (id, value) =
            self.pool.write(transaction, |conn, open| Ok::<_, anyhow::Error>((open.id(), body(conn)?)))?;
        self.moments.push((id, at));
        Ok(value)
    }

    /// An action that changes nothing, or that failed.
    pub(super) fn record(
        &mut self,
        at: DateTime<Utc>,
        context: &AuditContext,
        action: &Action,
    ) -> Result<()> {
        let id = self.pool.record_action(context, action)?;
        self.moments.push((id, at));
        Ok(())
    }

    /// Statements of somebody at a terminal, as one transaction.
    pub(super) fn past_the_application(&mut self, at: DateTime<Utc>, statements: &str) -> Result<()> {
        self.terminal.batch_execute(&format!("BEGIN; {statements}; COMMIT"))?;
        let newest = "SELECT id FROM threadline.audit_transactions ORDER BY xid DESC LIMIT 1";
        let Id { id } = diesel::sql_query(newest).get_result(&mut self.terminal)?;
        self.moments.push((id, at));
        Ok(())
    }

    /// A write that escapes capture: as the owner of the database, with triggers switched off.
    pub(super) fn behind_the_back_of_capture(&mut self, statement: &str) -> Result<()> {
        Ok(self.terminal.batch_execute(&format!(
            "BEGIN; SET LOCAL session_replication_role = replica; {statement}; COMMIT"
        ))?)
    }

    /// Moves everything back to when it happened; how many transactions and actions that were.
    pub(super) fn move_back(mut self) -> Result<usize> {
        let (ids, instants): (Vec<Uuid>, Vec<DateTime<Utc>>) = self.moments.into_iter().unzip();
        let in_order = instants.is_sorted();
        (in_order && ids.len() > 1).then_some(()).context("the history is out of order")?;
        self.terminal
            .transaction(|conn| {
                conn.batch_execute(
                    "CREATE TEMP TABLE moves (id uuid PRIMARY KEY, at timestamptz) ON COMMIT DROP",
                )?;
                let moves = "INSERT INTO moves SELECT * FROM unnest($1, $2)";
                diesel::sql_query(moves)
                    .bind::<Array<SqlUuid>, _>(&ids)
                    .bind::<Array<Timestamptz>, _>(&instants)
                    .execute(conn)?;
                conn.batch_execute(include_str!("move_back.sql"))
            })
            .map_err(|error| anyhow!("the history could not be moved back: {error}"))?;
        Ok(ids.len())
    }
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}
