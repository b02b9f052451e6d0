//! What a member was told; the worker writes it.

use actix_web::{Responder, get, web};
use diesel::prelude::*;
use threadline_actix::Audit;

use super::NoParameters;
use crate::error::ApiError;
use crate::models::Notification;
use crate::schema::notifications;
use crate::session::SignedIn;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(list);
}

#[get("/notifications")]
async fn list(
    caller: SignedIn,
    audit: Audit,
    _: web::Query<NoParameters>,
) -> Result<impl Responder, ApiError> {
    let notifications = audit
        .read(move |conn| {
            let member = caller.member(conn)?;
            let own = notifications::table.filter(notifications::user_id.eq(member.id));
            Ok::<_, ApiError>(own.select(Notification::as_select()).order(notifications::id).load(conn)?)
        })
        .await?;
    Ok(web::Json(notifications))
}
