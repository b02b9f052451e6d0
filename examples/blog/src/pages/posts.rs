//! The posts of an organization, and the forms to write one and to publish it.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, get, post, web};
use askama::Template;
use diesel::prelude::*;
use serde::Deserialize;
use threadline_actix::{Audit, OpenTransaction, audited};

use super::error::PageError;
use super::{page, see_other};
use crate::audit::staff_member;
use crate::models::{NewPost, Post, PostStatus};
use crate::publishing::{self, posts_of};
use crate::schema::posts;
use crate::session::SignedIn;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(list).service(write).service(publish);
}

#[derive(Template)]
#[template(path = "posts.html")]
struct PostsPage {
    posts: Vec<Post>,
    /// Whether a link leads to the pages at `/audit`.
    may_audit: bool,
}

#[derive(Deserialize)]
struct Draft {
    title: String,
    body: String,
}

#[get("")]
async fn list(caller: SignedIn, audit: Audit) -> Result<HttpResponse, PageError> {
    let (posts, may_audit) = audit
        .read(move |conn| {
            let member = caller.member(conn)?;
            let posts = posts_of(member).select(Post::as_select()).order(posts::id.desc()).load(conn)?;
            Ok::<_, PageError>((posts, staff_member(conn, member.id)?.is_some()))
        })
        .await?;
    Ok(page(StatusCode::OK, &PostsPage { posts, may_audit }))
}

#[post("")]
#[audited(action = "post.created", category = "content", require_changes, record_failures)]
async fn write(
    caller: SignedIn,
    conn: &mut PgConnection,
    draft: web::Form<Draft>,
) -> Result<HttpResponse, PageError> {
    let member = caller.member(conn)?;
    let Draft { title, body } = draft.into_inner();
    publishing::write(conn, member, NewPost::new(title, body))?;
    Ok(see_other("/posts"))
}

#[post("/{id}/publish")]
#[audited(
    action = "post.published",
    verb = "publish",
    category = "content",
    require_changes,
    record_failures
)]
async fn publish(
    caller: SignedIn,
    conn: &mut PgConnection,
    open: &OpenTransaction,
    id: web::Path<i64>,
) -> Result<HttpResponse, PageError> {
    let member = caller.member(conn)?;
    publishing::publish(conn, member, open.context(), *id)?;
    Ok(see_other("/posts"))
}
