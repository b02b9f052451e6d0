//! What was on record about tables there are no more: without a last word a finding about them would stay for ever.

use std::collections::HashSet;

use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};

use super::reference::Reference;
use super::subject::Subject;
use crate::capture::TableName;
use crate::error::Error;
use crate::investigation::Statement;

/// What the last record about a table says.
pub(crate) const NO_TABLE: &str = "there is no table of this name any more: it was dropped or renamed";

/// What has to be recorded about a table that is not among those looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// There is no such table.
    NoTable,
    /// It is not to be audited any more, by decision.
    Ignored,
}

/// Tables that the newest records of a subject are about, that are not among `current`, and that are gone or `ignored`. `says`
/// names the part of the detail by which such a record is known. None for a role that may not read evidence.
pub(crate) fn closings(
    conn: &mut PgConnection,
    subject: Subject,
    says: &str,
    current: &HashSet<Reference>,
    ignored: &HashSet<Reference>,
) -> Result<Vec<(Reference, Closing)>, Error> {
    #[derive(QueryableByName)]
    struct Readable {
        #[diesel(sql_type = Bool)]
        is_readable: bool,
    }
    #[derive(QueryableByName)]
    struct Newest {
        #[diesel(sql_type = Text)]
        reference: Reference,
        #[diesel(sql_type = Nullable<Text>)]
        said: Option<String>,
    }
    #[derive(QueryableByName)]
    struct Table {
        #[diesel(sql_type = Text)]
        schema: String,
        #[diesel(sql_type = Text)]
        name: String,
    }
    let readable: Vec<Readable> = Statement::new(
        "SELECT coalesce(has_table_privilege(to_regclass('threadline.evidence_records'), 'SELECT'), false) AS is_readable",
    )
    .load_from(conn)?;
    if !readable.iter().any(|answer| answer.is_readable) {
        return Ok(Vec::new());
    }
    let mut statement =
        Statement::new("SELECT DISTINCT ON (e.reference) e.reference::text AS reference, e.detail ->> ");
    statement
        .bind(says)
        .sql(" AS said FROM threadline.evidence_records e WHERE e.source = 'operation' AND e.subject = ");
    statement.bind(subject.as_str()).sql(" ORDER BY e.reference, e.recorded_at DESC, e.id DESC");
    let newest: Vec<Newest> = statement.load_from(conn)?;
    let mut open: Vec<Newest> = newest
        .into_iter()
        .filter(|newest| newest.reference.get("table").is_some() && !current.contains(&newest.reference))
        .filter(|newest| newest.said.as_deref() != Some("closed"))
        .collect();
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let tables: Vec<Table> = Statement::new(
        "SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')",
    )
    .load_from(conn)?;
    let there: HashSet<Reference> = tables
        .iter()
        .map(|table| Reference::table(&TableName::new(Some(&table.schema), &table.name)))
        .collect();
    open.sort_by(|a, b| a.reference.cmp(&b.reference));
    let closing = |newest: Newest| {
        let closing = if !there.contains(&newest.reference) {
            Closing::NoTable
        } else if ignored.contains(&newest.reference) && newest.said.as_deref() != Some("ignored") {
            Closing::Ignored
        } else {
            return None;
        };
        Some((newest.reference, closing))
    };
    Ok(open.into_iter().filter_map(closing).collect())
}
