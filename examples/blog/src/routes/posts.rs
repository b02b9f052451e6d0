//! Posts: written, changed, published, read and deleted by the members of their organization.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, Responder, delete, get, patch, post, web};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use threadline_actix::{Audit, OpenTransaction, audited};
use uuid::Uuid;

use super::NoParameters;
use crate::error::ApiError;
use crate::models::{NewPost, Post, PostChanges, PostStatus};
use crate::publishing::{self, posts_of};
use crate::schema::posts;
use crate::session::SignedIn;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(list).service(create).service(read).service(update).service(publish).service(delete);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    status: Option<PostStatus>,
}

#[get("/posts")]
async fn list(
    caller: SignedIn,
    audit: Audit,
    listing: web::Query<Listing>,
) -> Result<impl Responder, ApiError> {
    let posts = audit
        .read(move |conn| {
            let member = caller.member(conn)?;
            let mut posts = posts_of(member).select(Post::as_select()).order(posts::id).into_boxed();
            if let Some(status) = listing.status {
                posts = posts.filter(posts::status.eq(status));
            }
            Ok::<_, ApiError>(posts.load(conn)?)
        })
        .await?;
    Ok(web::Json(posts))
}

/// A new post, and where the trail has its creation.
#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    post: Post,
    audit_transaction_id: Uuid,
}

#[post("/posts")]
#[audited(action = "post.created", category = "content", require_changes, record_failures, response_header)]
async fn create(
    caller: SignedIn,
    conn: &mut PgConnection,
    transaction: &OpenTransaction,
    post: web::Json<NewPost>,
) -> Result<impl Responder, ApiError> {
    let member = caller.member(conn)?;
    let post = publishing::write(conn, member, post.into_inner())?;
    Ok((web::Json(Created { post, audit_transaction_id: transaction.id() }), StatusCode::CREATED))
}

/// Counts a view as well: a change that the trail ignores, and no action worth a name.
#[get("/posts/{id}")]
#[audited(capture_only)]
async fn read(
    caller: SignedIn,
    conn: &mut PgConnection,
    id: web::Path<i64>,
    _: web::Query<NoParameters>,
) -> Result<web::Json<Post>, ApiError> {
    let member = caller.member(conn)?;
    let post = diesel::update(posts_of(member).find(*id))
        .set(posts::views.eq(posts::views + 1))
        .returning(Post::as_returning())
        .get_result(conn)?;
    Ok(web::Json(post))
}

#[patch("/posts/{id}")]
#[audited(action = "post.edited", category = "content", record_failures, response_header)]
async fn update(
    caller: SignedIn,
    conn: &mut PgConnection,
    id: web::Path<i64>,
    changes: web::Json<PostChanges>,
) -> Result<web::Json<Post>, ApiError> {
    let member = caller.member(conn)?;
    let post = diesel::update(posts_of(member).find(*id))
        .set(changes.into_inner())
        .returning(Post::as_returning())
        .get_result(conn)?;
    Ok(web::Json(post))
}

/// Publishing twice is a conflict: `require_changes` sees that the second time nothing changes.
#[post("/posts/{id}/publish")]
#[audited(
    action = "post.published",
    verb = "publish",
    category = "content",
    require_changes,
    record_failures,
    response_header
)]
async fn publish(
    caller: SignedIn,
    conn: &mut PgConnection,
    open: &OpenTransaction,
    id: web::Path<i64>,
) -> Result<web::Json<Post>, ApiError> {
    let member = caller.member(conn)?;
    Ok(web::Json(publishing::publish(conn, member, open.context(), *id)?))
}

/// Its comments go with it.
#[delete("/posts/{id}")]
#[audited(action = "post.deleted", category = "content", require_changes, record_failures, response_header)]
async fn delete(
    caller: SignedIn,
    conn: &mut PgConnection,
    id: web::Path<i64>,
) -> Result<HttpResponse, ApiError> {
    let member = caller.member(conn)?;
    match diesel::delete(posts_of(member).find(*id)).execute(conn)? {
        0 => Err(ApiError::NotFound),
        _ => Ok(HttpResponse::NoContent().finish()),
    }
}
