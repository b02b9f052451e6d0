//! Evidence as it was recorded.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use serde::Serialize;
use uuid::Uuid;

use super::reference::Reference;
use super::subject::{Source, Status, Subject, Verdict};
use crate::intent::Actor;
use crate::investigation::Json;

/// A record of evidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EvidenceRecord {
    /// Its id.
    pub id: Uuid,
    /// What kind of fact it is.
    pub subject: Subject,
    /// What exactly it is about.
    pub reference: Reference,
    /// How it went.
    pub status: Status,
    /// What it supports.
    pub verdict: Verdict,
    /// When the fact was established.
    pub recorded_at: DateTime<Utc>,
    /// When the row was written, by the database's clock.
    pub written_at: DateTime<Utc>,
    /// Who asked for it, as the role that recorded it says: see [`Provenance::db_role`].
    pub actor: Option<Actor>,
    /// Where the record comes from.
    pub provenance: Provenance,
    /// The fact.
    pub detail: Json,
    /// Version of what `reference` and `detail` look like.
    pub format_version: i32,
}

/// Where a record comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Provenance {
    /// The part of the program that recorded it.
    pub writer: String,
    /// What that was called by.
    pub entry_point: String,
    /// Version of the library.
    pub library_version: String,
    /// The database role that logged in. A client cannot fake it.
    pub db_role: String,
    /// Whether that role was granted to operate the trail, or could be any.
    pub source: Source,
}

/// A row of `threadline.evidence_records` as `e`.
#[derive(QueryableByName)]
pub(super) struct Row {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    subject: Subject,
    #[diesel(sql_type = Text)]
    reference: Reference,
    #[diesel(sql_type = Text)]
    status: Status,
    #[diesel(sql_type = Text)]
    verdict: Verdict,
    #[diesel(sql_type = Timestamptz)]
    recorded_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    written_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Text>)]
    actor_type: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    actor_id: Option<String>,
    #[diesel(sql_type = Text)]
    writer: String,
    #[diesel(sql_type = Text)]
    entry_point: String,
    #[diesel(sql_type = Text)]
    library_version: String,
    #[diesel(sql_type = Text)]
    db_role: String,
    #[diesel(sql_type = Text)]
    source: Source,
    #[diesel(sql_type = Text)]
    detail: Json,
    #[diesel(sql_type = Integer)]
    format: i32,
}

impl Row {
    pub(super) const COLUMNS: &str = "e.id, e.subject, e.reference::text AS reference, e.status, e.verdict, e.recorded_at, e.written_at, \
         e.actor_type, e.actor_id, e.writer, e.entry_point, e.library_version, e.db_role, e.source, e.detail::text AS detail, e.format";
}

impl From<Row> for EvidenceRecord {
    fn from(row: Row) -> Self {
        let id = row.actor_id.and_then(|id| id.parse().ok());
        let actor = row.actor_type.and_then(|actor_type| Actor::new(actor_type.parse().ok()?, id).ok());
        Self {
            id: row.id,
            subject: row.subject,
            reference: row.reference,
            status: row.status,
            verdict: row.verdict,
            recorded_at: row.recorded_at,
            written_at: row.written_at,
            actor,
            provenance: Provenance {
                writer: row.writer,
                entry_point: row.entry_point,
                library_version: row.library_version,
                db_role: row.db_role,
                source: row.source,
            },
            detail: row.detail,
            format_version: row.format,
        }
    }
}
