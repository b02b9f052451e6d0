//! Logging in and out.

use actix_session::Session;
use actix_web::{HttpResponse, Responder, post, web};
use serde_json::json;
use threadline_actix::Audit;

use crate::error::ApiError;
use crate::login::{self, Credentials};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(log_in).service(log_out);
}

#[post("/login")]
async fn log_in(
    audit: Audit,
    session: Session,
    credentials: web::Json<Credentials>,
) -> Result<impl Responder, ApiError> {
    let user_id = login::log_in(&audit, &session, credentials.into_inner()).await?;
    Ok(web::Json(json!({ "user_id": user_id })))
}

#[post("/logout")]
async fn log_out(audit: Audit, session: Session) -> Result<impl Responder, ApiError> {
    login::log_out(&audit, &session).await?;
    Ok(HttpResponse::NoContent())
}
