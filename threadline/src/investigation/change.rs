//! The rows of the trail: a change, the transaction it belongs to, and what the application says was done.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text, Timestamptz, Uuid as SqlUuid};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::image::Json;
use crate::intent::{ActionStatus, Actor, ActorId};

/// What a change did; as JSON and when shown `insert`, `update`, `delete` or `truncate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Op {
    /// A row was inserted.
    #[serde(rename = "insert", alias = "I")]
    Insert,
    /// A row was updated.
    #[serde(rename = "update", alias = "U")]
    Update,
    /// A row was deleted.
    #[serde(rename = "delete", alias = "D")]
    Delete,
    /// The whole table was truncated.
    #[serde(rename = "truncate", alias = "T")]
    Truncate,
}

impl Op {
    /// As it is stored.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Insert => "I",
            Self::Update => "U",
            Self::Delete => "D",
            Self::Truncate => "T",
        }
    }

    /// By the name it is shown under.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Insert, Self::Update, Self::Delete, Self::Truncate]
            .into_iter()
            .find(|op| op.to_string() == name)
    }

    /// As it is stored, read back.
    pub(crate) fn coded(code: &str) -> Option<Self> {
        [Self::Insert, Self::Update, Self::Delete, Self::Truncate].into_iter().find(|op| op.code() == code)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        })
    }
}

/// Names one change in the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ChangeId {
    /// The transaction.
    pub transaction_id: Uuid,
    /// Position within it, from 1.
    pub ordinal: i32,
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.transaction_id, self.ordinal)
    }
}

/// A column before and after an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// The value before.
    pub before: Json,
    /// The value after.
    pub after: Json,
    /// Whether both are the mask's placeholder.
    pub masked: bool,
}

/// One captured change of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditChange {
    /// Its name in the trail.
    #[serde(flatten)]
    pub id: ChangeId,
    /// Clock time of the change (UTC, microseconds).
    pub captured_at: DateTime<Utc>,
    /// What it did.
    pub op: Op,
    /// The row's key after it: one column as text, several as a JSON array of texts.
    pub row_key: String,
    /// The key before an update that changed it.
    pub previous_row_key: Option<String>,
    /// The tenant the row belongs to, when the table declares a scope column.
    pub scope: Option<String>,
    /// The tenant before an update that changed it.
    pub previous_scope: Option<String>,
    /// The partition that was written, when the table is partitioned.
    pub partition: Option<String>,
    /// For an update, each changed column under its present name, also those the model ignores; empty otherwise.
    pub fields: BTreeMap<String, FieldChange>,
    /// Columns in `fields` whose change alone would not have been recorded.
    pub ignored: Vec<String>,
}

impl AuditChange {
    /// The names of the changed columns in order, without the ignored ones; empty unless it is an update.
    pub fn changed_fields(&self) -> Vec<&str> {
        self.fields
            .keys()
            .map(String::as_str)
            .filter(|name| !self.ignored.iter().any(|ignored| ignored == name))
            .collect()
    }
}

/// The transaction a change belongs to: who, from where, in which role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, QueryableByName)]
#[non_exhaustive]
pub struct AuditTransaction {
    /// Its name in the trail, time-ordered.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// When it began (UTC, microseconds).
    #[diesel(sql_type = Timestamptz)]
    pub occurred_at: DateTime<Utc>,
    /// `user`, `admin`, `service_account`, `job`, `system` or `anonymous`; `None` when the application named nobody.
    #[diesel(sql_type = Nullable<Text>)]
    pub actor_type: Option<String>,
    /// The actor's id in the application.
    #[diesel(sql_type = Nullable<Text>)]
    pub actor_id: Option<String>,
    /// The request that made the change.
    #[diesel(sql_type = Nullable<Text>)]
    pub request_id: Option<String>,
    /// What it belongs together with.
    #[diesel(sql_type = Nullable<Text>)]
    pub correlation_id: Option<String>,
    /// The background job that made the change.
    #[diesel(sql_type = Nullable<Text>)]
    pub job_id: Option<String>,
    /// Address of the application's client.
    #[diesel(sql_type = Nullable<Text>)]
    pub remote_addr: Option<String>,
    /// The recorded action it belongs to.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub action_id: Option<Uuid>,
    /// The database role that logged in.
    #[diesel(sql_type = Text)]
    pub db_role: String,
    /// `application_name` of the database session.
    #[diesel(sql_type = Nullable<Text>)]
    pub application_name: Option<String>,
    /// Address of the database client; `None` for a unix socket.
    #[diesel(sql_type = Nullable<Text>)]
    pub client_addr: Option<String>,
    /// Metadata the application attached, an object.
    #[diesel(sql_type = Nullable<Text>)]
    pub meta: Option<Json>,
    /// What was wrong with the context the application handed over.
    #[diesel(sql_type = Nullable<Text>)]
    pub context_error: Option<String>,
}

impl AuditTransaction {
    /// What is selected of a row `t` of `audit_transactions`.
    pub(crate) const COLUMNS: &str = "t.id, t.occurred_at, t.actor_type, t.actor_id, t.request_id, t.correlation_id, t.job_id, \
         t.remote_addr, t.action_id, t.db_role, t.application_name, abbrev(t.client_addr) AS client_addr, t.meta::text AS meta, \
         t.context_error";

    /// Who answers for it; `None` also when what is stored is not an actor as this library writes them.
    pub fn actor(&self) -> Option<Actor> {
        stored_actor(self.actor_type.as_deref(), self.actor_id.as_deref())
    }
}

fn stored_actor(actor_type: Option<&str>, id: Option<&str>) -> Option<Actor> {
    let id = id.map(ActorId::try_from).transpose().ok()?;
    Actor::new(actor_type?.parse().ok()?, id).ok()
}

/// What the application said it was doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, QueryableByName)]
#[non_exhaustive]
pub struct AuditAction {
    /// Its name in the trail, time-ordered.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// When it was recorded (UTC, microseconds).
    #[diesel(sql_type = Timestamptz)]
    pub occurred_at: DateTime<Utc>,
    /// What it is called, such as `post.published`.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// How it ended.
    #[diesel(sql_type = Text)]
    pub status: ActionStatus,
    /// What was done, in one word.
    #[diesel(sql_type = Nullable<Text>)]
    pub verb: Option<String>,
    /// The application's own grouping.
    #[diesel(sql_type = Nullable<Text>)]
    pub category: Option<String>,
    /// Why it was done, or why it failed.
    #[diesel(sql_type = Nullable<Text>)]
    pub reason: Option<String>,
    /// A remark for the reader.
    #[diesel(sql_type = Nullable<Text>)]
    pub comment: Option<String>,
    /// As in [`AuditTransaction`].
    #[diesel(sql_type = Nullable<Text>)]
    pub actor_type: Option<String>,
    /// As in [`AuditTransaction`].
    #[diesel(sql_type = Nullable<Text>)]
    pub actor_id: Option<String>,
    /// As in [`AuditTransaction`].
    #[diesel(sql_type = Nullable<Text>)]
    pub request_id: Option<String>,
    /// As in [`AuditTransaction`].
    #[diesel(sql_type = Nullable<Text>)]
    pub correlation_id: Option<String>,
    /// As in [`AuditTransaction`].
    #[diesel(sql_type = Nullable<Text>)]
    pub job_id: Option<String>,
    /// The transaction it ran in; `None` when it was recorded on its own.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub transaction_id: Option<Uuid>,
}

impl AuditAction {
    /// What is selected of a row `a` of `audit_actions`.
    pub(crate) const COLUMNS: &str = "a.id, a.occurred_at, a.name, a.status, a.verb, a.category, a.reason, a.comment, a.actor_type, \
         a.actor_id, a.request_id, a.correlation_id, a.job_id, a.transaction_id";

    /// Who did it; `None` also when what is stored is not an actor as this library writes them.
    pub fn actor(&self) -> Option<Actor> {
        stored_actor(self.actor_type.as_deref(), self.actor_id.as_deref())
    }
}
