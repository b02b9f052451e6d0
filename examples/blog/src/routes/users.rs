//! Users of an organization.

use actix_web::http::StatusCode;
use actix_web::{Responder, get, patch, post, web};
use diesel::prelude::*;
use serde::Deserialize;
use threadline_actix::{Action, Audit, audited};

use super::NoParameters;
use crate::error::ApiError;
use crate::models::{Membership, NewUser, User};
use crate::password;
use crate::schema::{memberships, users};
use crate::session::SignedIn;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(list).service(invite).service(change_email);
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
async fn list(
    caller: SignedIn,
    audit: Audit,
    _: web::Query<NoParameters>,
) -> Result<impl Responder, ApiError> {
    let users = audit
        .read(move |conn| {
            let member = caller.member(conn)?;
            let users = users::table.filter(users::organization_id.eq(member.organization_id));
            Ok::<_, ApiError>(users.select(User::as_select()).order(users::id).load(conn)?)
        })
        .await?;
    Ok(web::Json(users))
}

/// Not `#[audited]` but what that stands for: hashing the password has to be over before the transaction begins.
///
/// Two tables in one transaction: the trail shows them as one.
#[post("/users")]
async fn invite(
    caller: SignedIn,
    audit: Audit,
    account: web::Json<Account>,
) -> Result<impl Responder, ApiError> {
    let Account { name, email, password } = account.into_inner();
    let password_hash = web::block(move || password::hash(&password)).await??;

    let action = Action::new("user.invited").category("accounts");
    let transaction = audit.transaction().action(action).require_changes().record_failures();
    let user = audit
        .write(transaction, move |conn, _| {
            let organization_id = caller.member(conn)?.organization_id;
            let user: User = diesel::insert_into(users::table)
                .values(NewUser { organization_id, name, email, password_hash })
                .returning(User::as_returning())
                .get_result(conn)?;
            let membership = Membership { organization_id, user_id: user.id, role: "writer".into() };
            diesel::insert_into(memberships::table).values(membership).execute(conn)?;
            Ok::<_, ApiError>(user)
        })
        .await?;
    Ok((web::Json(user), StatusCode::CREATED))
}

#[patch("/users/{id}")]
#[audited(action = "user.email_changed", category = "accounts", record_failures, response_header)]
async fn change_email(
    caller: SignedIn,
    conn: &mut PgConnection,
    id: web::Path<i64>,
    email: web::Json<Email>,
) -> Result<web::Json<User>, ApiError> {
    let member = caller.member(conn)?;
    let user = users::table.find(*id).filter(users::organization_id.eq(member.organization_id));
    let user = diesel::update(user)
        .set(users::email.eq(&email.email))
        .returning(User::as_returning())
        .get_result(conn)?;
    Ok(web::Json(user))
}
