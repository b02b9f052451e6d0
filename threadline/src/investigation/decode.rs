//! Rows of the trail as the model's own type, decoded by Diesel from PostgreSQL's own reading of the JSON.

use std::fmt;
use std::marker::PhantomData;

use diesel::associations::HasTable;
use diesel::deserialize::{self, QueryableByName};
use diesel::pg::{Pg, PgQueryBuilder};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryBuilder, QueryFragment, QueryId};
use diesel::row::{Field, NamedRow, Row};
use diesel::sql_types::{Array, BigInt, Nullable, Text, Untyped};
use serde::Serialize;

use super::audited::{Audited, FromClause};
use super::image::RowImage;
use crate::error::Error;

/// Why a row of the trail does not fit its model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DecodeError {
    /// What PostgreSQL or Diesel said.
    pub problem: String,
    /// Columns of the model that are NULL in this row because they are masked or excluded; make them `Option`, or leave
    /// them out of the model.
    pub redacted: Vec<String>,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        if !self.redacted.is_empty() {
            write!(f, "; redacted columns have to be `Option` in the model: {}", self.redacted.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for DecodeError {}

/// Decodes images as models, in order.
pub(crate) fn decode<M: Audited>(
    conn: &mut PgConnection,
    images: &[&RowImage],
) -> Result<Vec<Result<M, DecodeError>>, Error> {
    if images.is_empty() {
        return Ok(Vec::new());
    }
    let table = M::table_name().to_sql();
    let query = DecodeImages::<M> {
        selection: M::construct_selection(),
        source: <M as HasTable>::table().from_clause(),
        table: table.clone(),
        images: images.iter().map(|image| image.to_json_text()).collect(),
        masked: images
            .iter()
            .map(|image| serde_json::to_string(&image.masked).expect("names always serialize"))
            .collect(),
    };
    let rows: Vec<Decoded<M>> = query.load(conn).map_err(|error| Error::from_query(conn, &table, error))?;
    let mut rows: Vec<(usize, Result<M, DecodeError>)> = rows
        .into_iter()
        .map(|row| {
            let place = usize::try_from(row.place - 1).expect("WITH ORDINALITY counts from one");
            let decoded = row.decoded.map_err(|(problem, nulls)| {
                let image = images[place];
                let redacted = nulls
                    .into_iter()
                    .filter(|name| image.masked.contains(name) || image.get(name).is_none())
                    .collect();
                DecodeError { problem, redacted }
            });
            (place, decoded)
        })
        .collect();
    rows.sort_by_key(|(place, _)| *place);
    Ok(rows.into_iter().map(|(_, decoded)| decoded).collect())
}

/// The model's columns come first, by position; ours after them, by name.
struct Decoded<M> {
    place: i64,
    decoded: Result<M, (String, Vec<String>)>,
}

impl<M: Audited> QueryableByName<Pg> for Decoded<M> {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let place = NamedRow::get::<BigInt, i64>(row, "threadline_place")?;
        let problem = NamedRow::get::<Nullable<Text>, Option<String>>(row, "threadline_problem")?;
        let decoded = match problem {
            Some(problem) => Err((problem, Vec::new())),
            // Never as `Option<M>`: Diesel takes an unexpected NULL in it for an absent row.
            None => M::build_from_row(row).map_err(|error| (error.to_string(), null_columns(row))),
        };
        Ok(Self { place, decoded })
    }
}

fn null_columns<'a>(row: &impl Row<'a, Pg>) -> Vec<String> {
    (0..row.field_count())
        .filter_map(|index| Row::get(row, index))
        .filter(Field::is_null)
        .filter_map(|field| field.field_name().map(String::from))
        .filter(|name| !name.starts_with("threadline_"))
        .collect()
}

struct DecodeImages<M: Audited> {
    selection: M::SelectExpression,
    source: FromClause<M>,
    table: String,
    images: Vec<String>,
    masked: Vec<String>,
}

/// The statement as Diesel writes it, still naming the model's table.
struct AsDieselWritesIt<'a, M: Audited>(&'a DecodeImages<M>, PhantomData<M>);

impl<M: Audited> QueryFragment<Pg> for AsDieselWritesIt<'_, M> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

impl<M: Audited> QueryFragment<Pg> for DecodeImages<M> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        out.push_sql("SELECT ");
        self.selection.walk_ast(out.reborrow())?;
        out.push_sql(", given.place AS threadline_place, decoded.problem AS threadline_problem FROM unnest(");
        out.push_bind_param::<Array<Text>, _>(&self.images)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.masked)?;
        out.push_sql(") WITH ORDINALITY AS given (image, masked, place) CROSS JOIN LATERAL threadline.decode_image(NULL::");
        self.source.walk_ast(out.reborrow())?;
        out.push_sql(
            ", given.image::jsonb, ARRAY(SELECT jsonb_array_elements_text(given.masked::jsonb))) AS decoded \
             CROSS JOIN LATERAL (SELECT (decoded.decoded).*) AS \"threadline_row\"",
        );
        Ok(())
    }

    /// Columns are written as `"blog"."posts"."id"`, which PostgreSQL takes only for a real relation: here they belong to
    /// our record, so the table's name before a dot is replaced by the record's.
    fn to_sql(&self, out: &mut PgQueryBuilder, backend: &Pg) -> QueryResult<()> {
        let mut query = PgQueryBuilder::new();
        QueryFragment::<Pg>::to_sql(&AsDieselWritesIt(self, PhantomData), &mut query, backend)?;
        out.push_sql(&query.finish().replace(&format!("{}.", self.table), "\"threadline_row\"."));
        Ok(())
    }
}

impl<M: Audited> Query for DecodeImages<M> {
    type SqlType = Untyped;
}

impl<M: Audited> RunQueryDsl<PgConnection> for DecodeImages<M> {}

impl<M: Audited> QueryId for DecodeImages<M> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
