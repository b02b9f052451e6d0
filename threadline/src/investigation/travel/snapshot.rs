//! The transaction the past is read in: one snapshot, nothing written, nothing left behind.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use diesel::connection::{AnsiTransactionManager, SimpleConnection};
use diesel::prelude::*;

use super::super::scope::Surface;
use crate::error::Error;
use crate::intent::{depth, roll_back};
use crate::telemetry;

/// Begins it. What is read has to be one snapshot, which a transaction that is open already need not be.
pub(super) fn begin(conn: &mut PgConnection) -> Result<(), Error> {
    if depth(conn)? > 0 {
        return Err(Error::Refused {
            message: "the past cannot be read inside an open transaction".to_owned(),
            hint: Some("read it before the transaction begins, or on a connection of its own".to_owned()),
        });
    }
    AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ")
        .map_err(|error| Error::from_query(conn, "", error))
}

/// Runs `body` in such a transaction with the output settings of capture, under which images are compared.
pub(in crate::investigation) fn in_snapshot<T>(
    conn: &mut PgConnection,
    body: impl FnOnce(&mut PgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    Surface::AsOf.observed(telemetry::outcome, || in_unobserved_snapshot(conn, body))
}

fn in_unobserved_snapshot<T>(
    conn: &mut PgConnection,
    body: impl FnOnce(&mut PgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    begin(conn)?;
    let result = catch_unwind(AssertUnwindSafe(|| {
        conn.batch_execute(
            "SET TRANSACTION READ ONLY; SET LOCAL row_security = off; SET LOCAL jit = off; SET LOCAL TimeZone = 'UTC'; \
             SET LOCAL extra_float_digits = 1; SET LOCAL IntervalStyle = 'postgres'; SET LOCAL DateStyle = 'ISO, YMD'; \
             SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'",
        )?;
        body(conn)
    }));
    roll_back(conn, 0);
    match result {
        Ok(Err(Error::Query(error))) => Err(Error::from_query(conn, "", error)),
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}
