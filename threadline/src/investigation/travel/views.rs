//! The temporary views that stand for audited tables in time travel.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, Integer, Nullable, Oid, Text, Timestamptz};

use super::super::scope::Surface;
use super::super::trail::Trail;
use crate::capture::TableName;
use crate::error::Error;

/// The views of one travel and the tables they stand for, place by place.
pub(super) struct Views {
    views: Vec<u32>,
    relations: Vec<u32>,
}

/// Statements that make a table's view, by the digest of what they depend on: to write them takes PostgreSQL ten
/// milliseconds a table.
static STATEMENTS: LazyLock<Mutex<HashMap<String, Vec<String>>>> = LazyLock::new(Mutex::default);

/// Tables times versions of them. Beyond this many everything is forgotten: their texts take some 5 kB each.
const REMEMBERED: usize = 2_000;

#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Integer)]
    id: i32,
    #[diesel(sql_type = Oid)]
    relation: u32,
    #[diesel(sql_type = Text)]
    digest: String,
}

impl Views {
    /// Makes the views and has the transaction write nothing from here on.
    pub(super) fn create(conn: &mut PgConnection, at: DateTime<Utc>, trail: &Trail) -> Result<Self, Error> {
        #[derive(QueryableByName)]
        struct Made {
            #[diesel(sql_type = Array<Oid>)]
            views: Vec<u32>,
        }
        let tables: Vec<Table> = diesel::sql_query(
            "SELECT id, relation, digest FROM threadline.travelled_tables(pg_catalog.current_schemas(true))",
        )
        .load(conn)?;
        let statements = statements_for(conn, &tables)?;
        let scope = trail.scope(conn, Surface::Travel)?;
        let scopes: Vec<Option<String>> = tables
            .iter()
            .map(|table| {
                let tenants = scope.as_ref()?.tenants_of(table.id)?;
                Some(serde_json::to_string(&tenants).expect("texts always serialize"))
            })
            .collect();
        let made: Made = diesel::sql_query("SELECT threadline.begin_travel($1, $2, $3) AS views")
            .bind::<Timestamptz, _>(at)
            .bind::<Array<Text>, _>(&statements)
            .bind::<Array<Nullable<Text>>, _>(&scopes)
            .get_result(conn)?;
        // With pg_temp named, a statement prepared before is parsed anew: a new temporary view alone would go unnoticed by it.
        conn.batch_execute(
            "SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'pg_temp', \
             NULLIF(pg_catalog.current_setting('search_path'), '')), true); \
             SET LOCAL row_security = off; SET LOCAL jit = off; SET TRANSACTION READ ONLY",
        )?;
        Ok(Self { views: made.views, relations: tables.into_iter().map(|table| table.relation).collect() })
    }

    /// What the transaction has read as it is now.
    pub(super) fn read_live(&self, conn: &mut PgConnection) -> QueryResult<Vec<TableName>> {
        #[derive(QueryableByName)]
        struct Relation {
            #[diesel(sql_type = Text)]
            schema_name: String,
            #[diesel(sql_type = Text)]
            name: String,
        }
        let relations: Vec<Relation> =
            diesel::sql_query("SELECT schema_name, name FROM threadline.live_relations($1, $2)")
                .bind::<Array<Oid>, _>(&self.views)
                .bind::<Array<Oid>, _>(&self.relations)
                .load(conn)?;
        Ok(relations
            .into_iter()
            .map(|relation| TableName::new(Some(&relation.schema_name), &relation.name))
            .collect())
    }
}

/// Drops the views of a travel whose body has ended its transaction, and perhaps committed them.
pub(super) fn drop_committed(conn: &mut PgConnection) -> Result<(), Error> {
    diesel::sql_query("SELECT threadline.drop_travel()").execute(conn)?;
    Ok(())
}

/// The statements for these tables, in their order; written by PostgreSQL where this process has not seen them yet.
fn statements_for(conn: &mut PgConnection, tables: &[Table]) -> QueryResult<Vec<String>> {
    #[derive(QueryableByName)]
    struct Written {
        #[diesel(sql_type = Integer)]
        id: i32,
        #[diesel(sql_type = Array<Text>)]
        statements: Vec<String>,
    }
    let known: Vec<Option<Vec<String>>> = {
        let remembered = STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner);
        tables.iter().map(|table| remembered.get(&table.digest).cloned()).collect()
    };
    let missing: Vec<i32> =
        tables.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(table, _)| table.id).collect();
    let mut written: HashMap<i32, Vec<String>> = HashMap::new();
    if !missing.is_empty() {
        let rows: Vec<Written> = diesel::sql_query(
            "SELECT id, threadline.travel_statements(id) AS statements FROM pg_catalog.unnest($1) AS id",
        )
        .bind::<Array<Integer>, _>(&missing)
        .load(conn)?;
        written.extend(rows.into_iter().map(|row| (row.id, row.statements)));
        let mut remembered = STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() > REMEMBERED {
            remembered.clear();
        }
        for table in tables {
            if let Some(statements) = written.get(&table.id) {
                remembered.insert(table.digest.clone(), statements.clone());
            }
        }
    }
    Ok(tables
        .iter()
        .zip(known)
        .flat_map(|(table, known)| known.or_else(|| written.remove(&table.id)).unwrap_or_default())
        .collect())
}
