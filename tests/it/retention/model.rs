//! The rules of retention once more, in plain Rust.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::PgConnection;
use serde_json::Value;
use threadline_tests::{text, texts};

/// What the trail had, whatever has gone since.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) changes: BTreeMap<(String, i64), Change>,
    pub(super) actions: BTreeMap<String, Action>,
    pub(super) transactions: BTreeMap<String, Transaction>,
    ends: BTreeMap<String, DateTime<Utc>>,
}

#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) table: String,
    at: DateTime<Utc>,
    keys: Vec<String>,
    scopes: Vec<String>,
    actor: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Action {
    name: String,
    at: DateTime<Utc>,
    transaction: Option<String>,
    actor: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Transaction {
    at: DateTime<Utc>,
    actor: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Hold {
    pub(super) table: Option<String>,
    pub(super) key: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) to: Option<DateTime<Utc>>,
}

/// As the run's row has them.
pub(super) struct Cutoffs(Value);

impl Cutoffs {
    pub(super) fn new(
        keep: Option<DateTime<Utc>>,
        tables: &[(&str, DateTime<Utc>)],
        actions: &[(&str, DateTime<Utc>)],
    ) -> Self {
        let windows = |windows: &[(&str, DateTime<Utc>)]| -> Value {
            windows
                .iter()
                .map(|(name, at)| ((*name).to_owned(), Value::from(at.to_rfc3339())))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        Self(
            serde_json::json!({"keep": keep.map(|at| at.to_rfc3339()), "tables": windows(tables), "actions": windows(actions)}),
        )
    }

    pub(super) fn of_last_run(conn: &mut PgConnection) -> Self {
        let policy = text(conn, "SELECT policy FROM threadline.retention_runs ORDER BY id DESC LIMIT 1");
        Self(serde_json::from_str(&policy).unwrap())
    }

    fn instant(value: &Value) -> Option<DateTime<Utc>> {
        value.as_str().map(|text| text.parse().unwrap())
    }

    pub(super) fn of_table(&self, id: &str) -> Option<DateTime<Utc>> {
        Self::instant(self.0["tables"].get(id).unwrap_or(&self.0["keep"]))
    }

    /// The window of the action's own, and whether there is one.
    fn of_action(&self, name: &str) -> (bool, Option<DateTime<Utc>>) {
        let own = self.0["actions"].get(name);
        (own.is_some(), Self::instant(own.unwrap_or(&self.0["keep"])))
    }
}

impl Hold {
    fn in_time(&self, at: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at <= to)
    }

    fn of_actor(&self, actor: Option<&String>) -> bool {
        self.actor.is_none() || self.actor.as_ref() == actor
    }

    fn holds(&self, change: &Change) -> bool {
        self.table.as_ref().is_none_or(|table| *table == change.table)
            && self.key.as_ref().is_none_or(|key| change.keys.contains(key))
            && self.scope.as_ref().is_none_or(|scope| change.scopes.contains(scope))
            && self.of_actor(change.actor.as_ref())
            && self.in_time(change.at)
    }

    fn holds_alone(&self, at: DateTime<Utc>, actor: Option<&String>) -> bool {
        self.table.is_none()
            && self.key.is_none()
            && self.scope.is_none()
            && self.of_actor(actor)
            && self.in_time(at)
    }
}

impl Model {
    pub(super) fn read(conn: &mut PgConnection) -> Self {
        let mut model = Self::default();
        let rows = |conn: &mut PgConnection, sql: &str| -> Vec<Value> {
            texts(conn, sql).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let string = |value: &Value| value.as_str().map(str::to_owned);
        let at = |value: &Value| value.as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        for row in rows(
            conn,
            "SELECT to_jsonb(c) || jsonb_build_object('actor', t.actor_type || ':' || t.actor_id) FROM threadline.audit_changes c JOIN threadline.audit_transactions t ON t.id = c.transaction_id",
        ) {
            let transaction = string(&row["transaction_id"]).unwrap();
            let captured_at = at(&row["captured_at"]);
            let end = model.ends.entry(transaction.clone()).or_insert(captured_at);
            *end = captured_at.max(*end);
            model.changes.insert(
                (transaction, row["ordinal"].as_i64().unwrap()),
                Change {
                    table: row["table_id"].to_string(),
                    at: captured_at,
                    keys: ["row_key", "previous_row_key"]
                        .iter()
                        .filter_map(|name| string(&row[*name]))
                        .collect(),
                    scopes: ["scope", "previous_scope"]
                        .iter()
                        .filter_map(|name| string(&row[*name]))
                        .collect(),
                    actor: string(&row["actor"]),
                },
            );
        }
        for row in rows(
            conn,
            "SELECT to_jsonb(a) || jsonb_build_object('actor', a.actor_type || ':' || a.actor_id) FROM threadline.audit_actions a",
        ) {
            model.actions.insert(
                string(&row["id"]).unwrap(),
                Action {
                    name: string(&row["name"]).unwrap(),
                    at: at(&row["occurred_at"]),
                    transaction: string(&row["transaction_id"]),
                    actor: string(&row["actor"]),
                },
            );
        }
        for row in rows(
            conn,
            "SELECT to_jsonb(t) || jsonb_build_object('actor', t.actor_type || ':' || t.actor_id) FROM threadline.audit_transactions t",
        ) {
            model.transactions.insert(
                string(&row["id"]).unwrap(),
                Transaction { at: at(&row["occurred_at"]), actor: string(&row["actor"]) },
            );
        }
        model
    }

    /// What a run removes.
    pub(super) fn purge(&mut self, cutoffs: &Cutoffs, holds: &[Hold]) {
        let mut units = BTreeMap::<(String, String), bool>::new();
        for ((transaction, _), change) in &self.changes {
            let end = self.ends[transaction];
            let is_old = cutoffs.of_table(&change.table).is_some_and(|cutoff| end < cutoff);
            let is_kept = self.actions.values().any(|action| {
                let (own, cutoff) = cutoffs.of_action(&action.name);
                action.transaction.as_ref() == Some(transaction)
                    && own
                    && cutoff.is_none_or(|cutoff| end >= cutoff)
            });
            let is_held = holds.iter().any(|hold| hold.holds(change));
            *units.entry((transaction.clone(), change.table.clone())).or_insert(true) &=
                is_old && !is_kept && !is_held;
        }
        self.changes.retain(|(transaction, _), change| !units[&(transaction.clone(), change.table.clone())]);
        let busy: BTreeSet<&String> = self.changes.keys().map(|(transaction, _)| transaction).collect();
        let held: BTreeSet<&String> = self
            .changes
            .iter()
            .filter(|(_, change)| holds.iter().any(|hold| hold.holds(change)))
            .map(|((transaction, _), _)| transaction)
            .collect();
        self.actions.retain(|_, action| {
            let (own, cutoff) = cutoffs.of_action(&action.name);
            let of = action.transaction.as_ref();
            let is_due = cutoff.is_some_and(|cutoff| action.at < cutoff)
                && (own || !of.is_some_and(|of| busy.contains(of)))
                && !of.is_some_and(|of| held.contains(of))
                && !holds.iter().any(|hold| hold.holds_alone(action.at, action.actor.as_ref()));
            !is_due
        });
        let with_action: BTreeSet<&String> =
            self.actions.values().filter_map(|action| action.transaction.as_ref()).collect();
        self.transactions.retain(|id, transaction| {
            busy.contains(id)
                || with_action.contains(id)
                || holds.iter().any(|hold| hold.holds_alone(transaction.at, transaction.actor.as_ref()))
        });
    }

    /// What it has by name, to be compared.
    pub(super) fn contents(&self) -> (Vec<(String, i64)>, Vec<String>, Vec<String>) {
        (
            self.changes.keys().cloned().collect(),
            self.actions.keys().cloned().collect(),
            self.transactions.keys().cloned().collect(),
        )
    }
}
