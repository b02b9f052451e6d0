//! What is deployed: the host's tables, our triggers on them, and the policies in force. Read by a handful of queries over the
//! whole catalog, however many tables there are.

mod attempt;
mod trigger;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz};

pub(crate) use self::attempt::{Unanswered, attempt};
pub(crate) use self::trigger::{Hole, ROW_TRIGGER, Trigger};
use crate::capture::{ActorPolicy, AuditSpec, OnTruncate, TableName, quote_literal};
use crate::error::Error;
use crate::investigation::Statement;

/// One of the host's tables, or a partition of one.
#[derive(Debug)]
pub(crate) struct HostTable {
    pub(crate) oid: i64,
    pub(crate) name: TableName,
    pub(crate) is_partition: bool,
    /// The table at the top of its partition tree; its own number when it is no partition.
    pub(crate) root: i64,
    /// The extension it belongs to.
    pub(crate) extension: Option<String>,
    /// Whether the asking role may read its rows.
    pub(crate) is_readable: bool,
    /// What its columns look like now, when one of our triggers is on it.
    pub(crate) digest: Option<String>,
    /// The numbers of its attributes, then.
    pub(crate) numbers: Option<Vec<i32>>,
    /// Those that call our functions.
    pub(crate) triggers: Vec<Trigger>,
    /// Columns of the unique indexes that can serve as a key, the primary key first.
    pub(crate) keys: Vec<UsableKey>,
}

#[derive(Debug)]
pub(crate) struct UsableKey {
    pub(crate) is_primary: bool,
    pub(crate) columns: Vec<String>,
}

/// A table's name as an argument of our SQL functions.
pub(crate) fn regclass(table: &TableName) -> String {
    format!("{}::regclass", quote_literal(&table.to_sql()))
}

/// A row of `audited_tables`.
#[derive(Debug, QueryableByName)]
pub(crate) struct AuditedTable {
    #[diesel(sql_type = Integer)]
    pub(crate) id: i32,
    #[diesel(sql_type = Text)]
    pub(crate) schema_name: String,
    #[diesel(sql_type = Text)]
    pub(crate) table_name: String,
    #[diesel(sql_type = Array<Text>)]
    pub(crate) key_columns: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    pub(crate) declared_key: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    pub(crate) exclude: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    pub(crate) mask: Vec<String>,
    #[diesel(sql_type = Text)]
    pub(crate) mask_placeholder: String,
    #[diesel(sql_type = Array<Text>)]
    pub(crate) ignore: Vec<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) scope_column: Option<String>,
    #[diesel(sql_type = Text)]
    pub(crate) on_truncate: String,
    #[diesel(sql_type = Text)]
    pub(crate) actor_policy: String,
    #[diesel(sql_type = Bool)]
    pub(crate) attached: bool,
    /// Of one that is not attached when it was detached.
    #[diesel(sql_type = Timestamptz)]
    pub(crate) changed_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(crate) layout_relation: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) layout_digest: Option<String>,
    #[diesel(sql_type = Nullable<Array<Integer>>)]
    pub(crate) layout_numbers: Option<Vec<i32>>,
    #[diesel(sql_type = Text)]
    pub(crate) recorded_digest: String,
    /// `None` when the function is gone.
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) function_digest: Option<String>,
    /// Whether the owner of schema `threadline` owns the function.
    #[diesel(sql_type = Nullable<Bool>)]
    pub(crate) is_ours: Option<bool>,
}

impl AuditedTable {
    /// The name it was last known by.
    pub(crate) fn name(&self) -> TableName {
        TableName::new(Some(&self.schema_name), &self.table_name)
    }

    /// The statement that attaches `table` with this policy, but for the scope if one is given.
    pub(crate) fn attach_sql(&self, table: &TableName, scope: Option<&str>) -> String {
        fn borrowed(columns: &[String]) -> Vec<&str> {
            columns.iter().map(String::as_str).collect()
        }
        let spec = AuditSpec {
            schema: None,
            exclude: &borrowed(&self.exclude),
            mask: &borrowed(&self.mask),
            mask_placeholder: Some(&self.mask_placeholder),
            ignore: &borrowed(&self.ignore),
            key: &borrowed(&self.declared_key),
            scope: scope.or(self.scope_column.as_deref()),
            on_truncate: match self.on_truncate.as_str() {
                "keep" => OnTruncate::Keep,
                "refuse" => OnTruncate::Refuse,
                _ => OnTruncate::Record,
            },
            actor_policy: match self.actor_policy.as_str() {
                "require" => ActorPolicy::Require,
                _ => ActorPolicy::Allow,
            },
        };
        spec.attach_sql(table)
    }

    /// Whether its capture function is not what was compiled from its policy.
    pub(crate) fn is_altered(&self) -> bool {
        self.function_digest.as_deref() != Some(&self.recorded_digest) || self.is_ours == Some(false)
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Deployed {
    /// In the order of their names, partitions among them.
    pub(crate) tables: Vec<HostTable>,
    /// The attached tables by id, or why they cannot be read.
    pub(crate) audited: Result<Vec<AuditedTable>, Unanswered>,
    /// Those that were detached, with the policy they had.
    detached: Vec<AuditedTable>,
    /// Table id by relation.
    ids: HashMap<i64, i32>,
    /// Place in `tables` by relation.
    places: HashMap<i64, usize>,
    /// Places of the partitions by root.
    partitions: HashMap<i64, Vec<usize>>,
}

impl Deployed {
    /// Reads it; what takes a privilege on the audit tables may be missing.
    pub(crate) fn load(conn: &mut PgConnection) -> Result<Self, Error> {
        let tables = attempt(conn, None, host_tables)?.map_err(|unanswered| unanswered.error)?;
        let audited = attempt(conn, None, |conn| {
            let audited: Vec<AuditedTable> = Statement::new(include_str!("audited.sql")).load_from(conn)?;
            Ok(audited)
        })?
        .map(|audited| audited.into_iter().partition::<Vec<_>, _>(|audited| audited.attached));
        let (audited, detached) = match audited {
            Ok((attached, detached)) => (Ok(attached), detached),
            Err(unanswered) => (Err(unanswered), Vec::new()),
        };
        let places = tables.iter().enumerate().map(|(place, table)| (table.oid, place)).collect();
        let mut partitions = HashMap::<i64, Vec<usize>>::new();
        for (place, table) in tables.iter().enumerate().filter(|(_, table)| table.is_partition) {
            partitions.entry(table.root).or_default().push(place);
        }
        let ids = match &audited {
            Ok(audited) => ids_by_policy(&tables, audited),
            Err(_) => ids_by_trigger(&tables),
        };
        Ok(Self { tables, audited, detached, ids, places, partitions })
    }

    /// The tables that are no partitions, in the order of their names.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &HostTable> {
        self.tables.iter().filter(|table| !table.is_partition)
    }

    /// The partitions of a table, on all levels.
    pub(crate) fn partitions(&self, table: &HostTable) -> impl Iterator<Item = &HostTable> {
        self.partitions.get(&table.oid).into_iter().flatten().map(|place| &self.tables[*place])
    }

    /// The table's id in the trail while it is attached; by its trigger alone where the policies cannot be read.
    pub(crate) fn id(&self, table: &HostTable) -> Option<i32> {
        self.ids.get(&table.oid).copied()
    }

    pub(crate) fn table(&self, oid: i64) -> Option<&HostTable> {
        self.places.get(&oid).map(|place| &self.tables[*place])
    }

    /// The policy of a table; `None` when it is not attached, or policies cannot be read.
    pub(crate) fn policy(&self, table: &HostTable) -> Option<&AuditedTable> {
        let id = self.id(table)?;
        self.audited.as_ref().ok()?.iter().find(|audited| audited.id == id)
    }

    /// The policy a table had that was detached and would go on under the same id, by its name as `threadline.table_id` has it.
    pub(crate) fn former(&self, table: &HostTable) -> Option<&AuditedTable> {
        match self.id(table) {
            Some(_) => None,
            None => self.detached.iter().find(|audited| audited.name() == table.name),
        }
    }

    /// Attached tables with the relation they are; `None` for one that is gone.
    pub(crate) fn attached(&self) -> impl Iterator<Item = (&AuditedTable, Option<&HostTable>)> {
        let relations: HashMap<i32, i64> = self.ids.iter().map(|(oid, id)| (*id, *oid)).collect();
        self.audited
            .iter()
            .flatten()
            .map(move |audited| (audited, relations.get(&audited.id).and_then(|oid| self.table(*oid))))
    }
}

fn host_tables(conn: &mut PgConnection) -> Result<Vec<HostTable>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        oid: i64,
        #[diesel(sql_type = Text)]
        schema_name: String,
        #[diesel(sql_type = Text)]
        table_name: String,
        #[diesel(sql_type = Bool)]
        is_partition: bool,
        #[diesel(sql_type = BigInt)]
        root: i64,
        #[diesel(sql_type = Nullable<Text>)]
        extension: Option<String>,
        #[diesel(sql_type = Bool)]
        is_readable: bool,
        #[diesel(sql_type = Nullable<Text>)]
        digest: Option<String>,
        #[diesel(sql_type = Nullable<Array<Integer>>)]
        numbers: Option<Vec<i32>>,
    }
    #[derive(QueryableByName)]
    struct Key {
        #[diesel(sql_type = BigInt)]
        relation: i64,
        #[diesel(sql_type = Bool)]
        is_primary: bool,
        #[diesel(sql_type = Array<Text>)]
        columns: Vec<String>,
    }
    let rows: Vec<Row> = Statement::new(include_str!("tables.sql")).load_from(conn)?;
    let mut triggers = Trigger::by_relation(conn)?;
    let mut keys = HashMap::<i64, Vec<UsableKey>>::new();
    for Key { relation, is_primary, columns } in Statement::new(include_str!("keys.sql")).load_from(conn)? {
        keys.entry(relation).or_default().push(UsableKey { is_primary, columns });
    }
    let tables = rows.into_iter().map(|row| HostTable {
        oid: row.oid,
        name: TableName::new(Some(&row.schema_name), &row.table_name),
        is_partition: row.is_partition,
        root: row.root,
        extension: row.extension,
        is_readable: row.is_readable,
        digest: row.digest,
        numbers: row.numbers,
        triggers: triggers.remove(&row.oid).unwrap_or_default(),
        keys: keys.remove(&row.oid).unwrap_or_default(),
    });
    Ok(tables.collect())
}

/// Which relation an attached table is: as `threadline.table_id` has it, the one its trigger is on, else the one of its name.
fn ids_by_policy(tables: &[HostTable], audited: &[AuditedTable]) -> HashMap<i64, i32> {
    let mut carriers = HashMap::<i32, Vec<&HostTable>>::new();
    let mut named = HashMap::<&TableName, &HostTable>::new();
    for table in tables.iter().filter(|table| !table.is_partition) {
        named.insert(&table.name, table);
        for trigger in table.triggers.iter().filter(|trigger| !trigger.is_clone) {
            if let Some(id) = trigger.captures() {
                carriers.entry(id).or_default().push(table);
            }
        }
    }
    let mut ids = HashMap::new();
    for audited in audited {
        let carrier = carriers.get(&audited.id).and_then(|carriers| {
            carriers.iter().copied().min_by_key(|table| {
                let by_name =
                    table.triggers.iter().any(|t| t.captures() == Some(audited.id) && t.name == ROW_TRIGGER);
                let same_relation = audited.layout_relation == Some(table.oid);
                (!by_name, !same_relation, table.name != audited.name(), table.oid)
            })
        });
        if let Some(table) = carrier {
            ids.insert(table.oid, audited.id);
        }
    }
    // A table that lost its trigger, unless another one's function is on it.
    let carried: Vec<i32> = ids.values().copied().collect();
    for audited in audited.iter().filter(|audited| !carried.contains(&audited.id)) {
        if let Some(table) = named.get(&audited.name()) {
            ids.entry(table.oid).or_insert(audited.id);
        }
    }
    ids
}

/// As far as the triggers tell: one function captures one table.
fn ids_by_trigger(tables: &[HostTable]) -> HashMap<i64, i32> {
    let mut ids = HashMap::new();
    for table in tables.iter().filter(|table| !table.is_partition) {
        if let Some(id) = table.triggers.iter().find_map(Trigger::captures) {
            ids.insert(table.oid, id);
        }
    }
    ids
}

/// The relations that names mean on the connection's search path.
pub(crate) fn resolve(
    conn: &mut PgConnection,
    names: &[TableName],
) -> Result<HashMap<TableName, i64>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<BigInt>)]
        relation: Option<i64>,
    }
    let schemas: Vec<String> =
        names.iter().map(|name| name.schema().unwrap_or_default().to_owned()).collect();
    let tables: Vec<String> = names.iter().map(|name| name.name().to_owned()).collect();
    // Not all by to_regclass: it fails in a schema the role may not use.
    let mut statement = Statement::new(
        "SELECT coalesce(c.oid, CASE WHEN n.schema = '' THEN to_regclass(quote_ident(n.name))::oid END)::bigint AS relation FROM ROWS FROM (unnest(",
    );
    statement.bind(schemas).sql("::text[]), unnest(").bind(tables).sql(
        "::text[])) WITH ORDINALITY n (schema, name, place) LEFT JOIN pg_catalog.pg_namespace s ON s.nspname::text = n.schema \
         LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname::text = n.name ORDER BY n.place",
    );
    let rows: Vec<Row> = statement.load_from(conn)?;
    Ok(names.iter().cloned().zip(rows).filter_map(|(name, row)| Some((name, row.relation?))).collect())
}
