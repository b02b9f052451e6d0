//! Who may do what in an organization.

use actix_web::{Responder, get, put, web};
use diesel::prelude::*;
use serde::Deserialize;
use threadline_actix::{Audit, audited};

use super::NoParameters;
use crate::error::ApiError;
use crate::models::Membership;
use crate::schema::memberships;
use crate::session::SignedIn;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(list).service(change_role);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    role: String,
    /// Why; for the audit trail.
    reason: String,
}

#[get("/members")]
async fn list(
    caller: SignedIn,
    audit: Audit,
    _: web::Query<NoParameters>,
) -> Result<impl Responder, ApiError> {
    let members = audit
        .read(move |conn| {
            let member = caller.member(conn)?;
            let members = memberships::table.filter(memberships::organization_id.eq(member.organization_id));
            let members = members.select(Membership::as_select()).order(memberships::user_id);
            Ok::<_, ApiError>(members.load(conn)?)
        })
        .await?;
    Ok(web::Json(members))
}

/// The reason is the client's, and goes into the trail as it is: what is special about a role is why somebody has it.
#[put("/members/{user_id}")]
#[audited(
    action = "member.role_changed",
    category = "access",
    reason = &role.reason,
    record_failures,
    response_header
)]
async fn change_role(
    caller: SignedIn,
    conn: &mut PgConnection,
    user_id: web::Path<i64>,
    role: web::Json<Role>,
) -> Result<web::Json<Membership>, ApiError> {
    let member = caller.member(conn)?;
    let membership = diesel::update(memberships::table.find((member.organization_id, *user_id)))
        .set(memberships::role.eq(&role.role))
        .returning(Membership::as_returning())
        .get_result(conn)?;
    Ok(web::Json(membership))
}
