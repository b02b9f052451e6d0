//! What a run of retention works with: its windows, its timeouts, the months it sees.

use std::cell::{Cell, RefCell};
use std::thread::sleep;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use super::policy::{Cutoffs, RetentionPolicy};
use crate::error::Error;
use crate::intent::depth;

/// What a run works with.
pub(super) struct Work<'a> {
    /// The run's number; `None` for what is done outside of one.
    pub(super) run: Option<i64>,
    pub(super) policy: &'a RetentionPolicy,
    pub(super) cutoffs: Cutoffs,
    /// How many parts of months it has archived.
    pub(super) parts: Cell<u32>,
    /// The months that a later run has to look at, by name.
    pub(super) left_for_later: RefCell<Vec<String>>,
}

impl<'a> Work<'a> {
    /// Of what is done outside of a run.
    pub(super) fn outside(policy: &'a RetentionPolicy, cutoffs: Cutoffs) -> Self {
        Self { run: None, policy, cutoffs, parts: Cell::new(0), left_for_later: RefCell::default() }
    }

    /// Remembers that a month is left for a later run.
    pub(super) fn leave_for_later(&self, month: &str) {
        let mut left = self.left_for_later.borrow_mut();
        if !left.iter().any(|other| other == month) {
            left.push(month.to_owned());
        }
    }

    /// Says that the run goes on.
    pub(super) fn beat(&self, conn: &mut PgConnection) -> Result<(), Error> {
        self.in_time(conn, |conn| {
            diesel::sql_query("SELECT threadline.retention_beat($1)")
                .bind::<Nullable<BigInt>, _>(self.run)
                .execute(conn)
        })?;
        Ok(())
    }

    /// As [`whole`](Self::whole), of statements alone.
    pub(super) fn in_time<T>(
        &self,
        conn: &mut PgConnection,
        mut body: impl FnMut(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, Error> {
        self.whole(conn, |conn| body(conn).map_err(Error::from))
    }

    /// One transaction under the timeouts, in which each statement sees what was committed before it: a hold that was placed while
    /// it waited for a lock counts, and one that row security hides makes it fail. Once more when it gave way to another or a
    /// lock was not free in time.
    pub(super) fn whole<T>(
        &self,
        conn: &mut PgConnection,
        mut body: impl FnMut(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let timeouts = format!(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL row_security = off; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}",
            self.policy.lock_timeout.as_millis(),
            self.policy.statement_timeout.as_millis()
        );
        let mut attempt = 0_u32;
        loop {
            let result = conn.transaction(|conn| {
                conn.batch_execute(&timeouts)?;
                body(conn)
            });
            let is_busy = match &result {
                Err(Error::Conflict(_)) => true,
                Err(Error::Query(error)) => is_lock_timeout(error),
                _ => false,
            };
            match result {
                Err(_) if is_busy && attempt < 5 => {
                    sleep(Duration::from_millis(50) * 2_u32.pow(attempt));
                    attempt += 1;
                }
                // Now that the transaction is over, the database can be asked what it ran into.
                Err(Error::Query(error)) => return Err(Error::from_query(conn, "", error)),
                result => return result,
            }
        }
    }
}

/// A month of the trail as a run sees it.
#[derive(QueryableByName)]
pub(super) struct Month {
    #[diesel(sql_type = Text)]
    pub(super) label: String,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub(super) first_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub(super) end_id: Option<Uuid>,
    #[diesel(sql_type = Bool)]
    pub(super) filler: bool,
}

impl Month {
    /// As it is told to people.
    pub(super) fn name(&self) -> String {
        name_of(&self.label)
    }
}

pub(super) fn name_of(label: &str) -> String {
    label.trim_start_matches('_').to_owned()
}

/// The months that are attached, may have something due, and are not there from an archive; oldest first.
pub(super) fn months_before(conn: &mut PgConnection, newest: DateTime<Utc>) -> Result<Vec<Month>, Error> {
    diesel::sql_query(
        "SELECT p.label, p.first_id, p.end_id, p.filler FROM threadline.partitions() p \
         WHERE NOT p.pending AND (p.first_id IS NULL OR p.first_id < threadline.first_id_at($1)) \
         AND NOT EXISTS (SELECT FROM threadline.retention_months m WHERE m.label = p.label) ORDER BY p.first_id NULLS FIRST",
    )
    .bind::<Timestamptz, _>(newest)
    .load(conn)
    .map_err(|error| Error::from_query(conn, "", error))
}

pub(super) fn refuse_in_transaction(conn: &mut PgConnection) -> Result<(), Error> {
    if depth(conn)? > 0 {
        return Err(Error::Refused {
            message: "retention does not run inside an open transaction".to_owned(),
            hint: Some("call it on a connection of its own".to_owned()),
        });
    }
    Ok(())
}

pub(super) fn is_timeout(error: &diesel::result::Error) -> bool {
    is_lock_timeout(error) || is_statement_timeout(error)
}

pub(super) fn is_statement_timeout(error: &diesel::result::Error) -> bool {
    matches!(error, diesel::result::Error::DatabaseError(_, information) if information.message().contains("statement timeout"))
}

/// PostgreSQL's message is all there is to tell it by.
pub(crate) fn is_lock_timeout(error: &diesel::result::Error) -> bool {
    matches!(error, diesel::result::Error::DatabaseError(_, information) if information.message().contains("lock timeout"))
}
