//! What is out of the ordinary: imports, mistakes and their repair, and writes past the application.

use anyhow::{Context, Result};
use blog::schema::{notifications, posts};
use chrono::{DateTime, TimeDelta, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use serde_json::json;
use threadline::{Action, Actor, ActorId, AuditContext};

use super::chance::Chance;
use super::people::Platform;
use super::scribe::Scribe;

/// What runs at night, by the day of the history.
pub(super) fn of_the_night(
    day: u64,
    scribe: &mut Scribe<'_>,
    chance: &mut Chance,
    platform: &Platform,
    at: DateTime<Utc>,
) -> Result<()> {
    match day {
        4 => import(scribe, platform, at)?,
        10 => {
            // Nobody is named: all the trail has is the role and the program.
            let summit = platform.named("Summit Review")?.id;
            let raise = format!(
                "UPDATE posts SET price = round(price * 1.05, 2), updated_at = '{at}' WHERE organization_id = {summit} AND price IS NOT NULL"
            );
            scribe.past_the_application(at, &raise)?;
        }
        16 => scribe.past_the_application(
            at,
            "SET LOCAL threadline.actor_ref = '{\"type\": \"admin\", \"id\": \"night-shift\"}'; TRUNCATE notifications",
        )?,
        _ => {}
    }
    // Every night: what is older than a week is read or never will be.
    let keeper = AuditContext::new(Actor::service_account(ActorId::from_static("housekeeping")))
        .with_job_id(format!("housekeeping-{}", at.format("%Y-%m-%d")))
        .with_correlation_id(chance.id());
    let action = Action::new("notifications.expired").category("housekeeping").reason("older than a week");
    scribe
        .write(at + TimeDelta::minutes(45), &keeper, action, |conn| {
            let old = notifications::table.filter(notifications::created_at.lt(at - TimeDelta::days(7)));
            diesel::delete(old).execute(conn)
        })
        .map(drop)
}

/// What goes wrong when everybody has left, by the day of the history.
pub(super) fn of_the_evening(
    day: u64,
    scribe: &mut Scribe<'_>,
    platform: &mut Platform,
    at: DateTime<Utc>,
) -> Result<()> {
    match day {
        19 => write_that_escapes(scribe, platform, at),
        22 => posts_deleted_by_mistake(scribe, platform, at),
        _ => Ok(()),
    }
}

/// A newspaper's archive comes in at night: hundreds of rows in one transaction, a second pass that corrects some of them, and
/// a third that fails. One correlation id is on all three.
fn import(scribe: &mut Scribe<'_>, platform: &Platform, at: DateTime<Utc>) -> Result<()> {
    let lakeside = platform.named("Lakeside Tribune")?;
    let (organization_id, author_id) = (lakeside.id, *lakeside.members.first().context("somebody is there")?);
    let context = AuditContext::new(Actor::service_account(ActorId::from_static("importer")))
        .with_job_id("import-77")
        .with_correlation_id("import-lakeside-archive")
        .with_meta("source", "archive-1998.csv");
    let action = |name: &str| Action::new(name).category("import");
    scribe.write(at, &context, action("posts.imported").reason("the archive of 1998"), |conn| {
        let rows: Vec<_> = (1..=400)
            .map(|number| {
                (
                    posts::organization_id.eq(organization_id),
                    posts::author_id.eq(author_id),
                    posts::title.eq(format!("Archive 1998, no. {number}")),
                    posts::body.eq(format!("Page {} of the bound volume.", number / 8 + 1)),
                    posts::meta.eq(json!({ "section": "archive", "volume": 1998, "number": number })),
                    posts::created_at.eq(at),
                    posts::updated_at.eq(at),
                )
            })
            .collect();
        diesel::insert_into(posts::table).values(rows).execute(conn)
    })?;
    let later = at + TimeDelta::minutes(6);
    scribe.write(later, &context, action("posts.tagged").reason("the archive had no tags"), |conn| {
        conn.batch_execute(&format!(
            "UPDATE posts SET tags = '{{history}}', updated_at = '{later}' WHERE organization_id = {organization_id} AND meta @> '{{\"volume\": 1998}}' AND id % 4 = 0"
        ))
    })?;
    let failed = action("posts.illustrated").failed("the image server did not answer");
    scribe.record(at + TimeDelta::minutes(9), &context, &failed)
}

/// A row is changed where capture does not see it; the next change that is captured shows that there is a gap.
fn write_that_escapes(scribe: &mut Scribe<'_>, platform: &Platform, at: DateTime<Utc>) -> Result<()> {
    let harbour = platform.named("Harbour Weekly")?;
    let (post, owner) = (harbour.posts.first(), harbour.members.first());
    let (post, &owner) = (post.context("there are posts by then")?.id, owner.context("somebody is there")?);
    scribe.behind_the_back_of_capture(&format!("UPDATE posts SET price = 99 WHERE id = {post}"))?;
    let action = Action::new("post.edited").category("content").reason("who made it cost 99?");
    let context = AuditContext::new(Actor::user(owner)).with_correlation_id("ticket-4690");
    scribe.write(at, &context, action, |conn| {
        conn.batch_execute(&format!("UPDATE posts SET price = 4.50, updated_at = '{at}' WHERE id = {post}"))
    })
}

/// An editor cleans up, and takes what was published along; an hour later it is put back. Both under one ticket.
fn posts_deleted_by_mistake(
    scribe: &mut Scribe<'_>,
    platform: &mut Platform,
    at: DateTime<Utc>,
) -> Result<()> {
    let harbour = platform.houses.iter_mut().find(|house| house.name == "Harbour Weekly");
    let harbour = harbour.context("it is always there")?;
    let editor = *harbour.members.get(1).context("more than one is there")?;
    let id = harbour.id;
    let gone: Vec<i64> = harbour.posts.iter().rev().take(6).map(|post| post.id).collect();
    let context = AuditContext::new(Actor::user(editor)).with_correlation_id("ticket-4711");
    let action = Action::new("posts.cleaned_up").category("content").reason("drafts nobody needs");
    let kept: Vec<blog::models::Post> = scribe.write(at, &context, action, |conn| {
        let rows = posts::table.filter(posts::id.eq_any(&gone));
        let kept = rows.select(blog::models::Post::as_select()).order(posts::id).load(conn)?;
        diesel::delete(posts::table.filter(posts::id.eq_any(&gone))).execute(conn)?;
        Ok(kept)
    })?;
    // Their comments went with them.
    harbour.comments.clear();
    let later = at + TimeDelta::minutes(70);
    let context = AuditContext::new(Actor::admin(ActorId::from_static("night-shift")))
        .with_correlation_id("ticket-4711");
    let action = Action::new("posts.restored").category("repair").reason("they were published");
    scribe.write(later, &context, action, |conn| {
        let rows: Vec<_> = kept
            .into_iter()
            .map(|post| {
                (
                    (
                        posts::id.eq(post.id),
                        posts::organization_id.eq(id),
                        posts::author_id.eq(post.author_id),
                    ),
                    (posts::title.eq(post.title), posts::body.eq(post.body), posts::status.eq(post.status)),
                    (posts::tags.eq(post.tags), posts::price.eq(post.price), posts::meta.eq(post.meta)),
                    (posts::created_at.eq(post.created_at), posts::updated_at.eq(later)),
                )
            })
            .collect();
        diesel::insert_into(posts::table).values(rows).execute(conn)
    })?;
    Ok(())
}
