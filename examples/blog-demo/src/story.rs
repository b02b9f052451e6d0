//! The traffic: users of two organizations, and people who go to the database directly.

use std::fmt::Display;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use blog::seed::SEEDED;
use serde_json::{Value, json};

use crate::app::PASSWORD;
use crate::client::{Answer, Client, User};
use crate::outside::Database;

/// What was done, as far as it has to be known to ask about it.
pub(crate) struct Told {
    /// When it began, by the database's clock, as RFC 3339.
    pub(crate) began_at: String,
    /// When it was over.
    pub(crate) ended_at: String,
    pub(crate) ann: User,
    pub(crate) bob: User,
    pub(crate) sam: User,
    /// A post of bob's and ann's organization.
    pub(crate) tides: i64,
    /// A post of sam's.
    pub(crate) ridge: i64,
    /// A post that was deleted, with its comments.
    pub(crate) gone: i64,
    pub(crate) gone_comments: Vec<i64>,
    /// What must not be in the trail: addresses, a password, its hash.
    pub(crate) secrets: Vec<String>,
    /// How many changes the trail should have.
    pub(crate) changes: usize,
}

/// How often the post is read; counted by the application, ignored by the trail.
pub(crate) const READS: usize = 3;

pub(crate) fn tell(client: &Client, database: &Database) -> Result<Told> {
    let script = Script { client, database };
    let began_at = database.now()?;

    println!("\nTraffic through the application");
    // The two users the example's migrations seed.
    let [ann, sam] = SEEDED;
    let guess = json!({ "email": ann, "password": "123456" });
    let guessed = client.request_of_nobody("POST", "/api/login", &guess)?;
    script.show("somebody", "POST", "/api/login", guessed.status, "guesses ann's password");
    let ann = script.logs_in("ann", ann)?;
    let sam = script.logs_in("sam", sam)?;
    // A kept database knows the addresses of earlier runs, and no two users share one.
    let address = |name: &str| format!("{name}.{}@harbour.example", std::process::id());
    let secrets = [address("bob"), address("robert"), PASSWORD.to_owned()];
    let bob = json!({ "name": "bob", "email": secrets[0], "password": secrets[2] });
    let bob =
        script.does(&ann, "POST", "/api/users", &bob, "invites bob, who gets a user and a membership")?;
    let role = format!("/api/members/{}", id_of(&bob)?);
    let owner = json!({ "role": "owner", "reason": "runs the sea pages from now on" });
    script.does(&ann, "PUT", &role, &owner, "makes bob an owner, and says why")?;
    let bob = script.logs_in("bob", &secrets[0])?;

    let post = json!({ "title": "Tides", "body": "Twice a day.", "tags": ["sea"], "price": "4.50", "meta": { "section": "nature" } });
    let tides = id_of(&script.does(&bob, "POST", "/api/posts", &post, "writes a post")?)?;
    let tides_route = format!("/api/posts/{tides}");
    let edit = json!({ "title": "High tides", "price": "5.00" });
    script.does(&ann, "PATCH", &tides_route, &edit, "gives it another title and price")?;
    let publish = format!("{tides_route}/publish");
    script.does(&bob, "POST", &publish, &Value::Null, "publishes it; a job is to tell the others")?;
    let notified = script.wait_for_the_job(&ann, tides)?;

    let post = json!({ "title": "The ridge", "body": "Up there.", "price": "10.00" });
    let ridge =
        id_of(&script.does(&sam, "POST", "/api/posts", &post, "writes a post, in another organization")?)?;
    script.does(&sam, "PATCH", &tides_route, &edit, "may not touch bob's")?;

    let post = json!({ "title": "Ebb", "body": "", "price": "2.00" });
    let ebb = id_of(&script.does(&bob, "POST", "/api/posts", &post, "writes a post, but no text yet")?)?;
    let publish = format!("/api/posts/{ebb}/publish");
    script.does(&bob, "POST", &publish, &Value::Null, "cannot publish that: all of it is undone")?;

    let post = json!({ "title": "A rumour", "body": "They say.", "price": "1.00" });
    let gone = id_of(&script.does(&ann, "POST", "/api/posts", &post, "writes a post that will not last")?)?;
    let comment = |body: &str| json!({ "body": body });
    let on_gone = format!("/api/posts/{gone}/comments");
    let gone_comments = [
        script.does(&bob, "POST", &on_gone, &comment("Is it true?"), "comments")?,
        script.does(&ann, "POST", &on_gone, &comment("I doubt it."), "answers")?,
    ];
    let on_tides = format!("{tides_route}/comments");
    script.does(&ann, "POST", &on_tides, &comment("Lovely."), "comments")?;
    for _ in 0..READS {
        script.does(&bob, "GET", &tides_route, &Value::Null, "reads it: a view, not worth a record")?;
    }
    let route = format!("/api/users/{}", bob.id);
    script.does(&bob, "PATCH", &route, &json!({ "email": secrets[1] }), "has a new address")?;
    let hash = database.ask(&format!("SELECT password_hash FROM users WHERE id = {}", bob.id))?;
    ensure!(hash.starts_with("$argon2"), "the application stored `{hash}` for a password");

    println!("\nTraffic past the application, with psql");
    script.runs(&format!("UPDATE posts SET price = round(price * 1.10, 2) WHERE id >= {tides};"))?;
    script.runs(&format!(
        "BEGIN;\n\
         SET LOCAL threadline.actor_ref = '{{\"type\": \"admin\", \"id\": \"night-shift\"}}';\n\
         UPDATE posts SET tags = tags || '{{featured}}' WHERE id = {tides};\n\
         COMMIT;"
    ))?;
    script.runs(&format!("UPDATE users SET password_hash = '!' WHERE id = {};", bob.id))?;
    let rows: String =
        ["One.", "Two.", "Three."].map(|body| format!("1\t{tides}\t{}\t{body}\n", ann.id)).concat();
    script
        .runs(&format!("COPY comments (organization_id, post_id, author_id, body) FROM stdin;\n{rows}\\."))?;
    script.runs(&format!("DELETE FROM posts WHERE id = {gone};"))?;

    Ok(Told {
        began_at,
        ended_at: database.now()?,
        ann,
        bob,
        sam,
        tides,
        ridge,
        gone,
        gone_comments: gone_comments.iter().map(id_of).collect::<Result<_>>()?,
        secrets: secrets.into_iter().chain([hash]).collect(),
        // Through the application: 2 for the invitation, 1 for the role, 6 on posts, the notifications, 3 comments, 1
        // address. Past it: 4 prices, 1 tag, 3 copied comments, and 3 for the deleted post with its comments.
        changes: 2 + 1 + 6 + notified + 3 + 1 + 4 + 1 + 3 + 3,
    })
}

/// A login that is not part of the story; the user with their session.
pub(crate) fn log_in(client: &Client, name: &str, email: &str) -> Result<User> {
    let credentials = json!({ "email": email, "password": PASSWORD });
    let answer = client.request_of_nobody("POST", "/api/login", &credentials)?;
    user_of(name, email, answer)
}

fn user_of(name: &str, email: &str, answer: Answer) -> Result<User> {
    let session = answer.cookie.with_context(|| format!("{email} was not let in: {}", answer.body))?;
    let id = serde_json::from_str::<Value>(&answer.body)?["user_id"].as_i64().context("the user's id")?;
    Ok(User { id, name: name.to_owned(), session })
}

struct Script<'a> {
    client: &'a Client,
    database: &'a Database,
}

impl Script<'_> {
    /// One request, printed with its status; the body of the answer.
    fn does(&self, user: &User, method: &str, route: &str, body: &Value, what: &str) -> Result<Value> {
        let answer = self.client.request(user, method, route, body)?;
        self.show(&format!("{} (user {})", user.name, user.id), method, route, answer.status, what);
        ensure!(answer.status < 500, "{method} {route} answered {}", answer.status);
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// A login, printed; the user with their session.
    fn logs_in(&self, name: &str, email: &str) -> Result<User> {
        let credentials = json!({ "email": email, "password": PASSWORD });
        let answer = self.client.request_of_nobody("POST", "/api/login", &credentials)?;
        self.show(name, "POST", "/api/login", answer.status, "logs in");
        user_of(name, email, answer)
    }

    /// Waits until the user is told of the post; how many others are.
    fn wait_for_the_job(&self, user: &User, post: i64) -> Result<usize> {
        let is_told = |notification: &Value| notification["post_id"] == post;
        for _ in 0..100 {
            let notifications: Vec<Value> = self.client.get(user, "/api/notifications")?;
            if notifications.iter().any(is_told) {
                self.show("the worker", "", "", "", "tells them");
                let members: Vec<Value> = self.client.get(user, "/api/members")?;
                // All but the author.
                return Ok(members.len() - 1);
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("the job has not run after ten seconds")
    }

    fn show(&self, who: &str, method: &str, route: &str, outcome: impl Display, what: &str) {
        println!("  {who:<12} {method:<6} {route:<21} {outcome:<3}  {what}");
    }

    /// One script of psql's, printed with the command tag it ends in.
    fn runs(&self, statements: &str) -> Result<()> {
        let tag = self.database.run(statements)?;
        println!("  psql {}", statements.replace('\n', "\n       "));
        println!("       -> {tag}");
        Ok(())
    }
}

fn id_of(row: &Value) -> Result<i64> {
    row["id"].as_i64().with_context(|| format!("the application answered {row}"))
}
