//! A place in the feed, as the reader keeps it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::number;
use crate::error::Error;

/// A place in the feed: everything before it has been delivered.
///
/// Keep it wherever you like: it is a short text of ASCII without spaces (under 128 bytes), through [`fmt::Display`] and
/// [`FromStr`], and the same text in serde. What it says is the library's business; a text that was cut off, altered, or
/// written by a newer version is refused rather than read as another place.
///
/// It belongs to one trail. Numbers of transactions begin anew in another cluster, so it names the cluster too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FeedCursor(pub(super) Place);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Beginning,
    Since(DateTime<Utc>),
    After(Position),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// `system_identifier` of a cluster whose numbers these are.
    pub(super) cluster: i64,
    pub(super) numbering: i32,
    /// The transaction number.
    pub(super) number: u64,
    /// What was delivered last; `None` when nothing of this number was.
    pub(super) id: Option<Uuid>,
    /// Of that transaction, only the changes up to this one.
    pub(super) ordinal: Option<i32>,
}

/// A text that is no cursor of the feed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{cursor}` is no feed cursor this library can read; take the whole text of one it wrote, or start with a new one"
)]
pub struct InvalidFeedCursor {
    /// The text, its first 128 characters.
    pub cursor: String,
}

impl FeedCursor {
    /// Before everything the trail has.
    pub fn beginning() -> Self {
        Self(Place::Beginning)
    }

    /// Before every transaction that began at or after this instant, and before an unknown number of earlier ones.
    ///
    /// One that was running then and had written before may be left out, whenever it ended: take an instant that is earlier
    /// by the longest a transaction of yours runs. It is resolved by the first read, so keep the cursor of each batch, also of
    /// an empty one.
    pub fn since(at: DateTime<Utc>) -> Self {
        Self(Place::Since(at))
    }

    /// The place after everything that has ended: what commits from now on is delivered, and of what has committed already
    /// only that with a higher number than a transaction still running.
    ///
    /// # Errors
    ///
    /// [`Error::TrailMoved`], and those of the database.
    pub fn now(conn: &mut PgConnection) -> Result<Self, Error> {
        #[derive(QueryableByName)]
        struct Horizon {
            #[diesel(sql_type = BigInt)]
            cluster: i64,
            #[diesel(sql_type = Nullable<Integer>)]
            numbering: Option<i32>,
            #[diesel(sql_type = Text)]
            horizon: String,
            #[diesel(sql_type = Nullable<Text>)]
            problem: Option<String>,
        }
        let here: Horizon = diesel::sql_query(
            "SELECT cluster, numbering, horizon::text, problem FROM threadline.feed_horizon()",
        )
        .get_result(conn)
        .map_err(|error| Error::from_query(conn, "", error))?;
        match (here.problem, here.numbering) {
            (None, Some(numbering)) => Ok(Self(Place::After(Position {
                cluster: here.cluster,
                numbering,
                number: number(&here.horizon)?,
                id: None,
                ordinal: None,
            }))),
            _ => Err(Error::TrailMoved { cluster: here.cluster }),
        }
    }
}

const VERSION: &str = "feed1";

impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.0 {
            Place::Beginning => format!("{VERSION}.beginning"),
            Place::Since(at) => format!("{VERSION}.since.{}", at.timestamp_micros()),
            Place::After(Position { cluster, numbering, number, id, ordinal }) => format!(
                "{VERSION}.after.{cluster}.{numbering}.{number}.{}.{}",
                id.map(|id| id.simple().to_string()).unwrap_or_default(),
                ordinal.map(|ordinal| ordinal.to_string()).unwrap_or_default(),
            ),
        };
        write!(f, "{text}.{:08x}", checksum(&text))
    }
}

impl FromStr for FeedCursor {
    type Err = InvalidFeedCursor;

    fn from_str(cursor: &str) -> Result<Self, InvalidFeedCursor> {
        parse(cursor)
            .map(Self)
            // What is read but would be written otherwise is not ours: a sign, a leading zero, a capital.
            .filter(|parsed| parsed.to_string() == cursor)
            .ok_or_else(|| InvalidFeedCursor { cursor: cursor.chars().take(128).collect() })
    }
}

fn parse(cursor: &str) -> Option<Place> {
    let fields: Vec<&str> = cursor.rsplit_once('.')?.0.split('.').collect();
    match fields[..] {
        [VERSION, "beginning"] => Some(Place::Beginning),
        [VERSION, "since", micros] => {
            Some(Place::Since(DateTime::from_timestamp_micros(micros.parse().ok()?)?))
        }
        [VERSION, "after", cluster, numbering, number, id, ordinal] => Some(Place::After(Position {
            cluster: cluster.parse().ok()?,
            numbering: numbering.parse().ok()?,
            number: number.parse().ok()?,
            id: (!id.is_empty()).then(|| id.parse()).transpose().ok()?,
            ordinal: (!ordinal.is_empty()).then(|| ordinal.parse()).transpose().ok()?,
        })),
        _ => None,
    }
}

/// FNV-1a: notices what was cut off or mistyped, and is no protection against forgery.
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl From<FeedCursor> for String {
    fn from(cursor: FeedCursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for FeedCursor {
    type Error = InvalidFeedCursor;

    fn try_from(cursor: String) -> Result<Self, InvalidFeedCursor> {
        cursor.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors() -> [FeedCursor; 5] {
        let position = Position {
            cluster: 7_710_620_096_814_780_108,
            numbering: 2,
            number: u64::MAX,
            id: Some(Uuid::from_u128(u128::MAX)),
            ordinal: Some(i32::MIN),
        };
        [
            FeedCursor::beginning(),
            FeedCursor::since(DateTime::from_timestamp_micros(1_793_000_000_123_456).expect("in range")),
            FeedCursor(Place::After(Position { id: None, ordinal: None, number: 3, ..position.clone() })),
            FeedCursor(Place::After(Position { ordinal: None, cluster: -1, ..position.clone() })),
            FeedCursor(Place::After(position)),
        ]
    }

    #[test]
    fn text_and_json_read_back_and_are_short() {
        for cursor in cursors() {
            let text = cursor.to_string();
            assert_eq!(text.parse(), Ok(cursor.clone()));
            assert!(text.len() < 128 && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            let json = serde_json::to_string(&cursor).expect("it serializes");
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<FeedCursor>(&json).expect("it reads back"), cursor);
        }
    }

    #[test]
    fn every_cut_and_every_altered_character_is_refused_by_name() {
        for cursor in cursors() {
            let text = cursor.to_string();
            for length in 0..text.len() {
                assert!(text[..length].parse::<FeedCursor>().is_err(), "{}", &text[..length]);
                let mut altered = text.clone().into_bytes();
                altered[length] = if altered[length] == b'1' { b'2' } else { b'1' };
                let altered = String::from_utf8(altered).expect("ASCII");
                let error = altered.parse::<FeedCursor>().expect_err("altered");
                assert!(error.to_string().starts_with(&format!("`{altered}`")), "{error}");
            }
        }
        for wrong in ["", ".", "feed1", "feed1.beginning", "feed2.beginning.00000000", "é"] {
            assert!(wrong.parse::<FeedCursor>().is_err(), "{wrong}");
            assert!(serde_json::from_str::<FeedCursor>(&format!("{wrong:?}")).is_err(), "{wrong}");
        }
    }
}
