//! What a handler sees of the audit: the request's context, and the database through it.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use diesel::PgConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use threadline::{Action, AuditContext, AuditedPool, OpenTransaction, TransactionBuilder};
use tracing::Span;
use uuid::Uuid;

use crate::error::Error;
use crate::middleware::RequestAudit;

/// The audit context of a request, and the database through it. An extractor.
///
/// ```no_run
/// # use actix_web::{HttpResponse, post};
/// # use threadline_actix::{Action, Audit, Error};
/// #[post("/import")]
/// async fn import(audit: Audit) -> Result<HttpResponse, Error> {
///     let transaction = audit.transaction().action(Action::new("posts.imported"));
///     let id = audit.write(transaction, move |_conn, transaction| Ok::<_, Error>(transaction.id())).await?;
///     Ok(HttpResponse::Ok().body(id.to_string()))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Audit {
    context: AuditContext,
    pool: Option<AuditedPool>,
    missing_actor: StatusCode,
}

impl Audit {
    /// Who makes the request, and its ids.
    pub fn context(&self) -> &AuditContext {
        &self.context
    }

    /// A transaction under the request's context, to be run by [`write`](Self::write).
    pub fn transaction(&self) -> TransactionBuilder {
        self.context.transaction()
    }

    /// Runs `body` in an audited transaction on actix's pool for blocking work; see [`TransactionBuilder::run`].
    ///
    /// A request that is dropped meanwhile changes nothing about it: it is committed or rolled back all the same.
    ///
    /// # Errors
    ///
    /// [`Error::NoPool`], [`Error::MissingActor`], [`Error::Panicked`], what [`TransactionBuilder::run`] returns, and what
    /// `body` returns. After any of them everything is rolled back.
    pub async fn write<T, E, F>(&self, transaction: TransactionBuilder, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(&mut PgConnection, &OpenTransaction) -> Result<T, E> + Send + 'static,
    {
        self.block(move |pool| pool.write(transaction, |conn, open| body(conn, open).map_err(Failure::Body)))
            .await
    }

    /// Runs `body` on actix's pool for blocking work, in a transaction in which PostgreSQL refuses every write.
    ///
    /// # Errors
    ///
    /// [`Error::NoPool`], [`Error::Panicked`], what [`AuditedPool::read`] returns, and what `body` returns.
    pub async fn read<T, E, F>(&self, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(&mut PgConnection) -> Result<T, E> + Send + 'static,
    {
        self.block(move |pool| pool.read(|conn| body(conn).map_err(Failure::Body))).await
    }

    /// Records an action that stands alone, under the request's [`context`](Self::context) or one made of it; see
    /// [`AuditContext::record_action`].
    ///
    /// # Errors
    ///
    /// [`Error::NoPool`], [`Error::MissingActor`], and what [`AuditedPool::record_action`] returns.
    pub async fn record_action(&self, context: AuditContext, action: Action) -> Result<Uuid, Error> {
        self.block(move |pool| Ok(pool.record_action(&context, &action)?)).await
    }

    /// Fails for what a write would miss.
    pub(crate) fn check(&self, actor_may_be_missing: bool) -> Result<(), Error> {
        if self.pool.is_none() {
            Err(Error::NoPool)
        } else if self.context.actor().is_none() && !actor_may_be_missing {
            Err(Error::MissingActor(self.missing_actor))
        } else {
            Ok(())
        }
    }

    async fn block<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(AuditedPool) -> Result<T, Failure<E>> + Send + 'static,
    {
        let pool = self.pool.clone().ok_or(Error::NoPool)?;
        // The thread that runs it knows nothing of the request's span.
        let span = Span::current();
        match web::block(move || span.in_scope(|| work(pool))).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Failure::Body(error))) => Err(error),
            // Where the request has one, the transaction was made of something else, which is a mistake of the handler's.
            Ok(Err(Failure::Ours(threadline::Error::MissingActor))) if self.context.actor().is_none() => {
                Err(Error::MissingActor(self.missing_actor).into())
            }
            Ok(Err(Failure::Ours(error))) => Err(Error::Audit(error).into()),
            Err(_) => Err(Error::Panicked.into()),
        }
    }
}

/// Keeps the core's errors apart from the host's, so that the host's type has to take in ours alone.
enum Failure<E> {
    Ours(threadline::Error),
    Body(E),
}

impl<E> From<threadline::Error> for Failure<E> {
    fn from(error: threadline::Error) -> Self {
        Self::Ours(error)
    }
}

impl FromRequest for Audit {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let audit = request.extensions().get::<RequestAudit>().cloned().ok_or(Error::NoMiddleware);
        ready(audit.map(|RequestAudit { context, missing_actor }| Self {
            context,
            pool: pool(request),
            missing_actor,
        }))
    }
}

/// Whom the middleware has found to make the request.
#[cfg(feature = "surface")]
pub(crate) fn actor_of(request: &HttpRequest) -> Option<threadline::Actor> {
    request.extensions().get::<RequestAudit>()?.context.actor().cloned()
}

/// The context the middleware has made, where there is one.
#[cfg(feature = "surface")]
pub(crate) fn context_of(request: &HttpRequest) -> Option<AuditContext> {
    Some(request.extensions().get::<RequestAudit>()?.context.clone())
}

/// The pool the host has given the app: an [`AuditedPool`], or r2d2's own.
fn pool(request: &HttpRequest) -> Option<AuditedPool> {
    type Plain = Pool<ConnectionManager<PgConnection>>;
    let audited = request.app_data::<web::Data<AuditedPool>>().map(web::Data::get_ref);
    let plain =
        || request.app_data::<web::Data<Plain>>().map(|pool| AuditedPool::new(pool.get_ref().clone()));
    audited.or_else(|| request.app_data()).cloned().or_else(plain)
}
