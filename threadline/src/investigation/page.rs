//! Reading in pages: where one ends, and how the next one goes on from there.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::change::ChangeId;
use crate::error::Error;

/// In which direction to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// From now back.
    #[default]
    NewestFirst,
    /// From the beginning of the trail on.
    OldestFirst,
}

impl Order {
    /// As SQL writes it after each column.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::NewestFirst => "DESC",
            Self::OldestFirst => "ASC",
        }
    }

    /// How what comes later in this order compares to what came before it.
    pub(crate) fn onwards(self) -> &'static str {
        match self {
            Self::NewestFirst => "<",
            Self::OldestFirst => ">",
        }
    }
}

/// Which page to read: how many entries, in which order, from where on.
///
/// ```
/// use threadline::{Order, PageRequest};
///
/// let first = PageRequest::new().size(50)?;
/// let from_the_beginning = PageRequest::new().order(Order::OldestFirst);
/// assert!(PageRequest::new().size(0).is_err() && PageRequest::new().size(1001).is_err());
/// # let _ = (first, from_the_beginning);
/// # Ok::<_, threadline::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct PageRequest {
    size: u32,
    order: Order,
    after: Option<Cursor>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { size: 100, order: Order::NewestFirst, after: None }
    }
}

impl PageRequest {
    /// The most entries a page can have.
    pub const MAX_SIZE: u32 = 1000;

    /// The first page of 100 entries, newest first.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries a page has at most, 1 to [`MAX_SIZE`](Self::MAX_SIZE).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPage`] for any other size.
    pub fn size(self, size: u32) -> Result<Self, Error> {
        if (1..=Self::MAX_SIZE).contains(&size) {
            Ok(Self { size, ..self })
        } else {
            Err(Error::InvalidPage {
                problem: format!("a page has 1 to {} entries, not {size}", Self::MAX_SIZE),
            })
        }
    }

    /// In which order.
    pub fn order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The page after the one this cursor came with. The order and the question have to be those of that page.
    pub fn after(self, cursor: Cursor) -> Self {
        Self { after: Some(cursor), ..self }
    }

    pub(crate) fn wanted(&self) -> usize {
        self.size as usize
    }

    pub(crate) fn direction(&self) -> Order {
        self.order
    }

    /// Where to go on, for a list of changes.
    pub(crate) fn after_change(&self) -> Result<Option<Position>, Error> {
        match &self.after {
            None => Ok(None),
            Some(Cursor { order, place: Place::Change(position) }) if *order == self.order => {
                Ok(Some(*position))
            }
            Some(cursor) => Err(cursor.misplaced(self.order)),
        }
    }

    /// Where to go on, for a list of transactions or actions.
    pub(crate) fn after_id(&self) -> Result<Option<Uuid>, Error> {
        match &self.after {
            None => Ok(None),
            Some(Cursor { order, place: Place::Id(id) }) if *order == self.order => Ok(Some(*id)),
            Some(cursor) => Err(cursor.misplaced(self.order)),
        }
    }

    /// Where to go on, for a list of evidence.
    pub(crate) fn after_evidence(&self) -> Result<Option<(DateTime<Utc>, Uuid)>, Error> {
        match &self.after {
            None => Ok(None),
            Some(Cursor { order, place: Place::Evidence(recorded_at, id) }) if *order == self.order => {
                Ok(Some((*recorded_at, *id)))
            }
            Some(cursor) => Err(cursor.misplaced(self.order)),
        }
    }
}

/// Some entries of a list, and how to go on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page<T> {
    /// The entries, in the order asked for.
    pub entries: Vec<T>,
    /// What the next page goes on from; `None` on the last one.
    pub cursor: Option<Cursor>,
    /// Whether there are more entries. Exact.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// The page of entries read with one more than wanted, which says whether there are more.
    pub(crate) fn cut(mut entries: Vec<T>, request: &PageRequest, place: impl Fn(&T) -> Place) -> Self {
        let has_more = entries.len() > request.wanted();
        entries.truncate(request.wanted());
        let cursor = entries
            .last()
            .filter(|_| has_more)
            .map(|last| Cursor { order: request.order, place: place(last) });
        Self { entries, cursor, has_more }
    }

    /// The same page with something made of all its entries.
    pub(crate) fn try_map<U>(
        self,
        make: impl FnOnce(Vec<T>) -> Result<Vec<U>, Error>,
    ) -> Result<Page<U>, Error> {
        Ok(Page { entries: make(self.entries)?, cursor: self.cursor, has_more: self.has_more })
    }
}

/// A change's place in the order of the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) captured_at: DateTime<Utc>,
    pub(crate) id: ChangeId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Change(Position),
    Id(Uuid),
    Evidence(DateTime<Utc>, Uuid),
}

/// Where a page ends. Opaque: keep it, send it, hand it back; it holds no value of any row.
///
/// ```
/// use threadline::Cursor;
///
/// assert!("v1.d.c.notacursor".parse::<Cursor>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cursor {
    order: Order,
    place: Place,
}

impl Cursor {
    pub(crate) fn new(order: Order, place: Place) -> Self {
        Self { order, place }
    }

    /// The order of the list it goes on with.
    pub fn order(&self) -> Order {
        self.order
    }

    fn misplaced(&self, asked: Order) -> Error {
        let problem = if self.order == asked {
            "the cursor comes from another kind of list; start from the first page"
        } else {
            "the cursor comes from a page in the other order; start from the first page, or keep the order"
        };
        Error::InvalidPage { problem: problem.to_owned() }
    }
}

/// Version, order, kind, and the place: `v1.d.c.<microseconds>.<transaction>.<ordinal>`, `v1.a.i.<id>`,
/// `v1.d.e.<microseconds>.<id>`.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            Order::NewestFirst => 'd',
            Order::OldestFirst => 'a',
        };
        match self.place {
            Place::Change(Position { captured_at, id }) => {
                let (micros, transaction) = (captured_at.timestamp_micros(), id.transaction_id.simple());
                write!(f, "v1.{order}.c.{micros}.{transaction}.{}", id.ordinal)
            }
            Place::Id(id) => write!(f, "v1.{order}.i.{}", id.simple()),
            Place::Evidence(recorded_at, id) => {
                write!(f, "v1.{order}.e.{}.{}", recorded_at.timestamp_micros(), id.simple())
            }
        }
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let mut parts = text.split('.');
            if parts.next()? != "v1" {
                return None;
            }
            let order = match parts.next()? {
                "d" => Order::NewestFirst,
                "a" => Order::OldestFirst,
                _ => return None,
            };
            let place = match parts.next()? {
                "c" => Place::Change(Position {
                    captured_at: DateTime::from_timestamp_micros(parts.next()?.parse().ok()?)?,
                    id: ChangeId {
                        transaction_id: Uuid::try_parse(parts.next()?).ok()?,
                        ordinal: parts.next()?.parse().ok()?,
                    },
                }),
                "i" => Place::Id(Uuid::try_parse(parts.next()?).ok()?),
                "e" => Place::Evidence(
                    DateTime::from_timestamp_micros(parts.next()?.parse().ok()?)?,
                    Uuid::try_parse(parts.next()?).ok()?,
                ),
                _ => return None,
            };
            let cursor = Self { order, place };
            // One spelling only: what this library wrote.
            (parts.next().is_none() && cursor.to_string() == text).then_some(cursor)
        };
        parse().ok_or_else(|| Error::InvalidPage {
            problem: "the cursor is not one of this version; start from the first page".to_owned(),
        })
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for Cursor {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}
