//! Saved views: questions that somebody who investigates keeps, to ask them again.
//!
//! A view belongs to one actor and says what is asked, never what was found: whoever opens it sees what they may see then. The
//! operator surface of `threadline-actix` saves and lists them; an application does when it makes pages of its own, or when
//! somebody leaves ([`forget_all`]).

use std::fmt;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text, Timestamptz, Uuid as SqlUuid};
use serde::Serialize;
use uuid::Uuid;

use crate::error::Error;
use crate::intent::{Actor, ActorType};

/// The most views an actor has.
pub const MOST: u32 = 100;

/// Characters a name has at most.
const LONGEST_NAME: usize = 80;

/// Bytes a question has at most.
const LONGEST_QUESTION: usize = 4096;

/// A question somebody keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, QueryableByName)]
#[non_exhaustive]
pub struct SavedView {
    /// Random UUID.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// What its owner calls it.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// The page that answers it, as `timeline`.
    #[diesel(sql_type = Text)]
    pub page: String,
    /// What is asked of that page, as its address has it: `table=posts&window=7d`. A span such as `7d` ends when it is asked.
    #[diesel(sql_type = Text)]
    pub question: String,
    /// When it was saved last.
    #[diesel(sql_type = Timestamptz)]
    pub saved_at: DateTime<Utc>,
}

/// A view cannot be saved as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidView {
    problems: Vec<String>,
}

impl InvalidView {
    /// Everything that is wrong with it, each as `name: what is wrong`.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for InvalidView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid view: {}", self.problems.join("; "))
    }
}

impl std::error::Error for InvalidView {}

/// The owner as the table has them; `None` for one who is nobody in particular.
fn identified(owner: &Actor) -> Option<(&str, &str)> {
    let id = owner.id().filter(|id| !id.trim().is_empty())?;
    (owner.actor_type() != ActorType::Anonymous).then(|| (owner.actor_type().as_str(), id))
}

fn check(owner: &Actor, name: &str, page: &str, question: &str) -> Result<(), InvalidView> {
    let mut problems = Vec::new();
    if identified(owner).is_none() {
        problems.push("owner: is anonymous or has no id, and a view belongs to somebody".to_owned());
    }
    if name.is_empty() {
        problems.push("name: is missing".to_owned());
    } else if name.chars().count() > LONGEST_NAME {
        problems.push(format!("name: is longer than {LONGEST_NAME} characters"));
    } else if name.chars().any(char::is_control) {
        problems.push("name: has control characters".to_owned());
    }
    if !(1..=40).contains(&page.len()) || !page.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    {
        problems.push("page: is no name of a page".to_owned());
    }
    if question.len() > LONGEST_QUESTION || question.contains('\0') {
        problems.push(format!("question: is longer than {LONGEST_QUESTION} bytes, or has NUL in it"));
    }
    if problems.is_empty() { Ok(()) } else { Err(InvalidView { problems }) }
}

/// Saves what is asked of a page under a name, of which blanks around it are left out; instead of the owner's view of that name,
/// if there is one.
///
/// # Errors
///
/// [`Error::InvalidView`] with everything that is wrong: an owner who is anonymous or has no id; a name that is blank, longer
/// than 80 characters, or has control characters; a question longer than 4,096 bytes; or one view more than [`MOST`].
pub fn save(
    conn: &mut PgConnection,
    owner: &Actor,
    name: &str,
    page: &str,
    question: &str,
) -> Result<SavedView, Error> {
    let name = name.trim();
    check(owner, name, page, question)?;
    let (owner_type, owner_id) = identified(owner).expect("it was checked");
    // Two at once may come to one more than the most each.
    let saved: Option<SavedView> = diesel::sql_query(
        "INSERT INTO threadline.saved_views AS v (id, owner_type, owner_id, name, page, question, saved_at) \
         SELECT gen_random_uuid(), $1, $2, $3, $4, $5, clock_timestamp() WHERE $6 > \
             (SELECT count(*) FROM threadline.saved_views v WHERE v.owner_type = $1 AND v.owner_id = $2 AND v.name <> $3) \
         ON CONFLICT (owner_type, owner_id, name) DO UPDATE SET page = EXCLUDED.page, question = EXCLUDED.question, \
             saved_at = EXCLUDED.saved_at \
         RETURNING v.id, v.name, v.page, v.question, v.saved_at",
    )
    .bind::<Text, _>(owner_type)
    .bind::<Text, _>(owner_id)
    .bind::<Text, _>(name)
    .bind::<Text, _>(page)
    .bind::<Text, _>(question)
    .bind::<BigInt, _>(i64::from(MOST))
    .get_result(conn)
    .optional()
    .map_err(|error| Error::from_query(conn, "", error))?;
    let too_many = || format!("name: is one more than the {MOST} views somebody can have; forget one first");
    saved.ok_or_else(|| InvalidView { problems: vec![too_many()] }.into())
}

/// The views of this actor, what was saved last first. Somebody anonymous has none.
///
/// # Errors
///
/// As of any statement.
pub fn list(conn: &mut PgConnection, owner: &Actor) -> Result<Vec<SavedView>, Error> {
    let Some((owner_type, owner_id)) = identified(owner) else { return Ok(Vec::new()) };
    diesel::sql_query(
        "SELECT v.id, v.name, v.page, v.question, v.saved_at FROM threadline.saved_views v \
         WHERE v.owner_type = $1 AND v.owner_id = $2 ORDER BY v.saved_at DESC, v.name",
    )
    .bind::<Text, _>(owner_type)
    .bind::<Text, _>(owner_id)
    .load(conn)
    .map_err(|error| Error::from_query(conn, "", error))
}

/// Forgets a view; returns whether it was there and this actor's.
///
/// # Errors
///
/// As of any statement.
pub fn forget(conn: &mut PgConnection, owner: &Actor, id: Uuid) -> Result<bool, Error> {
    let Some((owner_type, owner_id)) = identified(owner) else { return Ok(false) };
    let forgotten = diesel::sql_query(
        "DELETE FROM threadline.saved_views v WHERE v.id = $3 AND v.owner_type = $1 AND v.owner_id = $2",
    )
    .bind::<Text, _>(owner_type)
    .bind::<Text, _>(owner_id)
    .bind::<SqlUuid, _>(id)
    .execute(conn)
    .map_err(|error| Error::from_query(conn, "", error))?;
    Ok(forgotten > 0)
}

/// Forgets all views of this actor, as when they leave; returns how many.
///
/// # Errors
///
/// As of any statement.
pub fn forget_all(conn: &mut PgConnection, owner: &Actor) -> Result<usize, Error> {
    let Some((owner_type, owner_id)) = identified(owner) else { return Ok(0) };
    diesel::sql_query("DELETE FROM threadline.saved_views v WHERE v.owner_type = $1 AND v.owner_id = $2")
        .bind::<Text, _>(owner_type)
        .bind::<Text, _>(owner_id)
        .execute(conn)
        .map_err(|error| Error::from_query(conn, "", error))
}
