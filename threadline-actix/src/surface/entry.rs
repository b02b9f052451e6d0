//! Changes as lists show them: one line each, those of a transaction together.

use chrono_tz::Tz;
use threadline::{
    Actor, AuditAction, AuditTransaction, ChangeDiff, ChangeId, FieldDiff, FieldValue, LinkedChange, Op,
    RowKey, TableName,
};
use uuid::Uuid;

use super::link::Link;
use super::moment::Moment;
use super::value::{Kind, Value, shown};
use super::visit::Visit;

/// Consecutive changes of one transaction.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) href: String,
    pub(super) when: Moment,
    pub(super) who: Who,
    pub(super) action: Option<ActionTag>,
    pub(super) correlation: Option<Correlation>,
    pub(super) entries: Vec<Entry>,
    /// What is folded away of many.
    pub(super) folded: Vec<Entry>,
}

/// Who answers for something.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) label: String,
    pub(super) href: Option<String>,
    /// Where nobody was named: what the database knows.
    pub(super) role: Option<String>,
}

/// What the application said it was doing.
#[derive(Clone, Debug)]
pub(super) struct ActionTag {
    pub(super) name: String,
    pub(super) failed: bool,
}

/// What a transaction belongs together with.
#[derive(Clone, Debug)]
pub(super) struct Correlation {
    pub(super) id: String,
    pub(super) href: String,
}

/// One change.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) badge: Badge,
    pub(super) table: String,
    pub(super) key: String,
    pub(super) row: Option<String>,
    pub(super) fields: Vec<Field>,
    /// Fields that are not shown.
    pub(super) more: usize,
}

/// One column of a change, in short.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// What a change did: a letter for the eye, a word for the ear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Badge {
    pub(super) letter: char,
    pub(super) word: &'static str,
}

impl Badge {
    pub(super) fn of(op: Op) -> Self {
        match op {
            Op::Insert => Self { letter: 'I', word: "insert" },
            Op::Update => Self { letter: 'U', word: "update" },
            Op::Delete => Self { letter: 'D', word: "delete" },
            Op::Truncate => Self { letter: 'T', word: "truncate" },
            _ => Self { letter: '?', word: "change" },
        }
    }
}

impl Who {
    pub(super) fn new(visit: &Visit, actor: Option<Actor>, role: Option<&str>) -> Self {
        match actor {
            Some(actor) => Self {
                href: Some(visit.href(&Link::to("actors").with("actor", actor.to_string()))),
                label: shown(&actor.to_string()),
                role: None,
            },
            None => Self { label: "nobody named".to_owned(), href: None, role: role.map(shown) },
        }
    }
}

impl ActionTag {
    pub(super) fn new(action: &AuditAction) -> Self {
        Self { name: shown(&action.name), failed: action.status == threadline::ActionStatus::Error }
    }
}

impl Correlation {
    pub(super) fn new(visit: &Visit, id: &str) -> Self {
        Self { id: shown(id), href: visit.href(&Link::to("correlations").with("id", id)) }
    }
}

impl Group {
    /// The changes, those of one transaction together where they follow one another.
    pub(super) fn all(visit: &Visit, changes: &[LinkedChange]) -> Vec<Self> {
        changes
            .chunk_by(|one, next| one.change.id.transaction_id == next.change.id.transaction_id)
            .map(|changes| Self::new(visit, changes))
            .collect()
    }

    fn new(visit: &Visit, changes: &[LinkedChange]) -> Self {
        // Beyond so many only the first few are shown at once.
        const MANY: usize = 8;
        const FEW: usize = 5;
        let at_once = if changes.len() > MANY { FEW } else { changes.len() };
        let mut entries = changes.iter().map(|change| Entry::new(visit, change));
        let entries_at_once: Vec<Entry> = entries.by_ref().take(at_once).collect();
        let first = &changes[0];
        let transaction = first.transaction.as_ref();
        let id = first.change.id.transaction_id.to_string();
        Self {
            href: visit.href(&Link::to(format!("transactions/{id}"))),
            when: visit.moment(first.change.captured_at),
            who: Who::new(
                visit,
                transaction.and_then(AuditTransaction::actor),
                transaction.map(|transaction| transaction.db_role.as_str()),
            ),
            action: first.action.as_ref().map(ActionTag::new),
            correlation: transaction
                .and_then(|transaction| transaction.correlation_id.as_deref())
                .map(|id| Correlation::new(visit, id)),
            entries: entries_at_once,
            folded: entries.collect(),
        }
    }
}

impl Entry {
    fn new(visit: &Visit, linked: &LinkedChange) -> Self {
        const FIELDS: usize = 3;
        let ChangeDiff { op, fields, row_key, .. } = linked.diff();
        let told = |field: &&FieldDiff| match op {
            // What a row consists of is for its own page; here is what it says.
            Op::Insert => !matches!(&field.after, FieldValue::Known(json) if json.is_null()),
            Op::Delete => !matches!(&field.before, FieldValue::Known(json) if json.is_null()),
            _ => true,
        };
        let keys = linked.key.as_ref().map(RowKey::parts).unwrap_or_default();
        let mut shown_fields: Vec<&FieldDiff> = fields
            .iter()
            .filter(told)
            .filter(|field| op == Op::Update || !keys.contains_key(&field.name))
            .collect();
        let zone = visit.preferences.zone;
        let telling = |field: &&FieldDiff| {
            let of = |value: &FieldValue| Telling::of(&field.name, value, zone);
            of(&field.before).min(of(&field.after))
        };
        shown_fields.sort_by_cached_key(telling);
        Self {
            badge: Badge::of(op),
            table: table_text(&linked.table),
            key: key_text(linked.key.as_ref(), &row_key),
            row: linked.key.as_ref().map(|key| visit.href(&row_link(&linked.table, key))),
            more: shown_fields.len().saturating_sub(FIELDS),
            fields: shown_fields.into_iter().take(FIELDS).map(|field| Field::new(op, field, zone)).collect(),
        }
    }
}

/// What a column tells of a row, that first which names the row to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Telling {
    /// By a column that is called so; the more telling names first.
    Name(usize),
    /// By one that is called much so, as `display_name`.
    KindOfName(usize),
    Words,
    LongText,
    Number,
    Structure,
    Instant,
    Nothing,
}

impl Telling {
    const NAMES: [&str; 10] =
        ["title", "name", "label", "subject", "slug", "email", "username", "code", "number", "status"];

    fn of(column: &str, value: &FieldValue, zone: Tz) -> Self {
        /// Characters of a text that is read at once.
        const SHORT: usize = 80;
        let value = Value::new(value, SHORT, zone);
        let column = column.to_ascii_lowercase();
        match value.kind {
            Kind::Text | Kind::Number => {
                let place = |is: &dyn Fn(&str) -> bool| Self::NAMES.into_iter().position(is);
                let is_kind_of = |name: &str| {
                    column.strip_suffix(name).is_some_and(|first| first.ends_with(['_', ' ', '-']))
                };
                let name = place(&|name| column == name).map(Self::Name);
                let kind = || place(&is_kind_of).map(Self::KindOfName);
                name.or_else(kind).unwrap_or(match value.kind {
                    Kind::Number => Self::Number,
                    _ if value.cut => Self::LongText,
                    _ => Self::Words,
                })
            }
            Kind::Bool => Self::Number,
            Kind::Json => Self::Structure,
            Kind::Time => Self::Instant,
            Kind::Empty | Kind::Null | Kind::Masked | Kind::Absent | Kind::Unknown => Self::Nothing,
        }
    }
}

impl Field {
    fn new(op: Op, field: &FieldDiff, zone: Tz) -> Self {
        // Of a whole row less of each column, so that it stays a line.
        let length = if op == Op::Update { 48 } else { 32 };
        let side = |value: &FieldValue| {
            (!matches!(value, FieldValue::Absent)).then(|| Value::new(value, length, zone))
        };
        let (before, after) = (side(&field.before), side(&field.after));
        let short = |value: &Option<Value>| value.clone().map(Value::short);
        let (old, new) = (short(&before), short(&after));
        let name = shown(&field.name);
        // What happened within a second is told to the fraction of it.
        let reads_alike = matches!((&old, &new), (Some(old), Some(new)) if old.text == new.text);
        if reads_alike { Self { name, before, after } } else { Self { name, before: old, after: new } }
    }
}

/// A change as links and people name it: `TRANSACTION#1`.
pub(super) fn change_id(text: &str) -> Option<ChangeId> {
    let (transaction, ordinal) = text.split_once('#')?;
    Some(ChangeId { transaction_id: Uuid::try_parse(transaction).ok()?, ordinal: ordinal.parse().ok()? })
}

/// The key as people say it: its value, or `column=value` for each of several.
pub(super) fn key_text(key: Option<&RowKey>, stored: &str) -> String {
    match key {
        Some(key) => shown(&key.to_plain()),
        None => shown(stored),
    }
}

/// Where a row's history is.
pub(super) fn row_link(table: &TableName, key: &RowKey) -> Link {
    let parts = key.parts().into_iter().map(|(name, value)| ("key", format!("{name}={value}")));
    Link::to("rows").with("table", table.to_plain()).with_all(parts)
}

/// The table as people say it: `public` goes without saying.
pub(super) fn table_text(table: &TableName) -> String {
    match table.schema() {
        Some("public") => shown(&TableName::new(None, table.name()).to_plain()),
        _ => shown(&table.to_plain()),
    }
}
