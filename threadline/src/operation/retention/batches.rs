//! What goes from a month that stays, batch by batch.

use std::ops::ControlFlow;
use std::thread::sleep;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use super::archive::{self, Archive, Archived};
use super::run::{Progress, tell};
use super::work::{Month, Work};
use crate::error::Error;
use crate::telemetry;

/// What became of a batch, and where the next one goes on.
#[derive(QueryableByName)]
struct Batch {
    #[diesel(sql_type = BigInt)]
    changes: i64,
    #[diesel(sql_type = BigInt)]
    actions: i64,
    #[diesel(sql_type = BigInt)]
    transactions: i64,
    /// All rows that went, but for those of long transactions.
    #[diesel(sql_type = BigInt)]
    row_count: i64,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    last_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    last_id: Option<Uuid>,
    #[diesel(sql_type = Bool)]
    more: bool,
    /// Another session has the month; nothing was looked at.
    #[diesel(sql_type = Bool)]
    taken: bool,
}

/// Where a batch begins.
struct Place<'a> {
    label: &'a str,
    policy: &'a str,
    /// `None` for the actions.
    table_id: Option<i32>,
    after_at: Option<DateTime<Utc>>,
    after_id: Option<Uuid>,
}

impl Work<'_> {
    /// Removes what is due from a month that stays. With an archive, what a batch deletes is in it before the batch commits.
    pub(super) fn thin(
        &self,
        conn: &mut PgConnection,
        month: &Month,
        archive: &mut Option<&mut dyn Archive>,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let policy = if archive.is_some() { self.cutoffs.passed(month) } else { self.cutoffs.policy.clone() };
        let policy = policy.to_string();
        let mut steps: Vec<Option<i32>> =
            tables_due(conn, &month.label, &policy)?.into_iter().map(Some).collect();
        // The actions last: they wait for the changes of their transactions.
        steps.push(None);
        for table_id in steps {
            let mut place =
                Place { label: &month.label, policy: &policy, table_id, after_at: None, after_id: None };
            loop {
                let (batch, took) = telemetry::timed(|| {
                    self.whole(conn, |conn| match archive.as_deref_mut() {
                        Some(archive) => self.archived_batch(conn, &place, archive),
                        None => Ok(self.batch(conn, &place, false)?),
                    })
                });
                telemetry::RETENTION_BATCH_DURATION.note(took, []);
                let batch = batch?;
                if batch.taken {
                    return self.tell_busy(&month.name(), progress);
                }
                if batch.row_count > 0 {
                    if archive.is_some() {
                        self.parts.set(self.parts.get() + 1);
                    }
                    let rows = batch.row_count.unsigned_abs();
                    tell(progress, &Progress::Batch { month: month.name(), rows })?;
                }
                if !batch.more {
                    break;
                }
                (place.after_at, place.after_id) = (batch.last_at, batch.last_id);
                sleep(self.policy.pause);
            }
        }
        Ok(())
    }

    /// One that is in the archive, and on record, when this transaction commits; or the rows stay.
    fn archived_batch(
        &self,
        conn: &mut PgConnection,
        place: &Place<'_>,
        archive: &mut dyn Archive,
    ) -> Result<Batch, Error> {
        archive::part::expect(conn)?;
        let batch = self.batch(conn, place, true)?;
        if batch.row_count == 0 {
            return Ok(batch);
        }
        // Its number is taken once it has committed.
        let number = self.parts.get() + 1;
        let object = archive::part::name(place.label, self.run.unwrap_or_default(), number);
        let archived = archive::part::write(conn, object, archive)?;
        check_counts(&batch, &archived)?;
        diesel::sql_query("SELECT threadline.note_archive($1, $2, $3::jsonb)")
            .bind::<Nullable<BigInt>, _>(self.run)
            .bind::<Text, _>(place.label)
            .bind::<Text, _>(archived.to_json())
            .execute(conn)?;
        Ok(batch)
    }

    fn batch(&self, conn: &mut PgConnection, place: &Place<'_>, archiving: bool) -> QueryResult<Batch> {
        let rows = i32::try_from(self.policy.batch_rows).unwrap_or(i32::MAX);
        match place.table_id {
            Some(table_id) => diesel::sql_query(
                "SELECT changes, 0::bigint AS actions, transactions, row_count, last_at, last_id, more, taken \
                 FROM threadline.retention_batch($1, $2, $3, $4::jsonb, $5, $6, $7, $8)",
            )
            .bind::<Nullable<BigInt>, _>(self.run)
            .bind::<Text, _>(place.label)
            .bind::<Integer, _>(table_id)
            .bind::<Text, _>(place.policy)
            .bind::<Nullable<Timestamptz>, _>(place.after_at)
            .bind::<Nullable<SqlUuid>, _>(place.after_id)
            .bind::<Integer, _>(rows)
            .bind::<Bool, _>(archiving)
            .get_result(conn),
            None => diesel::sql_query(
                "SELECT 0::bigint AS changes, actions, transactions, actions + transactions AS row_count, NULL::timestamptz AS last_at, last_id, more, taken \
                 FROM threadline.retention_actions($1, $2, $3::jsonb, $4, $5, $6)",
            )
            .bind::<Nullable<BigInt>, _>(self.run)
            .bind::<Text, _>(place.label)
            .bind::<Text, _>(place.policy)
            .bind::<Nullable<SqlUuid>, _>(place.after_id)
            .bind::<Integer, _>(rows)
            .bind::<Bool, _>(archiving)
            .get_result(conn),
        }
    }
}

/// That what was archived is what went.
fn check_counts(batch: &Batch, archived: &Archived) -> Result<(), Error> {
    let counts = archived.counts();
    let gone = [
        ("audit_changes", batch.changes),
        ("audit_actions", batch.actions),
        ("audit_transactions", batch.transactions),
    ];
    if gone.iter().all(|(table, gone)| counts.get(*table).copied().unwrap_or_default() == gone.unsigned_abs())
    {
        return Ok(());
    }
    Err(Error::ArchiveUnsound {
        object: archived.object().to_owned(),
        problem: "does not have the rows that were to go; they stay, run retention again".to_owned(),
    })
}

/// The tables of which a month has changes that are older than their window.
fn tables_due(conn: &mut PgConnection, label: &str, policy: &str) -> Result<Vec<i32>, Error> {
    #[derive(QueryableByName)]
    struct Due {
        #[diesel(sql_type = Array<Integer>)]
        tables: Vec<i32>,
    }
    diesel::sql_query("SELECT threadline.tables_due($1, $2::jsonb) AS tables")
        .bind::<Text, _>(label)
        .bind::<Text, _>(policy)
        .get_result(conn)
        .map(|Due { tables }| tables)
        .map_err(|error| Error::from_query(conn, "", error))
}
