//! What the URL of a list of actions asks for: of which time, from where on, and what of it.

use threadline::{Cursor, Filter};

use super::query::{Problem, Query};
use super::visit::Visit;
use super::window::Window;

/// What a list is asked for, as far as it is understood, with everything that is not.
pub(super) struct Asked {
    pub(super) window: Window,
    pub(super) after: Option<Cursor>,
    pub(super) filter: Filter,
    pub(super) problems: Vec<Problem>,
}

impl Asked {
    /// All of the query: the filter's fields of these names, and `usual` where it names no time.
    pub(super) fn of(visit: &Visit, mut query: Query, names: &[&str], usual: Window) -> Self {
        let mut problems = Vec::new();
        let window = Window::take(&mut query, visit.preferences.zone, usual).unwrap_or_else(|wrong| {
            problems.extend(wrong);
            usual
        });
        let after = query.take_cursor().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        let filter = query.take_filter(names).unwrap_or_else(|wrong| {
            problems.extend(wrong);
            Filter::new()
        });
        let known: Vec<&str> = names.iter().copied().chain(["window", "from", "to", "after"]).collect();
        problems.extend(query.unknown(&known));
        Self { window, after, filter, problems }
    }
}
