//! Who may do what in an organization.

use actix_web::{Responder, get, put, web};
use diesel::prelude::*;
use serde::Deserialize;

use super::NoParameters;
use crate::error::ApiError;
use crate::models::Membership;
use crate::schema::memberships;
use crate::session::Session;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(list).service(change_role);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    role: String,
}

#[get("/members")]
async fn list(session: Session, _: web::Query<NoParameters>) -> Result<impl Responder, ApiError> {
    let members = session
        .read(|conn, member| {
            let members = memberships::table.filter(memberships::organization_id.eq(member.organization_id));
            Ok(members.select(Membership::as_select()).order(memberships::user_id).load(conn)?)
        })
        .await?;
    Ok(web::Json(members))
}

#[put("/members/{user_id}")]
async fn change_role(
    session: Session,
    user_id: web::Path<i64>,
    role: web::Json<Role>,
) -> Result<impl Responder, ApiError> {
    let membership = session
        .write(move |conn, member| {
            let membership = diesel::update(memberships::table.find((member.organization_id, *user_id)))
                .set(memberships::role.eq(&role.role))
                .returning(Membership::as_returning())
                .get_result(conn)?;
            Ok(membership)
        })
        .await?;
    Ok(web::Json(membership))
}
