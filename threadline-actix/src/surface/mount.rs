//! The routes, and what holds for all of them.

use actix_web::dev::{AppService, HttpServiceFactory};
use actix_web::http::Method;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::{HttpRequest, HttpResponse, Resource, Scope, guard, web};

use super::config::SurfaceConfig;
use super::cross_origin::refuse_cross_origin;
use super::failure::Failure;
use super::screen::{Deed, Screen};
use super::screens;
use super::visit::{Visit, see_other};
use super::{api, assets};

/// A page may load what is served here and nothing else, has no script and no style in it, and stands in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The surface of this configuration, to be mounted.
pub fn surface(config: SurfaceConfig) -> Surface {
    Surface { config }
}

/// A surface that has no place yet.
#[derive(Clone, Debug)]
#[must_use = "it is mounted by `.mount(\"/audit\")`"]
pub struct Surface {
    config: SurfaceConfig,
}

impl Surface {
    /// The service to hand to `App::service`, under this path. Several may be mounted in one application; all links are
    /// relative, so a proxy may put a prefix before the path.
    pub fn mount(self, path: &str) -> impl HttpServiceFactory + 'static {
        Mounted { path: path.trim_end_matches('/').to_owned(), config: self.config }
    }
}

struct Mounted {
    path: String,
    config: SurfaceConfig,
}

impl HttpServiceFactory for Mounted {
    fn register(self, app: &mut AppService) {
        let headers = headers();
        let config = web::Data::new(self.config);
        // Before the pages, whose scope holds it. It only reads, so it has no forms another site could send.
        api::routes(web::scope(&format!("{}/api", self.path)))
            .app_data(config.clone())
            .wrap(headers.clone())
            .register(app);
        routes(web::scope(&self.path))
            .app_data(config)
            .wrap(from_fn(refuse_cross_origin))
            .wrap(headers)
            .register(app);
    }
}

/// What every answer has.
fn headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((CONTENT_SECURITY_POLICY, POLICY))
        .add((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // But for what says otherwise of itself.
        .add((CACHE_CONTROL, "no-store"))
        .add((X_FRAME_OPTIONS, "DENY"))
        .add((REFERRER_POLICY, "same-origin"))
        .add((HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")))
        .add((
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ))
}

fn routes(scope: Scope) -> Scope {
    scope
        // Relative links need the slash.
        .service(web::resource("").to(async |request: HttpRequest| {
            let last = request.path().rsplit('/').next().unwrap_or_default();
            see_other(&format!("{last}/"))
        }))
        .service(screen(Screen::Home, screens::home))
        .service(screen(Screen::Timeline, screens::timeline))
        .service(screen(Screen::Transaction, screens::transaction))
        .service(screen(Screen::Row, screens::row))
        .service(screen(Screen::Actor, screens::actor))
        .service(screen(Screen::Correlation, screens::correlation))
        .service(screen(Screen::Actions, screens::actions))
        .service(screen(Screen::Undo, screens::undo))
        .service(screen(Screen::Views, screens::saved_views))
        .service(deed(Deed::SaveView, screens::save_view))
        .service(deed(Deed::ForgetView, screens::forget_view))
        .service(screen(Screen::Coverage, screens::coverage))
        .service(screen(Screen::Redaction, screens::redaction))
        .service(screen(Screen::Retention, screens::retention))
        .service(screen(Screen::Evidence, screens::evidence))
        .service(screen(Screen::Exports, screens::exports))
        .service(deed(Deed::StartExport, screens::start_export))
        .service(deed(Deed::CancelExport, screens::cancel_export))
        .service(deed(Deed::DownloadExport, screens::download_export))
        .service(deed(Deed::RemoveDue, screens::remove_due))
        .service(screen(Screen::AccessLog, screens::access_log))
        .service(screen(Screen::Gaps, screens::gaps))
        .route("/assets/{name}", web::get().to(assets::serve))
        // Beside every address: who is let in nowhere gets one page, whose links cannot know how deep it lies.
        .route("/{below:.+}/assets/{name}", web::get().to(assets::serve))
        .service(
            web::resource("/preferences")
                .route(web::post().to(screens::choose))
                .default_service(web::to(|config, request| refuse(config, request, 0))),
        )
        .default_service(web::to(not_found))
}

/// A screen at its route. There is no other way to one: who asks is asked about, and looked up in the access log, before.
fn screen<F>(screen: Screen, show: F) -> Resource
where
    F: AsyncFn(&Visit) -> Result<HttpResponse, Failure> + Copy + 'static,
{
    let depth = screen.route().matches('/').count() - 1;
    let reading = guard::Any(guard::Get()).or(guard::Head());
    let handler = move |config: web::Data<SurfaceConfig>, request: HttpRequest| async move {
        match Visit::look(config, request, screen, depth).await {
            Ok(visit) => visit.show(show).await,
            Err(answer) => answer,
        }
    };
    web::resource(screen.route())
        .route(web::route().guard(reading).to(handler))
        .default_service(web::to(move |config, request| refuse(config, request, depth)))
}

/// What can be done at a screen, at its route: on record before it is done, and asked for by the same callbacks.
fn deed<F>(deed: Deed, perform: F) -> Resource
where
    F: AsyncFn(&Visit) -> Result<HttpResponse, Failure> + Copy + 'static,
{
    let depth = deed.route().matches('/').count() - 1;
    let handler = move |config: web::Data<SurfaceConfig>, request: HttpRequest, body: web::Payload| async move {
        match Visit::begin_deed(config, request, deed, body).await {
            Ok(visit) => visit.show(perform).await,
            Err(refusal) => refusal,
        }
    };
    let resource = web::resource(deed.route());
    let resource = match deed.takes_form() {
        true => resource.route(web::method(Method::POST).to(handler)),
        false => resource.route(web::route().guard(guard::Any(guard::Get()).or(guard::Head())).to(handler)),
    };
    resource.default_service(web::to(move |config, request| refuse(config, request, depth)))
}

/// What is not done in this way; only who is let in is told so.
async fn refuse(config: web::Data<SurfaceConfig>, request: HttpRequest, depth: usize) -> HttpResponse {
    match Visit::begin(config, request, Screen::Home, depth).await {
        Ok(_) => HttpResponse::MethodNotAllowed().finish(),
        Err(refusal) => refusal,
    }
}

/// What is not there; only who is let in is told so.
async fn not_found(config: web::Data<SurfaceConfig>, request: HttpRequest) -> HttpResponse {
    let depth = request.match_info().unprocessed().matches('/').count().saturating_sub(1);
    match Visit::begin(config, request, Screen::Home, depth).await {
        Ok(visit) => Failure::NotFound.page(&visit),
        Err(refusal) => refusal,
    }
}
