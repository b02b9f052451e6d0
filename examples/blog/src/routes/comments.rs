//! Comments under a post.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, Responder, delete, get, post, web};
use diesel::prelude::*;
use serde::Deserialize;
use threadline_actix::{Audit, audited};

use super::NoParameters;
use crate::error::ApiError;
use crate::models::{Comment, NewComment};
use crate::publishing::posts_of;
use crate::schema::{comments, posts};
use crate::session::SignedIn;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(list).service(create).service(delete);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    body: String,
}

#[get("/posts/{id}/comments")]
async fn list(
    caller: SignedIn,
    audit: Audit,
    post_id: web::Path<i64>,
    _: web::Query<NoParameters>,
) -> Result<impl Responder, ApiError> {
    let comments = audit
        .read(move |conn| {
            let member = caller.member(conn)?;
            let post_id: i64 = posts_of(member).find(*post_id).select(posts::id).first(conn)?;
            let comments = comments::table.filter(comments::post_id.eq(post_id)).order(comments::id);
            Ok::<_, ApiError>(comments.select(Comment::as_select()).load(conn)?)
        })
        .await?;
    Ok(web::Json(comments))
}

#[post("/posts/{id}/comments")]
#[audited(
    action = "comment.written",
    category = "content",
    require_changes,
    record_failures,
    response_header
)]
async fn create(
    caller: SignedIn,
    conn: &mut PgConnection,
    post_id: web::Path<i64>,
    draft: web::Json<Draft>,
) -> Result<impl Responder, ApiError> {
    let member = caller.member(conn)?;
    let comment = NewComment {
        organization_id: member.organization_id,
        post_id: posts_of(member).find(*post_id).select(posts::id).first(conn)?,
        author_id: member.id,
        body: draft.into_inner().body,
    };
    let comment: Comment = diesel::insert_into(comments::table)
        .values(comment)
        .returning(Comment::as_returning())
        .get_result(conn)?;
    Ok((web::Json(comment), StatusCode::CREATED))
}

/// Only who wrote a comment deletes it; that somebody else tried is on record.
#[delete("/comments/{id}")]
#[audited(
    action = "comment.deleted",
    category = "content",
    require_changes,
    record_failures,
    response_header
)]
async fn delete(
    caller: SignedIn,
    conn: &mut PgConnection,
    id: web::Path<i64>,
) -> Result<HttpResponse, ApiError> {
    let member = caller.member(conn)?;
    let own = comments::table.find(*id).filter(comments::author_id.eq(member.id));
    match diesel::delete(own).execute(conn)? {
        0 => Err(ApiError::NotFound),
        _ => Ok(HttpResponse::NoContent().finish()),
    }
}
