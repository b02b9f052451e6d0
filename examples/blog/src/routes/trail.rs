//! What happened to a row and what it once was, for the members of the organization it belongs to.

mod view;

use actix_web::{Responder, get, web};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde::Deserialize;
use threadline::{Audited, History, HistoryLimit};
use threadline_actix::Audit;

use self::view::{AsOfView, HistoryView};
use crate::error::ApiError;
use crate::models::{Membership, Post, User};
use crate::schema::{memberships, posts, users};
use crate::session::{Member, SignedIn};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(post_history).service(post_as_of).service(user_history).service(membership_history);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    /// How many versions, the newest ones.
    limit: Option<u32>,
}

impl Window {
    /// At most a thousand: a client does not decide how much memory an answer takes.
    fn limit(&self) -> HistoryLimit {
        self.limit.map_or_else(HistoryLimit::default, |limit| HistoryLimit::Newest(limit.clamp(1, 1000)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instant {
    /// RFC 3339; in a URL the `+` of an offset is written `%2B`.
    at: String,
}

impl Instant {
    fn parse(&self) -> Result<DateTime<Utc>, ApiError> {
        self.at
            .parse()
            .map_err(|_| ApiError::BadRequest("`at` is not a time such as 2026-01-31T12:00:00Z".into()))
    }
}

#[get("/posts/{id}/history")]
async fn post_history(
    caller: SignedIn,
    audit: Audit,
    id: web::Path<i64>,
    window: web::Query<Window>,
) -> Result<impl Responder, ApiError> {
    let history = audit
        .read(move |conn| {
            let member = caller.member(conn)?;
            let history = Post::history_up_to(conn, *id, window.limit())?;
            check_owner(member, live_post(conn, *id)?, &history)?;
            Ok::<_, ApiError>(HistoryView::from(history))
        })
        .await?;
    Ok(web::Json(history))
}

#[get("/posts/{id}/as-of")]
async fn post_as_of(
    caller: SignedIn,
    audit: Audit,
    id: web::Path<i64>,
    instant: web::Query<Instant>,
) -> Result<impl Responder, ApiError> {
    let at = instant.parse()?;
    let post = audit
        .read(move |conn| {
            let member = caller.member(conn)?;
            let newest = Post::history_up_to(conn, *id, HistoryLimit::Newest(1))?;
            check_owner(member, live_post(conn, *id)?, &newest)?;
            Ok::<_, ApiError>(Post::as_of(conn, *id, at)?)
        })
        .await?;
    Ok(web::Json(AsOfView { at, post }))
}

#[get("/users/{id}/history")]
async fn user_history(
    caller: SignedIn,
    audit: Audit,
    id: web::Path<i64>,
    window: web::Query<Window>,
) -> Result<impl Responder, ApiError> {
    let history = audit
        .read(move |conn| {
            let member = caller.member(conn)?;
            let live = users::table.find(*id).select(users::organization_id).first(conn).optional()?;
            let history = User::history_up_to(conn, *id, window.limit())?;
            check_owner(member, live, &history)?;
            Ok::<_, ApiError>(HistoryView::from(history))
        })
        .await?;
    Ok(web::Json(history))
}

/// The key is composite: the history is asked for with a tuple.
#[get("/members/{user_id}/history")]
async fn membership_history(
    caller: SignedIn,
    audit: Audit,
    user_id: web::Path<i64>,
    window: web::Query<Window>,
) -> Result<impl Responder, ApiError> {
    let history = audit
        .read(move |conn| {
            let member = caller.member(conn)?;
            let key = (member.organization_id, *user_id);
            let live = memberships::table.find(key).select(memberships::organization_id).first(conn);
            let history = Membership::history_up_to(conn, key, window.limit())?;
            check_owner(member, live.optional()?, &history)?;
            Ok::<_, ApiError>(HistoryView::from(history))
        })
        .await?;
    Ok(web::Json(history))
}

fn live_post(conn: &mut PgConnection, id: i64) -> QueryResult<Option<i64>> {
    posts::table.find(id).select(posts::organization_id).first(conn).optional()
}

/// Fails unless the row belongs to the organization of `member`, or did when it was last changed.
///
/// A deleted row has only the trail to say whose it was: the `scope` its table declares.
fn check_owner<M>(member: Member, live: Option<i64>, history: &History<M>) -> Result<(), ApiError> {
    let last = || history.versions.first()?.change.scope.clone();
    let owner = live.map(|organization_id| organization_id.to_string()).or_else(last);
    if owner == Some(member.organization_id.to_string()) { Ok(()) } else { Err(ApiError::NotFound) }
}
