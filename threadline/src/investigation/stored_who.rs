//! Transactions and actions as the database keeps them, read by their ids.

use std::collections::BTreeSet;

use diesel::deserialize::{self, FromSql};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::row::NamedRow;
use diesel::sql_types::{Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use super::change::{AuditAction, AuditTransaction};
use super::image::Json;
use super::statement::Statement;
use crate::error::Error;
use crate::intent::ActionStatus;

/// What lies in a table of the trail under an id.
pub(crate) trait StoredById: Sized + 'static {
    /// The table, and what is selected of its row `r`.
    const TABLE: &'static str;
    const COLUMNS: &'static str;

    fn read<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self>;
}

/// The rows with these ids. The range beside them is what a kept plan leaves partitions out by.
pub(crate) fn by_id<T: StoredById>(conn: &mut PgConnection, ids: BTreeSet<Uuid>) -> Result<Vec<T>, Error> {
    let (Some(first), Some(last)) = (ids.first().copied(), ids.last().copied()) else {
        return Ok(Vec::new());
    };
    let (table, columns) = (T::TABLE, T::COLUMNS);
    let mut statement = Statement::kept(&format!("SELECT {columns} FROM {table} r WHERE r.id = ANY ("));
    statement
        .bind(ids.into_iter().collect::<Vec<_>>())
        .sql(") AND r.id >= ")
        .bind(first)
        .sql(" AND r.id <= ")
        .bind(last);
    let rows: Vec<Stored<T>> = statement.load_from(conn)?;
    Ok(rows.into_iter().map(|Stored(row)| row).collect())
}

struct Stored<T>(T);

impl<T: StoredById> QueryableByName<Pg> for Stored<T> {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        T::read(row).map(Stored)
    }
}

fn value<'a, S, T: FromSql<S, Pg>>(row: &impl NamedRow<'a, Pg>, column: &str) -> deserialize::Result<T> {
    NamedRow::get::<S, T>(row, column)
}

fn text<'a>(row: &impl NamedRow<'a, Pg>, column: &str) -> deserialize::Result<Option<String>> {
    value::<Nullable<Text>, _>(row, column)
}

impl StoredById for AuditTransaction {
    const TABLE: &'static str = "threadline.audit_transactions";
    // An address as to_jsonb writes it: the cast to text would add the length of the mask.
    const COLUMNS: &'static str = "r.id, r.occurred_at, r.actor_type, r.actor_id, r.request_id, r.correlation_id, r.job_id, r.remote_addr, \
         r.action_id, r.db_role, r.application_name, to_jsonb(r.client_addr) #>> '{}' AS client_addr, r.meta::text AS meta, r.context_error";

    fn read<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        Ok(Self {
            id: value::<SqlUuid, _>(row, "id")?,
            occurred_at: value::<Timestamptz, _>(row, "occurred_at")?,
            actor_type: text(row, "actor_type")?,
            actor_id: text(row, "actor_id")?,
            request_id: text(row, "request_id")?,
            correlation_id: text(row, "correlation_id")?,
            job_id: text(row, "job_id")?,
            remote_addr: text(row, "remote_addr")?,
            action_id: value::<Nullable<SqlUuid>, _>(row, "action_id")?,
            db_role: value::<Text, _>(row, "db_role")?,
            application_name: text(row, "application_name")?,
            client_addr: text(row, "client_addr")?,
            meta: text(row, "meta")?.map(|meta| serde_json::from_str::<Json>(&meta)).transpose()?,
            context_error: text(row, "context_error")?,
        })
    }
}

impl StoredById for AuditAction {
    const TABLE: &'static str = "threadline.audit_actions";
    const COLUMNS: &'static str = "r.id, r.occurred_at, r.name, r.status, r.verb, r.category, r.reason, r.comment, r.actor_type, r.actor_id, \
         r.request_id, r.correlation_id, r.job_id, r.transaction_id";

    fn read<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let status: String = value::<Text, _>(row, "status")?;
        Ok(Self {
            id: value::<SqlUuid, _>(row, "id")?,
            occurred_at: value::<Timestamptz, _>(row, "occurred_at")?,
            name: value::<Text, _>(row, "name")?,
            status: if status == "ok" { ActionStatus::Ok } else { ActionStatus::Error },
            verb: text(row, "verb")?,
            category: text(row, "category")?,
            reason: text(row, "reason")?,
            comment: text(row, "comment")?,
            actor_type: text(row, "actor_type")?,
            actor_id: text(row, "actor_id")?,
            request_id: text(row, "request_id")?,
            correlation_id: text(row, "correlation_id")?,
            job_id: text(row, "job_id")?,
            transaction_id: value::<Nullable<SqlUuid>, _>(row, "transaction_id")?,
        })
    }
}
