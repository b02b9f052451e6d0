//! Two JSON values, path by path.

use serde_json::Value as Tree;
use similar::{Algorithm, DiffOp, capture_diff_slices};
use threadline::Json;

use crate::surface::value::shown;

/// Paths that are told of one column; beyond, both sides are shown whole.
const MOST: usize = 60;

/// Bytes of JSON that are compared at all.
const BYTES: usize = 256 * 1024;

/// Levels that are gone into.
const DEPTH: usize = 32;

/// What differs at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::surface) struct PathChange {
    /// `address.city`, `tags[1]`.
    pub(in crate::surface) path: String,
    pub(in crate::surface) before: Option<String>,
    pub(in crate::surface) after: Option<String>,
}

/// What differs within them; `None` when they are not both an object, or both a list, or differ too much to be told.
pub(super) fn compared(before: &Json, after: &Json) -> Option<Vec<PathChange>> {
    let tree = |json: &Json| {
        let text = json.as_str();
        (text.starts_with(['{', '[']) && text.len() <= BYTES).then(|| json.to_value().ok())?
    };
    let (before, after) = (tree(before)?, tree(after)?);
    let mut changes = Vec::new();
    let told = (before.is_object() == after.is_object()) && compare("", &before, &after, 0, &mut changes);
    (told && !changes.is_empty()).then_some(changes)
}

/// Whether all that differs could be told.
fn compare(path: &str, before: &Tree, after: &Tree, depth: usize, changes: &mut Vec<PathChange>) -> bool {
    if before == after {
        return true;
    }
    if changes.len() >= MOST || depth > DEPTH {
        return false;
    }
    match (before, after) {
        (Tree::Object(before), Tree::Object(after)) => {
            let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
            let mut names: Vec<&String> = names.collect();
            names.sort();
            names.into_iter().all(|name| {
                let path = member(path, name);
                match (before.get(name), after.get(name)) {
                    (Some(before), Some(after)) => compare(&path, before, after, depth + 1, changes),
                    (before, after) => tell(path, before, after, changes),
                }
            })
        }
        (Tree::Array(before), Tree::Array(after)) => elements(path, before, after, depth, changes),
        (before, after) => tell(path.to_owned(), Some(before), Some(after), changes),
    }
}

fn elements(
    path: &str,
    before: &[Tree],
    after: &[Tree],
    depth: usize,
    changes: &mut Vec<PathChange>,
) -> bool {
    let written = |list: &[Tree]| list.iter().map(Tree::to_string).collect::<Vec<_>>();
    let operations = capture_diff_slices(Algorithm::Myers, &written(before), &written(after));
    operations.into_iter().all(|operation| match operation {
        DiffOp::Equal { .. } => true,
        DiffOp::Delete { old_index, old_len, .. } => {
            (old_index..old_index + old_len).all(|at| tell(element(path, at), before.get(at), None, changes))
        }
        DiffOp::Insert { new_index, new_len, .. } => {
            (new_index..new_index + new_len).all(|at| tell(element(path, at), None, after.get(at), changes))
        }
        DiffOp::Replace { old_index, old_len, new_index, new_len } => {
            let pairs = old_len.min(new_len);
            (0..pairs).all(|at| {
                let place = element(path, new_index + at);
                compare(&place, &before[old_index + at], &after[new_index + at], depth + 1, changes)
            }) && (old_index + pairs..old_index + old_len)
                .all(|at| tell(element(path, at), before.get(at), None, changes))
                && (new_index + pairs..new_index + new_len)
                    .all(|at| tell(element(path, at), None, after.get(at), changes))
        }
    })
}

fn tell(path: String, before: Option<&Tree>, after: Option<&Tree>, changes: &mut Vec<PathChange>) -> bool {
    if changes.len() >= MOST {
        return false;
    }
    let (before, after) = (before.map(text), after.map(text));
    changes.push(PathChange { path: shown(&path), before, after });
    true
}

fn text(value: &Tree) -> String {
    const LENGTH: usize = 200;
    let text = match value {
        Tree::String(text) if text.is_empty() => "\"\"".to_owned(),
        Tree::String(text) => text.clone(),
        other => other.to_string(),
    };
    let cut: String = text.chars().take(LENGTH).collect();
    if cut.len() < text.len() { shown(&cut) + "…" } else { shown(&cut) }
}

fn member(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    match (path, plain) {
        ("", true) => name.to_owned(),
        (_, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{}]", Tree::from(name)),
    }
}

fn element(path: &str, at: usize) -> String {
    format!("{path}[{at}]")
}
