//! What a reader may see of the trail: the host's decision, asked for at each read.

use std::collections::BTreeSet;
use std::fmt;

use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable, Text};
use serde::{Deserialize, Serialize};
use tracing::field::Empty;

use super::change::AuditTransaction;
use super::scope_form::ScopeForm;
use super::statement::Statement;
use crate::capture::TableName;
use crate::error::Error;
use crate::telemetry;

/// The kind of read a scope is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Surface {
    /// Timelines, their pages, an actor's window, what belongs to a correlation id.
    Timeline,
    /// The number of changes in a timeline.
    Count,
    /// Exports.
    Export,
    /// The versions of a row.
    RowHistory,
    /// What rows were at an instant.
    AsOf,
    /// Whole queries as of an instant.
    Travel,
    /// The transactions of an actor.
    ActorHistory,
    /// One transaction: itself, its context, its changes.
    Transaction,
    /// One transaction with the differences it made.
    Incident,
    /// What the application recorded as done.
    Actions,
    /// The feed of committed transactions.
    Feed,
    /// Plans that undo something.
    Undo,
}

impl Surface {
    /// All there are.
    pub const ALL: &[Self] = &[
        Self::Timeline,
        Self::Count,
        Self::Export,
        Self::RowHistory,
        Self::AsOf,
        Self::Travel,
        Self::ActorHistory,
        Self::Transaction,
        Self::Incident,
        Self::Actions,
        Self::Feed,
        Self::Undo,
    ];

    /// Its name, such as `row_history`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeline => "timeline",
            Self::Count => "count",
            Self::Export => "export",
            Self::RowHistory => "row_history",
            Self::AsOf => "as_of",
            Self::Travel => "travel",
            Self::ActorHistory => "actor_history",
            Self::Transaction => "transaction",
            Self::Incident => "incident",
            Self::Actions => "actions",
            Self::Feed => "feed",
            Self::Undo => "undo",
        }
    }

    /// Reads, and tells telemetry that it was done and how it went.
    pub(crate) fn observed<T, E>(
        self,
        outcome: impl FnOnce(&Result<T, E>) -> &'static str,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let span = tracing::debug_span!("threadline.read", surface = self.as_str(), outcome = Empty);
        let (result, took) = telemetry::timed(|| span.in_scope(read));
        let outcome = outcome(&result);
        span.record("outcome", outcome);
        telemetry::READS.add(1, [self.as_str(), outcome]);
        telemetry::READ_DURATION.note(took, [self.as_str()]);
        result
    }
}

impl fmt::Display for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The part of the trail a reader may see. It can only narrow what a filter asks for.
///
/// A change is visible when it passes; an update that moved a row from one tenant to another passes when both do. A
/// transaction is visible when one of its changes is, or its metadata passes by itself; an action is when its transaction is.
/// A row as of an instant is matched by its scope column and its table alone.
///
/// ```
/// use threadline::{Scope, TableName};
///
/// // What organization 7 owns, and the shared list of countries.
/// let scope = Scope::tenant("7").or(Scope::table(TableName::new(None, "countries")));
/// # let _ = scope;
/// ```
///
/// Serialized, as `{"version": 1, "rule": …}`, it can be kept for what reads later; a form this version does not know in full
/// is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "ScopeForm", try_from = "ScopeForm")]
#[must_use]
pub struct Scope(Rule<TableName>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule<T> {
    Column(BTreeSet<String>),
    Meta { key: String, values: BTreeSet<String> },
    Table(T),
    All(Box<[Rule<T>; 2]>),
    Any(Box<[Rule<T>; 2]>),
    Nothing,
}

impl Scope {
    /// Nothing at all.
    pub fn nothing() -> Self {
        Self(Rule::Nothing)
    }

    /// Rows whose scope column, declared with `#[threadline(scope(…))]`, had this value, as text; rows of tables without a
    /// scope column never have it.
    pub fn tenant(value: impl Into<String>) -> Self {
        Self::tenants([value])
    }

    /// As [`tenant`](Self::tenant), for any of several values; of none, nothing is visible.
    pub fn tenants<V: Into<String>>(values: impl IntoIterator<Item = V>) -> Self {
        Self(Rule::Column(values.into_iter().map(Into::into).collect()))
    }

    /// Transactions whose metadata has one of these values under this key, as text, as set by `with_meta`.
    pub fn meta<V: Into<String>>(key: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        Self(Rule::Meta { key: key.into(), values: values.into_iter().map(Into::into).collect() })
    }

    /// Every row of a table.
    pub fn table(table: TableName) -> Self {
        Self(Rule::Table(table))
    }

    /// What passes both.
    pub fn and(self, other: Self) -> Self {
        Self(Rule::All(Box::new([self.0, other.0])))
    }

    /// What passes either.
    pub fn or(self, other: Self) -> Self {
        Self(Rule::Any(Box::new([self.0, other.0])))
    }

    pub(super) fn into_rule(self) -> Rule<TableName> {
        self.0
    }

    pub(super) fn of_rule(rule: Rule<TableName>) -> Self {
        Self(rule)
    }

    /// The same with every table under its full name, so that it means the same on another search path; a table that is not
    /// there is nothing.
    pub(crate) fn qualified(&self, conn: &mut PgConnection) -> Result<Self, Error> {
        self.0.qualified(conn).map(Self)
    }

    /// The same with the tables' ids in place of their names.
    pub(crate) fn resolve(&self, conn: &mut PgConnection) -> Result<ResolvedScope, Error> {
        self.0.resolve(conn).map(ResolvedScope)
    }
}

impl Rule<TableName> {
    fn resolve(&self, conn: &mut PgConnection) -> Result<Rule<i32>, Error> {
        self.with_tables(&mut |table| audited_table(conn, table))
    }

    fn qualified(&self, conn: &mut PgConnection) -> Result<Self, Error> {
        self.with_tables(&mut |table| relation_named(conn, table))
    }

    /// The same with other names of the tables; one that has none is nothing.
    fn with_tables<T>(
        &self,
        rename: &mut impl FnMut(&TableName) -> Result<Option<T>, Error>,
    ) -> Result<Rule<T>, Error> {
        let mut both = |rules: &[Self; 2]| {
            Ok::<_, Error>(Box::new([rules[0].with_tables(rename)?, rules[1].with_tables(rename)?]))
        };
        Ok(match self {
            Self::All(rules) => Rule::All(both(rules)?),
            Self::Any(rules) => Rule::Any(both(rules)?),
            Self::Column(values) => Rule::Column(values.clone()),
            Self::Meta { key, values } => Rule::Meta { key: key.clone(), values: values.clone() },
            Self::Table(table) => rename(table)?.map_or(Rule::Nothing, Rule::Table),
            Self::Nothing => Rule::Nothing,
        })
    }
}

/// What a name means on the search path, with its schema; `None` for no table.
pub(crate) fn relation_named(conn: &mut PgConnection, table: &TableName) -> Result<Option<TableName>, Error> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Text)]
        schema: String,
        #[diesel(sql_type = Text)]
        name: String,
    }
    let found: Option<Found> = diesel::sql_query(
        "SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = pg_catalog.to_regclass($1)",
    )
    .bind::<Text, _>(table.to_sql())
    .get_result(conn)
    .optional()
    .map_err(|error| Error::from_query(conn, "", error))?;
    Ok(found.map(|found| TableName::new(Some(&found.schema), &found.name)))
}

/// The id of a table, or `None` for one that was never audited.
fn audited_table(conn: &mut PgConnection, table: &TableName) -> Result<Option<i32>, Error> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Nullable<Integer>)]
        id: Option<i32>,
    }
    let found: Found = diesel::sql_query("SELECT threadline.table_id(to_regclass($1)) AS id")
        .bind::<Text, _>(table.to_sql())
        .get_result(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
    Ok(found.id)
}

/// A scope that knows its tables by their ids.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedScope(Rule<i32>);

fn listed(values: &BTreeSet<String>) -> Vec<String> {
    values.iter().cloned().collect()
}

impl ResolvedScope {
    /// The values of the scope column, when they are all there is to it.
    pub(crate) fn tenants(&self) -> Option<Vec<String>> {
        match &self.0 {
            Rule::Column(values) => Some(listed(values)),
            _ => None,
        }
    }

    /// Adds whether the change `c` is visible.
    pub(crate) fn of_change(&self, statement: &mut Statement) {
        self.0.of_change(statement);
    }

    /// Adds whether the transaction `t` is visible.
    pub(crate) fn of_transaction(&self, statement: &mut Statement) {
        statement.sql("(EXISTS (SELECT FROM threadline.audit_changes c WHERE c.transaction_id = t.id AND ");
        self.0.of_change(statement);
        statement.sql(") OR ");
        self.0.of_meta(statement);
        statement.sql(")");
    }

    /// Whether a change is visible. A change without a transaction's row has no metadata.
    pub(crate) fn sees_change(
        &self,
        table_id: i32,
        scope: Option<&str>,
        previous_scope: Option<&str>,
        transaction: Option<&AuditTransaction>,
    ) -> bool {
        self.0.passes(&|rule| match rule {
            Rule::Column(values) => {
                scope.is_some_and(|scope| values.contains(scope))
                    && previous_scope.is_none_or(|scope| values.contains(scope))
            }
            Rule::Meta { .. } => transaction.is_some_and(|transaction| rule.passes_meta(transaction)),
            Rule::Table(id) => *id == table_id,
            _ => false,
        })
    }

    /// Whether a transaction is visible by its metadata alone.
    pub(crate) fn sees_transaction(&self, transaction: &AuditTransaction) -> bool {
        self.0.passes(&|rule| matches!(rule, Rule::Meta { .. }) && rule.passes_meta(transaction))
    }

    /// The values of its scope column with which a table's rows are visible; `None` when all rows are.
    pub(crate) fn tenants_of(&self, table_id: i32) -> Option<BTreeSet<String>> {
        self.0.tenants_of(table_id)
    }

    /// Whether a row with this value in its scope column is visible, whoever wrote it.
    pub(crate) fn sees_row(&self, table_id: i32, scope: Option<&str>) -> bool {
        self.sees_change(table_id, scope, None, None)
    }
}

/// As PostgreSQL's `->>` writes it, for the values a key can be matched by.
fn meta_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

impl Rule<i32> {
    fn passes(&self, leaf: &impl Fn(&Self) -> bool) -> bool {
        match self {
            Self::All(rules) => rules.iter().all(|rule| rule.passes(leaf)),
            Self::Any(rules) => rules.iter().any(|rule| rule.passes(leaf)),
            Self::Nothing => false,
            rule => leaf(rule),
        }
    }

    fn passes_meta(&self, transaction: &AuditTransaction) -> bool {
        let Self::Meta { key, values } = self else { return false };
        let value = || meta_text(transaction.meta.as_ref()?.to_value().ok()?.get(key)?);
        value().is_some_and(|value| values.contains(&value))
    }

    /// As a row as of an instant is matched: by its table and its scope column alone.
    fn tenants_of(&self, table_id: i32) -> Option<BTreeSet<String>> {
        match self {
            Self::Column(values) => Some(values.clone()),
            Self::Table(id) if *id == table_id => None,
            Self::Table(_) | Self::Meta { .. } | Self::Nothing => Some(BTreeSet::new()),
            Self::All(rules) => match (rules[0].tenants_of(table_id), rules[1].tenants_of(table_id)) {
                (Some(first), Some(second)) => Some(first.intersection(&second).cloned().collect()),
                (first, second) => first.or(second),
            },
            Self::Any(rules) => {
                let (first, second) = (rules[0].tenants_of(table_id)?, rules[1].tenants_of(table_id)?);
                Some(first.union(&second).cloned().collect())
            }
        }
    }

    fn of_change(&self, statement: &mut Statement) {
        match self {
            Self::Column(values) => {
                statement
                    .sql("(c.scope = ANY (")
                    .bind(listed(values))
                    .sql(") AND (c.previous_scope IS NULL OR c.previous_scope = ANY (")
                    .bind(listed(values))
                    .sql(")))");
            }
            // A scalar subquery, which the planner leaves where it is: joined, it may read all transactions first.
            Self::Meta { key, values } => {
                statement
                    .sql("coalesce((SELECT m.meta ->> ")
                    .bind(key)
                    .sql(" FROM threadline.audit_transactions m WHERE m.id = c.transaction_id) = ANY (")
                    .bind(listed(values))
                    .sql("), false)");
            }
            Self::Table(id) => {
                statement.sql("c.table_id = ").bind(*id);
            }
            Self::All(rules) => Self::both(rules, "AND", statement, Self::of_change),
            Self::Any(rules) => Self::both(rules, "OR", statement, Self::of_change),
            Self::Nothing => {
                statement.sql("false");
            }
        }
    }

    /// Whether the transaction `t` passes by its metadata alone.
    fn of_meta(&self, statement: &mut Statement) {
        match self {
            Self::Meta { key, values } => {
                statement
                    .sql("coalesce(t.meta ->> ")
                    .bind(key)
                    .sql(" = ANY (")
                    .bind(listed(values))
                    .sql("), false)");
            }
            Self::All(rules) => Self::both(rules, "AND", statement, Self::of_meta),
            Self::Any(rules) => Self::both(rules, "OR", statement, Self::of_meta),
            Self::Column(_) | Self::Table(_) | Self::Nothing => {
                statement.sql("false");
            }
        }
    }

    fn both(
        rules: &[Self; 2],
        operator: &str,
        statement: &mut Statement,
        write: impl Fn(&Self, &mut Statement),
    ) {
        statement.sql("(");
        write(&rules[0], statement);
        statement.sql(" ").sql(operator).sql(" ");
        write(&rules[1], statement);
        statement.sql(")");
    }
}
