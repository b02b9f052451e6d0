//! What people do all day.

use anyhow::Result;
use bigdecimal::BigDecimal;
use blog::models::PostStatus;
use blog::schema::{comments, memberships, notifications, posts, users};
use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use serde_json::json;
use threadline::{Action, Actor};

use super::chance::Chance;
use super::people::{House, Platform, Post, context_of};
use super::scribe::Scribe;

const SUBJECTS: [&str; 12] = [
    "the old pier",
    "a quiet valley",
    "night trains",
    "the spring tide",
    "bread and salt",
    "the north face",
    "ferries",
    "small libraries",
    "the lighthouse",
    "first snow",
    "market day",
    "the long dyke",
];
const FRAMES: [&str; 6] =
    ["On {}", "Notes about {}", "What {} taught us", "Return to {}", "In defence of {}", "A year with {}"];
const SENTENCES: [&str; 10] = [
    "It was quieter than anybody had promised.",
    "The council meets on Thursday to decide.",
    "Two readers wrote to disagree, and both were right.",
    "Nobody could say since when the sign had been there.",
    "The figures are from last year and have not been checked.",
    "Most of what is said about it is not true.",
    "We walked the last mile in the rain.",
    "A second part follows next week.",
    "The photographs are by the author.",
    "It costs less than one would think.",
];
const TAGS: [&str; 8] = ["sea", "mountains", "food", "rail", "history", "weather", "opinion", "photo"];
const REPLIES: [&str; 6] = [
    "Lovely.",
    "I was there in May; it has changed.",
    "The second paragraph is wrong.",
    "More of this, please.",
    "Who took the pictures?",
    "My grandfather built that wall.",
];

/// One thing that somebody does, and what follows from it.
pub(super) fn something(
    scribe: &mut Scribe<'_>,
    chance: &mut Chance,
    platform: &mut Platform,
    at: DateTime<Utc>,
) -> Result<()> {
    let index = chance.below(u32::try_from(platform.houses.len())?) as usize;
    let house = &mut platform.houses[index];
    let Some(&user) = chance.pick(&house.members) else { return Ok(()) };
    match chance.below(100) {
        _ if house.posts.len() < 3 => write(scribe, chance, house, user, at),
        0..16 => write(scribe, chance, house, user, at),
        16..44 => edit(scribe, chance, house, user, at),
        44..56 => publish(scribe, chance, house, user, at),
        56..78 => comment(scribe, chance, house, user, at),
        78..83 => take_a_comment_back(scribe, chance, house, at),
        83..86 => change_address(scribe, chance, user, at),
        86..88 => change_role(scribe, chance, house, at),
        88..90 => fail(scribe, chance, user, at),
        _ => {
            let action = Action::new("session.started").category("session");
            scribe.record(at, &context_of(chance, user), &action)
        }
    }
}

fn text(chance: &mut Chance, sentences: u32) -> String {
    let sentences = (0..sentences).filter_map(|_| chance.pick(&SENTENCES).copied());
    sentences.collect::<Vec<_>>().join(" ")
}

fn price(chance: &mut Chance) -> Option<BigDecimal> {
    (chance.below(4) > 0).then(|| BigDecimal::new((250 + 50 * chance.below(12)).into(), 2))
}

fn write(
    scribe: &mut Scribe<'_>,
    chance: &mut Chance,
    house: &mut House,
    user: i64,
    at: DateTime<Utc>,
) -> Result<()> {
    let subject = chance.pick(&SUBJECTS).copied().unwrap_or_default();
    let title = chance.pick(&FRAMES).copied().unwrap_or_default().replace("{}", subject);
    // One in twelve is long: more than a page shows at once.
    let length = if chance.below(12) == 0 { 60 } else { 2 + chance.below(4) };
    let (body, price) = (text(chance, length), price(chance));
    let tags: Vec<_> = chance.pick(&TAGS).into_iter().map(|tag| Some((*tag).to_owned())).collect();
    let meta = json!({ "section": "features", "layout": { "columns": 1 + chance.below(3), "hero": null } });
    let action = Action::new("post.created").category("content");
    let organization_id = house.id;
    let id = scribe.write(at, &context_of(chance, user), action, |conn| {
        diesel::insert_into(posts::table)
            .values((
                posts::organization_id.eq(organization_id),
                posts::author_id.eq(user),
                (posts::title.eq(title), posts::body.eq(body), posts::tags.eq(tags)),
                (posts::price.eq(price), posts::meta.eq(meta)),
                (posts::created_at.eq(at), posts::updated_at.eq(at)),
            ))
            .returning(posts::id)
            .get_result(conn)
    })?;
    house.posts.push(Post { id, published: false });
    Ok(())
}

fn edit(
    scribe: &mut Scribe<'_>,
    chance: &mut Chance,
    house: &House,
    user: i64,
    at: DateTime<Utc>,
) -> Result<()> {
    let Some(&Post { id, .. }) = chance.pick(&house.posts) else { return Ok(()) };
    let (kind, number) = (chance.below(5), chance.below(4));
    let (sentence, price) = (text(chance, 1), price(chance));
    let tag = chance.pick(&TAGS).map(|tag| (*tag).to_owned());
    let action = Action::new("post.edited").category("content").reason("by its author or an editor");
    scribe.write(at, &context_of(chance, user), action, |conn| {
        let post = diesel::update(posts::table.find(id));
        match kind {
            0 => post
                .set((posts::updated_at.eq(at), posts::price.eq(price), posts::title.eq(title_of(conn, id)? + ", again")))
                .execute(conn),
            1 => post
                .set((posts::updated_at.eq(at), posts::tags.eq(posts::tags.concat(vec![tag]))))
                .execute(conn),
            2 => post
                .set((
                    posts::updated_at.eq(at),
                    posts::meta.eq(json!({ "section": "features", "layout": { "columns": number, "hero": "pier.jpg" }, "checked": true })),
                ))
                .execute(conn),
            _ => {
                // A sentence goes, another comes.
                let body: String = posts::table.find(id).select(posts::body).first(conn)?;
                let kept: Vec<&str> = body.split_inclusive(". ").skip(1).collect();
                let body = format!("{} {sentence}", kept.concat());
                post.set((posts::updated_at.eq(at), posts::body.eq(body.trim()))).execute(conn)
            }
        }
    })?;
    Ok(())
}

fn title_of(conn: &mut PgConnection, id: i64) -> QueryResult<String> {
    let title: String = posts::table.find(id).select(posts::title).first(conn)?;
    Ok(title.trim_end_matches(", again").to_owned())
}

/// A post is shown to readers, and seconds later a job tells the members: under one request and correlation id.
fn publish(
    scribe: &mut Scribe<'_>,
    chance: &mut Chance,
    house: &mut House,
    user: i64,
    at: DateTime<Utc>,
) -> Result<()> {
    let Some(post) = house.posts.iter_mut().find(|post| !post.published) else { return Ok(()) };
    post.published = true;
    let (id, organization_id) = (post.id, house.id);
    let context = context_of(chance, user);
    let action = Action::new("post.published").verb("publish").category("content");
    scribe.write(at, &context, action, |conn| {
        diesel::update(posts::table.find(id))
            .set((posts::status.eq(PostStatus::Published), posts::updated_at.eq(at)))
            .execute(conn)
    })?;
    let job = i64::from(1000 + chance.below(9000));
    let context = context.with_actor(Actor::job(job)).with_job_id(job.to_string());
    let later = at + TimeDelta::milliseconds(i64::from(900 + chance.below(9000)));
    let action = Action::new("members.notified").category("content").reason("a post was published");
    scribe.write(later, &context, action, |conn| {
        let told: Vec<_> = house
            .members
            .iter()
            .filter(|&&member| member != user)
            .map(|&member| {
                (
                    notifications::organization_id.eq(organization_id),
                    notifications::user_id.eq(member),
                    notifications::post_id.eq(id),
                    notifications::created_at.eq(later),
                )
            })
            .collect();
        diesel::insert_into(notifications::table).values(told).execute(conn)
    })?;
    Ok(())
}

fn comment(
    scribe: &mut Scribe<'_>,
    chance: &mut Chance,
    house: &mut House,
    user: i64,
    at: DateTime<Utc>,
) -> Result<()> {
    let (Some(&Post { id, .. }), Some(body)) = (chance.pick(&house.posts), chance.pick(&REPLIES)) else {
        return Ok(());
    };
    let action = Action::new("comment.written").category("content");
    let comment = scribe.write(at, &context_of(chance, user), action, |conn| {
        diesel::insert_into(comments::table)
            .values((
                comments::organization_id.eq(house.id),
                comments::post_id.eq(id),
                comments::author_id.eq(user),
                comments::body.eq(body),
                comments::created_at.eq(at),
            ))
            .returning(comments::id)
            .get_result(conn)
    })?;
    house.comments.push((comment, user));
    Ok(())
}

fn take_a_comment_back(
    scribe: &mut Scribe<'_>,
    chance: &mut Chance,
    house: &mut House,
    at: DateTime<Utc>,
) -> Result<()> {
    let Some((comment, author)) = house.comments.pop() else { return Ok(()) };
    let action = Action::new("comment.deleted").category("content");
    let context = context_of(chance, author);
    scribe.write(at, &context, action, |conn| diesel::delete(comments::table.find(comment)).execute(conn))?;
    Ok(())
}

/// The trail shows that the address changed, and never what it was.
fn change_address(scribe: &mut Scribe<'_>, chance: &mut Chance, user: i64, at: DateTime<Utc>) -> Result<()> {
    let address = format!("user{user}.{}@mail.example", chance.below(1_000_000));
    let action = Action::new("user.email_changed").category("accounts");
    scribe.write(at, &context_of(chance, user), action, |conn| {
        // Not of those the demo logs in.
        let user = users::table.filter(users::id.eq(user).and(users::password_hash.eq("!")));
        diesel::update(user).set(users::email.eq(address)).execute(conn)
    })?;
    Ok(())
}

fn change_role(scribe: &mut Scribe<'_>, chance: &mut Chance, house: &House, at: DateTime<Utc>) -> Result<()> {
    let (Some(&owner), Some(&member)) = (house.members.first(), house.members.last()) else { return Ok(()) };
    let role = chance.pick(&["writer", "reader", "owner"]).copied().unwrap_or("writer");
    let action =
        Action::new("member.role_changed").category("accounts").reason("the desk is being reorganised");
    scribe.write(at, &context_of(chance, owner), action, |conn| {
        diesel::update(memberships::table.find((house.id, member)))
            .set(memberships::role.eq(role))
            .execute(conn)
    })?;
    Ok(())
}

fn fail(scribe: &mut Scribe<'_>, chance: &mut Chance, user: i64, at: DateTime<Utc>) -> Result<()> {
    let (name, reason) = chance
        .pick(&[
            ("post.published", "a post without a text cannot be published"),
            ("comment.deleted", "not found"),
            ("post.edited", "a value is not allowed"),
        ])
        .copied()
        .unwrap_or_default();
    let action = Action::new(name).category("content").failed(reason);
    scribe.record(at, &context_of(chance, user), &action)
}
