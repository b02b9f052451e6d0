//! What others keep, and what is known of earlier runs: it goes by windows of its own.

use std::thread::sleep;

use chrono::SecondsFormat;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz};

use super::policy::before;
use super::work::Work;
use crate::error::Error;

impl Work<'_> {
    /// What others keep, by windows of its own: export jobs, evidence, the access log; and what is known of earlier runs.
    pub(super) fn expire(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let kinds = [
            ("exports", Some(self.policy.exports)),
            ("evidence", self.policy.evidence),
            ("access_log", self.policy.access_log),
        ];
        for (kind, window) in kinds {
            let Some(older_than) = window.and_then(|window| before(self.cutoffs.now, window)) else {
                continue;
            };
            // The surface brings the access log, and its migration the function.
            if kind == "access_log" && !has_access_log(conn)? {
                continue;
            }
            let older_than = older_than.to_rfc3339_opts(SecondsFormat::Micros, true);
            self.expire_batches(
                conn,
                kind,
                &format!("threadline.expire_{kind}($2::timestamptz, $3)"),
                &older_than,
            )?;
        }
        // Recorded baselines go by the windows of their tables: once a table's past is no longer whole from one of them on, there
        // is nothing that it could tell.
        let policy = self.cutoffs.policy.to_string();
        self.expire_batches(conn, "baseline_rows", "threadline.expire_baselines($2::jsonb, $3)", &policy)?;
        if let Some(older_than) = self.policy.runs.and_then(|window| before(self.cutoffs.now, window)) {
            self.in_time(conn, |conn| {
                diesel::sql_query(
                    "WITH gone AS (DELETE FROM threadline.retention_runs WHERE state <> 'running' AND coalesce(ended_at, started_at) < $2 RETURNING 1) \
                     UPDATE threadline.retention_runs SET runs = runs + (SELECT count(*) FROM gone) WHERE id = $1",
                )
                .bind::<Nullable<BigInt>, _>(self.run)
                .bind::<Timestamptz, _>(older_than)
                .execute(conn)
            })?;
        }
        Ok(())
    }

    /// Calls what removes up to a batch until it removes fewer, and counts what went in a column of the run.
    fn expire_batches(
        &self,
        conn: &mut PgConnection,
        counted_in: &str,
        call: &str,
        argument: &str,
    ) -> Result<(), Error> {
        #[derive(QueryableByName)]
        struct Expired {
            #[diesel(sql_type = BigInt)]
            expired: i64,
        }
        loop {
            let Expired { expired } = self.in_time(conn, |conn| {
                diesel::sql_query("SELECT threadline.retention_beat($1)")
                    .bind::<Nullable<BigInt>, _>(self.run)
                    .execute(conn)?;
                diesel::sql_query(format!(
                    "WITH e AS MATERIALIZED (SELECT {call} AS expired), \
                     counted AS (UPDATE threadline.retention_runs SET {counted_in} = {counted_in} + e.expired FROM e WHERE id = $1) \
                     SELECT expired FROM e"
                ))
                .bind::<Nullable<BigInt>, _>(self.run)
                .bind::<Text, _>(argument)
                .bind::<Integer, _>(i32::try_from(self.policy.batch_rows).unwrap_or(i32::MAX))
                .get_result(conn)
            })?;
            if expired < i64::from(self.policy.batch_rows) {
                return Ok(());
            }
            sleep(self.policy.pause);
        }
    }
}

fn has_access_log(conn: &mut PgConnection) -> Result<bool, Error> {
    #[derive(QueryableByName)]
    struct There {
        #[diesel(sql_type = Bool)]
        there: bool,
    }
    diesel::sql_query(
        "SELECT to_regprocedure('threadline.expire_access_log(timestamptz, integer)') IS NOT NULL AS there",
    )
    .get_result(conn)
    .map(|There { there }| there)
    .map_err(|error| Error::from_query(conn, "", error))
}
