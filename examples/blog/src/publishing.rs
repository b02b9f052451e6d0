//! What is done with posts, whether the API or a page asks for it.

use diesel::prelude::*;
use threadline_actix::AuditContext;

use crate::error::ApiError;
use crate::jobs::{self, Task};
use crate::models::{NewPost, Post, PostStatus};
use crate::schema::posts;
use crate::session::Member;

/// The posts `member` may see and change.
#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn posts_of(member: Member) -> _ {
    let organization_id: i64 = member.organization_id;
    posts::table.filter(posts::organization_id.eq(organization_id))
}

/// Adds a draft of the member's.
pub(crate) fn write(conn: &mut PgConnection, member: Member, post: NewPost) -> Result<Post, ApiError> {
    let whose = (posts::organization_id.eq(member.organization_id), posts::author_id.eq(member.id));
    let post = diesel::insert_into(posts::table).values((post, whose)).returning(Post::as_returning());
    Ok(post.get_result(conn)?)
}

/// Shows a post to readers, and leaves telling the members to a job, which gets the request's context with it.
///
/// A post without a text is refused, when it is too late: with the transaction all of it is undone.
pub(crate) fn publish(
    conn: &mut PgConnection,
    member: Member,
    context: &AuditContext,
    id: i64,
) -> Result<Post, ApiError> {
    let post: Post = diesel::update(posts_of(member).find(id))
        .set(posts::status.eq(PostStatus::Published))
        .returning(Post::as_returning())
        .get_result(conn)?;
    jobs::schedule(conn, context, Task::NotifyMembers { post_id: id })?;
    if post.body.trim().is_empty() {
        return Err(ApiError::BadRequest("a post without a text cannot be published".into()));
    }
    Ok(post)
}
