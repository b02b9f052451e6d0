//! A statement put together piece by piece, its values bound where they are written.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Integer, Text, Timestamptz, Untyped, Uuid as SqlUuid};
use uuid::Uuid;

use crate::error::Error;

/// A value bound in a [`Statement`].
#[derive(Clone, Debug)]
pub(crate) enum Bind {
    Text(String),
    Texts(Vec<String>),
    Integer(i32),
    Integers(Vec<i32>),
    Id(Uuid),
    Ids(Vec<Uuid>),
    Instant(DateTime<Utc>),
}

macro_rules! bind_from {
    ($($plain:ty => $variant:ident),* $(,)?) => {$(
        impl From<$plain> for Bind {
            fn from(value: $plain) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

bind_from! {
    &str => Text, String => Text, &String => Text, Vec<String> => Texts, &[String] => Texts, i32 => Integer, Vec<i32> => Integers,
    Uuid => Id, Vec<Uuid> => Ids, &[Uuid] => Ids, DateTime<Utc> => Instant,
}

#[derive(Clone, Debug)]
enum Piece {
    Sql(String),
    Value(Bind),
}

/// SQL of our own making, with the values of others bound in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statement {
    pieces: Vec<Piece>,
    /// Whether the session keeps it prepared: for texts of which there are few.
    kept: bool,
}

impl Statement {
    /// One that is planned anew each time, for the values it has.
    pub(crate) fn new(sql: &str) -> Self {
        Self { pieces: vec![Piece::Sql(sql.to_owned())], kept: false }
    }

    /// One whose text is always the same, so that the session keeps it prepared.
    pub(crate) fn kept(sql: &str) -> Self {
        Self { kept: true, ..Self::new(sql) }
    }

    /// Goes on with this text, in which nothing comes from outside.
    pub(crate) fn sql(&mut self, sql: &str) -> &mut Self {
        match self.pieces.last_mut() {
            Some(Piece::Sql(text)) => text.push_str(sql),
            _ => self.pieces.push(Piece::Sql(sql.to_owned())),
        }
        self
    }

    /// Goes on with a value, bound.
    pub(crate) fn bind(&mut self, value: impl Into<Bind>) -> &mut Self {
        self.pieces.push(Piece::Value(value.into()));
        self
    }

    /// Goes on with another statement's text and values.
    pub(crate) fn append(&mut self, other: &Self) -> &mut Self {
        for piece in &other.pieces {
            match piece {
                Piece::Sql(sql) => self.sql(sql),
                Piece::Value(value) => self.bind(value.clone()),
            };
        }
        self
    }
}

impl Statement {
    /// Loads its rows.
    pub(crate) fn load_from<T: QueryableByName<Pg> + 'static>(
        &self,
        conn: &mut PgConnection,
    ) -> Result<Vec<T>, Error> {
        self.clone().load(conn).map_err(|error| Error::from_query(conn, "", error))
    }
}

impl QueryFragment<Pg> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if !self.kept {
            out.unsafe_to_cache_prepared();
        }
        for piece in &self.pieces {
            match piece {
                Piece::Sql(sql) => out.push_sql(sql),
                Piece::Value(Bind::Text(value)) => out.push_bind_param::<Text, String>(value)?,
                Piece::Value(Bind::Texts(value)) => out.push_bind_param::<Array<Text>, Vec<String>>(value)?,
                Piece::Value(Bind::Integer(value)) => out.push_bind_param::<Integer, i32>(value)?,
                Piece::Value(Bind::Integers(value)) => {
                    out.push_bind_param::<Array<Integer>, Vec<i32>>(value)?;
                }
                Piece::Value(Bind::Id(value)) => out.push_bind_param::<SqlUuid, Uuid>(value)?,
                Piece::Value(Bind::Ids(value)) => out.push_bind_param::<Array<SqlUuid>, Vec<Uuid>>(value)?,
                Piece::Value(Bind::Instant(value)) => {
                    out.push_bind_param::<Timestamptz, DateTime<Utc>>(value)?;
                }
            }
        }
        Ok(())
    }
}

impl Query for Statement {
    type SqlType = Untyped;
}

impl RunQueryDsl<PgConnection> for Statement {}

impl QueryId for Statement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
