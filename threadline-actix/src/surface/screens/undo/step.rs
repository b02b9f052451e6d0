//! What the plan does to one row, with what stands in the way.

use std::collections::BTreeMap;

use chrono::DateTime;
use diesel::PgConnection;
use threadline::undo::{Conflict, ConflictKind, Overlap, TypedValue, UndoOp, UndoStep};
use threadline::{ChangeId, Error, FieldValue, Json, RowKey, TableName, UndoPlan};

use crate::surface::diff::FieldView;
use crate::surface::entry::{Badge, key_text, row_link, table_text};
use crate::surface::link::Link;
use crate::surface::prose::Prose;
use crate::surface::visit::Visit;

/// Changes of a step that are named.
const CHANGES: usize = 4;

/// The step to one row.
pub(super) struct StepView {
    pub(super) badge: Badge,
    pub(super) table: String,
    pub(super) key: String,
    pub(super) row: Option<String>,
    pub(super) undoes: Vec<ChangeLink>,
    pub(super) more: usize,
    pub(super) fields: Vec<FieldView>,
    /// Whether there is room for the columns at once.
    pub(super) is_open: bool,
    pub(super) conflicts: Vec<ConflictView>,
}

/// A change by its name.
pub(super) struct ChangeLink {
    pub(super) name: String,
    pub(super) href: String,
}

pub(super) struct ConflictView {
    pub(super) words: Prose,
    pub(super) by: Option<ChangeLink>,
}

/// The key columns of the tables of a plan.
pub(super) struct Keys(BTreeMap<TableName, Vec<String>>);

impl Keys {
    pub(super) fn of(conn: &mut PgConnection, plan: &UndoPlan) -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        for step in &plan.steps {
            if !all.contains_key(&step.table) {
                all.insert(step.table.clone(), RowKey::columns(conn, &step.table)?);
            }
        }
        Ok(Self(all))
    }

    fn key(&self, table: &TableName, stored: &str) -> Option<RowKey> {
        self.0.get(table).and_then(|columns| RowKey::stored(columns, stored))
    }
}

impl StepView {
    pub(super) fn new(visit: &Visit, plan: &UndoPlan, keys: &Keys, step: &UndoStep) -> Self {
        /// Steps of a plan that shows the whole rows of all of them at once.
        const FEW: usize = 3;
        let badge = match step.op {
            UndoOp::Insert => Badge { letter: 'I', word: "insert" },
            UndoOp::Update => Badge { letter: 'U', word: "update" },
            UndoOp::Delete => Badge { letter: 'D', word: "delete" },
            _ => Badge { letter: '?', word: "change" },
        };
        let key = keys.key(&step.table, &step.row_key);
        let here = key.as_ref().map(|key| row_link(&step.table, key));
        let is_one = plan.transactions.len() == 1;
        let undoes = step.undoes.iter().take(CHANGES).map(|id| ChangeLink {
            name: if is_one { format!("#{}", id.ordinal) } else { id.to_string() },
            href: match &here {
                Some(here) => visit.href(&here.clone().with("version", id.to_string())),
                None => transaction(visit, id),
            },
        });
        let fields = step.columns.iter().map(|column| {
            let before = match (&column.from, step.op) {
                (Some(value), _) => known(value),
                (None, UndoOp::Insert) => FieldValue::Absent,
                (None, _) => FieldValue::Unknown,
            };
            FieldView::new(&column.column, &before, &known(&column.to), visit.reading())
        });
        Self {
            badge,
            table: table_text(&step.table),
            key: key_text(key.as_ref(), &step.row_key),
            row: here.as_ref().map(|here| visit.href(here)),
            undoes: undoes.collect(),
            more: step.undoes.len().saturating_sub(CHANGES),
            fields: fields.collect(),
            is_open: step.op == UndoOp::Update || plan.steps.len() <= FEW,
            conflicts: step.conflicts.iter().map(|conflict| ConflictView::new(visit, conflict)).collect(),
        }
    }
}

impl ConflictView {
    fn new(visit: &Visit, conflict: &Conflict) -> Self {
        let words = match &conflict.kind {
            ConflictKind::Changed { column, .. } => format!("column `{column}` was written again"),
            ConflictKind::RowGone => "the row is gone".to_owned(),
            ConflictKind::KeyTaken => "another row has its key".to_owned(),
            ConflictKind::Referenced { foreign_key, row_key: Some(row_key) } => {
                format!("row `{row_key}` refers to it by `{foreign_key}`")
            }
            ConflictKind::Referenced { foreign_key, row_key: None } => {
                format!("a row refers to it by `{foreign_key}`")
            }
            _ => conflict.to_string(),
        };
        let (words, by) = match conflict.overlaps.first() {
            Some(Overlap::Change { id }) => {
                let by = ChangeLink { name: id.to_string(), href: transaction(visit, id) };
                (format!("{words}, last by change"), Some(by))
            }
            Some(Overlap::Escaped) => (format!("{words}, by a write that escaped capture."), None),
            _ => (format!("{words}."), None),
        };
        let mut letters = words.chars();
        let capital: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        Self { words: Prose::new(&format!("{capital}{}", letters.as_str())), by }
    }
}

fn transaction(visit: &Visit, id: &ChangeId) -> String {
    visit.href(&Link::to(format!("transactions/{}", id.transaction_id)))
}

/// A value as its type writes it, in the form in which the trail has values: a diff shows both alike.
fn known(value: &TypedValue) -> FieldValue {
    FieldValue::Known(json(value))
}

fn json(value: &TypedValue) -> Json {
    const NUMBERS: [&str; 5] = ["smallint", "integer", "bigint", "real", "double precision"];
    let quoted = |text: &str| {
        let json = serde_json::to_string(text).expect("a text always serializes");
        serde_json::from_str::<Json>(&json).expect("it was just written")
    };
    let Some(text) = value.text.as_deref() else {
        return serde_json::from_str("null").expect("it is JSON");
    };
    let sql_type = value.sql_type.as_str();
    let is_number = NUMBERS.contains(&sql_type) || sql_type.starts_with("numeric");
    let written = match (sql_type, text) {
        ("boolean", "t" | "true") => Some("true".to_owned()),
        ("boolean", "f" | "false") => Some("false".to_owned()),
        ("json" | "jsonb", _) => Some(text.to_owned()),
        _ if is_number => Some(text.to_owned()),
        _ => None,
    };
    // What is no JSON all the same, as NaN, is a text.
    if let Some(json) = written.and_then(|text| serde_json::from_str::<Json>(&text).ok()) {
        return json;
    }
    if sql_type.starts_with("timestamp") && sql_type.ends_with("with time zone") {
        let at = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z");
        return at
            .map_or_else(|_| quoted(text), |at| quoted(&at.format("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()));
    }
    quoted(text)
}
