//! A filter and a scope as the database understands them: tables by their ids, keys as they are stored.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Integer, Nullable, Text};
use uuid::Uuid;

use crate::capture::TableName;
use crate::error::Error;
use crate::investigation::change::Op;
use crate::investigation::filter::{ActorFilter, Filter, InvalidFilter};
use crate::investigation::key::RowKey;
use crate::investigation::page::{Order, Position};
use crate::investigation::scope::ResolvedScope;
use crate::investigation::statement::Statement;

/// What is asked of the trail.
pub(crate) struct Question {
    pub(crate) filter: Filter,
    pub(crate) scope: Option<ResolvedScope>,
    /// The tables asked for; `None` for all.
    pub(crate) tables: Option<Vec<i32>>,
    /// The one transaction asked for.
    pub(crate) transaction: Option<Uuid>,
    /// The stored key of the row asked for.
    pub(crate) row_key: Option<String>,
    /// Every name the column asked for has had in those tables.
    column_names: Vec<String>,
}

/// The smallest id of a transaction or action that began in the millisecond of this instant, moved by an offset.
pub(crate) fn first_id_at(instant: DateTime<Utc>, offset: TimeDelta) -> Uuid {
    let millis = instant.timestamp_millis().saturating_add(offset.num_milliseconds()).clamp(0, (1 << 48) - 1);
    Uuid::from_u128(u128::try_from(millis).expect("it is not negative") << 80)
}

/// When the transaction with this id began, to the millisecond.
pub(crate) fn began_at(id: Uuid) -> DateTime<Utc> {
    let millis = i64::try_from(id.as_u128() >> 80).expect("48 bits fit");
    DateTime::from_timestamp_millis(millis).expect("48 bits of milliseconds are a date")
}

impl Question {
    /// Looks up what the filter names.
    pub(crate) fn new(
        conn: &mut PgConnection,
        filter: &Filter,
        scope: Option<ResolvedScope>,
    ) -> Result<Self, Error> {
        filter.check()?;
        let tables = tables_of(conn, filter)?;
        let row_key = match (&filter.key, tables.as_deref()) {
            (Some(key), Some([table])) => {
                let respelled = respelled(conn, filter, key)?;
                Some(row_key(conn, *table, respelled.as_ref().unwrap_or(key).as_json())?)
            }
            _ => None,
        };
        let column_names = match &filter.column {
            Some(column) => column_names(conn, column, tables.as_deref())?,
            None => Vec::new(),
        };
        Ok(Self { filter: filter.clone(), scope, tables, transaction: None, row_key, column_names })
    }

    /// Everything one transaction changed.
    pub(crate) fn of_one_transaction(id: Uuid, scope: Option<ResolvedScope>) -> Self {
        Self {
            filter: Filter::new(),
            scope,
            tables: None,
            transaction: Some(id),
            row_key: None,
            column_names: Vec::new(),
        }
    }

    /// Adds what a change `c` has to be by itself, the tables and the row excepted: those are how changes are found.
    pub(crate) fn of_change(&self, statement: &mut Statement, order: Order, after: Option<Position>) {
        let Filter { ops, from, to, .. } = &self.filter;
        if !ops.is_empty() {
            let codes: Vec<String> = ops.iter().map(|op| op.code().to_owned()).collect();
            statement.sql(" AND c.op::text = ANY (").bind(codes).sql(")");
        }
        if self.filter.column.is_some() {
            // `?|` on jsonb; written as a function because `?` could be taken for a parameter by drivers.
            statement
                .sql(" AND c.op = 'U' AND jsonb_exists_any(c.diff::jsonb, ")
                .bind(self.column_names.clone())
                .sql(")");
        }
        if let Some(from) = from {
            statement.sql(" AND c.captured_at >= ").bind(*from);
        }
        // A change is captured after its transaction has begun, so ids past the instant need not be looked at; a minute
        // more, for a clock that was set back.
        let latest = [*to, after.filter(|_| order == Order::NewestFirst).map(|after| after.captured_at)];
        if let Some(latest) = latest.into_iter().flatten().min() {
            statement.sql(" AND c.captured_at <= ").bind(latest);
            statement.sql(" AND c.transaction_id < ").bind(first_id_at(latest, TimeDelta::minutes(1)));
        }
        if let Some(after) = after {
            if order == Order::OldestFirst {
                statement.sql(" AND c.captured_at >= ").bind(after.captured_at);
            }
            let onwards = order.onwards();
            statement.sql(" AND (c.captured_at ").sql(onwards).sql(" ").bind(after.captured_at);
            statement
                .sql(" OR (c.transaction_id, c.ordinal) ")
                .sql(onwards)
                .sql(" (")
                .bind(after.id.transaction_id);
            statement.sql(", ").bind(after.id.ordinal).sql("))");
        }
        if let Some(scope) = &self.scope {
            statement.sql(" AND ");
            scope.of_change(statement);
        }
    }

    /// Adds the tables, for changes that are found by something else.
    pub(crate) fn of_tables(&self, statement: &mut Statement) {
        if let Some(tables) = &self.tables {
            statement.sql(" AND c.table_id = ANY (").bind(tables.clone()).sql(")");
        }
    }

    /// Whether it asks for no more than a table, a span of time, and one actor, request, or the like: there are few such
    /// statements, and they are what is asked most, so the session keeps them prepared.
    pub(crate) fn is_common(&self) -> bool {
        let Filter { tables, actors, actions, ops, categories, .. } = &self.filter;
        let is_one = [
            &self.filter.correlation_id,
            &self.filter.transaction_correlation_id,
            &self.filter.request_id,
            &self.filter.job_id,
        ]
        .into_iter()
        .flatten()
        .count()
            + actors.len()
            + actions.len()
            <= 1;
        let is_plain = ops.is_empty()
            && categories.is_empty()
            && self.filter.status.is_none()
            && self.filter.column.is_none()
            && self.filter.db_role.is_none()
            && self.row_key.is_none()
            && self.scope.is_none();
        is_one && is_plain && tables.len() <= 1 && self.tables.as_ref().is_none_or(|tables| tables.len() <= 1)
    }

    /// A statement for it that goes on from this text.
    pub(crate) fn statement(&self, sql: &str) -> Statement {
        if self.is_common() { Statement::kept(sql) } else { Statement::new(sql) }
    }

    /// A limit for such a statement: not less than wanted, and of few numbers where it is kept.
    pub(crate) fn limit(&self, wanted: usize) -> usize {
        if self.is_common() { wanted.next_power_of_two() } else { wanted }
    }

    /// Whether it asks about actions.
    pub(crate) fn asks_why(&self) -> bool {
        let Filter { actions, status, categories, correlation_id, .. } = &self.filter;
        !actions.is_empty() || status.is_some() || !categories.is_empty() || correlation_id.is_some()
    }

    /// Adds what a transaction `t` has to be, and says whether that is anything.
    pub(crate) fn of_transaction(&self, statement: &mut Statement) -> bool {
        let Filter { actors, transaction_correlation_id, request_id, job_id, db_role, .. } = &self.filter;
        let texts = [
            ("t.correlation_id", transaction_correlation_id),
            ("t.request_id", request_id),
            ("t.job_id", job_id),
            ("t.db_role", db_role),
        ];
        let mut any = of_actors(statement, "t", actors);
        for (column, text) in texts {
            if let Some(text) = text {
                // As a list, so that it leaves the order to the place it may be found by.
                statement.sql(" AND ").sql(column).sql(" = ANY (").bind(vec![text.clone()]).sql(")");
                any = true;
            }
        }
        any
    }

    /// Adds that the transaction with this id, an expression, is one that is asked for.
    pub(crate) fn of_transaction_of(&self, statement: &mut Statement, id: &str) {
        let mut conditions = Statement::new("");
        if self.of_transaction(&mut conditions) {
            // A scalar subquery stays where it is, one probe a change; joined, the planner may read all transactions first.
            statement
                .sql(&format!(" AND (SELECT true FROM threadline.audit_transactions t WHERE t.id = {id}"));
            statement.append(&conditions).sql(")");
        }
        if self.asks_why() {
            statement.sql(" AND ");
            self.of_some_action(statement, id);
        }
    }

    /// Adds that some action recorded in the transaction with this id is one that is asked for. Such an action's id has the
    /// transaction's milliseconds.
    pub(crate) fn of_some_action(&self, statement: &mut Statement, id: &str) {
        statement.sql(&format!(
            "coalesce((SELECT true FROM threadline.audit_actions a WHERE a.transaction_id = {id} \
             AND a.id >= (left({id}::text, 14) || '0000-0000-000000000000')::uuid \
             AND a.id <= (left({id}::text, 14) || 'ffff-ffff-ffffffffffff')::uuid"
        ));
        self.filter.of_action(statement);
        statement.sql(" LIMIT 1), false)");
    }
}

/// Adds that it was one of these actors, of a row with such columns, and says whether that is anything.
pub(crate) fn of_actors(statement: &mut Statement, alias: &str, actors: &[ActorFilter]) -> bool {
    for (place, actor) in actors.iter().enumerate() {
        statement.sql(if place == 0 { " AND (" } else { " OR " });
        of_actor(statement, alias, actor);
    }
    if !actors.is_empty() {
        statement.sql(")");
    }
    !actors.is_empty()
}

/// Adds that it was this actor.
fn of_actor(statement: &mut Statement, alias: &str, actor: &ActorFilter) {
    match actor {
        ActorFilter::Nobody => {
            statement.sql(alias).sql(".actor_type IS NULL");
        }
        ActorFilter::Named(actor) => {
            statement.sql(&format!("({alias}.actor_type = ")).bind(actor.actor_type().as_str());
            match actor.id() {
                Some(id) => statement
                    .sql(&format!(" AND {alias}.actor_id = ANY ("))
                    .bind(vec![id.to_owned()])
                    .sql(")"),
                None => statement.sql(&format!(" AND {alias}.actor_id IS NULL")),
            };
            statement.sql(")");
        }
    }
}

impl Filter {
    /// Adds what an action `a` has to be.
    pub(crate) fn of_action(&self, statement: &mut Statement) {
        let Self { actions, status, categories, correlation_id, .. } = self;
        // Lists, so that they leave the order to the place it may be found by.
        if !actions.is_empty() {
            statement.sql(" AND a.name = ANY (").bind(&actions[..]).sql(")");
        }
        if let Some(status) = status {
            // Written out, so that the index of failed actions serves.
            statement.sql(" AND a.status = '").sql(&status.to_string()).sql("'");
        }
        if !categories.is_empty() {
            statement.sql(" AND a.category = ANY (").bind(&categories[..]).sql(")");
        }
        if let Some(id) = correlation_id {
            statement.sql(" AND a.correlation_id = ANY (").bind(vec![id.clone()]).sql(")");
        }
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Nullable<Integer>)]
    id: Option<i32>,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

fn tables_of(conn: &mut PgConnection, filter: &Filter) -> Result<Option<Vec<i32>>, Error> {
    let mut ids = BTreeSet::new();
    for table in &filter.tables {
        let schema = table.schema().or(filter.schema.as_deref());
        ids.extend(table_id(conn, &TableName::new(schema, table.name()))?);
    }
    match &filter.schema {
        Some(schema) if filter.tables.is_empty() => {
            let found: Vec<Number> =
                Statement::kept("SELECT id FROM threadline.audited_tables WHERE schema_name = ")
                    .bind(schema)
                    .load_from(conn)?;
            if found.is_empty() {
                return Err(InvalidFilter::one("schema: has no table that was ever audited").into());
            }
            ids.extend(found.into_iter().filter_map(|found| found.id));
        }
        None if filter.tables.is_empty() => return Ok(None),
        _ => {}
    }
    Ok(Some(ids.into_iter().collect()))
}

/// The id of a table of the trail.
pub(crate) fn table_id(conn: &mut PgConnection, table: &TableName) -> Result<Option<i32>, Error> {
    let name = table.to_sql();
    let mut statement = Statement::kept("SELECT threadline.find_table(");
    statement.bind(&name).sql(", to_regclass(").bind(&name).sql(")) AS id");
    let found: Number =
        statement.get_result(conn).map_err(|error| Error::from_query(conn, &table.to_plain(), error))?;
    Ok(found.id)
}

/// Whether the trail has an answer to the filter: tables that it knows, with such a key and such a column.
pub(crate) fn check_filter(conn: &mut PgConnection, filter: &Filter) -> Result<(), Error> {
    Question::new(conn, filter, None).map(drop)
}

/// The key of several columns that was written in one text, which by itself reads as a value of the first of them.
fn respelled(conn: &mut PgConnection, filter: &Filter, key: &RowKey) -> Result<Option<RowKey>, Error> {
    let (parts, [table]) = (key.parts(), &filter.tables[..]) else { return Ok(None) };
    let Some((column, value)) =
        parts.iter().next().filter(|(_, value)| parts.len() == 1 && value.contains('='))
    else {
        return Ok(None);
    };
    let table = TableName::new(table.schema().or(filter.schema.as_deref()), table.name());
    let columns = RowKey::columns(conn, &table)?;
    Ok((columns.len() > 1).then(|| RowKey::spelled(&columns, &format!("{column}={value}"))).flatten())
}

/// The key as the trail stores it.
pub(crate) fn row_key(conn: &mut PgConnection, table: i32, key: &str) -> Result<String, Error> {
    let mut statement = Statement::kept("SELECT threadline.row_key(");
    statement.bind(table).sql(", ").bind(key).sql("::jsonb) AS name");
    let found: Name = statement.get_result(conn).map_err(|error| match unread_as(&error) {
        Some(kind) => Error::Refused {
            message: format!("a value of the row's key is no `{kind}`, which its column is"),
            hint: Some("write the key's values as PostgreSQL reads them".to_owned()),
        },
        None => Error::from_query(conn, "", error),
    })?;
    Ok(found.name)
}

/// The type that PostgreSQL could not read a text as; `None` when it failed by something else. Its message is all there is to
/// tell by, and quotes the text after the type.
fn unread_as(error: &DieselError) -> Option<String> {
    let DieselError::DatabaseError(_, information) = error else { return None };
    let message = information.message();
    let kind = match message.strip_prefix("invalid input syntax for type ") {
        Some(rest) => rest.split(':').next()?,
        None => message.split_once(" is out of range for type ")?.1,
    };
    Some(kind.trim().to_owned())
}

/// The names a column with this name today has had, in any table or in these. A column that is redacted away today has
/// none: that it changed is not told.
fn column_names(conn: &mut PgConnection, column: &str, tables: Option<&[i32]>) -> Result<Vec<String>, Error> {
    let mut statement = Statement::kept(
        "SELECT DISTINCT was.name FROM threadline.table_layouts l CROSS JOIN jsonb_to_recordset(l.columns) is_now (id integer, name text) \
         JOIN threadline.table_layouts o ON o.table_id = l.table_id CROSS JOIN jsonb_to_recordset(o.columns) was (id integer, name text) \
         WHERE was.id = is_now.id AND is_now.name = ",
    );
    statement.bind(column);
    if let Some(tables) = tables {
        statement.sql(" AND l.table_id = ANY (").bind(tables.to_vec()).sql(")");
    }
    let mut names: Vec<String> =
        statement.load_from::<Name>(conn)?.into_iter().map(|name| name.name).collect();
    // A table that has changed since its layout was recorded knows the name as it is.
    if names.is_empty() && !is_column_today(conn, column, tables)? {
        return Err(InvalidFilter::one("column: is not a column of any table that is asked about").into());
    }
    names.push(column.to_owned());
    Ok(names)
}

fn is_column_today(conn: &mut PgConnection, column: &str, tables: Option<&[i32]>) -> Result<bool, Error> {
    let mut statement = Statement::new(
        "SELECT t.name FROM threadline.audited_tables a CROSS JOIN LATERAL threadline.todays_columns(a.id) t WHERE t.name = ",
    );
    statement.bind(column);
    if let Some(tables) = tables {
        statement.sql(" AND a.id = ANY (").bind(tables.to_vec()).sql(")");
    }
    statement.sql(" LIMIT 1");
    Ok(!statement.load_from::<Name>(conn)?.is_empty())
}

/// What only the change as it is shown can answer: whether it changed the column asked for.
impl Question {
    pub(crate) fn column_changed(&self, change: &crate::AuditChange) -> bool {
        self.filter
            .column
            .as_ref()
            .is_none_or(|column| change.op == Op::Update && change.fields.contains_key(column))
    }
}
