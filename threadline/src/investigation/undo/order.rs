//! The order of the steps: foreign keys and unique indexes say which row has to be written before which other one.
//!
//! Row by row and not table by table, so that tables that refer to themselves or to each other need nothing special.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{UndoOp, UndoStep};
use super::render::{self, Statement};
use super::table::{Column, ForeignKey, Shape, TypedValue, Unique};

/// `before` has to be executed before `after`, for the sake of a constraint.
struct Edge<'a> {
    before: usize,
    after: usize,
    name: &'a str,
    /// The constraint, quoted, when it can be deferred.
    deferrable: Option<&'a str>,
    why: Why<'a>,
}

/// Why one step waits for the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why<'a> {
    /// `before` holds the value that `after` takes.
    Holds(&'a Unique),
    /// `before` refers to the row that `after` takes away.
    Refers(&'a ForeignKey),
    /// `after` refers to the row that `before` makes.
    Needs(&'a ForeignKey),
}

/// An order, and what it takes.
#[derive(Default)]
struct Order {
    sequence: Vec<usize>,
    /// Constraints to be checked at the end only, quoted.
    deferred: BTreeSet<String>,
    /// Columns of a step's row that are first set to another value, which lets go of what others wait for.
    parked: Vec<(usize, String, Option<String>)>,
    /// Columns a step leaves NULL, or as they are, until everything else is done.
    postponed: Vec<(usize, String)>,
    /// Key columns another statement has changed by the time of a step.
    rekeyed: BTreeMap<usize, BTreeMap<String, String>>,
}

type Texts = BTreeMap<String, Option<String>>;

/// The places of the steps in the order they can be executed in.
///
/// # Errors
///
/// The constraints that leave no order.
pub(super) fn sequence(shapes: &BTreeMap<i32, Shape>, steps: &[UndoStep]) -> Result<Vec<usize>, Vec<String>> {
    Ok(order(shapes, steps)?.sequence)
}

/// The statements that execute the steps.
///
/// # Errors
///
/// As [`sequence`].
pub(super) fn statements(
    shapes: &BTreeMap<i32, Shape>,
    steps: &[UndoStep],
) -> Result<Vec<Statement>, Vec<String>> {
    let Order { sequence, deferred, parked, postponed, mut rekeyed } = order(shapes, steps)?;
    let mut statements = Vec::new();
    if !deferred.is_empty() {
        statements.push(render::defer(&deferred));
    }
    for (place, column, text) in parked {
        let (step, shape) = (&steps[place], &shapes[&steps[place].row.table_id]);
        let sql_type = shape.column(&column).map(|known| known.sql_type.clone()).unwrap_or_default();
        let value = TypedValue { sql_type, text: text.clone() };
        statements.push(render::update(shape, step, &[(&column, &value)], rekeyed.get(&place)));
        if let (true, Some(text)) = (shape.key.iter().flatten().any(|name| *name == column), text) {
            rekeyed.entry(place).or_default().insert(column, text);
        }
    }
    for place in sequence {
        let shape = &shapes[&steps[place].row.table_id];
        let mut step = steps[place].clone();
        let waits = |name: &str| postponed.iter().any(|(other, column)| *other == place && column == name);
        if step.op == UndoOp::Update {
            step.columns.retain(|column| !waits(&column.column));
            if step.columns.is_empty() {
                continue;
            }
        }
        step.columns
            .iter_mut()
            .filter(|column| waits(&column.column))
            .for_each(|column| column.to.text = None);
        statements.push(render::step(shape, &step, rekeyed.get(&place)));
    }
    for (place, name) in &postponed {
        let (step, shape) = (&steps[*place], &shapes[&steps[*place].row.table_id]);
        let key = shape.key.iter().flatten().cloned().zip(step.final_key(shape)).collect();
        let columns = step.columns.iter().filter(|column| column.column == *name);
        let values: Vec<(&String, &TypedValue)> =
            columns.map(|column| (&column.column, &column.to)).collect();
        statements.push(render::update(shape, step, &values, Some(&key)));
    }
    Ok(statements)
}

fn order(shapes: &BTreeMap<i32, Shape>, steps: &[UndoStep]) -> Result<Order, Vec<String>> {
    let (now, then): (Vec<Option<&Texts>>, Vec<Option<Texts>>) =
        steps.iter().map(|step| (step.now(), step.then())).unzip();
    let rows = Rows { steps, now, then };
    let mut order = Order::default();
    let mut edges = Vec::new();
    let mut seen = BTreeSet::new();
    for (table_id, shape) in shapes {
        for unique in &shape.uniques {
            edges.extend(rows.unique_edges(*table_id, unique));
        }
        for foreign_key in shape.foreign_keys.iter().filter(|foreign_key| seen.insert(foreign_key.id)) {
            let id_of =
                |relation| shapes.iter().find(|(_, shape)| shape.relation == relation).map(|(id, _)| *id);
            if let (Some(child), Some(parent)) = (id_of(foreign_key.child), id_of(foreign_key.parent)) {
                edges.extend(rows.foreign_key_edges(child, parent, foreign_key, &mut order.rekeyed));
            }
        }
    }

    // Inserts and deletes first, then updates, each in the order of the newest changes they undo. Triggers of the host
    // write after what fired them, so what they wrote is set back after they have fired once more.
    let rank = |place: usize| (steps[place].op == UndoOp::Update, steps[place].undoes.first(), place);
    let mut left: BTreeSet<usize> = (0..steps.len()).collect();
    loop {
        let mut waits = vec![0_usize; steps.len()];
        let mut after: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for edge in edges.iter().filter(|edge| left.contains(&edge.before) && left.contains(&edge.after)) {
            waits[edge.after] += 1;
            after.entry(edge.before).or_default().push(edge.after);
        }
        let mut ready: BTreeSet<_> =
            left.iter().filter(|place| waits[**place] == 0).map(|place| rank(*place)).collect();
        while let Some((_, _, next)) = ready.pop_first() {
            left.remove(&next);
            order.sequence.push(next);
            for place in after.remove(&next).into_iter().flatten() {
                waits[place] -= 1;
                if waits[place] == 0 {
                    ready.insert(rank(place));
                }
            }
        }
        if left.is_empty() {
            return Ok(order);
        }
        let stuck = cyclic(&left, &edges);
        order.break_circle(shapes, steps, &mut edges, &stuck)?;
    }
}

impl Order {
    /// Takes edges away, with what makes up for them, so that at least one of the stuck steps can go on.
    fn break_circle(
        &mut self,
        shapes: &BTreeMap<i32, Shape>,
        steps: &[UndoStep],
        edges: &mut Vec<Edge<'_>>,
        stuck: &BTreeSet<usize>,
    ) -> Result<(), Vec<String>> {
        let is_stuck = |edge: &&Edge<'_>| stuck.contains(&edge.before) && stuck.contains(&edge.after);
        let deferrable: BTreeSet<String> =
            edges.iter().filter(is_stuck).filter_map(|edge| edge.deferrable.map(str::to_owned)).collect();
        if !deferrable.is_empty() {
            edges.retain(|edge| edge.deferrable.is_none_or(|name| !deferrable.contains(name)));
            self.deferred.extend(deferrable);
            return Ok(());
        }
        let number = self.parked.len();
        let park = edges.iter().filter(is_stuck).find_map(|edge| {
            let step = &steps[edge.before];
            let (column, text) = parking(&shapes[&step.row.table_id], step, edge.why, number)?;
            Some((edge.before, edge.why, column, text))
        });
        if let Some((place, why, column, text)) = park {
            edges.retain(|edge| edge.before != place || edge.why != why);
            self.parked.push((place, column, text));
            return Ok(());
        }
        let postpone = edges.iter().filter(is_stuck).find_map(|edge| {
            let Why::Needs(foreign_key) = edge.why else { return None };
            let step = &steps[edge.after];
            let shape = &shapes[&step.row.table_id];
            let written = |name: &&String| step.columns.iter().any(|column| column.column == **name);
            let nullable = |name: &&String| shape.column(name).is_some_and(|column| column.nullable);
            let column = foreign_key.child_columns.iter().filter(written).find(nullable)?;
            Some((edge.after, edge.why, column.clone()))
        });
        let Some((place, why, column)) = postpone else {
            let names: BTreeSet<String> =
                edges.iter().filter(is_stuck).map(|edge| edge.name.to_owned()).collect();
            return Err(names.into_iter().collect());
        };
        edges.retain(|edge| edge.after != place || edge.why != why);
        self.postponed.push((place, column));
        Ok(())
    }
}

/// Those of the steps left that wait for each other in a circle, or lie between circles.
fn cyclic(left: &BTreeSet<usize>, edges: &[Edge<'_>]) -> BTreeSet<usize> {
    let mut stuck = left.clone();
    let mut followers: BTreeMap<usize, usize> = BTreeMap::new();
    let mut before: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| left.contains(&edge.before) && left.contains(&edge.after)) {
        *followers.entry(edge.before).or_default() += 1;
        before.entry(edge.after).or_default().push(edge.before);
    }
    let mut free: Vec<usize> = left.iter().copied().filter(|place| !followers.contains_key(place)).collect();
    while let Some(place) = free.pop() {
        stuck.remove(&place);
        for earlier in before.remove(&place).into_iter().flatten() {
            if let Some(count) = followers.get_mut(&earlier) {
                *count -= 1;
                if *count == 0 {
                    free.push(earlier);
                }
            }
        }
    }
    stuck
}

/// A column that can hold another value for a while, so that what others wait for is let go, and that value: NULL where it
/// may be NULL, else one nobody uses. Not where other rows refer to the column and do not follow it.
fn parking(shape: &Shape, step: &UndoStep, why: Why<'_>, number: usize) -> Option<(String, Option<String>)> {
    let (columns, needs_null) = match why {
        Why::Holds(unique) => (&unique.columns, false),
        Why::Refers(foreign_key) => (&foreign_key.child_columns, true),
        Why::Needs(_) => return None,
    };
    let fixed = |name: &str| {
        shape.foreign_keys.iter().any(|foreign_key| {
            foreign_key.parent == shape.relation
                && foreign_key.parent_columns.iter().any(|column| column == name)
                && !foreign_key.cascades
        })
    };
    let refers = |name: &str| {
        shape.foreign_keys.iter().any(|foreign_key| {
            foreign_key.child == shape.relation
                && foreign_key.child_columns.iter().any(|column| column == name)
        })
    };
    columns.iter().find_map(|name| {
        let column = shape.column(name).filter(|column| !column.generated && !column.always_identity)?;
        let changes = step.op == UndoOp::Delete || step.columns.iter().any(|column| column.column == *name);
        if step.op == UndoOp::Insert || !changes || fixed(name) {
            None
        } else if column.nullable {
            Some((name.clone(), None))
        } else if needs_null || refers(name) {
            None
        } else {
            Some((name.clone(), Some(unused(column, number)?)))
        }
    })
}

/// A value of the column's type that no application uses; the unique index refuses it should one do so all the same.
fn unused(column: &Column, number: usize) -> Option<String> {
    let offset = i16::try_from(number).ok()?;
    match column.base.as_str() {
        "smallint" => Some((i16::MIN + offset).to_string()),
        "integer" => Some((i32::MIN + i32::from(offset)).to_string()),
        "bigint" => Some((i64::MIN + i64::from(offset)).to_string()),
        "uuid" => Some(format!("00000000-0000-7000-8000-{offset:012x}")),
        "text" | "character varying" => Some(format!("~undo{offset}")),
        _ => None,
    }
}

struct Rows<'a> {
    steps: &'a [UndoStep],
    now: Vec<Option<&'a Texts>>,
    then: Vec<Option<Texts>>,
}

impl Rows<'_> {
    fn of(&self, table_id: i32) -> impl Iterator<Item = usize> {
        (0..self.steps.len()).filter(move |place| self.steps[*place].row.table_id == table_id)
    }

    fn now(&self, place: usize, columns: &[String]) -> Option<Vec<String>> {
        columns.iter().map(|name| self.now[place]?.get(name)?.clone()).collect()
    }

    fn then(&self, place: usize, columns: &[String]) -> Option<Vec<String>> {
        columns.iter().map(|name| self.then[place].as_ref()?.get(name)?.clone()).collect()
    }

    /// By value, the steps whose rows cease to have it, and those whose rows come to have it.
    fn movements(
        &self,
        table_id: i32,
        columns: &[String],
    ) -> (BTreeMap<Vec<String>, usize>, BTreeMap<Vec<String>, usize>) {
        let (mut left, mut reached) = (BTreeMap::new(), BTreeMap::new());
        for place in self.of(table_id) {
            let (now, then) = (self.now(place, columns), self.then(place, columns));
            if now != then {
                left.extend(now.map(|now| (now, place)));
                reached.extend(then.map(|then| (then, place)));
            }
        }
        (left, reached)
    }

    fn unique_edges<'e>(&self, table_id: i32, unique: &'e Unique) -> Vec<Edge<'e>> {
        let (left, reached) = self.movements(table_id, &unique.columns);
        let pairs = reached.iter().filter_map(|(value, after)| Some((*left.get(value)?, *after)));
        pairs
            .filter(|(before, after)| before != after)
            .map(|(before, after)| Edge {
                before,
                after,
                name: &unique.name,
                deferrable: unique.deferrable.as_deref(),
                why: Why::Holds(unique),
            })
            .collect()
    }

    fn foreign_key_edges<'e>(
        &self,
        child: i32,
        parent: i32,
        foreign_key: &'e ForeignKey,
        rekeyed: &mut BTreeMap<usize, BTreeMap<String, String>>,
    ) -> Vec<Edge<'e>> {
        let (removed, made) = self.movements(parent, &foreign_key.parent_columns);
        let edge = |before, after, why| Edge {
            before,
            after,
            name: &foreign_key.name,
            deferrable: foreign_key.deferrable.as_deref(),
            why,
        };
        let mut edges = Vec::new();
        for place in self.of(child) {
            let now = self.now(place, &foreign_key.child_columns);
            let then = self.then(place, &foreign_key.child_columns);
            let maker =
                then.as_ref().and_then(|then| made.get(then)).copied().filter(|maker| *maker != place);
            edges.extend(maker.map(|maker| edge(maker, place, Why::Needs(foreign_key))));
            if now == then {
                continue;
            }
            let remover = now.as_ref().and_then(|now| removed.get(now)).copied();
            let Some(remover) = remover.filter(|remover| *remover != place) else { continue };
            if foreign_key.cascades && maker == Some(remover) {
                // The parent takes the child along; what is left of the child's own update finds it there.
                let columns = foreign_key.child_columns.iter().cloned();
                rekeyed.entry(place).or_default().extend(columns.zip(then.into_iter().flatten()));
            } else {
                edges.push(edge(place, remover, Why::Refers(foreign_key)));
            }
        }
        edges
    }
}
