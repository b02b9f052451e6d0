//! How the tables of the trail are defined, read from the migrations: their columns, and what holds for the rows.

use crate::migrations::CORE_MIGRATIONS;

/// A table as shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    pub(super) table: String,
    pub(super) is_partitioned: bool,
    pub(super) columns: Vec<Column>,
    pub(super) checks: Vec<Check>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Column {
    /// The migration it comes with.
    pub(super) migration: &'static str,
    pub(super) name: String,
    /// As written out by PostgreSQL.
    pub(super) data_type: String,
    /// Quoted; `None` for the type's own.
    pub(super) collation: Option<String>,
    pub(super) not_null: bool,
    pub(super) is_identity: bool,
    pub(super) default: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) name: Option<String>,
    /// Without its outer parentheses.
    pub(super) expression: String,
}

/// Every table shipped, with what later migrations have added to it.
pub(super) fn definitions() -> Vec<Definition> {
    const TABLE: &str = "\nCREATE TABLE IF NOT EXISTS threadline.";
    const ALTER: &str = "\nALTER TABLE threadline.";
    let mut all = Vec::<Definition>::new();
    for migration in CORE_MIGRATIONS {
        let text: String = migration.up.lines().flat_map(|line| ["\n", without_comment(line)]).collect();
        for statement in text.split(TABLE).skip(1) {
            let definition = table(migration.name, statement);
            all.retain(|earlier| earlier.table != definition.table);
            all.push(definition);
        }
        for statement in text.split(ALTER).skip(1) {
            let (name, action) = statement.split_once(' ').unwrap_or((statement, ""));
            let action = &action[..end_of(action, |c| c == ';')];
            let Some(table) = all.iter_mut().find(|table| table.table == name) else { continue };
            if let Some(declared) = action.strip_prefix("ADD COLUMN IF NOT EXISTS ") {
                let (column, checks) = column(migration.name, declared);
                table.columns.push(column);
                table.checks.extend(checks);
            } else if let Some((name, default)) =
                action.strip_prefix("ALTER COLUMN ").and_then(|action| action.split_once(" SET DEFAULT "))
                && let Some(column) = table.columns.iter_mut().find(|column| column.name == name)
            {
                column.default = Some(default.to_owned());
            }
        }
    }
    all
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with("--") { "" } else { line }
}

/// Where a character is that `ends` a part: outside of quotes and parentheses.
fn end_of(text: &str, ends: impl Fn(char) -> bool) -> usize {
    let (mut depth, mut quote) = (0_i32, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if depth == 0 && ends(c) => return at,
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

fn table(migration: &'static str, statement: &str) -> Definition {
    let (name, rest) = statement.split_once(" (").unwrap_or((statement, ""));
    let end = end_of(rest, |c| c == ')');
    let tail = rest.get(end + 1..).unwrap_or_default();
    let mut definition = Definition {
        table: name.to_owned(),
        is_partitioned: tail[..end_of(tail, |c| c == ';')].contains("PARTITION BY"),
        columns: Vec::new(),
        checks: Vec::new(),
    };
    let mut body = &rest[..end];
    while !body.trim().is_empty() {
        let end = end_of(body, |c| c == ',');
        let item = body[..end].trim();
        body = body.get(end + 1..).unwrap_or_default();
        if let Some(key) = item.strip_prefix("PRIMARY KEY (") {
            let of_key: Vec<&str> = key.trim_end_matches(')').split(", ").collect();
            let columns =
                definition.columns.iter_mut().filter(|column| of_key.contains(&column.name.as_str()));
            columns.for_each(|column| column.not_null = true);
        } else if let Some(check) = check(item) {
            definition.checks.push(check);
        } else {
            let (column, checks) = column(migration, item);
            definition.columns.push(column);
            definition.checks.extend(checks);
        }
    }
    definition
}

/// `[CONSTRAINT name] CHECK (…)`.
fn check(item: &str) -> Option<Check> {
    let named = item.strip_prefix("CONSTRAINT ").and_then(|item| item.split_once(' '));
    let (name, item) = named.map_or((None, item), |(name, item)| (Some(name.to_owned()), item.trim_start()));
    let expression = item.strip_prefix("CHECK (")?;
    Some(Check { name, expression: expression[..end_of(expression, |c| c == ')')].trim().to_owned() })
}

fn column(migration: &'static str, declared: &str) -> (Column, Option<Check>) {
    let (declared, check) = match declared.find(" CHECK (") {
        Some(at) => (&declared[..at], check(declared[at..].trim_start())),
        None => (declared, None),
    };
    let (name, rest) = declared.split_once(' ').unwrap_or((declared, ""));
    const CLAUSES: [&str; 5] = [" COLLATE ", " NOT NULL", " DEFAULT ", " PRIMARY KEY", " GENERATED "];
    let next = |text: &str| CLAUSES.iter().filter_map(|clause| text.find(clause)).min().unwrap_or(text.len());
    let data_type = &rest[..next(rest)];
    let clause = |name: &str| rest.split_once(name).map(|(_, value)| value[..next(value)].trim().to_owned());
    let is_identity = rest.contains(" GENERATED ALWAYS AS IDENTITY");
    let column = Column {
        migration,
        name: name.to_owned(),
        data_type: data_type.replace("timestamptz", "timestamp with time zone"),
        collation: clause(" COLLATE "),
        not_null: is_identity || rest.contains(" NOT NULL") || rest.contains(" PRIMARY KEY"),
        is_identity,
        default: clause(" DEFAULT "),
    };
    (column, check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_defines_a_table_is_read() {
        let all = definitions();
        let count = |what: &str| CORE_MIGRATIONS.iter().map(|m| m.up.matches(what).count()).sum::<usize>();
        assert_eq!(all.len(), count("\nCREATE TABLE IF NOT EXISTS threadline."));
        assert_eq!(all.iter().filter(|table| table.is_partitioned).count(), 6);
        let columns: usize = all.iter().map(|table| table.columns.len()).sum();
        assert_eq!(
            columns,
            count("\nCOMMENT ON COLUMN threadline.")
                - count("\nCOMMENT ON COLUMN threadline.past_")
                - count("\nCOMMENT ON COLUMN threadline.undoing")
        );
        for migration in CORE_MIGRATIONS {
            for statement in migration.up.split("\nALTER TABLE threadline.").skip(1) {
                let known = [" ADD COLUMN IF NOT EXISTS ", " SET DEFAULT ", " ENABLE ALWAYS TRIGGER "];
                let line = statement.lines().next().unwrap_or_default();
                assert!(known.iter().any(|known| line.contains(known)), "not understood: {line}");
            }
        }
    }

    #[test]
    fn each_part_of_a_definition_is_told_from_the_others() {
        let definition = table(
            "m",
            "t (\n  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n a text COLLATE \"C\" NOT NULL DEFAULT 'x, (y' CHECK (a <> ')'),\n \
             at timestamptz,\n n numeric(3, 2)[],\n CONSTRAINT both CHECK (a IS NULL OR n IS NOT NULL),\n PRIMARY KEY (id, at)\n) PARTITION BY RANGE (id);\nELSE ();",
        );
        let names: Vec<&str> = definition.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "a", "at", "n"]);
        let a = &definition.columns[1];
        assert_eq!(
            (a.data_type.as_str(), a.collation.as_deref(), a.default.as_deref(), a.not_null),
            ("text", Some("\"C\""), Some("'x, (y'"), true)
        );
        assert!(
            definition.is_partitioned
                && definition.columns[0].is_identity
                && definition.columns[2].not_null
                && !definition.columns[3].not_null
        );
        assert_eq!(definition.columns[2].data_type, "timestamp with time zone");
        assert_eq!(definition.columns[3].data_type, "numeric(3, 2)[]");
        let checks: Vec<(Option<&str>, &str)> = definition
            .checks
            .iter()
            .map(|check| (check.name.as_deref(), check.expression.as_str()))
            .collect();
        assert_eq!(checks, [(None, "a <> ')'"), (Some("both"), "a IS NULL OR n IS NOT NULL")]);
    }
}
