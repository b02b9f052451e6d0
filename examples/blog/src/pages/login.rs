//! The page to log in at.

use actix_session::Session;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, get, post, web};
use askama::Template;
use threadline_actix::Audit;

use super::error::PageError;
use super::{page, see_other};
use crate::error::ApiError;
use crate::login::{self, Credentials};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(form).service(log_in).service(log_out);
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    problem: Option<String>,
}

#[get("/login")]
async fn form() -> HttpResponse {
    page(StatusCode::OK, &LoginPage { problem: None })
}

#[post("/login")]
async fn log_in(
    audit: Audit,
    session: Session,
    credentials: web::Form<Credentials>,
) -> Result<HttpResponse, PageError> {
    match login::log_in(&audit, &session, credentials.into_inner()).await {
        Ok(_) => Ok(see_other("/posts")),
        Err(error @ ApiError::WrongCredentials) => {
            Ok(page(StatusCode::UNAUTHORIZED, &LoginPage { problem: Some(error.to_string()) }))
        }
        Err(error) => Err(error.into()),
    }
}

#[post("/logout")]
async fn log_out(audit: Audit, session: Session) -> Result<HttpResponse, PageError> {
    login::log_out(&audit, &session).await?;
    Ok(see_other("/login"))
}
