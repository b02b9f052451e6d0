//! Legal holds: what retention must not remove, who says so, and why.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz};
use serde::{Deserialize, Serialize};

use crate::capture::TableName;
use crate::error::Error;
use crate::intent::Actor;
use crate::investigation::{RowKey, table_id};
use crate::operation::deployed::attempt;
use crate::operation::evidence::{Record, Reference, Subject, record_if_allowed};

/// How long counting what a hold matches may take.
const COUNTING: Duration = Duration::from_secs(10);

/// What is to be held. All that is given has to match; a hold that names nothing holds the whole trail.
///
/// A held change stays, with the other changes of its transaction to the same table, its transaction and the transaction's
/// actions. A hold that names neither table, row nor scope holds transactions and actions by themselves as well, also those
/// that changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing is held until it is placed"]
pub struct Hold {
    reason: String,
    table: Option<TableName>,
    row: Option<RowKey>,
    scope: Option<String>,
    actor: Option<Actor>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
}

impl Hold {
    /// Of everything, for this reason: 1 to 4096 bytes.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), table: None, row: None, scope: None, actor: None, from: None, to: None }
    }

    /// Only changes of this table.
    pub fn table(self, table: TableName) -> Self {
        Self { table: Some(table), row: None, ..self }
    }

    /// Only changes of one row of this table, by the key it had before or after them, and TRUNCATEs of the table.
    pub fn row(self, table: TableName, key: RowKey) -> Self {
        Self { table: Some(table), row: Some(key), ..self }
    }

    /// Only changes of rows of this tenant, by what the scope column held before or after them, and TRUNCATEs. A change that was
    /// captured before the column was declared says no tenant: [`place`] tells how many there are.
    pub fn scope(self, scope: impl Into<String>) -> Self {
        Self { scope: Some(scope.into()), ..self }
    }

    /// Only what this actor did.
    pub fn actor(self, actor: Actor) -> Self {
        Self { actor: Some(actor), ..self }
    }

    /// Only what was captured at this instant or later.
    pub fn from(self, instant: DateTime<Utc>) -> Self {
        Self { from: Some(instant), ..self }
    }

    /// Only what was captured at this instant or earlier.
    pub fn to(self, instant: DateTime<Utc>) -> Self {
        Self { to: Some(instant), ..self }
    }
}

/// A hold that was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LegalHold {
    /// Its number.
    pub id: i64,
    /// The table, under the name it had when its capture was last compiled; `None` for any.
    pub table: Option<TableName>,
    /// The row's key in its stored form; `None` for any.
    pub row_key: Option<String>,
    /// The same by its columns, as it was given, to ask [`row_history`](crate::Trail::row_history) and others with; `None` where
    /// the trail keeps no more than a digest of it, and where the table was given another key since.
    #[serde(skip_deserializing)]
    pub key: Option<RowKey>,
    /// The tenant; `None` for any.
    pub scope: Option<String>,
    /// Who did what is held; `None` for anybody.
    pub actor: Option<Actor>,
    /// Inclusive; `None` for any time.
    pub from: Option<DateTime<Utc>>,
    /// Inclusive; `None` for any time.
    pub to: Option<DateTime<Utc>>,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// Who placed it.
    pub placed_by: Actor,
    /// Why.
    pub reason: String,
    /// When it was released; `None` while it holds.
    pub released_at: Option<DateTime<Utc>>,
    /// Who released it.
    pub released_by: Option<Actor>,
    /// Why it was released.
    pub release_reason: Option<String>,
}

/// A hold that was placed, and how much of the trail it holds at this moment; what is captured from now on is not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlacedHold {
    /// The hold.
    pub hold: LegalHold,
    /// How many changes it matches; `None` when that could not be counted.
    pub changes: Option<u64>,
    /// How many actions it holds by themselves; `None` as for `changes`.
    pub actions: Option<u64>,
    /// What may be otherwise than was meant.
    pub warnings: Vec<HoldWarning>,
}

/// What about a hold may be otherwise than was meant. It holds all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[non_exhaustive]
pub enum HoldWarning {
    /// Nothing matches.
    MatchesNothing,
    /// Changes that all else matches say no tenant: they were captured before their table's scope column was declared.
    BeforeScope {
        /// How many.
        changes: u64,
    },
    /// What matches could not be counted.
    NotCounted {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for HoldWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MatchesNothing => {
                f.write_str("the hold matches nothing that there is; check what it names")
            }
            Self::BeforeScope { changes } => write!(
                f,
                "{changes} changes were captured before their table declared a tenant column, and are not held by a tenant; hold the table as well"
            ),
            Self::NotCounted { reason } => write!(f, "what the hold matches was not counted: {reason}"),
        }
    }
}

/// Places a hold. Once this has committed nothing it names goes, also not by a run that has begun; it waits for a batch of
/// such a run to end.
///
/// Then says how much it holds: that nothing matches is a warning, not an error. Counting ends after ten seconds; what a role may
/// not read, it cannot count.
///
/// Where the role may record it, the hold and its [evidence](crate::evidence) are there together or not at all.
///
/// # Errors
///
/// [`Error::Refused`] for a reason that is empty or too long, for a blank tenant, for a time that ends before it begins, and for a tenant where no
/// change can say one: no column is declared for it, and none was;
/// [`Error::NotAudited`]; a key that is not the table's.
pub fn place(conn: &mut PgConnection, hold: &Hold, by: &Actor) -> Result<PlacedHold, Error> {
    check_reason(&hold.reason)?;
    if let (Some(from), Some(to)) = (hold.from, hold.to)
        && from > to
    {
        return Err(Error::Refused {
            message: format!("the hold begins ({from}) after it ends ({to})"),
            hint: Some("give the earlier instant as `from`".to_owned()),
        });
    }
    if hold.scope.as_deref().is_some_and(|scope| scope.trim().is_empty()) {
        return Err(Error::Refused {
            message: "the tenant to hold is blank".to_owned(),
            hint: Some("name the tenant as the table's scope column has it".to_owned()),
        });
    }
    let table = hold.table.as_ref().map(TableName::to_sql);
    if hold.scope.is_some() {
        check_scope(conn, hold.table.as_ref())?;
    }
    let placed = recorded(conn, "place", |conn| {
        let placed: Placed = diesel::sql_query(format!(
        "WITH asked AS MATERIALIZED (SELECT CASE WHEN $1 IS NOT NULL THEN threadline.find_table($1, to_regclass($1)) END AS table_id), \
         h AS (INSERT INTO threadline.legal_holds (table_id, row_key, scope, actor_type, actor_id, held_from, held_to, placed_by, reason) \
         SELECT a.table_id, CASE WHEN $2 IS NOT NULL THEN threadline.hold_key(a.table_id, $2::jsonb) END, $3, $4, $5, $6, $7, $8::jsonb, $9 \
         FROM asked a RETURNING *) {ENTRY}"
    ))
    .bind::<Nullable<Text>, _>(&table)
    .bind::<Nullable<Text>, _>(hold.row.as_ref().map(RowKey::as_json))
    .bind::<Nullable<Text>, _>(&hold.scope)
    .bind::<Nullable<Text>, _>(hold.actor.as_ref().map(|actor| actor.actor_type().as_str()))
    .bind::<Nullable<Text>, _>(hold.actor.as_ref().and_then(Actor::id))
    .bind::<Nullable<Timestamptz>, _>(hold.from)
    .bind::<Nullable<Timestamptz>, _>(hold.to)
    .bind::<Text, _>(as_json(by))
    .bind::<Text, _>(&hold.reason)
    .get_result(conn)
    .map_err(|error| Error::from_query(conn, table.as_deref().unwrap_or_default(), error))?;
        placed.read()
    })?;
    counted(conn, placed)
}

/// That changes can say a tenant: of this table, or of any. What takes too long to find out, or a role may not, is let through.
fn check_scope(conn: &mut PgConnection, table: Option<&TableName>) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Scoped {
        #[diesel(sql_type = Bool)]
        is_scoped: bool,
    }
    let table_id = table.map_or(Ok(None), |table| table_id(conn, table))?;
    let scoped = attempt(conn, Some(COUNTING), |conn| {
        diesel::sql_query(
            "SELECT EXISTS (SELECT FROM threadline.audited_tables a WHERE a.scope_column IS NOT NULL AND ($1 IS NULL OR a.id = $1)) \
                 OR EXISTS (SELECT FROM threadline.audit_changes c WHERE (c.scope IS NOT NULL OR c.previous_scope IS NOT NULL) \
                     AND ($1 IS NULL OR c.table_id = $1)) AS is_scoped",
        )
        .bind::<Nullable<Integer>, _>(table_id)
        .get_result::<Scoped>(conn)
        .map_err(Error::Query)
    })?;
    let whose = match (scoped, table) {
        (Ok(Scoped { is_scoped: false }), Some(table)) => format!("table `{}` has", table.to_plain()),
        (Ok(Scoped { is_scoped: false }), None) => "no audited table has".to_owned(),
        _ => return Ok(()),
    };
    let no = if table.is_some() { "no" } else { "a" };
    Err(Error::Refused {
        message: format!("{whose} {no} scope column, so a hold on a tenant would match nothing"),
        hint: Some(
            "hold the table, a row or an actor, or declare the tenant's column as the table's `scope`"
                .to_owned(),
        ),
    })
}

/// How much a hold matches; counting changes nothing, and is given up after a while.
fn counted(conn: &mut PgConnection, hold: LegalHold) -> Result<PlacedHold, Error> {
    #[derive(QueryableByName)]
    struct Matches {
        #[diesel(sql_type = BigInt)]
        changes: i64,
        #[diesel(sql_type = BigInt)]
        actions: i64,
        #[diesel(sql_type = BigInt)]
        unscoped: i64,
    }
    let matches = attempt(conn, Some(COUNTING), |conn| {
        diesel::sql_query("SELECT changes, actions, unscoped FROM threadline.hold_matches($1)")
            .bind::<BigInt, _>(hold.id)
            .get_result::<Matches>(conn)
            .map_err(Error::Query)
    })?;
    let mut placed = PlacedHold { hold, changes: None, actions: None, warnings: Vec::new() };
    match matches {
        Ok(Matches { changes, actions, unscoped }) => {
            placed.changes = Some(changes.unsigned_abs());
            placed.actions = Some(actions.unsigned_abs());
            if changes + actions == 0 {
                placed.warnings.push(HoldWarning::MatchesNothing);
            }
            if unscoped > 0 {
                placed.warnings.push(HoldWarning::BeforeScope { changes: unscoped.unsigned_abs() });
            }
        }
        Err(unanswered) => placed.warnings.push(HoldWarning::NotCounted { reason: unanswered.reason }),
    }
    Ok(placed)
}

/// Releases a hold: from then on what it held goes by its window. Its row stays, with who, when and why; the release is
/// recorded as placing it was.
///
/// # Errors
///
/// [`Error::Refused`] when there is no such hold, it was released before, or the reason is empty or too long.
pub fn release(conn: &mut PgConnection, id: i64, by: &Actor, reason: &str) -> Result<LegalHold, Error> {
    check_reason(reason)?;
    recorded(conn, "release", |conn| {
        let released: Option<Placed> = diesel::sql_query(format!(
        "WITH h AS (UPDATE threadline.legal_holds SET released_at = clock_timestamp(), released_by = $2::jsonb, release_reason = $3 \
         WHERE id = $1 AND released_at IS NULL RETURNING *) {ENTRY}"
    ))
    .bind::<BigInt, _>(id)
    .bind::<Text, _>(as_json(by))
    .bind::<Text, _>(reason)
    .get_result(conn)
    .optional()
    .map_err(|error| Error::from_query(conn, "", error))?;
        match released {
            Some(released) => released.read(),
            None => Err(not_released(conn, id)?),
        }
    })
}

/// Why there was nothing to release.
fn not_released(conn: &mut PgConnection, id: i64) -> Result<Error, Error> {
    let before = list(conn, true)?.into_iter().find(|hold| hold.id == id);
    let (message, hint) = match before.and_then(|hold| hold.released_at.zip(hold.released_by)) {
        Some((at, by)) => {
            let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
            (format!("hold {id} was released before, at {at} by {by}"), None)
        }
        None => (format!("there is no hold {id}"), Some("list the holds to see which there are".to_owned())),
    };
    Ok(Error::Refused { message, hint })
}

/// What became of a hold and the record of it, in one transaction; a savepoint in the caller's.
fn recorded(
    conn: &mut PgConnection,
    call: &str,
    change: impl FnOnce(&mut PgConnection) -> Result<LegalHold, Error>,
) -> Result<LegalHold, Error> {
    let result = conn.transaction(|conn| {
        let hold = change(conn)?;
        record_if_allowed(conn, Subject::LegalHold, &[hold.evidence(call)])?;
        Ok(hold)
    });
    // Now that the transaction is over, the database can be asked what it ran into.
    result.map_err(|error| match error {
        Error::Query(error) => Error::from_query(conn, "", error),
        error => error,
    })
}

impl LegalHold {
    /// That it was placed, or released. What it is narrowed to is there by kind alone: the row, the tenant and the person are in
    /// the hold, and so are the reasons, which are people's own words.
    fn evidence(&self, call: &str) -> Record {
        let narrowed = [
            ("table", self.table.is_some()),
            ("row", self.row_key.is_some()),
            ("scope", self.scope.is_some()),
            ("actor", self.actor.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
        ];
        let narrowed = narrowed.into_iter().filter_map(|(name, is)| is.then_some(name));
        let (event, at, by) = match (self.released_at, &self.released_by) {
            (Some(at), Some(by)) => ("released", at, by),
            _ => ("placed", self.placed_at, &self.placed_by),
        };
        let entry_point = format!("threadline::holds::{call}");
        Record::new(Subject::LegalHold, Reference::new("hold", self.id), "threadline::holds", entry_point)
            .actor(by.clone())
            .recorded_at(at)
            .detail("event", event)
            .names("narrowed_by", narrowed)
            .names("tables", self.table.iter().map(TableName::to_plain))
    }
}

/// The holds that hold, or with `released` all there have ever been, in the order they were placed.
///
/// # Errors
///
/// When the database cannot be asked.
pub fn list(conn: &mut PgConnection, released: bool) -> Result<Vec<LegalHold>, Error> {
    let holds: Vec<Placed> = diesel::sql_query(format!(
        "WITH h AS (SELECT * FROM threadline.legal_holds WHERE released_at IS NULL OR $1) {ENTRY} ORDER BY h.id"
    ))
    .bind::<Bool, _>(released)
    .load(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    holds.into_iter().map(Placed::read).collect()
}

/// A hold `h` as JSON.
const ENTRY: &str = "SELECT jsonb_build_object('id', h.id, 'table', CASE WHEN a.id IS NOT NULL THEN \
     jsonb_build_object('schema', a.schema_name, 'name', a.table_name) END, 'row_key', h.row_key, \
     'key_columns', CASE WHEN h.row_key IS NOT NULL THEN to_jsonb(coalesce(threadline.key_now(a), a.key_columns)) END, 'scope', h.scope, \
     'actor', CASE WHEN h.actor_type IS NOT NULL THEN jsonb_strip_nulls(jsonb_build_object('type', h.actor_type, 'id', h.actor_id)) END, \
     'from', h.held_from, 'to', h.held_to, 'placed_at', h.placed_at, 'placed_by', h.placed_by, 'reason', h.reason, \
     'released_at', h.released_at, 'released_by', h.released_by, 'release_reason', h.release_reason)::text AS entry \
     FROM h LEFT JOIN threadline.audited_tables a ON a.id = h.table_id";

#[derive(QueryableByName)]
struct Placed {
    #[diesel(sql_type = Text)]
    entry: String,
}

impl Placed {
    fn read(self) -> Result<LegalHold, Error> {
        #[derive(Deserialize)]
        struct Entry {
            #[serde(flatten)]
            hold: LegalHold,
            key_columns: Option<Vec<String>>,
        }
        let Entry { hold, key_columns } = serde_json::from_str(&self.entry).map_err(Error::Payload)?;
        let key = key_columns.zip(hold.row_key.as_deref());
        let key = key.and_then(|(columns, stored)| RowKey::stored(&columns, stored));
        Ok(LegalHold { key, ..hold })
    }
}

fn check_reason(reason: &str) -> Result<(), Error> {
    if reason.trim().is_empty() || reason.len() > 4096 {
        return Err(Error::Refused {
            message: "the reason is empty or longer than 4096 bytes".to_owned(),
            hint: Some("say why in a sentence".to_owned()),
        });
    }
    Ok(())
}

pub(super) fn as_json(actor: &Actor) -> String {
    serde_json::to_string(actor).expect("an actor always serializes")
}
