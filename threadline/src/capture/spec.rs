//! What the database should record about one table, and the SQL that tells it so.
//!
//! `#[derive(Audited)]` puts an [`AuditSpec`] on the model, the `threadline` command writes one into each capture
//! migration; both render it here, so a migration and an embedded host ask the database for the same thing.

use std::str::FromStr;
use std::{fmt, iter};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::unseen::is_unseen;

/// What the database should record about one table: the arguments of `threadline.attach`, borrowed.
///
/// The default records every column of every write, keyed by the primary key. Column names are those of the
/// database (`#[sql_name]` applied), without quotes.
///
/// ```
/// use threadline::{AuditSpec, TableName};
///
/// let spec = AuditSpec { exclude: &["password_hash"], ..AuditSpec::default() };
/// assert_eq!(
///     spec.attach_sql(&TableName::new(None, "users")),
///     "SELECT threadline.attach(\n    '\"users\"'::regclass,\n    exclude => ARRAY['password_hash']\n);"
/// );
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditSpec<'a> {
    /// The table's schema where `table!` does not say it; `None` follows the search path.
    ///
    /// The SQL functions below take the schema from their [`TableName`], where whoever calls them has put it.
    pub schema: Option<&'a str>,
    /// Columns that never reach the audit trail, neither by value nor by name.
    pub exclude: &'a [&'a str],
    /// Columns whose values are replaced by [`mask_placeholder`](Self::mask_placeholder).
    pub mask: &'a [&'a str],
    /// What stands for a masked value; `None` leaves the choice to the database (`[REDACTED]`).
    pub mask_placeholder: Option<&'a str>,
    /// Columns whose change alone is not worth a record.
    pub ignore: &'a [&'a str],
    /// The columns that identify a row, in order; empty for the primary key.
    pub key: &'a [&'a str],
    /// The column that says which tenant a row belongs to.
    pub scope: Option<&'a str>,
    /// What a TRUNCATE of the table leaves behind.
    pub on_truncate: OnTruncate,
    /// What happens to a write nobody has put a name to.
    pub actor_policy: ActorPolicy,
}

impl AuditSpec<'_> {
    /// The statement that makes `table` audited as `self` says, or changes how it is.
    ///
    /// Only what differs from the default is written. It fails when the table does not exist.
    pub fn attach_sql(&self, table: &TableName) -> String {
        let target = format!("{}::regclass", quote_literal(&table.to_sql()));
        format!("SELECT threadline.attach({});", self.arguments(target))
    }

    /// As [`attach_sql`](Self::attach_sql), but does nothing when the table does not exist.
    ///
    /// For `down.sql` of a table that left the audit: it may have left the database as well.
    pub fn attach_if_exists_sql(&self, table: &TableName) -> String {
        let arguments = self.arguments(String::from("existing"));
        let name = quote_literal(&table.to_sql());
        format!(
            "SELECT threadline.attach({arguments})\n\
             FROM to_regclass({name}) AS existing WHERE existing IS NOT NULL;"
        )
    }

    /// The statement that ends the audit of `table`; what was recorded stays.
    ///
    /// It does nothing when the table does not exist: a host may drop a table in an earlier migration.
    pub fn detach_sql(table: &TableName) -> String {
        format!("SELECT threadline.detach(to_regclass({}));", quote_literal(&table.to_sql()))
    }

    fn arguments(&self, target: String) -> String {
        let on_truncate = (self.on_truncate != OnTruncate::default()).then(|| self.on_truncate.as_str());
        let actor_policy = (self.actor_policy != ActorPolicy::default()).then(|| self.actor_policy.as_str());
        let options = [
            columns_argument("exclude", self.exclude),
            columns_argument("mask", self.mask),
            text_argument("mask_placeholder", self.mask_placeholder),
            columns_argument("ignore", self.ignore),
            columns_argument("key", self.key),
            text_argument("scope", self.scope),
            text_argument("on_truncate", on_truncate),
            text_argument("actor_policy", actor_policy),
        ];
        let arguments: Vec<String> = iter::once(target).chain(options.into_iter().flatten()).collect();
        match arguments.as_slice() {
            [target] => target.clone(),
            several => format!("\n    {}\n", several.join(",\n    ")),
        }
    }
}

fn columns_argument(name: &str, columns: &[&str]) -> Option<String> {
    let literals: Vec<String> = columns.iter().map(|column| quote_literal(column)).collect();
    (!columns.is_empty()).then(|| format!("{name} => ARRAY[{}]", literals.join(", ")))
}

fn text_argument(name: &str, text: Option<&str>) -> Option<String> {
    text.map(|text| format!("{name} => {}", quote_literal(text)))
}

/// What a TRUNCATE of an audited table leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTruncate {
    /// One marker; reconstruction across it says so.
    #[default]
    Record,
    /// Every row, as if it had been deleted.
    Keep,
    /// Nothing, because the TRUNCATE fails.
    Refuse,
}

impl OnTruncate {
    /// The value as `threadline.attach` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Keep => "keep",
            Self::Refuse => "refuse",
        }
    }
}

/// What happens to a write nobody has put a name to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorPolicy {
    /// It is recorded without an actor.
    #[default]
    Allow,
    /// It fails.
    Require,
}

impl ActorPolicy {
    /// The value as `threadline.attach` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Require => "require",
        }
    }
}

/// The name of a table in the database, as it is spelt there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    schema: Option<String>,
    name: String,
}

impl TableName {
    /// The table `name` in `schema`, or wherever the search path finds it.
    pub fn new(schema: Option<&str>, name: &str) -> Self {
        Self { schema: schema.map(String::from), name: String::from(name) }
    }

    /// The name as a person writes it: `blog.users`, quoted only where it would be read as something else.
    pub fn to_plain(&self) -> String {
        let plain = |part: &str| {
            if part.is_empty() || part.contains(['.', '"']) { quote_ident(part) } else { part.to_owned() }
        };
        let name = plain(&self.name);
        self.schema.as_deref().map_or(name.clone(), |schema| format!("{}.{name}", plain(schema)))
    }

    /// The table a name means as Diesel writes it, `"blog"."users"`, or as [`to_plain`](Self::to_plain) does.
    pub(crate) fn from_sql(quoted: &str) -> Self {
        let mut parts = vec![String::new()];
        let mut inside = false;
        let mut characters = quoted.chars().peekable();
        while let Some(character) = characters.next() {
            let part = parts.last_mut().expect("there is always a part");
            match character {
                '"' if inside && characters.next_if_eq(&'"').is_some() => part.push('"'),
                '"' => inside = !inside,
                '.' if !inside => parts.push(String::new()),
                _ => part.push(character),
            }
        }
        let name = parts.pop().expect("there is always a part");
        Self { schema: parts.pop(), name }
    }

    /// The schema, unless the search path decides.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The name without its schema.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as SQL takes it: `"blog"."users"`.
    pub fn to_sql(&self) -> String {
        let name = quote_ident(&self.name);
        self.schema.as_deref().map_or(name.clone(), |schema| format!("{}.{name}", quote_ident(schema)))
    }
}

/// As a person writes it: `posts`, `blog.posts`, with quotes as in SQL where a name has dots.
impl FromStr for TableName {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::Refused`] for what cannot be the name of a table.
    fn from_str(text: &str) -> Result<Self, Error> {
        let quotes_close = text.matches('"').count().is_multiple_of(2);
        let table = Self::from_sql(text);
        let parts_are_there = !table.name().is_empty() && table.schema() != Some("");
        if quotes_close && parts_are_there && !text.contains('\0') {
            return Ok(table);
        }
        Err(Error::Refused {
            message: "not the name of a table".to_owned(),
            hint: Some("write `posts` or `blog.posts`, and quote names with dots as in SQL".to_owned()),
        })
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_sql())
    }
}

/// `name` as an SQL identifier: always quoted, so that case, spaces and reserved words survive.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as an SQL string that means the same whether `standard_conforming_strings` is on or off, and wherever it is shown,
/// copied and pasted.
///
/// A backslash makes the former differ, and characters that [nobody sees](is_unseen) get lost or are told apart by the latter:
/// then the escape form is used, which has none of them but line feeds.
pub fn quote_literal(text: &str) -> String {
    let is_escaped = |c: char| c == '\\' || (c != '\n' && is_unseen(c));
    if !text.contains(is_escaped) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = String::from("E'");
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if is_escaped(c) && u32::from(c) <= 0xffff => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if is_escaped(c) => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_that_is_not_the_default_is_written() {
        let spec = AuditSpec {
            schema: None,
            exclude: &["password_hash", "otp"],
            mask: &["email"],
            mask_placeholder: Some("[HIDDEN]"),
            ignore: &["views"],
            key: &["org_id", "user_id"],
            scope: Some("org_id"),
            on_truncate: OnTruncate::Keep,
            actor_policy: ActorPolicy::Require,
        };
        let expected = r#"SELECT threadline.attach(
    '"blog"."users"'::regclass,
    exclude => ARRAY['password_hash', 'otp'],
    mask => ARRAY['email'],
    mask_placeholder => '[HIDDEN]',
    ignore => ARRAY['views'],
    key => ARRAY['org_id', 'user_id'],
    scope => 'org_id',
    on_truncate => 'keep',
    actor_policy => 'require'
);"#;
        assert_eq!(spec.attach_sql(&TableName::new(Some("blog"), "users")), expected);
    }

    #[test]
    fn a_default_spec_names_the_table_alone() {
        let posts = TableName::new(None, "posts");
        assert_eq!(
            AuditSpec::default().attach_sql(&posts),
            r#"SELECT threadline.attach('"posts"'::regclass);"#
        );
        assert_eq!(AuditSpec::detach_sql(&posts), r#"SELECT threadline.detach(to_regclass('"posts"'));"#);
        assert_eq!(
            AuditSpec::default().attach_if_exists_sql(&posts),
            "SELECT threadline.attach(existing)\n\
             FROM to_regclass('\"posts\"') AS existing WHERE existing IS NOT NULL;"
        );
    }

    #[test]
    fn names_survive_quoting_whatever_they_contain() {
        let table = TableName::new(Some("O'Brien"), "my \"odd\" Tabelle\\übung");
        assert_eq!(
            AuditSpec::detach_sql(&table),
            r#"SELECT threadline.detach(to_regclass(E'"O''Brien"."my ""odd"" Tabelle\\übung"'));"#
        );
        assert_eq!(quote_ident("select"), r#""select""#);
    }

    #[test]
    fn a_name_reads_back_as_it_was_quoted() {
        for table in [
            TableName::new(None, "posts"),
            TableName::new(Some("blog"), "my \"odd\" . table"),
            TableName::new(Some("a.b"), "\".\""),
        ] {
            assert_eq!(TableName::from_sql(&table.to_sql()), table);
            assert_eq!(TableName::from_sql(&table.to_plain()), table);
        }
    }

    #[test]
    fn no_list_of_columns_is_too_long_to_be_written_whole() {
        let names: Vec<String> = (0..1600).map(|index| format!("column_{index:04}")).collect();
        let exclude: Vec<&str> = names.iter().map(String::as_str).collect();
        let spec = AuditSpec { exclude: &exclude, ..AuditSpec::default() };
        let sql = spec.attach_sql(&TableName::new(None, "wide"));
        assert!(names.iter().all(|name| sql.contains(&format!("'{name}'"))) && sql.ends_with("\n);"));
    }

    #[test]
    fn a_literal_has_nothing_in_it_that_nobody_sees() {
        for (text, literal) in [
            ("it's", "'it''s'"),
            ("a\\b", "E'a\\\\b'"),
            ("line\nline", "'line\nline'"),
            ("line\r\nline", "E'line\\r\nline'"),
            ("\u{202e}'\u{e0041}", "E'\\u202e''\\U000e0041'"),
        ] {
            assert_eq!(quote_literal(text), literal);
        }
    }
}
