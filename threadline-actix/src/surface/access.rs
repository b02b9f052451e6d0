//! Who may see what: the host's decision, asked for at each request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use actix_web::{Error, HttpRequest};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use threadline::exports::ExportRequest;
use threadline::{Actor, ExportOptions, Scope, Trail};

/// What of the trail a request may see.
#[derive(Clone, Debug)]
#[must_use]
pub struct Access(Decision);

#[derive(Clone, Debug)]
enum Decision {
    Denied,
    Whole,
    Within { scope: Scope, words: String },
}

impl Access {
    /// Nothing.
    pub fn deny() -> Self {
        Self(Decision::Denied)
    }

    /// All of it.
    pub fn allow() -> Self {
        Self(Decision::Whole)
    }

    /// What this scope lets through. `words` say on each page what that is, such as `organization 7`.
    pub fn within(scope: Scope, words: impl Into<String>) -> Self {
        Self(Decision::Within { scope, words: words.into() })
    }

    /// What both let through.
    pub(super) fn and(self, other: Self) -> Self {
        use Decision::{Denied, Whole, Within};
        Self(match (self.0, other.0) {
            (Denied, _) | (_, Denied) => Denied,
            (Whole, other) | (other, Whole) => other,
            (Within { scope, words }, Within { scope: narrower, words: _ }) => {
                Within { scope: scope.and(narrower), words }
            }
        })
    }

    /// The trail as far as it may be seen; `None` when nothing of it may.
    pub(super) fn trail(&self) -> Option<Trail> {
        match &self.0 {
            Decision::Denied => None,
            Decision::Whole => Some(Trail::unscoped()),
            Decision::Within { scope, .. } => {
                let scope = scope.clone();
                Some(Trail::scoped(move |_| Ok(scope.clone())))
            }
        }
    }

    /// A request for an export of what may be seen; `None` when nothing may.
    pub(super) fn export(&self, options: ExportOptions) -> Option<ExportRequest> {
        match &self.0 {
            Decision::Denied => None,
            Decision::Whole => Some(ExportRequest::unscoped(options)),
            Decision::Within { scope, .. } => Some(ExportRequest::scoped(scope.clone(), options)),
        }
    }

    /// What it is narrowed to, where it is.
    pub(super) fn scope(&self) -> Option<&Scope> {
        match &self.0 {
            Decision::Within { scope, .. } => Some(scope),
            _ => None,
        }
    }

    /// What it is narrowed to, in the host's words.
    pub(super) fn words(&self) -> Option<&str> {
        match &self.0 {
            Decision::Within { words, .. } => Some(words),
            _ => None,
        }
    }
}

/// `true` for [`allow`](Access::allow), `false` for [`deny`](Access::deny).
impl From<bool> for Access {
    fn from(allowed: bool) -> Self {
        if allowed { Self::allow() } else { Self::deny() }
    }
}

/// A callback of the host's.
pub(super) type Ask<T> = Arc<dyn Fn(HttpRequest) -> LocalBoxFuture<'static, Result<T, Error>> + Send + Sync>;

/// The callback as it is kept.
pub(super) fn kept<T: 'static>(
    ask: impl AsyncFn(&HttpRequest) -> Result<T, Error> + Send + Sync + 'static,
) -> Ask<T> {
    let ask = Arc::new(ask);
    Arc::new(move |request| {
        let ask = Arc::clone(&ask);
        Box::pin(async move { ask(&request).await })
    })
}

/// What the callback says; `None` when it fails or panics, which the log tells without its words: they may quote the request.
async fn asked<T>(name: &'static str, ask: &Ask<T>, request: &HttpRequest) -> Option<T> {
    let answer = async { ask(request.clone()).await };
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(_)) => {
            tracing::error!(
                callback = name,
                "threadline: a callback of the surface failed; the request is denied"
            );
            None
        }
        Err(_) => {
            tracing::error!(
                callback = name,
                "threadline: a callback of the surface panicked; the request is denied"
            );
            None
        }
    }
}

/// The host's callbacks.
#[derive(Clone)]
pub(super) struct Gates {
    pub(super) actor: Option<Ask<Option<Actor>>>,
    pub(super) authorize: Ask<Access>,
    pub(super) export: Option<Ask<Access>>,
    pub(super) coverage: Option<Ask<bool>>,
    pub(super) policy: Option<Ask<bool>>,
    pub(super) retention: Option<Ask<bool>>,
    pub(super) evidence: Option<Ask<bool>>,
}

impl Gates {
    pub(super) fn new(authorize: Ask<Access>) -> Self {
        Self {
            actor: None,
            authorize,
            export: None,
            coverage: None,
            policy: None,
            retention: None,
            evidence: None,
        }
    }

    /// What the request may; `None` when it is let in nowhere.
    pub(super) async fn permissions(&self, request: &HttpRequest) -> Option<Permissions> {
        let access = asked("authorize", &self.authorize, request).await?;
        access.trail()?;
        let export = match &self.export {
            None => access.clone(),
            Some(ask) => match asked("authorize_export", ask, request).await {
                Some(narrower) => access.clone().and(narrower),
                None => Access::deny(),
            },
        };
        Some(Permissions {
            access,
            export,
            coverage: opened("authorize_coverage", self.coverage.as_ref(), request).await,
            policy: opened("authorize_policy", self.policy.as_ref(), request).await,
            retention: opened("authorize_retention", self.retention.as_ref(), request).await,
            evidence: opened("authorize_evidence", self.evidence.as_ref(), request).await,
        })
    }

    /// Who asks: whom the host's callback names. `Err` when it fails.
    pub(super) async fn actor(&self, request: &HttpRequest) -> Option<Option<Actor>> {
        match &self.actor {
            None => Some(crate::extractor::actor_of(request)),
            Some(ask) => asked("actor", ask, request).await,
        }
    }
}

/// Whether the gate is there and lets the request through.
async fn opened(name: &'static str, gate: Option<&Ask<bool>>, request: &HttpRequest) -> bool {
    match gate {
        Some(ask) => asked(name, ask, request).await.unwrap_or(false),
        None => false,
    }
}

/// What a request that is let in may do.
#[derive(Clone, Debug)]
pub(super) struct Permissions {
    pub(super) access: Access,
    /// Never more than `access`.
    pub(super) export: Access,
    pub(super) coverage: bool,
    pub(super) policy: bool,
    pub(super) retention: bool,
    pub(super) evidence: bool,
}

/// A part of the surface that has a gate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capability {
    Trail,
    Exports,
    Coverage,
    Policy,
    Retention,
    Evidence,
}

impl Permissions {
    pub(super) fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::Trail => true,
            Capability::Exports => self.export.trail().is_some(),
            Capability::Coverage => self.coverage,
            Capability::Policy => self.policy,
            Capability::Retention => self.retention,
            Capability::Evidence => self.evidence,
        }
    }
}
