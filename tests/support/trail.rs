//! What the trail says, in a form a test can compare.

use chrono::{DateTime, Utc};
use diesel::PgConnection;
use diesel::prelude::*;
use threadline::{AsOf, History, HistoryLimit, RowImage, RowKey, RowState, TableName, Trail};

use crate::texts;

/// A table by its plain name on the search path, or as `schema.name`.
pub fn table(name: &str) -> TableName {
    match name.split_once('.') {
        Some((schema, name)) => TableName::new(Some(schema), name),
        None => TableName::new(None, name),
    }
}

/// A row's whole history; a key is written `id=7` or `a=1;b=2`.
pub fn history(conn: &mut PgConnection, name: &str, key: &str) -> History<()> {
    Trail::unscoped()
        .row_history(conn, &table(name), &row_key(key), HistoryLimit::All)
        .unwrap_or_else(|error| panic!("{error:?}: history of {name} {key}"))
}

/// What a row was.
pub fn as_of(conn: &mut PgConnection, name: &str, key: &str, at: DateTime<Utc>) -> AsOf<RowImage> {
    Trail::unscoped()
        .row_as_of(conn, &table(name), &row_key(key), at)
        .unwrap_or_else(|error| panic!("{error:?}: {name} {key}"))
}

/// A key written `id=7` or `a=1;b=2`.
pub fn row_key(key: &str) -> RowKey {
    RowKey::new(key.split(';').map(|part| part.split_once('=').expect("a key is written column=value")))
        .expect("no column is named twice")
}

/// Every captured change of a table in the order of the trail, as `U 2<-1 {"v": [1, 2]}`.
pub fn changes(conn: &mut PgConnection, name: &str) -> Vec<String> {
    texts(
        conn,
        &format!(
            "SELECT concat_ws(' ', op, row_key || coalesce('<-' || previous_row_key, ''), coalesce(diff, row_data)::jsonb)
            FROM threadline.audit_changes WHERE table_id = threadline.table_id('{name}'::regclass)
            ORDER BY captured_at, transaction_id, ordinal"
        ),
    )
}

/// The states of a row from its first captured change to now, oldest first, each as one line of JSON, `-` for none.
///
/// # Panics
///
/// When two neighbouring versions do not fit together, or one is known only in part.
pub fn states(conn: &mut PgConnection, name: &str, key: &str) -> Vec<String> {
    let history = history(conn, name, key);
    let show = |state: &RowState| match state {
        RowState::Present(image) => serde_json::to_string(&image.columns).expect("columns serialize"),
        RowState::Absent => "-".to_owned(),
        other => panic!("not wholly known: {other:?} in the history of {name} {key}"),
    };
    let mut states = Vec::new();
    for version in history.versions.iter().rev() {
        assert!(!version.gap, "a gap in the history of {name} {key} after {:?}", version.change);
        let before = show(&version.before);
        match states.last() {
            None => states.push(before),
            Some(last) => assert_eq!(*last, before, "{name} {key}: before {:?}", version.change),
        }
        states.push(show(&version.after));
    }
    states
}

/// The database's clock.
pub fn clock(conn: &mut PgConnection) -> DateTime<Utc> {
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Timestamptz>("clock_timestamp()"))
        .get_result(conn)
        .expect("the clock can be read")
}
