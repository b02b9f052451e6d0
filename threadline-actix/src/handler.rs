//! What `#[audited]` expands to: the connection's place among a handler's parameters, and the transaction around its body.

use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse};
use diesel::PgConnection;
use threadline::{OpenTransaction, TransactionBuilder};

use crate::error::Error;
use crate::extractor::Audit;
use crate::middleware::Announced;
use crate::response::Parts;

type Running<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a body may answer with.
// A trait of our own, and its one implementation not recommended, so that rustc says so once and in these words, rather than
// once for each field that is bound to its thread.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the answer of an `#[audited]` handler: it is bound to its thread, and the body runs on another one",
    label = "cannot be sent between threads",
    note = "an `HttpResponse` is taken when the return type says so: `Result<HttpResponse, ..>`"
)]
pub trait Answer: Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Send + 'static> Answer for T {}

/// What a body may fail with.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of an `#[audited]` handler: that takes `From<threadline_actix::Error>`, `Send` and `'static`",
    label = "lacks `From<threadline_actix::Error>`, or cannot be sent between threads",
    note = "with `thiserror`, a variant `Audit(#[from] threadline_actix::Error)` is all it takes",
    note = "`actix_web::Error` is bound to its thread; use a type of your own, or `threadline_actix::Error`"
)]
pub trait HandlerError: From<Error> + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<E: From<Error> + Send + 'static> HandlerError for E {}

/// Stands where the connection stood. Whether the route allows a missing actor is known here, so that a request that will be
/// refused for want of wiring is refused before the body's error type comes into play.
pub struct AuditedRequest<const ACTOR_MAY_BE_MISSING: bool = false> {
    audit: Audit,
    request: HttpRequest,
}

impl<const ACTOR_MAY_BE_MISSING: bool> AuditedRequest<ACTOR_MAY_BE_MISSING> {
    // Boxed rather than `async fn`, so that rustc says each broken bound once.
    /// Runs a handler's body in the transaction that `prepare` makes of the request's.
    pub fn run<T, E, F>(
        self,
        prepare: impl FnOnce(TransactionBuilder) -> TransactionBuilder,
        announce: bool,
        body: F,
    ) -> Running<Result<T, E>>
    where
        T: Answer,
        E: HandlerError,
        F: FnOnce(&mut PgConnection, &OpenTransaction) -> Result<T, E> + Send + 'static,
    {
        let Self { audit, request } = self;
        let transaction = prepare(audit.transaction());
        Box::pin(async move {
            let (value, id) = audit
                .write(transaction, move |conn, open| Ok::<_, E>((body(conn, open)?, open.id())))
                .await?;
            if announce {
                request.extensions_mut().insert(Announced(id));
            }
            Ok(value)
        })
    }

    /// As [`run`](Self::run), for a body that answers with an `HttpResponse`.
    pub fn run_response<E, F>(
        self,
        prepare: impl FnOnce(TransactionBuilder) -> TransactionBuilder,
        announce: bool,
        body: F,
    ) -> Running<Result<HttpResponse, E>>
    where
        E: HandlerError,
        F: FnOnce(&mut PgConnection, &OpenTransaction) -> Result<HttpResponse, E> + Send + 'static,
    {
        let parts = self.run(prepare, announce, move |conn, open| Ok::<_, E>(Parts::of(body(conn, open)?)?));
        Box::pin(async move { parts.await.map(Parts::into_response) })
    }
}

impl<const ACTOR_MAY_BE_MISSING: bool> FromRequest for AuditedRequest<ACTOR_MAY_BE_MISSING> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let audit = Audit::from_request(request, payload).into_inner();
        ready(audit.and_then(|audit| {
            audit.check(ACTOR_MAY_BE_MISSING)?;
            Ok(Self { audit, request: request.clone() })
        }))
    }
}

// For `#[tracing::instrument]`, which prints every parameter.
impl<const ACTOR_MAY_BE_MISSING: bool> fmt::Debug for AuditedRequest<ACTOR_MAY_BE_MISSING> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditedRequest").finish_non_exhaustive()
    }
}
