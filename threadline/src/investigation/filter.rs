//! Which part of the trail is asked for: one type for the timeline, its pages and counts, exports, the command line and
//! the web pages.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::change::Op;
use super::key::RowKey;
use crate::capture::TableName;
use crate::intent::{ActionStatus, Actor, ActorId, ActorType, TextKind, text_problem};

/// Which changes, or actions, are asked for. Nothing set means all.
///
/// What is set has to hold together; of a list, one suffices. It has a second form, pairs of a name and a text, which
/// command lines, query strings and JSON share: [`from_pairs`](Self::from_pairs), [`pairs`](Self::pairs).
///
/// ```
/// use threadline::{Actor, Filter, Op, TableName};
///
/// let filter = Filter::new().table(TableName::new(None, "posts")).actor(Actor::user(42)).op(Op::Delete);
/// assert_eq!(Filter::from_pairs([("table", "posts"), ("actor", "user:42"), ("op", "delete")])?, filter);
/// assert_eq!(serde_json::to_string(&filter)?, r#"{"actor":["user:42"],"op":["delete"],"table":["posts"]}"#);
/// assert!(Filter::from_pairs([("tabel", "posts")]).is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "BTreeMap<String, Vec<String>>", try_from = "BTreeMap<String, Vec<String>>")]
#[must_use]
pub struct Filter {
    pub(crate) tables: Vec<TableName>,
    pub(crate) schema: Option<String>,
    pub(crate) key: Option<RowKey>,
    pub(crate) actors: Vec<ActorFilter>,
    pub(crate) actions: Vec<String>,
    pub(crate) status: Option<ActionStatus>,
    pub(crate) categories: Vec<String>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) transaction_correlation_id: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) job_id: Option<String>,
    pub(crate) ops: Vec<Op>,
    pub(crate) column: Option<String>,
    pub(crate) from: Option<DateTime<Utc>>,
    pub(crate) to: Option<DateTime<Utc>>,
    pub(crate) db_role: Option<String>,
}

/// Who is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ActorFilter {
    Named(Actor),
    /// Transactions for which the application named nobody, which is not the same as [`Actor::anonymous`].
    Nobody,
}

/// Entries a list can have.
const MOST: usize = 100;

impl Filter {
    /// The names of the pairs a filter is made of, in the order [`pairs`](Self::pairs) has them: what command lines and
    /// forms offer, without a list of their own.
    pub const NAMES: [&str; 16] = [
        "table",
        "schema",
        "key",
        "actor",
        "action",
        "status",
        "category",
        "correlation_id",
        "transaction_correlation_id",
        "request_id",
        "job_id",
        "op",
        "column",
        "from",
        "to",
        "db_role",
    ];

    /// Those of [`NAMES`](Self::NAMES) that may come several times.
    pub const REPEATABLE: [&str; 6] = ["table", "key", "actor", "action", "category", "op"];

    /// Everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes of this table, or of another one that is named as well.
    pub fn table(mut self, table: TableName) -> Self {
        self.tables.push(table);
        self
    }

    /// Changes of tables in this schema. With tables, where those are that do not name theirs.
    pub fn schema(self, schema: impl Into<String>) -> Self {
        Self { schema: Some(schema.into()), ..self }
    }

    /// Changes of the row with this key, those by which it came to the key or left it included, and the TRUNCATEs of its
    /// table. Takes exactly one table.
    pub fn key(self, key: RowKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// What this actor did, or another one that is named as well.
    pub fn actor(mut self, actor: Actor) -> Self {
        self.actors.push(ActorFilter::Named(actor));
        self
    }

    /// Also what was done while the application named nobody. This is not [`Actor::anonymous`].
    pub fn nobody(mut self) -> Self {
        self.actors.push(ActorFilter::Nobody);
        self
    }

    /// Transactions in which an action of this name was recorded, or of another one that is named as well.
    pub fn action(mut self, name: impl Into<String>) -> Self {
        self.actions.push(name.into());
        self
    }

    /// Transactions in which an action that ended like this was recorded.
    pub fn status(self, status: ActionStatus) -> Self {
        Self { status: Some(status), ..self }
    }

    /// Transactions in which an action of this category was recorded, or of another one that is named as well.
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.categories.push(category.into());
        self
    }

    /// Transactions in which an action with this correlation id was recorded. Strict: changes made without an action never
    /// match; see [`transaction_correlation_id`](Self::transaction_correlation_id).
    pub fn correlation_id(self, id: impl Into<String>) -> Self {
        Self { correlation_id: Some(id.into()), ..self }
    }

    /// Transactions whose own context had this correlation id, with or without an action.
    pub fn transaction_correlation_id(self, id: impl Into<String>) -> Self {
        Self { transaction_correlation_id: Some(id.into()), ..self }
    }

    /// What this request did.
    pub fn request_id(self, id: impl Into<String>) -> Self {
        Self { request_id: Some(id.into()), ..self }
    }

    /// What this background job did.
    pub fn job_id(self, id: impl Into<String>) -> Self {
        Self { job_id: Some(id.into()), ..self }
    }

    /// Changes of this kind, or of another one that is named as well.
    pub fn op(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    /// Updates that changed this column, by the name it has today.
    pub fn column(self, column: impl Into<String>) -> Self {
        Self { column: Some(column.into()), ..self }
    }

    /// What was captured at this instant or later.
    pub fn from(self, from: DateTime<Utc>) -> Self {
        Self { from: Some(from), ..self }
    }

    /// What was captured at this instant or earlier.
    pub fn to(self, to: DateTime<Utc>) -> Self {
        Self { to: Some(to), ..self }
    }

    /// What was done by sessions of this database role, the one that logged in.
    pub fn db_role(self, role: impl Into<String>) -> Self {
        Self { db_role: Some(role.into()), ..self }
    }

    /// The filter these pairs ask for. `table`, `key` (as `column=value`), `actor` (`user:42`, `anonymous`, `nobody`),
    /// `action`, `category` and `op` (`insert`, `update`, `delete`, `truncate`) may come several times; `schema`, `status`
    /// (`ok`, `error`), `correlation_id`, `transaction_correlation_id`, `request_id`, `job_id`, `column`, `from` and `to`
    /// (RFC 3339, as `2026-11-21T09:30:00Z`) and `db_role` once. A table is `posts`, or `blog.posts` with its schema; names
    /// with dots are quoted as in SQL.
    ///
    /// # Errors
    ///
    /// [`InvalidFilter`] with every unknown name and every malformed value, and what [`check`](Self::check) finds.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, InvalidFilter> {
        let mut filter = Self::default();
        let mut problems = Vec::new();
        let mut key = Vec::new();
        let mut seen = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            let Some(&known) = Self::NAMES.iter().find(|known| **known == name) else {
                problems.push(format!("`{name}` is not a filter; there are {}", Self::NAMES.join(", ")));
                continue;
            };
            if seen.contains(&known) && !Self::REPEATABLE.contains(&known) {
                problems.push(format!("{known}: is given twice"));
            }
            seen.push(known);
            if known == "key" {
                match value.split_once('=') {
                    Some((column, text)) => key.push((column.to_owned(), text.to_owned())),
                    None => problems.push("key: is not of the form column=value".to_owned()),
                }
            } else if let Err(problem) = filter.set(known, value) {
                problems.push(format!("{known}: {problem}"));
            }
        }
        if !key.is_empty() {
            match RowKey::new(key) {
                Ok(key) => filter.key = Some(key),
                Err(_) => problems.push("key: names a column twice".to_owned()),
            }
        }
        problems.extend(filter.problems());
        if problems.is_empty() { Ok(filter) } else { Err(InvalidFilter { problems }) }
    }

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), String> {
        let text = || Some(value.to_owned());
        match name {
            "table" => self.tables.push(value.parse().map_err(|_| "is not the name of a table")?),
            "schema" => self.schema = text(),
            "actor" => self.actors.push(actor_named(value)?),
            "action" => self.actions.push(value.to_owned()),
            "status" => {
                self.status = Some(match value {
                    "ok" => ActionStatus::Ok,
                    "error" => ActionStatus::Error,
                    _ => return Err("is neither ok nor error".to_owned()),
                });
            }
            "category" => self.categories.push(value.to_owned()),
            "correlation_id" => self.correlation_id = text(),
            "transaction_correlation_id" => self.transaction_correlation_id = text(),
            "request_id" => self.request_id = text(),
            "job_id" => self.job_id = text(),
            "op" => self.ops.push(Op::named(value).ok_or("is not one of insert, update, delete, truncate")?),
            "column" => self.column = text(),
            "from" => self.from = Some(instant(value)?),
            "to" => self.to = Some(instant(value)?),
            "db_role" => self.db_role = text(),
            _ => unreachable!("every name of NAMES but key, which the caller takes, is handled"),
        }
        Ok(())
    }

    /// The same filter as pairs; [`from_pairs`](Self::from_pairs) takes them back.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        let mut add = |name: &'static str, value: String| pairs.push((name, value));
        self.tables.iter().for_each(|table| add("table", table.to_plain()));
        self.schema.iter().for_each(|schema| add("schema", schema.clone()));
        for (column, value) in self.key.iter().flat_map(RowKey::parts) {
            add("key", format!("{column}={value}"));
        }
        for actor in &self.actors {
            match actor {
                ActorFilter::Named(actor) => add("actor", actor.to_string()),
                ActorFilter::Nobody => add("actor", "nobody".to_owned()),
            }
        }
        self.actions.iter().for_each(|name| add("action", name.clone()));
        self.status.iter().for_each(|status| add("status", status.to_string()));
        self.categories.iter().for_each(|category| add("category", category.clone()));
        for (name, id) in [
            ("correlation_id", &self.correlation_id),
            ("transaction_correlation_id", &self.transaction_correlation_id),
            ("request_id", &self.request_id),
            ("job_id", &self.job_id),
        ] {
            id.iter().for_each(|id| add(name, id.clone()));
        }
        self.ops.iter().for_each(|op| add("op", op.to_string()));
        self.column.iter().for_each(|column| add("column", column.clone()));
        for (name, instant) in [("from", self.from), ("to", self.to)] {
            instant
                .iter()
                .for_each(|instant| add(name, instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)));
        }
        self.db_role.iter().for_each(|role| add("db_role", role.clone()));
        pairs
    }

    /// Fails with everything that cannot be asked: blank or overlong texts, a key without exactly one table, `from` after
    /// `to`, lists of over 100 entries. Every read checks its filter; whether the tables and the key's columns exist is for
    /// the database to say.
    ///
    /// # Errors
    ///
    /// [`InvalidFilter`] with each problem.
    pub fn check(&self) -> Result<(), InvalidFilter> {
        let problems = self.problems();
        if problems.is_empty() { Ok(()) } else { Err(InvalidFilter { problems }) }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let lists = [
            ("table", self.tables.len()),
            ("actor", self.actors.len()),
            ("action", self.actions.len()),
            ("category", self.categories.len()),
            ("op", self.ops.len()),
        ];
        for (name, length) in lists {
            if length > MOST {
                problems.push(format!("{name}: more than {MOST} are given"));
            }
        }
        let texts = [
            ("schema", &self.schema),
            ("correlation_id", &self.correlation_id),
            ("transaction_correlation_id", &self.transaction_correlation_id),
            ("request_id", &self.request_id),
            ("job_id", &self.job_id),
            ("column", &self.column),
            ("db_role", &self.db_role),
        ];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?)));
        let listed = self.actions.iter().map(|name| ("action", name));
        for (name, text) in texts.chain(listed).chain(self.categories.iter().map(|name| ("category", name))) {
            if let Some(problem) = text_problem(text, TextKind::Name) {
                problems.push(format!("{name}: {problem}"));
            }
        }
        if self.key.is_some() && self.tables.len() != 1 {
            problems.push("key: takes exactly one table".to_owned());
        }
        if self.from.zip(self.to).is_some_and(|(from, to)| from > to) {
            problems.push("from: is later than `to`".to_owned());
        }
        problems
    }

    /// The names of what is set, of those given.
    pub(crate) fn set_among(&self, names: &[&'static str]) -> Vec<&'static str> {
        let mut set: Vec<_> =
            self.pairs().into_iter().map(|(name, _)| name).filter(|name| names.contains(name)).collect();
        set.dedup();
        set
    }
}

fn actor_named(text: &str) -> Result<ActorFilter, String> {
    if text == "nobody" {
        return Ok(ActorFilter::Nobody);
    }
    let (actor_type, id) = match text.split_once(':') {
        Some((actor_type, id)) => (actor_type, Some(id)),
        None => (text, None),
    };
    let known = actor_type.parse::<ActorType>().ok().and_then(|actor_type| {
        let id = id.map(ActorId::try_from).transpose().ok()?;
        Actor::new(actor_type, id).ok()
    });
    known.map(ActorFilter::Named).ok_or_else(|| {
        "is not an actor; write user:ID, admin:ID, service_account:ID, job:ID, system:ID, anonymous or nobody"
            .to_owned()
    })
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|instant| instant.to_utc())
        .map_err(|_| "is not an instant such as 2026-11-21T09:30:00Z (RFC 3339)".to_owned())
}

impl From<Filter> for BTreeMap<String, Vec<String>> {
    fn from(filter: Filter) -> Self {
        let mut map = Self::new();
        for (name, value) in filter.pairs() {
            map.entry(name.to_owned()).or_default().push(value);
        }
        map
    }
}

impl TryFrom<BTreeMap<String, Vec<String>>> for Filter {
    type Error = InvalidFilter;

    fn try_from(map: BTreeMap<String, Vec<String>>) -> Result<Self, InvalidFilter> {
        let pairs = map.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        Self::from_pairs(pairs)
    }
}

/// What is wrong with a filter, each problem with the name of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFilter {
    problems: Vec<String>,
}

impl InvalidFilter {
    pub(crate) fn one(problem: impl Into<String>) -> Self {
        Self { problems: vec![problem.into()] }
    }

    /// Each problem, such as ``from: is later than `to` ``. None of them quotes a value.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid filter: {}", self.problems.join("; "))
    }
}

impl std::error::Error for InvalidFilter {}
