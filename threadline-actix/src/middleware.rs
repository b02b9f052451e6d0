//! Finds out who makes a request, and gives it its ids.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::rc::Rc;

use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderName;
use actix_web::{Error as ActixError, HttpMessage};
use ipnet::IpNet;
use threadline::{Actor, AuditContext};
use uuid::Uuid;

use crate::proxies::{ForwardedHeader, Proxies};
use crate::request_ids::{CORRELATION_ID, REQUEST_ID, header_value, id_in, is_sane, new_id};

const TRANSACTION_ID: HeaderName = HeaderName::from_static("x-audit-transaction-id");

/// Gives each request its [`AuditContext`](crate::AuditContext): the actor, which the host's callback names, and
/// - `x-request-id`, if it came once and is 1 to 256 visible ASCII characters; else one is made. The response carries it,
///   unless it is the error of a middleware.
/// - `x-correlation-id`, by the same rule; else none.
/// - the address of the client: the peer's, unless [`trust_proxies`](Self::trust_proxies) says whom to believe otherwise.
///
/// Around a scope that is inside another one with a middleware of its own, the inner one names the actor, and the ids stay.
///
/// What the callback reads has to be there: of several `.wrap`, the last runs first, so the one for the session comes after
/// this one. An error of the callback is the answer to the request; `Ok(None)` is a request of nobody's, which only a handler
/// that is not audited, or allows it, will serve.
#[derive(Debug)]
pub struct AuditMiddleware<F> {
    actor: Rc<F>,
    settings: Settings,
}

/// What to answer for a request that nobody answers for, to an audited route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingActor {
    /// 401: it should have been made after a login.
    #[default]
    Unauthorized,
    /// 500: the application's own authentication should not have let it through.
    InternalServerError,
}

/// Ids for a request that came without them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestIds {
    /// In the place of one that would be made.
    pub request_id: Option<String>,
    /// For a request without the header.
    pub correlation_id: Option<String>,
}

type FillGaps = Rc<dyn Fn(&ServiceRequest) -> RequestIds>;

#[derive(Clone, Default)]
struct Settings {
    proxies: Proxies,
    missing_actor: MissingActor,
    fill_gaps: Option<FillGaps>,
    correlate_requests: bool,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("proxies", &self.proxies)
            .field("missing_actor", &self.missing_actor)
            .finish_non_exhaustive()
    }
}

impl<F> AuditMiddleware<F>
where
    F: AsyncFn(&ServiceRequest) -> Result<Option<Actor>, ActixError> + 'static,
{
    /// With the callback that names who makes a request; it may read the session, a token, or what another middleware has
    /// put into the request's extensions.
    pub fn new(actor: F) -> Self {
        Self { actor: Rc::new(actor), settings: Settings::default() }
    }

    /// Believes these proxies about the client's address, in this header. Without it the address is the peer's.
    #[must_use]
    pub fn trust_proxies(
        mut self,
        proxies: impl IntoIterator<Item = IpNet>,
        header: ForwardedHeader,
    ) -> Self {
        self.settings.proxies = Proxies::new(proxies, header);
        self
    }

    /// What to answer when an audited route is asked by nobody. 401 if left out.
    #[must_use]
    pub fn missing_actor(mut self, answer: MissingActor) -> Self {
        self.settings.missing_actor = answer;
        self
    }

    /// Supplies ids for requests that came without them; it never replaces a header, nor the actor. An id that would not be
    /// taken from a header is not taken from here either.
    #[must_use]
    pub fn fill_gaps(mut self, fill_gaps: impl Fn(&ServiceRequest) -> RequestIds + 'static) -> Self {
        self.settings.fill_gaps = Some(Rc::new(fill_gaps));
        self
    }

    /// Where a request has no correlation id, by its header or by [`fill_gaps`](Self::fill_gaps), its own id becomes that, for
    /// whatever it will cause.
    #[must_use]
    pub fn correlate_requests(mut self) -> Self {
        self.settings.correlate_requests = true;
        self
    }
}

/// What the middleware has found out, in the request's extensions.
#[derive(Clone)]
pub(crate) struct RequestAudit {
    pub(crate) context: AuditContext,
    pub(crate) missing_actor: StatusCode,
}

/// The transaction a handler wants named in its response, in the request's extensions.
pub(crate) struct Announced(pub(crate) Uuid);

impl Settings {
    fn audit(&self, request: &ServiceRequest, actor: Option<Actor>) -> RequestAudit {
        let outer = request.extensions().get::<RequestAudit>().map(|outer| outer.context.clone());
        let context = outer.unwrap_or_else(|| self.context(request));
        let missing_actor = match self.missing_actor {
            MissingActor::Unauthorized => StatusCode::UNAUTHORIZED,
            MissingActor::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
        };
        RequestAudit { context: with_actor(context, actor), missing_actor }
    }

    /// The context but for the actor.
    fn context(&self, request: &ServiceRequest) -> AuditContext {
        let gaps = self.fill_gaps.as_ref().map(|fill_gaps| fill_gaps(request)).unwrap_or_default();
        let sane = |id: Option<String>| {
            id.filter(|id| {
                let sane = is_sane(id);
                if !sane {
                    tracing::warn!("threadline: `fill_gaps` gave an id that is not 1 to 256 visible ASCII characters; it is left out");
                }
                sane
            })
        };
        let request_id = id_in(request.headers(), &REQUEST_ID).or_else(|| sane(gaps.request_id));
        let correlation_id = id_in(request.headers(), &CORRELATION_ID).or_else(|| sane(gaps.correlation_id));
        let request_id = request_id.unwrap_or_else(new_id);
        let correlation_id = correlation_id.or_else(|| self.correlate_requests.then(|| request_id.clone()));
        let mut context = AuditContext::without_actor().with_request_id(request_id);
        if let Some(id) = correlation_id {
            context = context.with_correlation_id(id);
        }
        match self.proxies.client(request.peer_addr(), request.headers()) {
            Some(address) => context.with_remote_addr(address),
            None => context,
        }
    }
}

fn with_actor(context: AuditContext, actor: Option<Actor>) -> AuditContext {
    match actor {
        Some(actor) => context.with_actor(actor),
        None => context.with_no_actor(),
    }
}

/// The service [`AuditMiddleware`] makes.
#[doc(hidden)]
#[derive(Debug)]
pub struct InnerAuditMiddleware<S, F> {
    // Shared, because the actor is awaited before the service is called.
    service: Rc<S>,
    actor: Rc<F>,
    settings: Rc<Settings>,
}

impl<S, B, F> Transform<S, ServiceRequest> for AuditMiddleware<F>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError> + 'static,
    F: AsyncFn(&ServiceRequest) -> Result<Option<Actor>, ActixError> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<B>;
    type Error = ActixError;
    type Transform = InnerAuditMiddleware<S, F>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(InnerAuditMiddleware {
            service: Rc::new(service),
            actor: Rc::clone(&self.actor),
            settings: Rc::new(self.settings.clone()),
        }))
    }
}

impl<S, B, F> Service<ServiceRequest> for InnerAuditMiddleware<S, F>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError> + 'static,
    F: AsyncFn(&ServiceRequest) -> Result<Option<Actor>, ActixError> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<B>;
    type Error = ActixError;
    type Future = Pin<Box<dyn Future<Output = Result<ServiceResponse<B>, ActixError>>>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (service, actor, settings) =
            (Rc::clone(&self.service), Rc::clone(&self.actor), Rc::clone(&self.settings));
        Box::pin(async move {
            let named = actor(&request).await?;
            let audit = settings.audit(&request, named);
            let echoed = audit.context.request_id().and_then(header_value);
            request.extensions_mut().insert(audit);
            let mut response = service.call(request).await?;
            if let Some(echoed) = echoed {
                response.headers_mut().insert(REQUEST_ID, echoed);
            }
            let announced = response.request().extensions().get::<Announced>().map(|announced| announced.0);
            if let Some(value) = announced.and_then(|id| header_value(&id.to_string())) {
                response.headers_mut().insert(TRANSACTION_ID, value);
            }
            Ok(response)
        })
    }
}
