//! Logging in and out. Neither changes a row, so the trail has them as actions alone.

use actix_session::Session;
use actix_web::web;
use diesel::prelude::*;
use serde::Deserialize;
use threadline_actix::{Action, Actor, Audit};

use crate::error::ApiError;
use crate::schema::users;
use crate::{password, session};

/// What somebody claims to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    email: String,
    password: String,
}

/// Begins a session of the user with this address and password; returns the user's id.
pub(crate) async fn log_in(
    audit: &Audit,
    session: &Session,
    credentials: Credentials,
) -> Result<i64, ApiError> {
    let Credentials { email, password } = credentials;
    let user: Option<(i64, String)> = audit
        .read(move |conn| {
            let user = users::table.filter(users::email.eq(email)).select((users::id, users::password_hash));
            Ok::<_, ApiError>(user.first(conn).optional()?)
        })
        .await?;
    let (user_id, hash) = user.unzip();
    let is_right = web::block(move || password::verify(&password, hash.as_deref())).await?;

    match user_id.filter(|_| is_right) {
        Some(user_id) => {
            record(audit, Actor::user(user_id), Action::new("session.started")).await?;
            session::begin(session, user_id)?;
            Ok(user_id)
        }
        None => {
            // Which of the two was wrong is nobody's business, nor who was meant.
            let refused = Action::new("session.refused").failed("wrong e-mail address or password");
            record(audit, Actor::anonymous(), refused).await?;
            Err(ApiError::WrongCredentials)
        }
    }
}

/// Ends the session, if there is one.
pub(crate) async fn log_out(audit: &Audit, session: &Session) -> Result<(), ApiError> {
    if let Some(actor) = audit.context().actor() {
        record(audit, actor.clone(), Action::new("session.ended")).await?;
    }
    session.purge();
    Ok(())
}

/// Records an action of an actor's that changes nothing.
async fn record(audit: &Audit, actor: Actor, action: Action) -> Result<(), ApiError> {
    let context = audit.context().clone().with_actor(actor);
    audit.record_action(context, action.category("session")).await?;
    Ok(())
}
