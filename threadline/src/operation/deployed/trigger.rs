//! Our triggers as they are in the catalog, and the holes they leave.

use std::collections::HashMap;
use std::fmt;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};

use super::HostTable;
use crate::error::Error;
use crate::investigation::Statement;

/// The name `threadline.attach` gives the row trigger; functions look for it, and it has it fire first.
pub(crate) const ROW_TRIGGER: &str = "!threadline_capture";
/// The name of the TRUNCATE trigger.
pub(crate) const TRUNCATE_TRIGGER: &str = "!threadline_truncate";

/// `tgtype` of AFTER INSERT OR UPDATE OR DELETE … FOR EACH ROW: see `catalog/pg_trigger.h`.
const ROW_KIND: i32 = 1 | 4 | 8 | 16;
/// `tgtype` of BEFORE TRUNCATE … FOR EACH STATEMENT.
const TRUNCATE_KIND: i32 = 2 | 32;

/// A trigger that calls one of our functions.
#[derive(Debug, QueryableByName)]
pub(crate) struct Trigger {
    #[diesel(sql_type = BigInt)]
    relation: i64,
    #[diesel(sql_type = Text)]
    pub(crate) name: String,
    #[diesel(sql_type = Text)]
    function: String,
    #[diesel(sql_type = Text)]
    enabled: String,
    #[diesel(sql_type = Integer)]
    kind: i32,
    /// Whether PostgreSQL made it, from the one of the partitioned table.
    #[diesel(sql_type = Bool)]
    pub(crate) is_clone: bool,
    #[diesel(sql_type = Bool)]
    is_plain: bool,
    #[diesel(sql_type = Nullable<Text>)]
    argument: Option<String>,
}

impl Trigger {
    pub(super) fn by_relation(conn: &mut PgConnection) -> Result<HashMap<i64, Vec<Self>>, Error> {
        let mut by_relation = HashMap::<i64, Vec<Self>>::new();
        for trigger in Statement::new(include_str!("triggers.sql")).load_from::<Self>(conn)? {
            by_relation.entry(trigger.relation).or_default().push(trigger);
        }
        Ok(by_relation)
    }

    /// The table whose rows it captures.
    pub(crate) fn captures(&self) -> Option<i32> {
        self.function.strip_prefix("capture_")?.parse().ok()
    }

    /// The table whose TRUNCATE it sees.
    pub(crate) fn truncates(&self) -> Option<i32> {
        (self.function == "capture_truncate").then_some(self.argument.as_deref()?.parse().ok()?)
    }

    /// The name it should have.
    pub(crate) fn given_name(&self) -> &'static str {
        if self.captures().is_some() { ROW_TRIGGER } else { TRUNCATE_TRIGGER }
    }

    /// Whether it fires when attach says so, for all there is.
    fn is_as_made(&self) -> bool {
        let kind = if self.captures().is_some() { ROW_KIND } else { TRUNCATE_KIND };
        self.is_plain && self.kind == kind && (self.captures().is_none() || self.argument.is_none())
    }

    /// Whether it fires for ordinary sessions.
    fn fires(&self) -> bool {
        matches!(self.enabled.as_str(), "O" | "A")
    }
}

/// What a table's triggers do not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hole {
    /// No trigger captures its rows (`truncate`: sees its TRUNCATE).
    Missing { truncate: bool },
    /// It is there and does not fire.
    Disabled { trigger: String, replica_only: bool },
    /// It is there and fires for a part only.
    Altered { trigger: String },
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { truncate: false } => f.write_str("no trigger captures its rows"),
            Self::Missing { truncate: true } => f.write_str("no trigger sees its TRUNCATE"),
            Self::Disabled { trigger, replica_only: false } => write!(f, "trigger `{trigger}` is disabled"),
            Self::Disabled { trigger, replica_only: true } => {
                write!(f, "trigger `{trigger}` fires on replicas only")
            }
            Self::Altered { trigger } => {
                write!(f, "trigger `{trigger}` was altered and fires for a part only")
            }
        }
    }
}

impl HostTable {
    /// What escapes capture of table `id` here; empty when nothing does.
    pub(crate) fn holes(&self, id: i32) -> Vec<Hole> {
        let rows = self.triggers.iter().filter(|trigger| trigger.captures() == Some(id));
        let truncates = self.triggers.iter().filter(|trigger| trigger.truncates() == Some(id));
        [hole(rows.collect(), false), hole(truncates.collect(), true)].into_iter().flatten().collect()
    }
}

/// The hole that triggers of one kind leave; one that is as it was made is enough.
fn hole(triggers: Vec<&Trigger>, truncate: bool) -> Option<Hole> {
    let as_made: Vec<&&Trigger> = triggers.iter().filter(|trigger| trigger.is_as_made()).collect();
    if as_made.iter().any(|trigger| trigger.fires()) {
        return None;
    }
    Some(match (as_made.first(), triggers.first()) {
        (Some(trigger), _) => {
            Hole::Disabled { trigger: trigger.name.clone(), replica_only: trigger.enabled == "R" }
        }
        (None, Some(trigger)) => Hole::Altered { trigger: trigger.name.clone() },
        (None, None) => Hole::Missing { truncate },
    })
}
