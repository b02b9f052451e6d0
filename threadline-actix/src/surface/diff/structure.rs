//! Two JSON values, path by path.

use std::time::Instant;

use serde_json::Value as Tree;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};
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
pub(super) fn compared(before: &Json, after: &Json, until: Instant) -> Option<Vec<PathChange>> {
    let tree = |json: &Json| {
        let text = json.as_str();
        (text.starts_with(['{', '[']) && text.len() <= BYTES).then(|| json.to_value().ok())?
    };
    let (before, after) = (tree(before)?, tree(after)?);
    let mut comparison = Comparison { until, changes: Vec::new() };
    let told = (before.is_object() == after.is_object()) && comparison.compare("", &before, &after, 0);
    (told && !comparison.changes.is_empty()).then_some(comparison.changes)
}

/// What has been told so far.
struct Comparison {
    until: Instant,
    changes: Vec<PathChange>,
}

impl Comparison {
    /// Whether all that differs could be told.
    fn compare(&mut self, path: &str, before: &Tree, after: &Tree, depth: usize) -> bool {
        if before == after {
            return true;
        }
        if self.changes.len() >= MOST || depth > DEPTH {
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
                        (Some(before), Some(after)) => self.compare(&path, before, after, depth + 1),
                        (before, after) => self.tell(path, before, after),
                    }
                })
            }
            (Tree::Array(before), Tree::Array(after)) => self.elements(path, before, after, depth),
            (before, after) => self.tell(path.to_owned(), Some(before), Some(after)),
        }
    }

    fn elements(&mut self, path: &str, before: &[Tree], after: &[Tree], depth: usize) -> bool {
        let written = |list: &[Tree]| list.iter().map(Tree::to_string).collect::<Vec<_>>();
        let (old, new) = (written(before), written(after));
        let operations = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, Some(self.until));
        if Instant::now() >= self.until {
            // What it found then is no longer what they have in common.
            return false;
        }
        operations.into_iter().all(|operation| match operation {
            DiffOp::Equal { .. } => true,
            DiffOp::Delete { old_index, old_len, .. } => {
                (old_index..old_index + old_len).all(|at| self.tell(element(path, at), before.get(at), None))
            }
            DiffOp::Insert { new_index, new_len, .. } => {
                (new_index..new_index + new_len).all(|at| self.tell(element(path, at), None, after.get(at)))
            }
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                let pairs = old_len.min(new_len);
                (0..pairs).all(|at| {
                    let place = element(path, new_index + at);
                    self.compare(&place, &before[old_index + at], &after[new_index + at], depth + 1)
                }) && (old_index + pairs..old_index + old_len)
                    .all(|at| self.tell(element(path, at), before.get(at), None))
                    && (new_index + pairs..new_index + new_len)
                        .all(|at| self.tell(element(path, at), None, after.get(at)))
            }
        })
    }

    fn tell(&mut self, path: String, before: Option<&Tree>, after: Option<&Tree>) -> bool {
        if self.changes.len() >= MOST {
            return false;
        }
        let (before, after) = (before.map(text), after.map(text));
        self.changes.push(PathChange { path: shown(&path), before, after });
        true
    }
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use threadline::Json;

    use super::compared;

    /// A list of so many numbers, none of which another list of another step has in its place.
    fn list(step: u64) -> Json {
        let numbers: Vec<String> = (0..40_000_u64).map(|n| (n * step % 9_973).to_string()).collect();
        serde_json::from_str(&format!("[{}]", numbers.join(","))).unwrap()
    }

    #[test]
    fn long_lists_that_have_little_in_common_are_given_up() {
        let (before, after) = (list(7), list(4_001));
        let begun = Instant::now();
        assert_eq!(compared(&before, &after, begun + Duration::from_millis(50)), None);
        // Compared to the end they took many minutes; what is left is to read and write them.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
