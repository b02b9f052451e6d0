//! What the trail says, for people to read.

use anyhow::{Context, Result};
use blog::models::Comment;
use blog::seed::SEEDED;
use serde_json::Value;
use threadline::Audited;

use crate::app::{App, PASSWORD};
use crate::client::Client;
use crate::incident::Incident;
use crate::outside::Database;
use crate::story::Told;
use crate::trail::History;

pub(crate) fn database(database: &Database) -> Result<()> {
    println!("Threadline demo");
    println!(
        "  database     PostgreSQL {}, with the migrations of examples/blog",
        database.ask("SHOW server_version")?
    );
    Ok(())
}

pub(crate) fn history(client: &Client, told: &Told) -> Result<()> {
    let route = history_route(told);
    println!("\nHistory of post {}, newest first: GET {route}", told.tides);
    for version in client.get::<History>(&told.ann, &route)?.versions {
        println!("  {}  {:<6}  {}", version.captured_at, version.op, version.by());
        for change in version.changes() {
            println!("      {change}");
        }
    }
    Ok(())
}

pub(crate) fn as_of(client: &Client, told: &Told) -> Result<()> {
    let route = as_of_route(client, told)?;
    println!("\nThe same post as it was published: GET {route}");
    let answer: Value = client.get(&told.ann, &route)?;
    for field in ["answer", "title", "status", "price", "tags", "meta"] {
        println!("  {field:<8} {}", answer["post"][field]);
    }
    Ok(())
}

/// From Rust, with the model: `Comment::history(conn, id)`.
pub(crate) fn cascade(database: &Database, told: &Told) -> Result<()> {
    println!("\nThe comments that went with post {}: Comment::history(conn, id)", told.gone);
    let conn = &mut database.connect()?;
    for &id in &told.gone_comments {
        for version in Comment::history(conn, id)?.versions {
            let body = version.before.image().or_else(|| version.after.image());
            let body = body.and_then(|row| row.get("body")).context("a comment has a body")?;
            println!("  comment {id}  {}  {body}", version.change.op);
        }
    }
    Ok(())
}

pub(crate) fn next_steps(app: &App, database: &Database, told: &Told, incident: &Incident) {
    let (url, post, [ann, _], jar) = (app.url(), told.tides, SEEDED, "/tmp/threadline-demo.cookies");
    println!(
        "
Your turn, until Ctrl-C. Log in as ann, here or with a browser at {url}/login:
  curl -s -c {jar} {url}/api/login -H 'content-type: application/json' -d '{{\"email\": \"{ann}\", \"password\": \"{PASSWORD}\"}}'
change the post, through the application or past it:
  curl -s -b {jar} -X PATCH {url}/api/posts/{post} -H 'content-type: application/json' -d '{{\"title\": \"Spring tides\"}}' -i
  psql '{}' -c \"UPDATE posts SET price = 0 WHERE id = {post}\"
and look at what happened to it, at what it was before that, and at one of the transactions that changed it (the answer to
the PATCH names its own in x-audit-transaction-id):
  curl -s -b {jar} '{url}/api/posts/{post}/history?limit=2'
  curl -s -b {jar} '{url}/api/posts/{post}/as-of?at={}'
  curl -s -b {jar} '{url}{}'",
        database.url(),
        told.ended_at,
        incident.edit_route
    );
}

pub(crate) fn history_route(told: &Told) -> String {
    format!("/api/posts/{}/history", told.tides)
}

/// The question what the post was right after it had been published.
pub(crate) fn as_of_route(client: &Client, told: &Told) -> Result<String> {
    let history: History = client.get(&told.ann, &history_route(told))?;
    let published = history.versions.into_iter().find(|version| version.has_changed("status"));
    let at = published.context("the history does not show the post being published")?.captured_at;
    Ok(format!("/api/posts/{}/as-of?at={at}", told.tides))
}
