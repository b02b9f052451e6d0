//! What an application knows of the work it is doing: who asked for it, and in which request or job.

use std::fmt;
use std::net::IpAddr;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::action::Action;
use super::actor::Actor;
use super::transaction::{self, TransactionBuilder};
use crate::error::Error;

/// Who is doing something, and in which request or job: what every change made under it will carry.
///
/// It has no link to a connection or a thread, so it can be cloned, sent, and put into a job's payload: as JSON it is
/// `{"actor": {"type": "user", "id": "42"}, "request_id": "…", "correlation_id": "…", "job_id": "…",
/// "remote_addr": "192.0.2.1", "meta": {}}`, absent values left out, and it is checked when it is read back.
///
/// ```
/// use threadline::{Actor, AuditContext};
///
/// let context = AuditContext::new(Actor::user(42)).with_correlation_id("import-7");
/// let payload = serde_json::to_string(&context)?;
/// assert_eq!(payload, r#"{"actor":{"type":"user","id":"42"},"correlation_id":"import-7"}"#);
/// assert_eq!(serde_json::from_str::<AuditContext>(&payload)?, context);
/// assert!(serde_json::from_str::<AuditContext>(r#"{"actr": null}"#).is_err());
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawContext")]
pub struct AuditContext {
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_addr: Option<IpAddr>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    meta: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContext {
    actor: Option<Actor>,
    request_id: Option<String>,
    correlation_id: Option<String>,
    job_id: Option<String>,
    remote_addr: Option<IpAddr>,
    #[serde(default)]
    meta: Map<String, Value>,
}

impl AuditContext {
    /// The context of something this actor does.
    pub fn new(actor: Actor) -> Self {
        Self { actor: Some(actor), ..Self::default() }
    }

    /// The context of something nobody answers for. A transaction refuses it unless it is told to allow it.
    pub fn without_actor() -> Self {
        Self::default()
    }

    /// The same work, done by this actor.
    #[must_use]
    pub fn with_actor(self, actor: Actor) -> Self {
        Self { actor: Some(actor), ..self }
    }

    /// The same work, with nobody to answer for it.
    #[must_use]
    pub fn with_no_actor(self) -> Self {
        Self { actor: None, ..self }
    }

    /// The id of the request, 1 to 256 bytes without control characters.
    #[must_use]
    pub fn with_request_id(self, id: impl Into<String>) -> Self {
        Self { request_id: Some(id.into()), ..self }
    }

    /// The id shared by everything that belongs to one piece of work, 1 to 256 bytes without control characters.
    #[must_use]
    pub fn with_correlation_id(self, id: impl Into<String>) -> Self {
        Self { correlation_id: Some(id.into()), ..self }
    }

    /// The id of the background job, 1 to 256 bytes without control characters.
    #[must_use]
    pub fn with_job_id(self, id: impl Into<String>) -> Self {
        Self { job_id: Some(id.into()), ..self }
    }

    /// The address of the application's client.
    #[must_use]
    pub fn with_remote_addr(self, address: IpAddr) -> Self {
        Self { remote_addr: Some(address), ..self }
    }

    /// Free metadata, kept with each transaction: up to 64 levels deep, and the whole context up to 32,768 bytes as JSON.
    #[must_use]
    pub fn with_meta(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Who is doing it.
    pub fn actor(&self) -> Option<&Actor> {
        self.actor.as_ref()
    }

    /// The id of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The id shared by everything that belongs to one piece of work.
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// The id of the background job.
    pub fn job_id(&self) -> Option<&str> {
        self.job_id.as_deref()
    }

    /// The address of the application's client.
    pub fn remote_addr(&self) -> Option<IpAddr> {
        self.remote_addr
    }

    /// The metadata.
    pub fn meta(&self) -> &Map<String, Value> {
        &self.meta
    }

    /// A transaction whose changes carry this context; see [`TransactionBuilder`].
    pub fn transaction(&self) -> TransactionBuilder {
        TransactionBuilder::new(self.clone())
    }

    /// Records an action by itself and returns its id.
    ///
    /// In a transaction that has captured changes, or is an audited one, the action belongs to that transaction and is
    /// committed or rolled back with it; otherwise it stands alone, as for something that changed no row.
    ///
    /// # Errors
    ///
    /// [`Error::MissingActor`] when the context has none, [`Error::InvalidContext`] when a value is not allowed, and what
    /// the database refuses.
    pub fn record_action(&self, conn: &mut PgConnection, action: &Action) -> Result<Uuid, Error> {
        if self.actor.is_none() {
            return Err(Error::MissingActor);
        }
        self.check(Some(action))?;
        transaction::record_action(conn, self, action).map_err(|error| Error::from_query(conn, "", error))
    }

    /// Fails with every value that is not allowed, here and in the action.
    pub(super) fn check(&self, action: Option<&Action>) -> Result<(), InvalidContext> {
        let ids = [
            ("correlation_id", &self.correlation_id),
            ("job_id", &self.job_id),
            ("request_id", &self.request_id),
        ];
        let mut problems: Vec<String> = ids
            .into_iter()
            .filter_map(|(field, id)| {
                Some(format!("{field}: {}", text_problem(id.as_deref()?, TextKind::Name)?))
            })
            .collect();
        problems.extend(meta_problem(&self.meta).map(|problem| format!("meta: {problem}")));
        problems.extend(action.into_iter().flat_map(Action::problems));
        if problems.is_empty() { Ok(()) } else { Err(InvalidContext { problems }) }
    }

    /// As the database takes it.
    pub(super) fn to_json(&self) -> Value {
        serde_json::to_value(self)
            .expect("a context is JSON: its keys are texts and it has no numbers of its own")
    }
}

impl TryFrom<RawContext> for AuditContext {
    type Error = InvalidContext;

    fn try_from(raw: RawContext) -> Result<Self, InvalidContext> {
        let RawContext { actor, request_id, correlation_id, job_id, remote_addr, meta } = raw;
        let context = Self { actor, request_id, correlation_id, job_id, remote_addr, meta };
        context.check(None)?;
        Ok(context)
    }
}

/// What a text may be.
#[derive(Clone, Copy)]
pub(crate) enum TextKind {
    /// 1 to 256 bytes without control characters: an id or a name.
    Name,
    /// Up to 4,096 bytes, with line breaks and tabs.
    Prose,
}

/// What is wrong with a text, said after its field's name.
pub(crate) fn text_problem(text: &str, kind: TextKind) -> Option<&'static str> {
    let (limit, too_long) = match kind {
        TextKind::Name => (256, "is longer than 256 bytes"),
        TextKind::Prose => (4096, "is longer than 4096 bytes"),
    };
    let is_prose = matches!(kind, TextKind::Prose);
    if text.is_empty() && !is_prose {
        Some("is empty")
    } else if text.len() > limit {
        Some(too_long)
    } else if text.chars().any(|c| c.is_control() && !(is_prose && matches!(c, '\n' | '\r' | '\t'))) {
        Some("has a control character")
    } else {
        None
    }
}

/// Levels of nesting in the metadata, so that whoever reads it can.
const META_DEPTH: usize = 64;

/// What is wrong with the metadata, found without recursion: it may be nested deeper than the stack is.
fn meta_problem(meta: &Map<String, Value>) -> Option<String> {
    let mut left: Vec<(&Value, usize)> = meta.values().map(|value| (value, 1)).collect();
    let mut has_nul = meta.keys().any(|key| key.contains('\0'));
    while let Some((value, depth)) = left.pop() {
        if depth > META_DEPTH {
            return Some(format!("is nested deeper than {META_DEPTH} levels"));
        }
        match value {
            Value::String(text) => has_nul |= text.contains('\0'),
            Value::Array(values) => left.extend(values.iter().map(|value| (value, depth + 1))),
            Value::Object(map) => {
                has_nul |= map.keys().any(|key| key.contains('\0'));
                left.extend(map.values().map(|value| (value, depth + 1)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    has_nul.then(|| "holds a NUL character, which PostgreSQL cannot store".to_owned())
}

/// What is wrong with a context, an actor or an action, each with the name of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidContext {
    problems: Vec<String>,
}

impl InvalidContext {
    pub(super) fn one(problem: impl Into<String>) -> Self {
        Self { problems: vec![problem.into()] }
    }

    /// Each problem, such as `request_id: is empty`. None of them quotes a value.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for InvalidContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid context: {}", self.problems.join("; "))
    }
}

impl std::error::Error for InvalidContext {}
