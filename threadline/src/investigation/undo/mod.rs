//! Undoing: the inverse of captured changes, as a plan to be reviewed and, if asked for, applied.
//!
//! A plan writes exactly the columns its target changed, row by row: what later changes did to other columns stays. Where
//! they overlap, the plan lists it and [`UndoPlan::apply`] refuses; but what they have put back is left alone, so that of what
//! was undone already nothing is left to do ([`UndoPlan::is_done`]). What the trail does not know, because it is masked, say,
//! is listed too. Planning only reads.
//!
//! Sequences are left as they are. What SQL NULL and the JSON value null have in common in the trail, they have here: NULL is
//! restored, or the JSON value where the column is NOT NULL.

mod apply;
mod conflict;
mod net;
mod order;
mod plan;
mod render;
mod steps;
mod table;
mod target;

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Oid, Text};

use self::net::{Effect, Way};
use self::steps::Builder;
use self::table::{Shape, Table, Texts, Value, Values};
use self::target::Targeted;
use super::as_of::{self, AsOf};
use super::change::{ChangeId, Op};
use super::log::StoredChange;
use super::scope::{ResolvedScope, Surface};
use super::timeline::Who;
use super::trail::Trail;
use crate::capture::TableName;
use crate::error::Error;

pub use self::apply::apply_reviewed;
pub use self::conflict::{Conflict, ConflictKind, Limit, LimitReason, Overlap};
pub use self::plan::{Resolution, UndoColumn, UndoOp, UndoPlan, UndoStep};
pub use self::render::Statement;
pub use self::table::TypedValue;
pub use self::target::UndoTarget;

/// Plans how to undo something, for those who may see the whole trail: [`Trail::undo_plan`] of [`Trail::unscoped`].
///
/// # Errors
///
/// As [`Trail::undo_plan`].
pub fn plan(conn: &mut PgConnection, target: &UndoTarget) -> Result<UndoPlan, Error> {
    Trail::unscoped().undo_plan(conn, target)
}

impl Trail {
    /// Plans how to undo something. Nothing is written; outside a transaction everything is read in one snapshot.
    ///
    /// Under a scope there is a plan only when all of it may be seen: every change of the target, and every later change of
    /// the rows it changed.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToUndo`] when the trail has nothing of the target, or something that may not be seen;
    /// [`Error::NotAudited`] for a row of a table it does not know; [`Error::ScopeFailed`]; others of the database.
    pub fn undo_plan(&self, conn: &mut PgConnection, target: &UndoTarget) -> Result<UndoPlan, Error> {
        self.read(conn, Surface::Undo, |conn, scope| make(conn, target, self, scope.as_ref()))
    }
}

fn make(
    conn: &mut PgConnection,
    target: &UndoTarget,
    trail: &Trail,
    scope: Option<&ResolvedScope>,
) -> Result<UndoPlan, Error> {
    let Targeted { transactions, actions, changes } = target::read(conn, target)?;
    check_visible(conn, target, scope, &changes)?;
    // What has no change may not be known of either.
    if scope.is_some() && changes.is_empty() {
        return Err(target.unknown());
    }
    let mut by_table: BTreeMap<i32, Vec<StoredChange>> = BTreeMap::new();
    for change in changes {
        by_table.entry(change.table_id).or_default().push(change);
    }
    let ids: BTreeSet<i32> = by_table.keys().copied().collect();
    let tables = table::read(conn, &ids)?;
    let (mut steps, mut limits, mut shapes) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (id, changes) in by_table {
        let Some(table) = tables.get(&id) else {
            return Err(Error::Payload(serde::de::Error::custom(
                "a change of a table that is not among the audited ones",
            )));
        };
        let about_table =
            |reason, change| Limit { table: Some(table.name()), row_key: None, column: None, change, reason };
        for change in changes.iter().filter(|change| change.op == Op::Truncate) {
            limits.push(about_table(LimitReason::Truncated, Some(change_id(change))));
        }
        let Some(shape) = table.shape.as_ref().filter(|_| table.attached) else {
            limits.push(about_table(LimitReason::NotAudited, None));
            continue;
        };
        if !shape.readable || shape.key.is_none() {
            let reason = if shape.readable { LimitReason::KeyUnknown } else { LimitReason::Unreadable };
            limits.push(about_table(reason, None));
            continue;
        }
        let mut builder = Builder::new(table, shape);
        let check = |conn: &mut PgConnection, changes: &Vec<StoredChange>| {
            check_visible(conn, target, scope, changes)
        };
        let check_row = |conn: &mut PgConnection, columns: &[String], key: &[String]| {
            check_row_visible(conn, target, scope, table.id, columns, key)
        };
        builder.build(lives(conn, table, changes, check, check_row)?);
        steps.append(&mut builder.steps);
        limits.append(&mut builder.limits);
        shapes.insert(id, shape.clone());
    }
    if let UndoTarget::Row { table, key, to } = target
        && let AsOf::Gap { older, .. } = as_of::read_from_changes(conn, &table.to_sql(), key, *to, scope)?
    {
        limits.push(Limit {
            table: Some(table.clone()),
            row_key: steps.first().map(|step| step.row_key.clone()),
            column: None,
            change: older,
            reason: LimitReason::Escaped,
        });
    }
    find_references(conn, &shapes, &mut steps, &mut limits, scope.is_some())?;
    match order::sequence(&shapes, &steps) {
        Ok(sequence) => steps = sequence.into_iter().map(|place| steps[place].clone()).collect(),
        Err(constraints) => limits.push(Limit {
            table: None,
            row_key: None,
            column: None,
            change: None,
            reason: LimitReason::CannotOrder { constraints },
        }),
    }
    let digest = String::new();
    let mut plan = UndoPlan {
        target: target.clone(),
        transactions,
        actions,
        steps,
        limits,
        digest,
        shapes,
        trail: trail.clone(),
    };
    plan.digest = digest_of(conn, &plan)?;
    Ok(plan)
}

/// Fails as for what is not there when a change may not be seen.
fn check_visible<'a>(
    conn: &mut PgConnection,
    target: &UndoTarget,
    scope: Option<&ResolvedScope>,
    changes: impl IntoIterator<Item = &'a StoredChange> + Clone,
) -> Result<(), Error> {
    let Some(scope) = scope else {
        return Ok(());
    };
    let who = Who::of(conn, changes.clone().into_iter().map(|change| change.transaction_id).collect())?;
    let is_visible = |change: &StoredChange| {
        let (transaction, _) = who.of_transaction(change.transaction_id);
        scope.sees_change(
            change.table_id,
            change.scope.as_deref(),
            change.previous_scope.as_deref(),
            transaction,
        )
    };
    if changes.into_iter().all(is_visible) { Ok(()) } else { Err(target.unknown()) }
}

/// Fails as for what is not there when a row, as it is now, may not be seen.
fn check_row_visible(
    conn: &mut PgConnection,
    target: &UndoTarget,
    scope: Option<&ResolvedScope>,
    table_id: i32,
    columns: &[String],
    key: &[String],
) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Present {
        #[diesel(sql_type = Text)]
        state: String,
        #[diesel(sql_type = Nullable<Text>)]
        scope: Option<String>,
    }
    let Some(scope) = scope else {
        return Ok(());
    };
    let key: BTreeMap<&String, &String> = columns.iter().zip(key).collect();
    let row: Present =
        diesel::sql_query("SELECT p.state, p.scope FROM threadline.present_row($1, $2::jsonb) p")
            .bind::<Integer, _>(table_id)
            .bind::<Text, _>(serde_json::to_string(&key).expect("texts always serialize"))
            .get_result(conn)
            .map_err(|error| Error::from_query(conn, "", error))?;
    if row.state == "absent" || scope.sees_row(table_id, row.scope.as_deref()) {
        Ok(())
    } else {
        Err(target.unknown())
    }
}

fn change_id(change: &StoredChange) -> ChangeId {
    ChangeId { transaction_id: change.transaction_id, ordinal: change.ordinal }
}

/// What the target's changes of one table come to, seen from the rows as they are now.
fn lives(
    conn: &mut PgConnection,
    table: &Table,
    changes: Vec<StoredChange>,
    check: impl Fn(&mut PgConnection, &Vec<StoredChange>) -> Result<(), Error>,
    check_row: impl Fn(&mut PgConnection, &[String], &[String]) -> Result<(), Error>,
) -> Result<Vec<net::Life>, Error> {
    let targeted: BTreeSet<ChangeId> = changes.iter().map(change_id).collect();
    let Some(since) = changes.iter().map(|change| change.captured_at).min() else {
        return Ok(Vec::new());
    };
    let keys_of = |change: &StoredChange| {
        let keys = [Some(change.row_key.clone()), change.previous_row_key.clone()];
        keys.into_iter().flatten().filter(|_| change.op != Op::Truncate).collect::<Vec<_>>()
    };
    // Rows that went on to other keys, or came from there, are followed until no new key turns up.
    let mut keys = BTreeSet::new();
    let mut pending: BTreeSet<String> = changes.iter().flat_map(keys_of).collect();
    let mut all: BTreeMap<ChangeId, StoredChange> =
        changes.into_iter().map(|change| (change_id(&change), change)).collect();
    while !pending.is_empty() {
        let new: Vec<String> = pending.iter().cloned().collect();
        keys.append(&mut pending);
        let later = target::changes_of(conn, table.id, &new, since)?;
        check(conn, &later)?;
        for change in later {
            pending.extend(keys_of(&change).into_iter().filter(|key| !keys.contains(key)));
            all.entry(change_id(&change)).or_insert(change);
        }
    }

    let mut effects: Vec<Effect> =
        all.into_iter().map(|(id, change)| Effect::read(change, targeted.contains(&id), table)).collect();
    effects.sort_by_key(|effect| std::cmp::Reverse((effect.captured_at, effect.id)));
    let mut texts = Texts::default();
    effects.iter().for_each(|effect| effect.want(&mut texts));
    let key_columns = table.shape.as_ref().and_then(|shape| shape.key.as_deref()).unwrap_or_default();
    let mut addressed: BTreeMap<String, Vec<String>> =
        keys.into_iter().filter_map(|key| table.key_texts(&key).map(|texts| (key, texts))).collect();
    for parts in addressed.values() {
        key_columns.iter().zip(parts).for_each(|(name, text)| texts.want_text(name, text));
    }
    texts.fetch(conn, table)?;
    // A key from before its column had its type of today has no row.
    addressed.retain(|_, parts| {
        key_columns
            .iter()
            .zip(parts)
            .all(|(name, text)| matches!(texts.of_text(name, text), Some(Value::Text(_))))
    });
    for parts in addressed.values() {
        check_row(conn, key_columns, parts)?;
    }
    let images = table::present_images(conn, table, &addressed)?;
    images.values().for_each(|image| texts.want(image));
    texts.fetch(conn, table)?;
    let present: BTreeMap<String, Values> = images
        .iter()
        .map(|(key, image)| (key.clone(), texts.values(table, image, &BTreeSet::new())))
        .collect();
    let mut way = Way::from_present(table, &texts, present);
    way.go_back(effects);
    Ok(way.lives)
}

/// The name of a table that refers to rows of the plan, when the role may not read what does.
fn unreadable(conn: &mut PgConnection, relation: i64) -> Result<Option<TableName>, Error> {
    #[derive(QueryableByName)]
    struct Child {
        #[diesel(sql_type = Text)]
        schema: String,
        #[diesel(sql_type = Text)]
        name: String,
    }
    let found: Option<Child> = diesel::sql_query(
        "SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = $1 AND NOT has_table_privilege(c.oid, 'SELECT')",
    )
    .bind::<Oid, _>(u32::try_from(relation).expect("an oid has 32 bits"))
    .get_result(conn)
    .optional()
    .map_err(|error| Error::from_query(conn, "", error))?;
    Ok(found.map(|child| TableName::new(Some(&child.schema), &child.name)))
}

/// Whether a step takes away what rows may refer to: the row, or what it has in these columns.
fn takes_away(step: &UndoStep, columns: &[String]) -> bool {
    match step.op {
        UndoOp::Delete => true,
        _ => step.columns.iter().any(|column| {
            columns.contains(&column.column) && column.from.as_ref().is_some_and(|from| *from != column.to)
        }),
    }
}

/// Rows that refer to one that would be deleted, and would stay, are conflicts: a foreign key that cascades would take them
/// along, or cut their reference, without anybody having asked for it.
fn find_references(
    conn: &mut PgConnection,
    shapes: &BTreeMap<i32, Shape>,
    steps: &mut [UndoStep],
    limits: &mut Vec<Limit>,
    // Then whose the referring row is is not known, and its key not told.
    is_scoped: bool,
) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        place: i64,
        #[diesel(sql_type = Nullable<Text>)]
        row_key: Option<String>,
    }
    for (id, shape) in shapes {
        for foreign_key in
            shape.foreign_keys.iter().filter(|foreign_key| foreign_key.parent == shape.relation)
        {
            let (places, parents): (Vec<usize>, Vec<String>) = steps
                .iter()
                .enumerate()
                .filter(|(_, step)| step.row.table_id == *id && takes_away(step, &foreign_key.parent_columns))
                .filter_map(|(place, step)| {
                    let now = step.now()?;
                    let texts: Option<Vec<&String>> =
                        foreign_key.parent_columns.iter().map(|name| now.get(name)?.as_ref()).collect();
                    Some((place, serde_json::to_string(&texts?).expect("texts always serialize")))
                })
                .unzip();
            if places.is_empty() {
                continue;
            }
            if let Some(table) = unreadable(conn, foreign_key.child)? {
                limits.push(Limit {
                    table: Some(table),
                    row_key: None,
                    column: None,
                    change: None,
                    reason: LimitReason::Unreadable,
                });
                continue;
            }
            let child =
                shapes.iter().find(|(_, shape)| shape.relation == foreign_key.child).map(|(id, _)| *id);
            let letting_go: Vec<&str> = steps
                .iter()
                .filter(|step| Some(step.row.table_id) == child)
                .filter(|step| match step.op {
                    UndoOp::Delete => true,
                    _ => step.columns.iter().any(|column| foreign_key.child_columns.contains(&column.column)),
                })
                .map(|step| step.row_key.as_str())
                .collect();
            let oid = u32::try_from(foreign_key.id).expect("an oid has 32 bits");
            let rows: Vec<Row> = diesel::sql_query(
                "SELECT r.place, r.row_key FROM threadline.referring_rows($1, $2::jsonb[], $3) r",
            )
            .bind::<Oid, _>(oid)
            .bind::<Array<Text>, _>(parents)
            .bind::<Array<Text>, _>(letting_go)
            .load(conn)
            .map_err(|error| Error::from_query(conn, "", error))?;
            for row in rows {
                let place = places[usize::try_from(row.place - 1).expect("WITH ORDINALITY counts from one")];
                let step = &mut steps[place];
                step.conflicts.push(Conflict {
                    table: step.table.clone(),
                    row_key: step.row_key.clone(),
                    kind: ConflictKind::Referenced {
                        foreign_key: foreign_key.name.clone(),
                        row_key: row.row_key.filter(|_| !is_scoped),
                    },
                    overlaps: Vec::new(),
                });
            }
        }
    }
    Ok(())
}

fn digest_of(conn: &mut PgConnection, plan: &UndoPlan) -> Result<String, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        digest: String,
    }
    let text = serde_json::to_string(plan).expect("a plan is texts, numbers and lists of them");
    let row: Row =
        diesel::sql_query("SELECT encode(sha256(convert_to($1, getdatabaseencoding())), 'hex') AS digest")
            .bind::<Text, _>(text)
            .get_result(conn)
            .map_err(|error| Error::from_query(conn, "", error))?;
    Ok(row.digest)
}
