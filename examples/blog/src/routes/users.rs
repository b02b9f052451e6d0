//! Users of an organization.

use actix_web::http::StatusCode;
use actix_web::{Responder, get, patch, post, web};
use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHasher, SaltString};
use diesel::prelude::*;
use serde::Deserialize;

use super::NoParameters;
use crate::error::ApiError;
use crate::models::{Membership, NewUser, User};
use crate::schema::{memberships, users};
use crate::session::Session;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(list).service(create).service(change_email);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    name: String,
    email: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Email {
    email: String,
}

#[get("/users")]
async fn list(session: Session, _: web::Query<NoParameters>) -> Result<impl Responder, ApiError> {
    let users = session
        .read(|conn, member| {
            let users = users::table.filter(users::organization_id.eq(member.organization_id));
            Ok(users.select(User::as_select()).order(users::id).load(conn)?)
        })
        .await?;
    Ok(web::Json(users))
}

/// Two tables in one transaction: the trail shows them as one.
#[post("/users")]
async fn create(session: Session, account: web::Json<Account>) -> Result<impl Responder, ApiError> {
    let Account { name, email, password } = account.into_inner();
    // Slow by design, so neither on the event loop nor while a transaction is open.
    let password_hash = web::block(move || hash(&password)).await??;
    let user = session
        .write(move |conn, member| {
            let organization_id = member.organization_id;
            let user = diesel::insert_into(users::table)
                .values(NewUser { organization_id, name, email, password_hash })
                .returning(User::as_returning())
                .get_result(conn)?;
            let membership = Membership { organization_id, user_id: user.id, role: "writer".into() };
            diesel::insert_into(memberships::table).values(membership).execute(conn)?;
            Ok(user)
        })
        .await?;
    Ok((web::Json(user), StatusCode::CREATED))
}

#[patch("/users/{id}")]
async fn change_email(
    session: Session,
    id: web::Path<i64>,
    email: web::Json<Email>,
) -> Result<impl Responder, ApiError> {
    let user = session
        .write(move |conn, member| {
            let user = users::table.find(*id).filter(users::organization_id.eq(member.organization_id));
            let user = diesel::update(user)
                .set(users::email.eq(&email.email))
                .returning(User::as_returning())
                .get_result(conn)?;
            Ok(user)
        })
        .await?;
    Ok(web::Json(user))
}

fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let salt = SaltString::generate(&mut OsRng);
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt)?.to_string())
}
