//! Who answers for a change.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::context::{InvalidContext, TextKind, text_problem};

/// What kind of actor it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorType {
    /// Somebody who uses the application.
    User,
    /// Somebody who runs it.
    Admin,
    /// Another program, with credentials of its own.
    ServiceAccount,
    /// A background job.
    Job,
    /// The application itself.
    System,
    /// Nobody who is known; has no id.
    Anonymous,
}

impl ActorType {
    /// As it is stored: `user`, `admin`, `service_account`, `job`, `system` or `anonymous`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
            Self::ServiceAccount => "service_account",
            Self::Job => "job",
            Self::System => "system",
            Self::Anonymous => "anonymous",
        }
    }
}

impl fmt::Display for ActorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ActorType {
    type Err = InvalidContext;

    fn from_str(text: &str) -> Result<Self, InvalidContext> {
        [Self::User, Self::Admin, Self::ServiceAccount, Self::Job, Self::System, Self::Anonymous]
            .into_iter()
            .find(|actor_type| actor_type.as_str() == text)
            .ok_or_else(|| {
                InvalidContext::one(
                    "actor: type is not one of user, admin, service_account, job, system, anonymous",
                )
            })
    }
}

/// An actor's id in the application: 1 to 256 bytes without control characters.
///
/// Numbers and UUIDs convert as they are; a text is checked.
///
/// ```
/// use threadline::{Actor, ActorId};
///
/// assert_eq!(Actor::user(42).to_string(), "user:42");
/// assert_eq!(Actor::user(ActorId::try_from("mallory@example.com")?).id(), Some("mallory@example.com"));
/// assert_eq!(ActorId::try_from("").unwrap_err().to_string(), "invalid context: actor: id is empty");
/// # Ok::<_, threadline::InvalidContext>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ActorId(Cow<'static, str>);

impl ActorId {
    /// The id of a part of the program, such as a worker, written down in its source.
    ///
    /// ```
    /// use threadline::{Actor, ActorId};
    ///
    /// const WORKER: ActorId = ActorId::from_static("search-index");
    /// assert_eq!(Actor::job(WORKER).to_string(), "job:search-index");
    /// ```
    ///
    /// # Panics
    ///
    /// When it is empty, longer than 256 bytes, or has an ASCII control character; in a constant that is a compile error.
    pub const fn from_static(id: &'static str) -> Self {
        let bytes = id.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 256, "an actor's id is 1 to 256 bytes");
        let mut place = 0;
        while place < bytes.len() {
            assert!(!bytes[place].is_ascii_control(), "an actor's id has no control character");
            place += 1;
        }
        Self(Cow::Borrowed(id))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ActorId {
    type Error = InvalidContext;

    fn try_from(id: String) -> Result<Self, InvalidContext> {
        match text_problem(&id, TextKind::Name) {
            None => Ok(Self(Cow::Owned(id))),
            Some(problem) => Err(InvalidContext::one(format!("actor: id {problem}"))),
        }
    }
}

impl TryFrom<&str> for ActorId {
    type Error = InvalidContext;

    fn try_from(id: &str) -> Result<Self, InvalidContext> {
        Self::try_from(id.to_owned())
    }
}

impl FromStr for ActorId {
    type Err = InvalidContext;

    fn from_str(id: &str) -> Result<Self, InvalidContext> {
        Self::try_from(id)
    }
}

macro_rules! id_from {
    ($($plain:ty),*) => {$(
        impl From<$plain> for ActorId {
            fn from(id: $plain) -> Self {
                Self(Cow::Owned(id.to_string()))
            }
        }
    )*};
}

id_from!(i16, i32, i64, u16, u32, u64, Uuid);

/// Who answers for a change. As JSON `{"type": "user", "id": "42"}`; an anonymous actor has no id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawActor")]
pub struct Actor {
    #[serde(rename = "type")]
    actor_type: ActorType,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<ActorId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawActor {
    #[serde(rename = "type")]
    actor_type: ActorType,
    id: Option<ActorId>,
}

impl Actor {
    /// Somebody who uses the application.
    pub fn user(id: impl Into<ActorId>) -> Self {
        Self { actor_type: ActorType::User, id: Some(id.into()) }
    }

    /// Somebody who runs it.
    pub fn admin(id: impl Into<ActorId>) -> Self {
        Self { actor_type: ActorType::Admin, id: Some(id.into()) }
    }

    /// Another program, with credentials of its own.
    pub fn service_account(id: impl Into<ActorId>) -> Self {
        Self { actor_type: ActorType::ServiceAccount, id: Some(id.into()) }
    }

    /// A background job.
    pub fn job(id: impl Into<ActorId>) -> Self {
        Self { actor_type: ActorType::Job, id: Some(id.into()) }
    }

    /// The application itself, in the named part.
    pub fn system(id: impl Into<ActorId>) -> Self {
        Self { actor_type: ActorType::System, id: Some(id.into()) }
    }

    /// Nobody who is known.
    pub fn anonymous() -> Self {
        Self { actor_type: ActorType::Anonymous, id: None }
    }

    /// From a type that is known only at run time.
    ///
    /// # Errors
    ///
    /// When an anonymous actor has an id, or another one has none.
    pub fn new(actor_type: ActorType, id: Option<ActorId>) -> Result<Self, InvalidContext> {
        match (actor_type, &id) {
            (ActorType::Anonymous, Some(_)) => Err(InvalidContext::one("actor: anonymous has no id")),
            (ActorType::Anonymous, None) | (_, Some(_)) => Ok(Self { actor_type, id }),
            (_, None) => Err(InvalidContext::one(format!("actor: a {actor_type} has an id"))),
        }
    }

    /// What kind of actor it is.
    pub fn actor_type(&self) -> ActorType {
        self.actor_type
    }

    /// The id in the application; `None` for an anonymous actor.
    pub fn id(&self) -> Option<&str> {
        self.id.as_ref().map(ActorId::as_str)
    }
}

impl TryFrom<RawActor> for Actor {
    type Error = InvalidContext;

    fn try_from(raw: RawActor) -> Result<Self, InvalidContext> {
        Self::new(raw.actor_type, raw.id)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{}:{id}", self.actor_type),
            None => write!(f, "{}", self.actor_type),
        }
    }
}
