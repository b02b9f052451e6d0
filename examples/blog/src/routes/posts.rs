//! Posts: written, changed, published, read and deleted by the members of their organization.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, Responder, delete, get, patch, post, web};
use diesel::prelude::*;
use serde::Deserialize;

use super::NoParameters;
use crate::error::ApiError;
use crate::models::{NewPost, Post, PostChanges, PostStatus};
use crate::schema::posts;
use crate::session::{Member, Session};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(list).service(create).service(read).service(update).service(publish).service(delete);
}

/// The posts `member` may see and change.
#[diesel::dsl::auto_type(no_type_alias)]
pub(super) fn posts_of(member: Member) -> _ {
    let organization_id: i64 = member.organization_id;
    posts::table.filter(posts::organization_id.eq(organization_id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    status: Option<PostStatus>,
}

#[get("/posts")]
async fn list(session: Session, listing: web::Query<Listing>) -> Result<impl Responder, ApiError> {
    let posts = session
        .read(move |conn, member| {
            let mut posts = posts_of(member).select(Post::as_select()).order(posts::id).into_boxed();
            if let Some(status) = listing.status {
                posts = posts.filter(posts::status.eq(status));
            }
            Ok(posts.load(conn)?)
        })
        .await?;
    Ok(web::Json(posts))
}

#[post("/posts")]
async fn create(session: Session, post: web::Json<NewPost>) -> Result<impl Responder, ApiError> {
    let post = session
        .write(move |conn, member| {
            let whose = (posts::organization_id.eq(member.organization_id), posts::author_id.eq(member.id));
            let post = diesel::insert_into(posts::table)
                .values((post.into_inner(), whose))
                .returning(Post::as_returning())
                .get_result(conn)?;
            Ok(post)
        })
        .await?;
    Ok((web::Json(post), StatusCode::CREATED))
}

/// Counts a view as well: a change that the trail ignores.
#[get("/posts/{id}")]
async fn read(
    session: Session,
    id: web::Path<i64>,
    _: web::Query<NoParameters>,
) -> Result<impl Responder, ApiError> {
    let post = session
        .write(move |conn, member| {
            let post = diesel::update(posts_of(member).find(*id))
                .set(posts::views.eq(posts::views + 1))
                .returning(Post::as_returning())
                .get_result(conn)?;
            Ok(post)
        })
        .await?;
    Ok(web::Json(post))
}

#[patch("/posts/{id}")]
async fn update(
    session: Session,
    id: web::Path<i64>,
    changes: web::Json<PostChanges>,
) -> Result<impl Responder, ApiError> {
    let post = session
        .write(move |conn, member| {
            let post = diesel::update(posts_of(member).find(*id))
                .set(changes.into_inner())
                .returning(Post::as_returning())
                .get_result(conn)?;
            Ok(post)
        })
        .await?;
    Ok(web::Json(post))
}

/// Publishing twice is no error, and changes nothing the second time.
#[post("/posts/{id}/publish")]
async fn publish(session: Session, id: web::Path<i64>) -> Result<impl Responder, ApiError> {
    let post = session
        .write(move |conn, member| {
            let post = diesel::update(posts_of(member).find(*id))
                .set(posts::status.eq(PostStatus::Published))
                .returning(Post::as_returning())
                .get_result(conn)?;
            Ok(post)
        })
        .await?;
    Ok(web::Json(post))
}

/// Its comments go with it.
#[delete("/posts/{id}")]
async fn delete(session: Session, id: web::Path<i64>) -> Result<impl Responder, ApiError> {
    session
        .write(move |conn, member| match diesel::delete(posts_of(member).find(*id)).execute(conn)? {
            0 => Err(ApiError::NotFound),
            _ => Ok(()),
        })
        .await?;
    Ok(HttpResponse::NoContent())
}
