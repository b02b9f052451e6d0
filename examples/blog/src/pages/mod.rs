//! The pages, for people with a browser: log in, write a post, publish it. Plain forms, no scripts.

mod error;
mod login;
mod posts;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, ContentType, LOCATION};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpResponse, web};
use askama::Template;

use self::error::PageError;
use crate::error::ApiError;
use crate::session::SignedIn;

/// Adds the pages to an application, which needs what [`routes`](crate::routes::configure) need.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .app_data(web::FormConfig::default().error_handler(|error, _| PageError::unreadable(&error).into()))
        .configure(login::routes)
        .route("/", web::get().to(async || see_other("/posts")))
        .service(web::scope("/posts").wrap(from_fn(ask_to_log_in)).configure(posts::routes));
}

/// Sends who is not signed in to the login, rather than telling them in JSON.
async fn ask_to_log_in<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if request.extract::<SignedIn>().await.is_err() {
        return Ok(request.into_response(see_other("/login")).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// To be asked for with `GET`, so that a page that is loaded again does not send its form again.
fn see_other(path: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
}

/// A page that may load nothing, and send its forms only here.
fn page(status: StatusCode, template: &impl Template) -> HttpResponse {
    match template.render() {
        Ok(html) => HttpResponse::build(status)
            .content_type(ContentType::html())
            .insert_header((
                CONTENT_SECURITY_POLICY,
                "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
            ))
            .body(html),
        Err(error) => {
            ApiError::internal(error).log();
            HttpResponse::InternalServerError().finish()
        }
    }
}
