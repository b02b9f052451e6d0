//! Comments under a post.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, Responder, delete, get, post, web};
use diesel::prelude::*;
use serde::Deserialize;

use super::NoParameters;
use super::posts::posts_of;
use crate::error::ApiError;
use crate::models::{Comment, NewComment};
use crate::schema::{comments, posts};
use crate::session::Session;

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
    session: Session,
    post_id: web::Path<i64>,
    _: web::Query<NoParameters>,
) -> Result<impl Responder, ApiError> {
    let comments = session
        .read(move |conn, member| {
            let post_id: i64 = posts_of(member).find(*post_id).select(posts::id).first(conn)?;
            let comments = comments::table.filter(comments::post_id.eq(post_id)).order(comments::id);
            Ok(comments.select(Comment::as_select()).load(conn)?)
        })
        .await?;
    Ok(web::Json(comments))
}

#[post("/posts/{id}/comments")]
async fn create(
    session: Session,
    post_id: web::Path<i64>,
    draft: web::Json<Draft>,
) -> Result<impl Responder, ApiError> {
    let comment = session
        .write(move |conn, member| {
            let comment = NewComment {
                organization_id: member.organization_id,
                post_id: posts_of(member).find(*post_id).select(posts::id).first(conn)?,
                author_id: member.id,
                body: draft.into_inner().body,
            };
            let comment = diesel::insert_into(comments::table)
                .values(comment)
                .returning(Comment::as_returning())
                .get_result(conn)?;
            Ok(comment)
        })
        .await?;
    Ok((web::Json(comment), StatusCode::CREATED))
}

/// Only who wrote a comment deletes it.
#[delete("/comments/{id}")]
async fn delete(session: Session, id: web::Path<i64>) -> Result<impl Responder, ApiError> {
    session
        .write(move |conn, member| {
            let own = comments::table.find(*id).filter(comments::author_id.eq(member.id));
            match diesel::delete(own).execute(conn)? {
                0 => Err(ApiError::NotFound),
                _ => Ok(()),
            }
        })
        .await?;
    Ok(HttpResponse::NoContent())
}
