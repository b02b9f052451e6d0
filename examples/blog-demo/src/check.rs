//! Whether the trail says what happened, no more and no less.

use std::fmt::Debug;

use anyhow::Result;
use serde_json::Value;

use crate::client::Client;
use crate::incident::Incident;
use crate::outside::Database;
use crate::report::{as_of_route, history_route};
use crate::story::{READS, Told};
use crate::surface;
use crate::trail::{Bundle, History, TableChange, Version};

/// Checks all there is to check, printing each claim; whether all hold.
pub(crate) fn everything(
    client: &Client,
    database: &Database,
    told: &Told,
    incident: &Incident,
) -> Result<bool> {
    println!("\nChecks");
    let mut checks = Checks { failed: 0 };
    history_is_complete(&mut checks, client, told)?;
    past_is_answered(&mut checks, client, told)?;
    trail_is_complete(&mut checks, database, told)?;
    incident_is_told(&mut checks, told, incident);
    secrets_are_kept(&mut checks, client, database, told)?;
    organizations_are_apart(&mut checks, client, told, incident)?;
    surface::check(&mut checks, client, database, told)?;
    match checks.failed {
        0 => println!("all checks passed"),
        failed => println!("{failed} checks FAILED"),
    }
    Ok(checks.failed == 0)
}

fn history_is_complete(checks: &mut Checks, client: &Client, told: &Told) -> Result<()> {
    let history: History = client.get(&told.ann, &history_route(told))?;
    checks.equal(
        "the post has five versions",
        &history.ops(),
        &["update", "update", "update", "update", "insert"],
    );
    let by = |index: usize| history.versions.get(index).map(Version::by).unwrap_or_default();
    let changes = |index: usize| history.versions.get(index).map(Version::changes).unwrap_or_default();

    let (ann, bob) = (format!("user {}", told.ann.id), format!("user {}", told.bob.id));
    checks.equal("bob wrote it", &by(4), &bob);
    checks.equal("ann edited it", &by(3), &ann);
    let edit = ["price: 4.50 -> 5.00", r#"title: "Tides" -> "High tides""#];
    checks.equal("her edit has price and title, before and after", &changes(3), &edit);
    checks.equal("bob published it", &by(2), &bob);
    checks.equal("which changed its status", &changes(2), &[r#"status: "draft" -> "published""#]);
    checks.equal("the bulk update is psql's, and nobody's", &by(1), &"nobody named, by psql");
    checks.equal("it raised the price", &changes(1), &["price: 5.00 -> 5.50"]);
    checks.equal("psql can name an actor", &by(0), &"admin night-shift");
    checks.equal("an array has its elements", &changes(0), &[r#"tags: ["sea"] -> ["sea", "featured"]"#]);

    let post: Value = client.get(&told.ann, &format!("/api/posts/{}", told.tides))?;
    checks.equal("views were counted and not recorded", &post["views"], &(READS + 1));
    Ok(())
}

fn past_is_answered(checks: &mut Checks, client: &Client, told: &Told) -> Result<()> {
    let answer: Value = client.get(&told.ann, &as_of_route(client, told)?)?;
    let fields = ["answer", "title", "status", "price"].map(|field| answer["post"][field].clone());
    let expected = ["present", "High tides", "published", "5.00"];
    checks.equal("the post can be seen as it was published", &fields, &expected);

    for (at, claim, expected) in [
        (&told.began_at, "before the traffic, the deleted post is not there yet", "not_created"),
        (&told.ended_at, "after it, the post is known to be deleted", "deleted"),
    ] {
        let route = format!("/api/posts/{}/as-of?at={at}", told.gone);
        let answer: Value = client.get(&told.ann, &route)?;
        checks.equal(claim, &answer["post"]["answer"], &expected);
    }
    Ok(())
}

fn trail_is_complete(checks: &mut Checks, database: &Database, told: &Told) -> Result<()> {
    let since = format!("FROM threadline.audit_changes c WHERE c.captured_at >= '{}'", told.began_at);
    let count = database.ask(&format!("SELECT count(*) {since}"))?;
    checks.equal("every change is there, and nothing else", &count, &told.changes.to_string());

    let comments = "c.table_id = (SELECT id FROM threadline.audited_tables WHERE table_name = 'comments')";
    let copied = database.ask(&format!(
        "SELECT count(*) {since} AND {comments} AND c.op = 'I' GROUP BY c.transaction_id HAVING count(*) > 1"
    ))?;
    checks.equal("COPY made three comments in one transaction", &copied, &"3");
    let cascade = database.ask(&format!(
        "SELECT string_agg(c.op::text, '' ORDER BY c.ordinal) {since} AND c.op = 'D' GROUP BY c.transaction_id"
    ))?;
    checks.equal("the deleted post took its comments along in one transaction", &cascade, &"DDD");
    Ok(())
}

fn incident_is_told(checks: &mut Checks, told: &Told, incident: &Incident) {
    let Incident { edit, publication, job, failures, .. } = incident;
    checks.equal("the edit's transaction is ann's", &edit.transaction.by(), &format!("user {}", told.ann.id));
    checks.equal("and an edit by name", &names(edit), &["post.edited ok"]);
    let changed: Vec<_> = edit.changes.iter().flat_map(TableChange::lines).collect();
    let expected = ["price: 4.50 -> 5.00", r#"title: "Tides" -> "High tides""#];
    checks.equal("it changed price and title, and nothing else", &changed, &expected);

    checks.equal("a job told the members", &names(job), &["members.notified ok"]);
    checks.equal("in its own name", &job.transaction.by().starts_with("job "), &true);
    let (of_job, of_request) = (&job.transaction, &publication.transaction);
    checks.equal("under the request that published the post", &of_job.request_id, &of_request.request_id);
    checks.equal("and its correlation id", &of_job.correlation_id, &of_request.correlation_id);

    let failed: Vec<_> =
        failures.iter().map(|failure| failure.split(' ').next().unwrap_or_default()).collect();
    let expected = ["session.refused", "post.edited", "post.published"];
    checks.equal("a refused login and two failed actions are on record", &failed, &expected);
}

/// The actions of a transaction, each with how it ended.
fn names(bundle: &Bundle) -> Vec<String> {
    bundle.actions.iter().map(|action| format!("{} {}", action.name, action.status)).collect()
}

fn secrets_are_kept(checks: &mut Checks, client: &Client, database: &Database, told: &Told) -> Result<()> {
    let history: History = client.get(&told.ann, &format!("/api/users/{}/history", told.bob.id))?;
    let changes = history.versions.first().map(Version::changes).unwrap_or_default();
    let masked = [r#"email: "[REDACTED]" -> "[REDACTED]""#];
    checks.equal("the new address shows as a masked change", &changes, &masked);
    checks.equal("the new password hash does not show", &history.ops(), &["update", "insert"]);

    let dump = database.dump_of_the_trail()?;
    checks.equal("a dump of the trail has the post", &dump.contains("High tides"), &true);
    let leaked = told.secrets.iter().filter(|secret| dump.contains(secret.as_str())).count();
    checks.equal("and neither an address, nor the password, nor its hash", &leaked, &0);
    Ok(())
}

fn organizations_are_apart(
    checks: &mut Checks,
    client: &Client,
    told: &Told,
    incident: &Incident,
) -> Result<()> {
    let foreign = client.request(&told.sam, "GET", &history_route(told), &Value::Null)?;
    checks.equal("another organization's history is not found", &foreign.status, &404);
    let foreign = client.request(&told.sam, "GET", &incident.edit_route, &Value::Null)?;
    checks.equal("nor is what one of their transactions did", &foreign.status, &404);
    let own: History = client.get(&told.sam, &format!("/api/posts/{}/history", told.ridge))?;
    checks.equal("their own has the bulk update too", &own.ops(), &["update", "insert"]);
    Ok(())
}

pub(crate) struct Checks {
    failed: usize,
}

impl Checks {
    pub(crate) fn equal<A, B>(&mut self, claim: &str, found: &A, expected: &B)
    where
        A: PartialEq<B> + Debug,
        B: Debug,
    {
        if found == expected {
            println!("  ok      {claim}");
        } else {
            println!("  FAILED  {claim}: found {found:?}, expected {expected:?}");
            self.failed += 1;
        }
    }
}
