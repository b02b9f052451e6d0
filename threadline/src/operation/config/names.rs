//! Names of tables and columns, as a configuration may have them.

use crate::capture::{TableName, quote_ident};

/// Bytes PostgreSQL keeps of a name.
const LONGEST: usize = 63;

pub(super) const TABLE_FORM: &str =
    "write `schema.table` as they are spelt in the database; a name with a dot is quoted as in SQL";

/// The table a text names: `posts`, `public.posts`, or with either name in quotes. `None` when it is none of these.
pub(super) fn table_named(text: &str) -> Option<TableName> {
    let (first, rest) = name_at(text)?;
    match rest {
        "" => Some(TableName::new(None, &first)),
        _ => {
            let (second, rest) = name_at(rest.strip_prefix('.')?)?;
            rest.is_empty().then(|| TableName::new(Some(&first), &second))
        }
    }
}

/// The name a text begins with, and the rest of the text.
fn name_at(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        return (!name.contains('"')).then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    let mut left = quoted;
    loop {
        let (part, after) = left.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                left = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// The table as [`table_named`] takes it.
pub(super) fn table_written(table: &TableName) -> String {
    let written = table.to_plain();
    // A quote inside a name that has no dot, say, is the rare case that takes the full form.
    if table_named(&written).as_ref() == Some(table) { written } else { table.to_sql() }
}

/// Why PostgreSQL cannot have a table of this name, or Threadline not audit it.
pub(super) fn table_problem(table: &TableName) -> Option<(String, &'static str)> {
    let parts = [table.schema(), Some(table.name())];
    if let Some(problem) = parts.into_iter().flatten().find_map(name_problem) {
        return Some((problem.to_owned(), TABLE_FORM));
    }
    let system =
        |schema: &str| matches!(schema, "threadline" | "information_schema") || schema.starts_with("pg_");
    table.schema().filter(|schema| system(schema)).map(|schema| {
        (format!("is in schema {}, whose tables are never audited", quote_ident(schema)), "remove it")
    })
}

/// Why PostgreSQL cannot have anything of this name, or nobody means it.
pub(super) fn name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("has an empty name")
    } else if name.len() > LONGEST {
        Some("has a name longer than the 63 bytes that PostgreSQL keeps")
    } else if name.chars().any(char::is_control) {
        Some("has a control character in its name")
    } else if name.trim() != name {
        Some("has a name that begins or ends with a space")
    } else {
        None
    }
}

/// Whether two names may mean one table: one of them leaves its schema to the search path.
pub(super) fn may_be_the_same(one: &TableName, other: &TableName) -> bool {
    one.name() == other.name()
        && (one.schema() == other.schema() || one.schema().is_none() || other.schema().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_one_reading_or_none() {
        let read = |text| table_named(text).map(|table| table.to_sql());
        assert_eq!(read("posts").as_deref(), Some(r#""posts""#));
        assert_eq!(read("Blog.Posts").as_deref(), Some(r#""Blog"."Posts""#));
        assert_eq!(read(r#""a.b"."c""d""#).as_deref(), Some(r#""a.b"."c""d""#));
        assert_eq!(read(r#"a."b.c""#).as_deref(), Some(r#""a"."b.c""#));
        for text in ["a.b.c", "\"a", "a\"b", "\"a\"b", "\"a\".b.c", "\"a\"x.b", "a.\"b"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
