//! The JSON interface, all of it below `/api`.

mod bundle;
mod comments;
mod members;
mod notifications;
mod posts;
mod sessions;
mod trail;
mod users;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, ResponseError, web};
use serde::Deserialize;

use crate::error::{ApiError, unreadable};

/// Adds the routes to an application, which has to have the audited pool as its data, and the middleware around it.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .app_data(web::JsonConfig::default().error_handler(unreadable))
        .app_data(web::PathConfig::default().error_handler(unreadable))
        .app_data(web::QueryConfig::default().error_handler(unreadable))
        .service(
            web::scope("/api")
                .wrap(from_fn(refuse_parameters_of_writes))
                .configure(sessions::routes)
                .configure(posts::routes)
                .configure(comments::routes)
                .configure(users::routes)
                .configure(members::routes)
                .configure(notifications::routes)
                .configure(trail::routes)
                .configure(bundle::routes),
        )
        .default_service(web::to(async || ApiError::NotFound.error_response()));
}

/// The query of a route that takes no parameters: any is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

/// No route that writes takes a parameter; one that is misunderstood as such must not be silently dropped.
async fn refuse_parameters_of_writes<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if request.method() != Method::GET
        && let Err(error) = web::Query::<NoParameters>::from_query(request.query_string())
    {
        let refusal = unreadable(error, request.request());
        return Ok(request.error_response(refusal).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}
