//! What a request asks of an endpoint: everything that is wrong with it is told at once.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use threadline::{Actor, Filter, Order, PageRequest, TableName};

use super::endpoint::Endpoint;
use super::parameter::ORDERS;
use crate::surface::failure::Failure;
use crate::surface::moment;
use crate::surface::query::{Problem, Query, table_named};
use crate::surface::screens::actor_named;
use crate::surface::window::Window;

/// A query that is being read. Each part is taken by its name; what is wrong comes out of [`end`](Self::end).
pub(super) struct Asked {
    endpoint: &'static Endpoint,
    query: Query,
    now: DateTime<Utc>,
    problems: Vec<Problem>,
}

impl Asked {
    pub(super) fn of(endpoint: &'static Endpoint, query: Query, now: DateTime<Utc>) -> Self {
        Self { endpoint, query, now, problems: Vec::new() }
    }

    fn noted<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    pub(super) fn wrong(&mut self, field: &str, text: impl Into<String>) {
        self.problems.push(Problem::new(field, text));
    }

    /// The only part of this name.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        debug_assert!(self.endpoint.names().contains(&name), "{} takes no `{name}`", self.endpoint.name);
        let taken = self.query.take(name);
        self.noted(taken).flatten()
    }

    /// All parts of this name.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        debug_assert!(self.endpoint.names().contains(&name), "{} takes no `{name}`", self.endpoint.name);
        self.query.take_all(&[name]).into_iter().map(|(_, value)| value).collect()
    }

    /// The only part of this name, without which there is no question.
    pub(super) fn needed(&mut self, name: &str, missing: &str) -> Option<String> {
        let problems = self.problems.len();
        let text = self.text(name);
        if text.is_none() && problems == self.problems.len() {
            self.wrong(name, missing);
        }
        text
    }

    /// Read as something else.
    pub(super) fn read<T, E: std::fmt::Display>(
        &mut self,
        name: &str,
        text: Option<String>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = text?;
        let read = read(&text).map_err(|wrong| Problem::of_value(name, &text, wrong));
        self.noted(read)
    }

    pub(super) fn instant(&mut self, name: &str) -> Option<DateTime<Utc>> {
        let text = self.text(name);
        self.read(name, text, |text| moment::written(text, Tz::UTC))
    }

    pub(super) fn needed_instant(&mut self, name: &str, missing: &str) -> Option<DateTime<Utc>> {
        let text = self.needed(name, missing);
        self.read(name, text, |text| moment::written(text, Tz::UTC))
    }

    /// A number from 1 to `most`.
    pub(super) fn number(&mut self, name: &str, most: u32) -> Option<u32> {
        let text = self.text(name);
        let among = |number: &u32| (1..=most).contains(number);
        self.read(name, text, |text| {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = is_plain.then(|| text.parse().ok()).flatten().filter(among);
            number.ok_or_else(|| format!("is not a whole number from 1 to {most}"))
        })
    }

    /// One of these.
    pub(super) fn one_of<T: Clone>(&mut self, name: &str, names: &[&str], values: &[T]) -> Option<T> {
        let text = self.text(name);
        self.read(name, text, |text| {
            let found = names.iter().position(|name| *name == text).and_then(|place| values.get(place));
            found.cloned().ok_or_else(|| format!("is not one of {}", names.join(", ")))
        })
    }

    /// The part of the trail that is asked for, as far as this endpoint can be asked by it.
    pub(super) fn filter(&mut self) -> Filter {
        let names = self.endpoint.names();
        let window = Window::take(&mut self.query, Tz::UTC, Window::All).unwrap_or_else(|wrong| {
            self.problems.extend(wrong);
            Window::All
        });
        let names: Vec<&str> = Filter::NAMES.into_iter().filter(|name| names.contains(name)).collect();
        let filter = self.query.take_filter(&names).unwrap_or_else(|wrong| {
            self.problems.extend(wrong);
            Filter::new()
        });
        window.narrow(filter, self.now)
    }

    /// The page that is asked for; in the order of the cursor, or this one, if none is named.
    pub(super) fn page(&mut self, usual: Order) -> PageRequest {
        let after = self.query.take_cursor();
        let after = self.noted(after).flatten();
        let size = self.number("limit", PageRequest::MAX_SIZE).unwrap_or(50);
        let order = self.one_of("order", &ORDERS, &[Order::NewestFirst, Order::OldestFirst]);
        let order = order.or(after.map(|after| after.order())).unwrap_or(usual);
        let request = PageRequest::new().order(order);
        let request = after.into_iter().fold(request, PageRequest::after);
        request.clone().size(size).unwrap_or(request)
    }

    /// The row that is asked about: its table, and its key as it is written.
    pub(super) fn row(&mut self) -> Option<(TableName, Vec<String>)> {
        let table = self.needed("table", "is missing; name the table of the row");
        let table = table.and_then(|text| self.noted(table_named(&text)));
        let keys = self.texts("key");
        if keys.is_empty() {
            self.wrong("key", "is missing; write the value, or `column=value` for each column");
        }
        table.map(|table| (table, keys))
    }

    /// The one who is asked about.
    pub(super) fn actor(&mut self) -> Option<Actor> {
        let text = self.text("actor");
        let actor = actor_named(text.as_deref());
        self.noted(actor)
    }

    /// Whether something is asked by this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.query.rest().iter().any(|(other, _)| other == name)
    }

    /// Fails with everything that is wrong, and with what nobody has asked for.
    pub(super) fn end(self) -> Result<(), Failure> {
        let mut problems = self.problems;
        problems.extend(self.query.unknown(&self.endpoint.names()));
        if problems.is_empty() { Ok(()) } else { Err(Failure::Invalid(problems)) }
    }
}
