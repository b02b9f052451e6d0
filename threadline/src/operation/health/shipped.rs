//! What the migrations of the audit schema make, read from the migrations themselves: so no list of it can fall behind.

use std::collections::HashMap;

use crate::migrations::CORE_MIGRATIONS;

/// A function, table, type or index of the audit schema as shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shipped {
    /// The migration that made it last.
    pub(super) migration: &'static str,
    /// Its name without the schema.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The statement that makes it.
    pub(super) statement: &'static str,
    /// An earlier migration has made it before.
    pub(super) is_remade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The text, and what is declared before it.
    Function {
        body: &'static str,
        header: &'static str,
    },
    Table,
    Type,
    Index,
}

impl Shipped {
    fn takes_the_place_of(&self, earlier: &Self) -> bool {
        let is_function = |shipped: &Self| matches!(shipped.kind, Kind::Function { .. });
        self.name == earlier.name && is_function(self) == is_function(earlier)
    }
}

/// Each function's name and the types of its arguments, as its comment has them and PostgreSQL writes them out, by its name.
pub(super) fn signatures() -> HashMap<&'static str, String> {
    let comments = CORE_MIGRATIONS
        .iter()
        .flat_map(|migration| migration.up.split("\nCOMMENT ON FUNCTION threadline.").skip(1))
        .filter_map(|comment| comment.split_once(") IS")?.0.split_once('('));
    comments
        .map(|(name, arguments)| {
            let arguments: Vec<String> = arguments
                .split(',')
                .map(|argument| argument.trim().replace("timestamptz", "timestamp with time zone"))
                .collect();
            (name, format!("threadline.{name}({})", arguments.join(",")))
        })
        .collect()
}

/// A trigger the migrations put on one of their own tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShippedTrigger {
    pub(super) table: &'static str,
    pub(super) name: &'static str,
    /// With its schema.
    pub(super) function: &'static str,
    /// `pg_trigger.tgtype`: see `catalog/pg_trigger.h`.
    pub(super) kind: i32,
    /// It fires in sessions in replica mode too.
    pub(super) is_always: bool,
    /// The statement that makes it.
    pub(super) statement: &'static str,
}

impl ShippedTrigger {
    /// The statement that has it fire as shipped.
    pub(super) fn enable(&self) -> String {
        let always = if self.is_always { "ALWAYS " } else { "" };
        format!("ALTER TABLE threadline.{} ENABLE {always}TRIGGER {};", self.table, self.name)
    }
}

/// The triggers shipped; a later migration's takes the place of an earlier one's.
pub(super) fn triggers() -> Vec<ShippedTrigger> {
    const START: &str = "\nCREATE OR REPLACE TRIGGER ";
    let mut all = Vec::<ShippedTrigger>::new();
    for migration in CORE_MIGRATIONS {
        for (at, _) in migration.up.match_indices(START) {
            let statement = &migration.up[at + 1..];
            let statement = &statement[..statement.find(';').map_or(statement.len(), |end| end + 1)];
            let Some(trigger) = trigger(statement) else { continue };
            all.retain(|earlier| (earlier.table, earlier.name) != (trigger.table, trigger.name));
            all.push(trigger);
        }
        for trigger in &mut all {
            trigger.is_always |= migration.up.contains(&format!(
                "\nALTER TABLE threadline.{} ENABLE ALWAYS TRIGGER {};",
                trigger.table, trigger.name
            ));
        }
    }
    all
}

fn trigger(statement: &'static str) -> Option<ShippedTrigger> {
    let (head, tail) = statement[START_LENGTH..].split_once(" ON threadline.")?;
    let (name, events) = head.split_once(' ')?;
    let (table, tail) = tail.split_once(|c: char| c.is_whitespace())?;
    let (_, function) = tail.split_once("EXECUTE FUNCTION ")?;
    let words = [("BEFORE", 2), ("INSERT", 4), ("DELETE", 8), ("UPDATE", 16), ("TRUNCATE", 32)];
    let kind =
        words.iter().filter(|(word, _)| events.split_whitespace().any(|w| w == *word)).map(|(_, bit)| bit);
    let kind = kind.sum::<i32>() | i32::from(tail.contains("FOR EACH ROW"));
    let function = function.split_once('(')?.0;
    Some(ShippedTrigger { table, name, function, kind, is_always: false, statement })
}

const START_LENGTH: usize = "CREATE OR REPLACE TRIGGER ".len();

/// Everything shipped, in the order in which it is made.
pub(super) fn shipped() -> Vec<Shipped> {
    let mut all = Vec::<Shipped>::new();
    for migration in CORE_MIGRATIONS {
        let mut made = read(migration.name, migration.up);
        for later in &mut made {
            later.is_remade = all.iter().any(|earlier| later.takes_the_place_of(earlier));
        }
        // A later migration's version of something takes the place of the earlier one.
        all.retain(|earlier| !made.iter().any(|later| later.takes_the_place_of(earlier)));
        all.extend(made);
    }
    all
}

/// Functions that a migration lets everybody call.
pub(super) fn callable_by_all() -> Vec<&'static str> {
    let mut names = Vec::new();
    for migration in CORE_MIGRATIONS {
        for grant in migration.up.split("GRANT EXECUTE ON FUNCTION ").skip(1) {
            let functions = grant.split_once(" TO PUBLIC;").map_or("", |(functions, _)| functions);
            let parts = functions.split("threadline.").skip(1);
            names
                .extend(parts.filter_map(|part| Some(part.split_once('(')?.0)).filter(|name| is_plain(name)));
        }
    }
    names
}

fn read(migration: &'static str, up: &'static str) -> Vec<Shipped> {
    const STARTS: [(&str, Kind); 5] = [
        ("CREATE OR REPLACE FUNCTION threadline.", Kind::Function { body: "", header: "" }),
        ("CREATE TABLE IF NOT EXISTS threadline.", Kind::Table),
        ("CREATE TYPE threadline.", Kind::Type),
        ("CREATE INDEX IF NOT EXISTS ", Kind::Index),
        ("CREATE UNIQUE INDEX IF NOT EXISTS ", Kind::Index),
    ];
    let mut made = Vec::new();
    let mut rest = up;
    while let Some((at, start, kind)) = STARTS
        .iter()
        .filter_map(|(start, kind)| Some((position(rest, start)?, *start, *kind)))
        .min_by_key(|(at, ..)| *at)
    {
        let found = &rest[at..];
        let name = &found[start.len()..];
        let name = &name[..name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len())];
        let (kind, length) = match kind {
            Kind::Function { .. } => function(found),
            kind => (kind, found.find(';').map_or(found.len(), |end| end + 1)),
        };
        made.push(Shipped { migration, name, kind, statement: &found[..length], is_remade: false });
        rest = &found[length..];
    }
    made
}

/// Where a statement begins: at the start of a line, or after the spaces of a block that makes it only once.
fn position(text: &str, start: &str) -> Option<usize> {
    text.match_indices(start)
        .map(|(at, _)| at)
        .find(|at| text[..*at].chars().rev().find(|c| *c != ' ').is_none_or(|before| before == '\n'))
}

/// A function's body, between `AS $tag$` and `$tag$`, and the length of its statement.
fn function(statement: &'static str) -> (Kind, usize) {
    let quoted = statement.find(" AS $").map_or(statement.len(), |at| at + " AS ".len());
    let tag_end = statement[quoted..].chars().skip(1).position(|c| c == '$').map_or(0, |place| place + 2);
    let tag = &statement[quoted..quoted + tag_end];
    let body = &statement[quoted + tag_end..];
    let body = &body[..body.find(tag).unwrap_or(body.len())];
    let end = quoted + 2 * tag_end + body.len();
    let length = statement[end..].find(';').map_or(statement.len(), |semicolon| end + semicolon + 1);
    (Kind::Function { body, header: statement[..quoted].trim_end_matches(" AS ") }, length)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_the_migrations_create_is_found_with_its_statement() {
        let all = shipped();
        let count = |wanted: fn(&Kind) -> bool| all.iter().filter(|shipped| wanted(&shipped.kind)).count();
        let created = |what: &str| {
            CORE_MIGRATIONS.iter().map(|migration| migration.up.matches(what).count()).sum::<usize>()
        };
        let remade = all.iter().filter(|shipped| shipped.is_remade).count();
        assert_eq!(
            count(|kind| matches!(kind, Kind::Function { .. })) + remade,
            created("\nCREATE OR REPLACE FUNCTION threadline.")
        );
        assert_eq!(count(|kind| *kind == Kind::Table), created("\nCREATE TABLE IF NOT EXISTS threadline."));
        assert_eq!(count(|kind| *kind == Kind::Type), created("CREATE TYPE threadline."));
        assert_eq!(count(|kind| *kind == Kind::Index), created("INDEX IF NOT EXISTS "));
        for shipped in &all {
            assert!(is_plain(shipped.name) && shipped.statement.ends_with(';'), "{shipped:?}");
            if let Kind::Function { body, .. } = shipped.kind {
                assert!(
                    !body.is_empty() && !body.contains("CREATE OR REPLACE FUNCTION threadline.set_"),
                    "{shipped:?}"
                );
            }
        }
        let version = all.iter().find(|shipped| shipped.name == "schema_version").expect("it is shipped");
        assert!(matches!(version.kind, Kind::Function { body: " SELECT 2 ", .. }));
        let signatures = signatures();
        assert_eq!(signatures.get("schema_version").map(String::as_str), Some("threadline.schema_version()"));
        let mut functions = all.iter().filter(|shipped| matches!(shipped.kind, Kind::Function { .. }));
        assert_eq!(functions.find(|shipped| !signatures.contains_key(shipped.name)), None);
        let guards: Vec<(&str, i32, bool)> =
            triggers().iter().map(|trigger| (trigger.name, trigger.kind, trigger.is_always)).collect();
        assert_eq!(
            guards.len(),
            CORE_MIGRATIONS
                .iter()
                .map(|m| m.up.matches("\nCREATE OR REPLACE TRIGGER ").count())
                .sum::<usize>()
        );
        assert!(guards.contains(&("threadline_guard", 1 | 2 | 8 | 16, true)), "{guards:?}");
        assert!(guards.contains(&("threadline_guard_truncate", 2 | 32, true)), "{guards:?}");
        assert!(callable_by_all().contains(&"set_context") && !callable_by_all().contains(&"attach"));
    }
}
